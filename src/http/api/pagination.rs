//! The response body and the parameters of all lists.

use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::{IntoParams, ToSchema};

use crate::http::problem::Problem;
use crate::http::request::query::{ApiQuery, bad_parameter};

/// The description of a time parameter.
pub(super) const EXPECTED_TIME: &str = "an RFC 3339 time, such as `2026-11-18T11:06:40Z`";

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 100;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    data: Vec<T>,
    /// The `cursor` of the next page; null on the last one.
    next_cursor: Option<String>,
}

/// The parameters of every list, as they are described.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "`PageRequest` reads them; this says how they are written")]
pub struct PageParams {
    /// The `next_cursor` of the previous page. It is opaque: send it unchanged, with the same filters.
    #[param(pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
    /// The maximum number of entries; 50 if omitted.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// A request for a page of a list whose rows have places of type `K`.
pub(super) struct PageRequest<K> {
    /// The filters of the list.
    pub filters: ApiQuery,
    /// The place of the last row before the page.
    pub after: Option<K>,
    limit: u32,
}

impl<K: Serialize + DeserializeOwned> PageRequest<K> {
    /// Reads the cursor, the limit and these filters from a request.
    ///
    /// # Errors
    /// `bad_request` that names the invalid parameter.
    pub fn read(request: &HttpRequest, filters: &[&str]) -> Result<Self, Problem> {
        let filters = ApiQuery::read(request, &[&["cursor", "limit"], filters].concat())?;
        let number = format!("a number from 1 to {MAX_LIMIT}");
        let limit = filters.get("limit", &number)?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(bad_parameter("limit", &number));
        }
        let refused = || bad_parameter("cursor", "the `next_cursor` of a page of this list");
        let cursor: Option<String> = filters.get("cursor", "a text")?;
        let after = cursor.map(|cursor| decode(&cursor).ok_or_else(refused)).transpose()?;
        Ok(Self { filters, after, limit })
    }

    /// Returns the number of rows to read: one more than the page shows, to find out whether there is a next one.
    pub fn rows(&self) -> u32 {
        self.limit + 1
    }

    /// Responds with a page of these rows.
    pub fn answer<R, T: Serialize>(
        &self,
        mut rows: Vec<R>,
        place: impl Fn(&R) -> K,
        body: impl FnMut(R) -> T,
    ) -> HttpResponse {
        let shown = self.limit as usize;
        let is_last = rows.len() <= shown;
        rows.truncate(shown);
        let next_cursor = rows.last().filter(|_| !is_last).map(|last| encode(&place(last)));
        HttpResponse::Ok().json(Page { data: rows.into_iter().map(body).collect(), next_cursor })
    }
}

/// Writes a place as a cursor. Contains only values that the page already shows.
fn encode(place: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).unwrap_or_default())
}

fn decode<K: DeserializeOwned>(cursor: &str) -> Option<K> {
    let text = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    // No place contains a character that JSON escapes; PostgreSQL refuses a zero character.
    if text.contains(&b'\\') { None } else { serde_json::from_slice(&text).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_opaque_and_bound_to_their_list() {
        let place = (1_763_463_600_000_i64, "evt_1".to_owned());
        let cursor = encode(&place);
        assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
        assert_eq!(decode(&cursor), Some(place));
        assert_eq!(decode::<i64>(&cursor), None);
        let zero = encode(&(1, "\0"));
        for bad in ["", "!", "bnVsbA==", &cursor[1..], zero.as_str()] {
            assert_eq!(decode::<(i64, String)>(bad), None, "{bad}");
        }
    }
}
