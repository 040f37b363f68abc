//! `.env`: one `NAME=value` a line, read so that the same file serves shells, `docker run --env-file` and Compose.

/// Reads the lines of a file.
///
/// # Errors
/// A sentence for each line that cannot be read. It has the line's number and nothing of its content, which may be a
/// secret.
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

/// Reads a line: `Some(None)` for a comment or an empty line, `None` if it is neither that nor `NAME=value`.
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

/// The value behind the equals sign, without the quotes around it and the comment behind it. Nothing is substituted.
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

/// The content of the quotes that a text begins with, and what follows them. As in a shell, a backslash within double
/// quotes makes the next one of `"`, `\`, `$` and `` ` `` an ordinary character; single quotes hold everything as it is.
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

/// A value of the environment without the quotes around it: `docker run --env-file` leaves them where they are.
pub(super) fn unquoted(value: String) -> String {
    match quoted(value.trim()) {
        Some((inner, "")) => inner,
        _ => value,
    }
}
