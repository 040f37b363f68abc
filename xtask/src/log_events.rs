//! docs/log-events.md: every event that the service logs, collected from its source.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::Result;
use crate::run::root;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// A place that logs.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    level: usize,
    message: String,
    fields: Vec<String>,
    target: String,
}

/// Returns the document.
pub fn document() -> Result<String> {
    let mut events = Vec::new();
    collect(&root().join("src"), "hubspot_connect", &mut events)?;
    events.sort();
    events.dedup();
    let mut text = "# Log events\n\nFor operators who search the log or alert on it. At the end, you know every event that the \
        service logs. [Logging](logging.md) explains the form of a line and the fields. (`cargo xtask generate` writes this \
        page from the source.)\n\n| level | message | fields | target |\n|---|---|---|---|\n"
        .to_owned();
    for Event { level, message, fields, target } in events {
        let fields: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
        writeln!(text, "| {} | `{message}` | {} | `{target}` |", LEVELS[level], fields.join(", "))
            .map_err(|why| why.to_string())?;
    }
    Ok(text)
}

fn collect(folder: &Path, module: &str, events: &mut Vec<Event>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, &format!("{module}::{name}"), events)?;
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let target = match name.as_str() {
            "mod" | "lib" | "main" => module.to_owned(),
            _ => format!("{module}::{name}"),
        };
        let text = fs::read_to_string(&path).map_err(|why| format!("{}: {why}", path.display()))?;
        let tokens: TokenStream = text.parse().map_err(|why| format!("{}: {why}", path.display()))?;
        find(tokens, &target, events);
    }
    Ok(())
}

/// Finds `tracing::<level>!(…)`, at any depth.
fn find(tokens: TokenStream, target: &str, events: &mut Vec<Event>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let before: String = tokens[at.saturating_sub(5)..at].iter().map(ToString::to_string).collect();
        let level = LEVELS.iter().position(|level| before.ends_with(&format!("tracing::{level}!")));
        match level {
            Some(level) if group.delimiter() == Delimiter::Parenthesis => {
                events.push(event(level, group.stream(), target));
            }
            _ => find(group.stream(), target, events),
        }
    }
}

/// Parses the arguments: the message is the one that is only a string literal; the others are fields.
fn event(level: usize, arguments: TokenStream, target: &str) -> Event {
    let (mut message, mut fields) = (String::new(), Vec::new());
    let tokens: Vec<TokenTree> = arguments.into_iter().collect();
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',');
    for argument in tokens.split(is_comma) {
        match argument {
            [TokenTree::Literal(text)] => message = plain(&text.to_string()),
            [first, ..] => {
                let name = argument.iter().find(|token| matches!(token, TokenTree::Ident(_)));
                fields.push(name.unwrap_or(first).to_string());
            }
            [] => {}
        }
    }
    Event { level, message, fields, target: target.to_owned() }
}

/// Returns the text of a literal: a line break with its indentation is left out.
fn plain(literal: &str) -> String {
    let text = literal.trim_matches('"').replace("\\\"", "\"");
    let mut lines = text.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |text, line| text + line.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(source: &str) -> Vec<(usize, String, String)> {
        let mut found = Vec::new();
        find(source.parse().expect("tokens"), "t", &mut found);
        found.into_iter().map(|event| (event.level, event.message, event.fields.join(" "))).collect()
    }

    #[test]
    fn events_are_found_at_any_depth_with_their_fields() {
        let source = r#"fn a() { if b { tracing::warn!(connection = %id, code, error = ?why.get(1, 2), "it \
            failed"); } tracing::debug!("plain") }"#;
        let expected = [(1, "it failed", "connection code error"), (3, "plain", "")];
        let expected =
            expected.map(|(level, message, fields)| (level, message.to_owned(), fields.to_owned()));
        assert_eq!(events(source), expected);
    }
}
