//! The first frame that is neither black nor flat.
//!
//! Mostly that is the first one, and one frame is decoded. Behind a black beginning the keyframes are looked at first, and
//! then every frame before the first of them that shows something, so that the first frame is found at the cost of a few.

use super::develop::{Rgb, content, develop};
use super::frames::{Frames, Recording, Shown};
use super::judge::Content;
use super::{Budget, Made};
use super::{Format, frames};
use crate::media::MediaError;
use crate::media::ffi::picture::encode;
use crate::recording::Shows;

/// Keyframes that are looked at; with one every two seconds eight minutes.
const MOST_KEYS: usize = 240;
/// Up to this distance every frame between the beginning and the first keyframe that shows something is looked at; beyond it
/// those behind the last black keyframe.
const WHOLE_SEARCH_MS: i64 = 20_000;
/// Behind a frame that is hardly visible a better one is looked for in so much of the recording: a fade is over by then, and a
/// night is not.
const DIM_SEARCH_MS: i64 = 20_000;

/// How a poster is to look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) height: u32,
    pub(super) format: Format,
    pub(super) quality: u8,
}

/// `None` if the recording has no video.
pub(super) fn of_video(recording: Recording<'_>, look: Look, budget: Budget) -> Result<Option<Made>, MediaError> {
    let found = frames::with_frames(&recording, |frames| find(frames, budget))?;
    let Some((frames, shown)) = found else { return Ok(None) };
    let shape = frames.shape(&shown.frame);
    let refused = |error| recording.refused(error);
    let pixels = develop(&shown.frame, shape, look.height).map_err(refused)?;
    let bytes = encode(&pixels.frame(), look.format, look.quality).map_err(refused)?;
    let at_ms = frames.ms(shown.at);
    let Rgb { width, height, .. } = pixels;
    Ok(Some(Made { width, height, shows: Shows::Frame { at_ms }, tiles: None, bytes }))
}

/// The best that was seen so far.
#[derive(Default)]
struct Best {
    /// The first keyframe, whatever it shows.
    first: Option<Shown>,
    dim: Option<Shown>,
}

impl Best {
    fn take(self) -> Option<Shown> {
        self.dim.or(self.first)
    }

    /// Gives a frame back that shows something; remembers any other.
    fn offer(&mut self, shown: Shown) -> Option<Shown> {
        match content(&shown.frame) {
            Content::Something => return Some(shown),
            Content::Dim if self.dim.is_none() => self.dim = Some(shown),
            Content::Dim | Content::Nothing if self.first.is_none() => self.first = Some(shown),
            Content::Dim | Content::Nothing => {}
        }
        None
    }
}

fn find(frames: &mut Frames, budget: Budget) -> Result<Option<Shown>, MediaError> {
    let (mut best, mut begin, mut last_dark) = (Best::default(), None, None);
    let mut found = None;
    for _ in 0..MOST_KEYS {
        let Some(key) = frames.next_key()? else { break };
        let Some(shown) = frames.decode_key(&key) else { continue };
        let at = key.at;
        begin.get_or_insert(at);
        found = best.offer(shown);
        let is_dim = |dim: &Shown| frames.ms(at.saturating_sub(dim.at)) >= DIM_SEARCH_MS;
        if found.is_some() || best.dim.as_ref().is_some_and(is_dim) || budget.is_spent() {
            break;
        }
        last_dark = Some(at);
    }
    if found.is_none() && best.dim.is_some() {
        return Ok(best.take());
    }
    // The very first frame, or none at all.
    let Some((begin, last_dark)) = begin.zip(last_dark) else { return Ok(found.or_else(|| best.take())) };
    let end = found.as_ref().map(|shown| shown.at);
    let is_near = end.is_none_or(|end| frames.ms(end.saturating_sub(begin)) <= WHOLE_SEARCH_MS);
    let from = if is_near { begin } else { last_dark };
    let between = search(frames, from, end, &mut best, budget)?;
    Ok(between.or(found).or_else(|| best.take()))
}

/// The first frame that shows something, from a keyframe on and before another.
fn search(
    frames: &mut Frames,
    from: i64,
    end: Option<i64>,
    best: &mut Best,
    budget: Budget,
) -> Result<Option<Shown>, MediaError> {
    if frames.seek(from).is_err() {
        return Ok(None);
    }
    while let Some(shown) = frames.next()? {
        if end.is_some_and(|end| shown.at >= end) || budget.is_spent() {
            break;
        }
        if let Some(found) = best.offer(shown) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
