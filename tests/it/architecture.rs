//! Who may import whom. The table is the rule, the text of `docs/architecture.md`, and the proof that there is no
//! circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each module with those it may import, top-down: a module may only name modules that stand below it.
const TABLE: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "app",
            "http",
            "services",
            "hubspot",
            "store",
            "keyring",
            "telemetry",
            "config",
            "egress",
            "lifecycle",
            "domain",
        ],
    ),
    (
        "app",
        &[
            "http",
            "jobs",
            "services",
            "hubspot",
            "store",
            "keyring",
            "telemetry",
            "config",
            "egress",
            "domain",
        ],
    ),
    ("http", &["services", "telemetry", "config", "domain"]),
    ("jobs", &["services", "config", "domain"]),
    ("services", &["hubspot", "store", "webhook", "keyring", "telemetry", "config", "crash", "domain"]),
    ("hubspot", &["config", "egress", "domain"]),
    ("store", &["config", "crash", "domain"]),
    ("webhook", &["config", "egress", "domain"]),
    ("telemetry", &["config", "domain"]),
    ("config", &["keyring", "domain"]),
    ("keyring", &["domain"]),
    ("egress", &["domain"]),
    ("lifecycle", &[]),
    ("crash", &[]),
    ("domain", &[]),
];

#[test]
fn modules_import_only_what_stands_below_them_in_the_table() {
    let mut culprits = Vec::new();
    for (module, imports) in found() {
        let allowed = TABLE.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed);
        let allowed = allowed.unwrap_or_else(|| panic!("src/{module} is not in the table"));
        for (import, place) in imports {
            if import != module && !allowed.contains(&import.as_str()) {
                culprits.push(format!("{place}: {module} may not import {import}"));
            }
        }
    }
    assert!(culprits.is_empty(), "\n{}", culprits.join("\n"));
}

#[test]
fn the_table_has_no_circle() {
    for (at, (module, allowed)) in TABLE.iter().enumerate() {
        for import in *allowed {
            let stands =
                TABLE.iter().position(|(name, _)| name == import).expect("every import is in the table");
            assert!(stands > at, "{module} imports {import}, which does not stand below it");
        }
    }
}

#[test]
fn every_allowed_import_is_used_so_that_the_table_stays_true() {
    let found = found();
    for (module, allowed) in TABLE {
        let used: BTreeSet<&str> = found[*module].iter().map(|(import, _)| import.as_str()).collect();
        for import in *allowed {
            assert!(
                used.contains(import),
                "{module} does not import {import} any more: strike it from the table"
            );
        }
    }
}

#[test]
fn the_core_knows_neither_the_web_nor_the_database_of_others() {
    for (module, foreign) in [
        ("services", "actix"),
        ("services", "sea_orm"),
        ("domain", "tokio"),
        ("store", "reqwest"),
        ("http", "sea_orm"),
    ] {
        for (path, text) in sources(module) {
            assert!(
                !text.contains(&format!("{foreign}::")) && !text.contains(&format!("{foreign}_web")),
                "{path} uses {foreign}"
            );
        }
    }
}

/// For each top-level module: what it imports, and where.
fn found() -> BTreeMap<String, Vec<(String, String)>> {
    let mut all = BTreeMap::new();
    for (module, _) in TABLE {
        let mut imports = Vec::new();
        for (path, text) in sources(module) {
            for (number, line) in text.lines().enumerate() {
                for name in crate_paths(line) {
                    imports.push((name, format!("{path}:{}", number + 1)));
                }
            }
        }
        all.insert((*module).to_owned(), imports);
    }
    all
}

/// The first segments of all `crate::…` paths in a line of code.
fn crate_paths(line: &str) -> Vec<String> {
    if line.trim_start().starts_with("//") {
        return Vec::new();
    }
    let mut names = Vec::new();
    for rest in line.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = group.split('}').next().unwrap_or_default();
                names.extend(group.split(',').map(|item| first_segment(item.trim())));
            }
            None => names.push(first_segment(rest)),
        }
    }
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

fn first_segment(path: &str) -> String {
    path.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
}

/// The sources of a module, without their unit tests.
fn sources(module: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![root.join(format!("{module}.rs"))];
    collect(&root.join(module), &mut files);
    let existing =
        files.into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs") && path.exists());
    existing
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            (path.strip_prefix(&root).expect("below src").display().to_string(), code)
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
