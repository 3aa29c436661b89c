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
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use super::window::FileWindow;
use super::{FinishError, Iso};
use crate::durable::{self, FileError};
use crate::isobmff::{self, Layout, Movie};
use crate::media::{self, Probe, whole};
use crate::recording::{Container, Defect, MOST_IN_A_FILE};

/// Most packets that get a table: 14 hours of 30 fps and 48 kHz AAC. Tables are held in memory, which a remux does not need.
const MOST_UNITS: u64 = 4_000_000;

/// What the first packets of a file say, if all of it may be indexed; `None` for everything else.
pub(super) fn looks_indexable(path: &Path, file: &File, container: Container) -> Result<Option<Probe>, FinishError> {
    if container != Container::Flv {
        return Ok(None);
    }
    let read_error = FileError::on("read", path);
    let len = file.metadata().map_err(FileError::on("read the metadata of", path))?.len();
    let declared = whole::flv::head(path, container).map_err(FileError::on("read", path))?;
    // One that is cut need not be read to its end to find that out.
    if declared.declared_bytes.is_some_and(|bytes| bytes > len) || !ends_whole(path)? {
        return Ok(None);
    }
    let probe = flv::probe(FileWindow::new(file, len), len).map_err(read_error)?;
    Ok(probe.map(|probe| Probe { declared_ms: declared.declared_ms, ..probe }))
}

/// A recording by tables over its packets.
#[derive(Debug)]
pub(crate) struct IndexedRecording {
    /// What stands in for the header that it does not have.
    pub(crate) iso: Iso,
    /// The sample tables.
    pub(crate) movie: Movie,
    /// What was repaired.
    pub(crate) defects: Vec<Defect>,
}

/// What a look at all packets came to.
#[derive(Debug)]
pub(crate) enum IndexOutcome {
    /// There are tables.
    Done(Box<IndexedRecording>),
    /// It is not as its beginning promised.
    NotSo,
    /// Its tags do not follow one another.
    Unsound,
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
pub(crate) fn index(path: &Path, goes_on: &dyn Fn(u64) -> bool) -> Result<IndexOutcome, FinishError> {
    let (file, len) = opened(path)?;
    let window = FileWindow::new(&file, len).asking_ahead();
    let found = flv::index(window, len, MOST_UNITS, goes_on).map_err(FileError::on("read", path))?;
    Ok(match found {
        Tables::None => IndexOutcome::NotSo,
        Tables::Unsound(_) => IndexOutcome::Unsound,
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
            IndexOutcome::Done(Box::new(IndexedRecording { iso, movie: *movie, defects }))
        }
    })
}

/// What the tags of an FLV file amount to.
#[derive(Debug, Default)]
pub(super) struct TagSummary {
    /// Byte offsets at which further recordings begin behind the first.
    pub(super) recordings: Vec<u64>,
    /// From where on tags do not follow one another, nor a recording; none for a sound file.
    pub(super) unsound_at: Option<u64>,
}

/// How far behind a tag that is cut another recording is looked for.
const MOST_SEARCHED_BYTES: u64 = 16 << 20;
const HEAD_BYTES: usize = 13;

/// Looks at how tags follow one another in an FLV file.
pub(super) fn follow_tags(path: &Path) -> Result<TagSummary, FinishError> {
    let (file, len) = opened(path)?;
    follow(&file, len).map_err(|e| FileError::on("read", path)(e).into())
}

fn follow(file: &File, len: u64) -> io::Result<TagSummary> {
    let (mut tags, mut begin) = (TagSummary::default(), 0);
    while tags.recordings.len() < MOST_IN_A_FILE {
        let window = FileWindow::behind(file, begin, len - begin).asking_ahead();
        let Some(at) = media::flv_unsound_at(window, len - begin)?.map(|at| begin + at) else { break };
        let next = if at > begin { next_head(file, at, len)? } else { None };
        if next != Some(at) {
            tags.unsound_at.get_or_insert(at);
        }
        let Some(next) = next else { break };
        tags.recordings.push(next);
        begin = next;
    }
    Ok(tags)
}

/// The next place from `from` on where a recording begins. A recorder that died in the middle of a tag may have opened the
/// file again.
fn next_head(file: &File, from: u64, len: u64) -> io::Result<Option<u64>> {
    let mut window = BufReader::with_capacity(64 << 10, FileWindow::behind(file, from, len - from));
    let (mut at, mut bytes) = (from, [0; HEAD_BYTES]);
    if len - from < HEAD_BYTES as u64 {
        return Ok(None);
    }
    window.read_exact(&mut bytes)?;
    while !media::is_flv_head(&bytes) {
        let mut next = [0];
        if at - from == MOST_SEARCHED_BYTES || window.read(&mut next)? == 0 {
            return Ok(None);
        }
        bytes.copy_within(1.., 0);
        bytes[HEAD_BYTES - 1] = next[0];
        at += 1;
    }
    Ok(Some(at))
}

/// Whether the last tag of an FLV file is whole, so that nobody else will say that something is missing at its end.
pub(super) fn ends_whole(path: &Path) -> Result<bool, FinishError> {
    let (mut file, len) = opened(path)?;
    whole::flv::ends_with_trailer(&mut file, len).map_err(|e| FileError::on("read", path)(e).into())
}

fn opened(path: &Path) -> Result<(File, u64), FileError> {
    let file = durable::open_to_read(path)?;
    let len = file.metadata().map_err(FileError::on("read the metadata of", path))?.len();
    Ok((file, len))
}

/// The sample tables over the tags of an FLV file of `len` bytes. A few bytes are read of each tag, so the reader should
/// keep what lies around them.
pub fn tables_over_flv<R: Read + Seek>(reader: R, len: u64) -> io::Result<Tables> {
    flv::index(reader, len, MOST_UNITS, &|_| true)
}
