//! What a file name alone says: never a recording, perhaps a recording, or the playlist of a unit.
//!
//! Works on bytes, so that a name that is not UTF-8 is classified like any other. It must not look at the file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::recording::Container;

use super::hls::UnitKind;

/// What a file name alone says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameClass {
    /// Never a recording and no part of a unit that we know.
    Never,
    /// A known extension; `is_temporary` if behind it stands a temporary suffix.
    Recording {
        /// Whether it bears a temporary name, as a crashed writer leaves it.
        is_temporary: bool,
    },
    /// A playlist or manifest: the head of a unit.
    Playlist(UnitKind),
    /// A segment kind that never stands alone (`.m4s`, `.fmp4`, `*_init.mp4`, `.vtt` …).
    Segment,
    /// The extension of media that this program does nothing with (`.mpg`, `.wmv`, `.h264` …).
    Unhandled,
}

/// Extensions of media that is recorded and that nothing is done with here.
const UNHANDLED: [&str; 33] = [
    "mpg", "mpeg", "vob", "m2v", "m1v", "wmv", "wma", "asf", "3gp", "3g2", "f4v", "m4b", "rm", "rmvb", "flac", "caf",
    "amr", "mp2", "ac3", "eac3", "dts", "h264", "264", "h265", "265", "hevc", "obu", "mxf", "dv", "mjpeg", "mjpg",
    "nut", "y4m",
];

/// The rules that tell temporary names: the presets' own and the configured suffixes.
#[derive(Debug, Clone)]
pub struct NameRules {
    /// Longest first, so that `.tmp_extension` is not mistaken for something that ends in a shorter one.
    suffixes: Vec<String>,
}

/// Suffixes that some server's preset knows, whatever is configured.
const PRESET_SUFFIXES: [&str; 2] = [".tmp_extension", ".tmp"];

/// Length of the random part of `OvenMediaEngine`'s temporary names: `tmp_` and 32 letters or digits.
const OME_RANDOM_CHARS: usize = 32;

impl Default for NameRules {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl NameRules {
    /// The presets' temporary suffixes and these.
    pub fn new(temporary_suffixes: &[String]) -> Self {
        let known = PRESET_SUFFIXES.iter().map(|s| (*s).to_owned());
        let configured = temporary_suffixes.iter().filter(|s| !s.is_empty()).cloned();
        let mut suffixes: Vec<_> = known.chain(configured).collect();
        suffixes.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        suffixes.dedup();
        Self { suffixes }
    }

    /// All temporary suffixes, longest first.
    pub fn suffixes(&self) -> impl Iterator<Item = &str> {
        self.suffixes.iter().map(String::as_str)
    }

    /// Classifies a file name (no directories in it).
    pub fn class(&self, name: &OsStr) -> NameClass {
        let bytes = name.as_bytes();
        if is_never(name) {
            return NameClass::Never;
        }
        if is_ome_temporary(bytes) {
            return NameClass::Recording { is_temporary: true };
        }
        let (base, is_temporary) = self.without_suffix(bytes);
        match class_of_extension(base) {
            // A segment or playlist that is still being written is nobody's business.
            NameClass::Segment | NameClass::Playlist(_) | NameClass::Unhandled if is_temporary => NameClass::Never,
            NameClass::Recording { .. } => NameClass::Recording { is_temporary },
            other => other,
        }
    }

    /// The name without its temporary suffix, and whether it had one.
    pub fn strip_temporary<'a>(&self, name: &'a str) -> (&'a str, bool) {
        let suffix = self.suffixes.iter().find(|s| name.len() > s.len() && name.ends_with(s.as_str()));
        match suffix {
            Some(suffix) => (&name[..name.len() - suffix.len()], true),
            None => (name, is_ome_temporary(name.as_bytes())),
        }
    }

    /// What a recording, its temporary name, its sidecars and what is made of it have in common: the path without temporary suffix
    /// and extension. `relative` is the path below the root.
    pub fn family(&self, relative: &Path) -> PathBuf {
        let name = relative.file_name().unwrap_or_default().as_bytes();
        let (base, _) = self.without_suffix(name);
        let stem = base.iter().rposition(|b| *b == b'.').filter(|at| *at > 0).map_or(base, |dot| &base[..dot]);
        relative.with_file_name(OsStr::from_bytes(stem))
    }

    fn without_suffix<'a>(&self, name: &'a [u8]) -> (&'a [u8], bool) {
        let suffix = self.suffixes.iter().find(|s| name.len() > s.len() && name.ends_with(s.as_bytes()));
        suffix.map_or((name, false), |s| (&name[..name.len() - s.len()], true))
    }
}

/// Dot files, our partials, what other programs stage, and DASH segments in flight.
fn is_never(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    bytes.is_empty()
        || bytes[0] == b'.'
        || durable::is_partial(name)
        || [b".m4s.tmp".as_slice(), b".mpd.tmp", b".partial"].iter().any(|end| bytes.ends_with(end))
        || is_staged(bytes)
}

/// `name#1`: how a local object store stages an upload beside its target.
fn is_staged(name: &[u8]) -> bool {
    name.iter().rposition(|b| *b == b'#').is_some_and(|at| {
        let number = &name[at + 1..];
        at > 0 && !number.is_empty() && number.iter().all(u8::is_ascii_digit)
    })
}

/// `tmp_` and 32 letters or digits without an extension, as `OvenMediaEngine` names what it records.
pub(super) fn is_ome_temporary(name: &[u8]) -> bool {
    name.strip_prefix(b"tmp_")
        .is_some_and(|random| random.len() == OME_RANDOM_CHARS && random.iter().all(u8::is_ascii_alphanumeric))
}

fn class_of_extension(name: &[u8]) -> NameClass {
    let Some(dot) = name.iter().rposition(|b| *b == b'.').filter(|at| *at > 0) else { return NameClass::Never };
    // The longest extension we know has five letters; anything else needs no closer look.
    let Ok(extension) = std::str::from_utf8(&name[dot + 1..]) else { return NameClass::Never };
    if extension.is_empty() || extension.len() > 5 {
        return NameClass::Never;
    }
    let is = |known: &[&str]| known.iter().any(|k| extension.eq_ignore_ascii_case(k));
    if is(&["m3u8"]) {
        NameClass::Playlist(UnitKind::Hls)
    } else if is(&["mpd"]) {
        NameClass::Playlist(UnitKind::Dash)
    } else if is(&["m4s", "fmp4", "cmfv", "cmfa", "vtt"]) || name.ends_with(b"_init.mp4") {
        NameClass::Segment
    } else if Container::from_extension(extension).is_some() {
        NameClass::Recording { is_temporary: false }
    } else if is(&UNHANDLED) {
        NameClass::Unhandled
    } else {
        NameClass::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINISHED: NameClass = NameClass::Recording { is_temporary: false };
    const TEMPORARY: NameClass = NameClass::Recording { is_temporary: true };

    fn class(name: &str) -> NameClass {
        NameRules::default().class(OsStr::new(name))
    }

    #[test]
    fn known_extensions_are_recordings_in_any_case() {
        for name in ["a.mp4", "a.m4v", "a.MOV", "a.m4a", "a.flv", "a.ts", "a.MKV", "a.webm", "2024-01-02 15-04-05.mkv"]
        {
            assert_eq!(class(name), FINISHED, "{name}");
        }
        for name in ["a.ogg", "a.opus", "a.IVF", "a.m2ts", "a.mp3", "a.aac", "a.wav", "a.mka", "a.avi"] {
            assert_eq!(class(name), FINISHED, "{name}");
        }
    }

    #[test]
    fn other_media_is_known_and_not_handled() {
        for name in ["a.mpg", "a.WMV", "a.h264", "a.flac", "a.y4m"] {
            assert_eq!(class(name), NameClass::Unhandled, "{name}");
        }
        assert_eq!(class("a.mpg.tmp"), NameClass::Never);
        assert_eq!(class(".a.mpg"), NameClass::Never);
    }

    #[test]
    fn temporary_names_are_recordings_that_somebody_began() {
        let ome = format!("tmp_{}", "a1B2c3D4".repeat(4));
        for name in ["stream1.mp4.tmp_extension", "stream1.webm.tmp_extension", "live.flv.tmp", "x.mp4.tmp", &ome] {
            assert_eq!(class(name), TEMPORARY, "{name}");
        }
        let rules = NameRules::new(&[".recording".to_owned()]);
        assert_eq!(rules.class(OsStr::new("x.ts.recording")), TEMPORARY);
        assert_eq!(rules.strip_temporary("x.ts.recording"), ("x.ts", true));
        assert_eq!(rules.strip_temporary("x.ts"), ("x.ts", false));
    }

    #[test]
    fn what_is_never_a_candidate() {
        let ours = ".aftercast-0123456789abcdef-x-y.partial";
        for name in [
            "chunk-1.m4s.tmp",
            "room1.mpd.tmp",
            ".hidden.mp4",
            ours,
            "x.mp4#1",
            "x.mp4.partial",
            "x",
            "x.",
            ".mp4",
            ".tmp",
            "notes.txt",
            "x.png",
            "room1.m3u8.tmp",
            "tmp_short",
            "x.tmp",
            "",
        ] {
            assert_eq!(class(name), NameClass::Never, "{name}");
        }
        for name in ["room1_1700000000000_init.mp4", "chunk-stream0-00001.m4s", "room1000000001.fmp4"] {
            assert_eq!(class(name), NameClass::Segment, "{name}");
        }
        assert_eq!(class("room1.m3u8"), NameClass::Playlist(UnitKind::Hls));
        assert_eq!(class("room1.mpd"), NameClass::Playlist(UnitKind::Dash));
    }

    #[test]
    fn a_name_that_is_not_utf8_is_classified_like_any_other() {
        let rules = NameRules::default();
        assert_eq!(rules.class(OsStr::from_bytes(b"\xFF\xFE.mp4")), FINISHED);
        assert_eq!(rules.class(OsStr::from_bytes(b"x.\xFF")), NameClass::Never);
        assert_eq!(rules.class(OsStr::from_bytes(b"\xFF.mp4.tmp")), TEMPORARY);
    }
}
