//! What holds for a decoder before it sees the first byte of a recording.

use std::fs;
use std::io;

use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setpriority_process, setrlimit,
};

/// The lowest CPU priority there is. The I/O priority follows (`ioprio_set(2)`).
const LOWEST: i32 = 19;
/// Numbers of open files: the recording, the sockets and what a library may open while it computes, which is nothing.
const MOST_FILES: u64 = 16;

/// Dies with the process that started this one. False if that is dead already.
pub(super) fn die_with(parent: i32) -> bool {
    let is_set = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    is_set && rustix::process::getppid().is_some_and(|now| now.as_raw_nonzero().get() == parent)
}

/// Gives way to everything else, and is the first to go where memory runs out. What is refused is no reason not to work.
pub(super) fn give_way() {
    let _ = setpriority_process(None, LOWEST);
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
}

/// Bounds memory (beyond what the process has now), CPU time, and files.
pub(super) fn bound(memory_bytes: u64, cpu_seconds: u64) -> io::Result<()> {
    let memory = address_space_bytes()?.saturating_add(memory_bytes);
    let limits = [(Resource::As, memory), (Resource::Fsize, 0), (Resource::Core, 0), (Resource::Nofile, MOST_FILES)];
    limits.into_iter().try_for_each(|(resource, most)| at_most(resource, most, most))?;
    // The first limit is told by a signal of its own, the second kills.
    at_most(Resource::Cpu, cpu_seconds.max(1), cpu_seconds.max(1).saturating_add(1))
}

fn at_most(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let now = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit { current: Some(current.min(now)), maximum: Some(maximum.min(now)) };
    Ok(setrlimit(resource, limit)?)
}

/// Address space that the process has now, bytes.
fn address_space_bytes() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let of = |line: &str| line.strip_prefix("VmSize:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok();
    status.lines().find_map(of).map(|kib| kib << 10).ok_or_else(|| io::Error::other("/proc/self/status has no VmSize"))
}
