//! Headers made to hurt.

use std::io::Cursor;

use proptest::prelude::*;

use super::{fixture, read};
use crate::isobmff::{Movie, relocated, top_level, validate};

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
}

fn header_of_the_fixture() -> Vec<u8> {
    read(&fixture()).2.raw().to_vec()
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
}
