//! Pictures of H.265 that are not decoded where decoding begins: RASL pictures refer to what came before the picture of random access
//! that they belong to, and are skipped with it where that is the first of its sequence (ITU-T H.265 §8.1.3, `NoRaslOutputFlag`).
//!
//! libavcodec skips only the first slice of each, and reports the others as slices of a picture that is missing.

/// RASL pictures (Table 7-1).
const SKIPPED: std::ops::RangeInclusive<u8> = 8..=9;
/// Pictures of random access.
const RANDOM_ACCESS: std::ops::RangeInclusive<u8> = 16..=23;
/// Those that always begin a sequence: BLA and IDR.
const BEGINS: std::ops::RangeInclusive<u8> = 16..=20;
/// The first type that is none of a slice.
const FIRST_OTHER: u8 = 32;
/// The end of a sequence or of the stream: what follows begins one.
const ENDS: std::ops::RangeInclusive<u8> = 36..=37;

/// Tells the packets of a track that are to be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeadingPackets {
    /// Bytes of the length in front of each unit; `None` where start codes part them.
    length_bytes: Option<usize>,
    /// Whether nothing came before the next picture.
    is_at_begin: bool,
    /// Whether what belongs to the last picture of random access is skipped.
    skips: bool,
}

impl LeadingPackets {
    /// Of a track of such a codec and configuration; `None` for all others.
    pub(super) fn of(codec: &str, extradata: &[u8]) -> Option<Self> {
        // A configuration record begins with its version (ISO/IEC 14496-15 §8.3.3.1).
        let says = extradata.first() == Some(&1);
        let length_bytes = extradata.get(21).filter(|_| says).map(|length| usize::from(length & 3) + 1);
        (codec == "hevc").then_some(Self { length_bytes, is_at_begin: true, skips: false })
    }

    /// Whether the next packet is to be skipped.
    pub(super) fn skips(&mut self, packet: &[u8]) -> bool {
        let kinds = || -> Box<dyn Iterator<Item = u8>> {
            match self.length_bytes {
                Some(length_bytes) => Box::new(of_lengths(packet, length_bytes)),
                None => Box::new(of_start_codes(packet)),
            }
        };
        // All slices of a picture are of one type.
        let picture = kinds().find(|kind| *kind < FIRST_OTHER);
        let ends = kinds().any(|kind| ENDS.contains(&kind));
        let Some(picture) = picture else {
            self.is_at_begin |= ends;
            return false;
        };
        if RANDOM_ACCESS.contains(&picture) {
            self.skips = self.is_at_begin || BEGINS.contains(&picture);
        }
        self.is_at_begin = ends;
        self.skips && SKIPPED.contains(&picture)
    }
}

const fn kind_of(header: u8) -> u8 {
    header >> 1 & 0x3F
}

/// Types of the units behind their lengths.
fn of_lengths(mut packet: &[u8], length_bytes: usize) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let (length, rest) = packet.split_at_checked(length_bytes)?;
        let length = length.iter().fold(0_usize, |value, byte| value << 8 | usize::from(*byte));
        let kind = rest.first().map(|header| kind_of(*header));
        packet = rest.get(length..).unwrap_or_default();
        kind
    })
}

/// Types of the units behind start codes.
fn of_start_codes(packet: &[u8]) -> impl Iterator<Item = u8> {
    packet.windows(4).filter(|window| window[..3] == [0, 0, 1]).map(|window| kind_of(window[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: [u8; 22] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF];

    fn units(kinds: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let unit = |kind: &u8| [kind << 1, 1, 0xAA];
        let lengths = kinds.iter().flat_map(|kind| [&[0, 0, 0, 3][..], &unit(kind)].concat()).collect();
        let codes = kinds.iter().flat_map(|kind| [&[0, 0, 1][..], &unit(kind)].concat()).collect();
        (lengths, codes)
    }

    /// Which of so many packets, each of units of some types, are skipped.
    fn skipped(packets: &[&[u8]]) -> Vec<bool> {
        let mut with_lengths = LeadingPackets::of("hevc", &RECORD).unwrap();
        let mut with_codes = LeadingPackets::of("hevc", &[]).unwrap();
        let both = packets.iter().map(|kinds| {
            let (lengths, codes) = units(kinds);
            let skips = with_lengths.skips(&lengths);
            assert_eq!(with_codes.skips(&codes), skips, "{kinds:?}");
            skips
        });
        both.collect()
    }

    #[test]
    fn what_refers_to_pictures_before_the_first_is_skipped() {
        // CRA with parameter sets, RASL in slices, RADL, a trailing picture, and a CRA in the middle.
        let open: [&[u8]; 7] = [&[32, 33, 34, 21, 21], &[8, 8, 8], &[9, 9], &[6], &[1, 1], &[21], &[8]];
        assert_eq!(skipped(&open), [false, true, true, false, false, false, false]);
        assert_eq!(skipped(&[&[19], &[1], &[21], &[9]]), [false; 4], "an IDR picture begins it");
        assert_eq!(skipped(&[&[19], &[16], &[9]]), [false, false, true], "a broken link has lost them anywhere");
        assert_eq!(skipped(&[&[19], &[1, 36], &[21], &[9]]), [false, false, false, true], "a sequence ended before");
        assert_eq!(skipped(&[&[1], &[21], &[9]]), [false; 3], "something came before, whatever a decoder makes of it");
    }

    #[test]
    fn other_codecs_and_cut_packets_are_passed_on() {
        assert_eq!(LeadingPackets::of("h264", &RECORD), None);
        let mut leading = LeadingPackets::of("hevc", &RECORD).unwrap();
        for packet in [&[][..], &[0, 0], &[0, 0, 0, 9], &[0xFF; 9]] {
            assert!(!leading.skips(packet));
        }
    }
}
