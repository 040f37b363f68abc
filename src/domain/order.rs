//! The order of lists.

use super::text_enum::{UnknownText, text_enum};

text_enum! {
    /// The order of a list by time.
    #[derive(Default)]
    pub enum Order: UnknownText {
        /// The oldest first.
        #[default]
        Asc = "asc",
        /// The connections, the newest first.
        Desc = "desc",
    }
}
