//! `mfra`: where a writer that ended in order says that its fragments lie (ISO/IEC 14496-12 §8.8.9 to §8.8.11).
//!
//! Nothing is believed because of it. Fragments are found by walking from box to box, one read after the other; who knows the
//! places beforehand can have the disk fetch them all at once.

use std::io::{Read, Seek, SeekFrom};

use crate::isobmff::cursor::{ByteCursor, ChildBox, children, children_of};
use crate::isobmff::movie::MAX_TRACKS;

/// Length of an `mfro` box, the last of a file with an index.
const MFRO_BYTES: usize = 16;
/// Largest index that is read: an hour has 100 KiB at a fragment a second and two tracks.
const MAX_INDEX_BYTES: u64 = 16 << 20;

/// Byte offsets of the fragments that the index at the end of a file of so many bytes names, ascending, each once; empty
/// where there is no index or it makes no sense.
pub fn indexed_places<R: Read + Seek>(reader: &mut R, file_bytes: u64) -> Vec<u64> {
    let mut places = read_index(reader, file_bytes).map(|index| places_of(&index)).unwrap_or_default();
    places.retain(|offset| *offset < file_bytes);
    places.sort_unstable();
    places.dedup();
    places
}

fn read_index<R: Read + Seek>(reader: &mut R, file_bytes: u64) -> Option<Vec<u8>> {
    let mut end = [0; MFRO_BYTES];
    read_last(reader, file_bytes, &mut end)?;
    let mut cursor = ByteCursor::new(&end);
    if cursor.u32()? != 16 || cursor.array()? != *b"mfro" {
        return None;
    }
    cursor.full()?;
    let size = u64::from(cursor.u32()?);
    let mut index = vec![0; usize::try_from(size).ok().filter(|_| size <= MAX_INDEX_BYTES)?];
    read_last(reader, file_bytes, &mut index)?;
    Some(index)
}

fn read_last<R: Read + Seek>(reader: &mut R, file_bytes: u64, into: &mut [u8]) -> Option<()> {
    reader.seek(SeekFrom::Start(file_bytes.checked_sub(into.len() as u64)?)).ok()?;
    reader.read_exact(into).ok()
}

fn places_of(index: &[u8]) -> Vec<u64> {
    let mfra = children(index, 0).next().filter(|b| b.fourcc.0 == *b"mfra" && !b.is_torn);
    let tracks = mfra.iter().flat_map(children_of).filter(|b| b.fourcc.0 == *b"tfra").take(MAX_TRACKS);
    tracks.flat_map(|tfra| places_of_track(&tfra).unwrap_or_default()).collect()
}

/// The `moof` offset of each entry of a `tfra` (§8.8.10), as far as its bytes go.
fn places_of_track(tfra: &ChildBox<'_>) -> Option<Vec<u64>> {
    let mut cursor = ByteCursor::new(tfra.body);
    let (version, _) = cursor.full()?;
    cursor.u32()?;
    let lengths = cursor.u32()?;
    let count = cursor.u32()?;
    let numbers_bytes: usize = [4, 2, 0].iter().map(|shift| (lengths >> shift & 3) as usize + 1).sum();
    let entry_bytes = if version == 0 { 8 } else { 16 } + numbers_bytes;
    let count = (cursor.remaining() / entry_bytes).min(usize::try_from(count).unwrap_or(usize::MAX));
    let entry = |_| {
        cursor.wide(version)?;
        let offset = cursor.wide(version);
        cursor.take(numbers_bytes)?;
        offset
    };
    (0..count).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor as Bytes;

    use super::*;
    use crate::isobmff::{FileShape, top_level};

    fn recording() -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sample_MP4_480.mp4");
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("x.mp4");
        let mut command = std::process::Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-i"]).arg(path);
        command.args(["-c", "copy", "-movflags", "frag_keyframe+empty_moov"]).arg(&made);
        assert!(command.status().unwrap().success());
        std::fs::read(made).unwrap()
    }

    #[test]
    fn the_index_names_every_fragment_and_a_broken_one_none_that_the_file_has_not() {
        let mut bytes = recording();
        let len = bytes.len() as u64;
        let layout = top_level(&mut Bytes::new(&bytes), len).unwrap();
        assert_eq!(layout.shape(), FileShape::Fragmented);
        let expected: Vec<u64> = layout.all(b"moof").map(|b| b.offset).collect();
        assert!(expected.len() > 1);
        assert_eq!(indexed_places(&mut Bytes::new(&bytes), len), expected);
        assert_eq!(indexed_places(&mut Bytes::new(&bytes[..bytes.len() - 1]), len - 1), Vec::<u64>::new());
        let at = usize::try_from(layout.first(b"mfra").unwrap().offset).unwrap();
        for byte in at..bytes.len() {
            for value in [0, 0xFF] {
                let old = std::mem::replace(&mut bytes[byte], value);
                let places = indexed_places(&mut Bytes::new(&bytes), len);
                assert!(places.iter().all(|offset| *offset < len) && places.len() <= 2 * expected.len());
                bytes[byte] = old;
            }
        }
    }
}
