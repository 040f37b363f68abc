//! The JSON of HubSpot's endpoints. Parsed leniently: a token response needs only `access_token`; every other field has
//! a defined meaning when it is missing or malformed.

use std::fmt;
use std::time::Duration;

use oauth2::basic::BasicTokenType;
use oauth2::{AccessToken, RefreshToken, Scope, TokenResponse};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Grant, Identity};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::PortalId;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Secret;
use crate::domain::text::visible;

/// HubSpot's current token lifetime, used if the response has none.
const DEFAULT_TOKEN_LIFE: Duration = Duration::from_secs(1800);
const MAX_TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
const MAX_TOKEN_LENGTH: usize = 4096;

/// A refusal, in the format of RFC 6749 section 5.2, in HubSpot's own format, or in both at once.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ErrorBody {
    pub error: Option<String>,
    pub status: Option<String>,
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.error, self.status)
    }
}

impl oauth2::ErrorResponse for ErrorBody {}

/// A token response. `Debug` shows no token: both token types of the OAuth crate hide their content.
#[derive(Debug)]
pub(super) struct TokenBody {
    access_token: AccessToken,
    token_type: BasicTokenType,
    refresh_token: Option<RefreshToken>,
    expires_in: Duration,
    scopes: Option<Scopes>,
    portal_id: Option<PortalId>,
}

impl TokenBody {
    pub fn into_grant(self) -> Grant {
        Grant {
            access: Secret::new(self.access_token.into_secret()),
            refresh: self.refresh_token.map(|token| Secret::new(token.into_secret())),
            expires_in: self.expires_in,
            scopes: self.scopes,
            portal_id: self.portal_id,
        }
    }
}

impl<'de> Deserialize<'de> for TokenBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let body = Value::deserialize(deserializer)?;
        let access_token = token(&body, "access_token").map_err(D::Error::custom)?;
        let access_token = access_token.ok_or_else(|| D::Error::custom("no access_token"))?;
        let refresh_token = token(&body, "refresh_token").map_err(D::Error::custom)?;
        Ok(Self {
            access_token: AccessToken::new(access_token),
            token_type: BasicTokenType::Bearer,
            refresh_token: refresh_token.map(RefreshToken::new),
            expires_in: life(body.get("expires_in")),
            scopes: scopes(&body),
            portal_id: portal_id(&body),
        })
    }
}

impl Serialize for TokenBody {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("a token answer is read, never written"))
    }
}

impl TokenResponse for TokenBody {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        Some(self.expires_in)
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

/// Parses an introspection response. An inactive token is an `invalid_grant`; an active one without an account is an
/// unusable response.
pub(super) fn identity(body: &[u8]) -> Result<Identity, Failure> {
    let bad = || Failure::transient(FailureCode::ProviderBadResponse);
    let body: Value = serde_json::from_slice(body).map_err(|_| bad())?;
    if body.get("active") == Some(&Value::Bool(false)) {
        return Err(Failure::invalid_grant(FailureCode::GrantDead));
    }
    Ok(Identity {
        portal_id: portal_id(&body).ok_or_else(bad)?,
        hub_domain: text(&body, "hub_domain"),
        hub_user: text(&body, "user"),
        scopes: scopes(&body),
    })
}

pub(super) fn time_zone(body: &[u8]) -> Option<String> {
    serde_json::from_slice(body).ok().and_then(|body: Value| text(&body, "timeZone"))
}

/// Returns a token: any printable text up to 4 kB, unchanged. Empty is the same as absent.
fn token(body: &Value, name: &str) -> Result<Option<String>, &'static str> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) if token.is_empty() => Ok(None),
        Some(Value::String(token)) if token.len() > MAX_TOKEN_LENGTH => Err("a token is too long"),
        Some(Value::String(token)) if token.chars().any(char::is_control) => {
            Err("a token has control characters")
        }
        Some(Value::String(token)) => Ok(Some(token.clone())),
        Some(_) => Err("a token is not a string"),
    }
}

/// Returns the lifetime of an access token, in any number format: HubSpot has changed it before.
fn life(value: Option<&Value>) -> Duration {
    let seconds = match value {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds.is_finite() && seconds <= 0.0 => Duration::ZERO,
        Some(seconds) if seconds.is_finite() => {
            Duration::from_secs_f64(seconds.min(MAX_TOKEN_LIFE.as_secs_f64()))
        }
        _ => DEFAULT_TOKEN_LIFE,
    }
}

/// Returns HubSpot's `scopes` list, or the `scope` text of RFC 6749 section 5.1. Invalid scopes (section 3.3) are
/// dropped: PostgreSQL would reject a text with a NUL character, and the tokens with it.
fn scopes(body: &Value) -> Option<Scopes> {
    let given: Scopes = match body.get("scopes").or_else(|| body.get("scope")) {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => Scopes::parse(text),
        _ => return None,
    };
    let is_scope = |scope: &&str| scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    // Every token has at least `oauth`, so an empty list carries no information.
    Some(given.iter().filter(is_scope).collect()).filter(|scopes: &Scopes| !scopes.is_empty())
}

fn portal_id(body: &Value) -> Option<PortalId> {
    let id = body.get("hub_id")?;
    id.as_i64().or_else(|| id.as_str()?.parse().ok()).filter(|id| *id > 0).map(PortalId)
}

/// Returns a text to display: truncated, without characters that control or hide others.
fn text(body: &Value, name: &str) -> Option<String> {
    let text: String = visible(body.get(name)?.as_str()?).chars().take(255).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: Value) -> Option<Grant> {
        serde_json::from_value::<TokenBody>(body).ok().map(TokenBody::into_grant)
    }

    #[test]
    fn token_responses_require_only_the_access_token() {
        assert!(read(json!({"access_token": "a"})).is_some());
        for bad in [
            json!({}),
            json!({"access_token": null}),
            json!({"access_token": ""}),
            json!([]),
            json!("x"),
            json!(null),
        ] {
            assert!(read(bad.clone()).is_none(), "{bad}");
        }
    }

    #[test]
    fn tokens_are_unchanged_unless_invalid() {
        let grant = read(json!({"access_token": "a\"🙂'", "refresh_token": "r"})).expect("readable");
        assert_eq!(grant.access.expose(), "a\"🙂'");
        for bad in ["a\nb".to_owned(), "a\0b".to_owned(), "a".repeat(8192)] {
            assert!(read(json!({"access_token": bad})).is_none());
        }
    }

    #[test]
    fn access_token_lifetimes_have_bounds() {
        for (given, kept) in [
            (json!(1800), Duration::from_secs(1800)),
            (json!(" 60 "), Duration::from_secs(60)),
            (json!(-1), Duration::ZERO),
            (json!(1e300), MAX_TOKEN_LIFE),
            (json!("inf"), DEFAULT_TOKEN_LIFE),
            (json!(null), DEFAULT_TOKEN_LIFE),
        ] {
            assert_eq!(life(Some(&given)), kept, "{given}");
        }
    }

    #[test]
    fn scopes_are_parsed_from_a_list_or_a_string() {
        for body in [json!({"scopes": ["a", "b", "a"]}), json!({"scope": "a b"}), json!({"scopes": "a b"})] {
            let scopes = scopes(&body).expect("scopes");
            assert_eq!(scopes.to_string(), "a b");
        }
    }

    #[test]
    fn invalid_scopes_are_skipped() {
        for body in
            [json!({"scopes": ["a", "b\0", "c d", "\u{e9}", "\"", 7]}), json!({"scope": "a b\0 \u{e9}"})]
        {
            assert_eq!(scopes(&body).expect("scopes").to_string(), "a", "{body}");
        }
    }

    #[test]
    fn portal_ids_may_be_strings() {
        assert_eq!(portal_id(&json!({"hub_id": "12"})), Some(PortalId(12)));
        assert_eq!(portal_id(&json!({"hub_id": -1})), None);
        assert_eq!(portal_id(&json!({})), None);
    }
}
