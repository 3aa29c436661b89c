//! Packets without a length (Opus, PCM): between two pictures lies a run of them, whose end is where the next picture
//! stands. Where one packet ends and the next begins inside a run is told later ([`unframed`](crate::salvage::unframed)).

use std::io::{Read, Seek};

use super::{PARSE_BYTES, RESUME_CHAIN, Walker};
use crate::salvage::element::{LOOK_BYTES, Sound};
use crate::salvage::nal::{self, CodecParameters, UnitRole};

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
/// So many bytes of a slice are looked through for what no unit can contain.
const ESCAPED_BYTES: usize = 64 << 10;
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

/// What comes behind a picture.
enum Follower {
    /// One that follows on it by its numbers, from here to here.
    At(u64, u64),
    /// None up to the end of the media.
    CutOff,
    /// None that is near.
    None,
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
            let is_part = matches!(unit.map(|unit| unit.role), Some(UnitRole::Slice { is_first: false, .. }));
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
        // What opens a picture may change its parameters.
        let mut ahead = None;
        let mut at = at;
        for _ in 0..MOST_OPENING {
            let role = self.role_at(at);
            self.budget.spend(PARSE_BYTES);
            if matches!(role, Some(UnitRole::Slice { is_first: true, .. })) && !self.may_be_slice(at, ahead.as_ref()) {
                return false;
            }
            let Some(end) = self.parse(0, at).filter(|end| self.goes_on(*end)) else { return false };
            match role {
                Some(UnitRole::Opens) if !self.is_whole(at) => return false,
                Some(UnitRole::Opens) => {
                    let mut sets = ahead.take().or_else(|| self.parameters.clone());
                    if let Some(sets) = &mut sets {
                        sets.take(self.body(at));
                    }
                    (ahead, at) = (sets, end);
                }
                Some(UnitRole::Slice { is_first: true, .. }) => {
                    let sets = ahead.or_else(|| self.parameters.clone());
                    return sets.is_some_and(|sets| self.slice_stands(at, end, sets));
                }
                _ => return false,
            }
        }
        false
    }

    /// Whether a slice may have the header that stands here, with sets that came with it or those that are known. Most places where
    /// a unit may begin are told by that, and nothing far away needs to be looked at.
    fn may_be_slice(&mut self, at: u64, sets: Option<&CodecParameters>) -> bool {
        let known = if sets.is_none() { self.parameters.take() } else { None };
        let may_be = sets.or(known.as_ref()).is_none_or(|sets| !sets.is_usable() || sets.may_be(self.body(at)));
        self.parameters = known.or_else(|| self.parameters.take());
        may_be
    }

    /// Whether something may stand behind a unit.
    fn goes_on(&mut self, end: u64) -> bool {
        end == self.limit || self.run_may_begin(end) || self.parse(0, end).is_some()
    }

    /// Whether a first slice is to be believed, which was opened with these parameter sets.
    fn slice_stands(&mut self, at: u64, end: u64, sets: CodecParameters) -> bool {
        let most = self.largest_unit_bytes.saturating_mul(MOST_GROWTH).max(ANY_UNIT_BYTES);
        if !sets.is_usable() {
            return end - at <= most && self.another_follows(end, RESUME_CHAIN);
        }
        if self.begins_with(at, |body| sets.may_follow(body)) {
            let is_escaped = self.is_escaped(at, end);
            let mut next = sets.clone();
            self.begins_with(at, |body| next.picture(body).is_some());
            match self.follower(end, &next) {
                Follower::At(..) if is_escaped => return true,
                // A hole in a picture, or packets that look like a unit and swallow the true ones behind it.
                Follower::At(..) => return end - at <= most && !self.another_is_inside(at, end),
                Follower::CutOff if is_escaped && end - at <= most => return true,
                Follower::CutOff | Follower::None => {}
            }
        }
        // Pictures may be lost in front of it. Packets may look like a unit that swallows the true ones behind it.
        end - at <= most && self.resumes(at, end, sets) && !self.another_is_inside(at, end)
    }

    /// Whether pictures follow on one another by their numbers from a slice on, whatever came before it.
    fn resumes(&mut self, at: u64, end: u64, mut sets: CodecParameters) -> bool {
        sets.forget();
        let is_read = self.begins_with(at, |body| sets.picture(body).is_some_and(|picture| picture.is_next));
        if !is_read || !self.is_escaped(at, end) {
            return false;
        }
        let mut end = end;
        for _ in 0..RESUME_CHAIN {
            match self.follower(end, &sets) {
                Follower::At(next, behind) => {
                    self.begins_with(next, |body| sets.picture(body).is_some());
                    end = behind;
                }
                Follower::CutOff => return true,
                Follower::None => return false,
            }
        }
        true
    }

    /// Whether a unit here belongs to the access unit that ends here.
    pub(super) fn continues(&mut self, at: u64) -> bool {
        let role = self.role_at(at);
        let is_part = matches!(role, Some(UnitRole::Slice { is_first: false, .. } | UnitRole::Closes));
        let ends_here = self.open.is_some_and(|open| open.has_picture && open.range.1 == at);
        let Some(end) = self.parse(0, at).filter(|_| is_part && ends_here) else { return false };
        if end - at > self.largest_unit_bytes.saturating_mul(MOST_GROWTH) || !self.goes_on(end) {
            return false;
        }
        match self.parameters.take() {
            Some(sets) if matches!(role, Some(UnitRole::Slice { .. })) => {
                let continues = !sets.is_usable() || sets.may_continue(self.body(at));
                self.parameters = Some(sets);
                continues
            }
            sets => {
                self.parameters = sets;
                self.is_whole(at)
            }
        }
    }

    /// The beginning of the unit at a place, without its length.
    fn body(&mut self, at: u64) -> &[u8] {
        let Some(video) = self.video else { return &[] };
        let bytes = self.source.at(at, LOOK_BYTES);
        let Some(unit) = video.unit(bytes) else { return &[] };
        let end = bytes.len().min(usize::try_from(unit.bytes).unwrap_or(usize::MAX));
        bytes.get(video.length_bytes..end).unwrap_or_default()
    }

    /// Whether nothing stands in the unit that none can contain, as far as it is looked through.
    fn is_escaped(&mut self, at: u64, end: u64) -> bool {
        let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(ESCAPED_BYTES);
        let length_bytes = self.video.map_or(0, |video| video.length_bytes);
        let bytes = self.source.at(at, most);
        let found = nal::unescaped_at(bytes.get(length_bytes..most.min(bytes.len())).unwrap_or_default());
        self.budget.spend(found.unwrap_or(most) as u64);
        found.is_none()
    }

    /// Whether a unit that is no slice is one up to its end, as far as that is seen.
    fn is_whole(&mut self, at: u64) -> bool {
        let Some(standard) = self.video.map(|video| video.standard) else { return false };
        let is_seen = self.parse(0, at).is_some_and(|end| end - at <= LOOK_BYTES as u64);
        !is_seen || nal::is_whole(standard, self.body(at))
    }

    fn role_at(&mut self, at: u64) -> Option<UnitRole> {
        self.video?.unit(self.source.at(at, LOOK_BYTES)).map(|unit| unit.role)
    }

    fn follows(&mut self, at: u64) -> bool {
        let Some(parameters) = self.parameters.take() else { return false };
        let follows = parameters.is_usable() && self.begins_with(at, |body| parameters.may_follow(body));
        self.parameters = Some(parameters);
        follows
    }

    /// Whether the first slice of a picture stands at a place, and what is asked of it is so.
    fn begins_with(&mut self, at: u64, is_so: impl FnOnce(&[u8]) -> bool) -> bool {
        matches!(self.role_at(at), Some(UnitRole::Slice { is_first: true, .. })) && is_so(self.body(at))
    }

    /// The picture that follows by its numbers on the one that was read last with these parameter sets, if it comes soon.
    fn follower(&mut self, from: u64, sets: &CodecParameters) -> Follower {
        let until = self.limit.min(from.saturating_add(NEXT_UNIT_BYTES));
        let mut at = from;
        while at < until {
            let before = at;
            at += self.glance(at, until);
            if at < until
                && let Some(end) = self.parse(0, at)
                && self.begins_with(at, |body| sets.may_follow(body))
            {
                return Follower::At(at, end);
            }
            at += 1;
            self.budget.spend(at - before);
        }
        if until == self.limit { Follower::CutOff } else { Follower::None }
    }

    /// Whether a picture that follows on the one of the slice `at..end` by its numbers comes soon behind it.
    fn is_followed(&mut self, at: u64, end: u64) -> bool {
        let Some(mut ahead) = self.parameters.clone() else { return false };
        self.begins_with(at, |body| ahead.picture(body).is_some());
        !matches!(self.follower(end, &ahead), Follower::None)
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
