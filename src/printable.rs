//! Text that came from outside (names of files, words of stores, headers of recordings), made safe to print and to log.
//!
//! A name may hold an escape sequence that repaints the terminal, a line break that poses as a line of the log, or a
//! control for writing from right to left that shows `gpj.exe` as `exe.jpg`. This is the only place where such
//! text is turned into something to be shown; `tests/it/escapes.rs` finds what goes past it.

use std::fmt::{self, Debug, Display, Formatter, Write};
use std::ops::RangeInclusive;
use std::path::{self, Path};

/// Anything that can be shown, with what could mislead its reader escaped as `\u{…}`.
///
/// Escaping twice changes nothing, so that a text may pass through it on every floor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Printable<T>(pub T);

impl<'a> Printable<path::Display<'a>> {
    /// A path; bytes that are not UTF-8 become the replacement character.
    pub fn path(path: &'a Path) -> Self {
        Self(path.display())
    }
}

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping { to: f, before: None }, "{}", self.0)
    }
}

impl<T: Debug> Debug for Printable<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping { to: f, before: None }, "{:?}", self.0)
    }
}

/// Escapes what is written through it; remembers the last character across pieces.
struct Escaping<'a, 'f> {
    to: &'a mut Formatter<'f>,
    before: Option<char>,
}

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if is_misleading(c, self.before.replace(c)) {
                write!(self.to, "{}", c.escape_unicode())?;
            } else {
                self.to.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// What is not seen and moves or hides what is: soft hyphen; the Arabic letter mark; the Mongolian vowel separator;
/// zero-width space; marks of direction; line and paragraph separator, embedding and override; word joiner, invisible
/// operators and isolates; byte order mark; interlinear annotation; tags.
const INVISIBLE: [RangeInclusive<char>; 9] = [
    '\u{AD}'..='\u{AD}',
    '\u{61C}'..='\u{61C}',
    '\u{180E}'..='\u{180E}',
    '\u{200B}'..='\u{200F}',
    '\u{2028}'..='\u{202E}',
    '\u{2060}'..='\u{206F}',
    '\u{FEFF}'..='\u{FEFF}',
    '\u{FFF9}'..='\u{FFFB}',
    '\u{E0000}'..='\u{E007F}',
];

/// Whether a character, behind another, would change how a line is read without being seen in it.
///
/// The zero-width joiners stay between letters that need them (Arabic, the scripts of India, emoji); behind ASCII
/// they only make two names look alike.
pub fn is_misleading(c: char, before: Option<char>) -> bool {
    match c {
        '\u{200C}' | '\u{200D}' => before.is_none_or(|b| b.is_ascii()),
        _ => c.is_control() || INVISIBLE.iter().any(|range| range.contains(&c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Printable(text).to_string()
    }

    #[test]
    fn controls_of_every_kind_are_escaped() {
        assert_eq!(shown("a\u{1b}[31m\nb\r\t\u{7f}\u{9b}"), "a\\u{1b}[31m\\u{a}b\\u{d}\\u{9}\\u{7f}\\u{9b}");
        for c in ['\u{61c}', '\u{200b}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{feff}', '\u{e0041}'] {
            assert_eq!(shown(&format!("x{c}y")), format!("x{}y", c.escape_unicode()));
        }
        for c in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            assert_eq!(shown(&c.to_string()), c.escape_unicode().to_string());
        }
    }

    #[test]
    fn writing_of_every_script_stays_as_it_is() {
        for name in ["Grüße 直播 مرحبا", "می‌خواهم", "क्‍ष", "👩‍🚀.mp4", "C:\\live\\u{1b}"]
        {
            assert_eq!(shown(name), name);
        }
        assert_eq!(shown("ad\u{200d}min\u{200c}"), "ad\\u{200d}min\\u{200c}");
    }

    #[test]
    fn a_path_that_is_not_text_and_an_error_of_another_are_shown_alike() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"\xff\x1b[2J.mp4"));
        assert_eq!(Printable::path(path).to_string(), "\u{fffd}\\u{1b}[2J.mp4");
        let error = std::io::Error::other("no\u{9b}31m");
        assert_eq!(Printable(&error).to_string(), "no\\u{9b}31m");
    }

    #[test]
    fn what_was_escaped_is_not_escaped_again() {
        let once = shown("a\u{202e}b\n");
        assert_eq!(shown(&once), once);
    }
}
