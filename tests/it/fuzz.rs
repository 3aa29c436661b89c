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

/// Inputs that once made a target fail, each kept.
fn findings(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/findings").join(target);
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A generator of numbers that are the same in every run (splitmix64).
struct Numbers(u64);

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
fn changed(seed: &[u8], numbers: &mut Numbers) -> Vec<u8> {
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
fn any_state_of_a_splice_is_mended_or_left_alone() {
    let seeds: Vec<_> = seeds().iter().flat_map(|seed| CUTS.map(|cut| [&cut[..], seed].concat())).collect();
    run("in_place", targets::in_place, &seeds, 3);
}

#[test]
fn salvage_of_any_bytes_ends_well_and_stays_inside_the_file() {
    run("salvage", targets::salvage, &seeds(), 2);
}
