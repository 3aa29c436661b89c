//! The stored form of a value: JSON, and where that is long, packed. Pure.
//!
//! A record is 2 KB of JSON of which most are the same words as in every other record, and the database keeps about four
//! times of what it holds. LZ4 with a dictionary of those words makes a third of it, in a microsecond or two.
//!
//! What LZ4 cannot shorten are digests and long numbers: each run of 16 and more lower-case hex digits is first folded into
//! half as many bytes.
//!
//! A packed value begins with the number of its form, which no JSON begins with: values of older versions are read as
//! they are. A form and its dictionary never change; another one gets another number.

use std::borrow::Cow;

/// The first byte of what was packed with [`DICTIONARY`].
const PACKED: u8 = 1;
/// The same where runs of hex digits were folded before.
const FOLDED: u8 = 2;
/// Begins a folded run, before the number of its bytes. JSON has no such byte: it is escaped in texts.
const RUN: u8 = 1;
/// Shorter runs are not worth it: LZ4 shortens them better as they are.
const RUN_DIGITS: usize = 16;
const DICTIONARY: &[u8] = include_bytes!("dictionary-1.json");
/// Shorter values are not worth it.
const WORTH_BYTES: usize = 128;
/// What a value may come to: a unit of many files is long, and no value is longer than this.
const LONGEST_BYTES: usize = 256 << 20;
const LENGTH_BYTES: usize = size_of::<u32>();

/// Packs a value if that makes it shorter.
pub(super) fn pack(json: Vec<u8>) -> Vec<u8> {
    if json.len() < WORTH_BYTES || json.contains(&RUN) {
        return json;
    }
    let folded = fold(&json);
    let Ok(length) = u32::try_from(folded.len()) else { return json };
    let packed = lz4_flex::block::compress_with_dict(&folded, DICTIONARY);
    if 1 + LENGTH_BYTES + packed.len() >= json.len() {
        return json;
    }
    [&[FOLDED][..], &length.to_le_bytes(), &packed].concat()
}

/// A value in the form that this version writes; what is no packed value stays as it is.
pub(super) fn repack(stored: &[u8]) -> Option<Vec<u8>> {
    let is_former = stored.first() == Some(&PACKED);
    is_former.then(|| unpack(stored)).filter(|json| json.first() != Some(&PACKED)).map(|json| pack(json.into_owned()))
}

const fn digit(text: u8) -> Option<u8> {
    match text {
        b'0'..=b'9' => Some(text - b'0'),
        b'a'..=b'f' => Some(text - b'a' + 10),
        _ => None,
    }
}

fn fold(json: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(json.len());
    let mut rest = json;
    while !rest.is_empty() {
        let digits = rest.iter().take(2 * usize::from(u8::MAX)).take_while(|text| digit(**text).is_some()).count();
        let (run, after) = rest.split_at(digits & !1);
        if digits < RUN_DIGITS {
            let plain = digits.max(1);
            folded.extend_from_slice(&rest[..plain]);
            rest = &rest[plain..];
            continue;
        }
        folded.extend([RUN, u8::try_from(run.len() / 2).unwrap_or(u8::MAX)]);
        folded.extend(run.chunks_exact(2).map(|pair| digit(pair[0]).unwrap_or(0) << 4 | digit(pair[1]).unwrap_or(0)));
        rest = after;
    }
    folded
}

fn unfold(folded: &[u8]) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut json = Vec::with_capacity(folded.len() + folded.len() / 4);
    let mut rest = folded;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != RUN {
            json.push(*first);
            continue;
        }
        let (length, after) = rest.split_first()?;
        let (bytes, after) = after.split_at_checked(usize::from(*length))?;
        json.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
        rest = after;
    }
    Some(json)
}

/// The JSON of a value; what cannot be unpacked is returned as it is, and is no JSON.
pub(super) fn unpack(stored: &[u8]) -> Cow<'_, [u8]> {
    let unpacked =
        stored.split_first().filter(|(form, _)| matches!(**form, PACKED | FOLDED)).and_then(|(form, rest)| {
            let (length, packed) = rest.split_first_chunk::<LENGTH_BYTES>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= LONGEST_BYTES)?;
            let text = lz4_flex::block::decompress_with_dict(packed, length, DICTIONARY).ok()?;
            if *form == FOLDED { unfold(&text) } else { Some(text) }
        });
    unpacked.map_or(Cow::Borrowed(stored), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_value_is_shorter_and_comes_back() {
        let json =
            serde_json::to_vec(&vec![serde_json::json!({ "durationMs": 3_600_000, "container": "mp4" }); 40]).unwrap();
        let packed = pack(json.clone());
        assert!(packed.len() < json.len() / 4, "{} of {}", packed.len(), json.len());
        assert_eq!(unpack(&packed).as_ref(), json);
    }

    #[test]
    fn what_an_older_version_wrote_is_read_as_it_is() {
        for json in [&b"{\"a\": 1}"[..], b"[]", b"7", b"\"x\"", b""] {
            assert_eq!(unpack(json).as_ref(), json);
            assert_eq!(pack(json.to_vec()), json);
        }
    }

    /// As the version before wrote a value.
    fn former(json: &[u8]) -> Vec<u8> {
        let packed = lz4_flex::block::compress_with_dict(json, DICTIONARY);
        [&[PACKED][..], &u32::try_from(json.len()).unwrap().to_le_bytes(), &packed].concat()
    }

    #[test]
    fn digests_and_long_numbers_take_half_and_come_back() {
        let digest = |n: u32| blake3::hash(&n.to_be_bytes()).to_hex().to_string();
        let digests = (0..20).map(digest).collect::<Vec<_>>();
        let json = serde_json::to_vec(&serde_json::json!({
            "digests": digests, "long": "ab".repeat(700), "odd": format!("{}f", digest(1)), "short": "0123456789abcde",
            "upper": "ABCDEF0123456789ABCDEF", "mtimeNs": 1_772_634_615_123_456_789_u64,
        }))
        .unwrap();
        let (new, old) = (pack(json.clone()), former(&json));
        assert_eq!(unpack(&new).as_ref(), json);
        assert_eq!(unpack(&old).as_ref(), json);
        assert!(new.len() < old.len() * 6 / 10, "{} of {}", new.len(), old.len());
        assert_eq!(repack(&old), Some(new.clone()));
        assert_eq!(repack(&new), None);
        assert_eq!(repack(b"{}"), None);
        assert_eq!(repack(&[PACKED, 9, 0, 0, 0, 77]), None, "what cannot be read stays as it is");
    }

    proptest! {
        #[test]
        fn runs_of_any_length_come_back(runs in prop::collection::vec("[0-9a-f]{0,40}[ -~]?", 0..200)) {
            let json = serde_json::to_vec(&runs).unwrap();
            prop_assert_eq!(unfold(&fold(&json)).unwrap(), json.clone());
            prop_assert_eq!(unpack(&pack(json.clone())).into_owned(), json);
        }

        #[test]
        fn any_text_comes_back(text in "[ -~]{0,2000}") {
            let json = serde_json::to_vec(&text).unwrap();
            let packed = pack(json.clone());
            prop_assert_eq!(unpack(&packed).into_owned(), json);
        }

        #[test]
        fn hostile_bytes_are_an_error_and_nothing_else(
            mut bytes in prop::collection::vec(any::<u8>(), 5..200),
            form in PACKED..=FOLDED,
        ) {
            let _ = unfold(&bytes);
            bytes[0] = form;
            bytes[4] = 0;
            let _ = unpack(&bytes);
        }
    }
}
