//! The splice in place, step by step. One rule: no byte outside the inserted blocks is written until the new header is
//! durable.
//!
//! ```text
//! (journal the intent) ─ lease ─ insert S bytes at 0 ─ header but its first sector ─ sync ─ first sector: the commit
//! mark (─ sync) ─ compare ─ retire the old moov ─ time ─ sync ─ lease back ─ (journal, rename)
//! ```
//!
//! Whatever goes wrong before the old `moov` is retired is taken back: the blocks go out again and the file is what it
//! was. What a cut leaves is told and mended by [`recover`](super::recover).

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::io::Errno;

use super::lease::ExclusiveLease;
use super::prepare::{PlanMismatch, PreparedSplice};
use super::recover::{RestoreOutcome, put_back, retire};
use crate::durable::{FileError, InPlaceEditor, InPlaceOp};
use crate::finish::FinishError;
use crate::finish::sameness::PayloadSample;
use crate::isobmff::{self, Movie};
use crate::recording::Retirement;
use crate::recording::name::printable;
use crate::threads::alongside;

/// What is written last of the header: a disk writes so much in one piece.
const SECTOR_BYTES: usize = 512;
/// Whoever opens the file waits so long at most before we give it back unchanged.
const DEADLINE: Duration = Duration::from_secs(5);

/// Bytes that are read back at a time.
const READ_BACK_BYTES: usize = 128 << 10;

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InPlaceOutcome {
    /// The file is complete and durable.
    Done,
    /// It is as it was; another way has to be taken.
    Aside(&'static str),
    /// It is as it was; the file system wants larger blocks.
    OtherBlock,
}

impl PreparedSplice {
    /// Does it. The intent is durable in the journal.
    pub(crate) fn perform(&self) -> Result<InPlaceOutcome, FinishError> {
        let Some(lease) = ExclusiveLease::take(self.open.file()) else {
            return Ok(InPlaceOutcome::Aside("another process has it open, or leases are not permitted"));
        };
        let (state, links) = self.open.state()?;
        if state != self.intent.before || links != 1 {
            return Err(FinishError::Changed { path: self.intent.path.clone() });
        }
        if lease.is_broken() || lease.held() > DEADLINE {
            return Ok(InPlaceOutcome::Aside("another process is opening it"));
        }
        let inserted = self.open.perform(InPlaceOp::Insert { at: 0, bytes: self.intent.inserted_bytes });
        if let Err(error) = inserted {
            return self.refused(error);
        }
        let payloads = || self.chosen.digest(self.open.file(), self.intent.inserted_bytes);
        // The payloads lie where they will stay; reading them waits for the disk, and so does the header.
        let (written, payloads) = alongside(|| self.write_header(), payloads);
        let written = written.map_err(FinishError::from).and_then(|()| self.compare(payloads));
        if let Err(error) = written {
            self.take_back(error)?;
            return Ok(InPlaceOutcome::Aside("the header could not be written"));
        }
        self.conclude()?;
        let held_ms = u64::try_from(lease.held().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(path = %printable(&self.intent.path), held_ms, "finished in place under a lease");
        Ok(InPlaceOutcome::Done)
    }

    /// The kernel did not insert, or not all of it.
    fn refused(&self, error: FileError) -> Result<InPlaceOutcome, FinishError> {
        let errno = Errno::from_io_error(&error.source);
        self.take_back(error.into()).or_else(|e| if is_half_done(&e) { Err(e) } else { Ok(()) })?;
        match errno {
            Some(Errno::INVAL) => Ok(InPlaceOutcome::OtherBlock),
            _ => Ok(InPlaceOutcome::Aside("the file system cannot insert blocks here")),
        }
    }

    fn write_header(&self) -> Result<(), FileError> {
        let sector = self.header.len().min(SECTOR_BYTES);
        self.open.perform(InPlaceOp::Write { at: sector as u64, bytes: &self.header[sector..] })?;
        self.open.perform(InPlaceOp::SyncData)?;
        self.open.perform(InPlaceOp::Write { at: 0, bytes: &self.header[..sector] })?;
        match self.intent.retirement {
            // No byte outside the inserted blocks is written: the last sync makes the mark durable, too.
            Retirement::Nothing => Ok(()),
            Retirement::Truncate { .. } | Retirement::Free { .. } => self.open.perform(InPlaceOp::Sync),
        }
    }

    /// Reads back what is there now: the header, whose every sample was compared before it was written; and compares the
    /// payloads that were read at their new places.
    fn compare(&self, payloads: io::Result<blake3::Hash>) -> Result<(), FinishError> {
        self.compare_bytes(payloads).map_err(|e| e.on(&self.intent.path))
    }

    fn compare_bytes(&self, payloads: io::Result<blake3::Hash>) -> Result<(), PlanMismatch> {
        if !reads_as(self.open.file(), &self.header)? {
            return Err(PlanMismatch::Different("the header read back differs from the header written".into()));
        }
        if payloads?.to_hex().as_str() == self.intent.payload_digest {
            return Ok(());
        }
        Err(PlanMismatch::Different("the payloads differ after the blocks were inserted".into()))
    }

    fn conclude(&self) -> Result<(), FinishError> {
        retire(&self.open, &self.intent).map_err(|source| self.half_done(source.into()))?;
        if self.open.state()?.0 == self.intent.after {
            return Ok(());
        }
        Err(self.half_done(FinishError::Changed { path: self.intent.path.clone() }))
    }

    fn half_done(&self, source: FinishError) -> FinishError {
        FinishError::HalfDone { path: self.intent.path.clone(), source: Box::new(source) }
    }

    /// Makes the file what it was. A full disk is a reason to go another way; anything else is returned.
    fn take_back(&self, error: FinishError) -> Result<(), FinishError> {
        match put_back(&self.open, &self.intent) {
            Ok(RestoreOutcome::AsBefore) if is_full(&error) => Ok(()),
            Ok(RestoreOutcome::AsBefore) => Err(error),
            Ok(RestoreOutcome::Unclear(_)) | Err(_) => Err(self.half_done(error)),
        }
    }
}

/// Whether a file begins with these bytes.
fn reads_as(file: &File, bytes: &[u8]) -> io::Result<bool> {
    let mut read = vec![0; READ_BACK_BYTES.min(bytes.len())];
    let mut at = 0;
    for expected in bytes.chunks(READ_BACK_BYTES) {
        let found = &mut read[..expected.len()];
        file.read_exact_at(found, at)?;
        if found != expected {
            return Ok(false);
        }
        at += expected.len() as u64;
    }
    Ok(true)
}

fn is_half_done(error: &FinishError) -> bool {
    matches!(error, FinishError::HalfDone { .. })
}

fn is_full(error: &FinishError) -> bool {
    let kind = |e: &FileError| e.source.kind();
    matches!(error, FinishError::File(e) if kind(e) == io::ErrorKind::StorageFull)
}

/// The digest of spread payloads as the header in front says them.
pub(super) fn payload_digest(open: &InPlaceEditor) -> Result<String, PlanMismatch> {
    let movie = read_movie(&mut BufReader::new(open.file()))?;
    Ok(PayloadSample::of(&movie).digest(open.file(), 0)?.to_hex().to_string())
}

/// The movie of the header in front.
pub(super) fn read_movie<R: Read + Seek>(reader: &mut R) -> Result<Movie, PlanMismatch> {
    let len = reader.seek(SeekFrom::End(0))?;
    let layout = isobmff::top_level(reader, len)?;
    Ok(Movie::read(reader, &layout)?)
}
