//! `cargo xtask setup`: the tests' requirements on the machine, and their installation.

use crate::postgres::Binaries;
use crate::run::{find, program, read, root, target_dir};
use crate::{Result, Task, browser};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};

/// Install what the tests need and this machine lacks: PostgreSQL, nginx, promtool, Chromium, Firefox, Node.js, Python
#[derive(Args)]
pub struct Setup {}

impl Task for Setup {
    fn run(self) -> Result<()> {
        install_missing(&[POSTGRES, NGINX, PROMTOOL, CHROMIUM, FIREFOX, NODE, PYTHON])?;
        println!("PostgreSQL, nginx, promtool, Chromium, Node.js and Python are installed");
        Ok(())
    }
}

/// A requirement on the machine.
pub struct Need {
    what: &'static str,
    /// The packages on Debian and Ubuntu.
    packages: &'static [&'static str],
    is_here: fn() -> bool,
    /// Whether tests that need it are skipped without it.
    is_optional: bool,
}

/// The server of the integration suite's second run.
pub const POSTGRES: Need = Need {
    what: "PostgreSQL server",
    packages: &["postgresql"],
    is_here: || Binaries::find().is_some(),
    is_optional: false,
};

/// The proxy that the integration suite puts in front of the service.
pub const NGINX: Need = Need {
    what: "nginx",
    packages: &["nginx"],
    // Debian installs it outside of most users' path.
    is_here: || find("nginx").is_some() || Path::new("/usr/sbin/nginx").is_file(),
    is_optional: false,
};

/// The check of the alert rules.
pub const PROMTOOL: Need = Need {
    what: "promtool",
    packages: &["prometheus"],
    is_here: || find("promtool").is_some(),
    is_optional: false,
};

/// The main browser of the browser suite.
pub const CHROMIUM: Need = Need {
    what: "Chromium",
    packages: &["chromium", "fonts-liberation"],
    is_here: || browser::chromium().is_some(),
    is_optional: false,
};

/// The other browser of the browser suite.
pub const FIREFOX: Need = Need {
    what: "Firefox",
    packages: &["firefox-esr"],
    is_here: || browser::firefox().is_some(),
    is_optional: true,
};

/// The runtime of the browser suite.
pub const NODE: Need = Need {
    what: "Node.js with npm",
    packages: &["nodejs", "npm"],
    is_here: || find("node").is_some() && find("npm").is_some(),
    is_optional: false,
};

/// The interpreter of the Python webhook receiver, and of the checks of the API's description.
pub const PYTHON: Need = Need {
    what: "Python 3 with venv",
    packages: &["python3", "python3-venv"],
    is_here: || read(program("python3").args(["-c", "import ensurepip, venv"])).is_ok(),
    is_optional: false,
};

/// Installs the Python packages of a folder's `requirements.txt` into a separate environment, unless that was done
/// since the list last changed. Returns the interpreter of that environment.
pub fn python_packages(folder: &str) -> Result<PathBuf> {
    if PYTHON.is_missing() {
        return Err(PYTHON.remedy());
    }
    let list = root().join(folder).join("requirements.txt");
    let wanted = fs::read_to_string(&list).map_err(|why| format!("{}: {why}", list.display()))?;
    let venv = target_dir().join("python").join(folder);
    let (python, note) = (venv.join("bin/python"), venv.join("installed.txt"));
    if fs::read_to_string(&note).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    read(program("python3").args(["-m", "venv"]).arg(&venv))?;
    read(program(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&list))?;
    fs::write(&note, wanted).map_err(|why| format!("{}: {why}", note.display()))?;
    Ok(python)
}

impl Need {
    /// Returns whether the machine lacks it.
    pub fn is_missing(&self) -> bool {
        !(self.is_here)()
    }

    /// Returns the command that installs it.
    pub fn remedy(&self) -> String {
        let Self { what, packages, .. } = self;
        match find("apt-get") {
            Some(_) => format!(
                "{what} is missing; `sudo apt-get install -y --no-install-recommends {}` installs it",
                packages.join(" ")
            ),
            None => format!("{what} is missing; install it with the package manager of this system"),
        }
    }

    fn install(&self) -> Result<()> {
        println!("    installing {}", self.what);
        let mut apt = program("apt-get");
        apt.args(["install", "-y", "--no-install-recommends"]).args(self.packages);
        read(apt.env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
    }
}

/// Installs those that are missing. A failed installation does not stop the others.
pub fn install_missing(needs: &[Need]) -> Result<()> {
    let missing: Vec<_> = needs.iter().filter(|need| need.is_missing()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let can_install = is_root() && find("apt-get").is_some();
    let mut failed = Vec::new();
    if can_install && let Err(why) = read(program("apt-get").arg("update")) {
        println!("    {why}");
    }
    for need in missing {
        let outcome = if can_install { need.install() } else { Err(need.remedy()) };
        match outcome {
            Err(why) if need.is_optional => println!("    {why}; its tests are skipped"),
            Err(why) => failed.push(why),
            Ok(()) => {}
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Returns whether this process is root: it may install packages, and must not run a PostgreSQL server.
pub fn is_root() -> bool {
    read(program("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
