//! Decoding apart: what a hostile recording does to a decoder happens in a process that has nothing to lose.
//!
//! ```text
//! daemon ── starts ─▶ worker: the same program, FFmpeg loaded, empty environment ── forks for each job ─▶ decoder
//!        ── job, open file, socket for the answer ─▶                                   limits, no network, no files
//! ```
//!
//! The worker loads FFmpeg once and touches no media; each job is done by a fork of it, in which nothing of another recording
//! is left. The fork has bounds on memory (`RLIMIT_AS`), CPU time (`RLIMIT_CPU`) and files (`RLIMIT_FSIZE`, `RLIMIT_NOFILE`),
//! and makes no system calls but those that computing takes (`confine`). The recording comes as an open file, so no path is
//! opened; the picture goes back through a socket, at most so many bytes of it. Who waits for it kills the whole process group
//! when time is up. A worker and its fork die with the process that started them. See docs/decisions/0019.

mod child;
mod confine;
mod error;
mod job;
mod limits;
mod wire;
mod worker;

pub use child::serve;
pub use confine::is_possible as can_confine;
pub use error::ApartError;
pub use job::Limits;
pub use worker::Worker;

/// The program of this process, also when its file has been replaced since.
pub const THIS_PROGRAM: &str = "/proc/self/exe";
/// The hidden command by which the program becomes a worker.
pub const COMMAND: &str = "decoder";

/// What to do where the system calls of decoders cannot be restricted.
pub const UNCONFINED_HINT: &str = "Allow seccomp(2), for example in the container's seccomp profile, or turn pictures off: \
     `poster = false` and `sprite = false` in [pictures].";
