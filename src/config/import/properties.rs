//! Java `.properties` text (`java.util.Properties.load`): comments, continued lines, escapes.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// Reads the text; the last value of a key holds.
pub(super) fn parse(text: &str) -> BTreeMap<String, String> {
    logical_lines(text).iter().map(|line| split(line)).filter(|(key, _)| !key.is_empty()).collect()
}

/// Decodes the bytes of a file: UTF-8, else ISO 8859-1 as old Java wrote it.
pub(super) fn decode(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect())
}

/// Lines without comments and blanks, those that end in an odd number of backslashes joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut is_continued = false;
    for line in text.lines().map(str::trim_start) {
        let is_nothing = line.is_empty() || line.starts_with(['#', '!']);
        if !is_continued && is_nothing {
            continue;
        }
        let continues = line.len() - line.trim_end_matches('\\').len();
        let body = if continues % 2 == 1 { &line[..line.len() - 1] } else { line };
        match lines.last_mut().filter(|_| is_continued) {
            Some(last) => last.push_str(body),
            None => lines.push(body.to_owned()),
        }
        is_continued = continues % 2 == 1;
    }
    lines
}

/// Key and value: the first unescaped `=`, `:` or blank ends the key.
fn split(line: &str) -> (String, String) {
    let mut chars = line.chars().peekable();
    let key = unescape_until(&mut chars, |c| c == '=' || c == ':' || c.is_whitespace());
    while chars.next_if(|c| c.is_whitespace()).is_some() {}
    if chars.next_if(|c| *c == '=' || *c == ':').is_some() {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
    }
    (key, unescape_until(&mut chars, |_| false))
}

fn unescape_until(chars: &mut Peekable<Chars<'_>>, is_end: impl Fn(char) -> bool) -> String {
    let mut units: Vec<u16> = Vec::new();
    while let Some(c) = chars.next_if(|c| !is_end(*c)) {
        match c {
            '\\' => units.extend(escape(chars)),
            _ => units.extend(c.encode_utf16(&mut [0; 2]).iter()),
        }
    }
    // Java escapes UTF-16 code units: a character beyond the first plane is two of them.
    String::from_utf16_lossy(&units)
}

fn escape(chars: &mut Peekable<Chars<'_>>) -> Vec<u16> {
    let c = match chars.next() {
        Some('u') => return vec![hexadecimal(chars)],
        Some('t') => '\t',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('f') => '\u{c}',
        Some(other) => other,
        None => return Vec::new(),
    };
    c.encode_utf16(&mut [0; 2]).to_vec()
}

fn hexadecimal(chars: &mut Peekable<Chars<'_>>) -> u16 {
    let digits: String = std::iter::from_fn(|| chars.next_if(char::is_ascii_hexdigit)).take(4).collect();
    u16::from_str_radix(&digits, 16).unwrap_or(u16::from(b'?'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_separators_comments_and_continued_lines() {
        let read = parse("# c=1\n! d=1\n a = 1\nb:2\nc 3\nlong = one,\\\n    two\nempty=\nlast=1\nlast=2\n\\# e=5");
        let pairs: Vec<_> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            [("#", "e=5"), ("a", "1"), ("b", "2"), ("c", "3"), ("empty", ""), ("last", "2"), ("long", "one,two")]
        );
    }

    #[test]
    fn escapes_and_windows_ends() {
        let read = parse("path=C\\:\\\\x\r\nname=\\u00fc\\ud83d\\ude00\\tz\r\nend=a\\");
        assert_eq!(read["path"], "C:\\x");
        assert_eq!(read["name"], "ü😀\tz");
        assert_eq!(read["end"], "a");
    }

    #[test]
    fn old_files_are_latin_1() {
        assert_eq!(decode(b"a=\xfc".to_vec()), "a=ü");
        assert_eq!(decode("a=ü".into()), "a=ü");
    }
}
