//! A sheet of small pictures in regular steps, each from the last keyframe before its time: no other frame is decoded.

use super::develop::{Rgb, develop};
use super::frames::{Frames, Key, Recording, with_frames};
use super::{Budget, Format, Made};
use crate::media::MediaError;
use crate::media::ffi::picture::encode;
use crate::recording::{Defect, Shows, Tiles};

/// Pictures in a row.
const COLUMNS: u32 = 10;
/// Pictures on a sheet: with a width of 160 and a height of 90 pixels 1600 × 5400.
const MOST_TILES: i64 = 600;
/// What the sheet is compressed to.
const QUALITY: u8 = 85;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    pub(super) height: u32,
    pub(super) interval_ms: i64,
    pub(super) duration_ms: i64,
}

impl Steps {
    /// How long each picture is shown, and how many there are.
    fn layout(&self) -> (i64, u32) {
        let duration_ms = self.duration_ms.clamp(1, i64::MAX / 2);
        let interval_ms = self.interval_ms.max(1).max((duration_ms + MOST_TILES - 1) / MOST_TILES);
        let count = (duration_ms + interval_ms - 1) / interval_ms;
        (interval_ms, u32::try_from(count).unwrap_or(1))
    }
}

pub(super) fn of_video(recording: Recording<'_>, steps: Steps, budget: Budget) -> Result<Made, MediaError> {
    let refused = |error| recording.refused(error);
    let made = with_frames(&recording, |frames| sheet(frames, steps, budget))?;
    let Some((_, (sheet, tiles))) = made else {
        return Err(MediaError::unfinishable(recording.name, Defect::NoKeyframe));
    };
    let bytes = encode(&sheet.frame(), Format::Jpeg, QUALITY).map_err(refused)?;
    let shows = Shows::Frame { at_ms: 0 };
    Ok(Made { width: sheet.width, height: sheet.height, shows, tiles: Some(tiles), bytes })
}

/// `None` where no frame decodes. Steps behind the budget, or whose frame does not decode, show the frame before.
fn sheet(frames: &mut Frames, steps: Steps, budget: Budget) -> Result<Option<(Rgb, Tiles)>, MediaError> {
    let (interval_ms, count) = steps.layout();
    let mut keys = Keys { frames, shown: None, ahead: None, can_seek: true };
    let mut sheet: Option<(Rgb, Rgb)> = None;
    for tile in 0..count {
        let wanted_ms = i64::from(tile) * interval_ms;
        let is_late = budget.is_spent();
        let picture = if is_late { None } else { keys.at(wanted_ms, steps.height)? };
        // Where the recording changes its size, the pictures on the sheet do not.
        let is_alike = |picture: &Rgb| sheet.as_ref().is_none_or(|(_, last)| picture.is_as_large_as(last));
        let picture = picture.filter(is_alike);
        let Some(picture) = picture.or_else(|| sheet.as_ref().map(|(_, last)| last.clone())) else {
            // Nothing is there before the first frame that decodes.
            if is_late || tile >= COLUMNS {
                return Ok(None);
            }
            continue;
        };
        let (all, last) = sheet.get_or_insert_with(|| {
            let (columns, rows) = (COLUMNS.min(count), count.div_ceil(COLUMNS));
            (Rgb::filled(columns * picture.width, rows * picture.height, [0; 3]), picture.clone())
        });
        all.put(&picture, tile % COLUMNS * last.width, tile / COLUMNS * last.height);
        *last = picture;
    }
    let columns = COLUMNS.min(count);
    Ok(sheet.map(|(all, last)| {
        let (width, height) = (last.width, last.height);
        let tiles = Tiles { count, columns, width, height, interval_ms, duration_ms: steps.duration_ms };
        (all, tiles)
    }))
}

/// The keyframes, one after the other.
struct Keys<'a> {
    frames: &'a mut Frames,
    /// When the keyframe that was shown last is presented, ticks.
    shown: Option<i64>,
    /// A keyframe that comes later, where the recording is read from front to back.
    ahead: Option<Key>,
    can_seek: bool,
}

impl Keys<'_> {
    /// The last keyframe that is not after a time; `None` if it is the one as before, or does not decode.
    fn at(&mut self, ms: i64, height: u32) -> Result<Option<Rgb>, MediaError> {
        let Some(key) = self.key(ms)?.filter(|key| self.shown != Some(key.at)) else { return Ok(None) };
        self.shown = Some(key.at);
        let Some(shown) = self.frames.decode_key(&key) else { return Ok(None) };
        let shape = self.frames.shape(&shown.frame);
        // A size that cannot be scaled is one of a damaged frame.
        Ok(develop(&shown.frame, shape, height).ok())
    }

    fn key(&mut self, ms: i64) -> Result<Option<Key>, MediaError> {
        if self.can_seek && ms > 0 {
            self.can_seek = self.frames.seek_ms(ms).is_ok();
        }
        if self.can_seek {
            return self.frames.next_key();
        }
        let mut last = None;
        loop {
            let Some(key) = self.ahead.take().map_or_else(|| self.frames.next_key(), |key| Ok(Some(key)))? else {
                return Ok(last);
            };
            if self.frames.ms(key.at) > ms && (last.is_some() || self.shown.is_some()) {
                self.ahead = Some(key);
                return Ok(last);
            }
            last = Some(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_a_bounded_number_of_pictures() {
        let layout = |duration_ms| Steps { height: 90, interval_ms: 10_000, duration_ms }.layout();
        assert_eq!(layout(3_600_000), (10_000, 360));
        assert_eq!(layout(3_600_001), (10_000, 361));
        assert_eq!(layout(0), (10_000, 1));
        assert_eq!(layout(86_400_000), (144_000, 600));
        let (interval_ms, count) = layout(i64::MAX / 4);
        assert!(count <= 600 && interval_ms > 0);
    }
}
