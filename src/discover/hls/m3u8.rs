//! Just enough of HLS playlists (RFC 8216): which files they name and whether they have ended.

use percent_encoding::percent_decode_str;

use super::limits::{LimitExceeded, MAX_NAME_BYTES, has_room};

/// Target duration where a playlist names none: RFC 8216 §4.3.3.1 requires one, servers' usual default stands in.
const DEFAULT_TARGET_MS: i64 = 10_000;

/// What a playlist says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Playlist {
    /// Segments and initialisation sections (`EXT-X-MAP`), as written, in order, each once in a row.
    pub(super) segments: Vec<String>,
    /// Media playlists that a master playlist names.
    pub(super) variants: Vec<String>,
    /// `#EXT-X-ENDLIST` (§4.3.3.4).
    pub(super) has_ended: bool,
    /// `#EXT-X-MEDIA-SEQUENCE` (§4.3.3.2): the number of the first segment that is named.
    pub(super) media_sequence: u64,
    /// `#EXT-X-TARGETDURATION` (§4.3.3.1) in milliseconds.
    pub(super) target_ms: i64,
}

/// Reads a playlist. Text that is none gives an empty one, as far as it goes; one of too many names is refused.
pub(super) fn parse(text: &str) -> Result<Playlist, LimitExceeded> {
    let mut list = Playlist {
        segments: Vec::new(),
        variants: Vec::new(),
        has_ended: false,
        media_sequence: 0,
        target_ms: DEFAULT_TARGET_MS,
    };
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        match line.strip_prefix('#') {
            None if line.is_empty() => {}
            None => add_name(&mut list, line)?,
            Some(tag) => read_tag(&mut list, tag)?,
        }
    }
    Ok(list)
}

fn read_tag(list: &mut Playlist, tag: &str) -> Result<(), LimitExceeded> {
    let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
    match name {
        "EXT-X-ENDLIST" => list.has_ended = true,
        "EXT-X-MEDIA-SEQUENCE" => list.media_sequence = value.trim().parse().unwrap_or(0),
        "EXT-X-TARGETDURATION" => {
            if let Some(seconds) = value.trim().parse::<f64>().ok().filter(|s| s.is_finite() && *s > 0.0) {
                list.target_ms = whole_ms(seconds);
            }
        }
        // Initialisation sections, renditions and trick-play playlists name their file in an attribute.
        "EXT-X-MAP" | "EXT-X-MEDIA" | "EXT-X-I-FRAME-STREAM-INF" => {
            if let Some(uri) = uri_attribute(value) {
                add_name(list, uri)?;
            }
        }
        _ => {}
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to a day before the cast")]
pub(super) fn whole_ms(seconds: f64) -> i64 {
    (seconds.clamp(0.0, 86_400.0) * 1000.0).round() as i64
}

/// `URI="…"` of an attribute list (§4.2); other attributes end in URI too, so a name begins the list or follows a comma.
fn uri_attribute(attributes: &str) -> Option<&str> {
    let at = attributes.match_indices("URI=\"").map(|(at, _)| at).find(|at| {
        let before = attributes[..*at].trim_end();
        before.is_empty() || before.ends_with(',')
    })?;
    attributes[at + 5..].split('"').next()
}

fn add_name(list: &mut Playlist, name: &str) -> Result<(), LimitExceeded> {
    if name.len() > MAX_NAME_BYTES {
        return Ok(());
    }
    let path = name.split(['?', '#']).next().unwrap_or(name);
    let extension = path.rsplit_once('.').map(|(_, extension)| extension);
    let is_playlist = extension.is_some_and(|e| e.eq_ignore_ascii_case("m3u8"));
    let names = if is_playlist { &mut list.variants } else { &mut list.segments };
    // One file with byte ranges is named by every segment in a row.
    if names.last().is_none_or(|last| last != name) {
        has_room(names.len())?;
        names.push(name.to_owned());
    }
    Ok(())
}

/// The readings of a name as a path below the playlist's directory: as written, and as a URI (query removed, `%20`
/// decoded). None if it leads out of the directory.
pub(super) fn readings(name: &str) -> Vec<String> {
    let bare = name.split(['?', '#']).next().unwrap_or(name);
    let mut readings = vec![name.to_owned()];
    for other in [bare.to_owned(), decode(bare)] {
        if !readings.contains(&other) {
            readings.push(other);
        }
    }
    readings.retain(|r| stays_below(r));
    readings.iter_mut().for_each(straighten);
    readings
}

/// Takes out what leads nowhere (`./`, `//`): one file has one path.
fn straighten(path: &mut String) {
    let is_there = |part: &&str| !part.is_empty() && *part != ".";
    if path.contains("//") || path.split('/').any(|part| part == ".") {
        *path = path.split('/').filter(is_there).collect::<Vec<_>>().join("/");
    }
}

fn stays_below(name: &str) -> bool {
    let has_scheme = name.find(':').is_some_and(|at| name[at..].starts_with("://") || name[..at] == *"data");
    !name.is_empty()
        && !name.starts_with('/')
        && !name.contains('\0')
        && !has_scheme
        && name.split('/').all(|part| part != "..")
}

fn decode(name: &str) -> String {
    percent_decode_str(name).decode_utf8().map_or_else(|_| name.to_owned(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::super::limits::MAX_NAMES;
    use super::*;

    fn parse(text: &str) -> Playlist {
        super::parse(text).unwrap()
    }

    #[test]
    fn a_playlist_of_more_names_than_the_limit_is_refused() {
        let names = |count: usize| (0..count).map(|n| format!("{n}\n")).collect::<Vec<_>>().concat();
        assert_eq!(parse(&names(MAX_NAMES)).segments.len(), MAX_NAMES);
        assert_eq!(super::parse(&names(MAX_NAMES + 1)).unwrap_err().limit, MAX_NAMES as u64);
        let variants = "a.m3u8\nb.m3u8\n".repeat(MAX_NAMES / 2 + 1);
        assert!(super::parse(&variants).is_err());
    }

    #[test]
    fn a_name_longer_than_a_path_names_no_file() {
        let list = parse(&format!("{}\n{}\n", "a".repeat(MAX_NAME_BYTES), "b".repeat(MAX_NAME_BYTES + 1)));
        assert_eq!(list.segments, ["a".repeat(MAX_NAME_BYTES)]);
    }

    #[test]
    fn a_media_playlist_names_segments_and_their_initialisation() {
        let list = parse(
            "#EXTM3U\r\n#EXT-X-VERSION:7\r\n#EXT-X-TARGETDURATION:2\r\n#EXT-X-MAP:URI=\"room1_1700000000000_init.mp4\"\r\n\
             #EXTINF:2.0,\r\nroom1000000001.fmp4\r\n#EXTINF:2.0,\r\nroom1000000002.fmp4\r\n#EXT-X-ENDLIST\r\n",
        );
        assert_eq!(list.segments, ["room1_1700000000000_init.mp4", "room1000000001.fmp4", "room1000000002.fmp4"]);
        assert!(list.has_ended && list.variants.is_empty());
        assert_eq!(list.target_ms, 2000);
    }

    #[test]
    fn a_master_playlist_names_variants() {
        let list = parse(
            "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",URI=\"audio.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=500000\nroom1_480p500kbps.m3u8?token=1\n",
        );
        assert_eq!(list.variants, ["audio.m3u8", "room1_480p500kbps.m3u8?token=1"]);
        assert!(!list.has_ended);
    }

    #[test]
    fn a_file_with_byte_ranges_is_named_once() {
        let list = parse("#EXTM3U\n#EXTINF:1,\n#EXT-X-BYTERANGE:10@0\nall.ts\n#EXTINF:1,\nall.ts\n");
        assert_eq!(list.segments, ["all.ts"]);
    }

    #[test]
    fn names_that_lead_out_are_ignored() {
        for name in ["../x.ts", "a/../../x.ts", "/etc/passwd", "https://cdn/x.ts", "data:video/mp2t;base64,AA", ""] {
            assert!(readings(name).is_empty(), "{name}");
        }
        assert_eq!(readings("%2e%2e/x.ts"), ["%2e%2e/x.ts"]);
        assert_eq!(readings("a%20b.ts?x=1"), ["a%20b.ts?x=1", "a%20b.ts", "a b.ts"]);
        assert_eq!(readings("720p/x.ts"), ["720p/x.ts"]);
        assert_eq!(readings("././720p//x.ts"), ["720p/x.ts"]);
    }

    #[test]
    fn random_text_is_harmless() {
        let list = parse("\0\u{feff}#EXT-X-TARGETDURATION:NaN\n#EXT-X-MAP:URI=\"\n%\n%f\n#EXT-X-MAP:X-URI=\"q\"\n");
        assert_eq!(list.target_ms, DEFAULT_TARGET_MS);
        assert_eq!(readings("%f"), ["%f"]);
    }
}
