//! The text of a source file that a person reads: its comments and its string literals, or all of a document.

/// A comment, a string literal or a paragraph, its lines joined by spaces.
pub struct Passage {
    pub text: String,
    pub place: Place,
    /// The position in `text` at which each line of the file begins.
    lines: Vec<(usize, usize)>,
}

/// The place of a passage in its file. The first paragraph of a doc comment is its summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The summary of a function.
    FunctionSummary,
    /// The summary of a type, a field, a constant or a module.
    ItemSummary,
    /// Any other text.
    Text,
}

impl Passage {
    /// The line of the file that holds this position of the text.
    pub fn line(&self, at: usize) -> usize {
        self.lines.iter().rev().find(|(begin, _)| *begin <= at).map_or(0, |(_, line)| *line)
    }

    fn new(lines: &[(usize, &str)], place: Place) -> Self {
        let mut passage = Self { text: String::new(), place, lines: Vec::new() };
        for (line, text) in lines {
            if !passage.text.is_empty() {
                passage.text.push(' ');
            }
            passage.lines.push((passage.text.len(), *line));
            passage.text.push_str(text.trim());
        }
        passage
    }
}

/// A language, by its syntax for comments and strings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Rust,
    JavaScript,
    Python,
    /// Every line is prose: documents, templates, settings.
    Plain,
}

impl Language {
    /// The language of a file, by the end of its name. `None` if the file holds no prose of ours.
    pub fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path);
        Some(match name.rsplit('.').next().unwrap_or(name) {
            "rs" => Self::Rust,
            "ts" | "tsx" | "js" | "jsx" | "mjs" | "css" => Self::JavaScript,
            "py" => Self::Python,
            "md" | "html" | "toml" | "yml" | "yaml" | "example" | "Dockerfile" | "run" => Self::Plain,
            _ => return None,
        })
    }
}

/// The marks of a doc comment in Rust, and of a comment on an attribute in Python.
const DOC_MARKS: [&str; 3] = ["///", "//!", "#:"];

/// Words that only SQL statements contain.
const SQL: [&str; 7] = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WHERE ", " FROM ", " SET "];

/// Returns every passage of the file, in order.
pub fn passages(language: Language, source: &str) -> Vec<Passage> {
    if language == Language::Plain {
        return paragraphs(source);
    }
    let mut scan = Scan { language, source, at: 0, line: 1, found: Vec::new() };
    scan.run();
    scan.found
}

/// Splits a document at its empty lines, without marks of comments and headings and without the code of a template.
fn paragraphs(source: &str) -> Vec<Passage> {
    let source = &without_template_code(source);
    let lines: Vec<_> = source.lines().enumerate().map(|(at, text)| (at + 1, unmarked(text, "#"))).collect();
    split(&lines, |_| Place::Text)
}

fn without_template_code(source: &str) -> String {
    let (mut text, mut rest) = (String::new(), source);
    while let Some(begin) = ["{%", "{{"].iter().filter_map(|open| rest.find(open)).min() {
        let close = if rest[begin..].starts_with("{%") { "%}" } else { "}}" };
        let end = rest[begin..].find(close).map_or(rest.len(), |end| begin + end + 2);
        text.push_str(&rest[..begin]);
        text.extend(rest[begin..end].matches('\n'));
        rest = &rest[end..];
    }
    text + rest
}

fn unmarked<'a>(line: &'a str, mark: &str) -> &'a str {
    line.trim().trim_start_matches(mark).trim()
}

fn split(lines: &[(usize, &str)], place: impl Fn(usize) -> Place) -> Vec<Passage> {
    let paragraphs = lines.split(|(_, text)| text.is_empty()).filter(|lines| !lines.is_empty());
    paragraphs.enumerate().map(|(at, lines)| Passage::new(lines, place(at))).collect()
}

struct Scan<'a> {
    language: Language,
    source: &'a str,
    at: usize,
    line: usize,
    found: Vec<Passage>,
}

impl<'a> Scan<'a> {
    fn run(&mut self) {
        while self.at < self.source.len() {
            let rest = self.rest();
            let python = self.language == Language::Python;
            if (!python && rest.starts_with("//")) || (python && rest.starts_with('#')) {
                self.line_comment(if python { "#" } else { "//" });
            } else if !python && rest.starts_with("/*") {
                self.block_comment();
            } else if let Some(quote) = self.raw_string() {
                self.string(&quote, false);
            } else if python && (rest.starts_with("\"\"\"") || rest.starts_with("'''")) {
                let quote = &rest[..3];
                self.advance(3);
                self.string(quote, true);
            } else if rest.starts_with('"') || (self.language != Language::Rust && rest.starts_with('\'')) {
                let quote = &rest[..1];
                self.advance(1);
                self.string(quote, true);
            } else if self.language == Language::JavaScript && rest.starts_with('`') {
                self.advance(1);
                self.string("`", true);
            } else {
                self.advance(self.character(rest));
            }
        }
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn advance(&mut self, by: usize) {
        self.line += self.source[self.at..self.at + by].matches('\n').count();
        self.at += by;
    }

    /// Returns the length of the next token: a character literal as a whole, so that `'"'` begins no string.
    fn character(&self, rest: &str) -> usize {
        let quoted =
            ["'\"'", "'\\\"'", "'\\''", "'\\\\'"].into_iter().find(|literal| rest.starts_with(literal));
        match quoted {
            Some(literal) if self.language == Language::Rust => literal.len(),
            _ => rest.chars().next().map_or(1, char::len_utf8),
        }
    }

    /// Enters a raw string of Rust and returns its closing quote.
    fn raw_string(&mut self) -> Option<String> {
        if self.language != Language::Rust || self.source[..self.at].ends_with(|c: char| c.is_alphanumeric())
        {
            return None;
        }
        let rest = self.rest();
        let opened = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
        let hashes = opened.len() - opened.trim_start_matches('#').len();
        if !opened[hashes..].starts_with('"') {
            return None;
        }
        self.advance(rest.len() - opened.len() + hashes + 1);
        Some(format!("\"{}", "#".repeat(hashes)))
    }

    /// Reads up to the end of the string. A single word is a key or an identifier, a statement is code: neither is prose.
    fn string(&mut self, quote: &str, escapes: bool) {
        let rest = self.rest();
        let mut end = 0;
        while end < rest.len() && !rest[end..].starts_with(quote) {
            let skipped = usize::from(escapes && rest[end..].starts_with('\\'));
            end += skipped;
            // A string of JavaScript ends with its line: this was an apostrophe in a regular expression.
            if self.language == Language::JavaScript && quote != "`" && rest[end..].starts_with('\n') {
                break;
            }
            end += rest[end..].chars().next().map_or(1, char::len_utf8);
        }
        let end = end.min(rest.len());
        let text = &rest[..end];
        let place = match quote.len() == 3 && self.begins_line(quote.len()) {
            true => self.documented(self.source[..self.at].trim_end_matches(quote).trim_end()),
            false => Place::Text,
        };
        if text.trim().contains(char::is_whitespace) && !SQL.iter().any(|word| text.contains(word)) {
            let lines: Vec<_> = text
                .split('\n')
                .enumerate()
                .map(|(at, text)| {
                    (self.line + at, text.trim_end_matches("\\n\\").trim_end_matches('\\').trim())
                })
                .collect();
            self.found.extend(split(&lines, |at| if at == 0 { place } else { Place::Text }));
        }
        self.advance((end + quote.len()).min(rest.len()));
    }

    fn begins_line(&self, quote: usize) -> bool {
        self.source[..self.at - quote].rsplit('\n').next().is_some_and(|before| before.trim().is_empty())
    }

    /// Returns the kind of item that a docstring of Python follows.
    fn documented(&self, before: &str) -> Place {
        match before.rsplit('\n').take(8).find(|line| line.trim_start().starts_with("def ")) {
            Some(_) if before.ends_with(':') => Place::FunctionSummary,
            _ => Place::ItemSummary,
        }
    }

    /// Reads this comment and those on the next lines that carry the same mark.
    fn line_comment(&mut self, mark: &str) {
        let rest = self.rest();
        let mark = DOC_MARKS.into_iter().find(|doc| rest.starts_with(doc)).unwrap_or(mark);
        let mut lines = Vec::new();
        loop {
            let rest = self.rest();
            let text = rest.split('\n').next().unwrap_or(rest);
            lines.push((self.line, unmarked(text, mark)));
            self.advance((text.len() + 1).min(rest.len()));
            let next = self.rest();
            let indent = next.len() - next.trim_start_matches([' ', '\t']).len();
            let next = &next[indent..];
            if !next.starts_with(mark)
                || (!DOC_MARKS.contains(&mark) && DOC_MARKS.iter().any(|doc| next.starts_with(doc)))
            {
                break;
            }
            self.advance(indent);
        }
        let summary = if DOC_MARKS.contains(&mark) { place_before(self.rest(), mark) } else { Place::Text };
        self.found.extend(split(&lines, |at| if at == 0 { summary } else { Place::Text }));
    }

    fn block_comment(&mut self) {
        let rest = self.rest();
        let end = rest[2..].find("*/").map_or(rest.len(), |end| end + 4);
        let text = &rest[..end];
        let lines: Vec<_> = text
            .split('\n')
            .enumerate()
            .map(|(at, text)| {
                (self.line + at, text.trim_end_matches("*/").trim().trim_start_matches(['/', '*']))
            })
            .map(|(at, text)| (at, text.trim()))
            .collect();
        self.advance(end);
        let summary = if text.starts_with("/**") { place_before(self.rest(), "/**") } else { Place::Text };
        self.found.extend(split(&lines, |at| if at == 0 { summary } else { Place::Text }));
    }
}

/// Returns the kind of the item after a doc comment.
fn place_before(rest: &str, mark: &str) -> Place {
    let item = rest.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("#["));
    let mut words = item.unwrap_or_default().split([' ', '(']).skip_while(|word| {
        word.starts_with("pub")
            || matches!(
                *word,
                "crate)" | "super)" | "const" | "async" | "export" | "default" | "static" | "unsafe"
            )
    });
    match words.next() {
        Some("fn" | "function") if mark != "//!" => Place::FunctionSummary,
        _ => Place::ItemSummary,
    }
}
