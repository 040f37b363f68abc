//! `cargo xtask test`: the one command that checks the whole repository.

use crate::postgres::Server;
use crate::run::{cargo, target_dir};
use crate::steps::Steps;
use crate::suite::{self, Part as Suite};
use crate::{
    Result, Task, backend_sdk, browser, compatibility, lint, schemathesis, sdk, setup, siege, torture,
};
use clap::{Args, ValueEnum};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Child;

/// Run every check and every test, after installing what they need
///
/// Formatting, lints, documentation, unit tests, the integration suite on SQLite and again on PostgreSQL, a minute of
/// torture and one of siege, the browser suite, licences and generated documents. PostgreSQL, nginx, promtool, Chromium
/// and npm packages are installed when they are missing; what cannot be installed is named, with the command that
/// would. All steps run, even after a failure.
#[derive(Args)]
pub struct Test {
    /// Run only this part; may be repeated
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Formatting, clippy, documentation, licences, generated documents, links and wording
    Lint,
    /// Everything except the integration and the browser suite
    Unit,
    /// The integration suite on SQLite
    Sqlite,
    /// The integration suite on a PostgreSQL server
    Postgres,
    /// Replicas that are killed, frozen and cut off for a minute, and a service under siege for one
    Torture,
    /// Requests generated from the description of the API, and its comparison with that of the last release
    Description,
    /// The clients for backends: a complete run in TypeScript and in Python
    BackendSdk,
    /// The browser SDK: its types, its built files, its tests
    Sdk,
    /// The popup in a real browser
    Browser,
}

/// The parts that test the API and its clients against a running service.
const CLIENTS: [&str; 3] = ["description", "backend-sdk", "sdk"];

impl Task for Test {
    fn run(self) -> Result<()> {
        let mut steps = Steps::default();
        self.set_up(&mut steps);
        if self.wants(Part::Lint) {
            lint::code(&mut steps);
        }
        self.tests(&mut steps);
        if self.wants(Part::Lint) {
            lint::papers(&mut steps);
        }
        steps.finish()
    }
}

impl Test {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn set_up(&self, steps: &mut Steps) {
        let mut needs = Vec::new();
        if self.wants(Part::Postgres) || self.wants(Part::Torture) {
            needs.push(setup::POSTGRES);
        }
        if self.wants(Part::Sqlite) || self.wants(Part::Postgres) {
            needs.extend([setup::NGINX, setup::PROMTOOL]);
        }
        if self.wants(Part::Sdk) || self.wants(Part::Browser) && browser::suite_exists() {
            needs.extend([setup::CHROMIUM, setup::NODE, setup::PYTHON]);
        }
        if self.wants(Part::Browser) && browser::suite_exists() {
            needs.push(setup::FIREFOX);
        }
        if self.wants(Part::Lint) {
            needs.push(setup::PYTHON);
        }
        if self.wants(Part::Description) || self.wants(Part::BackendSdk) {
            needs.extend([setup::PYTHON, setup::NODE]);
        }
        if needs.iter().any(setup::Need::is_missing) {
            steps.run("setup", || setup::install_missing(&needs));
        }
    }

    fn tests(&self, steps: &mut Steps) {
        if self.only.is_empty() {
            // One run instead of two: the runner then keeps all processors busy to the end.
            steps.run("unit tests and integration suite on SQLite", || suite::run(Suite::All, None));
        } else {
            if self.wants(Part::Unit) {
                steps.run("unit tests", || suite::run(Suite::Unit, None));
            }
            if self.wants(Part::Sqlite) {
                steps.run("integration suite on SQLite", || suite::run(Suite::Integration, None));
            }
        }
        // The next steps wait more than they compute, so the clients are tested at the same time.
        let meanwhile = self.only.is_empty().then(|| Meanwhile::start(&CLIENTS));
        if self.wants(Part::Postgres) {
            steps.run("integration suite on PostgreSQL", || {
                let server = Server::given_or_quick()?;
                suite::run(Suite::Integration, Some(server.url()))
            });
        }
        if self.wants(Part::Torture) {
            steps.run("torture", torture::briefly);
            steps.run("siege", siege::briefly);
        }
        match meanwhile {
            Some(meanwhile) => steps.run("description, clients, SDK", || meanwhile?.finish()),
            None => self.clients(steps),
        }
        if self.wants(Part::Browser) {
            steps.run("browser suite", browser::run);
        }
    }

    fn clients(&self, steps: &mut Steps) {
        if self.wants(Part::Description) {
            steps.run("description of the API", schemathesis::run);
            steps.run("compatibility of the API", compatibility::run);
        }
        if self.wants(Part::BackendSdk) {
            steps.run("clients for backends", backend_sdk::run);
        }
        if self.wants(Part::Sdk) {
            steps.run("browser SDK", sdk::run);
        }
    }
}

/// Parts that run in another process beside other steps. Their output is printed at the end.
struct Meanwhile {
    child: Child,
    output: PathBuf,
}

impl Meanwhile {
    fn start(parts: &[&str]) -> Result<Self> {
        let output = target_dir().join("meanwhile.log");
        let log = File::create(&output).map_err(|why| format!("{}: {why}", output.display()))?;
        let errors = log.try_clone().map_err(|why| why.to_string())?;
        let mut test = cargo("xtask");
        test.arg("test").args(parts.iter().flat_map(|part| ["--only", part]));
        let child = test.stdout(log).stderr(errors).spawn().map_err(|why| why.to_string())?;
        Ok(Self { child, output })
    }

    fn finish(mut self) -> Result<()> {
        let status = self.child.wait().map_err(|why| why.to_string())?;
        print!("{}", fs::read_to_string(&self.output).map_err(|why| why.to_string())?);
        if status.success() { Ok(()) } else { Err("see the summary above".to_owned()) }
    }
}
