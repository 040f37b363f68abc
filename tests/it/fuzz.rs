//! Arbitrary input: queries, token responses, settings and origins generated at random, and those of an attacker.
//! PROPTEST_CASES is the number of generated ones.

use std::time::Duration;

use fake_hubspot::{FakeHubSpot, Fault, Kind, Rule};
use hubspot_connect::config::{Config, Variables, example_env};
use hubspot_connect::domain::origin::{AllowedOrigins, Origin, ReturnUrl};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::{TestCaseError, TestRunner};
use proptest::{prop_assert, prop_assert_eq};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use url::Url;

use crate::harness::app::{ACME, HOST, LONG_SESSIONS, approve};
use crate::harness::browser::{encode, parameter, problem_of, send_raw};
use crate::harness::{TestApp, sql};

/// Later than any refresh, for the longest lifetime of a token.
const DUE: u64 = 60_481;
/// The default of PROPTEST_CASES.
const CASES: u32 = 48;

/// Checks the property for each seed and for random values.
fn hold<T: std::fmt::Debug + Clone>(
    seeds: impl IntoIterator<Item = T>,
    random: impl Strategy<Value = T>,
    property: impl Fn(T) -> Result<(), TestCaseError>,
) {
    for seed in seeds {
        property(seed.clone()).unwrap_or_else(|why| panic!("{why} with {seed:?}"));
    }
    let usual = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let few = ProptestConfig { cases: CASES, ..usual.clone() };
    let given = std::env::var_os("PROPTEST_CASES").is_some();
    let mut runner = TestRunner::new(if given { usual } else { few });
    runner.run(&random, property).unwrap_or_else(|why| panic!("{why}"));
}

/// Returns texts on which parsers are known to fail.
fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,40}",
        select(vec![
            "",
            "\0",
            "\u{feff}",
            "\u{202e}evil",
            "a\r\nb: c",
            "%00",
            "%",
            "%zz",
            "../..",
            "null",
            "*"
        ])
        .prop_map(str::to_owned),
        (1..20_000_usize).prop_map(|length| "a".repeat(length)),
    ]
}

/// Returns queries of a request line: any byte that does not end the line. The state never occurs alone, because with a
/// code it would be the true callback.
fn query(state: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let mut flipped = state.to_owned().into_bytes();
    flipped[20] = if flipped[20] == b'A' { b'B' } else { b'A' };
    let near = vec![
        format!("state={state}&state={state}&code=na1-x"),
        format!("state[]={state}&code=na1-x"),
        format!("State={state}&code=na1-x"),
        format!("state={state}%20&code=na1-x"),
        format!("state={}&code=na1-x", String::from_utf8(flipped).expect("ASCII")),
    ];
    let name = prop_oneof![
        select(vec!["code", "error", "error_description", "code[]", "code[0]", "", "a"])
            .prop_map(str::to_owned),
        "[a-z\\[\\]]{1,8}",
    ];
    let pair = (name, odd_text()).prop_map(|(name, value)| format!("{name}={}", encode(&value)).into_bytes());
    let raw = vec(any::<u8>(), 0..60).prop_map(|bytes| {
        bytes.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | b' ' | b'#')).collect()
    });
    let part = prop_oneof![
        4 => pair,
        1 => raw,
        1 => select(near).prop_map(String::into_bytes),
        1 => "state=[A-Za-z0-9_-]{43}".prop_map(String::into_bytes),
    ];
    vec(part, 0..5).prop_map(|parts| parts.join(&b'&'))
}

#[test]
fn arbitrary_callback_queries_get_a_stable_response_and_consume_nothing() {
    let runtime = Runtime::new().unwrap();
    let (app, browser, authorize) = runtime.block_on(async {
        let app = TestApp::start().await;
        let browser = app.browser();
        let authorize = browser.start(Some(HOST)).await;
        (app, browser, authorize)
    });
    let state = parameter(&authorize, "state");
    let (name, value) = browser.cookie("__Host-hsc_f_").expect("the cookie of the attempt");
    let seeds = [
        String::new(),
        "&&&=&=&".to_owned(),
        "code=x".to_owned(),
        "error=access_denied".to_owned(),
        format!("state={state}"),
        format!("state={state}&state={state}&code=x"),
        format!("code=x&code=y&state={state}"),
        format!("state={state}&error=a&error=b"),
        format!("state[]={state}&code=x"),
        format!("state={state}&code={}", "x".repeat(2049)),
        format!("state=%00{state}&code=x"),
        "state=%ff%fe&code=%c0%80".to_owned(),
        "state=%ed%a0%80".to_owned(),
    ];

    hold(seeds.map(String::into_bytes), query(&state), |query| {
        let mut request = b"GET /auth/hubspot/callback?".to_vec();
        request.extend(&query);
        let host = app.base.trim_start_matches("http://");
        let head =
            format!(" HTTP/1.1\r\nhost: {host}\r\ncookie: {name}={value}\r\nconnection: close\r\n\r\n");
        request.extend(head.as_bytes());
        let answer = runtime.block_on(send_raw(&app.base, &request));
        let status = answer.split(' ').nth(1).unwrap_or_default();
        match status {
            "303" => {
                let location =
                    answer.lines().find_map(|line| line.strip_prefix("location: ")).unwrap_or_default();
                let code = location.strip_prefix("/auth/hubspot/done?problem=").unwrap_or_default();
                let known = ["bad_request", "callback_incomplete", "flow_unknown"];
                prop_assert!(known.iter().any(|known| code == format!("{known}#_")), "{}", answer);
            }
            // It was not a valid request.
            _ => prop_assert!(matches!(status, "400" | "414" | "431"), "{}", answer),
        }
        Ok(())
    });

    runtime.block_on(async {
        assert_eq!(app.hubspot.calls(Kind::Exchange).len(), 0);
        let back = app.hubspot.decide(&authorize, approve(ACME)).unwrap();
        assert_eq!(browser.get(&back).await.status, 303);
        assert_eq!(browser.status().await["status"], "active", "the attempt is as good as before");
    });
}

#[test]
fn arbitrary_openers_start_nothing_unless_listed() {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(TestApp::start());
    let browser = app.browser();
    let near = prop_oneof![select(vec![
        "http://",
        "https://",
        "HTTP://",
        "//",
        "",
        "http:/",
        "http:\\\\",
        "javascript:"
    ]),]
    .prop_flat_map(|scheme| {
        let host = select(vec![
            "host.localhost",
            "HOST.localhost",
            "host.localhost.",
            "evil.host.localhost",
            "host.localhost@evil",
        ]);
        let port = select(vec![
            ":3000", ":03000", ":3001", "", ":3000/", ":3000?", ":3000#", ":3000\\", ":3000\0", ":3000 ",
        ]);
        (Just(scheme), host, port).prop_map(|(scheme, host, port)| format!("{scheme}{host}{port}"))
    });
    hold([String::new(), "null".to_owned()], prop_oneof![near, odd_text()], |origin| {
        let path = format!("/auth/hubspot/start?origin={}", encode(&origin));
        let answer = runtime.block_on(browser.get(&path));
        if origin == HOST || origin == app.base {
            prop_assert_eq!(answer.status, 302);
            return Ok(());
        }
        let code = problem_of(&answer);
        let refused = (answer.status, code.as_str()) == (400, "origin_not_allowed");
        prop_assert!(refused || matches!(answer.status, 414 | 431), "{} {}", answer.status, code);
        Ok(())
    });
}

/// Returns JSON of any shape.
fn odd_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        odd_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((odd_text(), inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Returns invalid refresh tokens, so that the old one is kept.
fn useless_token() -> impl Strategy<Value = Value> {
    let others =
        [json!(null), json!(""), json!(17), json!("na1-\n"), json!("n".repeat(4097)), json!(["na1-x"])];
    select(others.to_vec())
}

/// Returns token responses with arbitrary fields.
fn token_answer(refresh: impl Strategy<Value = Value>) -> impl Strategy<Value = String> {
    let names = ["access_token", "expires_in", "scopes", "scope", "hub_id", "token_type", "error", "status"];
    let fields = vec((select(names.to_vec()), odd_json()), 0..6).prop_map(|fields| {
        let mut body = Map::from_iter([("access_token".to_owned(), json!("Cx"))]);
        body.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
        body
    });
    let fields = fields.boxed();
    let harmed = (fields.clone(), any::<Index>(), any::<char>()).prop_map(|(body, at, other)| {
        let mut body: Vec<char> = Value::Object(body).to_string().chars().collect();
        let at = at.index(body.len());
        body[at] = other;
        body.into_iter().collect()
    });
    let whole = (fields, refresh).prop_map(|(mut body, refresh)| {
        body.insert("refresh_token".to_owned(), refresh);
        Value::Object(body).to_string()
    });
    prop_oneof![3 => whole, 1 => harmed, 1 => odd_text(), 1 => odd_json().prop_map(|json| json.to_string())]
}

fn nasty_answers() -> Vec<String> {
    let with = |name: &str, value: Value| json!({"access_token": "Cx", name: value}).to_string();
    vec![
        String::new(),
        "{}".to_owned(),
        "[".repeat(60_000),
        "{\"access_token\":\"Cx\",\"access_token\":\"Cy\"}".to_owned(),
        "{\"access_token\":\"C\\ud800\"}".to_owned(),
        with("scopes", json!(["oauth", "crm\0"])),
        with("scope", json!("oauth crm\0")),
        with("scopes", json!(["a b", "\n", "\u{202e}"])),
        with("scopes", json!({"oauth": true})),
        with("expires_in", json!(1e300)),
        with("expires_in", json!(-1e300)),
        with("expires_in", json!("NaN")),
        with("expires_in", json!("inf")),
        with("expires_in", json!(u64::MAX)),
        with("hub_id", json!(u64::MAX)),
        with("hub_id", json!(i64::MAX)),
        with("hub_id", json!("9223372036854775808")),
        with("hub_id", json!(-1)),
    ]
}

fn order(hubspot: &FakeHubSpot, kind: Kind, body: String) {
    hubspot.script(Rule::once(kind, Fault::Body { content_type: Some("application/json".to_owned()), body }));
}

#[test]
fn arbitrary_refresh_responses_keep_the_connection() {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(async {
        let app = TestApp::with(LONG_SESSIONS).await;
        app.connected(ACME).await;
        app
    });
    let refresh = || async {
        app.advance(DUE);
        tokio::time::timeout(Duration::from_secs(10), app.refresh_due()).await
    };
    hold(nasty_answers(), token_answer(useless_token()), |body| {
        order(&app.hubspot, Kind::Refresh, body);
        let (odd, plain, state) = runtime.block_on(async {
            let odd = refresh().await;
            let plain = refresh().await;
            let state = "state || COALESCE(last_error, '') || strikes";
            (odd, plain, app.database.text_in(sql::CONNECTIONS_WITH_JOBS, state).await)
        });
        prop_assert_eq!(odd.ok(), Some(1), "it comes to an end");
        prop_assert_eq!(plain.ok(), Some(1));
        prop_assert_eq!(state, "active0");
        let calls = app.hubspot.calls(Kind::Refresh);
        prop_assert_eq!(calls.last().and_then(|call| call.status), Some(200));
        app.hubspot.clear_journal();
        Ok(())
    });
    runtime.block_on(app.assert_one_job_each());
}

#[test]
fn arbitrary_code_exchange_responses_are_reported_and_can_be_retried() {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(TestApp::with(LONG_SESSIONS));
    let connects = |body: &str| body.replacen('{', "{\"refresh_token\":\"na1-r\",", 1);
    let seeds: Vec<_> = nasty_answers().into_iter().flat_map(|body| [connects(&body), body]).collect();
    let refresh = prop_oneof![useless_token(), Just(json!("na1-r"))];
    hold(seeds, token_answer(refresh), |body| {
        let browser = app.browser();
        order(&app.hubspot, Kind::Exchange, body);
        let done = runtime.block_on(async {
            let one = browser.connect(&app, Some(HOST), approve(ACME));
            tokio::time::timeout(Duration::from_secs(8), one).await
        });
        let done = done.map_err(|_| TestCaseError::fail("the user waits"))?;
        let message = &done["message"];
        let code = message["error"]["code"].as_str().unwrap_or_default();
        let known = ["provider_bad_response", "no_refresh_token", "provider_refused"];
        let connected = message["type"] == "hubspot_auth_success";
        prop_assert!(connected || known.contains(&code), "{}", done);
        app.hubspot.clear_script();
        Ok(())
    });
    runtime.block_on(async {
        app.assert_one_job_each().await;
        app.connected(ACME).await;
    });
}

/// Returns every variable that `print env` lists.
fn variables() -> Vec<String> {
    let example = example_env();
    let lines = example.lines().filter_map(|line| line.trim_start_matches('#').split_once('='));
    let names = lines.map(|(name, _)| name.trim().to_owned());
    names.filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect()
}

#[test]
fn arbitrary_settings_are_reported_by_variable_without_secrets() {
    const SECRETS: [&str; 4] = ["HUBSPOT_CLIENT_SECRET", "ENCRYPTION_KEYS", "APP_SECRET", "DATABASE_URL"];
    const MARK: &str = "hunter2hunter2";
    let names = variables();
    assert!(names.len() > 25 && SECRETS.iter().all(|secret| names.iter().any(|name| name == secret)));
    let value = prop_oneof![
        odd_text(),
        "-?[0-9]{0,30}",
        "[0-9.]{0,6}-[0-9.]{0,6}",
        "(https?|postgres|sqlite|file)://[a-z@:\\[\\]0-9./?#*%-]{0,30}",
        "[a-z0-9_=,\\[\\]{}]{0,30}",
    ];
    let file = select(vec!["", "/", "/no/such/file", "/dev/null", "\0", "."]).prop_map(str::to_owned);
    let plain = (select(names.clone()), value);
    let secret = (select(SECRETS.to_vec()), odd_text(), any::<bool>()).prop_map(|(name, text, behind)| {
        let value = if behind { format!("{text}{MARK}") } else { format!("{MARK}{text}") };
        (name.to_owned(), value)
    });
    let by_file = (select(SECRETS.to_vec()), file).prop_map(|(name, path)| (format!("{name}_FILE"), path));
    let all = vec(prop_oneof![4 => plain, 2 => secret, 1 => by_file], 0..40);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let seeds = [
        Vec::new(),
        names.iter().map(|name| pair(name, "\0")).collect(),
        names.iter().map(|name| pair(name, MARK)).collect(),
        vec![pair("DATABASE_URL", "postgres://user:hunter2hunter2@[::1"), pair("REFRESH_WINDOW", "nan-nan")],
        vec![pair("PUBLIC_URL", "https://user:pw@host"), pair("PUBLIC_URL", "https://\u{202e}")],
        vec![pair("LOG_LEVEL", "a[b{c=\"d\"}]=e"), pair("TRUSTED_PROXIES", "::/129")],
    ];
    hold(seeds, all, |pairs| {
        let secret_values: Vec<_> = pairs.iter().filter(|(_, value)| value.contains(MARK)).collect();
        match Config::read(&Variables::from_pairs(pairs.clone())) {
            Ok(config) => {
                let printed = format!("{config:?}");
                prop_assert!(!printed.contains(MARK), "{}", printed);
            }
            Err(problems) => {
                let printed = format!("{problems} {problems:?}");
                let hidden =
                    secret_values.iter().filter(|(name, _)| SECRETS.contains(&name.as_str())).count();
                if hidden == secret_values.len() {
                    prop_assert!(!printed.contains(MARK), "{}", printed);
                }
                for problem in &problems.0 {
                    let name = problem.split(' ').next().unwrap_or_default();
                    let is = |known: &String| known == name || format!("{known}_FILE") == name;
                    let known = names.iter().any(is);
                    prop_assert!(known, "{}", problem);
                }
            }
        }
        Ok(())
    });
}

/// Returns texts that are nearly origins or URLs.
fn address() -> impl Strategy<Value = String> {
    let scheme = prop_oneof![
        4 => select(vec!["http://", "https://"]).prop_map(str::to_owned),
        1 => "[a-zA-Z:/\\\\]{0,10}",
    ];
    let host = prop_oneof![
        "[a-z0-9.-]{1,20}",
        "[a-zA-Z0-9.\u{e4}\u{df}\u{3002}%@-]{1,12}",
        "\\[[0-9a-f:.]{0,16}\\]",
        "[0-9]{1,3}(\\.[0-9a-fx]{1,4}){0,3}",
        Just("localhost".to_owned()),
        Just("host.localhost".to_owned()),
        any::<String>(),
    ];
    let port = prop_oneof![Just(String::new()), ":[0-9]{0,6}"];
    let rest = prop_oneof![3 => Just(String::new()), 1 => "[/?#\\\\][a-z/.%\\\\?#2fF5cC]{0,12}"];
    (scheme, host, port, rest).prop_map(|(scheme, host, port, rest)| format!("{scheme}{host}{port}{rest}"))
}

#[test]
fn accepted_origins_equal_the_origin_that_browsers_parse() {
    let listed = AllowedOrigins::new(vec![Origin::parse(HOST).unwrap()]);
    let seeds = [
        "https://0x7f.1",
        "http://127.1",
        "https://xn--a",
        "https://a.example:00443",
        "http://[::ffff:127.0.0.1]",
    ];
    hold(seeds.map(str::to_owned), address(), |text| {
        prop_assert_eq!(listed.find(&text).is_some(), text == HOST);
        let Ok(origin) = Origin::parse(&text) else { return Ok(()) };
        let url = Url::parse(&text).map_err(|_| TestCaseError::fail("no URL"))?;
        prop_assert_eq!(origin.as_str(), &text);
        prop_assert_eq!(url.origin().ascii_serialization(), text.clone());
        prop_assert!(text.is_ascii() && url.username().is_empty() && url.password().is_none());
        prop_assert!(url.path() == "/" && url.query().is_none() && url.fragment().is_none());
        let host = url.host_str().unwrap_or_default();
        let here = host == "localhost"
            || host.ends_with(".localhost")
            || host == "[::1]"
            || host.starts_with("127.");
        prop_assert!(url.scheme() == "https" || (url.scheme() == "http" && here));
        Ok(())
    });
}

#[test]
fn accepted_return_urls_stay_on_their_origin() {
    let origin = Origin::parse(HOST).unwrap();
    let near = prop_oneof![
        address(),
        "http://host\\.localhost:3000[/?#\\\\@:.][ -~]{0,20}",
        "http://host\\.localhost:3000/[a-z/]{0,12}(\\?[a-z=&%2f]{0,12})?",
        any::<String>().prop_map(|text| format!("{HOST}/{text}")),
    ];
    hold([format!("{HOST}/%2f"), format!("{HOST}//evil")], near, |text| {
        let Some(taken) = ReturnUrl::parse(&text, &origin) else { return Ok(()) };
        let url = Url::parse(&text).map_err(|_| TestCaseError::fail("no URL"))?;
        prop_assert_eq!(taken.as_str(), &text);
        prop_assert_eq!(url.origin().ascii_serialization(), HOST);
        let path = text.strip_prefix(HOST).unwrap_or_default();
        prop_assert!(path.starts_with('/') && !path.starts_with("//"));
        prop_assert!(text.is_ascii() && !text.contains(['\\', '#', ' ', '\r', '\n', '\t']));
        Ok(())
    });
}
