//! What fragments do to a timeline, one trap each.

use std::io::Cursor;

use super::synthetic::{Fragment, append_fragment, init, layout_of, track};
use crate::isobmff::fragment::{self, FragmentedMovie};
use crate::isobmff::tables::elst::Edit;
use crate::isobmff::{FourCc, Movie, has_brand, validate};
use crate::recording::Defect;

const PLAIN: Fragment<'_> =
    Fragment { track: 1, begins: 0, description: 1, samples: &[(10, 40, 0), (10, 40, 0)], extra: &[] };

fn assembled(file: &[u8]) -> FragmentedMovie {
    let layout = layout_of(file);
    let mut reader = Cursor::new(file);
    let movie = Movie::read(&mut reader, &layout).unwrap();
    let found = fragment::read(&mut reader, &layout, movie).unwrap();
    let in_passing = fragment::top_level(&mut reader, file.len() as u64).unwrap();
    assert_eq!(in_passing, (layout, Some(found.clone())), "read in passing");
    found
}

fn file(tracks: Vec<crate::isobmff::Track>, fragments: &[Fragment<'_>]) -> Vec<u8> {
    let mut file = init(tracks);
    for fragment in fragments {
        append_fragment(&mut file, fragment);
    }
    file
}

fn times(movie: &Movie, track: usize) -> Vec<i64> {
    movie.tracks[track].samples().map(|s| s.dts).collect()
}

#[test]
fn a_gap_between_fragments_belongs_to_the_last_sample() {
    let file = file(vec![track(1, 1)], &[PLAIN, Fragment { begins: 500, ..PLAIN }]);
    let movie = assembled(&file).movie;
    assert_eq!(times(&movie, 0), [0, 40, 500, 540]);
    assert_eq!(movie.defects, []);
}

#[test]
fn an_overlap_shortens_what_came_before_and_is_said() {
    let file = file(vec![track(1, 1)], &[PLAIN, Fragment { begins: 70, ..PLAIN }]);
    let movie = assembled(&file).movie;
    assert_eq!(times(&movie, 0), [0, 40, 70, 110]);
    assert_eq!(movie.defects, [Defect::TimestampsRepaired { track: 1, packets: 1, worst_ms: 10 }]);
}

#[test]
fn an_overlap_that_is_rounding_is_no_defect() {
    let mut fine = track(1, 1);
    fine.media.timescale = 90_000;
    let samples = [(10, 3600, 0), (10, 3600, 0)];
    let fragment = |begins| Fragment { begins, samples: &samples, ..PLAIN };
    let movie = assembled(&file(vec![fine.clone()], &[fragment(0), fragment(7170), fragment(14_340)])).movie;
    assert_eq!((times(&movie, 0), movie.defects), (vec![0, 3600, 7170, 10_770, 14_340, 17_940], vec![]));
    let movie = assembled(&file(vec![fine], &[fragment(0), fragment(7110)])).movie;
    assert_eq!(movie.defects, [Defect::TimestampsRepaired { track: 1, packets: 1, worst_ms: 1 }]);
}

/// Fragments of 80 ms of each track, which begin at these times.
fn two_tracks(begins: &[(u64, u64)]) -> Movie {
    let fragments = begins.iter().flat_map(|(pictures, sound)| {
        [Fragment { begins: *pictures, ..PLAIN }, Fragment { track: 2, begins: *sound, ..PLAIN }]
    });
    assembled(&file(vec![track(1, 1), track(2, 1)], &fragments.collect::<Vec<_>>())).movie
}

#[test]
fn a_clock_that_starts_again_is_joined_and_the_tracks_keep_their_distance() {
    const HOUR: u64 = 3_600_000;
    let movie = two_tracks(&[(HOUR, HOUR + 10), (HOUR + 80, HOUR + 90), (0, 10), (80, 90)]);
    // In fragments of their own, the first waits for the end of the other.
    let joined = vec![0, 40, 80, 120, 170, 210, 250, 290];
    assert_eq!((times(&movie, 0), times(&movie, 1)), (joined.clone(), joined));
    assert_eq!(movie.tracks[1].edits, [Edit::empty(10), Edit::media(330, 0)]);
    let gaps: Vec<_> = [1, 2].map(|track| Defect::TimestampGap { track, at_ms: 160, length_ms: -3_600_160 }).into();
    assert_eq!(movie.defects, gaps);
    let forward = two_tracks(&[(0, 10), (80, 90), (HOUR * 400_000, HOUR * 400_000 + 10)]);
    assert_eq!((times(&forward, 0)[5], times(&forward, 1)[5], forward.header.duration), (210, 210, 260));
}

#[test]
fn a_pause_stays_and_one_that_is_taken_back_was_a_time_that_was_hit() {
    let movie = two_tracks(&[(0, 0), (80, 80), (60_000, 60_000), (60_080, 60_080)]);
    assert_eq!(times(&movie, 0), [0, 40, 80, 120, 60_000, 60_040, 60_080, 60_120]);
    assert_eq!(movie.defects, []);
    let hit = two_tracks(&[(0, 0), (80 + (1 << 22), 80), (160, 160), (240, 240)]);
    let even: Vec<i64> = (0..8).map(|n| n * 40).collect();
    assert_eq!((times(&hit, 0), times(&hit, 1)), (even.clone(), even));
    assert_eq!(hit.defects, [Defect::TimestampsRepaired { track: 1, packets: 2, worst_ms: 1 << 22 }]);
}

#[test]
fn a_composition_time_that_was_hit_does_not_stretch_the_recording() {
    let samples = [(10, 40, 80), (10, 40, 0x0200_0050), (10, 40, 40), (10, 40, i32::MIN)];
    let movie = assembled(&file(vec![track(1, 1)], &[Fragment { samples: &samples, ..PLAIN }])).movie;
    let offsets: Vec<i64> = movie.tracks[0].samples().map(|s| s.pts - s.dts).collect();
    assert_eq!(offsets, [80, 80, 40, 40]);
    assert!(movie.header.duration < 300, "{}", movie.header.duration);
    let [Defect::TimestampsRepaired { track: 1, packets: 2, .. }] = movie.defects[..] else {
        panic!("{:?}", movie.defects)
    };
}

#[test]
fn pictures_that_last_long_may_be_shown_as_much_later() {
    let samples = [(10, 5_000, 15_000), (10, 5_000, 0), (10, 5_000, -15_000)];
    let movie = assembled(&file(vec![track(1, 1)], &[Fragment { samples: &samples, ..PLAIN }])).movie;
    let offsets: Vec<i64> = movie.tracks[0].samples().map(|s| s.pts - s.dts).collect();
    assert_eq!((offsets, movie.defects.len()), (vec![15_000, 0, -15_000], 0));
}

#[test]
fn a_recording_that_begins_late_begins_at_zero_and_keeps_its_tracks_apart() {
    let late = [Fragment { begins: 90_000, ..PLAIN }, Fragment { track: 2, begins: 90_030, ..PLAIN }];
    let movie = assembled(&file(vec![track(1, 1), track(2, 1)], &late)).movie;
    assert_eq!((times(&movie, 0)[0], times(&movie, 1)[0]), (0, 0));
    assert_eq!(movie.tracks[0].edits, []);
    assert_eq!(movie.tracks[1].edits, [Edit::empty(30), Edit::media(80, 0)]);
    assert_eq!((movie.header.duration, movie.tracks[1].header.duration), (110, 110));
}

#[test]
fn an_open_edit_lasts_to_the_end_of_the_samples() {
    let mut delayed = track(1, 1);
    delayed.edits = vec![Edit::media(0, 40)];
    let samples = [(10, 40, 40), (10, 40, 120), (10, 40, 0)];
    let movie = assembled(&file(vec![delayed], &[Fragment { samples: &samples, ..PLAIN }])).movie;
    // The last composition time is 160, it lasts 40 ms, and the first 40 ms are not presented.
    assert_eq!(movie.tracks[0].edits, [Edit::media(160, 40)]);
    assert_eq!(movie.header.duration, 160);
}

#[test]
fn negative_composition_offsets_need_a_brand_that_knows_them() {
    let samples = [(10, 40, 0), (10, 40, 40), (10, 40, -40)];
    let movie = assembled(&file(vec![track(1, 1)], &[Fragment { samples: &samples, ..PLAIN }])).movie;
    assert!(has_brand(&movie.to_ftyp(&[]), FourCc(*b"iso4")));
    let plain = assembled(&file(vec![track(1, 1)], &[PLAIN])).movie;
    assert!(!has_brand(&plain.to_ftyp(&[]), FourCc(*b"iso4")));
    let again = Movie::from_moov(movie.to_moov(0).unwrap()).unwrap();
    assert_eq!(again.tracks[0].samples().map(|s| s.pts).collect::<Vec<_>>(), [0, 80, 40]);
}

#[test]
fn each_sample_keeps_its_description() {
    let movie = assembled(&file(vec![track(1, 2)], &[PLAIN, Fragment { begins: 80, description: 2, ..PLAIN }])).movie;
    assert_eq!(movie.tracks[0].samples().map(|s| s.description_index).collect::<Vec<_>>(), [1, 1, 2, 2]);
}

#[test]
fn encryption_boxes_in_a_fragment_keep_the_file_fragmented() {
    for extra in [b"\0\0\0\x08senc", b"\0\0\0\x08saiz"] {
        let fragmented = assembled(&file(vec![track(1, 1)], &[Fragment { extra, ..PLAIN }]));
        assert!(fragmented.stays_fragmented.is_some());
        assert!(fragmented.movie.is_encrypted());
    }
}

#[test]
fn a_header_written_from_fragments_announces_none() {
    let file = file(vec![track(1, 1)], &[PLAIN]);
    let movie = assembled(&file).movie;
    let again = Movie::from_moov(movie.to_moov(0).unwrap()).unwrap();
    assert!(!again.announces_fragments());
    assert_eq!(validate(&again, &layout_of(&file)).defects, []);
}

#[test]
fn a_fragment_of_a_track_that_is_not_there_is_said() {
    let movie = assembled(&file(vec![track(1, 1)], &[PLAIN, Fragment { track: 9, ..PLAIN }])).movie;
    assert!(matches!(movie.defects[..], [Defect::Malformed { .. }]));
    assert_eq!(times(&movie, 0).len(), 2);
}
