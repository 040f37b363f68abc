//! The settings of the authorization flow.

use std::time::Duration;

use crate::config::{Config, TokenDelivery};
use crate::domain::auth_request::AuthRequest;
use crate::domain::origin::{AllowedOrigins, Origin};

/// The part of the configuration that the authorization flow needs.
#[derive(Debug)]
pub(super) struct Rules {
    pub own_origin: Origin,
    pub host_origins: AllowedOrigins,
    pub token_delivery: TokenDelivery,
    pub flow_ttl: Duration,
    /// Whether a user has at most one connection.
    pub one_connection_per_user: bool,
}

impl Rules {
    pub fn new(config: &Config) -> Self {
        Self {
            own_origin: config.server.origin(),
            host_origins: config.security.host_origins.clone(),
            token_delivery: config.security.token_delivery,
            flow_ttl: config.security.flow_ttl,
            one_connection_per_user: config.security.one_connection_per_user,
        }
    }

    /// Returns whether the opener is an origin that the operator has listed.
    pub fn is_listed(&self, request: &AuthRequest) -> bool {
        let origins = &self.host_origins;
        request.opener.as_ref().is_some_and(|opener| origins.find(opener.as_str()).is_some())
    }
}
