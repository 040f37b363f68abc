//! `.env` as users, shells and container runtimes write it.

use std::path::Path;

use crate::harness::app::settle;
use crate::harness::database::TestDatabase;
use crate::harness::process::{CommandOutput, changed, run_as_stranger, run_in, without};

/// Returns the variables of a service that would start, without the one that the tests put into `.env`: the report
/// repeats a wrong origin, so it shows how a value was read.
async fn variables() -> (fake_hubspot::FakeHubSpot, TestDatabase, Vec<(String, String)>) {
    let hubspot = fake_hubspot::FakeHubSpot::start(fake_hubspot::Options::default()).await.unwrap();
    let database = TestDatabase::fresh().await;
    let variables = without(&settle(&hubspot, &database, &[]), "HOST_ORIGINS");
    (hubspot, database, variables)
}

fn run_with(folder: &Path, file: &[u8], variables: &[(String, String)]) -> CommandOutput {
    std::fs::write(folder.join(".env"), file).unwrap();
    run_in(folder, &["db", "status"], variables)
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_literal_and_surrounding_quotes_are_removed() {
    let (_hubspot, _database, variables) = variables().await;
    let folder = tempfile::tempdir().unwrap();
    for (written, value) in [
        ("HOST_ORIGINS=pa$word", "pa$word"),
        ("HOST_ORIGINS=${HOME}/$(id)", "${HOME}/$(id)"),
        ("HOST_ORIGINS=\"$HOME\"", "$HOME"),
        ("HOST_ORIGINS=two words", "two words"),
        ("HOST_ORIGINS=  padded  ", "padded"),
        ("HOST_ORIGINS=a#b", "a#b"),
        ("HOST_ORIGINS=#b", "#b"),
        ("HOST_ORIGINS=a # b", "a"),
        ("HOST_ORIGINS=a\t# b", "a"),
        ("HOST_ORIGINS=back\\slash", "back\\slash"),
        ("HOST_ORIGINS=it's", "it's"),
        ("HOST_ORIGINS=a=b", "a=b"),
        ("HOST_ORIGINS='a # $b \"c\" \\d'", "a # $b \"c\" \\d"),
        (r#"HOST_ORIGINS="a # \"b\" \$c \\ \d 'e'" # f"#, r#"a # "b" $c \ \d 'e'"#),
        ("HOST_ORIGINS = a", "a"),
        ("  HOST_ORIGINS=a", "a"),
        ("export HOST_ORIGINS=a", "a"),
        ("\u{feff}HOST_ORIGINS=a", "a"),
        ("# HOST_ORIGINS=b\r\n\r\n  # c\r\nHOST_ORIGINS=a\r\nLOG_LEVEL='info'\r\n", "a"),
        ("HOST_ORIGINS=b\nHOST_ORIGINS=a", "a"),
    ] {
        let ended = run_with(folder.path(), written.as_bytes(), &variables);
        let said = format!("HOST_ORIGINS contains `{value}`, which");
        assert!(ended.stderr.contains(&said), "{written}: {}", ended.stderr);
        assert!(ended.stderr.contains("1 problem(s)"), "{written}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quotes_that_docker_leaves_around_values_are_removed() {
    let (_hubspot, _database, variables) = variables().await;
    let folder = tempfile::tempdir().unwrap();
    for (value, meant) in
        [("\"a $b\"", "a $b"), ("'a b'", "a b"), ("\"a", "\"a"), ("'a' b", "'a' b"), ("a # b", "a # b")]
    {
        let ended = run_in(folder.path(), &["db", "status"], &changed(&variables, "HOST_ORIGINS", value));
        let said = format!("HOST_ORIGINS contains `{meant}`, which");
        assert!(ended.stderr.contains(&said), "{value}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_lines_are_reported_only_by_number() {
    let (_hubspot, _database, variables) = variables().await;
    let folder = tempfile::tempdir().unwrap();
    for line in [
        &b"APP_SECRET hunter2"[..],
        b"hunter2",
        b"=hunter2",
        b"APP SECRET=hunter2",
        b"APP-SECRET=hunter2",
        b"2APP_SECRET=hunter2",
        b"APP_SECRET=\"hunter2",
        b"APP_SECRET='hunter2",
        b"APP_SECRET=\"hunter\"2",
        b"APP_SECRET=\"hunter2\\\"",
        b"APP_SECRET=hunter2\xff",
        b"APP_SECRET=hunter2\0",
    ] {
        let file = [b"# a comment\n\nLOG_LEVEL=info\n", line, b"\nLOG_FORMAT json\n"].concat();
        let ended = run_with(folder.path(), &file, &variables);
        assert_eq!(ended.code, Some(1));
        let text = format!("{}{}", ended.stdout, ended.stderr);
        assert!(text.contains("line 4 ") && text.contains("line 5 "), "{line:?}: {text}");
        assert!(!text.contains("hunter"), "{line:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_variables_override_the_file() {
    let (_hubspot, _database, variables) = variables().await;
    let folder = tempfile::tempdir().unwrap();
    let file = b"HOST_ORIGINS=of-the-file\nhttps_proxy=://\nLOG_FORMAT=xml\n";
    for (name, value) in [("HOST_ORIGINS", "of-the-environment"), ("https_proxy", "http://127.0.0.1:9")] {
        let ended = run_with(folder.path(), file, &changed(&variables, name, value));
        assert!(!ended.stderr.contains("of-the-file") || name != "HOST_ORIGINS", "{}", ended.stderr);
        assert!(!ended.stderr.contains("HTTPS_PROXY") || name != "https_proxy", "{}", ended.stderr);
        assert!(ended.stderr.contains("LOG_FORMAT"), "{}", ended.stderr);
    }
}

/// A container may run under any user id, and the folder in which it starts need not be that user's.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_env_files_are_warned_of_and_the_environment_is_used() {
    use std::os::unix::fs::PermissionsExt;
    let (_hubspot, database, variables) = variables().await;
    let folder = tempfile::tempdir().unwrap();
    let env = folder.path().join(".env");
    std::fs::write(&env, "LOG_FORMAT=xml\n").unwrap();
    std::fs::set_permissions(&env, std::fs::Permissions::from_mode(0o000)).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let CommandOutput { stdout, stderr, .. } = run_as_stranger(folder.path(), &["db", "status"], &variables);
    assert!(stderr.contains(".env cannot be read (permission denied)"), "{stderr}");
    assert!(!stderr.contains("LOG_FORMAT") && !stderr.contains("problem(s)"), "{stderr}");
    if !database.is_sqlite() {
        assert!(stdout.contains("missing"), "{stderr}");
    }
}
