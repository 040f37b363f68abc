//! `cargo xtask docs`: the documents as a book with search.

use crate::run::{cargo, program, read, root, show, target_dir};
use crate::{Result, Task, links};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};

/// Build the documents as a book in target/book, and check their links
///
/// mdBook is installed into target/tools the first time.
#[derive(Args)]
pub struct Docs {}

/// The release of mdBook.
const MDBOOK: &str = "0.5.4";
/// The folder of the book with the files of the repository that its pages link to.
const FILES: &str = "files";

impl Task for Docs {
    fn run(self) -> Result<()> {
        links::check()?;
        let book = target_dir().join("book");
        show(program(mdbook()?).args(["build", "docs", "--dest-dir"]).arg(&book))?;
        for page in fs::read_dir(&book).map_err(|why| why.to_string())?.flatten() {
            if page.path().extension().is_some_and(|kind| kind == "html") {
                finish(&book, &page.path())?;
            }
        }
        println!("{} written", book.join("index.html").display());
        Ok(())
    }
}

/// Returns mdBook, after installing it if this release is not there yet.
fn mdbook() -> Result<PathBuf> {
    let tools = target_dir().join("tools");
    let mdbook = tools.join("bin/mdbook");
    let is_here = read(program(&mdbook).arg("--version")).is_ok_and(|version| version.contains(MDBOOK));
    if !is_here {
        let mut install = cargo("install");
        install.args(["mdbook", "--version", MDBOOK, "--locked", "--no-default-features"]);
        show(install.args(["--features", "search", "--root"]).arg(&tools))?;
    }
    Ok(mdbook)
}

/// Copies the files outside of `docs/` that a page links to beside the book, which can then be moved anywhere, and
/// refuses pages that load something from another site.
fn finish(book: &Path, page: &Path) -> Result<()> {
    let name = page.display();
    let mut text = fs::read_to_string(page).map_err(|why| format!("{name}: {why}"))?;
    for tag in ["<script", "<link", "<img"] {
        let mut tags = text.split(tag).skip(1).filter_map(|rest| rest.split('>').next());
        if let Some(foreign) = tags.find(|attributes| attributes.contains("=\"http")) {
            return Err(format!("{name} loads from another site: {tag}{foreign}>"));
        }
    }
    let links = text.split("href=\"../").skip(1).filter_map(|rest| rest.split('"').next());
    let outside: Vec<String> = links.map(str::to_owned).collect();
    for target in outside {
        let path = target.split('#').next().unwrap_or_default();
        // mdBook takes every document for a page of its own.
        let source = match path.strip_suffix(".html").map(|stem| format!("{stem}.md")) {
            Some(document) if root().join(&document).is_file() => document,
            _ => path.to_owned(),
        };
        let copy = book.join(FILES).join(&source);
        let folder = copy.parent().unwrap_or(book);
        fs::create_dir_all(folder)
            .and_then(|()| fs::copy(root().join(&source), &copy))
            .map_err(|why| format!("{name} links to {source}: {why}"))?;
        text = text.replace(&format!("href=\"../{target}\""), &format!("href=\"{FILES}/{source}\""));
    }
    fs::write(page, text).map_err(|why| format!("{name}: {why}"))
}
