//! The command line: one subcommand per file.

mod api_keys;
mod connections;
mod db;
mod disconnect;
mod doctor;
mod export;
mod healthcheck;
mod import;
mod init;
mod keys;
mod output;
mod print;
mod projects;
mod serve;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use self::output::{print_error, print_line, was_printed};
use crate::app;
use crate::config::{Config, Variables};
use crate::domain::clock::Clock;
use crate::domain::random::Random;
use crate::services::Services;
use crate::store::{Database, SchemaStatus, Store};
use crate::telemetry::metrics::Metrics;

/// Connect web applications to HubSpot: OAuth in a popup, tokens encrypted and refreshed.
#[derive(Debug, Parser)]
#[command(name = "hubspot-connect", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP and run the background jobs until a signal arrives (the default).
    Serve(serve::Serve),
    /// Write a `.env` with new keys, show what the HubSpot app must have, and check the setup.
    ///
    /// On a terminal, it asks for the client id and the client secret of the app. An existing `.env` is never changed. The
    /// exit code is that of `doctor`.
    Init(init::Init),
    /// Manage the database schema.
    #[command(subcommand)]
    Db(db::Db),
    /// Manage encryption keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Check configuration, database, keys and HubSpot, and suggest fixes.
    Doctor,
    /// Manage the API keys of host backends.
    #[command(subcommand, name = "api-keys")]
    ApiKeys(api_keys::ApiKeys),
    /// Manage projects: products that share the service but no data.
    #[command(subcommand)]
    Projects(projects::Projects),
    /// List, explain and disconnect connections.
    #[command(subcommand)]
    Connections(connections::Connections),
    /// Import connections from a file of refresh tokens, one JSON object per line.
    Import(import::ImportCommand),
    /// Export all connections without their tokens, one JSON object per line.
    Export,
    /// Print generated documents.
    #[command(subcommand)]
    Print(print::Print),
    /// Exit with 0 if the service on this machine responds; for containers.
    Healthcheck,
}

/// The error of a command, for the operator.
type Failure = Box<dyn std::error::Error>;

/// Runs the command line. Exit codes: 0, 1 failure, 2 usage.
pub fn main() -> ExitCode {
    crate::lifecycle::harden();
    crate::lifecycle::make_room();
    let arguments = Arguments::parse();
    let outcome = match arguments.command.unwrap_or_else(|| Command::Serve(serve::Serve::default())) {
        Command::Serve(command) => command.run(),
        Command::Init(command) => command.run(),
        Command::Db(command) => command.run(),
        Command::Keys(command) => command.run(),
        Command::Doctor => doctor::run(),
        Command::ApiKeys(command) => command.run(),
        Command::Projects(command) => command.run(),
        Command::Connections(command) => command.run(),
        Command::Import(command) => command.run(),
        Command::Export => export::run(),
        Command::Print(command) => command.run(),
        Command::Healthcheck => healthcheck::run(),
    };
    match outcome {
        Ok(_) if !was_printed() => ExitCode::FAILURE,
        Ok(code) => code,
        Err(why) => {
            print_error(&why.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Reads the configuration of this process, and warns about probable mistakes in it.
fn configured() -> Result<Config, Failure> {
    let variables = Variables::of_process()?;
    variables.warnings().for_each(|warning| print_error(&warning));
    Ok(Config::read(&variables)?)
}

fn runtime() -> Result<Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Runs work on the database while the service may be running. Fails if the schema is not that of this release.
fn with_store<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Store) -> Result<T, Failure>,
) -> Result<T, Failure> {
    runtime()?.block_on(async {
        let store = Store::over(Database::open_beside(&config.database, Clock::system()).await?);
        let done = async {
            match unfit(&store.database().schema_status().await?) {
                Some(why) => Err(why.into()),
                None => work(&store).await,
            }
        };
        let done = done.await;
        store.database().close().await;
        done
    })
}

/// Runs work with the services. Fails on SQLite while the service runs, because it caches rows and would not see a
/// change.
fn with_services<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Services, &Store) -> Result<T, Failure>,
) -> Result<T, Failure> {
    runtime()?.block_on(async {
        let metrics = Arc::new(Metrics::default());
        let (services, store) =
            app::build_services(config, Clock::system(), Random::system(), metrics).await?;
        let done = work(&services, &store).await;
        services.drain().await;
        store.database().close().await;
        done
    })
}

/// Returns what to do if this release cannot work with a schema.
fn unfit(schema: &SchemaStatus) -> Option<String> {
    if let Some(newer) = schema.unknown.last() {
        return Some(format!("the schema is newer than this release ({newer}); upgrade hubspot-connect"));
    }
    let missing = schema.missing.len();
    let advice = || format!("{missing} schema change(s) are missing; run `hubspot-connect db migrate`");
    (missing > 0).then(advice)
}
