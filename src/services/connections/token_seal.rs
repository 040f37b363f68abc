//! Opens the tokens of a connection.

use crate::domain::secret::Secret;
use crate::domain::token::Token;
use crate::keyring::{Context, Keyring, OpenError};

pub(in crate::services) fn open_access(keyring: &Keyring, token: &Token) -> Result<Secret, OpenError> {
    keyring.open(&token.access, context(token, "access", &token.id.to_string()))
}

pub(super) fn open_refresh(keyring: &Keyring, token: &Token) -> Result<Secret, OpenError> {
    keyring.open(&token.refresh, context(token, "refresh", &token.id.to_string()))
}

/// Returns the context to which a token of this connection is bound.
pub(super) fn context<'a>(token: &'a Token, kind: &'static str, row: &'a str) -> Context<'a> {
    Context { kind, row, generation: token.generation, client_id: &token.client_id }
}
