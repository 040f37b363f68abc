//! `connections list|explain|disconnect|revoke`: shows connections without their tokens, and ends them.

use std::fmt::Display;
use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, configured, disconnect, print_line, with_store};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::describe::describe;
use crate::domain::id::ConnectionId;
use crate::store::{ListedConnection, Store};

const CONNECTIONS_PER_PAGE: u32 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Connections {
    /// List connections, one per line: id, status, project, your user, HubSpot account, domain, next refresh.
    List,
    /// Explain the status of a connection and what will happen next.
    Explain {
        /// The id.
        id: ConnectionId,
    },
    /// Disconnect a connection and revoke its grant at HubSpot.
    Disconnect {
        /// The id.
        id: ConnectionId,
    },
    /// Disconnect connections and revoke their grants at HubSpot, for example after a leak.
    Revoke {
        /// Disconnect all connections of all users.
        #[arg(long, required = true)]
        all: bool,
    },
}

impl Connections {
    pub fn run(&self) -> Result<ExitCode, Failure> {
        match self {
            Self::List => with_store(&configured()?, async |store| {
                let now = Clock::system().now();
                print_all(store, |listed| line(listed, now)).await?;
                Ok(ExitCode::SUCCESS)
            }),
            Self::Explain { id } => with_store(&configured()?, async |store| {
                let listed = store.connections.find_listed(*id).await?.ok_or("no connection has this id")?;
                print_line(described(&listed, Clock::system().now()));
                Ok(ExitCode::SUCCESS)
            }),
            Self::Disconnect { id } => disconnect::one(*id),
            Self::Revoke { .. } => disconnect::all(),
        }
    }
}

/// Prints a line for every connection, a page at a time.
pub(super) async fn print_all<T: Display>(
    store: &Store,
    line: impl Fn(&ListedConnection) -> T,
) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let page = store.connections.list_tokens(&after, CONNECTIONS_PER_PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.token.id.to_string();
        page.iter().for_each(|listed| print_line(line(listed)));
    }
}

fn line(listed: &ListedConnection, now: Timestamp) -> String {
    let token = &listed.token;
    let portal = token.portal_id.map_or_else(|| "?".to_owned(), |id| id.to_string());
    let domain = token.hub_domain.as_deref().unwrap_or("?");
    let user = listed.external_user.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let next = listed.plan.run_at.map_or_else(|| "none".to_owned(), Timestamp::rfc3339);
    let (status, project) = (token.status_at(now).as_str(), &listed.project);
    format!(
        "{}  {status:<15}  project {project}  user {user}  account {portal}  {domain}  next refresh {next}",
        token.id
    )
}

fn described(listed: &ListedConnection, now: Timestamp) -> String {
    let token = &listed.token;
    let mut text = vec![format!("Connection {} of user {}", token.id, token.user_id)];
    let project = &listed.project;
    let owner = |id| format!("It belongs to the host's user {id} in the project {project}.");
    text.extend(listed.external_user.as_ref().map(owner));
    text.extend(describe(token, listed.plan, now));
    text.join("\n")
}
