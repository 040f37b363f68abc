//! Responses that wait for a change.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use actix_web::http::header::{ETAG, HeaderValue, IF_NONE_MATCH, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse};
use tokio::time::Instant;

use crate::http::server::Watch;
use crate::services::Subscription;

/// The delay after which a request that may not wait should be repeated, in seconds.
const RETRY_AFTER_SECONDS: u16 = 10;

/// Waits for a change, or until the deadline. `false` if the client has sent data ahead of the response: a hang-up
/// behind that data would not be noticed, so the response does not wait.
pub async fn wait(request: &HttpRequest, subscription: &mut Subscription, deadline: Instant) -> bool {
    let watch = request.conn_data::<Rc<Watch>>();
    // Polled whenever the connection is, because a read runs in the connection's own task.
    let is_ahead = poll_fn(|_| match watch.is_some_and(|watch| watch.is_ahead()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    tokio::select! {
        () = subscription.next(deadline) => true,
        () = is_ahead => false,
    }
}

/// Returns the response to a request that may not wait for a change: not modified, and when to ask again.
pub fn unchanged_for_now(tag: String) -> HttpResponse {
    let retry_after = (RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    HttpResponse::NotModified().insert_header((ETAG, tag)).insert_header(retry_after).finish()
}

/// Returns the ETag of the last response that the caller has.
pub fn known_tag(request: &HttpRequest) -> Option<&str> {
    request.headers().get(IF_NONE_MATCH).and_then(|tag| tag.to_str().ok())
}
