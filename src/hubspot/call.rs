//! One HTTP call to HubSpot: sends it, limits it, and separates usable responses from all others.

use std::pin::Pin;
use std::time::Duration;

use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::{RequestBuilder, Response};
use serde::de::IgnoredAny;

use super::error::{self, Asked, NoAnswer};
use super::wire::ErrorBody;
use crate::domain::clock::Clock;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::retry_after;

/// The maximum size of a response; larger than any that HubSpot needs.
pub(super) const MAX_BODY: usize = 64 * 1024;
/// The maximum pause that HubSpot can ask for; after an hour the service tries again.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The time limit for a whole call, in steps.
const CALL_TIMEOUT_STEPS: u32 = 20;
const TIMEOUT_STEP: Duration = Duration::from_secs(1);

/// The HTTP client and the clock for calls to HubSpot.
#[derive(Debug)]
pub(super) struct Calls {
    pub http: reqwest::Client,
    pub clock: Clock,
}

/// A complete response.
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl<'c> AsyncHttpClient<'c> for Calls {
    type Error = NoAnswer;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, NoAnswer>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.token(request))
    }
}

impl Calls {
    /// Calls the token endpoint for the OAuth client. Returns what that client can parse: a success in JSON as 200, a
    /// refusal with its body. The content type is ignored: HubSpot's edge servers sometimes set the wrong one.
    async fn token(&self, request: HttpRequest) -> Result<HttpResponse, NoAnswer> {
        let (parts, body) = request.into_parts();
        let call = self.http.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
        let answer = self.send(call).await.map_err(NoAnswer)?;
        let mut response = HttpResponse::new(answer.body);
        *response.status_mut() = match answer.status {
            200..=299 => oauth2::http::StatusCode::OK,
            status => {
                oauth2::http::StatusCode::from_u16(status).unwrap_or(oauth2::http::StatusCode::BAD_REQUEST)
            }
        };
        Ok(response)
    }

    /// Makes a call and returns the body of a success.
    pub async fn fetch(&self, call: RequestBuilder) -> Result<Vec<u8>, Failure> {
        let answer = self.send(call).await?;
        match answer.status {
            200..=299 => Ok(answer.body),
            _ => Err(error::refused_body(&answer.body, Asked::Other)),
        }
    }

    /// Makes a call and returns the response, unless HubSpot is busy or redirects. The caller interprets the status and
    /// the body, which may have up to `max_body` bytes.
    pub async fn ask(&self, call: RequestBuilder, max_body: usize) -> Result<Answer, Failure> {
        within(CALL_TIMEOUT_STEPS, TIMEOUT_STEP, self.answer(call, max_body))
            .await
            .unwrap_or(Err(Failure::uncertain(FailureCode::ProviderTimeout)))
    }

    async fn send(&self, call: RequestBuilder) -> Result<Answer, Failure> {
        let Answer { status, body } = self.ask(call, MAX_BODY).await?;
        let success = (200..=299).contains(&status);
        if success && !body.is_empty() && serde_json::from_slice::<IgnoredAny>(&body).is_err() {
            return Err(Failure::uncertain(FailureCode::ProviderBadResponse));
        }
        if !success && serde_json::from_slice::<ErrorBody>(&body).is_err() {
            return Err(Failure::our_fault(FailureCode::ProviderRefused));
        }
        Ok(Answer { status, body })
    }

    async fn answer(&self, call: RequestBuilder, max_body: usize) -> Result<Answer, Failure> {
        let response = call.send().await.map_err(|why| error::unanswered(&why))?;
        let status = response.status().as_u16();
        let busy = matches!(status, 408 | 423 | 425 | 429 | 477 | 500..=599);
        if busy {
            let code = match status {
                423 | 429 | 477 => FailureCode::ProviderBusy,
                _ => FailureCode::ProviderUnavailable,
            };
            return Err(Failure::busy(code, self.retry_after(response.headers())));
        }
        if response.status().is_redirection() {
            return Err(Failure::our_fault(FailureCode::ProviderRedirected));
        }
        let body = read(response, max_body).await?;
        Ok(Answer { status, body })
    }

    /// Returns how long HubSpot asks to wait.
    pub fn retry_after(&self, headers: &reqwest::header::HeaderMap) -> Option<Duration> {
        let text = headers.get("retry-after")?.to_str().ok()?;
        Some(retry_after::parse(text, self.clock.now())?.min(MAX_RETRY_AFTER))
    }
}

/// Waits for this many steps; `None` if there is no response by then.
///
/// A single deadline would pass while the process is suspended (SIGSTOP, a virtual machine that is moved), and a
/// response that has arrived in the meantime would be discarded unread, with the refresh token in it. A suspension of
/// any length counts as one step.
async fn within<T>(steps: u32, step: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    for _ in 0..steps {
        if let Ok(answer) = tokio::time::timeout(step, answer.as_mut()).await {
            return Some(answer);
        }
    }
    None
}

/// Returns the body of a response, if it has at most `max` bytes.
pub(super) async fn read(mut response: Response, max: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|why| error::unanswered(&why))? {
        if body.len() + chunk.len() > max {
            return Err(Failure::uncertain(FailureCode::ProviderBadResponse));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn responses_that_arrived_during_a_pause_are_accepted() {
        let (answer, answered) = oneshot::channel();
        let call = tokio::spawn(within(5, SHORT, answered));
        tokio::task::yield_now().await;
        // Blocks this thread for longer than all of the steps.
        std::thread::sleep(SHORT * 20);
        // A reader of the connection wakes up at the same time as the timer, and needs a moment.
        tokio::spawn(async move {
            tokio::time::sleep(SHORT / 2).await;
            answer.send(7)
        });
        assert_eq!(call.await.unwrap(), Some(Ok(7)));
    }

    #[tokio::test]
    async fn calls_without_a_response_time_out() {
        assert_eq!(within(5, SHORT, std::future::pending::<()>()).await, None);
    }
}
