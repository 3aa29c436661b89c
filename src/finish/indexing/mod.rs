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
use std::io::{self, Read, Seek};
use std::path::Path;

use super::window::Window;
use super::{FinishError, Iso};
use crate::durable::{self, FileError};
use crate::isobmff::{self, Layout, Movie};
use crate::media::{Probe, whole};
use crate::recording::{Container, Defect};

/// Most packets that get a table: 14 hours of 30 fps and 48 kHz AAC. Tables are held in memory, which a remux does not need.
const MOST_UNITS: u64 = 4_000_000;

/// What the first packets of a file say, if all of it may be indexed; `None` for everything else.
pub(super) fn looks_indexable(path: &Path, file: &File, container: Container) -> Result<Option<Probe>, FinishError> {
    if container != Container::Flv {
        return Ok(None);
    }
    let read_error = FileError::on("read", path);
    let len = file.metadata().map_err(FileError::on("read the state of", path))?.len();
    let declared = whole::flv::head(path, container).map_err(FileError::on("read", path))?;
    // One that is cut need not be read to its end to find that out.
    if declared.declared_bytes.is_some_and(|bytes| bytes > len) || !ends_whole(path)? {
        return Ok(None);
    }
    let probe = flv::probe(Window::new(file, len), len).map_err(read_error)?;
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

/// What a look at all packets came to.
#[derive(Debug)]
pub(crate) enum Indexing {
    /// There are tables.
    Done(Box<Indexed>),
    /// It is not as its beginning promised.
    NotSo,
    /// From this byte on its tags do not follow one another.
    Unsound(u64),
}

/// Tables over the packets of a file, if there are any.
#[derive(Debug)]
pub enum Tables {
    /// They, and what was repaired.
    Of(Box<Movie>, Vec<Defect>),
    /// There is something that they cannot say.
    None,
    /// From this byte on the file is not sound.
    Unsound(u64),
}

/// Makes the sample tables over all packets of a file that [`looks_indexable`].
pub(crate) fn index(path: &Path, goes_on: &dyn Fn(u64) -> bool) -> Result<Indexing, FinishError> {
    let (file, len) = opened(path)?;
    let window = Window::new(&file, len).asking_ahead();
    let found = flv::index(window, len, MOST_UNITS, goes_on).map_err(FileError::on("read", path))?;
    Ok(match found {
        Tables::None => Indexing::NotSo,
        Tables::Unsound(at) => Indexing::Unsound(at),
        Tables::Of(movie, defects) => {
            let layout = Layout::without_boxes(len);
            let verdict = isobmff::validate(&movie, &layout);
            let iso = Iso {
                layout,
                movie: None,
                whole_bytes: len,
                stays_fragmented: None,
                is_rebuilt: false,
                has_others: false,
                verdict,
            };
            Indexing::Done(Box::new(Indexed { iso, movie: *movie, defects }))
        }
    })
}

/// From where on the tags of an FLV file do not follow one another; `None` for a sound one.
pub(super) fn unsound_at(path: &Path) -> Result<Option<u64>, FinishError> {
    let (file, len) = opened(path)?;
    flv::unsound_at(Window::new(&file, len).asking_ahead(), len).map_err(|e| FileError::on("read", path)(e).into())
}

/// Whether the last tag of an FLV file is whole, so that nobody else will say that something is missing at its end.
pub(super) fn ends_whole(path: &Path) -> Result<bool, FinishError> {
    let (mut file, len) = opened(path)?;
    whole::flv::ends_with_trailer(&mut file, len).map_err(|e| FileError::on("read", path)(e).into())
}

fn opened(path: &Path) -> Result<(File, u64), FileError> {
    let file = durable::open_to_read(path)?;
    let len = file.metadata().map_err(FileError::on("read the state of", path))?.len();
    Ok((file, len))
}

/// The sample tables over the tags of an FLV file of `len` bytes. A few bytes are read of each tag, so the reader should
/// keep what lies around them.
pub fn tables_over_flv<R: Read + Seek>(reader: R, len: u64) -> io::Result<Tables> {
    flv::index(reader, len, MOST_UNITS, &|_| true)
}
