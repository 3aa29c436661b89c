//! Which kind of file something is, and the bitmask that says which kinds are uploaded.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One kind of file, one bit of `uploadExtensionsToS3`. Bits 1, 2 and 4 keep Ant Media's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Every finished recording: MP4, WebM, Matroska, and what is kept in its own container.
    Recording,
    /// HLS: `.m3u8`, `.ts`, `.fmp4`, `.m4s`, `*_init.mp4` that a playlist names.
    Hls,
    /// Previews and posters: `.png`, `.jpg`, `.webp`.
    Preview,
    /// DASH: `.mpd` and the `.m4s` that it names.
    Dash,
    /// Originals that were kept beside a finished recording.
    OtherContainer,
    /// Metadata sidecars.
    Sidecar,
}

impl Kind {
    /// All kinds, lowest bit first.
    pub const ALL: [Self; 6] =
        [Self::Recording, Self::Hls, Self::Preview, Self::Dash, Self::OtherContainer, Self::Sidecar];

    /// The bit of this kind in the mask.
    pub const fn bit(self) -> u8 {
        match self {
            Self::Recording => 1,
            Self::Hls => 2,
            Self::Preview => 4,
            Self::Dash => 8,
            Self::OtherContainer => 16,
            Self::Sidecar => 32,
        }
    }

    /// The name used in configuration lists.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recording => "mp4",
            Self::Hls => "hls",
            Self::Preview => "previews",
            Self::Dash => "dash",
            Self::OtherContainer => "other",
            Self::Sidecar => "sidecars",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "mp4" | "webm" | "recording" | "recordings" => Self::Recording,
            "hls" => Self::Hls,
            "preview" | "previews" => Self::Preview,
            "dash" => Self::Dash,
            "other" | "originals" => Self::OtherContainer,
            "sidecar" | "sidecars" | "metadata" => Self::Sidecar,
            _ => return None,
        })
    }
}

/// A set of [`Kind`]s: the extension bitmask, 0 (nothing) to 63 (everything).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Kinds(u8);

/// A bitmask or list of kind names that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KindsError {
    /// A number above 63 or below 0.
    #[error(
        "{0} is not an extension bitmask: use 0 to 63 (1 MP4 and WebM, 2 HLS, 4 previews, 8 DASH, 16 originals, 32 sidecars)"
    )]
    OutOfRange(i64),
    /// A name that no kind has.
    #[error("`{0}` is not a kind of file: use mp4, webm, hls, previews, dash, other, sidecars")]
    UnknownName(String),
}

impl Kinds {
    /// Nothing is uploaded.
    pub const NONE: Self = Self(0);
    /// MP4/WebM, HLS and previews: what Ant Media uploads by default (7).
    pub const DEFAULT: Self = Self(7);

    /// Checks a bitmask from configuration.
    pub fn from_bits(bits: i64) -> Result<Self, KindsError> {
        u8::try_from(bits).ok().filter(|b| *b < 64).map(Self).ok_or(KindsError::OutOfRange(bits))
    }

    /// Reads a list of names such as `["mp4", "webm", "hls", "previews"]`.
    pub fn from_names<S: AsRef<str>>(names: &[S]) -> Result<Self, KindsError> {
        names.iter().try_fold(Self::NONE, |set, name| {
            let kind =
                Kind::from_name(name.as_ref()).ok_or_else(|| KindsError::UnknownName(name.as_ref().to_owned()))?;
            Ok(Self(set.0 | kind.bit()))
        })
    }

    /// The number an operator knows.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether files of this kind are uploaded.
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether nothing at all is uploaded.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Default for Kinds {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl FromStr for Kinds {
    type Err = KindsError;

    /// Reads a number, or names separated by commas.
    fn from_str(text: &str) -> Result<Self, KindsError> {
        match text.trim().parse::<i64>() {
            Ok(bits) => Self::from_bits(bits),
            Err(_) => Self::from_names(&text.split(',').filter(|n| !n.trim().is_empty()).collect::<Vec<_>>()),
        }
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Kind::ALL.into_iter().filter(|k| self.contains(*k)).map(Kind::name).collect();
        if names.is_empty() { write!(f, "0 (nothing)") } else { write!(f, "{} ({})", self.0, names.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_keeps_the_meaning_operators_know() {
        let five = Kinds::from_bits(5).unwrap();
        assert!(five.contains(Kind::Recording) && five.contains(Kind::Preview) && !five.contains(Kind::Hls));
        assert_eq!(Kinds::default().bits(), 7);
        assert_eq!(Kinds::from_bits(64), Err(KindsError::OutOfRange(64)));
        assert_eq!(Kinds::from_bits(-1), Err(KindsError::OutOfRange(-1)));
    }

    #[test]
    fn names_and_numbers_say_the_same() {
        assert_eq!("mp4,webm,hls,previews".parse::<Kinds>(), Kinds::from_bits(7));
        assert_eq!(Kinds::from_names(&["dash", "sidecars"]), Kinds::from_bits(40));
        assert_eq!("mp5".parse::<Kinds>(), Err(KindsError::UnknownName("mp5".into())));
        assert_eq!(Kinds::from_bits(3).unwrap().to_string(), "3 (mp4, hls)");
    }
}
