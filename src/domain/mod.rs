//! Types and rules: no I/O, no async, no reading of clocks.
//!
//! The glossary:
//! - **AuthRequest** (*flow* in public ids): one authorization request, from the click to its outcome.
//! - **Token** (also *connection*): one user's grant for one HubSpot account: its two tokens and the account's details.
//! - **TokenRefreshJob**: the time of the next refresh of a connection, and the lease on it. Exactly one per active
//!   connection.
//! - **ApiKey**: a credential of the host's backend; its **scopes** say what it may do.
//! - **ConnectSession**: a permission from the backend for one of the host's users to connect.
//! - **Project**: one of several products that share the service; keys, sessions, connections and endpoints belong to
//!   one.
//! - **External user**: a user of the host, identified by the id that its backend assigns.
//! - **PendingGrant**: a grant that awaits a decision before it becomes a connection.
//! - **Install**: a pending grant from HubSpot's Marketplace, without an AuthRequest; it waits to be claimed.
//! - **Notice**: a report of an uninstall in HubSpot's Webhooks Journal.
//! - **Opener**: the page that opened the popup, identified by its exact [`origin::Origin`].
//! - **Event**: something that has happened to a connection; **Endpoint**: a URL of the backend that receives events;
//!   **Delivery**: the sending of one event to one endpoint.
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
