//! The name under which a browser stores a download (RFC 6266, RFC 8187). Pure.

use axum::http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but `attr-char` of RFC 8187 §3.2.1 that every browser takes.
const EXTENDED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Characters of a name that are kept; file systems take 255 bytes.
const LONGEST: usize = 200;

/// `Content-Disposition` of a download.
pub(super) fn attachment(name: &str) -> HeaderValue {
    let name = plain(name);
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "-._ ()[]+,@=".contains(c);
    let fallback: String = name.chars().map(|c| if is_safe(c) { c } else { '_' }).collect();
    let value =
        format!("attachment; filename=\"{fallback}\"; filename*=UTF-8''{}", utf8_percent_encode(&name, EXTENDED));
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("attachment"))
}

/// A name without directories, control characters, and the marks that turn the direction of writing. The extension stays.
fn plain(name: &str) -> String {
    let is_dangerous = |c: char| {
        c.is_control() || "/\\:*?\"<>|".contains(c) || matches!(c, '\u{200e}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let name: String = name.chars().map(|c| if is_dangerous(c) { '_' } else { c }).collect();
    let name = name.trim().trim_start_matches('.');
    let (stem, extension) = name.rsplit_once('.').filter(|(_, e)| e.len() <= 10).map_or((name, ""), |(s, e)| (s, e));
    let stem: String = stem.chars().take(LONGEST).collect();
    match (stem.is_empty(), extension.is_empty()) {
        (true, _) => "recording".to_owned(),
        (false, true) => stem,
        (false, false) => format!("{stem}.{extension}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_quotes_nor_its_directory() {
        let said = |name: &str| attachment(name).to_str().unwrap().to_owned();
        assert_eq!(said("room 1.mp4"), "attachment; filename=\"room 1.mp4\"; filename*=UTF-8''room%201.mp4");
        assert_eq!(
            said("Übung;\"x\".mp4"),
            "attachment; filename=\"_bung__x_.mp4\"; filename*=UTF-8''%C3%9Cbung%3B_x_.mp4"
        );
        for hostile in ["../../etc/passwd", "a\r\nSet-Cookie: x", "<script>.mp4", "x\u{202e}4pm.exe", "", "...", "con:"]
        {
            let said = said(hostile);
            let quoted = said.split('"').nth(1).unwrap();
            assert_eq!(said.matches('"').count(), 2, "{said}");
            assert!(!quoted.is_empty() && !quoted.contains(['/', '\\', '\r', '\n', '<', ':']), "{said}");
            assert!(!quoted.starts_with('.') && !said.contains("%E2%80%AE"), "{said}");
        }
        let long = said(&format!("{}.mp4", "ä".repeat(4096)));
        assert!(long.len() < 2000 && long.ends_with("%A4.mp4"), "{long}");
    }
}
