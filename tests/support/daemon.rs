//! The real `aftercast watch` as a child process, and waiting for what it does: by looking, with a deadline.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use super::Sandbox;
use super::limited::Limited;

/// How long anything may take before a test gives up; only a failing test takes so long.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Looks until something is there; fails with `what` when it does not come.
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_nudged(what, PATIENCE, || (), look)
}

/// The same where something may have to be done about it now and then, this often; it may take three times as long.
#[track_caller]
pub fn until_with<T>(what: &str, often: Duration, mut nudge: impl FnMut(), look: impl FnMut() -> Option<T>) -> T {
    let mut last = Instant::now();
    let now_and_then = || {
        if last.elapsed() >= often {
            nudge();
            last = Instant::now();
        }
    };
    until_nudged(what, 3 * PATIENCE, now_and_then, look)
}

#[track_caller]
fn until_nudged<T>(what: &str, patience: Duration, mut nudge: impl FnMut(), mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < patience, "waited in vain: {what}");
        nudge();
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process is suspended (`proc_pid_stat(5)`, field 3).
pub fn is_suspended(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// A running daemon, started as a service manager starts it; killed when the test lets go of it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it and waits for its `READY=1`.
    #[track_caller]
    pub fn start(sandbox: &Sandbox) -> Self {
        Self::start_with(sandbox, |_| {})
    }

    /// The same under a limit on its memory.
    #[track_caller]
    pub fn start_limited(sandbox: &Sandbox, limit: &Limited) -> Self {
        Self::start_command(sandbox, limit.wrap(&sandbox.command(&["-v", "watch"])), |_| {})
    }

    /// The same, with changes to the command.
    #[track_caller]
    pub fn start_with(sandbox: &Sandbox, change: impl FnOnce(&mut Command)) -> Self {
        Self::start_command(sandbox, sandbox.command(&["-v", "watch"]), change)
    }

    /// The same by a command of one's own.
    #[track_caller]
    pub fn start_command(sandbox: &Sandbox, mut command: Command, change: impl FnOnce(&mut Command)) -> Self {
        let manager = sandbox.path().join("notify");
        let _ = fs::remove_file(&manager);
        let told = UnixDatagram::bind(&manager).unwrap();
        told.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let log = sandbox.path().join("daemon.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        command.env("NOTIFY_SOCKET", &manager).stdout(file.try_clone().unwrap()).stderr(file);
        change(&mut command);
        let mut daemon = Self { child: command.spawn().unwrap(), log };
        until("the daemon is ready", || {
            assert!(daemon.child.try_wait().unwrap().is_none(), "the daemon ended: {}", daemon.log());
            hears_ready(&told)
        });
        daemon
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has said something.
    #[track_caller]
    pub fn until_said(&self, words: &str) {
        until(words, || self.log().contains(words).then_some(()));
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        until("the daemon ends", || self.child.try_wait().unwrap())
    }

    /// Asks it to end, as a service manager does, and fails unless it drains and ends well.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal("TERM");
        let status = self.ended();
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the daemon said:\n{}", self.log());
        }
    }
}

fn hears_ready(told: &UnixDatagram) -> Option<()> {
    let mut message = [0; 512];
    match told.recv(&mut message) {
        Ok(read) => String::from_utf8_lossy(&message[..read]).lines().any(|l| l == "READY=1").then_some(()),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => None,
        Err(e) => panic!("the service manager's socket: {e}"),
    }
}
