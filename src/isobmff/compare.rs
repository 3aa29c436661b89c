//! Whether two headers say the same of the same media (promise 2).

use super::movie::Movie;
use super::place::OffsetMap;
use super::samples::{Sample, SampleTables};
use super::track::Track;

/// The first difference in words between a movie and the same movie after its header moved, or `None`.
///
/// Compared are tracks, codecs, clocks, presentation, and of every sample its place (`moved` says where a byte of the
/// old file lies in the new one), size, times, sync flag and description.
pub fn first_difference(before: &Movie, after: &Movie, moved: &OffsetMap<'_>) -> Option<String> {
    if before.tracks.len() != after.tracks.len() {
        return Some(format!("expected {} tracks, found {}", before.tracks.len(), after.tracks.len()));
    }
    let (old_timescale, new_timescale) = (before.header.timescale, after.header.timescale);
    let pairs = (1..).zip(before.tracks.iter().zip(&after.tracks));
    pairs.into_iter().find_map(|(number, (old, new))| {
        let said = track_difference(old, new)
            .or_else(|| {
                moved_presentation(old.presentation_shift(old_timescale), new.presentation_shift(new_timescale))
            })
            .or_else(|| sample_difference(old, new, moved))?;
        Some(format!("track {number}: {said}"))
    })
}

fn track_difference(old: &Track, new: &Track) -> Option<String> {
    if old.handler != new.handler || old.descriptions != new.descriptions {
        return Some("its kind or its sample descriptions changed".into());
    }
    if old.timescale() != new.timescale() {
        return Some(format!("its timescale changed from {} to {}", old.timescale(), new.timescale()));
    }
    None
}

fn moved_presentation(from: i64, to: i64) -> Option<String> {
    (from != to).then(|| format!("its presentation moved from {from} to {to} ticks"))
}

fn sample_difference(old: &Track, new: &Track, moved: &OffsetMap<'_>) -> Option<String> {
    if old.tables.count() != new.tables.count() {
        return Some(format!("expected {} samples, found {}", old.tables.count(), new.tables.count()));
    }
    let is_external = old.is_external();
    let place = |offset| if is_external { offset } else { moved(offset) };
    if has_same_tables(&old.tables, &new.tables, &place) {
        return None;
    }
    let (mut old_samples, mut new_samples) = (old.samples(), new.samples());
    for number in 1_u64.. {
        let expected = old_samples.next().map(|s| Sample { offset: place(s.offset), ..s });
        let found = new_samples.next();
        if expected != found {
            return Some(format!("sample {number} is {found:?}, not {expected:?}"));
        }
        if expected.is_none() {
            break;
        }
    }
    None
}

/// Whether all tables are equal but for the chunks' places: then so is every sample, and none needs to be looked at.
fn has_same_tables(old: &SampleTables, new: &SampleTables, place: &OffsetMap<'_>) -> bool {
    let SampleTables { durations, compositions, chunk_runs, sizes, chunk_offsets, sync, dependencies } = old;
    let is_placed = |(old, new): (&u64, &u64)| place(*old) == *new;
    (durations, compositions, chunk_runs) == (&new.durations, &new.compositions, &new.chunk_runs)
        && (sizes, sync, dependencies) == (&new.sizes, &new.sync, &new.dependencies)
        && chunk_offsets.len() == new.chunk_offsets.len()
        && chunk_offsets.iter().zip(&new.chunk_offsets).all(is_placed)
}
