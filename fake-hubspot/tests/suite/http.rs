//! A client that shows the bytes on the wire.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fake_hubspot::{Decision, FakeHubSpot, Options};
use serde_json::Value;

pub const CALLBACK: &str = "http://localhost:4000/callback";
pub const CLIENT: &str = "client_id=fake-client-id&client_secret=fake-client-secret";
pub const ACME: u64 = 1_234_567;
pub const GLOBEX: u64 = 7_654_321;

/// A response as received.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn word(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or_default().to_owned()
    }
}

pub async fn start(change: impl FnOnce(&mut Options)) -> FakeHubSpot {
    let mut options = Options::default();
    change(&mut options);
    FakeHubSpot::start(options).await.expect("a free port")
}

/// Sends a request and returns the connection.
pub fn connect(fake: &FakeHubSpot, method: &str, path: &str, extra: &str, body: &str) -> TcpStream {
    let address: SocketAddr = fake.base_url()["http://".len()..].parse().expect("an address");
    let mut stream = TcpStream::connect(address).expect("the fake listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: fake\r\nconnection: close\r\ncontent-length: {length}\r\n{extra}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("the fake reads");
    stream
}

/// Reads everything until the connection ends. Returns it with the kind of end.
pub fn drain(mut stream: TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).map(drop);
    (bytes, end)
}

pub fn request(fake: &FakeHubSpot, method: &str, path: &str, extra: &str, body: &str) -> Reply {
    let (bytes, end) = drain(connect(fake, method, path, extra, body));
    end.expect("a regular end");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    Reply { status: head[9..12].parse().expect("a status"), head: head.to_owned(), body: body.to_owned() }
}

pub const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

pub fn post(fake: &FakeHubSpot, path: &str, form: &str) -> Reply {
    request(fake, "POST", path, FORM, &format!("{form}&{CLIENT}"))
}

pub fn get(fake: &FakeHubSpot, path: &str) -> Reply {
    request(fake, "GET", path, "", "")
}

pub fn authorize_query(more: &str) -> String {
    format!("client_id=fake-client-id&redirect_uri={CALLBACK}&scope=oauth&state=s%26t{more}")
}

/// Returns a code for an account.
pub fn code(fake: &FakeHubSpot, hub_id: u64, more: &str) -> String {
    let url = format!("{}?{}", fake.authorize_url(), authorize_query(more));
    let back = fake.decide(&url, Decision::Approve { hub_id, scopes: None }).expect("a redirect");
    let query = back.strip_prefix(CALLBACK).expect("the callback").strip_prefix("?code=").expect("a code");
    query.strip_suffix("&state=s%26t").expect("the state").to_owned()
}

pub fn exchange(fake: &FakeHubSpot, code: &str, more: &str) -> Reply {
    let form = format!("grant_type=authorization_code&code={code}&redirect_uri={CALLBACK}{more}");
    post(fake, "/oauth/2026-09/token", &form)
}

pub fn refresh(fake: &FakeHubSpot, token: &str) -> Reply {
    post(fake, "/oauth/2026-09/token", &refresh_form(token))
}

pub fn refresh_form(token: &str) -> String {
    format!("grant_type=refresh_token&refresh_token={token}")
}

/// Returns a refresh token of the account.
pub fn connected(fake: &FakeHubSpot, hub_id: u64) -> String {
    exchange(fake, &code(fake, hub_id, ""), "").word("refresh_token")
}
