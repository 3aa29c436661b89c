//! Everything about a splice in place that can be known and checked before a block moves.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::lease::ExclusiveLease;
use super::view::{PieceView, ViewPiece};
use crate::durable::{self, Extents, FileError, InPlaceEditor, InPlaceOp};
use crate::finish::describe::{Description, describe_movie};
use crate::finish::inspect::{IsoHeader, header_error};
use crate::finish::sameness::{self, PayloadSample};
use crate::finish::{FinishError, Iso};
use crate::isobmff::{self, BoxHeader, FileShape, FrontPlan, IsoError, Layout, Movie};
use crate::recording::name::printable;
use crate::recording::{Container, Fingerprint, Retirement, SpliceIntent, SpliceUndo};
use crate::threads::alongside;

/// Magic numbers of the file systems that insert blocks without copying: ext4 and XFS. F2FS copies.
const INSERTS_BLOCKS: [u64; 2] = [durable::EXT4, durable::XFS];
/// No file type box that means something is longer.
const LARGEST_FTYP_BYTES: u64 = 1 << 16;

/// A splice in place that only waits for its journal entry.
#[derive(Debug)]
pub(crate) struct PreparedSplice {
    pub(super) open: InPlaceEditor,
    pub(super) header: Vec<u8>,
    /// The payloads that are compared, where they lay in the source.
    pub(super) chosen: PayloadSample,
    block_bytes: u64,
    /// What is journalled.
    pub(crate) intent: SpliceIntent,
    /// What the record keeps for undoing it.
    pub(crate) undo: SpliceUndo,
    /// What the file will hold.
    pub(crate) description: Description,
}

/// What the finished file is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpliceRequest {
    /// Its container.
    pub(crate) container: Container,
    /// Bytes of the smallest block whose multiples are inserted.
    pub(crate) at_least_block: u64,
}

/// A file at rest: all of it on the disk, and none of it in memory.
struct SyncedFile {
    chosen: PayloadSample,
    /// Digest of the chosen payloads.
    payloads: blake3::Hash,
    /// Where its bytes lie.
    extents: Extents,
}

/// Opens a file for being spliced in place and works everything out; `None` where it cannot be done here, with why in
/// the log.
pub(crate) fn prepare(
    source: &Path,
    before: &Fingerprint,
    header: IsoHeader<'_>,
    wanted: SpliceRequest,
) -> Result<Option<PreparedSplice>, FinishError> {
    let open = match InPlaceEditor::open(source) {
        Ok(open) => open,
        Err(error) => return Ok(not_here(source, &error.source.to_string())),
    };
    let (state, links) = open.state()?;
    let (file_system, block_bytes) = open.file_system()?;
    if state != *before {
        return Err(FinishError::Changed { path: source.to_owned() });
    }
    if links != 1 || !inserts_blocks(file_system) {
        return Ok(not_here(source, "the file system cannot insert blocks, or the file has other hard links"));
    }
    let Some(retire) = retired_box(header.iso) else { return Ok(not_here(source, "more than one `moov`")) };
    // Asked for once before the work; it is taken again when the work is done.
    if ExclusiveLease::take(open.file()).is_none() {
        return Ok(not_here(source, "another process has it open, or leases are not permitted"));
    }
    let wanted = SpliceRequest { at_least_block: block_bytes.max(wanted.at_least_block), ..wanted };
    let work_out = || plan(&open, header, retire, wanted);
    let (rested, planned) = alongside(|| settle(&open, header.movie), work_out);
    let (Some(rested), planned) = (rested?, planned?) else {
        return Ok(not_here(source, "its extents are not settled"));
    };
    let undo = undo_of(before, header.movie, retire, &planned);
    let intent = intent_of(source, before, &planned, &rested);
    let (chosen, block_bytes) = (rested.chosen, wanted.at_least_block);
    let PlannedSplice { header, description, .. } = planned;
    Ok(Some(PreparedSplice { open, header, chosen, block_bytes, intent, undo, description }))
}

/// Digests spread payloads and brings the file to rest: all of it on the disk, and none of it in memory, since the kernel drops
/// every page of a file before it inserts, and would do so alone and under the lease. Says where the file's bytes lie.
fn settle(open: &InPlaceEditor, movie: &Movie) -> Result<Option<SyncedFile>, FinishError> {
    let chosen = PayloadSample::of(movie);
    let payloads = chosen.digest(open.file(), 0).map_err(FileError::on("read", open.path()))?;
    open.drop_pages();
    open.perform(InPlaceOp::SyncData)?;
    Ok(open.extents()?.map(|extents| SyncedFile { chosen, payloads, extents }))
}

/// The new header, and what the file will be with it.
struct PlannedSplice {
    header: Vec<u8>,
    retirement: Retirement,
    description: Description,
}

fn plan(
    open: &InPlaceEditor,
    header: IsoHeader<'_>,
    retire: Option<BoxHeader>,
    wanted: SpliceRequest,
) -> Result<PlannedSplice, FinishError> {
    let old_len = header.iso.layout.len;
    let spanned = HeaderSpan { fragmented_bytes: old_len, block_bytes: wanted.at_least_block };
    let front = spanning_or_whole(open.path(), open.file(), header, spanned)?.header;
    let old = retire.map(|moov| OldHeader { moov, is_mended: header.movie.is_mended() });
    let retirement = retirement(old, old_len, front.len() as u64);
    let view = finished_view(open.file(), &front, old_len, retirement);
    let checked = check(open.file(), view, header, &front, wanted.container);
    let description = checked.map_err(|e| e.on(open.path()))?;
    Ok(PlannedSplice { header: front, retirement, description })
}

impl PreparedSplice {
    /// The next larger block to try, bytes.
    pub(crate) fn next_block_bytes(&self) -> u64 {
        let used = self.open.file_system().map_or(0, |(_, block_bytes)| block_bytes);
        2 * used.max(self.block_bytes)
    }
}

fn not_here<T>(path: &Path, why: &str) -> Option<T> {
    tracing::debug!(path = %printable(path), why, "not finished in place");
    None
}

/// The `moov` that is retired; `Some(None)` where it becomes part of the new `mdat`, `None` where there are several.
#[expect(clippy::option_option, reason = "nothing to retire and not possible are two things")]
fn retired_box(iso: &Iso) -> Option<Option<BoxHeader>> {
    let layout = &iso.layout;
    if iso.gets_new_header() {
        return Some(None);
    }
    let mut all = layout.all(b"moov");
    let first = all.next().copied()?;
    (all.next().is_none() && first.end() <= layout.len).then_some(Some(first))
}

/// Whether a file lies on a file system that copies through the page cache what it does not share.
pub(crate) fn is_local_disk(path: &Path) -> Result<bool, FileError> {
    Ok(inserts_blocks(durable::file_system(path)?))
}

/// Whether a file system of that magic number inserts blocks without copying.
pub(super) fn inserts_blocks(magic: u64) -> bool {
    INSERTS_BLOCKS.contains(&magic)
}

/// What a header is put in front of.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeaderSpan {
    /// Of a fragmented file, how many bytes of it.
    pub(super) fragmented_bytes: u64,
    /// The length of the header is a multiple of so many bytes.
    pub(super) block_bytes: u64,
}

/// The header in front of the whole old file; of a fragmented file in front of a part of it.
pub(super) fn spanning_or_whole(
    source: &Path,
    file: &File,
    header: IsoHeader<'_>,
    spanned: HeaderSpan,
) -> Result<FrontPlan, FinishError> {
    let (IsoHeader { iso, movie }, HeaderSpan { fragmented_bytes, block_bytes }) = (header, spanned);
    let ftyp = file_type(file, &iso.layout).map_err(FileError::on("read", source))?;
    let plan = if iso.gets_new_header() {
        FrontPlan::spanning(movie, &movie.to_ftyp(&ftyp), fragmented_bytes, block_bytes)
    } else {
        FrontPlan::whole(&iso.layout, movie, &ftyp, block_bytes)
    };
    plan.map_err(|e| header_error(source, e))
}

/// The file type box as it stands; empty where there is none (old QuickTime).
pub(crate) fn file_type(file: &File, layout: &Layout) -> io::Result<Vec<u8>> {
    file_type_by(layout, |bytes, offset| file.read_exact_at(bytes, offset))
}

/// The same of a file that is not here.
pub(crate) fn file_type_by(
    layout: &Layout,
    read: impl FnOnce(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    let Some(ftyp) = layout.first(b"ftyp").filter(|b| b.size_bytes <= LARGEST_FTYP_BYTES) else {
        return Ok(Vec::new());
    };
    let mut bytes = vec![0; usize::try_from(ftyp.size_bytes).unwrap_or(0)];
    read(&mut bytes, ftyp.offset)?;
    Ok(bytes)
}

/// A header that a new one takes the place of.
#[derive(Debug, Clone, Copy)]
pub(super) struct OldHeader {
    pub(super) moov: BoxHeader,
    /// Whether the new one says something else.
    pub(super) is_mended: bool,
}

/// What becomes of the old `moov` behind so many inserted bytes.
///
/// One that the new header differs from is never cut off: taking the splice back brings it back as it was.
pub(super) fn retirement(old: Option<OldHeader>, old_len: u64, inserted_bytes: u64) -> Retirement {
    match old {
        None => Retirement::Nothing,
        Some(OldHeader { moov, is_mended: false }) if moov.end() == old_len => {
            Retirement::Truncate { len: inserted_bytes + moov.offset }
        }
        Some(OldHeader { moov, .. }) => Retirement::Free { at: inserted_bytes + moov.offset + 4 },
    }
}

fn intent_of(source: &Path, before: &Fingerprint, planned: &PlannedSplice, rested: &SyncedFile) -> SpliceIntent {
    let (header, retirement) = (&planned.header, planned.retirement);
    let inserted_bytes = header.len() as u64;
    let size_bytes = match retirement {
        Retirement::Truncate { len } => len,
        Retirement::Nothing | Retirement::Free { .. } => before.size_bytes + inserted_bytes,
    };
    SpliceIntent {
        path: source.to_owned(),
        before: *before,
        after: Fingerprint { size_bytes, ..*before },
        inserted_bytes,
        extents: rested.extents.clone(),
        header_digest: blake3::hash(header).to_hex().to_string(),
        payload_digest: rested.payloads.to_hex().to_string(),
        retirement,
    }
}

fn undo_of(before: &Fingerprint, movie: &Movie, moov: Option<BoxHeader>, planned: &PlannedSplice) -> SpliceUndo {
    SpliceUndo {
        len: before.size_bytes,
        inserted_bytes: planned.header.len() as u64,
        moov_offset: moov.map(|b| b.offset),
        moov_bytes: moov.map_or(0, |b| b.size_bytes),
        moov_digest: moov.map(|_| blake3::hash(movie.raw()).to_hex().to_string()),
        retirement: planned.retirement,
    }
}

/// The file of so many bytes as it will read when all is done.
fn finished_view<'a>(file: &'a File, header: &'a [u8], old_len: u64, retirement: Retirement) -> PieceView<'a> {
    let shift = header.len() as u64;
    let mut pieces = vec![ViewPiece::Memory(header)];
    match retirement {
        Retirement::Nothing => pieces.push(ViewPiece::File(0..old_len)),
        Retirement::Truncate { len } => pieces.push(ViewPiece::File(0..len - shift)),
        Retirement::Free { at } => {
            pieces.extend([
                ViewPiece::File(0..at - shift),
                ViewPiece::Memory(b"free"),
                ViewPiece::File(at - shift + 4..old_len),
            ]);
        }
    }
    PieceView::new(file, pieces)
}

/// Reads the finished file before it exists and compares it with the source: every sample must lie so many bytes behind
/// its old place as are inserted, so that its payload is the same by construction.
///
/// Of a moved header that nothing is wrong with, one track at a time is in memory: it holds what the source's holds, so the
/// source's judgement is its own.
fn check(
    file: &File,
    view: PieceView<'_>,
    IsoHeader { iso, movie }: IsoHeader<'_>,
    front: &[u8],
    container: Container,
) -> Result<Description, PlanMismatch> {
    let inserted_bytes = front.len() as u64;
    let len = view.len();
    let mut reader = BufReader::new(view);
    let layout = isobmff::top_level(&mut reader, len)?;
    if layout.shape() != FileShape::HeaderFirst {
        return Err(PlanMismatch::Different("the header is not in front".into()));
    }
    if iso.describes_moved() {
        let moov = layout.movie_header().and_then(|moov| bytes_of(front, moov)).ok_or(IsoError::NoMovieHeader)?;
        let said = sameness::same_header(movie, moov, Some(inserted_bytes))?;
        said.map_err(PlanMismatch::Different)?;
        return Ok(describe_movie(&mut &*file, movie, iso.verdict.clone(), container)?);
    }
    let new = Movie::read(&mut reader, &layout)?;
    sameness::same_samples(movie, &new, Some(inserted_bytes)).map_err(PlanMismatch::Different)?;
    let verdict = isobmff::validate(&new, &layout);
    Ok(describe_movie(&mut reader, &new, verdict, container)?)
}

/// A whole box of a front.
fn bytes_of<'a>(front: &'a [u8], found: &BoxHeader) -> Option<&'a [u8]> {
    front.get(usize::try_from(found.offset).ok()?..usize::try_from(found.end()).ok()?)
}

/// Why a plan was not found good.
pub(super) enum PlanMismatch {
    Unreadable(IsoError),
    Media(io::Error),
    Different(String),
}

impl From<IsoError> for PlanMismatch {
    fn from(error: IsoError) -> Self {
        Self::Unreadable(error)
    }
}

impl From<io::Error> for PlanMismatch {
    fn from(error: io::Error) -> Self {
        Self::Media(error)
    }
}

impl PlanMismatch {
    pub(super) fn on(self, path: &Path) -> FinishError {
        match self {
            Self::Unreadable(source) => header_error(path, source),
            Self::Media(source) => FileError::on("read", path)(source).into(),
            Self::Different(detail) => FinishError::NotTheSame { path: path.to_owned(), detail },
        }
    }
}
