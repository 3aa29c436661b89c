//! A process with a limit on its memory: a control group where this machine lets us make one, else its own limit on data.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::behind;

/// A limit; the control group goes when it is dropped.
#[derive(Debug)]
pub enum Limited {
    /// A control group: the kernel kills who takes more.
    Group { path: PathBuf, version: u8 },
    /// `RLIMIT_DATA`: who takes more is refused, which ends the program.
    Data(u64),
}

impl Limited {
    /// So many bytes; never nothing.
    pub fn to(bytes: u64) -> Self {
        let second = [Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/unified")];
        let of_second = second.iter().find_map(|mount| group(mount, 2, bytes));
        let made = of_second.or_else(|| group(Path::new("/sys/fs/cgroup/memory"), 1, bytes));
        made.unwrap_or_else(|| {
            let words = "no control group can be made here; the data of the process is limited instead";
            let _ = writeln!(std::io::stderr(), "{words}");
            Self::Data(bytes)
        })
    }

    /// The same command under the limit. What it was told of standard streams is told it again.
    pub fn wrap(&self, command: &Command) -> Command {
        let wrapped = match self {
            Self::Group { path, .. } => {
                let mut shell = Command::new("sh");
                let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", path.display());
                shell.args(["-c", &enter, "sh"]);
                shell
            }
            Self::Data(bytes) => {
                let mut prlimit = Command::new("prlimit");
                prlimit.arg(format!("--data={bytes}")).arg("--");
                prlimit
            }
        };
        behind(wrapped, command)
    }

    /// The most that its processes had at one time, file pages included; `None` without a control group.
    pub fn peak_bytes(&self) -> Option<u64> {
        match self {
            Self::Group { path, version: 2 } => number(&path.join("memory.peak")),
            Self::Group { path, .. } => number(&path.join("memory.max_usage_in_bytes")),
            Self::Data(_) => None,
        }
    }

    /// How many processes the kernel killed for want of memory; `None` where it does not say.
    pub fn kills(&self) -> Option<u64> {
        let Self::Group { path, version } = self else { return None };
        let file = if *version == 2 { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(path.join(file)).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        if let Self::Group { path, .. } = self {
            let _ = fs::remove_dir(path);
        }
    }
}

fn group(mount: &Path, version: u8, bytes: u64) -> Option<Limited> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let path = mount.join(format!("aftercast-test-{}-{number}", std::process::id()));
    let is_there = if version == 2 { "cgroup.controllers" } else { "memory.limit_in_bytes" };
    mount.join(is_there).exists().then_some(())?;
    fs::create_dir(&path).ok()?;
    let made = Limited::Group { path: path.clone(), version };
    let file = if version == 2 { "memory.max" } else { "memory.limit_in_bytes" };
    // Without the controller in this part of the tree the file is not there; `made` is removed then.
    fs::metadata(path.join(file)).ok()?;
    fs::write(path.join(file), bytes.to_string()).ok()?;
    // Nothing may go to the swap: it would be no limit.
    let _ = fs::write(path.join("memory.swap.max"), "0");
    Some(made)
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
