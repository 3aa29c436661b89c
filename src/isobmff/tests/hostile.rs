//! Headers made to hurt.

use std::io::Cursor;

use proptest::prelude::*;

use super::synthetic::{Fragment, append_fragment, init, track};
use super::{fixture, read};
use crate::isobmff::{FrontPlan, Movie, fragment, relocated, top_level, validate};

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
    if let Ok(found) = fragment::read(&mut reader, &layout, movie) {
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
    fn changed_bytes_never_panic(changes in prop::collection::vec((0usize..2000, any::<u8>()), 1..12)) {
        let mut moov = header_of_the_fixture();
        for (at, byte) in changes {
            let len = moov.len();
            moov[at % len] = byte;
        }
        exercise(&moov);
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
