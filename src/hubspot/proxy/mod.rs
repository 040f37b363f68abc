//! A call that somebody else makes of HubSpot, passed on with a connection's access token: bodies as they come, in both
//! directions.

mod body;
mod limits;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue};
use tokio::time::timeout;

pub use body::{Download, Pieces, Progress, Severed, Upload, UploadError};
pub use bytes::Bytes;
pub use limits::{Allowance, Exhausted};
pub use reqwest::Method;
pub use reqwest::header::HeaderMap;

use super::{HubSpot, error, join};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::proxies::Proxies;
use crate::domain::proxy_headers::Named;
use crate::domain::proxy_path::ProxyPath;
use crate::domain::secret::Secret;
use crate::egress;

/// How long HubSpot may take to begin its answer, from the last byte that it was sent.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(30);

/// A call to pass on.
#[derive(Debug)]
pub struct Call {
    /// Its method, whatever it is.
    pub method: Method,
    /// Where it goes, below HubSpot's API.
    pub path: ProxyPath,
    /// Its header fields, less those that end here.
    pub headers: HeaderMap,
    /// Its body, if it has one.
    pub body: Option<Upload>,
}

impl Call {
    /// Whether it may be made twice: its method is safe (RFC 9110 section 9.2.1), and all of it is still here.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.body.is_none() && matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }
}

/// What HubSpot answers.
#[derive(Debug)]
pub struct Passed {
    /// Its status.
    pub status: u16,
    /// Its header fields, less those that end here.
    pub headers: HeaderMap,
    /// How long its body says it is.
    pub length: Option<u64>,
    /// Its body.
    pub body: Download,
    /// What it tells of the account's limit.
    pub allowance: Option<Allowance>,
    /// What it tells of a limit that is reached.
    pub exhausted: Option<Exhausted>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum PassError {
    /// HubSpot gave none.
    Failed(Failure),
    /// The caller's body did not come.
    Upload(UploadError),
}

/// The client for calls that are passed on, made for the first one. It has connections of its own: they live on the web
/// workers, and end with them, which those that carry a refresh token must not.
#[derive(Debug)]
pub(super) struct Egress {
    proxies: Proxies,
    client: OnceLock<Option<reqwest::Client>>,
}

impl Egress {
    pub fn new(proxies: Proxies) -> Self {
        Self { proxies, client: OnceLock::new() }
    }

    fn client(&self) -> Option<&reqwest::Client> {
        let make = || egress::client(&self.proxies);
        let make = || {
            make()
                .inspect_err(|why| tracing::error!(error = %why, "failed to create the proxy's HTTP client"))
                .ok()
        };
        self.client.get_or_init(make).as_ref()
    }
}

impl HubSpot {
    /// Passes a call on. The body of the answer is read as the caller takes it; if the answer is dropped, the call ends.
    ///
    /// # Errors
    /// [`PassError`] if HubSpot has not begun to answer.
    pub(crate) async fn pass_on(&self, call: &mut Call, access: &Secret) -> Result<Passed, PassError> {
        let progress = call.body.as_ref().map(|upload| Arc::clone(&upload.progress)).unwrap_or_default();
        let unreachable = || PassError::Failed(Failure::transient(FailureCode::ProviderUnreachable));
        let client = self.proxy.client().ok_or_else(unreachable)?;
        let mut request =
            client.request(call.method.clone(), self.place(&call.path)).headers(call.headers.clone());
        request = request.header(AUTHORIZATION, bearer(access).ok_or_else(unreachable)?);
        if let Some(upload) = call.body.take() {
            request = request.body(reqwest::Body::wrap(upload));
        }
        let answer = begun(request.send(), &progress, FIRST_BYTE_TIMEOUT).await?;
        self.read(answer, &call.method, call.path.is_search()).await
    }

    /// Host, scheme and port are those of the configuration, whatever the path is.
    fn place(&self, path: &ProxyPath) -> url::Url {
        let mut url = join(&self.settings.api_url, path.path());
        url.set_query(path.query());
        url
    }

    async fn read(
        &self,
        answer: reqwest::Response,
        method: &Method,
        is_search: bool,
    ) -> Result<Passed, PassError> {
        let status = answer.status().as_u16();
        if status < 200 {
            return Err(PassError::Failed(Failure::uncertain(FailureCode::ProviderBadResponse)));
        }
        let retry_after = self.calls.retry_after(answer.headers());
        let allowance = Allowance::read(answer.headers());
        let content_length =
            answer.headers().get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok());
        let headers = end_to_end(answer.headers());
        let mut body = Download::new(answer.into());
        let length = if method == Method::HEAD { content_length } else { body.length() };
        let exhausted = match status {
            429 => Some(Exhausted::read(&body.peek().await, retry_after, is_search)),
            _ => None,
        };
        Ok(Passed { status, headers, length, body, allowance, exhausted })
    }
}

fn bearer(access: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", access.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Waits until the answer begins, for as long as the caller's body keeps moving.
async fn begun(
    answer: impl Future<Output = Result<reqwest::Response, reqwest::Error>>,
    progress: &Progress,
    within: Duration,
) -> Result<reqwest::Response, PassError> {
    let mut answer = std::pin::pin!(answer);
    loop {
        let sent = progress.sent();
        match timeout(within, answer.as_mut()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(why)) => {
                return Err(match progress.failed() {
                    Some(failed) => PassError::Upload(failed),
                    None => PassError::Failed(error::unanswered(&why)),
                });
            }
            Err(_) if progress.sent() > sent => {}
            Err(_) => return Err(PassError::Failed(Failure::uncertain(FailureCode::ProviderTimeout))),
        }
    }
}

/// The fields of an answer that go back to the caller.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named = Named::by(headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok()));
    let passed = headers.iter().filter(|(name, _)| named.passes_to_caller(name.as_str()));
    passed.map(|(name, value): (&HeaderName, &HeaderValue)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    async fn is_too_late(progress: Arc<Progress>) -> bool {
        let outcome = begun(std::future::pending(), &progress, SHORT).await;
        matches!(outcome, Err(PassError::Failed(failure)) if failure.code == FailureCode::ProviderTimeout)
    }

    #[tokio::test]
    async fn an_answer_that_does_not_begin_is_given_up() {
        assert!(is_too_late(Arc::default()).await);
    }

    #[tokio::test]
    async fn it_is_waited_for_as_long_as_the_caller_s_body_keeps_coming() {
        let (pieces, mut upload) = Upload::new(None);
        let waiting = tokio::spawn(is_too_late(Arc::clone(&upload.progress)));
        let started = tokio::time::Instant::now();
        while started.elapsed() < SHORT * 4 {
            assert!(pieces.send(Bytes::from_static(b"more")).await);
            let piece = std::future::poll_fn(|context| {
                http_body::Body::poll_frame(std::pin::Pin::new(&mut upload), context)
            });
            assert!(piece.await.is_some());
            assert!(!waiting.is_finished(), "it is still waited for");
            tokio::time::sleep(SHORT / 10).await;
        }
        assert!(waiting.await.unwrap(), "when nothing more comes, the time is up");
    }
}
