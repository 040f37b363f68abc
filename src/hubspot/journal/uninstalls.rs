//! A file of the journal, read for uninstalls alone: what else stands in it is passed over as it is read, however much it
//! is and whatever it is, so that megabytes of it become no tree in memory.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::subscription::UNINSTALLED;
use crate::domain::clock::Moment;

/// What a file tells.
#[derive(Debug, Default)]
pub(super) struct File {
    /// For each uninstall its account, and when it happened if that can be read.
    pub uninstalls: Vec<(i64, Option<Moment>)>,
    /// When the file was written.
    pub published: Option<Moment>,
}

/// The names of the fields that are looked at.
#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Name {
    JournalEvents,
    PublishedAt,
    Action,
    EventTypeId,
    ObjectTypeId,
    PortalId,
    OccurredAt,
    #[serde(other)]
    Other,
}

/// A value, as far as it is looked at.
enum Seen<'a> {
    Text(Cow<'a, str>),
    Whole(i64),
    Object(Box<Fields<'a>>),
    Other,
}

/// The fields of an object that are looked at; the last of a name counts.
#[derive(Default)]
struct Fields<'a> {
    action: Option<Seen<'a>>,
    event_type: Option<Seen<'a>>,
    object_type: Option<Seen<'a>>,
    portal: Option<Seen<'a>>,
    occurred: Option<Seen<'a>>,
}

impl Seen<'_> {
    fn is(&self, wanted: &str) -> bool {
        matches!(self, Seen::Text(text) if text == wanted)
    }

    fn whole(&self) -> Option<i64> {
        match self {
            Seen::Whole(number) => Some(*number),
            Seen::Text(text) => text.parse().ok(),
            Seen::Object(_) | Seen::Other => None,
        }
    }

    /// RFC 3339, or Unix milliseconds.
    fn moment(&self) -> Option<Moment> {
        match self {
            Seen::Text(text) if text.parse::<i64>().is_err() => {
                let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
                i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Moment::from_unix_ms)
            }
            _ => self.whole().map(Moment::from_unix_ms),
        }
    }
}

impl Fields<'_> {
    /// The account, if this is an uninstall.
    fn uninstall(&self) -> Option<(i64, Option<Moment>)> {
        let is = |field: &Option<Seen>, wanted| field.as_ref().is_some_and(|seen| seen.is(wanted));
        let is_uninstall = is(&self.action, "APP_UNINSTALL")
            || is(&self.event_type, UNINSTALLED)
            || is(&self.object_type, UNINSTALLED);
        let portal = self.portal.as_ref().filter(|_| is_uninstall)?.whole().filter(|id| *id > 0)?;
        Some((portal, self.occurred.as_ref().and_then(Seen::moment)))
    }
}

impl<'de> Deserialize<'de> for Seen<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = Seen<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Seen<'de>, E> {
        Ok(Seen::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Seen<'de>, E> {
        Ok(Seen::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Seen<'de>, E> {
        Ok(Seen::Whole(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Seen<'de>, E> {
        Ok(i64::try_from(number).map_or(Seen::Other, Seen::Whole))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Seen<'de>, E> {
        Ok(Seen::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Seen<'de>, E> {
        Ok(Seen::Other)
    }

    fn visit_unit<E>(self) -> Result<Seen<'de>, E> {
        Ok(Seen::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Seen<'de>, A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Seen::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen<'de>, A::Error> {
        let mut fields = Box::<Fields<'de>>::default();
        while let Some(name) = map.next_key()? {
            let field = match name {
                Name::Action => &mut fields.action,
                Name::EventTypeId => &mut fields.event_type,
                Name::ObjectTypeId => &mut fields.object_type,
                Name::PortalId => &mut fields.portal,
                Name::OccurredAt => &mut fields.occurred,
                Name::JournalEvents | Name::PublishedAt | Name::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *field = Some(map.next_value()?);
        }
        Ok(Seen::Object(fields))
    }
}

/// Entries, of which the uninstalls are kept.
struct Uninstalls(Vec<(i64, Option<Moment>)>);

impl<'de> Deserialize<'de> for Uninstalls {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Pick)
    }
}

struct Pick;

impl<'de> Visitor<'de> for Pick {
    type Value = Uninstalls;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<Uninstalls, A::Error> {
        let mut uninstalls = Vec::new();
        while let Some(event) = events.next_element::<Seen<'de>>()? {
            if let Seen::Object(fields) = event {
                uninstalls.extend(fields.uninstall());
            }
        }
        Ok(Uninstalls(uninstalls))
    }
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Open)
    }
}

struct Open;

impl<'de> Visitor<'de> for Open {
    type Value = File;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file of the journal")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<File, A::Error> {
        let (mut uninstalls, mut published) = (None, None);
        while let Some(name) = map.next_key()? {
            match name {
                Name::JournalEvents => uninstalls = Some(map.next_value::<Uninstalls>()?.0),
                Name::PublishedAt => published = map.next_value::<Seen<'de>>()?.moment(),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let uninstalls = uninstalls.ok_or_else(|| A::Error::missing_field("journalEvents"))?;
        Ok(File { uninstalls, published })
    }
}
