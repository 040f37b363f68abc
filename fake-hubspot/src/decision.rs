//! The user's decision on the consent page.

use serde::{Deserialize, Serialize};

/// The end of a visit to the consent page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Connects an account.
    Approve {
        /// The selected account. One that is not in the options is made up.
        hub_id: u64,
        /// The scopes to grant; `None` grants those requested, without the optional scopes that the account lacks.
        #[serde(default)]
        scopes: Option<Vec<String>>,
    },
    /// Denies; the browser goes back to the app with `error=access_denied`.
    Deny,
    /// Closes the page; the app gets no callback.
    NeverReturn,
}
