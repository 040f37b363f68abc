//! The PKCE verifier of an authorization request (RFC 7636): sealed at the start, opened for the exchange.

use crate::domain::auth_request::AuthRequest;
use crate::domain::failure::FailureCode;
use crate::domain::id::FlowId;
use crate::domain::secret::{Sealed, Secret};
use crate::keyring::{Context, Keyring};

pub(super) fn seal_pkce(keyring: &Keyring, verifier: &Secret, flow: FlowId, client_id: &str) -> Sealed {
    keyring.seal(verifier, pkce_context(&flow.to_string(), client_id))
}

pub(super) fn open_pkce(keyring: &Keyring, request: &AuthRequest) -> Result<Option<Secret>, FailureCode> {
    let Some(sealed) = &request.pkce else {
        return Ok(None);
    };
    let context_row = request.id.to_string();
    let opened = keyring.open(sealed, pkce_context(&context_row, &request.client_id));
    opened.map(Some).map_err(|_| FailureCode::IntegrityError)
}

/// Returns the context to which a stored PKCE verifier is bound.
fn pkce_context<'a>(flow: &'a str, client_id: &'a str) -> Context<'a> {
    Context { kind: "pkce", row: flow, generation: 0, client_id }
}
