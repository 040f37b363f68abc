//! Words and rules: no input or output, no async, no reading of clocks.
//!
//! The glossary:
//! - **AuthRequest** (also *flow*, where the outside names it): one attempt to connect, from the click to its outcome.
//! - **Token** (also *connection*): what one user holds of one HubSpot account: the two tokens and what is known of it.
//! - **TokenRefreshJob**: when a connection is refreshed next, and who is at it. Exactly one per active connection.
//! - **ApiKey**: what a host's backend shows to be let in; **scopes** say what for.
//! - **ConnectSession**: a backend's word that one of the host's users may connect.
//! - **Project**: one of several products that share the service; keys, sessions, connections and endpoints belong to one.
//! - **External user**: a user of the host, under the id that its backend gives.
//! - **PendingGrant**: a grant that is not a connection yet, because somebody has to decide on it first.
//! - **Install**: a pending grant that came from HubSpot's Marketplace, without an AuthRequest; it waits to be claimed.
//! - **Notice**: what HubSpot's Webhooks Journal says of an uninstall.
//! - **Opener**: the page that opened the popup, known by its exact [`origin::Origin`].
//! - **Event**: what has happened to a connection; **Endpoint** and **Delivery**: who is told of it, and how far that is.
//! - **Portal**: HubSpot's older word for an account; `portal_id` and `hub_id` are the same number.

pub mod api_key;
pub(crate) mod auth_request;
pub mod clock;
pub(crate) mod connect_session;
pub(crate) mod connection;
pub(crate) mod describe;
pub mod event;
pub(crate) mod external;
pub(crate) mod failure;
pub mod id;
pub(crate) mod install;
pub mod journal;
pub(crate) mod metadata;
pub(crate) mod network;
pub(crate) mod order;
pub mod origin;
pub(crate) mod pending_grant;
pub mod project;
pub mod proxies;
pub(crate) mod proxy_headers;
pub(crate) mod proxy_path;
pub mod random;
pub(crate) mod rate;
pub mod refresh_job;
pub(crate) mod retry_after;
pub(crate) mod scopes;
pub mod secret;
pub(crate) mod text;
pub(crate) mod text_enum;
pub(crate) mod token;
pub mod webhook;
pub(crate) mod webhook_headers;
