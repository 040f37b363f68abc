//! Proxied calls: a caller's request, forwarded to HubSpot with a connection's access token. Bodies are streamed in
//! both directions.

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

/// The time limit for the start of HubSpot's response, from the last byte that was sent.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(30);

/// A call to forward.
#[derive(Debug)]
pub struct Call {
    /// The method; any is allowed.
    pub method: Method,
    /// The path below HubSpot's API.
    pub path: ProxyPath,
    /// The header fields, without those that must not be forwarded.
    pub headers: HeaderMap,
    /// The body, if there is one.
    pub body: Option<Upload>,
}

impl Call {
    /// Returns whether the call may be repeated: its method is safe (RFC 9110 section 9.2.1), and its body is not
    /// consumed.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.body.is_none() && matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }
}

/// HubSpot's response.
#[derive(Debug)]
pub struct Passed {
    /// The status.
    pub status: u16,
    /// The header fields, without those that must not be forwarded.
    pub headers: HeaderMap,
    /// The length of the body, if it is known.
    pub length: Option<u64>,
    /// The body.
    pub body: Download,
    /// The account's rate limit, if reported.
    pub allowance: Option<Allowance>,
    /// The exceeded rate limit, if reported.
    pub exhausted: Option<Exhausted>,
}

/// The reason there is no response.
#[derive(Debug)]
pub enum PassError {
    /// HubSpot did not respond.
    Failed(Failure),
    /// The caller's body is incomplete.
    Upload(UploadError),
}

/// The client for proxied calls, built on first use. It has its own connections: they live on the web workers and end
/// with them, which must not happen to calls that carry a refresh token.
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
    /// Forwards a call. The body of the response is read at the caller's pace; dropping the response ends the call.
    ///
    /// # Errors
    /// [`PassError`] if HubSpot has not started to respond.
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

    /// Returns the URL of a path. Host, scheme and port are always the configured ones.
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

/// Waits for the start of the response, for as long as the caller's body makes progress.
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

/// Returns the fields of a response that are returned to the caller.
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
    async fn responses_that_do_not_start_time_out() {
        assert!(is_too_late(Arc::default()).await);
    }

    #[tokio::test]
    async fn calls_wait_while_the_request_body_is_sent() {
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
