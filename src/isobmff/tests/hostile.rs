//! Headers made to hurt.

use std::io::Cursor;

use proptest::prelude::*;

use super::synthetic::{Fragment, append_fragment, init, layout_of, track};
use super::{fixture, read};
use crate::isobmff::tables::stsc::ChunkRun;
use crate::isobmff::tables::stsz::SampleSizes;
use crate::isobmff::{FrontPlan, Movie, first_difference, fragment, relocated, top_level, validate};
use crate::recording::Defect;

/// Everything that reads a header, over bytes that may be anything.
fn exercise(file: &[u8]) {
    let mut reader = Cursor::new(file);
    let Ok(layout) = top_level(&mut reader, file.len() as u64) else { return };
    let _ = layout.media_ranges();
    let Ok(movie) = Movie::read(&mut reader, &layout) else { return };
    let _ = validate(&movie, &layout);
    let _ = relocated(movie.raw(), &|offset| offset.saturating_add(1 << 32));
    let _ = movie.to_moov(1 << 40);
    for track in &movie.tracks {
        let _ = track.samples().take(10_000).count();
    }
    let _ = FrontPlan::whole(&layout, &movie, b"", 4096);
    let _ = FrontPlan::compact(&layout, &movie, b"", 1);
    super::sparse::assert_same(file, &layout, &movie);
    let in_passing = fragment::top_level(&mut reader, file.len() as u64).unwrap().1;
    let found = fragment::read(&mut reader, &layout, movie);
    assert!(in_passing.is_none() || in_passing.as_ref() == found.as_ref().ok(), "read in passing");
    if let Ok(found) = found {
        let _ = validate(&found.movie, &layout);
        let _ = FrontPlan::spanning(&found.movie, b"", layout.len, 4096);
    }
}

fn header_of_the_fixture() -> Vec<u8> {
    read(&fixture()).2.raw().to_vec()
}

fn fragmented() -> Vec<u8> {
    let mut file = init(vec![track(1, 1), track(2, 2)]);
    let group = b"\0\0\0\x1Csbgp\0\0\0\0rap \0\0\0\x01\0\0\0\x02\0\0\0\0";
    for number in 0..4 {
        let samples = [(10, 40, 0), (20, 40, -40), (30, 40, 40)];
        let fragment = Fragment { track: number % 2 + 1, begins: 100, description: 1, samples: &samples, extra: group };
        append_fragment(&mut file, &fragment);
    }
    file
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((prop_oneof![0usize..2000, any::<usize>()], any::<u8>()), 1..12)) {
        let mut moov = header_of_the_fixture();
        for (at, byte) in changes {
            let len = moov.len();
            moov[at % len] = byte;
        }
        exercise(&moov);
    }

    /// Chunks just below 4 GiB: whether tables widen depends on the header's length, which depends on the tables.
    #[test]
    fn a_header_settles_at_the_length_its_offsets_were_moved_by(
        below in prop::collection::vec(0u64..20_000, 1..40),
        block in prop_oneof![Just(1u64), Just(512), Just(4096), Just(65_536)],
    ) {
        let offsets: Vec<u64> = below.iter().map(|below| u64::from(u32::MAX) - below).collect();
        let mut movie = Movie::new(1000);
        for (id, part) in (1..).zip(offsets.chunks(7)) {
            let mut chunked = track(id, 1);
            chunked.tables.chunk_offsets = part.to_vec();
            chunked.tables.chunk_runs = vec![ChunkRun { first_chunk: 1, samples_per_chunk: 1, description_index: 1 }];
            chunked.tables.sizes = SampleSizes::List(vec![1; part.len()]);
            movie.tracks.push(chunked);
        }
        let movie = Movie::from_moov(movie.to_moov(0).unwrap()).unwrap();
        let ftyp = b"\0\0\0\x10ftypisom\0\0\0\0";
        let layout = layout_of(&[&ftyp[..], b"\0\0\0\x08mdat"].concat());
        for plan in [FrontPlan::whole(&layout, &movie, ftyp, block), FrontPlan::spanning(&movie, ftyp, 24, block)] {
            let header = plan.unwrap().header;
            let front = header.len() as u64;
            prop_assert_eq!(front % block, 0);
            let moov = layout_of(&header).first(b"moov").copied().unwrap();
            let bytes = header[16..usize::try_from(moov.end()).unwrap()].to_vec();
            let moved = Movie::from_moov(bytes).unwrap();
            let places: Vec<u64> = moved.tracks.iter().flat_map(|t| &t.tables.chunk_offsets).copied().collect();
            prop_assert_eq!(places, offsets.iter().map(|offset| offset + front).collect::<Vec<_>>());
        }
    }

    #[test]
    fn bytes_of_chance_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        exercise(&bytes);
        let mut moov = u32::try_from(bytes.len() + 8).unwrap().to_be_bytes().to_vec();
        moov.extend(*b"moov");
        moov.extend(bytes);
        exercise(&moov);
    }

    #[test]
    fn a_header_cut_anywhere_never_panics(cut in 0usize..20_000) {
        let moov = header_of_the_fixture();
        exercise(&moov[..cut.min(moov.len())]);
    }

    #[test]
    fn changed_bytes_of_fragments_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut file = fragmented();
        for (at, byte) in changes {
            let len = file.len();
            file[at.index(len)] = byte;
        }
        exercise(&file);
    }
}

/// A fragment's header of many `trun`s that each claim every byte of the file, one sample a byte.
#[test]
fn samples_that_no_bytes_back_are_no_more_than_the_file_has_bytes() {
    let mut file = init(vec![track(1, 1)]);
    let trun = b"\0\0\0\x14trun\0\0\0\x01\xFF\xFF\xFF\xFF\0\0\0\0";
    let mut traf = b"\0\0\0\0traf\0\0\0\x14tfhd\0\x02\0\x10\0\0\0\x01\0\0\0\x01".to_vec();
    traf.extend(trun.repeat(50_000));
    let size = u32::try_from(traf.len()).unwrap();
    traf[..4].copy_from_slice(&size.to_be_bytes());
    file.extend((size + 8).to_be_bytes());
    file.extend(*b"moof");
    file.extend(traf);
    let layout = top_level(&mut Cursor::new(&file), file.len() as u64).unwrap();
    let movie = Movie::read(&mut Cursor::new(&file), &layout).unwrap();
    let found = fragment::read(&mut Cursor::new(&file), &layout, movie).unwrap();
    assert!(found.movie.tracks[0].tables.count() <= file.len() as u64);
    assert!(!validate(&found.movie, &layout).defects.is_empty());
}

/// Four billion samples of one byte in a header of a few hundred.
#[test]
fn claimed_counts_cost_nothing() {
    let mut huge = track(1, 1);
    huge.tables.sizes = SampleSizes::Constant { size_bytes: 1, count: u32::MAX };
    huge.tables.chunk_runs = vec![ChunkRun { first_chunk: 1, samples_per_chunk: u32::MAX, description_index: 1 }];
    huge.tables.chunk_offsets = vec![16; 20];
    let file = init(vec![huge]);
    exercise(&file);
    let layout = top_level(&mut Cursor::new(&file), file.len() as u64).unwrap();
    let movie = Movie::read(&mut Cursor::new(&file), &layout).unwrap();
    let samples = u64::from(u32::MAX);
    assert!(validate(&movie, &layout).defects.contains(&Defect::SamplesOutside { track: 1, samples }));
    assert_eq!(first_difference(&movie, &movie, &|offset| offset), None);
}
