//! The user's pages: /, /login, /logout.

use actix_session::Session;
use actix_web::HttpRequest;
use actix_web::web::{Data, Form};
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::Caller;
use super::connection_body::{Entry, seconds_until};
use super::csrf;
use super::navigation::{see_other, start_url};
use crate::domain::clock::Timestamp;
use crate::http::Web;
use crate::http::problem::Handled;
use crate::http::templates::html;
use crate::services::Connection;

/// `GET /`: the connections of this browser's session.
pub async fn get_index(web: Data<Web>, session: Session) -> Handled {
    let Some(caller) = Caller::of(&session) else {
        return Ok(see_other("/login"));
    };
    let connections = web.services.connections.list.connections(caller.user).await?;
    if connections.is_empty() {
        return Ok(see_other("/login"));
    }
    let now = web.services.platform.clock.now();
    let cards: Vec<Value> = connections.iter().map(|connection| card(&web, connection, now)).collect();
    let values = json!({
        "user_id": caller.user,
        "csrf": web.csrf.token(&caller),
        "connections": cards,
        "session_seconds": seconds_until(caller.ends_at, now),
        "session_expires_at": caller.ends_at.rfc3339(),
        "on_session_expiry": web.config.security.on_session_expiry.as_str(),
        "connect_url": connect_url(&web),
    });
    Ok(html(web.templates.page("index.html", &values)))
}

/// `GET /login`: the Connect button.
pub async fn get_login(web: Data<Web>, session: Session) -> Handled {
    if let Some(caller) = Caller::of(&session)
        && !web.services.connections.list.connections(caller.user).await?.is_empty()
    {
        return Ok(see_other("/"));
    }
    let values = json!({"connect_url": connect_url(&web)});
    Ok(html(web.templates.page("login.html", &values)))
}

/// `GET /logout`: asks for confirmation.
pub async fn get_logout(web: Data<Web>, session: Session) -> Handled {
    let Some(caller) = Caller::of(&session) else {
        return Ok(see_other("/login"));
    };
    let count = web.services.connections.list.connections(caller.user).await?.len();
    let values = json!({"csrf": web.csrf.token(&caller), "connection_count": count});
    Ok(html(web.templates.page("logout.html", &values)))
}

/// The form of the logout page.
#[derive(Debug, Deserialize)]
pub struct Logout {
    csrf: String,
}

/// `POST /logout`: ends the session and all connections that only it can reach.
pub async fn logout(request: HttpRequest, web: Data<Web>, session: Session, form: Form<Logout>) -> Handled {
    let Some(caller) = Caller::of(&session) else {
        return Ok(see_other("/login"));
    };
    csrf::check(&request, &web, &caller, Some(&form.csrf))?;
    web.services.connect.disconnect_all(caller.user, true).await?;
    session.purge();
    tracing::info!(user = %caller.user, "logged out");
    Ok(see_other("/login"))
}

/// Returns a card of the connections page: the fields of the API, and more that only the page shows.
fn card(web: &Web, connection: &Connection, now: Timestamp) -> Value {
    let mut card = json!(Entry::of(connection, now));
    card["hub_user"] = connection.token.hub_user.clone().into();
    let portal_id = connection.token.portal_id.map_or_else(String::new, |id| format!("&portal_id={id}"));
    card["reconnect_url"] = (connect_url(web) + &portal_id).into();
    card
}

fn connect_url(web: &Web) -> String {
    start_url(&web.config.server.origin())
}
