//! `projects create|list|set-origins|delete`: products that share the service.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, configured, print_line, with_store};
use crate::domain::clock::Clock;
use crate::domain::origin::AllowedOrigins;
use crate::domain::project::ProjectId;
use crate::store::{Project, Store};

#[derive(Debug, Subcommand)]
pub(super) enum Projects {
    /// Create a project.
    Create {
        /// Its name: lowercase letters, digits and hyphens.
        name: ProjectId,
        /// A page's origin, listed in HOST_ORIGINS, that may use its connect sessions; may be given several times. All of
        /// HOST_ORIGINS may if none is given.
        #[arg(long = "host-origin")]
        host_origins: Vec<String>,
    },
    /// One line for each project.
    List,
    /// Replace the origins whose pages may use its connect sessions from now on.
    SetOrigins {
        /// Its name.
        name: ProjectId,
        /// An origin that is listed in HOST_ORIGINS; may be given several times.
        #[arg(long = "host-origin", required_unless_present = "all")]
        host_origins: Vec<String>,
        /// All of HOST_ORIGINS.
        #[arg(long, conflicts_with = "host_origins")]
        all: bool,
    },
    /// Delete a project that has no connection, endpoint, open connect session or key in use any more.
    Delete {
        /// Its name.
        name: ProjectId,
    },
}

impl Projects {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let config = configured()?;
        with_store(&config, async |store| {
            let listed = |origins| listed(&config.security.host_origins, origins);
            match self {
                Self::Create { name, host_origins } => {
                    let host_origins = listed(host_origins)?;
                    let (id, created_at) = (name.clone(), Clock::system().now());
                    if !store.platform.insert_project(Project { id, host_origins, created_at }).await? {
                        return Err(format!("there is a project {name} already").into());
                    }
                    print_line(format_args!(
                        "{name} is created; `hubspot-connect api-keys create NAME --scope … --project {name}` makes its keys"
                    ));
                }
                Self::List => {
                    store.platform.projects().await?.iter().for_each(|project| print_line(line(project)))
                }
                Self::SetOrigins { name, .. } if name == ProjectId::default() => {
                    return Err("HOST_ORIGINS has the origins of the default project".into());
                }
                Self::SetOrigins { name, host_origins, .. } => {
                    if !store.platform.set_host_origins(&name, listed(host_origins)?).await? {
                        return Err(unknown(&name));
                    }
                    print_line(format_args!(
                        "{name} has new origins; connect sessions that exist keep theirs"
                    ));
                }
                Self::Delete { name } => {
                    known(store, &name).await?;
                    if !store.platform.delete_project(&name).await? {
                        return Err(format!(
                            "{name} is not deleted: it is the default project, or it has connections, webhook endpoints, \
                             open connect sessions or keys in use"
                        )
                        .into());
                    }
                    print_line(format_args!("{name} is deleted"));
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Fails if there is no such project.
pub(super) async fn known(store: &Store, id: &ProjectId) -> Result<(), Failure> {
    store.platform.project(id).await?.map(|_| ()).ok_or_else(|| unknown(id))
}

fn unknown(id: &ProjectId) -> Failure {
    format!("there is no project {id}; `hubspot-connect projects create {id}` creates it").into()
}

fn listed(all: &AllowedOrigins, named: Vec<String>) -> Result<Option<AllowedOrigins>, Failure> {
    if named.is_empty() {
        return Ok(None);
    }
    let find = |origin: String| {
        all.find(&origin).cloned().ok_or_else(|| format!("{origin} is not listed in HOST_ORIGINS").into())
    };
    named
        .into_iter()
        .map(find)
        .collect::<Result<_, Failure>>()
        .map(|origins| Some(AllowedOrigins::new(origins)))
}

fn line(project: &Project) -> String {
    let origins = project.host_origins.as_ref().map_or_else(
        || "all of HOST_ORIGINS".to_owned(),
        |origins| origins.iter().map(|origin| origin.as_str()).collect::<Vec<_>>().join(" "),
    );
    format!("{}  {origins}", project.id)
}
