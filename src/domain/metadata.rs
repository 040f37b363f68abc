//! Metadata: the JSON object that the host keeps with a connection.

use std::str::FromStr;

const MAX_KEY_LENGTH: usize = 100;

/// A condition on metadata: the object has this key with this text as its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataFilter {
    /// The key, without characters that a JSON path would have to quote.
    pub key: String,
    /// The value as JSON.
    pub value: String,
}

/// A text that is not `key:value`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a key of letters, digits, `_`, `-` and `.`, a colon and the value, such as `plan:pro`")]
pub struct BadMetadataFilter;

impl FromStr for MetadataFilter {
    type Err = BadMetadataFilter;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text.split_once(':').ok_or(BadMetadataFilter)?;
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if !(1..=MAX_KEY_LENGTH).contains(&key.len()) || !key.bytes().all(is_plain) || value.contains('\0') {
            return Err(BadMetadataFilter);
        }
        Ok(Self { key: key.to_owned(), value: serde_json::Value::from(value).to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_filters_have_a_plain_key_and_any_text() {
        let filter = |text: &str| text.parse::<MetadataFilter>();
        let expected = |key: &str, value: &str| Ok(MetadataFilter { key: key.into(), value: value.into() });
        assert_eq!(filter("plan:pro"), expected("plan", r#""pro""#));
        assert_eq!(filter("a.b-c_1:x:\"y\""), expected("a.b-c_1", r#""x:\"y\"""#));
        assert_eq!(filter("plan:"), expected("plan", r#""""#));
        for bad in
            ["", "plan", ":pro", "pl an:pro", "pl\"an:pro", "$:pro\0", &format!("{}:x", "k".repeat(101))]
        {
            assert_eq!(filter(bad), Err(BadMetadataFilter), "{bad:?}");
        }
    }
}
