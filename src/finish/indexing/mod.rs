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
use crate::durable::FileError;
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
    if declared.declared_bytes.is_some_and(|bytes| bytes > len) {
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

/// Makes the sample tables over all packets of a file that [`looks_indexable`]; `None` if it is not as its beginning
/// promised.
pub(crate) fn index(path: &Path) -> Result<Option<Indexed>, FinishError> {
    let file = File::open(path).map_err(FileError::on("open", path))?;
    let len = file.metadata().map_err(FileError::on("read the state of", path))?.len();
    let found = tables_over_flv(Window::new(&file, len).asking_ahead(), len).map_err(FileError::on("read", path))?;
    Ok(found.map(|(movie, defects)| {
        let layout = Layout::without_boxes(len);
        let verdict = isobmff::validate(&movie, &layout);
        let iso = Iso { layout, movie: None, whole_bytes: len, stays_fragmented: None, verdict };
        Indexed { iso, movie, defects }
    }))
}

/// The sample tables over the tags of an FLV file of `len` bytes, and what was repaired; `None` for one that has to be
/// remuxed. A few bytes are read of each tag, so the reader should keep what lies around them.
pub fn tables_over_flv<R: Read + Seek>(reader: R, len: u64) -> io::Result<Option<(Movie, Vec<Defect>)>> {
    flv::index(reader, len, MOST_UNITS)
}
