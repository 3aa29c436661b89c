//! Headers of which tables stay in the file: the same samples as those of the whole header.

use std::io::{Cursor, empty};

use super::synthetic::with_box;
use super::{fixture, made, read};
use crate::isobmff::{Layout, Movie, SparseMovie, top_level};

/// Compares what is read sparsely with what is read whole: tracks, numbers of samples, and samples at both ends.
pub(super) fn assert_same(file: &[u8], layout: &Layout, whole: &Movie) -> usize {
    const SOME: u64 = 60;
    let mut reader = Cursor::new(file);
    let sparse = SparseMovie::read(&mut reader, layout).unwrap();
    let expected = SparseMovie::of(whole.clone());
    assert_eq!(sparse.movie.tracks, expected.movie.tracks);
    assert_eq!(sparse.movie.is_encrypted(), whole.is_encrypted());
    for ((own, other), track) in sparse.samples.iter().zip(&expected.samples).zip(&whole.tracks) {
        let count = own.count();
        assert_eq!((count, other.count()), (track.tables.count_in_chunks(), count));
        let first: Vec<_> = track.samples().take(60).collect();
        assert_eq!(other.samples(0..SOME, &mut empty()).unwrap(), first);
        for numbers in [0..SOME, count / 2..count / 2 + SOME, count.saturating_sub(SOME)..count] {
            let found = own.samples(numbers.clone(), &mut reader).unwrap();
            assert_eq!(found, other.samples(numbers, &mut empty()).unwrap());
        }
    }
    sparse.samples.iter().filter(|samples| samples.reads_file()).count()
}

/// Compares a file with this header; says of how many tracks the file is read.
fn compare(moov: &[u8]) -> usize {
    let file = [b"\0\0\0\x10ftypisom\0\0\0\0".as_slice(), moov].concat();
    let layout = top_level(&mut Cursor::new(&file), file.len() as u64).unwrap();
    let movie = Movie::read(&mut Cursor::new(&file), &layout).unwrap();
    assert_same(&file, &layout, &movie)
}

#[test]
fn the_samples_are_those_of_the_whole_header() {
    let dir = tempfile::tempdir().unwrap();
    let all = made(dir.path(), "a.mov", &["-map", "0:v", "-map", "1:a", "-map", "2:a"]);
    let pcm = made(dir.path(), "b.mov", &["-map", "0:v", "-map", "1:a", "-c:a", "pcm_s16le"]);
    for (path, tracks) in [(fixture(), 2), (all, 3), (pcm, 2)] {
        let movie = read(&path).2;
        assert_eq!(compare(movie.raw()), tracks, "{}", path.display());
        assert_eq!(compare(&movie.to_moov(1 << 40).unwrap()), tracks, "co64, {}", path.display());
    }
}

#[test]
fn a_header_that_is_written_unusually_is_read_whole() {
    let moov = read(&fixture()).2.raw().to_vec();
    let table: &[&[u8; 4]] = &[b"trak", b"mdia", b"minf", b"stbl"];
    let constant = b"\0\0\0\x14stsz\0\0\0\0\0\0\0\x05\0\0\0\x03";
    for (at, addition, tracks) in [
        (&table[..0], &b"\0\0\0\x09freeX"[..], 2),
        (table, b"\0\0\0\x08free", 2),
        (table, constant, 0),
        (table, b"\0\0\0\x14stz2\0\0\0\0\0\0\0\x08\0\0\0\0", 0),
        (table, b"\0\0\0\x10co64\0\0\0\0\0\0\0\0", 0),
        (table, b"\0\0\0\x10stco\0\0\0\0\0\0\0\0", 0),
        (&table[..1], b"\0\0\0\x08mdia", 2),
        (&table[..0], b"\0\0\0\x08trak", 0),
        (&table[..0], b"\0\0\0\0", 0),
        (&table[..3], b"\0\0\0\0free", 0),
        (table, b"\0\0\xFF\0free", 0),
    ] {
        assert_eq!(compare(&with_box(&moov, at, addition)), tracks, "{}", addition.escape_ascii());
    }
}
