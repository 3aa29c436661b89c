//! A movie header that is in the file, but not where its boxes lead: the size of `mdat` was never filled in, is an old one, or
//! wrapped at 32 bits. Without it such a file would count as one whose writer died.
//!
//! Only the end of the file is looked through for what such a header holds, and further to the front only if something is there: a
//! crashed recording costs one read of a few megabytes. A header is believed if its samples lie in the media in front of it.

use std::io::{Read, Seek};
use std::ops::Range;

use super::boxes::{BoxHeader, FourCc, Layout, go_on, has_child, header_at, read_at};
use super::error::IsoError;
use super::movie::{Movie, header_limit_bytes};
use super::validate::validate;
use super::wrapped::unwrap_offsets;
use super::zeros::end_of_data_in;
use crate::recording::Defect;

/// How much of the end is looked through for a table of a header: the chunk offsets of a day that are its last box, and what stands
/// behind it.
const TAIL_BYTES: u64 = 8 << 20;
/// How much is read at a time where the beginning of the header is looked for.
const BLOCK_BYTES: u64 = 1 << 20;
/// Places that are looked at closer.
const MOST_PLACES: usize = 64;
/// Size of a `stco` or `co64` without entries (§8.7.5).
const EMPTY_TABLE_BYTES: u64 = 16;

/// The layout of a file whose boxes lead to no movie header, with the one that was found, and what is wrong; `None` if there is
/// none.
pub fn find<R: Read + Seek>(reader: &mut R, layout: &Layout) -> Result<Option<(Layout, Defect)>, IsoError> {
    let is_headless = layout.boxes.is_empty() && layout.garbage_at == Some(0);
    let has_media = is_headless || layout.first(b"mdat").is_some();
    if layout.movie_header().is_some() || layout.first(b"moof").is_some() || !has_media {
        return Ok(None);
    }
    let end = end_of_data_in(reader, &(0..layout.len))?;
    let Some(table) = last_table(reader, end, layout.len)? else { return Ok(None) };
    for moov in headers_around(reader, &table, layout.len)? {
        if let Some(found) = with_header(reader, layout, moov)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The last table of chunk offsets in the end of a file whose size and number of entries agree.
fn last_table<R: Read + Seek>(reader: &mut R, end: u64, len: u64) -> Result<Option<Range<u64>>, IsoError> {
    let start = end.saturating_sub(TAIL_BYTES);
    let mut tail = vec![0; usize::try_from(end - start).unwrap_or(0)];
    read_at(reader, start, &mut tail)?;
    let table = |at: usize| {
        let number = |from: usize| Some(u64::from(u32::from_be_bytes(*tail.get(from..)?.first_chunk()?)));
        let entry_bytes = match tail.get(at + 4..at + 8)? {
            b"stco" => 4,
            b"co64" => 8,
            _ => return None,
        };
        let (size, count) = (number(at)?, number(at + 12)?);
        let from = start + at as u64;
        (count > 0 && size == EMPTY_TABLE_BYTES + count * entry_bytes && from + size <= len)
            .then_some(from..from + size)
    };
    let mut names = tail.iter().enumerate().skip(4).rev().filter(|(_, byte)| **byte == b's' || **byte == b'c');
    Ok(names.find_map(|(at, _)| table(at - 4)))
}

/// Movie headers in which a table lies, the nearest first.
fn headers_around<R: Read + Seek>(reader: &mut R, table: &Range<u64>, len: u64) -> Result<Vec<BoxHeader>, IsoError> {
    let least = table.end.saturating_sub(header_limit_bytes());
    let mut found = Vec::new();
    let mut end = table.start;
    while end > least && found.len() < MOST_PLACES {
        crate::stop::check();
        let start = end.saturating_sub(BLOCK_BYTES).max(least);
        // A name may lie across the border.
        let mut block = vec![0; usize::try_from(table.start.min(end + 3) - start).unwrap_or(0)];
        read_at(reader, start, &mut block)?;
        let names = (0..block.len()).rev().filter(|at| block[*at..].starts_with(b"moov"));
        for at in names.filter_map(|at| (start + at as u64).checked_sub(4)).take(MOST_PLACES) {
            let moov = header_at(reader, at, len)?.filter(|moov| moov.end() >= table.end && moov.end() <= len);
            if let Some(moov) = moov.filter(|moov| moov.is(b"moov") && !moov.is_open_ended)
                && has_child(reader, &moov, *b"mvhd")?
            {
                found.push(moov);
            }
        }
        end = start;
    }
    Ok(found)
}

/// The layout with a header that was found, if that is the header of this file: it has samples, and all lie in its media.
fn with_header<R: Read + Seek>(
    reader: &mut R,
    layout: &Layout,
    moov: BoxHeader,
) -> Result<Option<(Layout, Defect)>, IsoError> {
    let before = layout.boxes.iter().filter(|b| b.body_offset() <= moov.offset);
    let mut boxes: Vec<BoxHeader> = before.copied().collect();
    // What stands behind the last `mdat` is media that looks like a box, or padding that changes nothing.
    boxes.truncate(boxes.iter().rposition(|b| b.is(b"mdat")).map_or(0, |last| last + 1));
    let declared = boxes.pop();
    let offset = declared.map_or(0, |b| b.offset);
    let mdat = BoxHeader {
        fourcc: FourCc(*b"mdat"),
        header_bytes: declared.map_or(8, |b| b.header_bytes),
        is_open_ended: false,
        offset,
        size_bytes: moov.offset - offset,
    };
    boxes.extend([mdat, moov]);
    let found = go_on(reader, Layout { boxes, ..layout.clone() }, |_, _| ())?;
    if found.announces_fragments {
        return Ok(None);
    }
    let mut movie = match Movie::read(reader, &found) {
        Ok(movie) => movie,
        Err(error @ IsoError::Io { .. }) => return Err(error),
        Err(_) => return Ok(None),
    };
    unwrap_offsets(reader, &found, &mut movie)?;
    let is_elsewhere = |d: &Defect| matches!(d, Defect::NoPackets | Defect::SamplesOutside { .. });
    let is_its_own = !validate(&movie, &found).defects.iter().any(is_elsewhere);
    Ok(is_its_own.then(|| (found, defect(declared.as_ref(), &moov))))
}

fn defect(mdat: Option<&BoxHeader>, moov: &BoxHeader) -> Defect {
    let detail = match mdat {
        None => format!("no box begins here; the movie header was found at byte {}", moov.offset),
        Some(mdat) if mdat.is_open_ended => {
            format!("the size of `mdat` was never written (§4.2); the movie header was found at byte {}", moov.offset)
        }
        Some(mdat) => format!(
            "`mdat` declares {} bytes (§4.2), which does not lead to the movie header at byte {}",
            mdat.size_bytes, moov.offset
        ),
    };
    Defect::Malformed { offset: Some(mdat.map_or(0, |mdat| mdat.offset)), detail }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::isobmff::boxes::{FileShape, top_level};
    use crate::isobmff::tests::made;

    fn found(file: &[u8]) -> Option<(Layout, Defect)> {
        let mut reader = Cursor::new(file);
        let layout = top_level(&mut reader, file.len() as u64).unwrap();
        find(&mut reader, &layout).unwrap()
    }

    /// A recording with its header behind its media, and where that begins.
    fn header_last() -> (Vec<u8>, usize) {
        let dir = tempfile::tempdir().unwrap();
        let bytes = std::fs::read(made(dir.path(), "x.mp4", &["-map", "0", "-map", "1"])).unwrap();
        let layout = top_level(&mut Cursor::new(&bytes), bytes.len() as u64).unwrap();
        assert_eq!(layout.shape(), FileShape::HeaderLast);
        (bytes, usize::try_from(layout.first(b"mdat").unwrap().offset).unwrap())
    }

    #[test]
    fn a_header_is_found_whatever_the_size_of_the_media_says() {
        let (whole, mdat) = header_last();
        let moov = top_level(&mut Cursor::new(&whole), whole.len() as u64).unwrap().movie_header().copied().unwrap();
        let declared = u32::from_be_bytes(*whole[mdat..].first_chunk().unwrap());
        for size in [0, 8, 20_000, declared - 7, declared + 5, declared + 1000, u32::MAX] {
            for behind in [&b""[..], &[0; 3000], b"\0\0\0\x08free"] {
                let mut file = [&whole, behind].concat();
                file[mdat..mdat + 4].copy_from_slice(&size.to_be_bytes());
                let (layout, defect) = found(&file).unwrap_or_else(|| panic!("{size} {}", behind.len()));
                assert_eq!((layout.shape(), layout.movie_header()), (FileShape::HeaderLast, Some(&moov)), "{size}");
                assert!(!defect.leaves_something_out() && defect.to_string().contains(&moov.offset.to_string()));
            }
        }
    }

    #[test]
    fn a_header_of_another_file_is_none() {
        let (whole, mdat) = header_last();
        let mut file = whole.clone();
        file[mdat..mdat + 4].fill(0);
        assert!(found(&file).is_some());
        let cut = [&file[..mdat + 5000], &file[mdat + 9000..]].concat();
        assert_eq!(found(&cut), None, "its samples lie behind it");
        assert_eq!(found(&file[..file.len() - 30]), None, "torn");
        assert_eq!(found(&whole), None, "it is where the boxes lead");
    }
}
