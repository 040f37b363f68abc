//! hubspot-connect puts a *Connect to HubSpot* button into any web application: it runs the OAuth flow in a popup,
//! keeps the tokens encrypted and alive, and hands them to those who may have them, and to no one else.
//!
//! # Layout
//!
//! From the door to the core; an arrow may only point downwards:
//!
//! - [`cli`]: the command line; [`app`]: assembly, the only part that knows every other.
//! - [`http`] and `jobs`: the two doors, callers and time. Thin: each request and each due job calls one verb.
//! - [`services`]: the verbs of the service, by sub-domain.
//! - [`store`], `hubspot`, [`webhook`], [`keyring`]: the outside, one adapter each; they do not know one another.
//! - [`domain`]: words and rules, without input or output.
//! - Beside the ladder: [`config`], [`telemetry`], [`egress`], [`lifecycle`], and [`crash`] for the tests.
//!
//! # Three journeys
//!
//! *A request*, the callback: [`http`] finds the flow's cookie → `services::connect::Finishes::finish` →
//! [`store::ConnectStore::consume_auth_request`] lets one caller through → `hubspot::HubSpot::exchange` →
//! [`keyring::Keyring::seal`] → [`store::ConnectStore::save_connected`] writes Token, TokenRefreshJob and outcome as
//! one → the popup's page takes the message by `services::connect::Handoffs::deliver`, once.
//!
//! *A refresh*, which nobody asked for: `jobs::Jobs::run` → `services::connections::Refreshes::acquire_refreshes` writes a lease →
//! `services::connections::Refreshes::refresh` asks HubSpot without a transaction open →
//! [`store::ConnectionStore::commit_refresh`] replaces the tokens if nobody has replaced them since.
//!
//! *A configuration value*: `.env.example` → [`config::Variables`] → its section of [`config::Config`] → the one part
//! that [`app`] gives it to.

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
