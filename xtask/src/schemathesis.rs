//! Requests generated from the description of the API by Schemathesis: every response of the service must match the
//! description.

use crate::live::{HOST, Live};
use crate::run::{program, root, show};
use crate::steps::Done;
use crate::{Result, generate, setup};
use std::fs;

/// The requirements, the test data and the settings, with the reasons for every exception.
const FOLDER: &str = "xtask/schemathesis";
/// Generated requests per operation and phase: a minute in all.
const EXAMPLES: &str = "30";
/// The values in the description's examples are valid here, and there are installs and pickup codes to claim.
const VARIABLES: [(&str, &str); 5] = [
    ("HOST_ORIGINS", "http://127.0.0.1:3000,https://app.example.com"),
    ("MARKETPLACE_INSTALLS", "on"),
    ("TOKEN_DELIVERY", "auto"),
    // Calls that are forwarded to HubSpot may change something there.
    ("HUBSPOT_SCOPES", "oauth crm.objects.contacts.read crm.objects.contacts.write"),
    ("WEBHOOK_ALLOWED_HOSTS", "127.0.0.1,app.example.com"),
];

/// Runs it against the service and a simulated HubSpot.
pub fn run() -> Result<Done> {
    let python = setup::python_packages(FOLDER)?;
    generate::build_programs()?;
    let live = Live::start_with("description", &VARIABLES)?;
    let key = live.api_key()?;
    let mut prepare = program(&python);
    prepare.arg(root().join(FOLDER).join("prepare.py")).arg(&live.folder);
    prepare.env("SERVICE", &live.service).env("HUBSPOT", &live.hubspot);
    show(prepare.env("ORIGIN", HOST).env("API_KEY", &key))?;
    // Beside the dictionaries to which it refers.
    let config = live.folder.join("schemathesis.toml");
    fs::copy(root().join(FOLDER).join("schemathesis.toml"), &config).map_err(|why| why.to_string())?;
    let mut run = program(python.with_file_name("schemathesis"));
    run.env("SCHEMATHESIS_HOOKS", root().join(FOLDER).join("hooks.py"));
    run.env("FOLDER", &live.folder).env("SERVICE", &live.service);
    run.arg("--config-file")
        .arg(config)
        .args(["run", &format!("{}/api/openapi.json", live.service)])
        .args(["--header", &format!("Authorization: Bearer {key}")])
        .args(["--max-examples", EXAMPLES, "--no-color"]);
    show(&mut run).map(Done::from)
}
