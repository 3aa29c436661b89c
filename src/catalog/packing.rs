//! The stored form of a value: JSON, and where that is long, packed. Pure.
//!
//! A record is 2 KB of JSON of which most are the same words as in every other record, and the database keeps about four
//! times of what it holds. LZ4 with a dictionary of those words makes a third of it, in a microsecond or two.
//!
//! A packed value begins with the number of its dictionary, which no JSON begins with: values of older versions are read as
//! they are. A dictionary never changes; another one gets another number.

use std::borrow::Cow;

/// The first byte of what was packed with [`DICTIONARY`].
const PACKED: u8 = 1;
const DICTIONARY: &[u8] = include_bytes!("dictionary-1.json");
/// Shorter values are not worth it.
const WORTH_BYTES: usize = 128;
/// What a value may come to: a unit of many files is long, and no value is longer than this.
const LONGEST_BYTES: usize = 256 << 20;
const LENGTH_BYTES: usize = size_of::<u32>();

/// Packs a value if that makes it shorter.
pub(super) fn pack(json: Vec<u8>) -> Vec<u8> {
    let Ok(length) = u32::try_from(json.len()) else { return json };
    if json.len() < WORTH_BYTES {
        return json;
    }
    let packed = lz4_flex::block::compress_with_dict(&json, DICTIONARY);
    if 1 + LENGTH_BYTES + packed.len() >= json.len() {
        return json;
    }
    [&[PACKED][..], &length.to_le_bytes(), &packed].concat()
}

/// The JSON of a value; what cannot be unpacked is returned as it is, and is no JSON.
pub(super) fn unpack(stored: &[u8]) -> Cow<'_, [u8]> {
    let unpacked = stored.split_first().filter(|(first, _)| **first == PACKED).and_then(|(_, rest)| {
        let (length, packed) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= LONGEST_BYTES)?;
        lz4_flex::block::decompress_with_dict(packed, length, DICTIONARY).ok()
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

    proptest! {
        #[test]
        fn any_text_comes_back(text in "[ -~]{0,2000}") {
            let json = serde_json::to_vec(&text).unwrap();
            let packed = pack(json.clone());
            prop_assert_eq!(unpack(&packed).into_owned(), json);
        }

        #[test]
        fn hostile_bytes_are_an_error_and_nothing_else(mut bytes in prop::collection::vec(any::<u8>(), 5..200)) {
            bytes[0] = PACKED;
            bytes[4] = 0;
            let _ = unpack(&bytes);
        }
    }
}
