//! The side that asks: starts a worker, gives it jobs one after the other, and ends it where one takes too long.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::child::{DONE, DONE_UNCONFINED};
use super::error::ApartError;
use super::job::{Answer, Headed, Job, Limits, Work};
use super::wire::{self, Ended};
use super::{COMMAND, UNCONFINED_HINT, confine};
use crate::media::picture::{Made, Wanted};
use crate::media::{DecodeErrors, PassControl};
use crate::recording::Container;
use crate::recording::name::printable;
use crate::stop::Stop;

/// How often it is looked whether to stop.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Within so long a worker tells of the end of a fork that has closed its socket.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// Within so long a worker takes each piece of a header.
const HEADER_PATIENCE: Duration = Duration::from_secs(60);
/// Of the time that a job has, so much is its own; the rest is to answer in. Percent.
const BUDGET_PERCENT: u32 = 80;
/// Wall-clock time for each second of CPU time: other programs come first.
const PATIENCE: u32 = 5;

/// Variables that a worker keeps: where libraries are, and nothing else. Secrets are among the others.
const KEPT: [&str; 2] = ["LD_LIBRARY_PATH", "PATH"];

/// A process that decodes, started when it is needed. Used by one thread, which must live as long: the process ends with it.
#[derive(Debug)]
pub struct Worker {
    program: PathBuf,
    running: Option<Running>,
    /// Whether it was logged that system calls are not restricted.
    has_warned: bool,
}

/// Ends the whole process group when it is dropped.
#[derive(Debug)]
struct Running {
    process: Child,
    control: UnixStream,
}

impl Worker {
    /// Of this program, which answers to [`COMMAND`].
    pub const fn of(program: PathBuf) -> Self {
        Self { program, running: None, has_warned: false }
    }

    /// Makes a picture of a recording that is open. What the recording is called is for messages.
    pub fn picture(
        &mut self,
        (file, name, container): (&File, &Path, Container),
        wanted: Wanted,
        limits: &Limits,
        stop: &Stop,
    ) -> Result<Made, ApartError> {
        let job = Job::of((name, container), Work::Picture(wanted), limits);
        let caller = Caller { is_stopped: &|| stop.is_requested(), progress: &|_| () };
        match self.ask(&job, (file, &[]), limits, &caller)? {
            (Answer::Made(made), bytes) => Ok(Made { bytes, ..made }),
            _ => Err(ApartError::NoAnswer(0)),
        }
    }

    /// Decodes all packets of a recording that is open, or of its first bytes behind a header, and tells what does not decode.
    pub fn check(
        &mut self,
        (file, name, container): (&File, &Path, Container),
        part: Option<(&[u8], u64)>,
        limits: &Limits,
        watch: PassControl<'_>,
    ) -> Result<Vec<DecodeErrors>, ApartError> {
        let header = part.map(|(header, _)| header).unwrap_or_default();
        let part = part.map(|(header, len)| Headed { header_bytes: header.len() as u64, len });
        let job = Job::of((name, container), Work::Check(part), limits);
        // It tells of progress twice a second, and is asked more often whether to stop.
        let caller = Caller {
            is_stopped: &|| watch.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)),
            progress: &|bytes| watch.progress.into_iter().for_each(|progress| progress(bytes)),
        };
        match self.ask(&job, (file, header), limits, &caller)? {
            (Answer::Checked(errors), _) => Ok(errors),
            _ => Err(ApartError::NoAnswer(0)),
        }
    }

    /// Logs that system calls are not restricted; the other limits hold.
    fn warn_once(&mut self) {
        if std::mem::replace(&mut self.has_warned, true) {
            return;
        }
        let reason = confine::is_possible().err().unwrap_or_else(|| "the filter was refused".to_owned());
        tracing::warn!(
            reason,
            hint = UNCONFINED_HINT,
            "cannot restrict the system calls of the decoder; it works with its other limits"
        );
    }

    /// Number of the worker process, if one is running.
    pub fn process_id(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.process.id())
    }

    /// Does a job for a recording; the header follows it.
    fn ask(
        &mut self,
        job: &Job,
        (file, header): (&File, &[u8]),
        limits: &Limits,
        caller: &Caller<'_>,
    ) -> Result<(Answer, Vec<u8>), ApartError> {
        // It is put back only if it is as it was: whatever goes wrong ends it, and the next job gets a new one.
        let running = match self.running.take().and_then(Running::if_alive) {
            Some(running) => running,
            None => start(&self.program).map_err(ApartError::Start)?,
        };
        let (answers, theirs) = UnixStream::pair().map_err(ApartError::Start)?;
        wire::send_job(&running.control, job, [file.as_fd(), theirs.as_fd()]).map_err(ApartError::Start)?;
        drop(theirs);
        if !header.is_empty() {
            answers.set_write_timeout(Some(HEADER_PATIENCE)).map_err(ApartError::Start)?;
            // If it is dead, its end says how.
            let _ = (&answers).write_all(header);
        }
        let bytes = read_all(&answers, limits, caller)?;
        running.control.set_read_timeout(Some(END_PATIENCE)).map_err(ApartError::Start)?;
        let ended = wire::receive_end(&running.control).map_err(|_| ApartError::NoAnswer(-1))?;
        self.running = Some(running);
        if ended == Ended::Exited(DONE_UNCONFINED) {
            self.warn_once();
        }
        match (wire::read_answer(&bytes), ended) {
            (Ok((Answer::Failed { message, class }, _)), Ended::Exited(DONE | DONE_UNCONFINED)) => {
                Err(ApartError::Refused { message, class })
            }
            (Ok((answer, bytes)), Ended::Exited(DONE | DONE_UNCONFINED)) => Ok((answer, bytes)),
            (_, Ended::Killed(signal)) => Err(ApartError::Signal(signal)),
            (_, Ended::Exited(code)) => Err(ApartError::NoAnswer(code)),
        }
    }
}

impl Job {
    fn of((name, container): (&Path, Container), work: Work, limits: &Limits) -> Self {
        let budget = limits.time * BUDGET_PERCENT / 100;
        Self {
            name: printable(Path::new(name.file_name().unwrap_or(name.as_os_str()))),
            container,
            work,
            budget_ms: u64::try_from(budget.as_millis()).unwrap_or(u64::MAX),
            memory_bytes: limits.memory_bytes,
            cpu_seconds: limits.time.as_secs().max(1),
        }
    }
}

/// Who waits for an answer.
struct Caller<'a> {
    is_stopped: &'a dyn Fn() -> bool,
    progress: &'a dyn Fn(u64),
}

/// Reads until the other side closes; what it says of its progress is passed on.
fn read_all(mut answers: &UnixStream, limits: &Limits, caller: &Caller<'_>) -> Result<Vec<u8>, ApartError> {
    let (begun, mut heard, most) = (Instant::now(), Instant::now(), limits.answer_bytes);
    let patience = limits.time * PATIENCE;
    answers.set_read_timeout(Some(LOOK_AGAIN)).map_err(ApartError::Start)?;
    let (mut bytes, mut block) = (Vec::new(), [0; 16 << 10]);
    loop {
        match answers.read(&mut block) {
            Ok(0) => return Ok(bytes),
            Ok(count) if bytes.len() + count > most => return Err(ApartError::TooLarge(most)),
            Ok(count) => {
                bytes.extend_from_slice(&block[..count]);
                while let Some(progress) = wire::take_progress(&mut bytes) {
                    heard = Instant::now();
                    (caller.progress)(progress);
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // A process that dies with unread data in its socket resets it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(bytes),
            Err(error) => return Err(ApartError::Start(error)),
        }
        if (caller.is_stopped)() {
            return Err(ApartError::Stopped);
        }
        if begun.elapsed() >= patience {
            return Err(ApartError::TimedOut(patience));
        }
        if let Some(silence) = limits.silence.filter(|silence| heard.elapsed() >= *silence) {
            return Err(ApartError::Silent(silence));
        }
    }
}

/// Starts a worker: a process group of its own, an empty environment, no directory of anybody's.
fn start(program: &Path) -> io::Result<Running> {
    let (control, theirs) = UnixStream::pair()?;
    let kept = KEPT.into_iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value)));
    let process = Command::new(program)
        .arg(COMMAND)
        .arg(std::process::id().to_string())
        .env_clear()
        .envs(kept)
        // Each arena of the allocator takes address space, which is bounded.
        .env("MALLOC_ARENA_MAX", "2")
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok(Running { process, control })
}

impl Running {
    fn if_alive(mut self) -> Option<Self> {
        (!self.has_ended()).then_some(self)
    }

    /// Whether somebody has ended it meanwhile.
    fn has_ended(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.has_ended() {
            // The number may be another's by now; its forks have died with it.
            return;
        }
        let group = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
