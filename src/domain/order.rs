//! In what order a list is.

use super::words::{UnknownWord, words};

words! {
    /// The order of a list by time.
    #[derive(Default)]
    pub enum Order: UnknownWord {
        /// The oldest first.
        #[default]
        Asc = "asc",
        /// The newest first.
        Desc = "desc",
    }
}
