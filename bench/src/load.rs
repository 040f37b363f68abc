//! The load: connections that send one request after another for a while.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Failure;
use crate::http::Connection;
use crate::process::Process;
use crate::report::Figure;

/// A number of connections, for a time.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub connections: usize,
    pub time: Duration,
}

/// The work that a connection repeats.
#[derive(Debug, Clone)]
enum Work {
    Get { path: String, cookies: String },
    Flow { prefix: String },
}

impl Load {
    /// Gets one path without cookies.
    pub async fn requests(&self, server: &Process, path: &str) -> Result<Figure, Failure> {
        self.run(server, Work::Get { path: path.to_owned(), cookies: String::new() }).await
    }

    /// Runs start, callback, done and hand-off; the user's consent costs the server nothing.
    pub async fn flows(&self, server: &Process, prefix: &str) -> Result<Figure, Failure> {
        self.run(server, Work::Flow { prefix: prefix.to_owned() }).await
    }

    /// Gets the status of a connected user.
    pub async fn status(&self, server: &Process) -> Result<Figure, Failure> {
        let cookies = flow(&mut Connection::open(server.port).await?, &mut None, "").await?;
        self.run(server, Work::Get { path: "/api/hubspot/status".to_owned(), cookies }).await
    }

    async fn run(&self, server: &Process, work: Work) -> Result<Figure, Failure> {
        // A first round warms caches and opens connections; it is not counted.
        self.round(server, &work, self.time / 5).await?;
        let (before, started) = (server.cpu()?, Instant::now());
        let operations = self.round(server, &work, self.time).await?;
        Ok(Figure { operations, elapsed: started.elapsed(), cpu: server.cpu()? - before })
    }

    async fn round(&self, server: &Process, work: &Work, time: Duration) -> Result<u64, Failure> {
        let deadline = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            let (work, port) = (work.clone(), server.port);
            tasks.spawn(async move { repeat(port, &work, deadline).await.map_err(|why| why.to_string()) });
        }
        let mut operations = 0;
        while let Some(done) = tasks.join_next().await {
            operations += done??;
        }
        Ok(operations)
    }
}

async fn repeat(port: u16, work: &Work, deadline: Instant) -> Result<u64, Failure> {
    let mut connection = Connection::open(port).await?;
    let mut hubspot = None;
    let mut done = 0;
    while Instant::now() < deadline {
        match work {
            Work::Get { path, cookies } => {
                let answer = connection.get(path, cookies).await?;
                if answer.status >= 400 {
                    return Err(format!("{path}: {}", answer.head).into());
                }
            }
            Work::Flow { prefix } => {
                flow(&mut connection, &mut hubspot, prefix).await?;
            }
        }
        done += 1;
    }
    Ok(done)
}

/// Runs a whole flow and returns the session's cookie.
pub async fn flow(
    service: &mut Connection,
    hubspot: &mut Option<Connection>,
    prefix: &str,
) -> Result<String, Failure> {
    let start = service.get(&format!("{prefix}/auth/hubspot/start"), "").await?;
    let authorize = start.location()?;
    let (port, path) = split(authorize)?;
    if hubspot.is_none() {
        *hubspot = Some(Connection::open(port).await?);
    }
    let hubspot = hubspot.as_mut().ok_or("no connection")?;
    let back = hubspot.get(path, "").await?;
    let (_, callback) = split(back.location()?)?;
    let flow_cookie = start.cookies().pop().ok_or("no flow cookie")?;
    let finished = service.get(callback, &flow_cookie).await?;
    let done = finished.location()?.split('#').next().unwrap_or_default();
    let session = finished.cookies().pop().ok_or("no session cookie")?;
    let cookies = format!("{flow_cookie}; {session}");
    let page = service.get(done, &cookies).await?;
    let (_, id) = done.split_once("flow=").ok_or_else(|| format!("no flow in {done}"))?;
    let message = service
        .post_json(&format!("{prefix}/auth/hubspot/handoff"), &cookies, &format!("{{\"flow\":\"{id}\"}}"))
        .await?;
    match (page.status, message.status) {
        (200, 200) => Ok(session),
        _ => Err(format!("{} {}", page.head, message.head).into()),
    }
}

/// Returns port and path of a loopback URL.
fn split(url: &str) -> Result<(u16, &str), Failure> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("not a local URL: {url}"))?;
    let slash = rest.find('/').unwrap_or(rest.len());
    let (_, port) = rest[..slash].split_once(':').ok_or("no port")?;
    Ok((port.parse()?, &rest[slash..]))
}
