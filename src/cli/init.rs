//! `init`: writes `.env` with the credentials of the HubSpot app and new keys, and shows what to register at HubSpot.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use serde_json::json;

use super::{Failure, doctor, print_line};
use crate::config::{Config, ENV_FILE, Variables, new_env};
use crate::domain::random::Random;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Secret;
use crate::keyring::Keyring;

const NO_TERMINAL: &str = "standard input is not a terminal; add --client-id ID --stdin, and send the client secret to standard input";

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The client id of the HubSpot app, instead of asking for it.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Read the client secret from standard input instead of asking for it.
    #[arg(long, requires = "client_id")]
    stdin: bool,
    /// The public URL of the service, for PUBLIC_URL.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// The scopes that every account must grant, separated by spaces or commas, for HUBSPOT_SCOPES.
    #[arg(long)]
    scopes: Option<String>,
}

/// The name of a variable, and its value.
type Pair = (&'static str, Secret);

impl Init {
    pub fn run(&self) -> Result<ExitCode, Failure> {
        // A link to a file that is missing counts too.
        if Path::new(ENV_FILE).symlink_metadata().is_ok() {
            return Err(exists());
        }
        let variables = Variables::of_process()?;
        let pairs = self.pairs()?;
        if let Some((name, _)) = pairs.iter().find(|(name, _)| variables.get(name).is_some()) {
            return Err(format!(
                "{name} is set in the environment and would take precedence over {ENV_FILE}; unset it"
            )
            .into());
        }
        let added = pairs.iter().map(|(name, value)| ((*name).to_owned(), value.expose().to_owned()));
        let config = Config::read(&variables.or(added))?;
        let values: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.expose())).collect();
        write(&Secret::new(new_env(&values)))?;
        print_line(format_args!(
            "{ENV_FILE} is written. Keep a copy of its ENCRYPTION_KEYS apart from backups of the database.\n"
        ));
        print_registration(&config);
        doctor::run()
    }

    fn pairs(&self) -> Result<Vec<Pair>, Failure> {
        let (client_id, client_secret) = self.credentials()?;
        let mut pairs = vec![
            ("HUBSPOT_CLIENT_ID", client_id),
            ("HUBSPOT_CLIENT_SECRET", client_secret),
            ("ENCRYPTION_KEYS", Keyring::generate()),
            ("APP_SECRET", Secret::random(&Random::system())),
        ];
        if let Some(scopes) = &self.scopes {
            let scopes: Vec<_> = Scopes::parse(scopes).iter().map(str::to_owned).collect();
            pairs.push(("HUBSPOT_SCOPES", Secret::new(scopes.join(","))));
        }
        if let Some(url) = &self.public_url {
            pairs.push(("PUBLIC_URL", Secret::new(url.clone())));
        }
        match pairs.iter().find(|(_, value)| !is_plain(value.expose())) {
            Some((name, _)) => Err(format!("{name} may contain letters, digits and -_./:@,+=% only").into()),
            None => Ok(pairs),
        }
    }

    fn credentials(&self) -> Result<(Secret, Secret), Failure> {
        if !self.stdin && !io::stdin().is_terminal() {
            return Err(NO_TERMINAL.into());
        }
        let client_id = match &self.client_id {
            Some(id) => Secret::new(id.clone()),
            None => ask("Client id of your HubSpot app")?,
        };
        let client_secret = match self.stdin {
            true => trimmed(io::read_to_string(io::stdin())?),
            false => ask_hidden("Client secret (not shown)")?,
        };
        Ok((client_id, client_secret))
    }
}

fn exists() -> Failure {
    format!("{ENV_FILE} exists and is not changed; `hubspot-connect doctor` checks it").into()
}

/// Returns whether the service, shells, Docker and Compose all read this value literally.
fn is_plain(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:@,+=%".contains(&byte))
}

fn trimmed(text: String) -> Secret {
    Secret::new(Secret::new(text).expose().trim().to_owned())
}

/// Asks for a line on the terminal.
fn ask(question: &str) -> Result<Secret, Failure> {
    write!(io::stderr(), "{question}: ")?;
    let mut input = io::stdin().lock();
    // A terminal returns one line per read. A line need not end with a line break, see `ask_hidden`.
    let line = input.fill_buf()?.to_vec();
    input.consume(line.len());
    Ok(trimmed(String::from_utf8(line)?))
}

/// Asks for a line without showing it. Ctrl-C only ends the line: a signal would end the command before the terminal shows
/// input again.
fn ask_hidden(question: &str) -> Result<Secret, Failure> {
    let terminal = io::stdin();
    let shown = tcgetattr(&terminal)?;
    let interrupt = shown.special_codes[SpecialCodeIndex::VINTR];
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    hidden.special_codes[SpecialCodeIndex::VEOL] = interrupt;
    tcsetattr(&terminal, OptionalActions::Now, &hidden)?;
    let answer = ask(question);
    tcsetattr(&terminal, OptionalActions::Now, &shown)?;
    writeln!(io::stderr())?;
    match answer? {
        answer if answer.expose().ends_with(char::from(interrupt)) => {
            Err("interrupted; nothing was written".into())
        }
        answer => Ok(answer),
    }
}

/// Writes `.env` for its owner only, complete or not at all.
fn write(text: &Secret) -> Result<(), Failure> {
    let temporary = format!("{ENV_FILE}.{}", Random::system().uuid());
    // Another `init` may have been faster: a link does not replace its file.
    let created = create(&temporary, text.expose()).and_then(|()| std::fs::hard_link(&temporary, ENV_FILE));
    let _ = std::fs::remove_file(&temporary);
    let created = created.and_then(|()| File::open(".")?.sync_all());
    created.map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => exists(),
        _ => format!("{ENV_FILE} cannot be written: {why}").into(),
    })
}

fn create(path: &str, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Prints the settings that the HubSpot app must have, as its file `app-hsmeta.json` has them.
fn print_registration(config: &Config) {
    let mut urls = vec![config.hubspot.redirect_uri.as_str()];
    if config.marketplace.installs {
        urls.push(config.marketplace.install_url.as_str());
    }
    print_line("Your HubSpot app must have, in `config.auth` of its app-hsmeta.json:");
    print_line(format_args!("  \"redirectUrls\": {},", json!(urls)));
    print_line(format_args!("  \"requiredScopes\": {},", json!(config.hubspot.scopes)));
    print_line(format_args!("  \"optionalScopes\": {}", json!(config.hubspot.optional_scopes)));
    print_line("It needs no webhook: the service calls HubSpot, and HubSpot does not call the service.\n");
}
