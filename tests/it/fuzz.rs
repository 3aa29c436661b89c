//! The fuzz targets of tests/fuzz over small recordings, what fuzzing has found before, and changed copies of them: a smoke
//! run of what `scripts/fuzz` does for long.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::recordings::{made, without_moov};

#[path = "../fuzz/targets.rs"]
mod targets;

type Target = fn(&[u8]);

/// Where a cut of a splice was, in front of the recording: see [`targets::in_place`].
const CUTS: [[u8; 8]; 5] = [
    [0, 0, 0, 0, 7, 0, 0, 0],
    [0, 1, 1, 0, 7, 0, 0, 0],
    [3, 1, 0, 0, 7, 0, 0, 0],
    [0, 2, 3, 1, 7, 0, 0, 0],
    [2, 0, 0, 1, 7, 0, 0, 0],
];

fn seeds() -> Vec<Vec<u8>> {
    let recipes = ["mp4", "mp4-faststart", "mp4-fragmented", "mp4-h265"];
    let whole = recipes.map(|recipe| made(recipe, 1));
    let crashed = without_moov(&whole[0]);
    whole.iter().chain([&crashed]).map(|path| fs::read(path).unwrap()).collect()
}

/// A recording of each recipe as [`targets::walk`] takes it: its header, then what a crash left of it.
fn with_references(recipes: &[&str]) -> Vec<Vec<u8>> {
    let parts = |recipe: &&str| {
        let whole = made(recipe, 1);
        behind(&fs::read(&whole).unwrap(), &fs::read(without_moov(&whole)).unwrap())
    };
    recipes.iter().map(parts).collect()
}

fn behind(reference: &[u8], media: &[u8]) -> Vec<u8> {
    [&u32::try_from(reference.len()).unwrap().to_be_bytes(), reference, media].concat()
}

/// The media of a recording without its boxes.
fn media_of(recipe: &str) -> Vec<u8> {
    let bytes = fs::read(made(recipe, 1)).unwrap();
    let body = bytes.windows(4).position(|name| name == b"mdat").unwrap() + 4;
    bytes[body..].to_vec()
}

/// Inputs that once made a target fail, each kept.
fn findings(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/findings").join(target);
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A generator of numbers that are the same in every run (splitmix64).
pub struct Numbers(pub u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) >> 1).unwrap() % below.max(1)
    }
}

/// A copy with a few bytes changed, cut out or doubled; most of them at the beginning or the end, where headers lie.
pub fn changed(seed: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.next(6) {
        let len = bytes.len();
        let near = numbers.next(len.min(1500));
        let at = [near, len - 1 - near, numbers.next(len)][numbers.next(3)];
        match numbers.next(6) {
            0 => bytes.truncate(at.max(1)),
            1 => drop(bytes.drain(at..len.min(at + 1 + numbers.next(64)))),
            2 => bytes.splice(at..at, seed[at.min(seed.len())..].iter().take(64).copied()).for_each(drop),
            3 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][numbers.next(5)],
            _ => bytes[at] ^= 1 << numbers.next(8),
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    bytes
}

fn run(name: &str, target: Target, seeds: &[Vec<u8>], changes: usize) {
    for finding in findings(name) {
        target(&finding);
    }
    let mut numbers = Numbers(1);
    for seed in seeds {
        target(seed);
        for _ in 0..changes {
            target(&changed(seed, &mut numbers));
        }
    }
}

#[test]
fn boxes_of_any_bytes_end_well() {
    run("boxes", targets::boxes, &seeds(), 2000);
}

#[test]
fn a_movie_of_any_bytes_ends_well_and_a_sound_one_comes_through() {
    run("movie", targets::movie, &seeds(), 150);
}

#[test]
fn tables_over_any_tags_stay_inside_the_file() {
    run("flv", targets::flv, &[fs::read(made("flv", 1)).unwrap()], 2000);
}

#[test]
fn any_state_of_a_splice_is_mended_or_left_alone() {
    let seeds: Vec<_> = seeds().iter().flat_map(|seed| CUTS.map(|cut| [&cut[..], seed].concat())).collect();
    run("in_place", targets::in_place, &seeds, 3);
}

#[test]
fn salvage_of_any_bytes_ends_well_and_stays_inside_the_file() {
    run("salvage", targets::salvage, &seeds(), 2);
}

#[test]
fn media_of_any_codec_is_walked_to_its_end() {
    let recipes = [
        "mp4",
        "mp4-h265",
        "mp4-inband",
        "mp4-mp3",
        "mp4-ac3",
        "mp4-eac3",
        "mp4-mpeg4",
        "mp4-av1",
        "mp4-mjpeg",
        "mp4-flac",
    ];
    run("walk", targets::walk, &with_references(&recipes), 1);
}

#[test]
fn packets_without_a_length_are_walked_to_their_end() {
    run("unframed", targets::walk, &with_references(&["mp4-opus", "mov-pcm", "mov-mjpeg", "mov-prores"]), 1);
}

#[test]
fn fragments_without_headers_are_walked_to_their_end() {
    let whole = fs::read(made("mp4-fragmented", 1)).unwrap();
    let first = whole.windows(4).position(|name| name == b"moof").unwrap();
    let mut hit = whole.clone();
    hit[first..first + 4].fill(0);
    let seeds = [behind(&whole, &whole[first - 4..]), behind(&whole, &hit)];
    run("fragments", targets::walk, &seeds, 4);
}

#[test]
fn beginnings_that_are_lost_are_given_back_in_bounds() {
    let seed = |(kind, recipe): (u8, &str)| {
        let whole = fs::read(made(recipe, 1)).unwrap();
        let lost = [&[0; 400], &whole[400..]].concat();
        [&[kind][..], &behind(&whole, &lost)].concat()
    };
    let seeds: Vec<_> = [(0, "mkv"), (1, "webm-vp9"), (2, "flv")].map(seed).into();
    run("heads", targets::heads, &seeds, 40);
}

#[test]
fn units_of_any_bytes_are_read_in_bounds() {
    run("avc", targets::elements::avc, &[media_of("mp4"), media_of("mp4-inband")], 40);
    run("hevc", targets::elements::hevc, &[media_of("mp4-h265")], 40);
    run("visual", targets::elements::visual, &[media_of("mp4-mpeg4")], 40);
    run("av1", targets::elements::av1, &["mp4-av1", "mp4-av1-hidden"].map(media_of), 40);
}

#[test]
fn frames_of_any_bytes_end_where_they_end() {
    let aac = [&[1, 1][..], &media_of("mp4")].concat();
    run("aac", targets::elements::aac, &[aac], 20);
    run("flac", targets::elements::flac, &[[&[0, 15][..], &media_of("mp4-flac")].concat()], 20);
    run("intra", targets::elements::intra, &["mov-mjpeg", "mov-prores"].map(media_of), 2);
    run("framed", targets::elements::framed, &["mp4-mp3", "mp4-ac3", "mp4-eac3"].map(media_of), 20);
}
