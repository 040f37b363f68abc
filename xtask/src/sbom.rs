//! `cargo xtask sbom`: the contents of the shipped binary, as CycloneDX 1.5.
//!
//! Packages are those that Cargo links for the target and features of the Dockerfile, so build and test dependencies
//! and those of disabled features are left out. Versions, licences and the graph come from `cargo tree`; checksums from
//! Cargo.lock. The same source gives the same bytes.

use crate::run::{cargo, read, root, target_dir};
use crate::{Result, Task};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// Write target/sbom/hubspot-connect.cdx.json: every package in the shipped binary, with version, licence and checksum
#[derive(Args)]
pub struct Sbom {
    /// The target of the binary
    #[arg(long, default_value = TARGET)]
    target: String,
}

/// The target of the image on most machines.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const PROGRAM: &str = "hubspot-connect";

impl Task for Sbom {
    fn run(self) -> Result<()> {
        let file = write(&self.target)?;
        println!("{} written", file.display());
        Ok(())
    }
}

/// Generates it for the image's target. The error names a package without a licence or, from a registry, without a
/// checksum.
pub fn check() -> Result<()> {
    write(TARGET).map(|_| ())
}

fn write(target: &str) -> Result<PathBuf> {
    let mut tree = cargo("tree");
    tree.args(["--locked", "--package", PROGRAM, "--target", target, "--edges", "normal,no-proc-macro"]);
    let tree = read(tree.args(["--prefix", "depth", "--charset", "ascii", "--format", "{p}\t{l}"]))?;
    let lock = fs::read_to_string(root().join("Cargo.lock")).map_err(|why| format!("Cargo.lock: {why}"))?;
    let folder = target_dir().join("sbom");
    fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let file = folder.join(format!("{PROGRAM}.cdx.json"));
    fs::write(&file, document(&tree, &lock, target)?).map_err(|why| format!("{}: {why}", file.display()))?;
    Ok(file)
}

/// Name and version.
type Id = (String, String);

#[derive(Default)]
struct Package {
    licence: String,
    needs: BTreeSet<Id>,
}

fn document(tree: &str, lock: &str, target: &str) -> Result<String> {
    let (program, packages) = linked(tree)?;
    let locked = locked(lock);
    let mut components = Vec::new();
    for (id, package) in packages.iter().filter(|(id, _)| **id != program) {
        components.push(component("library", id, package, &locked)?);
    }
    let graph = packages.iter().map(|(id, package)| {
        let needs: Vec<_> = package.needs.iter().map(|id| quoted(&reference(id))).collect();
        format!(r#"{{"ref":{},"dependsOn":[{}]}}"#, quoted(&reference(id)), needs.join(","))
    });
    Ok(format!(
        "{{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\"version\":1,\n\"metadata\":{{\"component\":{},\n\
         \"properties\":[{{\"name\":\"cdx:rustc:sbom:target:triple\",\"value\":{}}}]}},\n\
         \"components\":[\n{}\n],\n\"dependencies\":[\n{}\n]}}\n",
        component("application", &program, &packages[&program], &locked)?,
        quoted(target),
        components.join(",\n"),
        graph.collect::<Vec<_>>().join(",\n"),
    ))
}

/// Parses `cargo tree --prefix depth`: the program, and all packages linked into it.
fn linked(tree: &str) -> Result<(Id, BTreeMap<Id, Package>)> {
    let mut packages: BTreeMap<Id, Package> = BTreeMap::new();
    let mut above: Vec<Id> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let odd = || format!("unexpected line of `cargo tree`: {line}");
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let depth: usize = line[..digits].parse().map_err(|_| odd())?;
        let (package, licence) = line[digits..].split_once('\t').ok_or_else(odd)?;
        let mut words = package.split(' ');
        let (name, version) = words.next().zip(words.next()).ok_or_else(odd)?;
        let id = (name.to_owned(), version.trim_start_matches('v').to_owned());
        above.truncate(depth);
        if let Some(parent) = above.last().and_then(|parent| packages.get_mut(parent)) {
            parent.needs.insert(id.clone());
        }
        let licence = licence.trim_end_matches(" (*)");
        // A slash is the old spelling of `OR`.
        let licence = licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ");
        packages.entry(id.clone()).or_default().licence = licence;
        above.push(id);
    }
    let program = above.into_iter().next().ok_or("`cargo tree` printed nothing")?;
    Ok((program, packages))
}

/// Returns the checksum of each package in Cargo.lock, which only packages from a registry have.
fn locked(lock: &str) -> BTreeMap<Id, Option<String>> {
    let entries = lock.split("[[package]]").skip(1).map(|entry| {
        let value = |name: &str| {
            let line = entry.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
            line.and_then(|line| line.strip_suffix('"')).map(str::to_owned)
        };
        let id = (value("name").unwrap_or_default(), value("version").unwrap_or_default());
        let is_ours = value("source").is_none();
        (id, value("checksum").or_else(|| (!is_ours).then(String::new)))
    });
    entries.collect()
}

fn component(
    kind: &str,
    id: &Id,
    package: &Package,
    locked: &BTreeMap<Id, Option<String>>,
) -> Result<String> {
    let (name, version) = id;
    let checksum = locked.get(id).ok_or_else(|| format!("{name} {version} is not in Cargo.lock"))?;
    if package.licence.is_empty() {
        return Err(format!("{name} {version} names no licence"));
    }
    let reference = quoted(&reference(id));
    let mut json = format!(
        r#"{{"type":"{kind}","bom-ref":{reference},"name":{},"version":{},"licenses":[{{"expression":{}}}]"#,
        quoted(name),
        quoted(version),
        quoted(&package.licence)
    );
    match checksum {
        Some(sum) if sum.is_empty() => return Err(format!("{name} {version} has no checksum in Cargo.lock")),
        Some(sum) => {
            write!(json, r#","hashes":[{{"alg":"SHA-256","content":{}}}],"purl":{reference}"#, quoted(sum))
        }
        // The repository's own packages are in no registry, where another package may have the same name.
        None => Ok(()),
    }
    .map_err(|why| why.to_string())?;
    Ok(json + "}")
}

/// Returns the reference of a package: its package URL, if it is from a registry. A plus sign of a version must be
/// escaped in URLs.
fn reference((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const LOCK: &str = "[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"one\"\n\
                        version = \"1.0.0\"\nsource = \"registry+x\"\nchecksum = \"abc\"\n\n[[package]]\n\
                        name = \"two\"\nversion = \"2.0.0+3\"\nsource = \"registry+x\"\nchecksum = \"def\"\n";
    const TREE: &str =
        "0app v0.1.0 (/here)\tMIT\n1one v1.0.0\tMIT/Apache-2.0\n2two v2.0.0+3\tISC\n1two v2.0.0+3\tISC (*)\n";

    fn read(text: &str) -> Value {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn linked_packages_are_listed_with_their_metadata() {
        let document = read(&document(TREE, LOCK, "a-target").expect("a document"));
        let (one, two) = ("pkg:cargo/one@1.0.0", "pkg:cargo/two@2.0.0%2B3");
        assert_eq!(
            document["components"],
            json!([
                {"type": "library", "bom-ref": one, "name": "one", "version": "1.0.0", "purl": one,
                 "licenses": [{"expression": "MIT OR Apache-2.0"}], "hashes": [{"alg": "SHA-256", "content": "abc"}]},
                {"type": "library", "bom-ref": two, "name": "two", "version": "2.0.0+3", "purl": two,
                 "licenses": [{"expression": "ISC"}], "hashes": [{"alg": "SHA-256", "content": "def"}]},
            ])
        );
        assert_eq!(
            document["dependencies"],
            json!([
                {"ref": "pkg:cargo/app@0.1.0", "dependsOn": [one, two]},
                {"ref": one, "dependsOn": [two]},
                {"ref": two, "dependsOn": []},
            ])
        );
        let program = &document["metadata"]["component"];
        assert_eq!((&program["name"], &program["purl"]), (&json!("app"), &Value::Null));
    }

    #[test]
    fn missing_package_metadata_is_an_error() {
        let unlicensed = TREE.replace("ISC", "");
        let unchecked = LOCK.replace("checksum = \"def\"\n", "");
        let unlocked = LOCK.replace("\"two\"", "\"three\"");
        for (tree, lock, why) in [
            (unlicensed.as_str(), LOCK, "two 2.0.0+3 names no licence"),
            (TREE, &unchecked, "two 2.0.0+3 has no checksum in Cargo.lock"),
            (TREE, &unlocked, "two 2.0.0+3 is not in Cargo.lock"),
            ("", LOCK, "`cargo tree` printed nothing"),
        ] {
            assert_eq!(document(tree, lock, "a-target").expect_err("an error"), why);
        }
    }

    #[test]
    fn only_linked_packages_of_the_program_are_listed() {
        let file = write(TARGET).expect("a document");
        let document = read(&fs::read_to_string(file).expect("the file"));
        let components = document["components"].as_array().expect("a list");
        let names: BTreeSet<_> = components.iter().filter_map(|one| one["name"].as_str()).collect();
        for linked in ["actix-web", "sea-orm", "libsqlite3-sys", "ring", "rustls", "mimalloc", "migrations"] {
            assert!(names.contains(linked), "{linked}");
        }
        for absent in ["sqlx-mysql", "cc", "serde_derive", "proptest", "fake-hubspot", "clap_derive"] {
            assert!(!names.contains(absent), "{absent}");
        }
        for one in components.iter().filter(|one| one["name"] != "migrations") {
            assert_eq!(one["hashes"][0]["content"].as_str().map(str::len), Some(64), "{one}");
        }
    }
}
