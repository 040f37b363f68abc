//! Enums with a stable text for each variant: the one way in which statuses, types and codes are written and read.

/// A text that no variant has; a later release may have stored it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a stored word is not known to this release")]
pub struct UnknownWord;

/// Declares such an enum, with the error of reading a text that is none of its own. Two variants of one text do not
/// compile without a warning.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $unknown:ident {
            $($(#[$about:meta])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$about])* $variant,)+
        }

        impl $name {
            /// All variants, in the order of their declaration.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// Returns the stable text.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $unknown;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($unknown),
                }
            }
        }
    };
}
pub(crate) use words;
