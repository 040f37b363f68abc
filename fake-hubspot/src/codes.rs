//! Authorization codes: valid once, and for a short time.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::random;

/// The time for which an expired code is still recognized as expired rather than unknown.
const REMEMBERED_MS: i64 = 600_000;

/// The consent that a code stands for.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub client_id: String,
    pub redirect_uri: String,
    pub code_challenge: Option<String>,
    pub hub_id: u64,
    pub scopes: Vec<String>,
    pub expires_at_ms: i64,
}

impl Code {
    /// Returns whether the verifier matches the challenge of the authorize URL (RFC 7636, section 4.6).
    pub(crate) fn accepts_verifier(&self, verifier: Option<&str>) -> bool {
        self.code_challenge.as_ref().is_none_or(|challenge| {
            verifier.is_some_and(|it| URL_SAFE_NO_PAD.encode(Sha256::digest(it)) == *challenge)
        })
    }
}

/// The issued and unused codes.
#[derive(Default)]
pub(crate) struct Codes(HashMap<String, Code>);

impl Codes {
    /// Issues a code.
    pub(crate) fn issue(&mut self, code: Code, now_ms: i64) -> String {
        // Forgetting only at some sizes keeps this cheap on average.
        if self.0.len() >= 1024 && self.0.len().is_power_of_two() {
            self.0.retain(|_, old| old.expires_at_ms + REMEMBERED_MS > now_ms);
        }
        let text = random::na1(random::bytes());
        self.0.insert(text.clone(), code);
        text
    }

    /// Consumes a code. `None` if it was already consumed.
    pub(crate) fn take(&mut self, text: &str) -> Option<Code> {
        self.0.remove(text)
    }
}
