//! What there is on this machine: ingest servers, the directories they record into, and who may use those.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::{self, DraftRoot, DraftTarget};
use crate::discover::{Configured, RunningServer, Server, configuration_of, installed_configuration, running_servers};
use crate::fault::chain;
use crate::ingest::{Directory, IngestError};
use crate::recording::name::printable;

/// A server that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundServer {
    /// Which.
    pub server: Server,
    /// Its process, if it runs.
    pub pid: Option<u32>,
    /// Its configuration, as it is called here.
    pub configuration: Option<PathBuf>,
    /// Why its configuration says nothing.
    pub problem: Option<String>,
    /// Where it records, as it is called here.
    pub roots: Vec<FoundRoot>,
    /// Where it uploads itself.
    pub uploads: Vec<DraftTarget>,
    /// What to know about its settings.
    pub notes: Vec<String>,
}

/// A directory that a server records into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRoot {
    /// As it would be written.
    pub root: DraftRoot,
    /// What is there.
    pub place: PathKind,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathKind {
    /// A directory.
    Directory {
        /// Its group.
        group: u32,
        /// Whether its group may read and write it.
        is_open_to_group: bool,
    },
    /// Nothing.
    Missing,
    /// Something that cannot be a root.
    Other(String),
}

/// Looks at a path.
pub fn place(path: &Path) -> PathKind {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            PathKind::Directory { group: metadata.gid(), is_open_to_group: metadata.mode() & 0o070 == 0o070 }
        }
        Ok(_) => PathKind::Other("it is not a directory".into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => PathKind::Missing,
        Err(error) => PathKind::Other(error.to_string()),
    }
}

/// Finds the servers that run, and those that are installed and do not.
pub fn find() -> Vec<FoundServer> {
    let running = running_servers();
    let mut found: Vec<FoundServer> = Vec::new();
    for server in &running {
        let of = of_running(server);
        // A helper of a server reads the same configuration.
        let is_known = found.iter().any(|known| known.server == of.server && known.configuration == of.configuration);
        if !is_known && !is_web_server(&of) {
            found.push(of);
        }
    }
    for server in Server::ALL {
        if !running.iter().any(|known| known.server == server) {
            let of = installed_configuration(server).map(|configured| of_configuration(server, None, Some(configured)));
            found.extend(of.filter(|of| !is_web_server(of)));
        }
    }
    found
}

/// An nginx that records nothing is a web server, and none of ours.
fn is_web_server(found: &FoundServer) -> bool {
    found.server == Server::NginxRtmp && found.problem.is_none() && found.roots.is_empty()
}

fn of_running(running: &RunningServer) -> FoundServer {
    let mut found = of_configuration(running.server, Some(running), configuration_of(running));
    if running.is_hidden {
        let why = "its environment may not be read: settings made there are not known; run this command as root";
        found.notes.insert(0, why.to_owned());
    }
    found
}

fn of_configuration(
    server: Server,
    running: Option<&RunningServer>,
    configured: Option<Result<Configured, IngestError>>,
) -> FoundServer {
    let mut found = FoundServer {
        server,
        pid: running.map(|running| running.pid),
        configuration: None,
        problem: None,
        roots: Vec::new(),
        uploads: Vec::new(),
        notes: Vec::new(),
    };
    let here = |path: &Path| running.map_or_else(|| Some(path.to_owned()), |running| running.here(path));
    match configured {
        None if server == Server::Obs => {
            found.problem =
                Some("its directory is in a profile of its user: name it with `--root DIR --server obs`".into());
        }
        None => found.problem = Some("its configuration was not found".into()),
        Some(Err(error)) => found.problem = Some(chain(&error)),
        Some(Ok(Configured { path, recordings, .. })) => {
            found.configuration = path.as_deref().map(|path| here(path).unwrap_or_else(|| path.to_owned()));
            let mut directories = Vec::new();
            for directory in recordings.directories {
                match seen_here(directory, &here) {
                    Ok(directory) => directories.push(directory),
                    Err(note) => found.notes.push(note),
                }
            }
            let (roots, unsure) = config::roots_of(server, &directories);
            found.roots = roots.into_iter().map(|root| FoundRoot { place: place(&root.path), root }).collect();
            found.notes.extend(unsure);
            found.uploads = recordings.uploads.iter().filter_map(|upload| config::target_of(upload, 0).ok()).collect();
            found.notes.extend(recordings.notes.iter().map(|note| format!("{}: {}", note.setting, note.why)));
        }
    }
    found
}

/// A directory under the name that it has here.
fn seen_here(directory: Directory, here: &impl Fn(&Path) -> Option<PathBuf>) -> Result<Directory, String> {
    if !directory.path.is_absolute() {
        return Ok(directory);
    }
    match here(&directory.path) {
        Some(path) => Ok(Directory { path, ..directory }),
        None => Err(format!(
            "`{}` is in a container and is not mounted here: mount it here, or run aftercast in the same container",
            printable(&directory.path)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_looked_at_without_changing_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(matches!(place(dir.path()), PathKind::Directory { .. }));
        assert_eq!(place(&dir.path().join("none")), PathKind::Missing);
        assert!(matches!(place(&dir.path().join("file")), PathKind::Other(_)));
        assert!(matches!(place(&dir.path().join("file/below")), PathKind::Other(_)));
    }
}
