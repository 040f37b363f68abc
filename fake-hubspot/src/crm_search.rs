//! `POST /crm/v3/objects/contacts/search`.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::contacts::Contact;
use crate::crm::{LARGEST_PAGE, USUAL, invalid};
use crate::hub::State;
use crate::incoming::Incoming;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Search {
    query: String,
    limit: Option<usize>,
    after: Option<Value>,
    properties: Vec<String>,
    #[serde(rename = "filterGroups")]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
struct Filter {
    #[serde(rename = "propertyName")]
    property: String,
    operator: String,
    #[serde(default)]
    value: String,
}

impl Filter {
    fn fits(&self, contact: &Contact) -> Result<bool, Answer> {
        let text = contact.properties.get(&self.property).and_then(Option::as_deref);
        match self.operator.as_str() {
            "EQ" => Ok(text == Some(&self.value)),
            "NEQ" => Ok(text.is_some_and(|text| text != self.value)),
            "HAS_PROPERTY" => Ok(text.is_some()),
            "NOT_HAS_PROPERTY" => Ok(text.is_none()),
            other => Err(invalid(&format!("the operator {other} is not known here"))),
        }
    }
}

impl Search {
    /// Returns whether all filters of any of the groups match.
    fn fits(&self, contact: &Contact) -> Result<bool, Answer> {
        let has_text = contact.properties.values().flatten().any(|text| text.contains(&self.query));
        let mut fits = self.groups.is_empty();
        for group in &self.groups {
            let filters = group.filters.iter().map(|filter| filter.fits(contact));
            fits |= filters.collect::<Result<Vec<_>, _>>()?.into_iter().all(|one| one);
        }
        Ok(fits && (self.query.is_empty() || has_text))
    }
}

/// Finds the contacts of an account that match any of the groups and contain the text.
pub(crate) fn answer(state: &State, hub_id: u64, call: &Incoming) -> Result<Answer, Answer> {
    let search: Search = serde_json::from_slice(&call.body).map_err(|why| invalid(&why.to_string()))?;
    let mut found = Vec::new();
    for contact in state.contacts.of(hub_id) {
        if search.fits(contact)? {
            found.push(contact);
        }
    }
    let after =
        search.after.as_ref().map(|after| after.as_str().map_or_else(|| after.to_string(), str::to_owned));
    let after = after.and_then(|after| after.parse().ok()).unwrap_or(0);
    let limit = search.limit.unwrap_or(10).clamp(1, LARGEST_PAGE);
    let wanted: Vec<&str> = match search.properties.is_empty() {
        true => USUAL.to_vec(),
        false => search.properties.iter().map(String::as_str).collect(),
    };
    let page: Vec<Value> =
        found.iter().skip(after).take(limit).map(|contact| contact.json(&wanted)).collect();
    let next = after + page.len();
    let mut body = json!({ "total": found.len(), "results": page });
    if next < found.len() {
        body["paging"] = json!({ "next": { "after": next.to_string() } });
    }
    Ok(Answer::ok(body))
}
