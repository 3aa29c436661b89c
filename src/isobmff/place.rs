//! A `moov` at another place: the same bytes with every absolute offset moved.
//!
//! Chunk offsets (`stco`, `co64`) and the offsets of auxiliary information (`saio`) are moved, `stco` growing into
//! `co64` and its parents' sizes with it where a number needs it. All other bytes come through untouched, boxes that
//! nobody here knows included. What holds an absolute offset and cannot be moved is refused, never guessed.

use super::boxes::FourCc;
use super::cursor::{ByteCursor, ChildBox, children, children_of};
use super::encode::{boxed, checked, full_boxed, put_count, put_u32, put_u64, put_wide, version_for};
use super::error::{DefectLog, IsoError};
use super::headers::dref;
use super::tables::stco;

/// Says where the byte at an offset of the old file lies in the new one.
pub type OffsetMap<'a> = dyn Fn(u64) -> u64 + 'a;

/// Makes a `moov` box whose offsets are those of the new file.
///
/// # Errors
/// [`IsoError::Unmovable`] for `cmov`, for items by file offset (`iloc` construction method 0) and for tracks of which
/// only some samples lie in other files; [`IsoError::Malformed`] where a box does not fit into its parent.
pub fn relocated(moov: &[u8], moved: &OffsetMap<'_>) -> Result<Vec<u8>, IsoError> {
    let mut out = Vec::new();
    relocate_into(moov, moved, &mut out)?;
    Ok(out)
}

/// Appends what [`relocated`] gives: long headers are held once and not twice.
pub(super) fn relocate_into(moov: &[u8], moved: &OffsetMap<'_>, out: &mut Vec<u8>) -> Result<(), IsoError> {
    let root = children(moov, 0).next().filter(|b| b.fourcc.0 == *b"moov" && b.raw.len() == moov.len());
    let root = root.ok_or_else(|| IsoError::malformed(0, "no whole `moov` box (§8.2.1)"))?;
    // Tables that widen double at most; memory that is not written to costs nothing.
    out.reserve(moov.len() + moov.len() / 2);
    rewrite(&root, moved, out)?;
    checked(out)
}

/// Writes one box again, descending into those that lead to offsets.
fn rewrite(found: &ChildBox<'_>, moved: &OffsetMap<'_>, out: &mut Vec<u8>) -> Result<(), IsoError> {
    if found.is_torn {
        let detail = format!("`{}` is longer than the box it lies in (§4.2)", found.fourcc);
        return Err(IsoError::malformed(found.offset, detail));
    }
    match &found.fourcc.0 {
        b"trak" if is_elsewhere(found)? => out.extend(found.raw),
        b"moov" | b"trak" | b"mdia" | b"minf" | b"stbl" => descend(found, moved, out)?,
        b"stco" | b"co64" => move_chunks(found, moved, out)?,
        b"saio" => move_auxiliary(found, moved, out)?,
        b"meta" | b"udta" => {
            refuse_item_offsets(found)?;
            out.extend(found.raw);
        }
        b"cmov" => return Err(unmovable(*b"cmov", "compressed movie headers are not supported")),
        _ => out.extend(found.raw),
    }
    Ok(())
}

const fn unmovable(fourcc: [u8; 4], detail: &'static str) -> IsoError {
    IsoError::Unmovable { fourcc: FourCc(fourcc), detail }
}

fn descend(parent: &ChildBox<'_>, moved: &OffsetMap<'_>, out: &mut Vec<u8>) -> Result<(), IsoError> {
    let mut result = Ok(());
    boxed(out, parent.fourcc.0, |out| {
        let mut walk = children_of(parent);
        result = walk.by_ref().try_for_each(|child| rewrite(&child, moved, out));
        // Up to seven bytes behind the last box (QuickTime ends lists with four zeros) come along.
        let rest = parent.body.len() - walk_end(parent, &walk);
        out.extend(&parent.body[parent.body.len() - rest..]);
    });
    result
}

/// How far into the body a finished walk came.
fn walk_end(parent: &ChildBox<'_>, walk: &super::cursor::ChildBoxes<'_>) -> usize {
    parent.body.len() - walk.remaining()
}

/// Whether the samples of a track lie in other files, so that its offsets do not move (§8.7.2).
fn is_elsewhere(trak: &ChildBox<'_>) -> Result<bool, IsoError> {
    let references = nested(trak, &[b"mdia", b"minf", b"dinf", b"dref"]).map(|b| dref::read(&b)).unwrap_or_default();
    if references.iter().all(|is_here| *is_here) {
        return Ok(false);
    }
    if references.iter().any(|is_here| *is_here) {
        return Err(unmovable(*b"dref", "some samples of one track lie in this file and some in others"));
    }
    Ok(true)
}

/// The first box at a path inside a box.
fn nested<'a>(parent: &ChildBox<'a>, path: &[&[u8; 4]]) -> Option<ChildBox<'a>> {
    path.iter().try_fold(*parent, |found, name| children_of(&found).find(|b| b.fourcc.0 == **name))
}

fn move_chunks(table: &ChildBox<'_>, moved: &OffsetMap<'_>, out: &mut Vec<u8>) -> Result<(), IsoError> {
    let mut notes = DefectLog::default();
    let mut offsets = stco::read(table, &mut notes);
    if !notes.into_defects().is_empty() {
        return Err(IsoError::malformed(
            table.offset,
            format!("`{}` is shorter than its count (§8.7.5)", table.fourcc),
        ));
    }
    for offset in &mut offsets {
        *offset = moved(*offset);
    }
    if table.fourcc.0 == *b"co64" {
        stco::write_wide(out, &offsets);
    } else {
        stco::write(out, &offsets);
    }
    Ok(())
}

/// `saio` in a sample table (§8.7.9): absolute offsets, 32 bits in version 0, 64 in version 1.
fn move_auxiliary(table: &ChildBox<'_>, moved: &OffsetMap<'_>, out: &mut Vec<u8>) -> Result<(), IsoError> {
    let read =
        read_auxiliary(table).ok_or_else(|| IsoError::malformed(table.offset, "`saio` is too short (§8.7.9)"))?;
    let AuxiliaryInfo { version, flags, kind, offsets } = read;
    let offsets: Vec<u64> = offsets.into_iter().map(moved).collect();
    let version = version.max(version_for(&offsets));
    full_boxed(out, *b"saio", version, flags, |out| {
        out.extend(kind);
        put_count(out, offsets.len());
        for offset in offsets {
            put_wide(out, version, offset);
        }
    });
    Ok(())
}

struct AuxiliaryInfo<'a> {
    version: u8,
    flags: u32,
    kind: &'a [u8],
    offsets: Vec<u64>,
}

fn read_auxiliary<'a>(table: &ChildBox<'a>) -> Option<AuxiliaryInfo<'a>> {
    let mut cursor = ByteCursor::new(table.body);
    let (version, flags) = cursor.full()?;
    let kind = cursor.take(if flags & 1 == 0 { 0 } else { 8 })?;
    let count = usize::try_from(cursor.u32()?).ok()?;
    let entry_bytes = if version == 0 { 4 } else { 8 };
    (count <= cursor.remaining() / entry_bytes).then_some(())?;
    let offsets = (0..count).map_while(|_| cursor.wide(version)).collect();
    Some(AuxiliaryInfo { version, flags, kind, offsets })
}

/// Refuses `meta` boxes whose items lie at file offsets (§8.11.3); `found` is `meta`, or `udta` that may hold one.
pub(super) fn refuse_item_offsets(found: &ChildBox<'_>) -> Result<(), IsoError> {
    let metas = if found.fourcc.0 == *b"meta" { vec![*found] } else { children_of(found).collect() };
    for meta in metas.iter().filter(|m| m.fourcc.0 == *b"meta") {
        // A full box in ISO base media, a plain one in QuickTime.
        let nested = |skip: usize| children(meta.body.get(skip..).unwrap_or_default(), 0);
        if nested(4)
            .chain(nested(0))
            .filter(|b| b.fourcc.0 == *b"iloc")
            .any(|b| has_file_offsets(b.body).unwrap_or(true))
        {
            return Err(unmovable(*b"iloc", "its items lie at offsets of the file (construction method 0)"));
        }
    }
    Ok(())
}

/// Whether an item is located by construction method 0 in this file; `None` if the box is too short to say.
fn has_file_offsets(body: &[u8]) -> Option<bool> {
    let mut cursor = ByteCursor::new(body);
    let (version, _) = cursor.full()?;
    let [lengths, bases] = cursor.array()?;
    let index_bytes = if version == 0 { 0 } else { bases & 0xF };
    let extent_bytes = usize::from((lengths >> 4) + (lengths & 0xF) + index_bytes);
    let items = if version < 2 { u32::from(cursor.u16()?) } else { cursor.u32()? };
    for _ in 0..items {
        cursor.take(if version < 2 { 2 } else { 4 })?;
        let method = if version == 0 { 0 } else { cursor.u16()? & 0xF };
        let data_reference = cursor.u16()?;
        if method == 0 && data_reference == 0 {
            return Some(true);
        }
        cursor.take(usize::from(bases >> 4))?;
        let extents = usize::from(cursor.u16()?);
        cursor.take(extents * extent_bytes)?;
    }
    Some(false)
}

/// What lies behind `ftyp` and `moov` in a new front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontTail {
    /// A `free` box fills the rest and reaches over the first bytes of what follows (the old `ftyp`).
    Free {
        /// How many bytes behind the front it covers.
        covers_bytes: u64,
    },
    /// A `free` box fills the rest up to a 64-bit `mdat` header, and the `mdat` spans what follows.
    Media {
        /// How many bytes behind the front it spans.
        body_bytes: u64,
    },
}

/// Length of a `free` box without content.
pub(super) const FREE_BYTES: u64 = 8;
/// Length of an `mdat` header with a 64-bit size.
const MDAT_BYTES: u64 = 16;

/// Builds a front of exactly `size_bytes`: `ftyp`, `moov`, `free` and, if asked for, an `mdat` header at its end.
/// `None` if it does not fit so: the rest must be nothing, or room for a box.
pub fn front_header(ftyp: &[u8], moov: &[u8], size_bytes: u64, tail: FrontTail) -> Option<Vec<u8>> {
    let mut head = [ftyp, moov].concat();
    close_front(&mut head, size_bytes, tail).then_some(head)
}

/// Fills a front that begins with `ftyp` and `moov` up to exactly `size_bytes`; `false` leaves it as it is.
pub(super) fn close_front(head: &mut Vec<u8>, size_bytes: u64, tail: FrontTail) -> bool {
    let (reserved, covered) = match tail {
        FrontTail::Free { covers_bytes } => (0, covers_bytes),
        FrontTail::Media { .. } => (MDAT_BYTES, 0),
    };
    let Some(rest) = size_bytes.checked_sub(head.len() as u64 + reserved) else { return false };
    let is_free_needed = rest > 0 || covered > 0;
    let (Ok(length), Ok(end)) = (u32::try_from(rest + covered), usize::try_from(head.len() as u64 + rest)) else {
        return false;
    };
    if is_free_needed && rest < FREE_BYTES {
        return false;
    }
    if is_free_needed {
        put_u32(head, length);
        head.extend(*b"free");
        head.resize(end, 0);
    }
    if let FrontTail::Media { body_bytes } = tail {
        put_u32(head, 1);
        head.extend(*b"mdat");
        put_u64(head, MDAT_BYTES + body_bytes);
    }
    true
}

/// The least length that [`close_front`] accepts for a head of `head_bytes`.
pub(super) const fn least_front_bytes(head_bytes: u64, tail: FrontTail) -> u64 {
    match tail {
        FrontTail::Free { covers_bytes: 0 } => head_bytes,
        FrontTail::Free { .. } => head_bytes + FREE_BYTES,
        FrontTail::Media { .. } => head_bytes + MDAT_BYTES,
    }
}
