//! One call over the wire: send, cap, and tell a usable answer from every other.

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

/// More than any answer of HubSpot's needs; an endless one is cut here.
pub(super) const MAX_BODY: usize = 64 * 1024;
/// However long HubSpot asks us to wait, an hour later we look again.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// How long a whole call may take, in steps.
const CALL_TIMEOUT_STEPS: u32 = 20;
const TIMEOUT_STEP: Duration = Duration::from_secs(1);

/// The means to call HubSpot.
#[derive(Debug)]
pub(super) struct Calls {
    pub http: reqwest::Client,
    pub clock: Clock,
}

/// An answer that came to its end.
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
    /// A call to the token endpoint for the OAuth client. It hands on what that can read: a success in JSON as 200, a
    /// refusal with its body. The label of the content is not looked at: HubSpot's edge mislabels it at times.
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

    /// Makes a call whose answer is no refusal of a token: its status says what it means, and its body may be up to so
    /// many bytes of anything.
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

    /// Returns how long HubSpot asks to be left alone.
    pub fn retry_after(&self, headers: &reqwest::header::HeaderMap) -> Option<Duration> {
        let text = headers.get("retry-after")?.to_str().ok()?;
        Some(retry_after::parse(text, self.clock.now())?.min(MAX_RETRY_AFTER))
    }
}

/// Waits for so many steps; `None` if there is no answer by then.
///
/// A deadline would pass while the process stands still (SIGSTOP, a virtual machine that is moved), and an answer that
/// has come meanwhile would be thrown away unread, with the refresh token in it. However long it stands still, that is
/// one step.
async fn within<T>(steps: u32, step: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    for _ in 0..steps {
        if let Ok(answer) = tokio::time::timeout(step, answer.as_mut()).await {
            return Some(answer);
        }
    }
    None
}

/// The body of an answer, if it has so many bytes at most.
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
    async fn an_answer_that_came_while_the_process_stood_still_is_taken() {
        let (answer, answered) = oneshot::channel();
        let call = tokio::spawn(within(5, SHORT, answered));
        tokio::task::yield_now().await;
        // Nothing on this thread moves, past all of the steps.
        std::thread::sleep(SHORT * 20);
        // Whoever reads from the line is woken with the clock, and needs a moment.
        tokio::spawn(async move {
            tokio::time::sleep(SHORT / 2).await;
            answer.send(7)
        });
        assert_eq!(call.await.unwrap(), Some(Ok(7)));
    }

    #[tokio::test]
    async fn without_an_answer_the_time_is_up() {
        assert_eq!(within(5, SHORT, std::future::pending::<()>()).await, None);
    }
}
