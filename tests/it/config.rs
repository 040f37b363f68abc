//! Configuration errors of operators.

use hubspot_connect::config::{Config, Variables};

use crate::harness::app::settle;
use crate::harness::database::TestDatabase;
use crate::harness::process::{changed, run, without};

/// Returns the variables of a service that would start.
async fn good() -> (fake_hubspot::FakeHubSpot, TestDatabase, Vec<(String, String)>) {
    let hubspot = fake_hubspot::FakeHubSpot::start(fake_hubspot::Options::default()).await.unwrap();
    let database = TestDatabase::fresh().await;
    let variables = settle(&hubspot, &database, &[]);
    (hubspot, database, variables)
}

fn problems(variables: &[(String, String)]) -> String {
    Config::read(&Variables::from_pairs(variables.iter().cloned()))
        .map(|_| ())
        .expect_err("it is refused")
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_configuration_errors_are_reported_together_before_any_change() {
    let (_hubspot, database, mut variables) = good().await;
    for (name, value) in [
        ("HUBSPOT_CLIENT_ID", ""),
        ("HUBSPOT_SCOPES", "crm.objects.contacts.read"),
        ("SERVER_ADDR", "6001"),
        ("SESSION_IDLE_SECONDS", "thirty"),
        ("REFRESH_MAX_IN_FLIGHT", "0"),
        ("FLOW_TTL_SECONDS", "-1"),
        ("DATABASE_AUTO_MIGRATE", "maybe"),
        ("LOG_FORMAT", "xml"),
        ("ENCRYPTION_KEYS", "hunter2"),
        ("APP_SECRET", "hunter3"),
        ("TRUSTED_PROXIES", "everyone"),
        ("HUBSPOT_API_URL", "http://evil.example"),
        ("REFRESH_RATE_PER_SECOND", "1.5"),
        ("REFRESH_WINDOW", "0.9-0.2"),
        ("HUBSPOT_API_VERSION", "v1"),
    ] {
        variables = changed(&variables, name, value);
    }
    let ended = run(&["serve"], &variables);
    assert_eq!(ended.code, Some(1));
    assert!(ended.took < std::time::Duration::from_secs(2), "{:?}", ended.took);
    assert!(ended.stderr.contains("15 problem(s)"), "{}", ended.stderr);
    for name in [
        "HUBSPOT_CLIENT_ID",
        "HUBSPOT_SCOPES",
        "SERVER_ADDR",
        "SESSION_IDLE_SECONDS",
        "REFRESH_MAX_IN_FLIGHT",
        "FLOW_TTL_SECONDS",
        "DATABASE_AUTO_MIGRATE",
        "LOG_FORMAT",
        "ENCRYPTION_KEYS",
        "APP_SECRET",
        "TRUSTED_PROXIES",
        "HUBSPOT_API_URL",
        "REFRESH_RATE_PER_SECOND",
        "REFRESH_WINDOW",
        "HUBSPOT_API_VERSION",
    ] {
        assert!(ended.stderr.contains(name), "{name}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("hunter"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    if database.is_sqlite() {
        assert!(!database.folder.path().join("test.db").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_malformed_and_sample_keys_are_refused_without_being_shown() {
    let (_hubspot, database, variables) = good().await;
    let sample = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for (keys, said) in [
        (None, "is not set"),
        (Some(""), "is not set"),
        (Some(","), "is empty"),
        (Some("too-short-hunter2"), "is not a Fernet key"),
        (Some(sample), "is a sample"),
        (Some("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="), "is a sample"),
        (Some("hunter2hunter2hunter2hunter2hunter2hunter2!="), "is not a Fernet key"),
    ] {
        let variables = match keys {
            Some(keys) => changed(&variables, "ENCRYPTION_KEYS", keys),
            None => without(&variables, "ENCRYPTION_KEYS"),
        };
        let ended = run(&[], &variables);
        assert_eq!(ended.code, Some(1), "{keys:?}");
        assert!(ended.took < std::time::Duration::from_secs(2), "{:?}", ended.took);
        let line = ended.stderr.lines().find(|line| line.contains("ENCRYPTION_KEYS"));
        assert!(line.is_some_and(|line| line.contains(said)), "{keys:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("hunter2") && !ended.stderr.contains(sample));
    }
    if database.is_sqlite() {
        assert!(!database.folder.path().join("test.db").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistyped_variables_are_warned_of_with_the_correct_name() {
    let (_hubspot, _database, variables) = good().await;
    let variables = changed(&variables, "HUBSPOT_CLIENT_IDD", "x");
    let variables = changed(&variables, "SESSION_IDLE_SECOND", "5");
    let variables = changed(&variables, "REFRESH_EVERYTHING_AT_ONCE", "yes");
    let ended = run(&["db", "migrate"], &variables);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for said in [
        "did you mean HUBSPOT_CLIENT_ID?",
        "did you mean SESSION_IDLE_SECONDS?",
        "REFRESH_EVERYTHING_AT_ONCE is not a variable",
    ] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_mistyped_variables_are_warned_of() {
    let (_hubspot, _database, variables) = good().await;
    let mistyped = [
        ("MARKETPLACE_INSTALL", "MARKETPLACE_INSTALLS"),
        ("WEBHOOKS_JOURNL", "WEBHOOKS_JOURNAL"),
        ("WEBHOOK_JOURNAL", "WEBHOOKS_JOURNAL"),
        ("WEBHOOKS_ALLOWED_HOSTS", "WEBHOOK_ALLOWED_HOSTS"),
        ("HUSBPOT_CLIENT_ID", "HUBSPOT_CLIENT_ID"),
        ("ENCRYPTION_KEY", "ENCRYPTION_KEYS"),
        ("APP_SECRETS", "APP_SECRET"),
        ("APP_SECERT_FILE", "APP_SECRET_FILE"),
        ("PUBLIC_URI", "PUBLIC_URL"),
        ("HOST_ORIGIN", "HOST_ORIGINS"),
        ("SERVER_ADDRESS", "SERVER_ADDR"),
        ("MAX_CONNECTION", "MAX_CONNECTIONS"),
        ("RATELIMIT_API_PER_MINUTE", "RATE_LIMIT_API_PER_MINUTE"),
        ("FLOW_TTL", "FLOW_TTL_SECONDS"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("PUBLIC_URL_FILE", "PUBLIC_URL"),
        ("LOGS_FILE", "LOG_FILE"),
    ];
    // Variables that Kubernetes sets for services of these names, and those of desktops, shells and other programs.
    let foreign = [
        ("HUBSPOT_CONNECT_PORT", "tcp://10.0.0.1:6001"),
        ("HUBSPOT_CONNECT_PORT_6001_TCP", "tcp://10.0.0.1:6001"),
        ("HUBSPOT_CONNECT_PORT_6001_TCP_ADDR", "10.0.0.1"),
        ("HUBSPOT_CONNECT_PORT_6001_TCP_PORT", "6001"),
        ("HUBSPOT_CONNECT_PORT_6001_TCP_PROTO", "tcp"),
        ("HUBSPOT_CONNECT_SERVICE_HOST", "10.0.0.1"),
        ("HUBSPOT_CONNECT_SERVICE_PORT", "6001"),
        ("HUBSPOT_CONNECT_SERVICE_PORT_HTTP", "6001"),
        ("REFRESH_SERVICE_HOST", "10.0.0.2"),
        ("SESSION_MANAGER", "local/host:@/run/ice/1"),
        ("RUST_LOG_STYLE", "never"),
        ("HOSTNAME", "host"),
        ("HOST", "host"),
        ("TOKEN", "x"),
        ("PORTAL_URL", "x"),
        ("APP_ENV", "production"),
        ("APP_NAME", "x"),
        ("FTP_PROXY", "x"),
        ("PATH", "/bin"),
        ("SHELL", "/bin/sh"),
        ("LANG", "C"),
        ("POSTGRES_PASSWORD", "x"),
        ("SERVER_SOFTWARE", "x"),
        ("MAX_JOBS", "1"),
        ("PUBLIC_KEY", "x"),
        ("DATABASE_URL_UNPOOLED", "x"),
        ("LOG", "x"),
    ];
    let all = mistyped.iter().map(|(name, _)| (*name, "x")).chain(foreign);
    let variables = all.fold(variables, |variables, (name, value)| changed(&variables, name, value));
    let ended = run(&["db", "migrate"], &variables);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for (name, meant) in mistyped {
        let said = format!("{name} is not a variable of hubspot-connect; did you mean {meant}?");
        assert!(ended.stderr.contains(&said), "{said}\n{}", ended.stderr);
    }
    for (name, _) in foreign {
        assert!(!ended.stderr.contains(&format!(": {name} is not")), "{name}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn boolean_settings_accept_all_spellings() {
    let (_hubspot, _database, variables) = good().await;
    let on = ["true", "on", "yes", "1", "True", "ON"];
    let off = ["false", "off", "no", "0", "FALSE", "No"];
    for (word, is_on) in on.map(|word| (word, true)).into_iter().chain(off.map(|word| (word, false))) {
        let mut variables = variables.clone();
        for name in [
            "DATABASE_AUTO_MIGRATE",
            "HUBSPOT_REQUIRE_ALL_SCOPES",
            "HUBSPOT_PKCE",
            "WEBHOOKS_JOURNAL",
            "MARKETPLACE_INSTALLS",
        ] {
            variables = changed(&variables, name, word);
        }
        let config = Config::read(&Variables::from_pairs(variables)).expect(word);
        let (hubspot, marketplace) = (config.hubspot, config.marketplace);
        let read = [
            config.database.auto_migrate,
            hubspot.require_all_scopes,
            hubspot.pkce,
            hubspot.webhooks_journal,
            marketplace.installs,
        ];
        assert_eq!(read, [is_on; 5], "{word}");
    }
    for name in ["DATABASE_AUTO_MIGRATE", "HUBSPOT_PKCE", "WEBHOOKS_JOURNAL"] {
        assert!(problems(&changed(&variables, name, "maybe")).contains(name));
    }
    for word in off {
        let config = Config::read(&Variables::from_pairs(changed(&variables, "ADMIN_ADDR", word)));
        assert_eq!(config.expect(word).server.admin_addr, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn port_and_rust_log_are_fallbacks_for_own_variables() {
    let (_hubspot, _database, variables) = good().await;
    let variables = changed(&without(&variables, "SERVER_ADDR"), "PORT", "8080");
    let variables = changed(&variables, "RUST_LOG", "debug");
    let read = |variables: &[(String, String)]| {
        let config = Config::read(&Variables::from_pairs(variables.iter().cloned())).expect("valid");
        (config.server.addr.to_string(), config.logging.level)
    };
    assert_eq!(read(&variables), ("[::]:8080".to_owned(), "debug".to_owned()));
    let ours = changed(&changed(&variables, "SERVER_ADDR", "127.0.0.1:6001"), "LOG_LEVEL", "warn");
    assert_eq!(read(&ours), ("127.0.0.1:6001".to_owned(), "warn".to_owned()));
    for (name, value) in
        [("PORT", "tcp://10.0.0.1:80"), ("PORT", "0"), ("PORT", "65536"), ("RUST_LOG", "a=b=c")]
    {
        let text = problems(&changed(&variables, name, value));
        assert!(
            text.contains(&format!("{name} must be")) && !text.contains("LEVEL"),
            "{name}={value}: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alternate_hosts_are_written_like_host_headers() {
    let (_hubspot, _database, variables) = good().await;
    let hosts = [
        "api.svc",
        "API.svc:80",
        "a.svc:443",
        "my_api:6001",
        "10.0.0.1",
        "[::1]:80",
        "xn--bcher-kva.example",
    ];
    let changes = changed(&variables, "ALTERNATE_HOSTS", &hosts.join(", "));
    let config = Config::read(&Variables::from_pairs(changes)).expect("valid");
    assert_eq!(config.server.alternate_hosts, hosts.map(str::to_lowercase));
    for item in [
        "*",
        "*.svc",
        "a#b",
        "a?b",
        "a/",
        "a:",
        "a:080",
        "a:b",
        "u@a",
        ":p@a",
        "bücher.example",
        "127.1",
        "::1",
        "[0::1]",
        "http://a",
        "a%62",
        "a b",
    ] {
        let text = problems(&changed(&variables, "ALTERNATE_HOSTS", item));
        assert!(text.contains(&format!("ALTERNATE_HOSTS contains `{item}`")), "{item}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authorization_lifetime_is_at_most_two_hours() {
    let (_hubspot, _database, variables) = good().await;
    let read =
        |seconds| Config::read(&Variables::from_pairs(changed(&variables, "FLOW_TTL_SECONDS", seconds)));
    assert_eq!(read("7200").expect("valid").security.flow_ttl.as_secs(), 7200);
    assert!(read("7201").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn public_url_accepts_only_scheme_host_and_port() {
    let (_hubspot, _database, variables) = good().await;
    for url in [
        "https://connect.example.com/path",
        "https://connect.example.com/?a=b",
        "https://connect.example.com/#f",
        "connect.example.com",
        "//connect.example.com",
        "ftp://connect.example.com",
        "http://connect.example.com",
        "https://user:hunter2@connect.example.com",
        "https://",
        "nonsense",
    ] {
        let text = problems(&changed(&variables, "PUBLIC_URL", url));
        assert!(text.contains("PUBLIC_URL"), "{url}: {text}");
        assert!(!text.contains("hunter2"), "{url}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn url_settings_accept_only_http_and_https() {
    let (_hubspot, _database, variables) = good().await;
    for name in [
        "PUBLIC_URL",
        "HOST_ORIGINS",
        "HUBSPOT_REDIRECT_URI",
        "HUBSPOT_AUTHORIZE_URL",
        "HUBSPOT_API_URL",
        "MARKETPLACE_LANDING_URL",
    ] {
        for url in [
            "blob:https://connect.example.com",
            "javascript://connect.example.com/%0aalert(1)",
            "data:text/html,https://connect.example.com",
            "filesystem:https://connect.example.com/temporary/",
            "view-source:https://connect.example.com",
            "ftp://connect.example.com",
            "wss://connect.example.com",
            "https://:hunter2@connect.example.com",
        ] {
            let insists = changed(&variables, "ALLOW_INSECURE", "i-know");
            let text = problems(&changed(&insists, name, url));
            assert!(text.contains(name), "{name}={url}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn public_plain_http_needs_an_explicit_setting_and_is_warned_of() {
    let (_hubspot, _database, variables) = good().await;
    let public = changed(&variables, "PUBLIC_URL", "http://connect.example.com");
    for word in ["", "yes", "true", "1", "I-KNOW"] {
        let text = problems(&changed(&public, "ALLOW_INSECURE", word));
        assert!(text.contains("PUBLIC_URL must use https"), "{word}: {text}");
    }
    let process = crate::harness::process::Process::serve(&changed(&public, "ALLOW_INSECURE", "i-know"));
    assert!(process.log().contains("ALLOW_INSECURE"), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_origins_are_refused_with_the_correct_spelling() {
    let (_hubspot, _database, variables) = good().await;
    for (origin, said) in [
        ("*", "wildcard"),
        ("https://*.example.com", "wildcard"),
        ("https://app.example.com/", "https://app.example.com"),
        ("https://app.example.com/path?x", "https://app.example.com"),
        ("HTTPS://App.Example.com", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("app.example.com", "is not an origin"),
        ("null", "is not an origin"),
        ("http://app.example.com", "only loopback"),
    ] {
        let text = problems(&changed(&variables, "HOST_ORIGINS", origin));
        assert!(text.contains("HOST_ORIGINS") && text.contains(said), "{origin}: {text}");
    }
    let several = "https://ok.example.com, HTTPS://App.example.com/, *";
    let text = problems(&changed(&variables, "HOST_ORIGINS", several));
    assert!(text.contains("https://app.example.com") && text.contains("wildcard"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_files_may_have_a_byte_order_mark_and_any_line_ending() {
    let (_hubspot, _database, variables) = good().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let named = |name: &str| {
        let variables = without(&variables, name);
        changed(&variables, &format!("{name}_FILE"), &path.display().to_string())
    };
    for name in ["ENCRYPTION_KEYS", "APP_SECRET", "HUBSPOT_CLIENT_SECRET", "DATABASE_URL"] {
        let value = crate::harness::process::value(&variables, name);
        for written in [
            value.clone(),
            format!("{value}\n"),
            format!("{value}\r\n"),
            format!("\u{feff}{value}\r\n"),
            format!("  {value}  \n\n"),
        ] {
            std::fs::write(&path, &written).unwrap();
            let config = Config::read(&Variables::from_pairs(named(name))).expect(name);
            let read = match name {
                "ENCRYPTION_KEYS" => config.security.encryption_keys[0].expose().to_owned(),
                "APP_SECRET" => config.security.app_secret.expose().to_owned(),
                "HUBSPOT_CLIENT_SECRET" => config.hubspot.client_secrets[0].expose().to_owned(),
                _ => config.database.url.expose().to_owned(),
            };
            assert_eq!(read, value, "{name} {written:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_secret_files_are_refused_by_variable_name() {
    let (_hubspot, _database, variables) = good().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let missing = folder.path().join("missing").display().to_string();
    let directory = folder.path().display().to_string();
    for (path, said) in [
        (missing, "cannot be read"),
        (directory, "cannot be read"),
        (file("empty", b""), "is empty"),
        (file("blank", b" \r\n \n"), "is empty"),
        (file("mark", "\u{feff}\r\n".as_bytes()), "is empty"),
        (file("binary", b"\xff\xfe\x00h\x00u"), "cannot be read"),
    ] {
        let variables = changed(&without(&variables, "APP_SECRET"), "APP_SECRET_FILE", &path);
        let text = problems(&variables);
        assert!(text.contains("APP_SECRET_FILE") && text.contains(said), "{path}: {text}");
        assert!(text.contains("1 problem(s)"), "{text}");
    }
    let both = changed(&variables, "APP_SECRET_FILE", &file("good", b"x"));
    assert!(problems(&both).contains("set one of them"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dot_env_files_have_lower_precedence_and_are_never_shown() {
    let (_hubspot, _database, variables) = good().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "APP_SECRET hunter2\n").unwrap();
    let ended = crate::harness::process::run_in(folder.path(), &["db", "status"], &variables);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(".env") && !ended.stderr.contains("hunter2"), "{}", ended.stderr);
    std::fs::write(folder.path().join(".env"), "DATABASE_URL=mysql://x\nLOG_LEVEL=debug\n").unwrap();
    let ended = crate::harness::process::run_in(folder.path(), &["db", "migrate"], &variables);
    assert_eq!(ended.code, Some(0), "the environment wins: {}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_files_readable_by_other_users_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let (_hubspot, _database, variables) = good().await;
    let folder = tempfile::tempdir().unwrap();
    let (env, secret) = (folder.path().join(".env"), folder.path().join("secret"));
    std::fs::write(&env, "LOG_LEVEL=info\n").unwrap();
    std::fs::write(&secret, crate::harness::process::value(&variables, "APP_SECRET")).unwrap();
    let variables = without(&variables, "APP_SECRET");
    let variables = changed(&variables, "APP_SECRET_FILE", &secret.display().to_string());
    for command in [&["db", "migrate"][..], &["doctor"]] {
        for (mode, is_open) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o602, true)] {
            for path in [&env, &secret] {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
            }
            let ended = crate::harness::process::run_in(folder.path(), command, &variables);
            assert_eq!(ended.code, Some(0), "{command:?}: {}", ended.stderr);
            let secret = secret.display().to_string();
            for path in [".env", &secret] {
                let warning =
                    format!("{path} is open to other users (mode {mode:o}); run `chmod 600 {path}`");
                assert_eq!(ended.stderr.contains(&warning), is_open, "{mode:o} {path}: {}", ended.stderr);
            }
        }
    }
    // systemd's credentials look as if their group could read them.
    let folder = secret.parent().unwrap().display().to_string();
    let credentials = changed(&variables, "CREDENTIALS_DIRECTORY", &folder);
    let ended = run(&["db", "migrate"], &credentials);
    assert!(!ended.stderr.contains("open to other users"), "{}", ended.stderr);
}
