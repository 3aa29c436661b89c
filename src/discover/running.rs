//! The ingest servers that run on this machine: how each was started, and how its files are reached from here.
//!
//! Assumes that a process may end while it is looked at, may belong to another user, and may live in a container with another
//! root directory. What cannot be read is said, not guessed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::mounts;
use super::options::Server;
use super::writers::server_of;
use crate::ingest::{ServerFiles, Started, nginx_rtmp};

/// A server that runs.
#[derive(Debug, Clone)]
pub struct RunningServer {
    /// Which.
    pub server: Server,
    /// Its process.
    pub pid: u32,
    /// How it was started.
    pub started: Started,
    /// Whether its environment and directories may not be read.
    pub is_hidden: bool,
    /// Its files, through its own root directory.
    pub files: ServerFiles,
    process: PathBuf,
    has_own_mounts: bool,
    root: PathBuf,
}

/// Every server that runs, the lowest process number first. Workers of a server that already counts are left out.
pub fn running_servers() -> Vec<RunningServer> {
    servers_at(Path::new("/proc"))
}

pub(super) fn servers_at(proc: &Path) -> Vec<RunningServer> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids.into_iter().filter_map(|pid| of_process(proc, pid)).collect()
}

fn of_process(proc: &Path, pid: u32) -> Option<RunningServer> {
    let process = proc.join(pid.to_string());
    let name = fs::read_to_string(process.join("comm")).ok()?;
    let command = fs::read(process.join("cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).trim_end_matches('\0').to_owned();
    let server = server_of(name.trim_end(), &command)?;
    let root = fs::read_link(process.join("root")).unwrap_or_else(|_| PathBuf::from("/"));
    let environment = fs::read(process.join("environ"));
    let is_hidden = environment.is_err();
    let working_directory = fs::read_link(process.join("cwd")).ok().map(|cwd| seen_below(&root, &cwd));
    let mut words = command.split('\0').map(str::to_owned);
    let first = words.next().unwrap_or_default();
    let program =
        fs::read_link(process.join("exe")).map_or_else(|_| PathBuf::from(&first), |exe| seen_below(&root, &exe));
    let started = Started {
        program,
        arguments: words.collect(),
        environment: variables(&environment.unwrap_or_default()),
        working_directory,
    };
    let started = match server {
        Server::NginxRtmp => nginx_rtmp::started_of_title(started, &command)?,
        _ => started,
    };
    let namespace = |process: &Path| fs::read_link(process.join("ns/mnt")).ok();
    let has_own_mounts = namespace(&process).is_some_and(|theirs| namespace(&proc.join("self")) != Some(theirs));
    let files = ServerFiles::below(&process.join("root"));
    Some(RunningServer { server, pid, started, is_hidden, files, process, has_own_mounts, root })
}

/// A path that the kernel gave, as a process below that root sees it.
fn seen_below(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).map_or_else(|_| path.to_owned(), |below| Path::new("/").join(below))
}

fn variables(environment: &[u8]) -> BTreeMap<String, String> {
    let lines = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    lines.filter_map(|line| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

impl RunningServer {
    /// A directory of the server as it is called here; `None` if it cannot be reached under any name.
    pub fn here(&self, path: &Path) -> Option<PathBuf> {
        let in_root = path.strip_prefix("/").ok()?;
        if !self.has_own_mounts {
            return Some(self.root.join(in_root));
        }
        let reached = self.files.reach(path);
        let theirs = fs::read_to_string(self.process.join("mountinfo")).unwrap_or_default();
        let ours = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let found = mounts::candidates(&theirs, &ours, path);
        match identity(&reached) {
            Some(there) => found.into_iter().find(|candidate| identity(candidate) == Some(there)),
            // Not there yet, or not for us to see.
            None => found.into_iter().next(),
        }
    }

    /// Whether it has mounts of its own, as in a container.
    pub const fn is_in_container(&self) -> bool {
        self.has_own_mounts
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn process(proc: &Path, pid: &str, name: &str, command: &str, root: &Path) {
        let process = proc.join(pid);
        fs::create_dir_all(&process).unwrap();
        fs::write(process.join("comm"), format!("{name}\n")).unwrap();
        fs::write(process.join("cmdline"), command).unwrap();
        fs::write(process.join("environ"), "A=1\0EMPTY=\0MTX_RECORD=yes=no\0").unwrap();
        symlink(root, process.join("root")).unwrap();
        symlink(root.join("work"), process.join("cwd")).unwrap();
    }

    #[test]
    fn servers_are_found_with_what_they_were_started_with() {
        let dir = tempfile::tempdir().unwrap();
        let (proc, root) = (dir.path().join("proc"), dir.path().join("jail"));
        fs::create_dir_all(root.join("rec")).unwrap();
        process(&proc, "9", "mediamtx", "/bin/mediamtx\0conf.yml\0", &root);
        process(&proc, "7", "nginx", "nginx: master process nginx -c /x.conf\0\0\0", &root);
        process(&proc, "8", "nginx", "nginx: worker process\0\0", &root);
        process(&proc, "10", "vim", "vim\0mediamtx.yml", &root);
        let found = servers_at(&proc);
        assert_eq!(
            found.iter().map(|s| (s.pid, s.server)).collect::<Vec<_>>(),
            [(7, Server::NginxRtmp), (9, Server::MediaMtx)]
        );
        assert_eq!(found[0].started.option(&["-c"]), Some("/x.conf"));
        let mtx = &found[1];
        assert_eq!(mtx.started.arguments, ["conf.yml"]);
        assert_eq!(mtx.started.environment["MTX_RECORD"], "yes=no");
        assert_eq!(mtx.started.working_directory.as_deref(), Some(Path::new("/work")), "as the process sees it");
        assert_eq!(mtx.here(Path::new("/rec")), Some(root.join("rec")));
        assert!(!mtx.is_hidden && !mtx.is_in_container());
    }
}
