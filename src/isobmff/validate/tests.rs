//! Each contradiction is found and named.

use super::*;
use crate::isobmff::boxes::top_level;
use crate::isobmff::tables::runs::{ValueRun, ValueRuns};
use crate::isobmff::tables::stsc::ChunkRun;
use crate::isobmff::tables::stsz::SampleSizes;
use crate::isobmff::{FourCc, Track};

/// Bytes of media in the file that the movies below are judged against: 16 to 116.
fn layout() -> Layout {
    let mut file = b"\0\0\0\x08free\0\0\0\x6Cmdat".to_vec();
    file.resize(116, 7);
    top_level(&mut std::io::Cursor::new(&file), 116).unwrap()
}

/// Four video samples of ten bytes each, at 20.
fn movie(change: impl FnOnce(&mut Track)) -> Movie {
    let stsd = b"\0\0\0\x18stsd\0\0\0\0\0\0\0\x01\0\0\0\x08avc1";
    let mut track = Track::new(1, FourCc(*b"vide"), 1000, stsd, (16, 16)).unwrap();
    track.tables.durations = ValueRuns::new(vec![ValueRun { count: 4, value: 40 }]);
    track.tables.sizes = SampleSizes::List(vec![10; 4]);
    track.tables.chunk_runs = vec![ChunkRun { first_chunk: 1, samples_per_chunk: 4, description_index: 1 }];
    track.tables.chunk_offsets = vec![20];
    change(&mut track);
    let mut movie = Movie::new(1000);
    movie.header.duration = 160;
    movie.tracks.push(track);
    // Judged as it comes back from its own bytes.
    let mut again = Movie::from_moov(movie.to_moov(0).unwrap()).unwrap();
    again.raw.clear();
    again
}

/// The defects in words, without those that the tiny file has anyway.
fn found(change: impl FnOnce(&mut Track)) -> Vec<String> {
    let defects = validate(&movie(change), &layout()).defects.into_iter();
    defects.filter(|d| *d != Defect::NoMovieHeader).map(|d| d.to_string()).collect()
}

fn assert_found(change: impl FnOnce(&mut Track), words: &str) {
    let found = found(change);
    assert!(found.iter().any(|defect| defect.contains(words)), "`{words}` is not in {found:?}");
}

#[test]
fn a_sound_movie_has_no_defect() {
    assert_eq!(found(|_| {}), [""; 0]);
}

#[test]
fn samples_outside_the_media_are_counted() {
    assert_found(|t| t.tables.chunk_offsets = vec![96], "2 samples outside");
    assert_found(|t| t.tables.chunk_offsets = vec![u64::MAX - 5], "4 samples outside");
    assert_found(|t| t.tables.chunk_offsets = vec![4], "2 samples outside");
    let constant = |t: &mut Track| {
        t.tables.sizes = SampleSizes::Constant { size_bytes: 1, count: u32::MAX };
        t.tables.chunk_runs[0].samples_per_chunk = u32::MAX;
    };
    assert_found(constant, &format!("{} samples outside", u32::MAX - 96));
    assert_found(|t| t.tables.chunk_runs[0].samples_per_chunk = 3, "1 sample outside");
}

#[test]
fn tables_that_disagree_are_named_with_their_clause() {
    assert_found(|t| t.tables.durations.push(40), "`stts` times 5 samples of 4 (§8.6.1.2)");
    assert_found(
        |t| t.tables.compositions = Some(ValueRuns::new(vec![ValueRun { count: 3, value: 0 }])),
        "`ctts` composes 3",
    );
    assert_found(|t| t.tables.sync = Some(vec![1, 5]), "`stss` names a sample that does not exist");
    assert_found(|t| t.tables.sync = Some(vec![3, 1]), "`stss` is not in ascending order");
    assert_found(|t| t.tables.chunk_offsets.push(60), "1 chunks hold no sample");
    assert_found(|t| t.tables.chunk_runs[0].description_index = 2, "`stsc` names a sample description");
    assert_found(|t| t.media.duration = 5000, "`mdhd` says 5000 ms, `stts` 160 ms");
}

#[test]
fn times_that_make_no_sense_are_found() {
    let jump = vec![ValueRun { count: 3, value: 40 }, ValueRun { count: 1, value: 9000 }];
    assert_found(|t| t.tables.durations = ValueRuns::new(jump.clone()), "gap of 8960 ms at 120 ms");
    assert_found(|t| t.tables.durations = ValueRuns::new(jump), "duration mismatch: container 160 ms, samples 9120 ms");
    assert_found(|t| t.tables.sync = Some(Vec::new()), "no keyframe");
    let empty = |t: &mut Track| t.tables = crate::isobmff::SampleTables::default();
    assert_found(empty, "no packets");
}
