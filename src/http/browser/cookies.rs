//! Flow cookies: one per authorization request, bound to this browser, at most five of them.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};

use crate::domain::clock::Timestamp;
use crate::domain::id::FlowId;
use crate::domain::secret::Secret;

/// More than a user has open at once. A `Cookie` header that grows without end would lock the user out.
const MAX_FLOW_COOKIES: usize = 5;

/// The names and attributes of flow cookies.
#[derive(Debug, Clone)]
pub struct FlowCookies {
    prefix: &'static str,
    secure: bool,
}

impl FlowCookies {
    /// Returns the cookies of a service. With `secure`, the `__Host-` prefix keeps sibling domains from planting
    /// cookies of this name.
    pub fn new(secure: bool) -> Self {
        Self { prefix: if secure { "__Host-hsc_f_" } else { "hsc_f_" }, secure }
    }

    /// Returns the cookie of a new flow. Its creation time precedes the secret, to find the oldest one.
    pub fn new_cookie(
        &self,
        flow: FlowId,
        binding: &Secret,
        now: Timestamp,
        ttl: Duration,
    ) -> Cookie<'static> {
        let value = format!("{}.{}", now.unix_ms(), binding.expose());
        let max_age = i64::try_from(ttl.as_secs()).unwrap_or(600);
        self.cookie(self.name(flow), value, CookieDuration::seconds(max_age))
    }

    /// Returns the binding of this flow to the browser. Of two cookies with the same name neither is trusted.
    pub fn binding(&self, request: &HttpRequest, flow: FlowId) -> Option<Secret> {
        let name = self.name(flow);
        let cookies = request.cookies().ok()?;
        let mut ours = cookies.iter().filter(|cookie| cookie.name() == name);
        match (ours.next(), ours.next()) {
            (Some(cookie), None) => {
                let (_, secret) = cookie.value().split_once('.')?;
                Some(Secret::new(secret.to_owned()))
            }
            _ => None,
        }
    }

    /// Returns cookies that remove the oldest flows, so that with this one there are at most [`MAX_FLOW_COOKIES`]. A
    /// form from another site is sent without cookies, so this is done both when a flow starts and when it returns.
    pub fn make_room(&self, request: &HttpRequest, flow: FlowId) -> Vec<Cookie<'static>> {
        let Ok(cookies) = request.cookies() else {
            return Vec::new();
        };
        let this = self.name(flow);
        let mut flows: Vec<(i64, String)> = cookies
            .iter()
            .filter(|cookie| cookie.name().starts_with(self.prefix) && cookie.name() != this)
            .map(|cookie| (age(cookie.value()), cookie.name().to_owned()))
            .collect();
        flows.sort_unstable();
        let spare = (flows.len() + 1).saturating_sub(MAX_FLOW_COOKIES);
        flows.into_iter().take(spare).map(|(_, name)| self.removal_of(name)).collect()
    }

    /// Returns the cookie that removes the one of this flow.
    pub fn removal(&self, flow: FlowId) -> Cookie<'static> {
        self.removal_of(self.name(flow))
    }

    fn name(&self, flow: FlowId) -> String {
        format!("{}{}", self.prefix, flow.short())
    }

    fn removal_of(&self, name: String) -> Cookie<'static> {
        self.cookie(name, String::new(), CookieDuration::ZERO)
    }

    /// Builds a cookie. It is `Lax`, because the redirect from HubSpot is a cross-site navigation, which `Strict`
    /// cookies are not sent with.
    fn cookie(&self, name: String, value: String, max_age: CookieDuration) -> Cookie<'static> {
        Cookie::build(name, value)
            .path("/")
            .http_only(true)
            .secure(self.secure)
            .same_site(SameSite::Lax)
            .max_age(max_age)
            .finish()
    }
}

fn age(value: &str) -> i64 {
    value.split_once('.').and_then(|(at, _)| at.parse().ok()).unwrap_or(0)
}
