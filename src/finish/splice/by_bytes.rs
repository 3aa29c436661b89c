//! A file that a splice in place left half done and of which no journal knows any more, told by its bytes.
//!
//! Such a file does not read as boxes from its beginning to its end; without the inserted blocks it does. Where those
//! are is asked of the file system (they are a hole), or of the first sector (it is written last, so it is empty). A gap
//! is taken out only if it is the only one without which the whole recording is there, and only under a lease.

use std::io::{BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::SeekFrom as From;

use super::lease::ExclusiveLease;
use super::prepare::inserts_blocks;
use super::view::{PieceView, ViewPiece};
use crate::durable::{FileError, InPlaceEditor, InPlaceOp};
use crate::finish::inspect::header_error;
use crate::finish::{FinishError, Tables, indexing};
use crate::isobmff::{self, FileShape, IsoError, Layout, Movie, fragment};
use crate::recording::Defect;

/// Holes that are looked at; a recording has none of its own.
const MOST_HOLES: usize = 64;
/// Largest header that is looked for behind an empty first sector.
const LARGEST_HEADER_BYTES: u64 = 256 << 20;
/// What a recording may begin with.
const FIRST_BOXES: [&[u8; 4]; 6] = [b"ftyp", b"mdat", b"free", b"wide", b"skip", b"moov"];
/// What an FLV file begins with (annex E.2 of the FLV specification).
const FLV: &[u8] = b"FLV\x01";
const SECTOR_BYTES: usize = 512;

/// What a look at a file's bytes led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ByteRecovery {
    /// Nothing says that a splice was cut here.
    NotHalfDone,
    /// It was, and the file is again what it was before it.
    PutBack,
    /// It may have been, but more than one place is possible, or others have the file open: nothing was changed.
    Unclear,
}

/// A range of inserted bytes.
type ByteGap = (u64, u64);

/// Takes the blocks out again that a cut splice left, if the bytes alone prove that and where.
pub fn put_back_by_bytes(path: &Path) -> Result<ByteRecovery, FinishError> {
    let Ok(open) = InPlaceEditor::open(path) else { return Ok(ByteRecovery::NotHalfDone) };
    let (before, links) = open.state()?;
    let (file_system, block_bytes) = open.file_system()?;
    if links != 1 || before.size_bytes == 0 || !inserts_blocks(file_system) {
        return Ok(ByteRecovery::NotHalfDone);
    }
    let read_error = |e| header_error(path, e);
    let gaps = possible_gaps(&open, before.size_bytes, block_bytes).map_err(FileError::on("read", path))?;
    if gaps.is_empty() || is_whole(&open, (0, 0), before.size_bytes).map_err(read_error)? {
        return Ok(ByteRecovery::NotHalfDone);
    }
    let mut found = Vec::new();
    for gap in gaps {
        if is_whole(&open, gap, before.size_bytes).map_err(read_error)? {
            found.push(gap);
        }
    }
    match found[..] {
        [] => Ok(ByteRecovery::NotHalfDone),
        [gap] => take_out(&open, gap, before.mtime_ns),
        _ => Ok(ByteRecovery::Unclear),
    }
}

fn take_out(open: &InPlaceEditor, (start, end): ByteGap, mtime_ns: i64) -> Result<ByteRecovery, FinishError> {
    let Some(_lease) = ExclusiveLease::take(open.file()) else { return Ok(ByteRecovery::Unclear) };
    open.perform(InPlaceOp::Collapse { at: start, bytes: end - start })?;
    open.perform(InPlaceOp::SetModified { ns: mtime_ns })?;
    open.perform(InPlaceOp::Sync)?;
    Ok(ByteRecovery::PutBack)
}

/// Gaps that would be whole blocks with something behind them.
fn possible_gaps(open: &InPlaceEditor, len: u64, block_bytes: u64) -> std::io::Result<Vec<ByteGap>> {
    let mut gaps = holes(open, len)?;
    let mut sector = [0; SECTOR_BYTES];
    let read = open.file().read_at(&mut sector, 0)?;
    if sector[..read].iter().all(|byte| *byte == 0) {
        gaps.extend(beginnings(open, len, block_bytes)?.into_iter().map(|at| (0, at)));
    }
    gaps.retain(|(start, end)| start % block_bytes == 0 && end % block_bytes == 0 && start < end && *end < len);
    gaps.sort_unstable();
    gaps.dedup();
    Ok(gaps)
}

fn holes(open: &InPlaceEditor, len: u64) -> std::io::Result<Vec<ByteGap>> {
    let mut holes = Vec::new();
    let mut at = 0;
    while at < len && holes.len() < MOST_HOLES {
        let start = rustix::fs::seek(open.file(), From::Hole(at))?;
        if start >= len {
            break;
        }
        at = match rustix::fs::seek(open.file(), From::Data(start)) {
            Ok(end) => end,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        holes.push((start, at));
    }
    Ok(holes)
}

/// Places at the beginning of a block where a recording may begin.
fn beginnings(open: &InPlaceEditor, len: u64, block_bytes: u64) -> std::io::Result<Vec<u64>> {
    let mut found = Vec::new();
    let mut head = [0; 8];
    let mut at = block_bytes;
    while at + 8 < len && at <= LARGEST_HEADER_BYTES {
        open.file().read_exact_at(&mut head, at)?;
        if head.starts_with(FLV) || FIRST_BOXES.iter().any(|fourcc| head[4..] == fourcc[..]) {
            found.push(at);
        }
        at += block_bytes;
    }
    Ok(found)
}

/// Whether a file without a gap is a whole recording: boxes from beginning to end, and every sample inside; or the tags of
/// one that sample tables can be made of.
fn is_whole(open: &InPlaceEditor, (start, end): ByteGap, len: u64) -> Result<bool, IsoError> {
    let mut view = PieceView::new(open.file(), [ViewPiece::File(0..start), ViewPiece::File(end..len)]);
    let len = view.len();
    let io_error = |source| IsoError::Io { offset: 0, source };
    let mut head = [0; FLV.len()];
    let read = view.read(&mut head).and_then(|read| view.rewind().map(|()| read)).map_err(io_error)?;
    if &head[..read] == FLV {
        let tables = indexing::tables_over_flv(BufReader::new(view), len);
        return tables.map(|tables| matches!(tables, Tables::Of(..))).map_err(io_error);
    }
    let mut reader = BufReader::new(view);
    let layout = isobmff::top_level(&mut reader, len)?;
    if layout.torn().is_some() || layout.garbage_at.is_some() || layout.movie_header().is_none() {
        return Ok(false);
    }
    match has_all_samples(&mut reader, &layout) {
        Err(error) if error.defect().is_some() => Ok(false),
        other => other,
    }
}

fn has_all_samples<R: Read + Seek>(reader: &mut R, layout: &Layout) -> Result<bool, IsoError> {
    let mut movie = Movie::read(reader, layout)?;
    if layout.shape() == FileShape::Fragmented {
        movie = fragment::read(reader, layout, movie)?.movie;
    }
    let defects = isobmff::validate(&movie, layout).defects;
    Ok(!defects.iter().any(|d| d.leaves_something_out() || matches!(d, Defect::Malformed { .. })))
}
