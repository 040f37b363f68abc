//! What the person on the consent page does.

use serde::{Deserialize, Serialize};

/// The end of a visit to the consent page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Connects an account.
    Approve {
        /// The account that was picked. One that is not in the options is made up.
        hub_id: u64,
        /// Exactly what is granted; `None` grants what was asked, less the optional scopes the account lacks.
        #[serde(default)]
        scopes: Option<Vec<String>>,
    },
    /// Refuses; the browser goes back to the app with `error=access_denied`.
    Deny,
    /// Closes the page or forgets it; the app never hears.
    NeverReturn,
}
