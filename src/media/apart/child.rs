//! The worker: loads FFmpeg, then forks for each job and says how the fork ended. It looks at no media itself.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, waitpid};

use super::confine::confine;
use super::job::{Answer, Headed, Job, Work};
use super::wire::{Ended, receive_job, send_answer, send_end};
use super::{COMMAND, limits};
use crate::fault::{Class, Fault as _, chain};
use crate::media::decode::decode_check_open;
use crate::media::ffi::library;
use crate::media::picture::{self, Budget, Made, Recording, Wanted};
use crate::media::{MediaError, PassControl};

/// A fork that did its work, one that could not, and one that did it with system calls that are not restricted.
pub(super) const DONE: i32 = 0;
const NOT_DONE: i32 = 1;
pub(super) const DONE_UNCONFINED: i32 = 2;
/// How often a check says how far it is.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Works as a worker if the arguments say so: `aftercast decoder PARENT`, with a socket as standard input. Returns the exit
/// code, or nothing if something else is wanted.
pub fn serve(arguments: &[std::ffi::OsString]) -> Option<u8> {
    let [_, command, parent] = arguments else { return None };
    if command != COMMAND {
        return None;
    }
    let parent = parent.to_str().and_then(|parent| parent.parse().ok());
    let control = io::stdin().as_fd().try_clone_to_owned().ok().map(UnixStream::from);
    let (Some(parent), Some(control)) = (parent, control.filter(|control| control.peer_addr().is_ok())) else {
        let _ = writeln!(io::stderr(), "`{COMMAND}` is started by aftercast itself and has no other use");
        return Some(2);
    };
    if !limits::die_with(parent) {
        return Some(1);
    }
    limits::give_way();
    // An FFmpeg that cannot be loaded is what every job is answered with.
    let _ = library::ready();
    while let Ok(Some((job, recording, answers))) = receive_job(&control) {
        let ended = match apart(&control, || do_job(&job, &recording, &answers)) {
            Ok(ended) => ended,
            Err(error) => not_begun(&answers, &error),
        };
        drop(answers);
        if send_end(&control, ended).is_err() {
            return Some(1);
        }
    }
    Some(0)
}

/// Answers that the machine has no room for a process, which says nothing of the recording.
fn not_begun(answers: &UnixStream, error: &io::Error) -> Ended {
    let message = format!("cannot start a process for the decoder: {}", chain(error));
    Ended::Exited(said(&send_answer(answers, &Answer::Failed { message, class: Class::Environment }, &[])))
}

/// Does work in a fork, and waits for its end. The fork cannot speak for the worker: it has not its socket.
#[expect(unsafe_code, reason = "neither the standard library nor rustix forks")]
fn apart(control: &UnixStream, work: impl FnOnce() -> i32) -> io::Result<Ended> {
    let worker = std::process::id();
    // SAFETY: this process has one thread, so the fork has all of its memory in order.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: nothing in the fork uses them any more, and nothing drops them: it ends with `_exit`.
            unsafe {
                libc::close(libc::STDIN_FILENO);
                libc::close(control.as_raw_fd());
            }
            // Nothing behind this may be left by a panic: the fork would go on as a second worker.
            let is_ours = i32::try_from(worker).is_ok_and(limits::die_with);
            let code = if is_ours { catch_unwind(AssertUnwindSafe(work)).unwrap_or(NOT_DONE) } else { NOT_DONE };
            // SAFETY: ends the process at once; what is registered to be done at its end belongs to the worker.
            unsafe { libc::_exit(code) }
        }
        pid => wait_for(Pid::from_raw(pid)),
    }
}

fn wait_for(pid: Option<Pid>) -> io::Result<Ended> {
    loop {
        match waitpid(pid, WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) | Ok(None) => {}
            Err(error) => return Err(error.into()),
            Ok(Some((_, status))) => {
                let killed = status.terminating_signal().map(Ended::Killed);
                return Ok(killed.unwrap_or_else(|| Ended::Exited(status.exit_status().unwrap_or(NOT_DONE))));
            }
        }
    }
}

/// Does a job under its limits and answers it.
fn do_job(job: &Job, recording: &File, answers: &UnixStream) -> i32 {
    let budget = Budget::of(Duration::from_millis(job.budget_ms));
    if let Err(error) = limits::bound(job.memory_bytes, job.cpu_seconds) {
        let message = format!("cannot limit the decoder process: {}", chain(&error));
        return said(&send_answer(answers, &Answer::Failed { message, class: Class::Environment }, &[]));
    }
    let is_confined = confine();
    let recording = Recording { file: recording, name: Path::new(&job.name), container: job.container };
    let answered = match job.work {
        Work::Picture(wanted) => catch_unwind(AssertUnwindSafe(|| answer_picture(recording, wanted, budget, answers))),
        Work::Check(part) => catch_unwind(AssertUnwindSafe(|| answer_check(recording, part, answers))),
    };
    let sent = answered.unwrap_or_else(|_| failed(answers, "internal error in the decoder process; please report it"));
    match said(&sent) {
        DONE if !is_confined => DONE_UNCONFINED,
        code => code,
    }
}

fn answer_picture(recording: Recording<'_>, wanted: Wanted, budget: Budget, answers: &UnixStream) -> io::Result<()> {
    match picture::make(recording, wanted, budget) {
        Ok(Made { bytes, .. }) if bytes.is_empty() => failed(answers, "the encoder wrote nothing"),
        Ok(mut made) => {
            let bytes = std::mem::take(&mut made.bytes);
            send_answer(answers, &Answer::Made(made), &bytes)
        }
        Err(error) => send_answer(answers, &of_error(&error), &[]),
    }
}

/// More tracks than any recording has; a file may declare as many as it likes.
const MOST_TRACKS: usize = 500;

fn answer_check(recording: Recording<'_>, part: Option<Headed>, answers: &UnixStream) -> io::Result<()> {
    let mut header = Vec::new();
    if let Some(part) = part {
        answers.take(part.header_bytes).read_to_end(&mut header)?;
    }
    let file = recording.file.try_clone()?;
    let said = Cell::new(Instant::now());
    let tell = |bytes| {
        if said.get().elapsed() >= TELL_EVERY {
            said.set(Instant::now());
            // Who does not listen any more ends this process.
            let _ = send_answer(answers, &Answer::Progress(bytes), &[]);
        }
    };
    let watch = PassControl { cancel: None, progress: Some(&tell) };
    let part = part.map(|part| (header, part.len));
    match decode_check_open((file, recording.name, recording.container), part, watch) {
        Ok(mut errors) => {
            errors.truncate(MOST_TRACKS);
            send_answer(answers, &Answer::Checked(errors), &[])
        }
        // The limits ended it: what was decoded so far says nothing of the rest.
        Err(MediaError::Read { source, .. })
            if matches!(source.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::PermissionDenied) =>
        {
            Err(source)
        }
        Err(error) => send_answer(answers, &of_error(&error), &[]),
    }
}

fn failed(answers: &UnixStream, message: &str) -> io::Result<()> {
    send_answer(answers, &Answer::Failed { message: message.to_owned(), class: Class::Permanent }, &[])
}

fn of_error(error: &MediaError) -> Answer {
    Answer::Failed { message: chain(error), class: error.class() }
}

fn said(sent: &io::Result<()>) -> i32 {
    if sent.is_ok() { DONE } else { NOT_DONE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::apart::wire::read_answer;

    #[test]
    fn a_machine_without_room_for_a_process_says_nothing_of_the_recording() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ended = not_begun(&theirs, &io::Error::from_raw_os_error(libc::EAGAIN));
        drop(theirs);
        let mut bytes = Vec::new();
        (&ours).read_to_end(&mut bytes).unwrap();
        let (answer, _) = read_answer(&bytes).unwrap();
        assert!(matches!(answer, Answer::Failed { class: Class::Environment, .. }), "{answer:?}");
        assert_eq!(ended, Ended::Exited(DONE));
    }
}
