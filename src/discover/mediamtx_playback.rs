//! Whether the playback server of a MediaMTX on this machine is on: from the configuration of the process that runs, else
//! from where packages install it.
//!
//! Assumes that the file may be missing, unreadable, encrypted or overruled by the environment. Whatever cannot be read counts
//! as "may be on".

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::options::Server;
use super::running::{RunningServer, servers_at};
use crate::ingest::mediamtx::{Configuration, DEFAULT_PATHS, places};
use crate::ingest::{ServerFiles, Started, flag};

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Playback {
    On,
    Off,
    /// It cannot be told, for this reason.
    Unknown(&'static str),
}

/// Asks every MediaMTX that runs; without one, the installed configuration.
pub(super) fn read() -> Playback {
    read_at(Path::new("/proc"), Path::new("/"))
}

fn read_at(proc: &Path, root: &Path) -> Playback {
    let servers = servers_at(proc).into_iter().filter(|running| running.server == Server::MediaMtx);
    let running: Vec<Playback> = servers.map(|running| of_process(&running)).collect();
    if running.is_empty() { installed(root) } else { worst(&running) }
}

/// What is on for one is on.
fn worst(all: &[Playback]) -> Playback {
    let unknown = all.iter().copied().find(|p| matches!(p, Playback::Unknown(_)));
    if all.contains(&Playback::On) { Playback::On } else { unknown.unwrap_or(Playback::Off) }
}

fn installed(root: &Path) -> Playback {
    let files = ServerFiles::below(root);
    let paths = DEFAULT_PATHS.iter().map(Path::new).filter(|path| path.is_absolute() && files.reach(path).exists());
    let found: Vec<_> = paths.map(|path| of_file(path, &files, &Started::default())).collect();
    if found.is_empty() {
        Playback::Unknown("MediaMTX is not running here and no configuration of it is installed")
    } else {
        worst(&found)
    }
}

fn of_process(running: &RunningServer) -> Playback {
    const HIDDEN: Playback = Playback::Unknown(
        "permission denied reading its process; run aftercast with CAP_SYS_PTRACE, or set `fragmented`",
    );
    let started = &running.started;
    if running.is_hidden {
        return HIDDEN;
    }
    if let Some(value) = ["MTX_PLAYBACK", "RTSP_PLAYBACK"].iter().find_map(|name| started.environment.get(*name)) {
        return if flag(value) == Some(false) { Playback::Off } else { Playback::On };
    }
    if Configuration::is_encrypted(started) {
        return Playback::Unknown("its configuration is encrypted");
    }
    let look = |path: PathBuf| fs::metadata(running.files.reach(&path)).map(|_| path);
    match places(started).into_iter().map(look).find(|path| !is_missing(path)) {
        Some(Ok(path)) => of_file(&path, &running.files, started),
        Some(Err(_)) => HIDDEN,
        None => Playback::Unknown("its configuration was not found"),
    }
}

fn is_missing(path: &io::Result<PathBuf>) -> bool {
    path.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

/// Without a setting it is off (MediaMTX's default).
fn of_file(path: &Path, files: &ServerFiles, started: &Started) -> Playback {
    let Ok(text) = files.read(path) else { return Playback::Unknown("its configuration cannot be read") };
    match Configuration::parse(&text, path, started) {
        Err(_) => Playback::Unknown("its configuration is not valid YAML"),
        Ok(read) if read.is_empty() => Playback::Unknown("its configuration has no readable keys"),
        Ok(read) if read.has_playback() => Playback::On,
        Ok(_) => Playback::Off,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A `/proc` with one MediaMTX in it that has this command line, environment and configuration in its directory.
    fn with_process(arguments: &[&str], environment: &str, configuration: Option<&str>) -> Playback {
        let dir = tempfile::tempdir().unwrap();
        let (proc, cwd) = (dir.path().join("proc"), dir.path().join("cwd"));
        for process in ["1", "7"] {
            fs::create_dir_all(proc.join(process)).unwrap();
            fs::write(proc.join(process).join("comm"), if process == "7" { "mediamtx\n" } else { "init\n" }).unwrap();
        }
        fs::create_dir(&cwd).unwrap();
        if let Some(text) = configuration {
            fs::write(cwd.join("mediamtx.yml"), text).unwrap();
            fs::write(cwd.join("mine.yml"), text).unwrap();
        }
        let process = proc.join("7");
        fs::write(process.join("cmdline"), arguments.join("\0")).unwrap();
        fs::write(process.join("environ"), environment).unwrap();
        symlink(&cwd, process.join("cwd")).unwrap();
        symlink(dir.path(), process.join("root")).unwrap();
        read_at(&proc, dir.path())
    }

    #[test]
    fn the_configuration_of_the_process_that_runs_counts() {
        let text = |playback: &str| {
            format!("logLevel: info\n\n# playback: yes\n{playback}\npaths:\n  all_others:\n    playback: yes\n")
        };
        for (line, expected) in [
            ("playback: yes", Playback::On),
            ("playback: true # for the archive", Playback::On),
            ("\"playback\": on", Playback::On),
            ("playback: no", Playback::Off),
            ("playback: false # not yet", Playback::Off),
            ("playbackAddress: :9996", Playback::Off),
            ("playback: maybe", Playback::On),
            ("playback:", Playback::Off),
        ] {
            for arguments in [&["mediamtx"][..], &["/opt/mediamtx", "mine.yml"], &["mediamtx", "/cwd/mine.yml"]] {
                assert_eq!(with_process(arguments, "HOME=/root", Some(&text(line))), expected, "{line} {arguments:?}");
            }
        }
        let off = text("playback: no");
        assert_eq!(
            with_process(&["mediamtx"], "A=1\0MTX_PLAYBACK=yes", Some(&off)),
            Playback::On,
            "it overrules the file"
        );
        assert_eq!(with_process(&["mediamtx"], "MTX_PLAYBACK=no", Some(&text("playback: yes"))), Playback::Off);
    }

    #[test]
    fn what_cannot_be_read_may_be_on() {
        let is_unknown = |playback| matches!(playback, Playback::Unknown(_));
        assert!(is_unknown(with_process(&["mediamtx"], "", None)));
        assert!(is_unknown(with_process(&["mediamtx", "/none.yml"], "", Some("playback: no"))));
        assert!(is_unknown(with_process(&["mediamtx"], "MTX_CONFKEY=secret", Some("playback: no"))));
        assert!(is_unknown(with_process(&["mediamtx"], "", Some("c2VjcmV0"))));
        assert!(is_unknown(with_process(&["mediamtx"], "", Some("# nothing is set\n"))));
        assert!(is_unknown(with_process(&["mediamtx"], "", Some("playback: *other\n"))));
        assert!(is_unknown(read_at(Path::new("/nowhere"), Path::new("/nowhere"))));
    }

    #[test]
    fn where_none_runs_the_installed_configuration_counts() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("usr/local/etc")).unwrap();
        fs::write(dir.path().join("usr/local/etc/mediamtx.yml"), "playback: no\n").unwrap();
        assert_eq!(read_at(Path::new("/nowhere"), dir.path()), Playback::Off);
        fs::write(dir.path().join("usr/local/etc/mediamtx.yml"), "playback: yes\n").unwrap();
        assert_eq!(read_at(Path::new("/nowhere"), dir.path()), Playback::On);
    }
}
