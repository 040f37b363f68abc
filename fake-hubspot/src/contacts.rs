//! The contacts of every account.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::options::Options;

/// The first contact number. Numbers are never reused.
const FIRST: u64 = 101;

/// The contacts of a new account.
const SAMPLES: [(&str, &str); 2] = [("Maria", "Johnson"), ("Brian", "Halligan")];

/// A contact's properties: strings, as HubSpot stores them.
pub(crate) type Properties = BTreeMap<String, Option<String>>;

/// A contact in an account's CRM.
#[derive(Clone)]
pub(crate) struct Contact {
    pub id: u64,
    pub properties: Properties,
    pub created_ms: i64,
    pub updated_ms: i64,
}

impl Contact {
    /// Returns HubSpot's JSON with the requested properties.
    pub(crate) fn json(&self, wanted: &[&str]) -> Value {
        let own = [
            ("hs_object_id", self.id.to_string()),
            ("createdate", rfc3339(self.created_ms)),
            ("lastmodifieddate", rfc3339(self.updated_ms)),
        ];
        let mut properties: Map<String, Value> =
            own.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
        for (name, value) in &self.properties {
            if wanted.contains(&name.as_str()) {
                properties.insert(name.clone(), value.clone().into());
            }
        }
        json!({
            "id": self.id.to_string(),
            "properties": properties,
            "createdAt": rfc3339(self.created_ms),
            "updatedAt": rfc3339(self.updated_ms),
            "archived": false,
        })
    }
}

/// All contacts, by account and number.
#[derive(Default)]
pub(crate) struct Contacts {
    all: BTreeMap<(u64, u64), Contact>,
    last: u64,
}

impl Contacts {
    /// Creates the sample contacts.
    pub(crate) fn at_start(options: &Options, now_ms: i64) -> Contacts {
        let mut contacts = Contacts::default();
        let accounts = options.accounts.iter().filter(|_| options.sample_contacts);
        for (account, (first, last)) in accounts.flat_map(|account| SAMPLES.map(|name| (account, name))) {
            let email = format!("{}@{}", first.to_lowercase(), account.hub_domain);
            let properties = [("email", email.as_str()), ("firstname", first), ("lastname", last)]
                .map(|(name, text)| (name.to_owned(), Some(text.to_owned())));
            // An account is listed once, so the address is new to it.
            let _ = contacts.create(account.hub_id, properties.into(), now_ms);
        }
        contacts
    }

    /// Creates a contact. An e-mail address is unique in an account; the error is the number of the contact that has
    /// it.
    pub(crate) fn create(
        &mut self,
        hub_id: u64,
        properties: Properties,
        now_ms: i64,
    ) -> Result<&Contact, u64> {
        if let Some(email) = properties.get("email").and_then(Option::as_ref)
            && let Some(known) = self
                .of(hub_id)
                .find(|contact| contact.properties.get("email").and_then(Option::as_ref) == Some(email))
        {
            return Err(known.id);
        }
        self.last = (self.last + 1).max(FIRST);
        let contact = Contact { id: self.last, properties, created_ms: now_ms, updated_ms: now_ms };
        Ok(self.all.entry((hub_id, self.last)).or_insert(contact))
    }

    pub(crate) fn get(&self, hub_id: u64, id: u64) -> Option<&Contact> {
        self.all.get(&(hub_id, id))
    }

    /// Changes some properties; an empty string removes one.
    pub(crate) fn update(
        &mut self,
        hub_id: u64,
        id: u64,
        changes: Properties,
        now_ms: i64,
    ) -> Option<&Contact> {
        let contact = self.all.get_mut(&(hub_id, id))?;
        contact.properties.extend(changes);
        contact.properties.retain(|_, value| value.as_ref().is_some_and(|text| !text.is_empty()));
        contact.updated_ms = now_ms;
        Some(contact)
    }

    pub(crate) fn remove(&mut self, hub_id: u64, id: u64) -> bool {
        self.all.remove(&(hub_id, id)).is_some()
    }

    /// Iterates over the contacts of an account by number.
    pub(crate) fn of(&self, hub_id: u64) -> impl Iterator<Item = &Contact> {
        self.all.range((hub_id, 0)..=(hub_id, u64::MAX)).map(|(_, contact)| contact)
    }
}

/// Formats a time as HubSpot does, by the civil calendar (with Howard Hinnant's algorithm for its days).
fn rfc3339(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let era_day = days + 719_468;
    let (era, day_of_era) = (era_day.div_euclid(146_097), era_day.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_formatted_as_calendar_dates() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_795_000_000_999, "2026-11-18T11:06:40.999Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
    }
}
