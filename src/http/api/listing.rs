//! What a backend asks for when it lists connections, and the cursor that leads from page to page.

use serde::Deserialize;

use crate::domain::clock::Moment;
use crate::domain::external::ExternalUserId;
use crate::domain::id::{ConnectionId, PortalId};
use crate::http::problem::{Problem, ProblemCode};
use crate::services::{Listed, Wanted};

const USUAL: u32 = 50;
const MOST: u32 = 200;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Ask {
    pub external_user: Option<ExternalUserId>,
    pub wanted: Wanted,
    pub limit: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    limit: Option<String>,
    cursor: Option<String>,
    external_user_id: Option<String>,
    portal_id: Option<String>,
    status: Option<String>,
}

/// Reads the query. What is not known is refused: a filter that is mistyped must not list everything.
pub(super) fn read(query: &str) -> Result<Ask, Problem> {
    let query: Query = actix_web::web::Query::<Query>::from_query(query)
        .map_err(|_| {
            refused("The parameters are limit, cursor, external_user_id, portal_id and status, each once.")
        })?
        .into_inner();
    let limit = match query.limit {
        None => USUAL,
        Some(text) => (text.parse().ok().filter(|limit| (1..=MOST).contains(limit)))
            .ok_or_else(|| refused("limit is a number from 1 to 200."))?,
    };
    let after =
        query.cursor.map(|text| parse(&text).ok_or_else(|| refused("cursor is the next_cursor of a page.")));
    let external =
        query.external_user_id.map(|text| text.parse().map_err(|_| refused("external_user_id is none.")));
    let portal =
        query.portal_id.map(|text| text.parse::<PortalId>().map_err(|_| refused("portal_id is a number.")));
    let status = query.status.map(|word| {
        word.parse().map_err(|_| refused("status is active, degraded, needs_reauth or integrity_error."))
    });
    Ok(Ask {
        external_user: external.transpose()?,
        wanted: Wanted {
            user: None,
            portal: portal.transpose()?,
            status: status.transpose()?,
            after: after.transpose()?,
        },
        limit,
    })
}

/// After which event of a connection is asked; zero is before the first.
pub(super) fn after(query: &str) -> Result<i64, Problem> {
    let Some(text) = query.split('&').find_map(|pair| pair.strip_prefix("after=")) else { return Ok(0) };
    text.parse().ok().filter(|after| *after >= 0).ok_or_else(|| refused("after is the sequence of an event."))
}

fn refused(hint: &'static str) -> Problem {
    Problem::new(ProblemCode::BadRequest).hint(hint)
}

/// Leads to what comes after this connection. It says nothing that the page has not said.
pub(super) fn cursor(last: &Listed) -> String {
    format!("{}.{}", last.token.created_at.unix_ms(), last.token.id)
}

fn parse(cursor: &str) -> Option<(Moment, ConnectionId)> {
    let (at, id) = cursor.split_once('.')?;
    Some((Moment::from_unix_ms(at.parse().ok()?), id.parse().ok()?))
}
