//! The allowed imports. The tables are the rule, the text of `docs/architecture.md`, and the proof that there is no
//! cycle; files must not import each other in cycles either.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each module with its allowed imports, top-down: a module may only name modules below it.
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

/// The same for the sub-domains of `services`.
const SERVICES: &[(&str, &[&str])] = &[
    ("maintenance", &["pending_grants", "connections", "webhooks", "platform"]),
    ("connect", &["pending_grants", "connections", "platform"]),
    ("marketplace", &["pending_grants", "connections", "platform"]),
    ("pending_grants", &["connections", "platform"]),
    ("proxy", &["connections", "platform"]),
    ("webhooks", &["platform"]),
    ("connections", &["platform"]),
    ("platform", &[]),
];

/// The handles of `store` that each sub-domain of `services` may name. `Store` is the bundle of all; `Base` holds it.
const HANDLES: &[(&str, &[&str])] = &[
    ("maintenance", &["ConnectStore", "MarketplaceStore", "PlatformStore"]),
    ("connect", &["ConnectStore", "ConnectionStore", "PlatformStore"]),
    ("marketplace", &["ConnectStore", "MarketplaceStore", "PlatformStore"]),
    ("pending_grants", &["ConnectStore"]),
    ("proxy", &[]),
    ("webhooks", &["WebhookStore"]),
    ("connections", &["ConnectStore", "ConnectionStore", "PlatformStore", "WebhookStore"]),
    ("platform", &["ConnectStore", "ConnectionStore", "PlatformStore", "Store"]),
];

/// The same for `http`.
const HTTP: &[(&str, &[&str])] = &[
    ("admin", &["envelope", "health", "problem"]),
    ("envelope", &["openapi", "api", "browser", "request", "problem", "templates", "paths"]),
    ("openapi", &["api", "browser", "health", "problem", "public_text", "paths"]),
    ("api", &["browser", "request", "problem", "paths"]),
    ("browser", &["request", "server", "problem", "templates", "paths"]),
    ("request", &["server", "problem", "paths"]),
    ("server", &["paths"]),
    ("templates", &["problem"]),
    ("assets", &["problem", "public_text"]),
    ("health", &[]),
    ("problem", &[]),
    ("public_text", &[]),
    ("paths", &[]),
];

/// The same for those of `store`.
const STORE: &[(&str, &[&str])] = &[
    ("connect", &["connections", "webhooks", "entity", "db"]),
    ("platform", &["connections", "webhooks", "entity", "db"]),
    ("connections", &["webhooks", "entity", "db"]),
    ("webhooks", &["entity", "db"]),
    ("marketplace", &["entity", "db"]),
    ("entity", &["db"]),
    ("db", &[]),
];

#[test]
fn modules_import_only_lower_layers() {
    holds(TABLE, &found());
}

#[test]
fn sub_domains_import_only_lower_layers() {
    for (module, table) in [("services", SERVICES), ("http", HTTP), ("store", STORE)] {
        let found = found_in(module);
        holds(table, &found);
        stands_in_order(table);
        every_import_is_used(table, &found);
    }
}

#[test]
fn sub_domains_use_only_their_store_handles() {
    let mut found = Found::new();
    for (file, names) in Files::read().0 {
        let Some(domain) = sub_domain("services", &file) else { continue };
        let handles = names.values().filter_map(|path| path.strip_prefix("store::"));
        let handles = handles.filter(|name| name.ends_with("Store"));
        let places = handles.map(|handle| (handle.to_owned(), file.clone()));
        found.entry(domain.to_owned()).or_default().extend(places);
    }
    holds(HANDLES, &found);
    every_import_is_used(HANDLES, &found);
}

/// A parent and its children count as one: they may name each other.
#[test]
fn files_do_not_import_each_other_in_cycles() {
    let mut graph = Files::read().graph();
    // A file that imports no remaining file, or is imported by none, is in no cycle.
    loop {
        let before = graph.len();
        let left: BTreeSet<String> = graph.keys().cloned().collect();
        graph.values_mut().for_each(|imports| imports.retain(|import| left.contains(import)));
        let imported: BTreeSet<String> = graph.values().flatten().cloned().collect();
        graph.retain(|file, imports| !imports.is_empty() && imported.contains(file));
        if graph.len() == before {
            break;
        }
    }
    let edges = graph.iter().map(|(file, imports)| format!("{file} -> {imports:?}"));
    assert!(
        graph.is_empty(),
        "these import each other in a circle:\n{}",
        edges.collect::<Vec<_>>().join("\n")
    );
}

type Table = [(&'static str, &'static [&'static str])];

/// The imports of each module of a table, with their places.
type Found = BTreeMap<String, Vec<(String, String)>>;

fn holds(table: &Table, found: &Found) {
    let mut culprits = Vec::new();
    for (module, imports) in found {
        let allowed = table.iter().find(|(name, _)| name == module).map(|(_, allowed)| *allowed);
        let allowed = allowed.unwrap_or_else(|| panic!("{module} is not in the table"));
        for (import, place) in imports {
            if import != module && !allowed.contains(&import.as_str()) {
                culprits.push(format!("{place}: {module} may not import {import}"));
            }
        }
    }
    assert!(culprits.is_empty(), "\n{}", culprits.join("\n"));
}

#[test]
fn the_layer_table_has_no_cycle() {
    stands_in_order(TABLE);
}

fn stands_in_order(table: &Table) {
    for (at, (module, allowed)) in table.iter().enumerate() {
        for import in *allowed {
            let stands =
                table.iter().position(|(name, _)| name == import).expect("every import is in the table");
            assert!(stands > at, "{module} imports {import}, which does not stand below it");
        }
    }
}

#[test]
fn every_allowed_import_is_used() {
    every_import_is_used(TABLE, &found());
}

fn every_import_is_used(table: &Table, found: &Found) {
    for (module, allowed) in table {
        let used: BTreeSet<&str> = found[*module].iter().map(|(import, _)| import.as_str()).collect();
        for import in *allowed {
            assert!(
                used.contains(import),
                "{module} does not import {import} any more: remove it from the table"
            );
        }
    }
}

#[test]
fn the_core_imports_neither_web_nor_database_crates() {
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

fn found() -> Found {
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

/// Returns the same for the sub-domains of a module; types that the module itself defines are open to all.
fn found_in(module: &str) -> Found {
    let mut all = Found::new();
    let files = Files::read();
    for (file, imports) in files.graph() {
        let Some(domain) = sub_domain(module, &file) else { continue };
        let imports = imports.iter().filter_map(|import| sub_domain(module, import));
        let places = imports.map(|import| (import.to_owned(), file.clone()));
        all.entry(domain.to_owned()).or_default().extend(places);
    }
    all
}

fn sub_domain<'a>(module: &str, file: &'a str) -> Option<&'a str> {
    file.strip_prefix(module)?.strip_prefix("::")?.split("::").next()
}

/// The files of the crate by module path, each with the names that it imports, as whole paths.
struct Files(BTreeMap<String, BTreeMap<String, String>>);

impl Files {
    fn read() -> Self {
        let mut files = BTreeMap::new();
        let texts: BTreeMap<String, String> =
            sources("").into_iter().map(|(path, text)| (module_path(&path), text)).collect();
        for (module, text) in &texts {
            let mut names = BTreeMap::new();
            for path in paths(text) {
                if let Some(whole) = whole(module, &path, &texts) {
                    let name = whole.rsplit("::").next().unwrap_or_default().to_owned();
                    // Two paths may have the same last segment: `a::StoreError` and `b::StoreError`. Both count.
                    let name = if names.contains_key(&name) { path } else { name };
                    names.insert(name, whole);
                }
            }
            files.insert(module.clone(), names);
        }
        Self(files)
    }

    /// Returns the files from which each file imports, also through re-exports; parents and children aside.
    fn graph(&self) -> BTreeMap<String, BTreeSet<String>> {
        let imports = |file: &String, names: &BTreeMap<String, String>| {
            let found = names.values().filter_map(|path| self.home(path, 0));
            found.filter(|home| !is_above(file, home) && !is_above(home, file)).collect()
        };
        self.0.iter().map(|(file, names)| (file.clone(), imports(file, names))).collect()
    }

    /// Returns the file that defines the item of this path: not one that only re-exports it.
    fn home(&self, path: &str, depth: usize) -> Option<String> {
        let mut file = path;
        while !self.0.contains_key(file) {
            file = file.rsplit_once("::")?.0;
        }
        let name = path.strip_prefix(file)?.trim_start_matches("::").split("::").next()?;
        match self.0[file].get(name) {
            Some(elsewhere) if depth < 8 && elsewhere != path => self.home(elsewhere, depth + 1),
            _ => Some(file.to_owned()),
        }
    }
}

fn is_above(upper: &str, lower: &str) -> bool {
    upper.is_empty()
        || lower.strip_prefix(upper).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Returns the module path of a file: `http/api/mod.rs` is `http::api`.
fn module_path(path: &str) -> String {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
    if path == "lib" { String::new() } else { path }
}

/// Returns all paths that a text imports, with groups expanded, and those that it names in place.
fn paths(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut found = Vec::new();
    for statement in code.join(" ").split(';') {
        let words: Vec<&str> = statement.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "use");
        let begins = |at: &usize| {
            words[..*at].iter().rev().all(|word| {
                word.starts_with("pub")
                    || word.contains("services)")
                    || word.ends_with(']')
                    || word.ends_with('}')
            })
        };
        match at.filter(begins) {
            Some(at) => expand(&words[at + 1..].join(" "), &mut found),
            None => {
                for start in ["crate::", "super::"] {
                    for (place, _) in statement.match_indices(start) {
                        let path =
                            statement[place..].split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
                        found.extend(path.take(1).map(|path| path.trim_end_matches(':').to_owned()));
                    }
                }
            }
        }
    }
    found
}

/// Expands `a::{b, c::{d, e}}`.
fn expand(path: &str, into: &mut Vec<String>) {
    let Some((start, group)) = path.split_once('{') else {
        let path = path.split(" as ").next().unwrap_or_default();
        return into.push(path.split_whitespace().collect());
    };
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let (mut depth, mut from) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let item = group[from..at].trim();
                if !item.is_empty() {
                    expand(&format!("{}{item}", start.trim()), into);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}

/// Returns a path of this crate from its root; `None` for paths of other crates.
fn whole(module: &str, path: &str, files: &BTreeMap<String, String>) -> Option<String> {
    if let Some(path) = path.strip_prefix("crate::") {
        return Some(path.to_owned());
    }
    let (mut base, mut rest) = (module, path);
    while let Some(above) = rest.strip_prefix("super::") {
        (base, rest) = (base.rsplit_once("::").map_or("", |(parent, _)| parent), above);
    }
    let rest = rest.strip_prefix("self::").unwrap_or(rest);
    let joined = format!("{base}::{rest}").trim_start_matches("::").to_owned();
    let child = joined.split("::").take(base.split("::").filter(|part| !part.is_empty()).count() + 1);
    let is_child = files.contains_key(&child.collect::<Vec<_>>().join("::"));
    (path.starts_with("super::") || path.starts_with("self::") || is_child).then_some(joined)
}

/// Returns the first segments of all `crate::…` paths in a line of code.
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

/// Returns the sources of a module, without their unit tests.
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

/// Each step of the three lists in `docs/architecture.md` names a file, and a function or a list in it.
#[test]
fn code_paths_in_the_documentation_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/architecture.md")).expect("the document");
    let walks = text.split("\n## ").filter(|section| section.contains("\n1. `src/"));
    let lengths: Vec<usize> = walks
        .map(|walk| {
            let stops = walk.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
            stops.inspect(|stop| stands(root, stop)).count()
        })
        .collect();
    assert_eq!(lengths.len(), 3);
    assert!(lengths.iter().all(|length| *length <= 10), "{lengths:?}");
}

fn stands(root: &Path, stop: &str) {
    let names: Vec<&str> = stop.split('`').skip(1).step_by(2).take(2).collect();
    let text = std::fs::read_to_string(root.join(names[0])).unwrap_or_else(|why| panic!("{stop}: {why}"));
    let is_there = ["fn ", "const "].iter().any(|kind| {
        text.match_indices(&format!("{kind}{}", names[1])).any(|(at, found)| {
            !text[at + found.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
        })
    });
    assert!(is_there, "{stop}");
}

/// A renamed table should cost one line of the tests; those of migrations and upgrades are about older schemas.
#[test]
fn tests_name_tables_only_in_their_sql_module() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut tests, mut changes) = (Vec::new(), Vec::new());
    collect(&root.join("tests/it"), &mut tests);
    let is_of_today = |path: &PathBuf| {
        let names: Vec<_> = path.iter().collect();
        !["sql.rs", "migrations.rs", "upgrade", "fixtures"].iter().any(|name| names.contains(&name.as_ref()))
    };
    collect(&root.join("migrations"), &mut changes);
    let read = |path: &PathBuf| std::fs::read_to_string(path).expect("a file");
    let changes: String = changes.iter().map(read).collect();
    let tables: BTreeSet<_> =
        changes.split(".table(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    for path in tests.iter().filter(|path| is_of_today(path)) {
        let text = read(path);
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for pair in words.windows(2) {
            let is_sql = ["FROM", "INTO", "JOIN", "TABLE", "UPDATE"].contains(&pair[0]);
            assert!(!(is_sql && tables.contains(pair[1])), "{}: {}", path.display(), pair.join(" "));
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
