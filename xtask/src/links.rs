//! The links of the documents: every relative one leads to a file, and every anchor to a heading of it.

use crate::Result;
use crate::run::root;
use crate::steps::Done;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders whose documents are checked.
const FOLDERS: [&str; 7] =
    ["", "docs", "examples", "examples/hubspot-app", "sdk", "sdk/server", "sdk/python"];

/// Checks the links of all documents, and that the book's summary names every page.
pub fn check() -> Result<Done> {
    let mut documents = Vec::new();
    for folder in FOLDERS {
        documents.extend(pages(&root().join(folder))?);
    }
    let (mut count, mut wrong) = (0, Vec::new());
    for document in &documents {
        let name = document.strip_prefix(root()).unwrap_or(document).display();
        for target in targets(&read(document)?) {
            count += 1;
            if let Err(why) = follow(document, &target) {
                wrong.push(format!("{name}: {target} {why}"));
            }
        }
    }
    let summary = targets(&read(&root().join("docs/SUMMARY.md"))?);
    for page in pages(&root().join("docs"))? {
        let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name != "SUMMARY.md" && !summary.contains(&name) {
            wrong.push(format!("docs/SUMMARY.md does not name {name}"));
        }
    }
    match wrong.is_empty() {
        true => Ok(Done::Passed(format!("{count} links in {} documents", documents.len()))),
        false => Err(wrong.join("\n")),
    }
}

/// Returns the documents of a folder, without those of its subfolders.
fn pages(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |why| format!("{}: {why}", folder.display());
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|kind| kind == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    Ok(pages)
}

/// Follows a link of a document. Links to other sites are not looked at: CI has no network for them.
fn follow(document: &Path, target: &str) -> std::result::Result<(), &'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = match path {
        "" => document.to_owned(),
        path => document.with_file_name(path),
    };
    if !file.exists() {
        return Err("leads to no file");
    }
    let is_found = || read(&file).is_ok_and(|text| anchors(&text).any(|found| found == anchor));
    if anchor.is_empty() || is_found() { Ok(()) } else { Err("leads to no heading") }
}

/// Returns the targets of the inline links of a text.
fn targets(text: &str) -> Vec<String> {
    let text: String = prose(text).map(without_code).collect::<Vec<_>>().join("\n");
    let ends = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    ends.map(|(target, _)| target.to_owned()).collect()
}

/// Returns the anchors of a document's headings, as GitHub and mdBook name them.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    })
}

/// Returns the lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Returns a line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).map_err(|why| format!("{}: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_code_are_not_links() {
        let text = "[a](b.md) and `[c](d.md)` and [`e`](f.md#g)\n```js\nh[i](j)\n```\n";
        assert_eq!(targets(text), ["b.md", "f.md#g"]);
    }

    #[test]
    fn anchors_are_those_of_github() {
        let text = "# The `A` of b-c: d_e?\n```sh\n# no heading\n```\n";
        assert_eq!(anchors(text).collect::<Vec<_>>(), ["the-a-of-b-c-d_e"]);
    }

    #[test]
    fn a_missing_file_and_a_missing_heading_are_reported() {
        let document = root().join("README.md");
        assert_eq!(follow(&document, "CONTRIBUTING.md#commands"), Ok(()));
        assert!(follow(&document, "CONTRIBUTING.md#nowhere").is_err());
        assert!(follow(&document, "nowhere.md").is_err());
    }
}
