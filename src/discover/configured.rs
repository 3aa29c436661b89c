//! The configuration of an ingest server: which file it is, and what it says about recordings.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::options::Server;
use super::running::RunningServer;
use crate::ingest::{IngestError, Recordings, ServerFiles, Started, antmedia, livekit, mediamtx, nginx_rtmp, ome, srs};

/// A configuration that was read.
#[derive(Debug)]
pub struct Configured {
    /// Whose.
    pub server: Server,
    /// The file, as the server sees it; `None` if it is configured by its environment alone.
    pub path: Option<PathBuf>,
    /// What it says.
    pub recordings: Recordings,
}

/// Where the configuration of a server may be that was started so; the first that exists counts.
fn places(server: Server, started: &Started) -> Vec<PathBuf> {
    match server {
        Server::AntMedia => vec![antmedia::home(started)],
        Server::MediaMtx => mediamtx::places(started),
        Server::Srs => srs::places(started),
        Server::NginxRtmp => nginx_rtmp::places(started),
        Server::Ome => ome::places(started),
        Server::LiveKit => livekit::places(started),
        Server::Obs | Server::Auto => Vec::new(),
    }
}

/// Where packages install it.
fn installed(server: Server) -> Vec<PathBuf> {
    match server {
        Server::AntMedia => vec![antmedia::home(&Started::default())],
        Server::MediaMtx => {
            mediamtx::DEFAULT_PATHS.iter().map(PathBuf::from).filter(|path| path.is_absolute()).collect()
        }
        Server::Srs => srs::installed(),
        Server::NginxRtmp => nginx_rtmp::installed(),
        Server::Ome => ome::installed(),
        Server::LiveKit => livekit::installed(),
        Server::Obs | Server::Auto => Vec::new(),
    }
}

fn exists(server: Server, files: &ServerFiles, path: &Path) -> bool {
    if server == Server::AntMedia { files.is_directory(path) } else { files.is_file(path) }
}

fn read(server: Server, path: &Path, files: &ServerFiles, started: &Started) -> Result<Recordings, IngestError> {
    match server {
        Server::AntMedia => antmedia::read(path, files, started),
        Server::MediaMtx => mediamtx::read(path, files, started),
        Server::Srs => srs::read(path, files, started),
        Server::NginxRtmp => nginx_rtmp::read(path, files, started),
        Server::Ome => ome::read(path, files, started),
        Server::LiveKit => livekit::read(path, files, started),
        Server::Obs | Server::Auto => Ok(Recordings::default()),
    }
}

/// What a server that runs says about recordings; `None` if its configuration was not found.
pub fn configuration_of(running: &RunningServer) -> Option<Result<Configured, IngestError>> {
    let RunningServer { server, started, files, .. } = running;
    let configured = |path, recordings| Configured { server: *server, path, recordings };
    if *server == Server::Srs && started.arguments.iter().any(|argument| argument == "-e") {
        return Some(Ok(configured(None, srs::of_environment(started))));
    }
    if let Some(body) = livekit::body(started).filter(|_| *server == Server::LiveKit) {
        let read = livekit::of_text(body, Path::new("EGRESS_CONFIG_BODY"), started);
        return Some(read.map(|recordings| configured(None, recordings)));
    }
    let path = places(*server, started).into_iter().find(|path| exists(*server, files, path))?;
    Some(read(*server, &path, files, started).map(|recordings| configured(Some(path), recordings)))
}

/// What an installed server says that does not run now.
pub fn installed_configuration(server: Server) -> Option<Result<Configured, IngestError>> {
    let files = ServerFiles::default();
    let path = installed(server).into_iter().find(|path| exists(server, &files, path))?;
    let started = Started { working_directory: assumed_directory(server, &path), ..Started::default() };
    Some(read(server, &path, &files, &started).map(|recordings| Configured { server, path: Some(path), recordings }))
}

/// Reads a named file as the server that uses it would: with the environment and the working directory of its process if it
/// runs, else with this environment and the directory that its place speaks for.
pub fn configuration_at(
    server: Server,
    path: &Path,
    running: &[RunningServer],
    environment: BTreeMap<String, String>,
) -> Result<Configured, IngestError> {
    let whole = path.canonicalize().map_err(|source| IngestError::Unreadable { path: path.to_owned(), source })?;
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let uses_it = |running: &&RunningServer| {
        let named = places(server, &running.started).into_iter().find(|path| running.files.is_file(path));
        running.server == server && named.is_some_and(|path| identity(&running.files.reach(&path)) == identity(&whole))
    };
    if let Some(found) = running.iter().find(uses_it).and_then(configuration_of) {
        return found;
    }
    let working_directory = assumed_directory(server, &whole);
    let started = Started { environment, working_directory, ..Started::default() };
    let recordings = read(server, &whole, &ServerFiles::default(), &started)?;
    Ok(Configured { server, path: Some(whole), recordings })
}

/// The working directory that the place of a configuration speaks for.
fn assumed_directory(server: Server, path: &Path) -> Option<PathBuf> {
    match server {
        Server::Srs => srs::working_directory_of(path),
        // Its service is started without one.
        Server::NginxRtmp => Some(PathBuf::from("/")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_is_read_with_the_environment_of_its_reader() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mediamtx.yml");
        std::fs::write(&file, "pathDefaults:\n  record: no\n  recordPath: /rec/%path/%s\n").unwrap();
        let environment = BTreeMap::from([("MTX_PATHDEFAULTS_RECORD".to_owned(), "yes".to_owned())]);
        let read = |environment| configuration_at(Server::MediaMtx, &file, &[], environment).unwrap();
        assert!(read(environment).recordings.directories[0].is_on);
        assert!(!read(BTreeMap::new()).recordings.directories[0].is_on);
        let missing = configuration_at(Server::MediaMtx, Path::new("/nowhere.yml"), &[], BTreeMap::new());
        assert!(matches!(missing, Err(IngestError::Unreadable { .. })));
    }
}
