//! hubspot-connect puts a *Connect to HubSpot* button into any web application: it runs the OAuth flow in a popup,
//! stores the tokens encrypted, keeps them refreshed, and returns access tokens to authorized callers only.
//!
//! # Layout
//!
//! From the entry points to the core; a module may only depend on modules below it:
//!
//! - [`cli`]: the command line; [`app`]: assembly, the only module that knows all the others.
//! - [`http`] and `jobs`: the two entry points, requests and time. Thin: each request and each due job calls one
//!   service.
//! - [`services`]: the operations of the service, by sub-domain.
//! - [`store`], `hubspot`, [`webhook`], [`keyring`]: one adapter for each external system; they do not know each other.
//! - [`domain`]: types and rules, without I/O.
//! - Beside these layers: [`config`], [`telemetry`], [`egress`], [`lifecycle`], and [`crash`] for the tests.
//!
//! # Three paths through the code
//!
//! *A request*, the callback: [`http`] finds the flow's cookie → `services::connect::Finishes::finish` →
//! [`store::ConnectStore::consume_auth_request`] lets exactly one caller proceed → `hubspot::HubSpot::exchange` →
//! [`keyring::Keyring::seal`] → [`store::ConnectStore::save_connected`] writes Token, TokenRefreshJob and outcome in
//! one transaction → the popup's page fetches the message from `services::connect::Handoffs::deliver`, once.
//!
//! *A background refresh*: `jobs::Jobs::run` → `services::connections::Refreshes::acquire_refreshes` writes a lease →
//! `services::connections::Refreshes::refresh` calls HubSpot with no transaction open →
//! [`store::ConnectionStore::commit_refresh`] replaces the tokens unless they were replaced in the meantime.
//!
//! *A configuration value*: `.env.example` → [`config::Variables`] → its section of [`config::Config`] → the one module
//! to which [`app`] passes it.

pub mod app;
pub mod cli;
pub mod config;
pub mod crash;
pub mod domain;
pub mod egress;
pub mod http;
mod hubspot;
mod jobs;
pub mod keyring;
pub mod lifecycle;
pub mod services;
pub mod store;
pub mod telemetry;
pub mod webhook;
