//! What belongs to all recordings in a file: which come behind the first, and what stands beside their tracks.
//!
//! Somebody appended one to the other, or a recorder opened the same name again. Each is read on its own, with its own header
//! and its own clock, and joined to the one before if its tracks are coded alike. Where they are not, it stays in the original.

use std::collections::VecDeque;

use super::Remux;
use super::layout::carries_chapters;
use super::track::RemuxTrack;
use crate::media::MediaError;
use crate::media::ffi::source::StreamFacts;
use crate::media::ffi::{Chapter, MediaSource, Packet, ProbeDepth};
use crate::recording::{Defect, counted};

/// The recordings that are still to be read, and what was found in those that are.
pub(super) struct NextRecordings {
    begins: VecDeque<u64>,
    /// The track of the first recording that each track of the present one belongs to; `None` in the first.
    map: Option<Vec<usize>>,
    /// By the clock of the first recording.
    chapters: Vec<Chapter>,
    programmes: usize,
    defects: Vec<Defect>,
}

impl NextRecordings {
    /// Those behind the first, which is open.
    pub(super) fn behind(first: &MediaSource, request: &Remux<'_>) -> Self {
        Self {
            begins: request.recordings.iter().copied().collect(),
            map: None,
            chapters: first.chapters(),
            programmes: first.programmes().len(),
            defects: Vec::new(),
        }
    }

    /// Opens the next one, if there is one whose tracks are those of the first.
    pub(super) fn open(
        &mut self,
        request: &Remux<'_>,
        tracks: &[RemuxTrack],
    ) -> Result<Option<(MediaSource, u64)>, MediaError> {
        let Some(begin) = self.begins.pop_front() else { return Ok(None) };
        let end = self.begins.front().copied().unwrap_or(u64::MAX);
        let opened = match MediaSource::open_part(request.source, request.from, ProbeDepth::Usual, begin..end) {
            Err(MediaError::NotReadable { .. }) => None,
            opened => Some(opened?),
        };
        let alike = opened.and_then(|source| Some((alike(tracks, &source.tracks())?, source)));
        let Some((map, source)) = alike else {
            self.begins.clear();
            let missing = format!("the recording with different parameters that begins at byte {begin}");
            self.defects.push(Defect::Truncated { missing });
            return Ok(None);
        };
        self.map = Some(map);
        Ok(Some((source, begin)))
    }

    /// Notes what a recording that was joined holds, whose clock is shifted by so many microseconds.
    pub(super) fn note_joined(&mut self, source: &MediaSource, begin: u64, shift_us: i64) {
        let detail = "another recording begins here; it is joined to the previous one".to_owned();
        self.defects.push(Defect::Malformed { offset: Some(begin), detail });
        let moved = |us: i64| us.saturating_add(shift_us);
        let shifted = |c: Chapter| Chapter { start_us: moved(c.start_us), end_us: moved(c.end_us), ..c };
        self.chapters.extend(source.chapters().into_iter().map(shifted));
    }

    /// Gives a packet the number of its track in the first recording; `false` for one that is there already: a cover.
    pub(super) fn map(&self, packet: &mut Packet, tracks: &[RemuxTrack]) -> bool {
        let Some(map) = &self.map else { return true };
        let track = map.get(packet.stream()).copied().unwrap_or(usize::MAX);
        packet.set_stream(track);
        tracks.get(track).is_none_or(|track| !track.facts.is_picture)
    }

    /// Chapters for the output, whose clock is zero at `zero_us`, and what it cannot carry of what stands beside the tracks.
    pub(super) fn beside_tracks(&mut self, request: &Remux<'_>, zero_us: i64) -> (Vec<Chapter>, Vec<Defect>) {
        let (mut chapters, mut defects) = (std::mem::take(&mut self.chapters), std::mem::take(&mut self.defects));
        let to = request.to.extension();
        if !(chapters.is_empty() || carries_chapters(request)) {
            let what = counted(chapters.len() as u64, "chapter");
            defects.push(Defect::ContentLeftOut { what, reason: format!("{to} cannot carry chapters") });
            chapters.clear();
        }
        for chapter in &mut chapters {
            chapter.start_us = chapter.start_us.saturating_sub(zero_us).max(0);
            chapter.end_us = chapter.end_us.saturating_sub(zero_us).max(chapter.start_us);
        }
        chapters.sort_by_key(|chapter| chapter.start_us);
        // The text track of an MP4 is read from its first sample on, wherever that is due.
        let first_us = chapters.first().map_or(0, |chapter| chapter.start_us);
        if request.to.is_iso() && first_us > 0 {
            chapters.insert(0, Chapter { start_us: 0, end_us: first_us, title: String::new() });
        }
        if self.programmes > 1 {
            let what = format!("the assignment of tracks to {} programs", self.programmes);
            let reason = format!("{to} cannot store it");
            defects.push(Defect::ContentLeftOut { what, reason });
        }
        (chapters, defects)
    }
}

/// For each track of another recording the one of the first that it goes on with; `None` if one is new or coded otherwise.
fn alike(tracks: &[RemuxTrack], others: &[StreamFacts]) -> Option<Vec<usize>> {
    let mut map: Vec<usize> = Vec::with_capacity(others.len());
    for other in others {
        let is_free = |track: &&RemuxTrack| !map.contains(&track.facts.index) && is_alike(&track.facts, other);
        let index = tracks.iter().find(is_free)?.facts.index;
        map.push(index);
    }
    Some(map)
}

fn is_alike(one: &StreamFacts, other: &StreamFacts) -> bool {
    (one.kind, &one.codec, &one.extradata, one.time_base)
        == (other.kind, &other.codec, &other.extradata, other.time_base)
        && (one.width, one.height) == (other.width, other.height)
        && (one.sample_rate_hz, one.channels) == (other.sample_rate_hz, other.channels)
        && (one.is_picture, &one.attached) == (other.is_picture, &other.attached)
}
