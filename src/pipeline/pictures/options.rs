//! What an operator can set about pictures.

use std::time::Duration;

use crate::media::PictureFormat;
use crate::media::apart::Limits;

/// Settings of `[pictures]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureOptions {
    /// Whether a poster is made of each finished recording. Default true.
    pub poster: bool,
    /// Its format. Default JPEG.
    pub format: PictureFormat,
    /// Its height in pixels. Default 480.
    pub height: u32,
    /// Its quality, 1 to 100; PNG has none. Default 85.
    pub quality: u8,
    /// Whether a sprite sheet is made of each finished recording with video. Default false.
    pub sprite: bool,
    /// How long each picture of the sheet is shown. Default 10 s.
    pub sprite_interval: Duration,
    /// How much CPU time the decoder may take for one picture; five times as much wall-clock time. Default 60 s.
    pub timeout: Duration,
    /// How much memory it may take beyond its libraries, bytes. Default 1 GiB.
    pub memory_bytes: u64,
}

impl Default for PictureOptions {
    fn default() -> Self {
        Self {
            poster: true,
            format: PictureFormat::Jpeg,
            height: 480,
            quality: 85,
            sprite: false,
            sprite_interval: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            memory_bytes: 1 << 30,
        }
    }
}

/// A poster in PNG with 4096 × 4096 pixels has less.
const MOST_ANSWER_BYTES: usize = 64 << 20;

impl PictureOptions {
    /// What holds for a decoder.
    pub(super) const fn limits(&self) -> Limits {
        Limits { memory_bytes: self.memory_bytes, time: self.timeout, silence: None, answer_bytes: MOST_ANSWER_BYTES }
    }
}
