//! `connections list|explain|disconnect|revoke`: what is stored, in words and without tokens; and how it ends.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, configured, ending, runtime, say, store};
use crate::domain::clock::{Clock, Moment};
use crate::domain::id::ConnectionId;
use crate::store::Listed;

const PAGE: u32 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Connections {
    /// One line for each connection.
    List,
    /// Say how one connection fares, and what will happen next.
    Explain {
        /// Its id.
        id: ConnectionId,
    },
    /// End one connection, here and at HubSpot.
    Disconnect {
        /// Its id.
        id: ConnectionId,
    },
    /// End connections here and at HubSpot, after a leak for example.
    Revoke {
        /// All of them, whoever they belong to.
        #[arg(long, required = true)]
        all: bool,
    },
}

impl Connections {
    pub fn run(&self) -> Result<ExitCode, Failure> {
        match self {
            Self::List | Self::Explain { .. } => self.tell(),
            Self::Disconnect { id } => ending::one(*id),
            Self::Revoke { .. } => ending::all(),
        }
    }

    fn tell(&self) -> Result<ExitCode, Failure> {
        let config = configured()?;
        runtime()?.block_on(async {
            let store = store(&config).await?;
            let now = Clock::system().now();
            let mut after = String::new();
            let mut found = matches!(self, Self::List);
            loop {
                let page = store.list_tokens(&after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = last.token.id.to_string();
                for listed in &page {
                    match self {
                        Self::List => say(line(listed, now)),
                        Self::Explain { id } if *id == listed.token.id => {
                            say(explain(listed, now));
                            found = true;
                        }
                        _ => {}
                    }
                }
            }
            store.close().await;
            if found { Ok(ExitCode::SUCCESS) } else { Err("there is no connection with this id".into()) }
        })
    }
}

fn line(listed: &Listed, now: Moment) -> String {
    let token = &listed.token;
    let portal = token.portal_id.map_or_else(|| "?".to_owned(), |id| id.to_string());
    let domain = token.hub_domain.as_deref().unwrap_or("?");
    let next = listed.run_at.map_or_else(|| "none".to_owned(), Moment::rfc3339);
    format!("{}  {:<15}  account {portal}  {domain}  next refresh {next}", token.id, token.public_state(now))
}

fn explain(listed: &Listed, now: Moment) -> String {
    let token = &listed.token;
    let mut text = vec![
        format!("Connection {} of user {}", token.id, token.user_id),
        format!(
            "Account: {} ({})",
            token.portal_id.map_or_else(|| "unknown".to_owned(), |id| id.to_string()),
            token.hub_domain.as_deref().unwrap_or("not known yet")
        ),
        format!(
            "First connected {}, last approved by the person {}.",
            token.created_at.rfc3339(),
            token.connected_at.rfc3339()
        ),
        format!(
            "Its tokens are of generation {}, received {}; the access token expires {}.",
            token.generation,
            token.obtained_at.rfc3339(),
            token.expires_at.rfc3339()
        ),
        format!("Granted: {}.", token.scopes),
    ];
    let missing = token.wanted_scopes.missing_from(&token.scopes);
    if !missing.is_empty() {
        text.push(format!("Asked for and not granted: {missing}."));
    }
    text.push(match token.public_state(now) {
        "active" => "It is active: it is refreshed before it expires.".to_owned(),
        "degraded" => "It is degraded: the access token has expired and refreshing has not succeeded yet.".to_owned(),
        "needs_reauth" if token.last_error.as_deref() == Some("key_lost") => {
            "It needs its person: the key that it was sealed under is lost. Nothing is refreshed until they reconnect.".to_owned()
        }
        "needs_reauth" => "It needs its person: HubSpot has refused the refresh token twice. Nothing is refreshed until they reconnect.".to_owned(),
        state => format!("Its state is {state}: what is stored cannot be trusted. Nothing is handed out; the person must reconnect."),
    });
    if let (Some(error), Some(since)) = (&token.last_error, token.error_since) {
        text.push(format!("The last refresh failed with `{error}`; failing since {}.", since.rfc3339()));
    }
    if let Some(run_at) = listed.run_at {
        let attempts = listed.attempts.unwrap_or(0);
        text.push(format!(
            "The next refresh is planned for {} after {attempts} failed attempt(s).",
            run_at.rfc3339()
        ));
    }
    if listed.lease_until.is_some_and(|until| until > now) {
        text.push("A process is refreshing it right now.".to_owned());
    }
    text.join("\n")
}
