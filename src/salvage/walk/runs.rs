//! Packets without a length (Opus, PCM): between two pictures lies a run of them, whose end is where the next picture
//! stands. Where one packet ends and the next begins inside a run is told later ([`unframed`](crate::salvage::unframed)).

use std::io::{Read, Seek};

use super::{RESUME_CHAIN, Walker};
use crate::salvage::element::{LOOK_BYTES, Sound};
use crate::salvage::nal::{Parameters, Role};

/// Longest run that is believed: seconds of sound, or what a writer collects.
const MOST_RUN_BYTES: u64 = 4 << 20;
/// How far behind a unit the next one is looked for where only that proves it.
const NEXT_UNIT_BYTES: u64 = 128 << 10;
/// A unit so many times as large as the largest so far is a mistake.
const MOST_GROWTH: u64 = 8;
/// Below this no unit is too large.
const ANY_UNIT_BYTES: u64 = 512 << 10;
/// Most units in front of the first slice of a picture.
const MOST_OPENING: u32 = 16;
/// The sound behind the last picture is at most so many times as long as the longest run between two.
const MOST_TAIL_RUNS: u64 = 8;
/// Runs after which their first bytes are known.
const KNOWN_RUNS: u32 = 16;

/// With which bytes the runs began.
#[derive(Debug, Clone)]
pub(super) struct FirstBytes {
    counts: [u32; 256],
    total: u32,
}

impl Default for FirstBytes {
    fn default() -> Self {
        Self { counts: [0; 256], total: 0 }
    }
}

impl FirstBytes {
    pub(super) const fn count(&mut self, byte: u8) {
        self.counts[byte as usize] += 1;
        self.total += 1;
    }

    /// Whether runs begin with this byte: the table of contents of Opus (RFC 6716 §3.1) is one of a few.
    fn has(&self, byte: u8) -> bool {
        let count = self.counts[usize::from(byte)];
        if self.total < KNOWN_RUNS { byte > 1 } else { count * 256 >= self.total }
    }
}

impl<R: Read + Seek> Walker<'_, R> {
    fn unframed_sound(&self) -> Option<Sound> {
        self.unframed.map(|track| self.tracks[track].sound)
    }

    /// Whether a run may begin here.
    pub(super) fn run_may_begin(&mut self, at: u64) -> bool {
        match (self.unframed_sound(), self.source.at(at, 1).first()) {
            (Some(Sound::Opus), Some(byte)) => self.first_bytes.has(*byte),
            (Some(_), Some(_)) => true,
            _ => false,
        }
    }

    /// What stands here if no element does: a run up to the next picture, or where to go on.
    pub(super) fn run_or_gap(&mut self, at: u64) -> Result<(usize, u64), u64> {
        let Some(track) = self.unframed else { return Err(self.find(at + 1, self.limit, RESUME_CHAIN)) };
        let step = match self.tracks[track].sound {
            Sound::Pcm { block_bytes } => u64::from(block_bytes.max(1)),
            _ => 1,
        };
        let may_begin = self.run_may_begin(at);
        let mut end = if self.video.is_some() { self.find_unit(at, step, may_begin) } else { self.limit };
        if end == self.limit && may_begin {
            end = self.find_cut_unit(at, step).unwrap_or(end);
            if end == at {
                return Err(self.limit);
            }
        }
        let end = self.source.until_seam(at, end);
        // Of samples that are not coded, every one is whole but the last; a packet that the end cuts is of no use.
        let may_end = matches!(self.tracks[track].sound, Sound::Pcm { .. })
            && end - at <= MOST_TAIL_RUNS * self.largest_run_bytes;
        let is_run = may_begin && end - at <= MOST_RUN_BYTES && (end < self.limit || may_end) || self.video.is_none();
        if !is_run {
            return Err(end);
        }
        self.largest_run_bytes = self.largest_run_bytes.max(end - at);
        if let Some(first) = self.source.at(at, 1).first().copied() {
            self.first_bytes.count(first);
        }
        let lane = self.sounds.iter().position(Sound::is_unframed).map_or(0, |index| index + 1);
        Ok((lane, end))
    }

    /// The next place behind `from` where a unit stands; the limit if there is none.
    fn find_unit(&mut self, from: u64, step: u64, in_run: bool) -> u64 {
        let mut at = from + 1;
        while at < self.limit {
            at = self.limit.min(at.saturating_add(self.budget.hurry(at)));
            at += self.glance(at, self.limit);
            if at >= self.limit {
                break;
            }
            let is_on_block = !in_run || (at - from).is_multiple_of(step);
            if is_on_block && self.unit_stands(at) {
                return at;
            }
            at += 1;
        }
        self.limit
    }

    /// The slice that the end of the media cuts off, if it follows on the picture before by its numbers or belongs to it.
    fn find_cut_unit(&mut self, from: u64, step: u64) -> Option<u64> {
        if self.video.is_some_and(|video| video.standard.is_intra()) {
            return self.find_cut_intra(from, step);
        }
        let most = self.largest_unit_bytes.saturating_mul(2);
        let until = self.limit.min(from.saturating_add(NEXT_UNIT_BYTES));
        let ends_here = self.open.is_some_and(|open| open.has_picture && open.range.1 == from);
        let mut at = from;
        while at < until && !self.budget.is_spent() {
            let unit = self.video?.unit(self.source.at(at, LOOK_BYTES));
            let is_cut = unit.is_some_and(|unit| at.saturating_add(unit.bytes) > self.limit && unit.bytes <= most);
            let is_part = matches!(unit.map(|unit| unit.role), Some(Role::Slice { is_first: false, .. }));
            if is_cut && (self.follows(at) || is_part && ends_here && at == from) {
                return Some(at);
            }
            at += step;
        }
        None
    }

    /// Whether the unit at a place is to be believed: the slice that follows on the picture before, by its numbers or by
    /// the units behind it, or what stands in front of such a slice.
    pub(super) fn unit_stands(&mut self, at: u64) -> bool {
        if self.video.is_some_and(|video| video.standard.is_intra()) {
            return self.parse(0, at).is_some();
        }
        let mut at = at;
        for _ in 0..MOST_OPENING {
            let Some(end) = self.parse(0, at) else { return false };
            let most = self.largest_unit_bytes.saturating_mul(MOST_GROWTH).max(ANY_UNIT_BYTES);
            if end - at > most || self.chain(end, 1) == 0 {
                return false;
            }
            match self.role_at(at) {
                Some(Role::Opens) => at = end,
                Some(Role::Slice { is_first: true, .. }) => {
                    let is_next = self.follows(at);
                    if is_next && self.is_followed(at, end) {
                        return true;
                    }
                    // Packets may look like a unit that swallows the true ones behind it.
                    let swallows = self.parameters_are_known() && self.another_is_inside(at, end);
                    return !swallows && self.another_follows(end, if is_next { 1 } else { RESUME_CHAIN });
                }
                _ => return false,
            }
        }
        false
    }

    /// Whether a unit here belongs to the access unit that ends here.
    pub(super) fn continues(&mut self, at: u64) -> bool {
        let is_part = matches!(self.role_at(at), Some(Role::Slice { is_first: false, .. } | Role::Closes));
        let ends_here = self.open.is_some_and(|open| open.has_picture && open.range.1 == at);
        let Some(end) = self.parse(0, at).filter(|_| is_part && ends_here) else { return false };
        end - at <= self.largest_unit_bytes.saturating_mul(MOST_GROWTH) && self.chain(end, 1) > 0
    }

    fn role_at(&mut self, at: u64) -> Option<Role> {
        self.video?.unit(self.source.at(at, LOOK_BYTES)).map(|unit| unit.role)
    }

    fn parameters_are_known(&self) -> bool {
        self.parameters.as_ref().is_some_and(Parameters::is_usable)
    }

    fn follows(&mut self, at: u64) -> bool {
        let Some(parameters) = self.parameters.take() else { return false };
        let follows = parameters.is_usable() && self.begins_with(at, |body| parameters.may_follow(body));
        self.parameters = Some(parameters);
        follows
    }

    /// Whether the first slice of a picture stands at a place, and what is asked of it is so.
    fn begins_with(&mut self, at: u64, is_so: impl FnOnce(&[u8]) -> bool) -> bool {
        let Some(video) = self.video else { return false };
        let bytes = self.source.at(at, LOOK_BYTES);
        let Some(unit) = video.unit(bytes) else { return false };
        let body = &bytes[video.length_bytes..bytes.len().min(usize::try_from(unit.bytes).unwrap_or(usize::MAX))];
        matches!(unit.role, Role::Slice { is_first: true, .. }) && is_so(body)
    }

    /// Whether a picture that follows on the one of the slice `at..end` by its numbers comes soon behind it.
    fn is_followed(&mut self, at: u64, end: u64) -> bool {
        let Some(mut ahead) = self.parameters.clone() else { return false };
        self.begins_with(at, |body| ahead.picture(body).is_some());
        let until = self.limit.min(end.saturating_add(NEXT_UNIT_BYTES));
        let mut at = end;
        while at < until {
            let before = at;
            at += self.glance(at, until);
            if at < until && self.parse(0, at).is_some() && self.begins_with(at, |body| ahead.may_follow(body)) {
                return true;
            }
            at += 1;
            self.budget.spend(at - before);
        }
        until == self.limit
    }

    /// Whether a picture stands inside of what looks like a slice that follows on the picture before as well, and that
    /// is followed by another.
    fn another_is_inside(&mut self, from: u64, end: u64) -> bool {
        let mut at = from + 1;
        while at < end && !self.budget.is_spent() {
            let before = at;
            at += self.glance(at, end);
            if at < end
                && let Some(inner) = self.parse(0, at).filter(|inner| *inner <= end)
                && self.follows(at)
                && self.is_followed(at, inner)
            {
                return true;
            }
            at += 1;
            self.budget.spend(at - before);
        }
        false
    }

    /// Whether so many units follow one another from a place on, over runs between them.
    fn another_follows(&mut self, from: u64, count: u32) -> bool {
        let mut at = from;
        for _ in 0..count {
            let until = self.limit.min(at.saturating_add(NEXT_UNIT_BYTES));
            let end = loop {
                if at == self.limit {
                    return true;
                }
                if at >= until {
                    return until == self.limit;
                }
                if let Some(end) = self.parse(0, at) {
                    break end;
                }
                let before = at;
                at += 1;
                at += if at < until { self.glance(at, until) } else { 0 };
                self.budget.spend(at - before);
            };
            at = end;
        }
        true
    }
}
