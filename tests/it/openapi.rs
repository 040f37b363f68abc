//! The description of the API: complete, and without anything else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hubspot_connect::domain::event::EventType;
use reqwest::Method;
use serde_json::Value;

use crate::harness::TestApp;

/// Handlers outside of the API: pages for users with the endpoints of their scripts, and files.
const PAGES: [&str; 20] = [
    "get_index",
    "get_login",
    "get_logout",
    "logout",
    "get_done",
    "get_launched",
    "get_link",
    "start_by_link",
    "start_by_form",
    "verify_opener",
    "finish_auth",
    "take_handoff",
    "read_link",
    "open_link",
    // Opened by HubSpot, in the user's browser.
    "get_install",
    "get_install_claim",
    "decide",
    "continue_start",
    "get_asset",
    // The handler of unknown paths.
    "not_found",
];
const ALL: &str = "sessions:write tokens:read connections:read connections:write proxy webhooks";

/// Handlers of the operator's listener, which the public cannot reach.
const OPERATOR: [&str; 2] = ["get_ready", "get_metrics"];

/// The URLs of the popup, their methods, and the media type of their errors.
const POPUP: [(&str, &[Method], &str); 6] = [
    ("/auth/hubspot/start", &[Method::GET, Method::POST], "text/html"),
    ("/auth/hubspot/callback", &[Method::GET], "text/html"),
    ("/auth/hubspot/launch", &[Method::POST], PROBLEM),
    ("/auth/hubspot/handoff", &[Method::POST], PROBLEM),
    ("/auth/hubspot/link", &[Method::POST], PROBLEM),
    ("/auth/hubspot/link/open", &[Method::POST], PROBLEM),
];
const PROBLEM: &str = "application/problem+json";

const METHODS: [Method; 6] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD];

pub fn committed() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    serde_json::from_str(&std::fs::read_to_string(file).expect("openapi.json")).expect("JSON")
}

/// Returns path, method and operation, one by one.
pub fn operations(document: &Value) -> Vec<(String, Method, Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in &METHODS {
            let operation = &item[method.as_str().to_lowercase()];
            if operation.is_object() {
                all.push((path.clone(), method.clone(), operation.clone()));
            }
        }
    }
    all
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Returns the handlers in the route tables: `.to(module::handler)`.
fn routed_handlers() -> BTreeSet<String> {
    let mut handlers = BTreeSet::new();
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http")) {
        let text = std::fs::read_to_string(path).expect("a source file");
        for rest in text.split(".to(").skip(1).chain(text.split("actix::to(").skip(1)) {
            let name = rest.split(')').next().unwrap_or_default().rsplit("::").next().unwrap_or_default();
            if !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                handlers.insert(name.to_owned());
            }
        }
    }
    handlers
}

/// Returns the annotated handlers, each with the name of its operation.
fn annotated_handlers() -> BTreeMap<String, String> {
    let mut handlers = BTreeMap::new();
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http")) {
        let text = std::fs::read_to_string(path).expect("a source file");
        for rest in text.split("#[utoipa::path(").skip(1) {
            let (annotation, function) = rest.split_once(" fn ").expect("a function");
            let name = function.split('(').next().unwrap_or_default().to_owned();
            let given = annotation.split_once("operation_id = \"").map(|(_, rest)| rest);
            let id = given.and_then(|rest| rest.split('"').next()).unwrap_or(&name).to_owned();
            handlers.insert(name, id);
        }
    }
    handlers
}

#[test]
fn every_handler_of_the_route_table_is_documented() {
    let left_out: BTreeSet<String> = PAGES.iter().chain(&OPERATOR).map(|name| (*name).to_owned()).collect();
    let annotated = annotated_handlers();
    let routed: BTreeSet<String> = routed_handlers().difference(&left_out).cloned().collect();
    assert_eq!(routed, annotated.keys().cloned().collect(), "#[utoipa::path] stands on each handler");
    let mut described = BTreeSet::new();
    for (path, method, operation) in operations(&committed()) {
        let id = operation["operationId"].as_str().expect("an operationId").to_owned();
        assert!(described.insert(id), "{method} {path} has the name of another operation");
    }
    let expected: BTreeSet<String> = annotated.into_values().collect();
    // A handler of several methods has one operation for each.
    let handler = |id: String| {
        let base = METHODS.iter().find_map(|method| {
            let suffix = format!("_{}", method.as_str().to_lowercase());
            id.strip_suffix(&suffix).filter(|base| expected.contains(*base)).map(str::to_owned)
        });
        base.unwrap_or(id)
    };
    let described: BTreeSet<String> = described.into_iter().map(handler).collect();
    assert_eq!(described, expected, "src/http/openapi collects; `cargo xtask generate` writes openapi.json");
}

/// Returns a path with its parameters filled in.
fn filled(path: &str) -> String {
    let mut text = path.to_owned();
    while let (Some(from), Some(to)) = (text.find('{'), text.find('}')) {
        text.replace_range(from..=to, "0197f3c2-5b1e-4a44-9d0c-3f6b2f1f7a10");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_accept_only_documented_methods() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let mut methods: BTreeMap<String, BTreeSet<Method>> = BTreeMap::new();
    for (path, method, _) in operations(&committed()) {
        methods.entry(path).or_default().insert(method);
    }
    methods.extend(POPUP.map(|(path, taken, _)| (path.to_owned(), taken.iter().cloned().collect())));
    for (path, mut described) in methods {
        let acts = ["/auth/hubspot/start", "/auth/hubspot/callback"].contains(&path.as_str());
        if described.contains(&Method::GET) && !acts {
            described.insert(Method::HEAD);
        }
        for method in &METHODS {
            let answer = browser.send(browser.request(method.clone(), &filled(&path))).await;
            let is_there = answer.status != 405;
            assert_eq!(is_there, described.contains(method), "{method} {path}: {}", answer.status);
            // An unknown path says so; a missing resource has its own message.
            let nowhere = answer.status == 404 && answer.body.contains("This address does not exist.");
            assert!(!nowhere, "{method} {path} leads nowhere");
            if !is_there {
                let allowed: BTreeSet<Method> = answer
                    .header("allow")
                    .split(',')
                    .map(|name| name.trim().parse().expect("a method"))
                    .collect();
                assert_eq!(allowed, described, "Allow of {path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_match_the_documented_schema() {
    let app = TestApp::start().await;
    let browser = app.browser();
    let described = operations(&committed()).into_iter().map(|(path, method, operation)| {
        let responses = &operation["responses"];
        let described = responses.get("421").or(responses.get("default")).expect("a response");
        let kinds: Vec<String> = described["content"].as_object().expect("a body").keys().cloned().collect();
        (path, method, kinds)
    });
    let popup = POPUP.into_iter().flat_map(|(path, methods, kind)| {
        methods.iter().map(move |method| (path.to_owned(), method.clone(), vec![kind.to_owned()]))
    });
    for (path, method, kinds) in described.chain(popup) {
        let request = browser.request(method.clone(), &filled(&path)).header("host", "elsewhere.example");
        let answer = browser.send(request).await;
        // Health checks use the IP address as Host.
        if path == "/livez" {
            continue;
        }
        assert_eq!(answer.status, 421, "{method} {path}");
        let kind = answer.header("content-type").split(';').next().unwrap_or_default().to_owned();
        assert!(kinds.contains(&kind), "{method} {path} is refused with {kind}");
    }
}

/// HubSpot defines its own parameters, and a health check may add some.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_repeated_query_parameters_are_refused() {
    let app = TestApp::start().await;
    let key = app.api_key(ALL).await;
    let browser = app.browser();
    let mut lists = 0;
    for (path, method, operation) in operations(&committed()) {
        if !path.starts_with("/api/hubspot/") || path.ends_with("/proxy/{path}") {
            continue;
        }
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let known: Vec<&str> = parameters
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().expect("a name"))
            .collect();
        lists += usize::from(known.contains(&"cursor"));
        if operation["security"].to_string().contains("api_key") {
            let described = operation["responses"]["400"]["description"].as_str().unwrap_or_default();
            assert!(described.contains("`bad_request`"), "{method} {path}: {described}");
            let may_have_body = matches!(method, Method::POST | Method::DELETE);
            assert!(
                !may_have_body || described.contains("`validation_failed`"),
                "{method} {path}: {described}"
            );
        }
        let repeated = known.iter().map(|name| format!("{name}=1&{name}=1"));
        for query in repeated.chain(["surprise=1".to_owned(), "Limit=1".to_owned(), "cursor[]=1".to_owned()])
        {
            let url = format!("{}?{query}", filled(&path));
            let mut request = browser.request(method.clone(), &url).bearer_auth(&key);
            if operation["requestBody"].is_object() {
                request = request.header("content-type", "application/json").body("{}");
            }
            let answer = browser.send(request).await;
            let place = format!("{method} {url}: {}", answer.body);
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (400, Some("bad_request")),
                "{place}"
            );
            let hint = answer.json()["hint"].as_str().unwrap_or_default().to_owned();
            assert!(hint.contains("query parameter"), "{place}");
            assert!(known.iter().all(|name| hint.contains(&format!("`{name}`"))), "{place}");
        }
    }
    assert_eq!(lists, 7);
}

#[test]
fn lists_share_one_envelope_and_parameters() {
    let document = committed();
    for (path, method, operation) in operations(&document) {
        let answer = &operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
        let Some(name) = answer.as_str().and_then(|name| name.rsplit('/').next()) else { continue };
        let schema = &document["components"]["schemas"][name];
        let lists: Vec<&String> = schema["properties"].as_object().map_or_else(Vec::new, |properties| {
            let is_list = |property: &Value| property["items"]["$ref"].is_string();
            properties.iter().filter(|(_, property)| is_list(property)).map(|(name, _)| name).collect()
        });
        let is_list = operation["parameters"].to_string().contains("\"cursor\"");
        if path.starts_with("/api/hubspot/") && method == Method::GET && is_list {
            assert_eq!(lists, ["data"], "{path}");
            assert_eq!(schema["required"], serde_json::json!(["data", "next_cursor"]), "{path}");
        } else {
            assert!(!lists.iter().any(|name| *name == "data"), "{method} {path}");
        }
    }
}

#[test]
fn response_fields_are_required_or_document_when_present() {
    let document = committed();
    let responses = operations(&document).into_iter().map(|(_, _, operation)| operation["responses"].clone());
    let messages = document["webhooks"].as_object().expect("webhooks").values();
    let sent: Vec<Value> =
        responses.chain(messages.map(|message| message["post"]["requestBody"].clone())).collect();
    let (mut rest, mut seen, mut fields): (Vec<&Value>, _, _) = (sent.iter().collect(), BTreeSet::new(), 0);
    while let Some(value) = rest.pop() {
        if let Some(reference) = value["$ref"].as_str().filter(|reference| seen.insert(*reference)) {
            rest.push(document.pointer(reference.trim_start_matches('#')).expect("a schema"));
        }
        for (name, field) in value["properties"].as_object().into_iter().flatten() {
            fields += 1;
            let is_required =
                value["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
            let says_when = field["description"].as_str().is_some_and(|about| about.contains("Present "));
            assert_ne!(is_required, says_when, "`{name}` of {value}");
            let may_be_null =
                field["type"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "null"));
            assert!(is_required || !may_be_null, "`{name}` is null or absent in {value}");
        }
        match value {
            Value::Object(object) => rest.extend(object.values()),
            Value::Array(list) => rest.extend(list),
            _ => {}
        }
    }
    assert!(fields > 100, "{fields} fields");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_served_openapi_document_is_the_committed_one() {
    let app = TestApp::start().await;
    let answer = app.browser().get("/api/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    let served: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert!(served == committed(), "run `cargo xtask generate` to update openapi.json");
    assert_eq!(served["openapi"], "3.1.0");
}

#[test]
fn operations_have_descriptions_and_references_resolve() {
    let document = committed();
    let tags: Vec<&str> = document["tags"]
        .as_array()
        .expect("tags")
        .iter()
        .map(|tag| tag["name"].as_str().expect("a name"))
        .collect();
    for (path, method, operation) in operations(&document) {
        let place = format!("{method} {path}");
        assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{place} has no summary");
        let tag = operation["tags"][0].as_str().unwrap_or_default();
        assert!(tags.contains(&tag), "{place}: the tag {tag} is not described");
        assert!(operation["security"].is_array(), "{place} does not say who may call it");
        for (name, parameter) in operation["parameters"].as_array().into_iter().flatten().enumerate() {
            assert!(parameter["description"].is_string(), "{place}: parameter {name} is not described");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/").skip(1) {
        let pointer = format!("/{}", reference.split('"').next().unwrap_or_default());
        assert!(document.pointer(&pointer).is_some(), "{pointer} leads nowhere");
    }
    for secret in ["hsc_key_", "whsec_", "pat-", "eyJ"] {
        assert!(!text.contains(secret), "an example looks like a secret: {secret}");
    }
}

#[test]
fn documented_problem_codes_match_the_table() {
    let document = committed();
    let described: Vec<&str> = document["components"]["schemas"]["ProblemCode"]["enum"]
        .as_array()
        .expect("codes")
        .iter()
        .map(|code| code.as_str().expect("a code"))
        .collect();
    let table: Vec<&str> =
        hubspot_connect::http::error_table().iter().map(|entry| entry.code.as_str()).collect();
    assert_eq!(described, table);
}

#[test]
fn popup_routes_are_not_in_the_openapi_document() {
    let document = committed();
    for (path, ..) in POPUP {
        assert!(document["paths"].get(path).is_none(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_page_shows_the_whole_document_and_loads_nothing_external() {
    let app = TestApp::start().await;
    let answer = app.browser().get("/api/docs").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(answer.header("content-security-policy").contains("style-src 'self'"));
    let page = &answer.body;
    for (path, _, operation) in operations(&committed()) {
        let id = operation["operationId"].as_str().expect("an id");
        assert!(page.contains(&format!("id=\"{id}\"")), "{id} is missing");
        assert!(page.contains(&path.replace('/', "&#x2F;")) || page.contains(&path), "{path} is missing");
    }
    for (name, _) in committed()["components"]["schemas"].as_object().expect("schemas") {
        assert!(page.contains(&format!("id=\"schema-{name}\"")), "{name} is missing");
    }
    // Every link inside the page has a target.
    for target in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap_or_default()) {
        assert!(page.contains(&format!("id=\"{target}\"")), "#{target} leads nowhere");
    }
    for foreign in ["<script", "style=", "src=\"http", "href=\"http", "onclick"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert_eq!(app.browser().get("/static/docs.css").await.status, 200);
}

#[test]
fn every_event_message_is_documented() {
    let document = committed();
    let described: Vec<&String> = document["webhooks"].as_object().unwrap().keys().collect();
    let mut events: Vec<&str> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
    events.sort_unstable();
    assert_eq!(described, events);
    for (name, message) in document["webhooks"].as_object().unwrap() {
        let schema = &message["post"]["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(schema["properties"]["type"]["enum"], serde_json::json!([name]));
        let data = schema["properties"]["data"]["$ref"].as_str().unwrap();
        let data = document.pointer(data.trim_start_matches('#')).expect("the schema of the data");
        let (required, properties) =
            (data["required"].as_array().unwrap(), data["properties"].as_object().unwrap());
        assert_eq!(required.len(), properties.len(), "{name}: every field is always there");
    }
}
