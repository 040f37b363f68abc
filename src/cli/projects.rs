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
        /// The name of the project: lowercase letters, digits and hyphens.
        name: ProjectId,
        /// An origin, listed in HOST_ORIGINS, whose pages may use the connect sessions of the project; may be repeated.
        /// All of HOST_ORIGINS if omitted.
        #[arg(long = "host-origin")]
        host_origins: Vec<String>,
    },
    /// List projects, one per line.
    List,
    /// Replace the origins whose pages may use new connect sessions of a project.
    SetOrigins {
        /// The name of the project.
        name: ProjectId,
        /// An origin that is listed in HOST_ORIGINS; may be repeated.
        #[arg(long = "host-origin", required_unless_present = "all")]
        host_origins: Vec<String>,
        /// Allow all of HOST_ORIGINS.
        #[arg(long, conflicts_with = "host_origins")]
        all: bool,
    },
    /// Delete a project without connections, webhook endpoints, open connect sessions and active keys.
    Delete {
        /// The name of the project.
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
                        return Err(format!("the project {name} already exists").into());
                    }
                    print_line(format_args!(
                        "created {name}; `hubspot-connect api-keys create NAME --scope … --project {name}` creates its keys"
                    ));
                }
                Self::List => {
                    store.platform.projects().await?.iter().for_each(|project| print_line(line(project)));
                }
                Self::SetOrigins { name, .. } if name == ProjectId::default() => {
                    return Err("the default project has the origins of HOST_ORIGINS".into());
                }
                Self::SetOrigins { name, host_origins, .. } => {
                    if !store.platform.set_host_origins(&name, listed(host_origins)?).await? {
                        return Err(unknown(&name));
                    }
                    print_line(format_args!(
                        "updated the origins of {name}; existing connect sessions keep theirs"
                    ));
                }
                Self::Delete { name } => {
                    known(store, &name).await?;
                    if !store.platform.delete_project(&name).await? {
                        return Err(format!(
                            "{name} is not deleted: it is the default project, or it has connections, webhook endpoints, \
                             open connect sessions or active keys"
                        )
                        .into());
                    }
                    print_line(format_args!("deleted {name}"));
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
    format!("no project {id}; `hubspot-connect projects create {id}` creates it").into()
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
