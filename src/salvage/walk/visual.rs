//! Pictures without a length: MPEG-4 Visual. One ends at the next start code, or where the frames of sound begin that
//! lead to it without a gap.

use std::collections::HashMap;
use std::io::{Read, Seek};
use std::ops::Range;

use super::{RESUME_CHAIN, Walker};
use crate::salvage::element::LOOK_BYTES;
use crate::salvage::nal::{Standard, visual};
use crate::salvage::source::MAX_WANTED_BYTES;

/// Largest picture with the sound behind it.
const MOST_BYTES: u64 = 8 << 20;
/// How far back from a start code the sound in front of it is looked for.
const SOUND_BYTES: u64 = 48 << 10;

/// How unlikely a frame of sound too many or too few is, in nats.
const MISCOUNT_NATS: f64 = 24.0;
/// How unlikely a frame of e times the usual length is, in nats.
const LENGTH_NATS: f64 = 6.0;

/// No length is more unlikely: silence is as short as it can be.
const MOST_LENGTH_NATS: f64 = 6.0;

/// Frames that lead to a start code.
#[derive(Debug, Clone, Copy)]
struct FrameLead {
    cost: f64,
    frames: u32,
}

/// What the frames of sound so far began with, and how long they were.
#[derive(Debug, Clone)]
pub(super) struct AudioHabits {
    first: [u32; 256],
    second: [u32; 256],
    frames: u32,
    bytes: u64,
}

impl Default for AudioHabits {
    fn default() -> Self {
        Self { first: [0; 256], second: [0; 256], frames: 0, bytes: 0 }
    }
}

impl AudioHabits {
    /// Counts a frame by its first bytes.
    pub(super) fn count(&mut self, bytes: &[u8], length: u64) {
        if let [first, second, ..] = *bytes {
            self.first[usize::from(first)] += 1;
            self.second[usize::from(second)] += 1;
            self.frames += 1;
            self.bytes += length;
        }
    }

    /// How unlike the others a frame is, in nats.
    fn unlikely(&self, bytes: &[u8], length: u64) -> f64 {
        let total = f64::from(self.frames) + 16.0;
        let share = |counts: &[u32; 256], byte: u8| (f64::from(counts[usize::from(byte)]) + 1.0 / 8.0) / total;
        let [first, second, ..] = *bytes else { return 0.0 };
        #[expect(clippy::cast_precision_loss, reason = "means of lengths")]
        let usual = (self.bytes as f64 + 1.0) / f64::from(self.frames.max(1));
        #[expect(clippy::cast_precision_loss, reason = "a frame has at most some thousand bytes")]
        let away = if self.frames < 8 { 0.0 } else { (length as f64).ln() - usual.ln() };
        -share(&self.first, first).ln() - share(&self.second, second).ln()
            + (away.abs() * LENGTH_NATS).min(MOST_LENGTH_NATS)
    }
}

impl<R: Read + Seek> Walker<'_, R> {
    /// Whether what stands here needs nothing behind it to be believed: a start code, which no picture can contain, or a whole
    /// picture.
    pub(super) fn is_proof(&mut self, at: u64) -> bool {
        match self.video.map(|video| video.standard) {
            Some(Standard::Visual) => visual::begins(self.source.at(at, LOOK_BYTES)),
            Some(standard) if standard.is_intra() => self.parse(0, at).is_some(),
            _ => false,
        }
    }

    /// The end of the picture at a place; `None` if none begins there, or if the end of the media cuts it off.
    pub(super) fn visual_end(&mut self, at: u64) -> Option<u64> {
        let picture = visual::picture_at(self.source.at(at, LOOK_BYTES))? as u64 + at;
        let limit = self.limit.min(picture.saturating_add(MOST_BYTES));
        let seam = self.source.until_seam(at, limit);
        match self.next_code(picture + 4, seam) {
            Some(code) => Some(self.sound_before(picture + 5, code).unwrap_or(code)),
            None if seam < limit => Some(self.sound_before(picture + 5, seam).unwrap_or(seam)),
            None => Some(self.find_sound(picture + 5, limit)).filter(|end| *end < limit),
        }
    }

    fn next_code(&mut self, from: u64, limit: u64) -> Option<u64> {
        let mut at = from;
        while at < limit {
            let bytes = self.source.at(at, MAX_WANTED_BYTES);
            let seen = bytes.len().min(usize::try_from(limit - at).unwrap_or(usize::MAX));
            let mut place = 0;
            while let Some(code) = visual::next_code(&bytes[..seen], place) {
                if visual::begins(&bytes[code..]) {
                    return Some(at + code as u64);
                }
                place = code + 3;
            }
            // A code may lie across the end of what was seen.
            at += (seen as u64).saturating_sub(3).max(1);
        }
        None
    }

    /// The place from which frames of sound lead to `end` without a gap, as many and such as are likely.
    fn sound_before(&mut self, from: u64, end: u64) -> Option<u64> {
        let from = from.max(end.saturating_sub(SOUND_BYTES));
        let due = self.frames_due();
        let mut leading: HashMap<u64, FrameLead> = HashMap::from([(end, FrameLead { cost: 0.0, frames: 0 })]);
        let mut best: Option<(f64, u64)> = None;
        for at in (from..end).rev() {
            let bytes = self.source.at(at, LOOK_BYTES);
            let bytes = &bytes[..bytes.len().min(usize::try_from(end - at).unwrap_or(usize::MAX))];
            let lengths = self.sounds.iter().filter(|sound| sound.may_begin(bytes)).filter_map(|s| s.frame(bytes));
            let leads = lengths.filter_map(|length| {
                let behind = leading.get(&(at + length))?;
                Some(FrameLead { cost: behind.cost + self.habits.unlikely(bytes, length), frames: behind.frames + 1 })
            });
            let Some(lead) = leads.min_by(|a, b| a.cost.total_cmp(&b.cost)) else { continue };
            leading.insert(at, lead);
            let cost = lead.cost + due.map_or(0.0, |due| (f64::from(lead.frames) - due).abs() * MISCOUNT_NATS);
            // Without a clock the longest way is the best: a frame is seldom found where none is.
            let cost = if due.is_none() { -f64::from(lead.frames) } else { cost };
            if best.is_none_or(|(other, _)| cost < other) {
                best = Some((cost, at));
            }
        }
        let none = due.map_or(0.0, |due| due.max(1.0) * MISCOUNT_NATS);
        best.filter(|(cost, _)| *cost < none).map(|(_, at)| at)
    }

    /// How many frames of the only audio track are due between this picture and the next.
    fn frames_due(&self) -> Option<f64> {
        let ([track], Some(pace)) = (self.tracks, self.pace) else { return None };
        let next = i64::try_from(self.found.frames.len() + 1).ok()?;
        let due = pace.start + next * pace.distance;
        let before = (due - track.start + track.duration - 1).div_euclid(track.duration.max(1));
        let taken = i64::try_from(self.found.audio[0].len()).ok()?;
        u32::try_from(before - taken).ok().map(f64::from)
    }

    /// Where frames of sound follow one another, between a picture and the end of the media.
    fn find_sound(&mut self, from: u64, to: u64) -> u64 {
        self.find(from, to, RESUME_CHAIN)
    }

    /// Takes a picture; it is a sample of its own.
    pub(super) fn accept_visual(&mut self, range: Range<u64>) {
        let sample = self.source.at(range.start, LOOK_BYTES);
        let headers = visual::picture_at(sample).map_or(&[][..], |at| &sample[..at]);
        let is_sync = visual::is_sync(sample);
        let has_layer = self.parameters.as_mut().is_some_and(|parameters| parameters.take(headers));
        let picture = self.parameters.as_mut().and_then(|parameters| parameters.picture(sample));
        if has_layer {
            self.found.keep_inband(headers);
        }
        self.push_frame(range, is_sync, picture);
    }
}
