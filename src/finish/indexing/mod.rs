//! Sample tables over the packets of a file that is not ISO base media: a header in front of them makes an MP4 of it, and
//! not a byte of media is written.
//!
//! In FLV the packets of H.264, H.265 and AAC lie as an MP4 wants them: NAL units behind their lengths, sound without
//! ADTS, the configuration in the form of a sample description. What is between them stays as dead bytes, as fragment
//! headers do. That holds only for a sound file that begins with a keyframe and keeps one configuration for each track;
//! whatever else there is, is remuxed, which forgives more.
//!
//! ```text
//! looks_indexable   the first tags: which tracks there are, for the plan
//! index             all tags: the movie, or none
//! ```

mod configuration;
mod flv;
#[cfg(test)]
mod tests;
mod track;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{FinishError, Iso};
use crate::durable::{self, FileError};
use crate::isobmff::{self, Layout, Movie};
use crate::media::{Probe, whole};
use crate::recording::{Container, Defect};

/// So much is asked of the disk at a time, and so much of it is ahead of the reader at least.
const AHEAD_BYTES: u64 = 8 << 20;

/// What the first packets of a file say, if all of it may be indexed; `None` for everything else.
pub(super) fn looks_indexable(path: &Path, file: &File, container: Container) -> Result<Option<Probe>, FinishError> {
    if container != Container::Flv {
        return Ok(None);
    }
    let read_error = FileError::on("read", path);
    let len = file.metadata().map_err(FileError::on("read the state of", path))?.len();
    let declared = whole::flv::head(path, container).map_err(FileError::on("read", path))?;
    if declared.declared_bytes.is_some_and(|bytes| bytes > len) {
        return Ok(None);
    }
    let probe = flv::probe(Ahead::new(file, len), len).map_err(read_error)?;
    Ok(probe.map(|probe| Probe { declared_ms: declared.declared_ms, ..probe }))
}

/// A recording by tables over its packets.
#[derive(Debug)]
pub(crate) struct Indexed {
    /// What stands in for the header that it does not have.
    pub(crate) iso: Iso,
    /// The sample tables.
    pub(crate) movie: Movie,
    /// What was repaired.
    pub(crate) defects: Vec<Defect>,
}

/// Makes the sample tables over all packets of a file that [`looks_indexable`]; `None` if it is not as its beginning
/// promised.
pub(crate) fn index(path: &Path) -> Result<Option<Indexed>, FinishError> {
    let file = File::open(path).map_err(FileError::on("open", path))?;
    let len = file.metadata().map_err(FileError::on("read the state of", path))?.len();
    let found = flv::index(Ahead::new(&file, len), len).map_err(FileError::on("read", path))?;
    Ok(found.map(|(movie, defects)| {
        let layout = Layout::without_boxes(len);
        let verdict = isobmff::validate(&movie, &layout);
        let iso = Iso { layout, movie: None, whole_bytes: len, stays_fragmented: None, verdict };
        Indexed { iso, movie, defects }
    }))
}

/// Whether a stretch of bytes is a whole recording that [`index`] takes.
pub(super) fn is_indexable<R: Read + Seek>(reader: R, len: u64) -> io::Result<bool> {
    flv::index(reader, len).map(|movie| movie.is_some())
}

/// A file that is read here and there from front to back: the disk is asked for what comes, since the kernel does not see
/// a run in small reads with gaps between them.
struct Ahead<'a> {
    file: &'a File,
    at: u64,
    asked: u64,
    len: u64,
}

impl<'a> Ahead<'a> {
    const fn new(file: &'a File, len: u64) -> Self {
        Self { file, at: 0, asked: 0, len }
    }
}

impl Read for Ahead<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at + AHEAD_BYTES > self.asked && self.asked < self.len && self.at > 0 {
            self.asked = self.asked.max(self.at);
            durable::ask_for(self.file, &[(self.asked, AHEAD_BYTES)]);
            self.asked += AHEAD_BYTES;
        }
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Ahead<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(distance) => self.len.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.at.checked_add_signed(distance),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
