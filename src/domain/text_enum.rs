//! Enums with a stable text for each variant: the only way in which statuses, types and codes are written, parsed and
//! described.

/// Text that matches no variant; a later release may have stored it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a stored word is not known to this release")]
pub struct UnknownText;

/// Declares such an enum, with the error for text that matches none of its variants. Two variants with the same text
/// cause a compiler warning.
macro_rules! text_enum {
    (
        $(#[doc = $doc:literal])+
        $(#[derive($($derived:ident),+)])?
        pub enum $name:ident: $unknown:ident {
            $($(#[$about:meta])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[doc = $doc])+
        $(#[derive($($derived),+)])?
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, sea_orm::DeriveValueType)]
        #[sea_orm(value_type = "String")]
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

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl utoipa::ToSchema for $name {}

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::Type::String)
                    .description(Some(concat!($($doc),+).trim()))
                    .enum_values(Some(Self::ALL.map(Self::as_str)))
                    .into()
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
pub(crate) use text_enum;

/// Lets a text be the primary key of an entity: sea-orm requires that every key type can be converted from a number.
macro_rules! not_a_number {
    ($name:ty) => {
        impl sea_orm::TryFromU64 for $name {
            fn try_from_u64(_: u64) -> Result<Self, sea_orm::DbErr> {
                Err(sea_orm::DbErr::ConvertFromU64(stringify!($name)))
            }
        }
    };
}
pub(crate) use not_a_number;
