//! Pictures of recordings: posters, sheets of small pictures for scrubbing, the waveform of sound.
//!
//! Works on an open file and gives bytes back; opens and writes nothing. It decodes what came from outside, so it is only run
//! in a process of its own ([`super::apart`]).

mod budget;
mod develop;
mod frames;
mod judge;
mod poster;
mod sprite;
mod tone;
mod turn;
mod waveform;

use serde::{Deserialize, Serialize};

use super::MediaError;
use super::ffi::picture::has_encoder;
use crate::recording::{Shows, Tiles};

pub(super) use budget::Budget;
pub(super) use frames::Recording;
pub(super) use tone::Transfer;
pub(super) use turn::Turn;

/// The format of a poster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JPEG.
    #[default]
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    Webp,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Jpeg, Self::Png, Self::Webp];

    /// The name in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Webp => "webp",
        }
    }

    /// What files in it end in.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
        }
    }
}

/// Which picture is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// The first frame that is neither black nor flat; of a recording without video its waveform.
    Poster {
        /// Height in pixels; less where the recording has less.
        height: u32,
        /// The format.
        format: Format,
        /// 1 to 100; PNG has none.
        quality: u8,
    },
    /// A sheet of small pictures, in JPEG.
    Sprite {
        /// Height of each in pixels.
        height: u32,
        /// How long each is shown, milliseconds; longer where the sheet would have too many.
        interval_ms: i64,
        /// Duration of the recording, milliseconds.
        duration_ms: i64,
    },
}

/// A picture that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// What it shows.
    pub shows: Shows,
    /// How the pictures of a sheet lie on it.
    pub tiles: Option<Tiles>,
    /// The file.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// Makes a picture; what takes longer than the budget is made of what was seen by then.
pub(super) fn make(recording: Recording<'_>, wanted: Wanted, budget: Budget) -> Result<Made, MediaError> {
    match wanted {
        Wanted::Poster { height, format, quality } => {
            if !has_encoder(format) {
                return Err(MediaError::Missing { part: format!("encoder of {}", format.name()) });
            }
            let look = poster::Look { height, format, quality };
            match poster::of_video(recording, look, budget)? {
                Some(made) => Ok(made),
                None => waveform::of_sound(recording, look, budget),
            }
        }
        Wanted::Sprite { height, interval_ms, duration_ms } => {
            sprite::of_video(recording, sprite::Steps { height, interval_ms, duration_ms }, budget)
        }
    }
}
