//! `cargo xtask words`: the words that the texts of this repository do without, and what they use instead.
//!
//! The list is xtask/words.txt. The check reads comments, string literals, documents and templates.

mod prose;

use crate::run::{program, read, root};
use crate::steps::Done;
use crate::{Result, Task};
use clap::Args;
use prose::{Language, Passage, Place, passages};
use regex::{Captures, Regex};
use std::fs;
use std::sync::LazyLock;

/// List the words in comments, texts and documents that xtask/words.txt replaces
#[derive(Args)]
pub struct Words {
    /// Print a count for each pattern instead of each place
    #[arg(long)]
    count: bool,
    /// Search only files whose path begins with this
    paths: Vec<String>,
}

const LIST: &str = include_str!("../../words.txt");

/// A variable in a text, such as `{name}` or `{name:?}`.
static PLACEHOLDER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{\w+(?::[^{}\s]*)?\}").expect("a pattern"));

impl Task for Words {
    fn run(self) -> Result<()> {
        let list = List::read(LIST)?;
        let (hits, files) = search(&list, &self.paths)?;
        if self.count {
            for rule in &list.rules {
                let count = hits.iter().filter(|hit| hit.pattern == rule.pattern.as_str()).count();
                println!("{count:>5}  {}  ({})", rule.name, rule.instead);
            }
        } else {
            for hit in &hits {
                println!("{}", hit.text);
            }
        }
        println!("{:>5}  in {files} files", hits.len());
        Ok(())
    }
}

/// Fails if any text uses a word of the list, and names each place.
pub fn check() -> Result<Done> {
    let (hits, files) = search(&List::read(LIST)?, &[])?;
    match hits.len() {
        0 => Ok(Done::Passed(format!("{files} files"))),
        count => {
            let lines: Vec<_> = hits.into_iter().map(|hit| hit.text).collect();
            Err(format!("{count} places use words that xtask/words.txt replaces\n{}", lines.join("\n")))
        }
    }
}

fn search(list: &List, paths: &[String]) -> Result<(Vec<Hit>, usize)> {
    let names = read(program("git").args(["ls-files", "-z"]))?;
    let (mut hits, mut files) = (Vec::new(), 0);
    for name in
        names.split('\0').filter(|name| paths.is_empty() || paths.iter().any(|path| name.starts_with(path)))
    {
        let Some(language) = Language::of(name) else { continue };
        // A file that is removed and not yet committed is still listed.
        let Ok(source) = fs::read_to_string(root().join(name)) else { continue };
        files += 1;
        hits.extend(list.hits(name, language, &source));
    }
    Ok((hits, files))
}

/// A match in a file.
struct Hit {
    pattern: String,
    text: String,
}

/// One line of the list.
struct Rule {
    /// The pattern as the list has it.
    name: String,
    pattern: Regex,
    /// Correct uses of the same words.
    except: Vec<Regex>,
    scope: Scope,
    instead: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Anywhere,
    Summary,
    FunctionSummary,
}

impl Scope {
    fn covers(self, place: Place) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Summary => place != Place::Text,
            Self::FunctionSummary => place == Place::FunctionSummary,
        }
    }
}

/// A file in which a pattern is allowed.
struct Allowed {
    path: String,
    pattern: String,
}

#[derive(Default)]
struct List {
    rules: Vec<Rule>,
    allowed: Vec<Allowed>,
}

impl List {
    fn read(text: &str) -> Result<Self> {
        let mut list = Self::default();
        let mut section = "";
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name;
            } else if !list.line(section, line)? {
                return Err(format!("xtask/words.txt: this line is not understood: {line}"));
            }
        }
        Ok(list)
    }

    fn line(&mut self, section: &str, line: &str) -> Result<bool> {
        let scope = match section {
            "anywhere" => Scope::Anywhere,
            "summary" => Scope::Summary,
            "function summary" => Scope::FunctionSummary,
            "allowed" => return Ok(self.allow(line).is_some()),
            _ => return Ok(false),
        };
        if let Some(except) = line.strip_prefix("except ") {
            let Some(rule) = self.rules.last_mut() else { return Ok(false) };
            rule.except.push(compile(except)?);
            return Ok(true);
        }
        let Some((name, instead)) = line.split_once(" => ") else { return Ok(false) };
        let name = name.trim().to_owned();
        let pattern = compile(&match scope {
            Scope::Anywhere => format!(r"\b(?:{name})\b"),
            _ => format!(r"^(?-i:{name})\b"),
        })?;
        self.rules.push(Rule {
            name,
            pattern,
            except: Vec::new(),
            scope,
            instead: instead.trim().to_owned(),
        });
        Ok(true)
    }

    fn allow(&mut self, line: &str) -> Option<()> {
        let (what, _reason) = line.split_once(" -- ")?;
        let (path, pattern) = what.split_once(' ')?;
        self.allowed.push(Allowed { path: path.to_owned(), pattern: pattern.trim().to_owned() });
        Some(())
    }

    fn hits(&self, path: &str, language: Language, source: &str) -> Vec<Hit> {
        let rules: Vec<_> = self.rules.iter().filter(|rule| !self.allows(path, &rule.name)).collect();
        let mut hits = Vec::new();
        for passage in passages(language, source) {
            let read = without_code(&passage.text);
            for rule in rules.iter().filter(|rule| rule.scope.covers(passage.place)) {
                hits.extend(rule.matches(&read).map(|found| rule.hit(path, &passage, found.range())));
            }
        }
        hits
    }

    fn allows(&self, path: &str, name: &str) -> bool {
        let covers = |allowed: &&Allowed| allowed.pattern == "*" || allowed.pattern == name;
        self.allowed.iter().filter(covers).any(|allowed| path.starts_with(&allowed.path))
    }
}

impl Rule {
    fn matches<'a>(&'a self, text: &'a str) -> impl Iterator<Item = regex::Match<'a>> {
        self.pattern.find_iter(text).filter(move |found| {
            let overlaps =
                |other: regex::Match<'_>| other.start() < found.end() && found.start() < other.end();
            !self.except.iter().any(|except| except.find_iter(text).any(overlaps))
        })
    }

    fn hit(&self, path: &str, passage: &Passage, range: std::ops::Range<usize>) -> Hit {
        let line = passage.line(range.start);
        let around = around(&passage.text, range);
        Hit {
            pattern: self.pattern.as_str().to_owned(),
            text: format!("{path}:{line}: {around}  => {}", self.instead),
        }
    }
}

fn compile(pattern: &str) -> Result<Regex> {
    Regex::new(&format!("(?i){pattern}")).map_err(|why| format!("xtask/words.txt: {why}"))
}

/// Blanks the text in backticks and the names in `{}`: names are not prose. The length stays the same.
fn without_code(text: &str) -> String {
    let mut inside = false;
    let blank = |c: char| {
        inside ^= c == '`';
        if inside && c != '`' { "_".repeat(c.len_utf8()) } else { c.to_string() }
    };
    let text =
        PLACEHOLDER.replace_all(text, |name: &Captures<'_>| format!("{{{}}}", "_".repeat(name[0].len() - 2)));
    if text.matches('`').count().is_multiple_of(2) {
        text.chars().map(blank).collect()
    } else {
        text.into_owned()
    }
}

/// The match with a few words on either side.
fn around(text: &str, range: std::ops::Range<usize>) -> &str {
    let begin = text[..range.start].rmatch_indices(' ').nth(3).map_or(0, |(at, _)| at + 1);
    let end = text[range.end..].match_indices(' ').nth(3).map_or(text.len(), |(at, _)| range.end + at);
    &text[begin..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "[anywhere]\nanew => again\nis none => invalid\nexcept there is none\n\
        [summary]\nWhat => a noun phrase\n[function summary]\nWhether => Returns whether\n\
        [allowed]\nsrc/old.rs anew -- it quotes the word\n";

    fn found(path: &str, source: &str) -> Vec<String> {
        let list = List::read(RULES).expect("a list");
        let hits = list.hits(path, Language::of(path).expect("a language"), source);
        hits.into_iter().map(|hit| hit.text).collect()
    }

    #[test]
    fn words_are_found_across_the_lines_of_a_comment_with_their_line() {
        let source = "fn a() {}\n// It is sent\n// anew, and the key is\n// none.\n";
        let expected =
            ["a.rs:3: It is sent anew, and the key  => again", "a.rs:3: and the key is none.  => invalid"];
        assert_eq!(found("a.rs", source), expected);
    }

    #[test]
    fn words_are_found_in_strings_documents_and_docstrings() {
        assert_eq!(found("a.rs", "let a = \"sent \\\n    anew\";").len(), 1);
        assert_eq!(found("a.rs", "let a = ('\"', r#\"sent \"anew\" now\"#);").len(), 1);
        assert_eq!(found("a.ts", "throw new Error(`sent anew ${a}`);").len(), 1);
        assert_eq!(found("a.md", "# Sent\n\nIt is sent\nanew.").len(), 1);
        assert_eq!(found("a.py", "def a() -> None:\n    \"\"\"What is sent anew.\"\"\"\n").len(), 2);
    }

    #[test]
    fn good_lines_are_not_found() {
        assert!(
            found("a.rs", "// `anew` is a name, and there is none.\nlet anew = key[\"anew\"];\n").is_empty()
        );
        assert!(found("a.rs", "let a = \"the key is {anew:?} or {anew}\";").is_empty());
        assert!(found("a.html", "{% if key is none %}<p>{{ anew }}</p>{% endif %}").is_empty());
        assert!(found("a.rs", "let a = \"SELECT anew FROM key\";").is_empty());
        assert!(found("src/old.rs", "// Sent anew.\n").is_empty());
        assert!(
            found("a.rs", "/// Returns the key.\n///\n/// What it opens is secret.\nfn key() {}\n")
                .is_empty()
        );
    }

    #[test]
    fn summaries_are_judged_by_the_item_they_belong_to() {
        assert_eq!(found("a.rs", "/// What it opens.\nkey: Key,\n").len(), 1);
        assert_eq!(found("a.ts", "/** What it opens. */\nexport interface Key {}\n").len(), 1);
        assert_eq!(
            found("a.rs", "/// Whether it is open.\n#[must_use]\npub(crate) async fn is_open() {}\n").len(),
            1
        );
        assert_eq!(found("a.py", "#: What it opens.\n#: More.\nkey: str\n").len(), 1);
        assert!(found("a.rs", "/// Whether it is open.\npub open: bool,\n").is_empty());
    }

    #[test]
    fn the_list_itself_is_understood() {
        assert!(List::read(LIST).is_ok());
        assert!(List::read("[anywhere]\nanew\n").is_err());
    }
}
