//! The header in front of a second file: sharing the source's blocks, copied inside the kernel, or read and written.

use std::path::Path;

use super::prepare::{HeaderSpan, OldHeader, file_type, retirement, spanning_or_whole};
use crate::durable::{self, CopyOutcome, FileError, InPlaceEditor, InPlaceOp, Partial};
use crate::finish::FinishError;
use crate::finish::inspect::{IsoHeader, header_error};
use crate::isobmff::FrontPlan;
use crate::media::{MediaError, PassControl};
use crate::recording::{Retirement, SpliceMethod};

/// Room that sharing needs beside the header: the tree of shared extents.
const SHARING_BYTES: u64 = 1 << 20;
/// A file of that length is copied past the page cache; for a shorter one the cache is quicker.
pub(crate) const LEAST_DIRECT_BYTES: u64 = 32 << 20;

/// What is known of the media in a file that was written aside, before it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediaProof {
    /// The kernel shared or copied it.
    ByTheKernel,
    /// Every byte was read back past the page cache and compared.
    ToTheByte,
    /// Nothing: this process wrote it, and the source stays.
    SourceStays,
    /// Nothing: this process wrote it.
    Nothing,
}

/// How the finished file is made.
pub(crate) struct AsideWrite<'a> {
    /// Makes the partial, after a look at the room for so many bytes.
    pub(crate) make: &'a dyn Fn(u64) -> Result<Partial, FinishError>,
    /// Whether its source is to go: then what was copied is read back.
    pub(crate) source_goes: bool,
    /// Looked at while media is copied.
    pub(crate) watch: PassControl<'a>,
}

/// Writes the finished file aside in one way; `None` if that way does not exist here.
pub(crate) fn put_aside(
    way: SpliceMethod,
    source: &Path,
    header: IsoHeader<'_>,
    writing: &AsideWrite<'_>,
) -> Result<Option<(Partial, MediaProof)>, FinishError> {
    match way {
        SpliceMethod::InsertRange => Ok(None),
        SpliceMethod::Reflink => Ok(share(source, header, writing)?.map(|partial| (partial, MediaProof::ByTheKernel))),
        SpliceMethod::CopyRange | SpliceMethod::Copy => {
            let plan = compact_plan(source, header)?;
            let partial = (writing.make)(plan.len())?;
            let (to, head, ranges) = (partial.path(), &plan.header, &plan.body_ranges);
            let copied = match way {
                SpliceMethod::Copy => Some(copy(source, to, &plan, writing)?),
                _ => durable::copy_ranges_in_kernel(source, to, head, ranges)?.then_some(MediaProof::ByTheKernel),
            };
            Ok(copied.map(|proven| (partial, proven)))
        }
    }
}

/// Reads and writes the finished file; a large one past the page cache, where the file system lets it, and read back if its
/// source is to go.
fn copy(
    source: &Path,
    to: &Path,
    plan: &FrontPlan,
    AsideWrite { source_goes, watch, .. }: &AsideWrite<'_>,
) -> Result<MediaProof, FinishError> {
    let (head, ranges) = (&plan.header, &plan.body_ranges);
    let is_large = plan.len() >= LEAST_DIRECT_BYTES;
    let goes_on = |bytes| watch.tick(bytes).is_ok();
    let copy = || durable::copy_ranges_direct(source, to, head, ranges, *source_goes, &goes_on);
    match is_large.then(copy).transpose()? {
        Some(CopyOutcome::Done) if *source_goes => Ok(MediaProof::ToTheByte),
        Some(CopyOutcome::Done) => Ok(MediaProof::SourceStays),
        Some(CopyOutcome::Stopped) => Err(MediaError::Cancelled.into()),
        Some(CopyOutcome::NotHere) | None => {
            durable::copy_ranges(source, to, head, ranges)?;
            Ok(MediaProof::Nothing)
        }
    }
}

/// The same movie header with its offsets moved, or one written from all fragments, and every byte of media behind it.
fn compact_plan(source: &Path, header: IsoHeader<'_>) -> Result<FrontPlan, FinishError> {
    let file = durable::open_to_read(source)?;
    let ftyp = file_type(&file, &header.iso.layout).map_err(FileError::on("read", source))?;
    compact_plan_of(source, header, &ftyp)
}

/// The same of a file that is not here, whose file type box was read. `source` is its path, for messages.
pub(crate) fn compact_plan_of(
    source: &Path,
    IsoHeader { iso, movie }: IsoHeader<'_>,
    ftyp: &[u8],
) -> Result<FrontPlan, FinishError> {
    let plan = if iso.gets_new_header() {
        FrontPlan::spanning(movie, &movie.to_ftyp(ftyp), iso.whole_bytes, 1)
    } else {
        FrontPlan::compact(&iso.layout, movie, ftyp, 1)
    };
    plan.map_err(|e| header_error(source, e))
}

/// The header in front of all of a file that is not here: for stores that put together whole objects.
pub(crate) fn wrapping_plan_of(
    source: &Path,
    IsoHeader { iso, movie }: IsoHeader<'_>,
    ftyp: &[u8],
) -> Result<FrontPlan, FinishError> {
    let plan = if iso.gets_new_header() {
        FrontPlan::spanning(movie, &movie.to_ftyp(ftyp), iso.layout.len, 1)
    } else {
        FrontPlan::wrapping(&iso.layout, movie, ftyp)
    };
    plan.map_err(|e| header_error(source, e))
}

fn share(source: &Path, header: IsoHeader<'_>, writing: &AsideWrite<'_>) -> Result<Option<Partial>, FinishError> {
    let iso = header.iso;
    let is_fragmented = iso.gets_new_header();
    if !is_fragmented && iso.layout.all(b"moov").nth(1).is_some() {
        return Ok(None);
    }
    let from = durable::open_to_read(source)?;
    let block_bytes = durable::block_bytes(source)?;
    let plan = spanning_or_whole(source, &from, header, HeaderSpan { fragmented_bytes: iso.whole_bytes, block_bytes })?;
    let header_bytes = plan.header.len() as u64;
    let partial = match (writing.make)(header_bytes + SHARING_BYTES) {
        // In place needs no more than the header.
        Err(FinishError::NoSpace { .. }) => return Ok(None),
        other => other?,
    };
    if !durable::share_behind(source, partial.path(), &plan.header)? {
        return Ok(None);
    }
    let moov = if is_fragmented { None } else { iso.layout.first(b"moov").copied() };
    let written = InPlaceEditor::open(partial.path())?;
    let old = moov.map(|moov| OldHeader { moov, is_mended: false });
    match retirement(old, iso.layout.len, header_bytes) {
        Retirement::Nothing => written.perform(InPlaceOp::Truncate { len: plan.len() })?,
        Retirement::Truncate { len } => written.perform(InPlaceOp::Truncate { len })?,
        Retirement::Free { at } => written.perform(InPlaceOp::Write { at, bytes: b"free" })?,
    }
    Ok(Some(partial))
}
