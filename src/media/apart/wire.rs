//! How jobs reach a worker and answers come back: lengths before what they count, files beside the first byte of a job.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::job::{Answer, Job};

const LENGTH_BYTES: usize = 4;
/// A job is a few hundred bytes.
const MOST_JOB_BYTES: usize = 16 << 10;
/// So is what is said before a picture.
const MOST_ANSWER_BYTES: usize = 64 << 10;
/// `{"Progress":18446744073709551615}`.
const MOST_PROGRESS_BYTES: usize = 40;
/// The recording and the socket for the answer.
const FILES: usize = 2;

/// How a fork ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Exited(i32),
    Killed(i32),
}

impl Ended {
    fn to_bytes(self) -> [u8; 5] {
        let (tag, number) = match self {
            Self::Exited(code) => (0, code),
            Self::Killed(signal) => (1, signal),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [tag, a, b, c, d]
    }

    fn of_bytes([tag, number @ ..]: [u8; 5]) -> Self {
        let number = i32::from_le_bytes(number);
        if tag == 0 { Self::Exited(number) } else { Self::Killed(number) }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn framed(json: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(json.len()).map_err(|_| invalid("a message is too long"))?;
    Ok([&length.to_le_bytes()[..], json].concat())
}

/// Sends a job with its files.
pub(super) fn send_job(control: &UnixStream, job: &Job, files: [BorrowedFd<'_>; FILES]) -> io::Result<()> {
    let message = framed(&serde_json::to_vec(job)?)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    beside.push(SendAncillaryMessage::ScmRights(&files));
    let sent = sendmsg(control, &[IoSlice::new(&message)], &mut beside, SendFlags::NOSIGNAL)?;
    (&mut &*control).write_all(&message[sent..])
}

/// Receives a job; `None` when there are no more.
pub(super) fn receive_job(control: &UnixStream) -> io::Result<Option<(Job, File, UnixStream)>> {
    let mut length = [0; LENGTH_BYTES];
    let (received, files) = receive_with_files(control, &mut length)?;
    if received == 0 {
        return Ok(None);
    }
    (&mut &*control).read_exact(&mut length[received..])?;
    let json = read_counted(&mut &*control, length, MOST_JOB_BYTES)?;
    let [recording, answers] = <[OwnedFd; FILES]>::try_from(files).map_err(|_| invalid("a job without its files"))?;
    Ok(Some((serde_json::from_slice(&json)?, recording.into(), answers.into())))
}

fn receive_with_files(control: &UnixStream, into: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match recvmsg(control.as_fd(), &mut [IoSliceMut::new(into)], &mut beside, flags) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?.bytes,
        }
    };
    let mut files = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            files.extend(rights);
        }
    }
    Ok((received, files))
}

fn read_counted(from: &mut impl Read, length: [u8; LENGTH_BYTES], most: usize) -> io::Result<Vec<u8>> {
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > most {
        return Err(invalid("a message is too long"));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Says how a fork ended.
pub(super) fn send_end(mut control: &UnixStream, ended: Ended) -> io::Result<()> {
    control.write_all(&ended.to_bytes())
}

/// How the fork ended.
pub(super) fn receive_end(mut control: &UnixStream) -> io::Result<Ended> {
    let mut bytes = [0; 5];
    control.read_exact(&mut bytes)?;
    Ok(Ended::of_bytes(bytes))
}

/// Answers a job.
pub(super) fn send_answer(mut answers: &UnixStream, answer: &Answer, picture: &[u8]) -> io::Result<()> {
    answers.write_all(&framed(&serde_json::to_vec(answer)?)?)?;
    answers.write_all(picture)
}

/// Reads a whole answer. It comes from a process that may say anything.
pub(super) fn read_answer(mut bytes: &[u8]) -> io::Result<(Answer, Vec<u8>)> {
    let mut length = [0; LENGTH_BYTES];
    bytes.read_exact(&mut length)?;
    let json = read_counted(&mut bytes, length, MOST_ANSWER_BYTES)?;
    Ok((serde_json::from_slice(&json)?, bytes.to_vec()))
}

/// Takes what is said of progress from the beginning of what was read so far, if it is there as a whole.
pub(super) fn take_progress(bytes: &mut Vec<u8>) -> Option<u64> {
    let length = usize::try_from(u32::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    // Nothing else is so short.
    let end = LENGTH_BYTES + Some(length).filter(|length| *length <= MOST_PROGRESS_BYTES)?;
    let Ok(Answer::Progress(progress)) = serde_json::from_slice(bytes.get(LENGTH_BYTES..end)?) else { return None };
    bytes.drain(..end);
    Some(progress)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fault::Class;
    use crate::media::apart::job::Work;
    use crate::media::picture::Wanted;
    use crate::recording::Container;

    fn job() -> Job {
        let work = Work::Picture(Wanted::Sprite { height: 90, interval_ms: 10_000, duration_ms: 1 });
        Job { name: "x".into(), container: Container::Mp4, work, budget_ms: 1, memory_bytes: 2, cpu_seconds: 3 }
    }

    #[test]
    fn a_job_arrives_with_its_files_and_the_end_is_told_from_silence() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "media").unwrap();
        let file = File::open(dir.path().join("x")).unwrap();
        let (answers, answered) = UnixStream::pair().unwrap();
        send_job(&ours, &job(), [file.as_fd(), answers.as_fd()]).unwrap();
        drop((ours, answers));
        let (received, mut recording, reply) = receive_job(&theirs).unwrap().unwrap();
        let mut text = String::new();
        recording.read_to_string(&mut text).unwrap();
        assert_eq!((received, text.as_str()), (job(), "media"));
        let failed = Answer::Failed { message: "no".into(), class: Class::Permanent };
        send_answer(&reply, &failed, b"bytes").unwrap();
        drop(reply);
        let mut said = Vec::new();
        (&answered).read_to_end(&mut said).unwrap();
        assert_eq!(read_answer(&said).unwrap(), (failed, b"bytes".to_vec()));
        assert!(receive_job(&theirs).unwrap().is_none());
        assert_eq!(
            [Ended::Exited(3), Ended::Killed(9)].map(|ended| Ended::of_bytes(ended.to_bytes())),
            [Ended::Exited(3), Ended::Killed(9)]
        );
    }

    #[test]
    fn progress_is_taken_where_it_is_whole() {
        let message = |answer: &Answer| framed(&serde_json::to_vec(answer).unwrap()).unwrap();
        let end = message(&Answer::Checked(Vec::new()));
        let mut bytes = [message(&Answer::Progress(7)), message(&Answer::Progress(u64::MAX)), end.clone()].concat();
        assert_eq!([(); 3].map(|()| take_progress(&mut bytes)), [Some(7), Some(u64::MAX), None]);
        assert_eq!(bytes, end);
        let mut part = message(&Answer::Progress(7));
        part.pop();
        for mut bytes in [Vec::new(), vec![1], vec![0xFF; 4], part] {
            assert_eq!(take_progress(&mut bytes), None);
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error_and_takes_no_memory() {
        for said in [&b""[..], b"\xFF\xFF\xFF\xFF", b"\x02\x00\x00\x00{", b"\x02\x00\x00\x00{}"] {
            assert!(read_answer(said).is_err(), "{said:?}");
        }
    }
}
