//! Where samples lie: inside the media, and as many as the tables say.

use std::ops::Range;

use super::MeasuredTrack;
use crate::isobmff::samples::Chunk;
use crate::isobmff::tables::stsz::SampleSizes;
use crate::isobmff::track::Track;
use crate::recording::Defect;

/// Defects of one track's sizes, chunks and offsets.
pub(super) fn defects(measured: &MeasuredTrack<'_>, number: u32, media: &[Range<u64>]) -> Vec<Defect> {
    let track = measured.track;
    let mut defects = table_defects(measured, number);
    if !track.is_external() {
        let unplaced = track.tables.count() - measured.placed;
        let samples = track.chunks().map(|c| outside(track, &c, media)).sum::<u64>() + unplaced;
        if samples > 0 {
            defects.push(Defect::SamplesOutside { track: number, samples });
        }
    }
    defects
}

fn table_defects(MeasuredTrack { track, placed, chunks, .. }: &MeasuredTrack<'_>, number: u32) -> Vec<Defect> {
    let tables = &track.tables;
    let malformed = |detail: String| Defect::Malformed { offset: None, detail: format!("track {number}: {detail}") };
    let mut defects = Vec::new();
    let declared = tables.count();
    if *placed < declared {
        defects.push(malformed(format!("`stsz` declares {declared} samples, chunks hold {placed} (§8.7.3, §8.7.4)")));
    }
    if *chunks < tables.chunk_offsets.len() {
        let unused = tables.chunk_offsets.len() - chunks;
        defects.push(malformed(format!("{unused} chunks hold no sample (§8.7.5)")));
    }
    if tables.chunk_runs.windows(2).any(|pair| pair[0].first_chunk >= pair[1].first_chunk) {
        defects.push(malformed("`stsc` is not in ascending order (§8.7.4)".into()));
    }
    let descriptions = track.descriptions.entries().len() as u64;
    if tables.chunk_runs.iter().any(|r| !(1..=descriptions).contains(&u64::from(r.description_index))) {
        defects.push(malformed("`stsc` names a sample description that `stsd` does not have (§8.7.4)".into()));
    }
    defects
}

/// How many samples of a chunk do not lie wholly inside one media range.
fn outside(track: &Track, chunk: &Chunk, media: &[Range<u64>]) -> u64 {
    if inside(chunk.offset, chunk.size_bytes, media) {
        return 0;
    }
    match &track.tables.sizes {
        SampleSizes::Constant { size_bytes, .. } => {
            let room = range_of(chunk.offset, media).map_or(0, |range| range.end - chunk.offset);
            u64::from(chunk.samples) - u64::from(chunk.samples).min(room / u64::from((*size_bytes).max(1)))
        }
        sizes @ SampleSizes::List(_) => {
            let mut at = chunk.offset;
            let mut count = 0;
            for index in chunk.first_sample..chunk.first_sample + u64::from(chunk.samples) {
                let size = u64::from(sizes.get(index));
                count += u64::from(!inside(at, size, media));
                at = at.saturating_add(size);
            }
            count
        }
    }
}

fn inside(offset: u64, size_bytes: u64, media: &[Range<u64>]) -> bool {
    range_of(offset, media).is_some_and(|range| offset.checked_add(size_bytes).is_some_and(|end| end <= range.end))
}

/// The media range that an offset lies in, its end included: a sample of no bytes may lie there.
fn range_of(offset: u64, media: &[Range<u64>]) -> Option<&Range<u64>> {
    let behind = media.partition_point(|range| range.start <= offset);
    media[..behind].last().filter(|range| offset <= range.end)
}
