//! `.env`: one `NAME=value` per line, parsed so that the same file works with shells, `docker run --env-file` and Compose.

/// Parses a file.
///
/// # Errors
/// A sentence for each invalid line. It has the line's number and none of its content, which may be a secret.
pub(super) fn parse(file: &[u8]) -> Result<Vec<(String, String)>, Vec<String>> {
    let file = file.strip_prefix("\u{feff}".as_bytes()).unwrap_or(file);
    let (mut pairs, mut problems) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(file.split(|byte| *byte == b'\n')) {
        match std::str::from_utf8(line).ok().and_then(pair) {
            Some(found) => pairs.extend(found),
            None => problems.push(format!(".env: line {number} is not NAME=value")),
        }
    }
    if problems.is_empty() { Ok(pairs) } else { Err(problems) }
}

/// Parses a line. Returns `Some(None)` for an empty line or a comment, and `None` for an invalid line.
fn pair(line: &str) -> Option<Option<(String, String)>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Some(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let value = value_of(value).filter(|value| is_name && !value.contains('\0'))?;
    Some(Some((name.to_owned(), value)))
}

/// Returns the value after the equals sign, without quotes around it and without a comment. Nothing is substituted.
fn value_of(text: &str) -> Option<String> {
    let trimmed = text.trim();
    if trimmed.starts_with(['"', '\'']) {
        let (value, rest) = quoted(trimmed)?;
        let is_comment = rest.trim_start().starts_with('#') && rest.starts_with(char::is_whitespace);
        return (rest.is_empty() || is_comment).then_some(value);
    }
    let comment = text.match_indices('#').map(|(at, _)| at);
    let comment = comment.into_iter().find(|at| text[..*at].ends_with(char::is_whitespace));
    Some(text[..comment.unwrap_or(text.len())].trim().to_owned())
}

/// Returns the content of the quotes at the start of a text, and the rest of the text. As in a shell, a backslash in double
/// quotes escapes `"`, `\`, `$` and `` ` ``; single quotes have no escapes.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let mut value = String::new();
    let mut chars = text[1..].char_indices().peekable();
    while let Some((at, next)) = chars.next() {
        if next == quote {
            return Some((value, &text[at + 2..]));
        }
        let escaped = chars.next_if(|(_, after)| next == '\\' && quote == '"' && "\"\\$`".contains(*after));
        value.push(escaped.map_or(next, |(_, after)| after));
    }
    None
}

/// Removes the quotes around a value of the environment: `docker run --env-file` passes them on.
pub(super) fn unquoted(value: String) -> String {
    match quoted(value.trim()) {
        Some((inner, "")) => inner,
        _ => value,
    }
}
