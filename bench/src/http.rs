//! A minimal HTTP/1.1 client: it must not cost more than what it measures.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Failure;

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
}

/// A response.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns the values of a header, given in lower case.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.head.lines().filter_map(move |line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn location(&self) -> Result<&str, Failure> {
        self.headers("location").next().ok_or_else(|| format!("no location: {}", self.head).into())
    }

    /// Returns the cookies that are set, as a browser sends them back.
    pub fn cookies(&self) -> Vec<String> {
        self.headers("set-cookie").filter_map(|line| line.split(';').next()).map(str::to_owned).collect()
    }
}

impl Connection {
    /// Connects to 127.0.0.1 under the name `localhost`.
    pub async fn open(port: u16) -> Result<Self, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host: format!("localhost:{port}"), buffer: Vec::with_capacity(8192) })
    }

    pub async fn get(&mut self, path: &str, cookies: &str) -> Result<Answer, Failure> {
        let cookie = if cookies.is_empty() { String::new() } else { format!("cookie: {cookies}\r\n") };
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{cookie}\r\n", self.host);
        self.call(request.as_bytes()).await
    }

    /// Sends a request with the given header lines and body.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Result<Answer, Failure> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}content-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.call(request.as_bytes()).await
    }

    pub async fn post_json(&mut self, path: &str, cookies: &str, body: &str) -> Result<Answer, Failure> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nsec-fetch-site: same-origin\r\ncookie: {cookies}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.call(request.as_bytes()).await
    }

    pub async fn call(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).ok_or("no status line")?;
        let mut answer = Answer { status, head, body: Vec::new() };
        let length: usize =
            answer.headers("content-length").next().and_then(|text| text.parse().ok()).unwrap_or(0);
        while self.buffer.len() < end + length {
            self.more().await?;
        }
        answer.body = self.buffer[end..end + length].to_vec();
        Ok(answer)
    }

    async fn more(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the connection was closed".into()),
            _ => Ok(()),
        }
    }
}
