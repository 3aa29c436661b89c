//! Who has which file open for writing, and which ingest servers run: `/proc`, read as a whole.
//!
//! Assumes Linux. The answer is complete only if the open files of every process on the machine could be read. What
//! it cannot see are files held by the kernel (an NFS server) and mappings whose descriptor is closed; the lease sees
//! both and is asked first. It must not stop at the first process that may not be read.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::recording::Fingerprint;

use super::options::Server;

/// A process, told from a later one of the same number by its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId {
    pid: u32,
    /// Clock ticks between the machine's start and its own.
    start_ticks: i64,
}

impl ProcessId {
    /// Whether it is certain that it runs no more. What cannot be read proves nothing.
    pub fn has_ended(self) -> bool {
        match fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            Ok(stat) => Stat::parse(&stat).is_some_and(|s| s.start_ticks != self.start_ticks || s.is_dead),
            Err(e) => is_over(&e),
        }
    }
}

/// Whether the ingest server that wrote a file runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// It cannot be told: processes are hidden, it may run in another container or on another machine.
    Unknown,
    /// No process of it runs.
    NotRunning,
    /// It runs since then, milliseconds since the Unix epoch; of several processes the oldest.
    Running {
        /// When its oldest process started.
        since_ms: i64,
    },
    /// It was seen running and runs no more.
    Ended {
        /// When it was last seen running, milliseconds since the Unix epoch.
        last_seen_ms: i64,
    },
}

/// The state of all processes at one moment.
#[derive(Debug, Clone, Default)]
pub struct OpenFiles {
    /// Every file that some process has open for writing, by device and inode.
    written: HashMap<(u64, u64), OpenFile>,
    /// Whether every process's open files could be read.
    is_complete: bool,
    /// Known ingest servers that run, with their start.
    servers: Vec<(Server, i64)>,
    /// Whether other processes are visible at all.
    sees_others: bool,
    /// Whether this process sees the whole machine, not only its container.
    sees_machine: bool,
}

/// A file that is open for writing.
#[derive(Debug, Clone)]
struct OpenFile {
    /// As a process sees it: in a container it may begin elsewhere.
    path: PathBuf,
    by: Vec<ProcessId>,
}

/// `/proc/self/ns/pid` of the machine's first namespace (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Units of `/proc/PID/stat` field 22. The kernel shows 100 per second to programs on every architecture we run on.
const TICKS_PER_S: i64 = 100;

/// `O_ACCMODE`; read-only is 0.
const ACCESS_MODE: u32 = 0o3;

/// What the name or the command line of a server's process contains.
const SERVER_MARKS: [(Server, &[&str], &[&str]); 7] = [
    (Server::AntMedia, &[], &["antmedia", "ant-media", "org.red5.server"]),
    (Server::MediaMtx, &["mediamtx", "rtsp-simple-ser"], &[]),
    (Server::Srs, &["srs"], &[]),
    (Server::Ome, &["ovenmediaengine"], &[]),
    (Server::NginxRtmp, &["nginx"], &[]),
    (Server::LiveKit, &["egress", "livekit-egress"], &[]),
    (Server::Obs, &["obs", "obs64", "obs-studio"], &[]),
];

impl OpenFiles {
    /// Reads all of `/proc` once.
    pub fn read() -> Self {
        Self::read_from(Path::new("/proc"))
    }

    fn read_from(proc: &Path) -> Self {
        let namespace = fs::read_link(proc.join("self/ns/pid"));
        let sees_machine = namespace.is_ok_and(|n| n.as_os_str() == FIRST_PID_NAMESPACE);
        let mut seen = Self { is_complete: sees_machine, sees_machine, ..Self::default() };
        let boot_ms = boot_ms(proc);
        let own = std::process::id();
        let Ok(entries) = fs::read_dir(proc) else { return Self::default() };
        for pid in entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok()) {
            let process = proc.join(pid.to_string());
            let stat = fs::read_to_string(process.join("stat")).ok().and_then(|stat| Stat::parse(&stat));
            if let Some(stat) = &stat {
                seen.add_server(&process, stat, boot_ms);
            }
            // What this process itself writes are its partials and journals, never a recording.
            if pid != own {
                seen.add_files(&process, stat.map(|s| ProcessId { pid, start_ticks: s.start_ticks }));
            }
        }
        // With `hidepid` the first process, which always runs, is not there or has no name.
        seen.sees_others = fs::read(proc.join("1/cmdline")).is_ok();
        seen.is_complete &= seen.sees_others;
        seen
    }

    /// Whether some process has the file open for writing.
    pub fn is_written(&self, file: &Fingerprint) -> bool {
        self.written.contains_key(&(file.device, file.inode))
    }

    /// The processes that have it open for writing, as far as they can be told.
    pub fn writers_of(&self, file: &Fingerprint) -> &[ProcessId] {
        self.written.get(&(file.device, file.inode)).map_or(&[], |open| open.by.as_slice())
    }

    /// Every file that is open for writing: device, inode, and the path as its process sees it.
    pub(super) fn written(&self) -> impl Iterator<Item = ((u64, u64), &Path)> {
        self.written.iter().map(|(file, open)| (*file, open.path.as_path()))
    }

    /// Whether the absence of a writer is certain.
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether this process sees the whole machine, not only its container.
    pub const fn sees_machine(&self) -> bool {
        self.sees_machine
    }

    /// Whether the server of that name runs. A name that is no server's (`template`) cannot be told; `auto` stands for
    /// all that we know.
    pub fn server(&self, name: &str) -> ServerState {
        let Some(server) = Server::from_name(name).filter(|_| self.sees_others) else { return ServerState::Unknown };
        let of = |s: Server| server == Server::Auto || s == server;
        let oldest = self.servers.iter().filter(|(s, _)| of(*s)).map(|(_, since)| *since).min();
        oldest.map_or(ServerState::NotRunning, |since_ms| ServerState::Running { since_ms })
    }

    fn add_server(&mut self, process: &Path, stat: &Stat, boot_ms: i64) {
        if stat.name == "nfsd" {
            // The kernel's NFS server writes for others without a descriptor that anybody could list.
            self.is_complete = false;
        }
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        if let Some(server) = server_of(&stat.name, &String::from_utf8_lossy(&command)) {
            self.servers.push((server, boot_ms + stat.start_ticks * (1000 / TICKS_PER_S)));
        }
    }

    fn add_files(&mut self, process: &Path, id: Option<ProcessId>) {
        let descriptors = match fs::read_dir(process.join("fd")) {
            Ok(descriptors) => descriptors,
            Err(e) => return self.is_complete &= is_over(&e),
        };
        for descriptor in descriptors {
            let Ok(descriptor) = descriptor else { return };
            let number = descriptor.file_name();
            let Ok(flags) = fs::read_to_string(process.join("fdinfo").join(&number)) else { continue };
            if is_for_writing(&flags) {
                self.add_file(&descriptor.path(), id);
            }
        }
    }

    fn add_file(&mut self, descriptor: &Path, id: Option<ProcessId>) {
        match fs::metadata(descriptor) {
            Ok(file) if file.is_file() => {
                let is_new = || OpenFile { path: fs::read_link(descriptor).unwrap_or_default(), by: Vec::new() };
                self.written.entry((file.dev(), file.ino())).or_insert_with(is_new).by.extend(id);
            }
            Ok(_) => {}
            Err(e) => self.is_complete &= is_over(&e),
        }
    }
}

/// Whether an error means only that the process or descriptor has ended meanwhile.
fn is_over(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// `flags:` of `/proc/PID/fdinfo/N` is octal; `O_PATH` descriptors can write nothing.
fn is_for_writing(fdinfo: &str) -> bool {
    const O_PATH: u32 = 0o10_000_000;
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|f| u32::from_str_radix(f.trim(), 8).ok()).unwrap_or(0);
    flags & ACCESS_MODE != 0 && flags & O_PATH == 0
}

/// What is needed of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Field 2, in parentheses, which may itself hold parentheses.
    name: String,
    /// Whether it has ended and only waits for its parent to hear of it. The first thread of a process may end before the
    /// others; then it is no zombie alone (field 20 counts the threads).
    is_dead: bool,
    /// Field 22, its start.
    start_ticks: i64,
}

impl Stat {
    fn parse(stat: &str) -> Option<Self> {
        let (open, close) = (stat.find('(')?, stat.rfind(')')?);
        let name = stat.get(open + 1..close)?.to_owned();
        // Field 3 is the first after the name.
        let fields: Vec<&str> = stat.get(close + 1..)?.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let threads: i64 = field(20)?.parse().ok()?;
        let is_dead = matches!(field(3)?, "Z" | "X") && threads <= 1;
        Some(Self { name, is_dead, start_ticks: field(22)?.parse().ok()? })
    }
}

/// `btime` of `/proc/stat`, milliseconds since the Unix epoch.
fn boot_ms(proc: &Path) -> i64 {
    let stat = fs::read_to_string(proc.join("stat")).unwrap_or_default();
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "));
    seconds.and_then(|s| s.trim().parse::<i64>().ok()).unwrap_or(0).saturating_mul(1000)
}

pub(super) fn server_of(name: &str, command: &str) -> Option<Server> {
    let name = name.to_ascii_lowercase();
    // Of the command line only programs and classes count, not the paths of recordings in later arguments.
    let is_java = name == "java" || command.split('\0').next().is_some_and(|program| program.ends_with("java"));
    let command = command.to_ascii_lowercase();
    let matches = |(_, names, words): &&(Server, &[&str], &[&str])| {
        // The kernel cuts names after 15 bytes.
        names.iter().any(|n| name == n[..n.len().min(15)]) || (is_java && words.iter().any(|w| command.contains(w)))
    };
    SERVER_MARKS.iter().find(matches).map(|(server, ..)| *server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_that_has_a_file_open_for_writing_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.flv");
        let file = File::create(&path).unwrap();
        let fingerprint = Fingerprint::of(&file.metadata().unwrap());
        let mut child = Command::new("sleep").arg("60").stdout(Stdio::from(file)).spawn().unwrap();
        let seen = OpenFiles::read();
        assert!(seen.is_written(&fingerprint));
        let writer = *seen.writers_of(&fingerprint).iter().find(|w| w.pid == child.id()).unwrap();
        assert!(!writer.has_ended());
        assert!(ProcessId { start_ticks: writer.start_ticks - 1, ..writer }.has_ended(), "another of its number");
        child.kill().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !writer.has_ended() {
            assert!(std::time::Instant::now() < deadline, "it was killed; nobody has waited for it yet");
        }
        child.wait().unwrap();
        assert!(writer.has_ended());
        // Processes that other tests start may have inherited the file for a moment.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while OpenFiles::read().is_written(&fingerprint) {
            assert!(std::time::Instant::now() < deadline, "it is listed although it is closed");
        }
    }

    #[test]
    fn flags_tell_writers_from_readers() {
        assert!(is_for_writing("pos:\t0\nflags:\t0100001\nmnt_id:\t29\n"));
        assert!(is_for_writing("flags:\t02100002\n"));
        assert!(!is_for_writing("flags:\t0100000\n"));
        assert!(!is_for_writing("flags:\t010000002\n"), "O_PATH");
        assert!(!is_for_writing("nothing"));
    }

    #[test]
    fn servers_are_told_by_their_process() {
        assert_eq!(server_of("nginx", "nginx: worker process"), Some(Server::NginxRtmp));
        assert_eq!(server_of("java", "/usr/bin/java\0-cp\0/usr/local/antmedia/x.jar"), Some(Server::AntMedia));
        assert_eq!(server_of("OvenMediaEngine", ""), Some(Server::Ome));
        assert_eq!(server_of("vim", "vim\0/usr/local/antmedia/conf/red5.properties"), None);
        assert_eq!(server_of("obsidian", "obsidian"), None);
    }

    #[test]
    fn the_start_of_a_process_is_read_past_a_strange_name() {
        let stat = "42 (a) (b) c) S 1 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        let parsed = Stat { name: "a) (b) c".into(), is_dead: false, start_ticks: 12345 };
        assert_eq!(Stat::parse(stat), Some(parsed));
        assert_eq!(Stat::parse("42 (x"), None);
        let is_dead = |stat: &str| Stat::parse(stat).unwrap().is_dead;
        assert!(is_dead(&stat.replace(" S ", " Z ")));
        assert!(!is_dead(&stat.replace(" S ", " Z ").replace(" 20 0 1 0 ", " 20 0 7 0 ")), "other threads of it run");
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        let start_ms = boot_ms(Path::new("/proc")) + Stat::parse(&own).unwrap().start_ticks * 10;
        let now_ms = jiff::Timestamp::now().as_millisecond();
        assert!(start_ms <= now_ms + 2000 && start_ms > now_ms - 3_600_000, "{start_ms} {now_ms}");
    }

    #[test]
    fn what_cannot_be_seen_is_not_taken_for_absent() {
        let none = OpenFiles::read_from(Path::new("/nowhere"));
        assert!(!none.is_complete());
        assert_eq!(none.server("srs"), ServerState::Unknown);
        let seen =
            OpenFiles { sees_others: true, servers: vec![(Server::NginxRtmp, 7), (Server::NginxRtmp, 5)], ..none };
        assert_eq!(seen.server("nginx-rtmp"), ServerState::Running { since_ms: 5 });
        assert_eq!(seen.server("auto"), ServerState::Running { since_ms: 5 });
        assert_eq!(seen.server("srs"), ServerState::NotRunning);
        assert_eq!(seen.server("template"), ServerState::Unknown);
    }
}
