//! Segments that a sliding playlist names no longer, or not yet.
//!
//! A live playlist names the last few segments only. Older ones stay on disk for a while, and the newest is there a
//! moment before it is named. Neither is a recording. They are told by their number: the same name but for its last
//! digits, below the smallest or just above the largest that the playlist names. They belong to the unit but are not
//! delivered with it, as only what a playlist names is.

use std::collections::HashMap;

/// How far ahead of its playlist a server may be.
const AHEAD: u64 = 3;

/// Names with a number in them: what stands before and after the last digits.
type Shape<'a> = (&'a str, &'a str);

/// Splits a name at its last run of digits: `live-12.ts` is (`live-`, `.ts`) and 12.
///
/// Digits of the extension do not count, so the run is looked for before the last dot.
fn numbered(name: &str) -> Option<(Shape<'_>, u64)> {
    let stem_end = name.rfind('.').unwrap_or(name.len());
    let stem = &name[..stem_end];
    let end = stem.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = stem[..end]
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |at| at + stem[at..].chars().next().map_or(1, char::len_utf8));
    Some(((&name[..start], &name[end..]), stem[start..end].parse().ok()?))
}

/// What a playlist tells of segments that it does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Segments have been dropped from its beginning (`#EXT-X-MEDIA-SEQUENCE` above 0 or 1, RFC 8216 §4.3.3.2).
    pub(super) slides: bool,
    /// Segments will be added to its end.
    pub(super) is_live: bool,
}

/// A name that belongs to a playlist's sequence although the playlist does not name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beside<'a> {
    pub(super) name: &'a str,
    /// It is not named yet; else it is named no longer.
    pub(super) is_coming: bool,
}

/// Of `listed` names those that the playlist which names `named` has dropped or not named yet.
///
/// Fewer than two named segments of one shape are no sequence.
pub(super) fn beside<'a>(
    named: &[String],
    listed: impl Iterator<Item = &'a String>,
    window: Window,
) -> Vec<Beside<'a>> {
    if !window.slides && !window.is_live {
        return Vec::new();
    }
    let mut shapes: HashMap<Shape<'_>, (u64, u64, usize)> = HashMap::new();
    for (shape, number) in named.iter().filter_map(|name| numbered(name)) {
        let range = shapes.entry(shape).or_insert((number, number, 0));
        *range = (range.0.min(number), range.1.max(number), range.2 + 1);
    }
    shapes.retain(|_, (.., count)| *count >= 2);
    let beside = |name: &'a String| {
        let (shape, number) = numbered(name)?;
        let (smallest, largest, _) = shapes.get(&shape)?;
        let is_coming = window.is_live && number > *largest && number - *largest <= AHEAD;
        (is_coming || (window.slides && number < *smallest)).then_some(Beside { name, is_coming })
    };
    if shapes.is_empty() { Vec::new() } else { listed.filter_map(beside).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLIDING: Window = Window { slides: true, is_live: true };

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    fn beside_of(named: &[&str], listed: &[&str], window: Window) -> Vec<String> {
        let listed = names(listed);
        beside(&names(named), listed.iter(), window).into_iter().map(|b| b.name.to_owned()).collect()
    }

    #[test]
    fn dropped_and_coming_segments_belong_to_a_sliding_playlist() {
        let named = ["live-12.ts", "live-13.ts"];
        let listed = ["live-2.ts", "live-14.ts", "live-99.ts", "live1-2.ts", "alive-2.ts", "live-2.mp4", "live.ts"];
        assert_eq!(beside_of(&named, &listed, SLIDING), ["live-2.ts", "live-14.ts"]);
        let ended = Window { is_live: false, ..SLIDING };
        assert_eq!(beside_of(&named, &listed, ended), ["live-2.ts"]);
    }

    #[test]
    fn a_whole_playlist_claims_nothing_but_what_it_names() {
        let whole = Window { slides: false, is_live: false };
        assert!(beside_of(&["a1.ts", "a2.ts"], &["a0.ts", "a3.ts"], whole).is_empty());
        assert!(beside_of(&["a1.ts"], &["a0.ts", "a2.ts"], SLIDING).is_empty(), "one name is no sequence");
    }

    #[test]
    fn the_number_is_the_last_run_of_digits_before_the_extension() {
        assert_eq!(numbered("room1-0042.ts"), Some((("room1-", ".ts"), 42)));
        assert_eq!(numbered("7.m2ts"), Some((("", ".m2ts"), 7)));
        assert_eq!(numbered("ü1ü.ts"), Some((("ü", "ü.ts"), 1)));
        assert_eq!(numbered("x.ts"), None);
        assert_eq!(numbered("99999999999999999999999.ts"), None);
    }
}
