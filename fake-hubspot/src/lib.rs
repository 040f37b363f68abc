//! A HubSpot that runs on a laptop.
//!
//! It serves the consent page and the OAuth endpoints as far as an app can see them, plays scripted faults, and records
//! every call. [`FakeHubSpot`] runs it inside a test; the binary of this crate runs it for a browser.
//!
//! # Layout
//! - `serve`: the routes, and the path of a call: `incoming` reads it, `hub` journals it and looks
//!   up its fault, then a verb answers it
//! - the verbs: `authorize` with `consent` and `page`, `token`, `lookup` (introspect and revoke), `account`,
//!   `crm` with `crm_search`, `webhooks_journal`
//! - state: `options`, `codes`, `grants`, `contacts`, `quota`, `access` (tokens that carry their content),
//!   `marketplace` (installs that start at HubSpot)
//! - faults: `script` selects them, `fault` and `wire` perform them
//! - record: `journal`; `control` is all of this over HTTP
//!
//! # Example
//! ```
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! use fake_hubspot::{Decision, FakeHubSpot, Options};
//!
//! let hubspot = FakeHubSpot::start(Options::default()).await?;
//! let url = format!(
//!     "{}?client_id=fake-client-id&redirect_uri=http://localhost/back&scope=oauth&state=s",
//!     hubspot.authorize_url()
//! );
//! let approve = Decision::Approve { hub_id: 1_234_567, scopes: None };
//! let back = hubspot.decide(&url, approve).expect("HubSpot sends the browser back");
//! assert!(back.starts_with("http://localhost/back?code=na1-"));
//! # Ok::<(), std::io::Error>(())
//! # })?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod access;
mod account;
mod answer;
mod authorize;
mod clock;
mod codes;
mod consent;
mod contacts;
mod control;
mod crm;
mod crm_search;
mod decision;
mod fault;
mod grants;
mod hub;
mod incoming;
mod journal;
mod lookup;
mod marketplace;
mod millis;
mod options;
mod page;
mod quota;
mod random;
mod running;
mod script;
mod serve;
mod token;
mod webhooks_journal;
mod wire;

pub use access::AccessToken;
pub use decision::Decision;
pub use grants::Grant;
pub use journal::{Count, Entry, Kind};
pub use options::{Account, Options};
pub use running::FakeHubSpot;
pub use script::{Fault, Rule};
