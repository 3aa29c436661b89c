//! The pictures of a VoD: a poster, and a sheet of small pictures for scrubbing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Fingerprint;

/// The pictures that were made of a VoD.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pictures {
    /// Its poster. A VoD whose preview image an ingest server made has `previewFilePath` alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub poster: Option<Poster>,
    /// Its sprite sheet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sprite: Option<Sprite>,
    /// Why pictures are missing, in words: `no poster: …`. The recording itself is not affected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub missing: Option<String>,
}

impl Pictures {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Files that were made, each with its digest.
    pub fn files(&self) -> impl Iterator<Item = &PictureFile> {
        let poster = self.poster.iter().map(|poster| &poster.file);
        poster.chain(self.sprite.iter().flat_map(|sprite| [&sprite.file, &sprite.index]))
    }
}

/// A file that was made for a VoD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PictureFile {
    /// Its absolute path.
    pub path: PathBuf,
    /// BLAKE3 over it, hex. As `v` in the URL it makes the answer cacheable for ever.
    pub digest: String,
    /// The file as it was written.
    pub fingerprint: Fingerprint,
}

/// What a poster shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Shows {
    /// A frame of the recording.
    #[serde(rename_all = "camelCase")]
    Frame {
        /// When it is presented, milliseconds from the start of the file.
        at_ms: i64,
    },
    /// The loudness of a recording without video.
    Waveform,
}

/// A picture for catalogues and players.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Poster {
    /// The file.
    #[serde(flatten)]
    pub file: PictureFile,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// What it shows.
    pub shows: Shows,
}

/// Small pictures of a recording in regular steps, in rows on one sheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sprite {
    /// The sheet, a JPEG.
    #[serde(flatten)]
    pub file: PictureFile,
    /// The `WebVTT` that says which part of the sheet belongs to which time.
    pub index: PictureFile,
    /// How its pictures lie on the sheet.
    pub tiles: Tiles,
}

/// How the pictures of a sprite sheet lie on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tiles {
    /// Pictures on the sheet.
    pub count: u32,
    /// Pictures in a row.
    pub columns: u32,
    /// Width of one in pixels.
    pub width: u32,
    /// Height of one in pixels.
    pub height: u32,
    /// How long each is shown, milliseconds.
    pub interval_ms: i64,
    /// When the last one ends: the duration of the recording, milliseconds.
    pub duration_ms: i64,
}

impl Tiles {
    /// The `WebVTT` for a sheet at this URL, relative to that of the `WebVTT`: a cue for each picture, whose text is the URL with
    /// the place of the picture as a media fragment (`#xywh=`, Media Fragments URI 1.0 §4.2.2).
    pub fn webvtt(&self, url: &str) -> String {
        let mut text = "WEBVTT\n".to_owned();
        for tile in 0..self.count {
            let (from_ms, to_ms) = self.span(tile);
            let (x, y) = (tile % self.columns.max(1) * self.width, tile / self.columns.max(1) * self.height);
            let Self { width, height, .. } = self;
            let (from, to) = (timestamp(from_ms), timestamp(to_ms));
            // Writing to a string does not fail.
            let _ = write!(text, "\n{from} --> {to}\n{url}#xywh={x},{y},{width},{height}\n");
        }
        text
    }

    /// When a picture is shown, milliseconds; the last one to the end of the recording.
    fn span(&self, tile: u32) -> (i64, i64) {
        let begins = |tile: u32| i64::from(tile).saturating_mul(self.interval_ms);
        let end = if tile + 1 == self.count { self.duration_ms } else { begins(tile + 1) };
        (begins(tile), end.max(begins(tile) + 1))
    }
}

/// `HH:MM:SS.mmm` (`WebVTT` §4.1).
fn timestamp(ms: i64) -> String {
    let s = ms / 1_000;
    format!("{:02}:{:02}:{:02}.{:03}", s / 3_600, s / 60 % 60, s % 60, ms % 1_000)
}

/// The URL of a file beside, as `WebVTT` text may have it: only characters that need no escape there nor in a URL.
pub fn url_of_name(path: &Path) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let name = path.file_name().unwrap_or_default();
    percent_encode(name.as_encoded_bytes(), KEPT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_has_a_cue_with_its_place_and_the_last_ends_with_the_recording() {
        let tiles = Tiles { count: 3, columns: 2, width: 160, height: 90, interval_ms: 10_000, duration_ms: 3_725_042 };
        assert_eq!(
            tiles.webvtt("sprite"),
            "WEBVTT\n\n00:00:00.000 --> 00:00:10.000\nsprite#xywh=0,0,160,90\n\n\
             00:00:10.000 --> 00:00:20.000\nsprite#xywh=160,0,160,90\n\n\
             00:00:20.000 --> 01:02:05.042\nsprite#xywh=0,90,160,90\n"
        );
    }

    #[test]
    fn a_cue_is_never_empty_and_no_sheet_divides_by_zero() {
        let tiles = Tiles { count: 1, columns: 0, width: 1, height: 1, interval_ms: 10_000, duration_ms: 0 };
        assert!(tiles.webvtt("s").contains("00:00:00.000 --> 00:00:00.001"));
    }

    #[test]
    fn a_name_in_webvtt_cannot_end_its_line_or_its_url() {
        assert_eq!(url_of_name(Path::new("/srv/a\n\nb#c -->.jpg")), "a%0A%0Ab%23c%20--%3E.jpg");
    }
}
