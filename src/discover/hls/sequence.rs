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
type NumberedName<'a> = (&'a str, &'a str);

/// Splits a name at its last run of digits: `live-12.ts` is (`live-`, `.ts`) and 12.
///
/// Digits of the extension do not count, so the run is looked for before the last dot.
fn numbered(name: &str) -> Option<(NumberedName<'_>, u64)> {
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
pub(super) struct SequenceWindow {
    /// Segments have been dropped from its beginning (`#EXT-X-MEDIA-SEQUENCE` above 0 or 1, RFC 8216 §4.3.3.2).
    pub(super) slides: bool,
    /// Segments will be added to its end.
    pub(super) is_live: bool,
}

/// A name that belongs to a playlist's sequence although the playlist does not name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnlistedSegment<'a> {
    pub(super) name: &'a str,
    /// It is not named yet; else it is named no longer.
    pub(super) is_coming: bool,
}

/// The numbered names of a directory, found by what stands around their number: each number with its place in the directory.
#[derive(Debug)]
pub(super) struct Sequences(HashMap<(String, String), Vec<(u64, usize)>>);

impl Sequences {
    pub(super) fn of(listed: &[impl AsRef<str>]) -> Self {
        let mut by_shape: HashMap<_, Vec<(u64, usize)>> = HashMap::new();
        for (place, name) in listed.iter().enumerate() {
            if let Some((shape, number)) = numbered(name.as_ref()) {
                by_shape.entry(owned(shape)).or_default().push((number, place));
            }
        }
        for numbers in by_shape.values_mut() {
            numbers.sort_unstable();
        }
        Self(by_shape)
    }

    /// Those of `listed`, the same names, that the playlist which names `named` has dropped or not named yet.
    ///
    /// Fewer than two named segments of one shape are no sequence.
    pub(super) fn beside<'a>(
        &self,
        listed: &'a [impl AsRef<str>],
        named: &[String],
        window: SequenceWindow,
    ) -> Vec<UnlistedSegment<'a>> {
        if !window.slides && !window.is_live {
            return Vec::new();
        }
        let mut shapes: HashMap<NumberedName<'_>, (u64, u64, usize)> = HashMap::new();
        for (shape, number) in named.iter().filter_map(|name| numbered(name)) {
            let range = shapes.entry(shape).or_insert((number, number, 0));
            *range = (range.0.min(number), range.1.max(number), range.2 + 1);
        }
        let mut beside = Vec::new();
        for (shape, (smallest, largest, _)) in shapes.into_iter().filter(|(_, (.., count))| *count >= 2) {
            let numbers = self.0.get(&owned(shape)).map_or(&[][..], Vec::as_slice);
            let dropped = numbers.partition_point(|(number, _)| window.slides && *number < smallest);
            let known = numbers.partition_point(|(number, _)| *number <= largest);
            let coming = numbers[known..].iter().take_while(|(number, _)| window.is_live && number - largest <= AHEAD);
            let name = |place: usize| listed.get(place).map_or("", AsRef::as_ref);
            beside.extend(
                numbers[..dropped].iter().map(|(_, place)| UnlistedSegment { name: name(*place), is_coming: false }),
            );
            beside.extend(coming.map(|(_, place)| UnlistedSegment { name: name(*place), is_coming: true }));
        }
        beside.sort_unstable_by_key(|b| b.name);
        beside
    }
}

fn owned((before, behind): NumberedName<'_>) -> (String, String) {
    (before.to_owned(), behind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLIDING: SequenceWindow = SequenceWindow { slides: true, is_live: true };

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    fn beside_of(named: &[&str], listed: &[&str], window: SequenceWindow) -> Vec<String> {
        Sequences::of(listed).beside(listed, &names(named), window).into_iter().map(|b| b.name.to_owned()).collect()
    }

    #[test]
    fn dropped_and_coming_segments_belong_to_a_sliding_playlist() {
        let named = ["live-12.ts", "live-13.ts"];
        let listed = ["live-2.ts", "live-14.ts", "live-99.ts", "live1-2.ts", "alive-2.ts", "live-2.mp4", "live.ts"];
        assert_eq!(beside_of(&named, &listed, SLIDING), ["live-14.ts", "live-2.ts"]);
        let ended = SequenceWindow { is_live: false, ..SLIDING };
        assert_eq!(beside_of(&named, &listed, ended), ["live-2.ts"]);
    }

    #[test]
    fn a_whole_playlist_claims_nothing_but_what_it_names() {
        let whole = SequenceWindow { slides: false, is_live: false };
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
