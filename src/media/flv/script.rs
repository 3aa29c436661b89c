//! The values of `onMetaData` (annex E.4.4), which are AMF0 (Adobe, Action Message Format – AMF 0, 2007).
//!
//! Everything that has a name is handed out, however deep it lies, as libavformat does. Bytes that are no value end the
//! reading; what was found before them stands.

use crate::isobmff::Tags;
use crate::media::probe::{CREATION_TIME, created_ms};

/// Deepest nesting of objects and arrays that is followed.
const MOST_DEPTH: u8 = 16;

const NUMBER: u8 = 0;
const BOOLEAN: u8 = 1;
const STRING: u8 = 2;
const OBJECT: u8 = 3;
const NULL: u8 = 5;
const UNDEFINED: u8 = 6;
const ECMA_ARRAY: u8 = 8;
const OBJECT_END: u8 = 9;
const STRICT_ARRAY: u8 = 10;
const DATE: u8 = 11;
const LONG_STRING: u8 = 12;
const UNSUPPORTED: u8 = 13;

/// A value that can be written as text.
#[derive(Debug, Clone, Copy, PartialEq)]
enum ScriptValue<'a> {
    /// A number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
    /// Text, which should be UTF-8.
    Text(&'a [u8]),
    /// Milliseconds since the Unix epoch.
    Date(f64),
}

impl ScriptValue<'_> {
    /// The text that libavformat makes of it: numbers without a fraction, dates in UTC, text up to a zero byte, where it is not
    /// UTF-8 with U+FFFD instead. `None` for a date that is none.
    fn to_text(self) -> Option<String> {
        match self {
            Self::Number(number) => Some(format!("{number:.0}")),
            Self::Flag(flag) => Some(flag.to_string()),
            Self::Text(text) => {
                let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
                Some(String::from_utf8_lossy(&text[..end]).into_owned())
            }
            #[expect(clippy::cast_possible_truncation, reason = "saturates, and then is no time")]
            Self::Date(ms) => jiff::Timestamp::from_millisecond(ms as i64).ok().map(|at| format!("{at:.6}")),
        }
    }
}

/// What `onMetaData` says that an MP4 has a place for.
#[derive(Debug, Default)]
pub struct FlvMetadata {
    /// Title, comment and so on.
    pub tags: Tags,
    /// When the recording was made, milliseconds since the Unix epoch.
    pub created_ms: Option<i64>,
}

/// Reads `onMetaData`; the bytes begin behind its name.
pub fn flv_said(bytes: &[u8]) -> FlvMetadata {
    let mut said = FlvMetadata::default();
    named_values(bytes, |name, value| {
        let Some(text) = value.to_text() else { return };
        if let Some(name) = Tags::known(name) {
            said.tags.set(name, text);
        } else if name == CREATION_TIME.as_bytes() {
            said.created_ms = created_ms(&[(CREATION_TIME.to_owned(), text)]);
        }
    });
    said
}

/// Hands out every value with its name, in the order of the bytes.
fn named_values<'a>(bytes: &'a [u8], mut take: impl FnMut(&'a [u8], ScriptValue<'a>)) {
    let _ = Script { rest: bytes, take: &mut take }.value(None, 0);
}

struct Script<'a, 't> {
    rest: &'a [u8],
    take: &'t mut dyn FnMut(&'a [u8], ScriptValue<'a>),
}

impl<'a> Script<'a, '_> {
    fn value(&mut self, name: Option<&'a [u8]>, depth: u8) -> Option<()> {
        if depth > MOST_DEPTH {
            return None;
        }
        let found = match self.array()? {
            [NUMBER] => ScriptValue::Number(self.number()?),
            [BOOLEAN] => ScriptValue::Flag(self.array()? != [0]),
            [STRING] => ScriptValue::Text(self.string()?),
            [LONG_STRING] => {
                let length = u32::from_be_bytes(self.array()?);
                ScriptValue::Text(self.bytes(usize::try_from(length).ok()?)?)
            }
            [DATE] => {
                let ms = self.number()?;
                // The time zone is reserved (§2.13).
                self.array::<2>()?;
                ScriptValue::Date(ms)
            }
            [OBJECT] => return self.members(depth),
            [ECMA_ARRAY] => {
                // How many there are is said and not to be relied on (§2.10).
                self.array::<4>()?;
                return self.members(depth);
            }
            [STRICT_ARRAY] => {
                let count = u32::from_be_bytes(self.array()?);
                return (0..count).try_for_each(|_| self.value(None, depth + 1));
            }
            [NULL | UNDEFINED | UNSUPPORTED] => return Some(()),
            _ => return None,
        };
        if let Some(name) = name {
            (self.take)(name, found);
        }
        Some(())
    }

    /// Names with their values up to the empty name and the end marker (§2.5, §2.11).
    fn members(&mut self, depth: u8) -> Option<()> {
        loop {
            match self.string()? {
                b"" => return (self.array()? == [OBJECT_END]).then_some(()),
                name => self.value(Some(name), depth + 1)?,
            }
        }
    }

    fn number(&mut self) -> Option<f64> {
        self.array().map(f64::from_be_bytes)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_be_bytes(self.array()?);
        self.bytes(usize::from(length))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bytes: &[u8]) -> Vec<(String, Option<String>)> {
        let mut found = Vec::new();
        named_values(bytes, |name, value| found.push((name.escape_ascii().to_string(), value.to_text())));
        found
    }

    fn member(name: &str, value: &[u8]) -> Vec<u8> {
        [&[0, u8::try_from(name.len()).unwrap()], name.as_bytes(), value].concat()
    }

    fn object(members: &[Vec<u8>]) -> Vec<u8> {
        [&[OBJECT][..], &members.concat(), &[0, 0, OBJECT_END]].concat()
    }

    /// One of each kind.
    fn all() -> Vec<u8> {
        let number = |number: f64| [&[NUMBER][..], &number.to_be_bytes()].concat();
        let list = [&[STRICT_ARRAY, 0, 0, 0, 2][..], &number(1.0), &object(&[member("d", &[BOOLEAN, 0])])].concat();
        object(&[
            member("a", &number(2.5)),
            member("b", &[ECMA_ARRAY, 0, 0, 0, 9, 0, 1, b'c', BOOLEAN, 2, 0, 0, OBJECT_END]),
            member("n", &[NULL]),
            member("l", &list),
            member("e", b"\x02\0\x05x\xC3\xA9\0y"),
            member("f", b"\x02\0\x03\xE9t\xE9"),
            member("g", b"\x0C\0\0\0\x03abc"),
            member("h", &[&[DATE][..], &1.6e12_f64.to_be_bytes(), &[0, 60]].concat()),
            member("i", &[&[DATE][..], &f64::INFINITY.to_be_bytes(), &[0, 0]].concat()),
        ])
    }

    #[test]
    fn every_kind_of_value_is_read_with_its_name() {
        let expected = [
            ("a", Some("2")),
            ("c", Some("true")),
            ("d", Some("false")),
            ("e", Some("x\u{e9}")),
            ("f", Some("\u{fffd}t\u{fffd}")),
            ("g", Some("abc")),
            ("h", Some("2020-09-13T12:26:40.000000Z")),
            ("i", None),
        ];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.map(str::to_owned)));
        assert_eq!(said(&all()), expected);
    }

    #[test]
    fn every_cut_gives_what_stands_before_it() {
        let (bytes, whole) = (all(), said(&all()));
        for length in 0..bytes.len() {
            assert!(whole.starts_with(&said(&bytes[..length])), "cut at {length}");
        }
    }

    #[test]
    fn hostile_bytes_end() {
        let deep = |levels: usize| [[OBJECT, 0, 1, b'x'].repeat(levels), b"\x02\0\x01y".to_vec()].concat();
        let most = usize::from(MOST_DEPTH);
        assert_eq!((said(&deep(most)).len(), said(&deep(most + 1)).len()), (1, 0));
        assert_eq!(said(&[STRICT_ARRAY, 0, 0, 0, 1].repeat(100_000)), []);
        assert_eq!(said(&[&[STRICT_ARRAY, 0xFF, 0xFF, 0xFF, 0xFF][..], &[NULL].repeat(100_000)].concat()), []);
        assert_eq!(said(b"\x03\0\x01a\x0C\xFF\xFF\xFF\xFFabc"), []);
        for kind in 0..=255 {
            let _ = said(&[&[OBJECT, 0, 1, b'a', kind][..], &[kind; 64]].concat());
        }
    }
}
