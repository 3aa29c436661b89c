//! Whether the playback server of a MediaMTX on this machine is on: from the configuration of the process that runs, else
//! from where packages install it.
//!
//! Assumes that the file may be missing, unreadable, encrypted or overruled by the environment. Whatever cannot be read counts
//! as "may be on". It must not be taken for a YAML parser: it reads one key at the top level.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Playback {
    On,
    Off,
    /// It cannot be told, for this reason.
    Unknown(&'static str),
}

/// Names of its process; the kernel cuts them after 15 bytes.
const PROCESS_NAMES: [&str; 2] = ["mediamtx", "rtsp-simple-ser"];

/// Where MediaMTX looks for its configuration if it is given none; the first two below its working directory.
const DEFAULT_PATHS: [&str; 6] = [
    "rtsp-simple-server.yml",
    "mediamtx.yml",
    "/usr/local/etc/mediamtx.yml",
    "/usr/pkg/etc/mediamtx.yml",
    "/usr/etc/mediamtx.yml",
    "/etc/mediamtx/mediamtx.yml",
];

/// A longer configuration is not read.
const LONGEST_BYTES: u64 = 4 << 20;

/// Asks every MediaMTX that runs; without one, the installed configuration.
pub(super) fn read() -> Playback {
    read_at(Path::new("/proc"), Path::new("/"))
}

fn read_at(proc: &Path, root: &Path) -> Playback {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten().map(|e| e.path());
    let is_mediamtx = |process: &PathBuf| {
        fs::read_to_string(process.join("comm")).is_ok_and(|name| PROCESS_NAMES.contains(&name.trim_end()))
    };
    let running: Vec<Playback> = entries.filter(is_mediamtx).map(|process| of_process(&process)).collect();
    if running.is_empty() { installed(root) } else { worst(&running) }
}

/// What is on for one is on.
fn worst(all: &[Playback]) -> Playback {
    let unknown = all.iter().copied().find(|p| matches!(p, Playback::Unknown(_)));
    if all.contains(&Playback::On) { Playback::On } else { unknown.unwrap_or(Playback::Off) }
}

fn installed(root: &Path) -> Playback {
    let paths = DEFAULT_PATHS.iter().filter_map(|path| path.strip_prefix('/')).map(|path| root.join(path));
    let found: Vec<_> = paths.filter(|path| path.exists()).map(|path| of_file(&path)).collect();
    if found.is_empty() {
        Playback::Unknown("MediaMTX is not running here and no configuration of it is installed")
    } else {
        worst(&found)
    }
}

fn of_process(process: &Path) -> Playback {
    const HIDDEN: Playback = Playback::Unknown(
        "permission denied reading its process; run aftercast with CAP_SYS_PTRACE, or set `fragmented`",
    );
    let (Ok(environment), Ok(command)) = (fs::read(process.join("environ")), fs::read(process.join("cmdline"))) else {
        return HIDDEN;
    };
    let variable = |name: &str| {
        let lines = environment.split(|b| *b == 0).map(String::from_utf8_lossy);
        lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned)).next_back()
    };
    if let Some(value) = variable("MTX_PLAYBACK").or_else(|| variable("RTSP_PLAYBACK")) {
        return of_value(&value);
    }
    if variable("MTX_CONFKEY").is_some() {
        return Playback::Unknown("its configuration is encrypted");
    }
    let command = String::from_utf8_lossy(&command).into_owned();
    let named = command.split('\0').skip(1).find(|argument| !argument.is_empty() && !argument.starts_with('-'));
    let paths: Vec<&str> = named.map_or_else(|| DEFAULT_PATHS.to_vec(), |path| vec![path]);
    let paths = paths.into_iter().map(|path| within(process, path));
    match paths.map(|path| fs::metadata(&path).map(|_| path)).find(|p| !is_missing(p)) {
        Some(Ok(path)) => of_file(&path),
        Some(Err(_)) => HIDDEN,
        None => Playback::Unknown("its configuration was not found"),
    }
}

fn is_missing(path: &io::Result<PathBuf>) -> bool {
    path.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

/// A path as the process sees it, which may run in a container.
fn within(process: &Path, path: &str) -> PathBuf {
    match path.strip_prefix('/') {
        Some(below) => process.join("root").join(below),
        None => process.join("cwd").join(path),
    }
}

fn of_file(path: &Path) -> Playback {
    let is_short = fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= LONGEST_BYTES);
    let text = is_short.then(|| fs::read_to_string(path).ok()).flatten();
    text.map_or(Playback::Unknown("its configuration cannot be read"), |text| of_text(&text))
}

/// The last `playback:` at the top level counts; without one it is off (MediaMTX's default).
fn of_text(text: &str) -> Playback {
    let is_key = |line: &&str| line.starts_with(|c: char| c.is_ascii_alphabetic() || c == '"' || c == '\'');
    let keys: Vec<(&str, &str)> = text.lines().filter(is_key).filter_map(|line| line.split_once(':')).collect();
    if keys.is_empty() {
        return Playback::Unknown("its configuration has no readable keys");
    }
    let unquoted = |key: &str| key.trim().trim_matches(['"', '\'']) == "playback";
    keys.iter().rev().find(|(key, _)| unquoted(key)).map_or(Playback::Off, |(_, value)| of_value(value))
}

fn of_value(value: &str) -> Playback {
    let value = value.split(" #").next().unwrap_or(value).trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    if ["no", "false", "off", "n"].contains(&value.as_str()) { Playback::Off } else { Playback::On }
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
            ("playback: *other", Playback::On),
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
