//! One digest for the same media in different wrappings.
//!
//! A remux may turn start codes into lengths (ITU-T H.264 Annex B ↔ ISO/IEC 14496-15 §5.3), strip ADTS headers
//! (ISO/IEC 13818-7 §6.2) and drop temporal delimiters (AV1 in ISOBMFF §2.4). What is hashed is what such a change
//! must not touch: NAL units without start codes, lengths, trailing zeros and access unit delimiters; AAC frames
//! without ADTS; the OBUs that every container keeps; all else as it is. Nothing is allocated per packet.

use super::slab::ChunkedDigest;

/// How the payloads of one track are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Hashed as it is, with its length.
    Plain,
    /// Hashed as it is; packets may be merged by the muxer (E-AC-3 with fewer than six blocks per frame).
    Joined,
    /// NAL units, each behind a big-endian length of so many bytes.
    Lengths { size_bytes: usize, codec: NalCodec },
    /// NAL units behind start codes.
    StartCodes(NalCodec),
    /// AAC with an ADTS header where there is one.
    Adts,
    /// AV1 open bitstream units.
    Obu,
}

/// Which standard's NAL unit header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NalCodec {
    /// One byte, type in the low five bits.
    H264,
    /// Two bytes, type in bits 1–6 of the first.
    H265,
}

impl NalCodec {
    fn is_delimiter(self, unit: &[u8]) -> bool {
        match (self, unit) {
            (Self::H264, [head, ..]) => head & 0x1F == 9,
            (Self::H265, [head, ..]) => head >> 1 & 0x3F == 35,
            _ => false,
        }
    }

    /// Whether the unit says how the pictures of a sequence are coded: SPS; VPS and SPS.
    fn is_sequence_parameters(self, unit: &[u8]) -> bool {
        match (self, unit) {
            (Self::H264, [head, ..]) => head & 0x1F == 7,
            (Self::H265, [head, ..]) => matches!(head >> 1 & 0x3F, 32 | 33),
            _ => false,
        }
    }

    /// Whether the unit is a part of a picture.
    fn is_slice(self, unit: &[u8]) -> bool {
        match (self, unit) {
            (Self::H264, [head, ..]) => matches!(head & 0x1F, 1..=5),
            (Self::H265, [head, ..]) => head >> 1 & 0x3F < 32,
            _ => false,
        }
    }
}

const AVCC_BYTES: usize = 7;
const HVCC_BYTES: usize = 23;
/// Marks the end of a packet of NAL units; no unit is that long.
const PACKET_END: [u8; 4] = [0xFF; 4];

impl Framing {
    /// Tells the framing from the codec's name and its out-of-band configuration.
    pub fn of(codec: &str, extradata: &[u8]) -> Self {
        match codec {
            "h264" if extradata.len() >= AVCC_BYTES && extradata[0] == 1 => {
                Self::Lengths { size_bytes: usize::from(extradata[4] & 3) + 1, codec: NalCodec::H264 }
            }
            "h264" => Self::StartCodes(NalCodec::H264),
            "hevc" if extradata.len() >= HVCC_BYTES && !begins_with_start_code(extradata) => {
                Self::Lengths { size_bytes: usize::from(extradata[21] & 3) + 1, codec: NalCodec::H265 }
            }
            "hevc" => Self::StartCodes(NalCodec::H265),
            "aac" if extradata.is_empty() => Self::Adts,
            "av1" => Self::Obu,
            "eac3" => Self::Joined,
            _ => Self::Plain,
        }
    }

    /// The framing in ISO base media, where NAL units stand behind lengths of so many bytes.
    pub fn in_iso(codec: &str, nal_length_bytes: usize) -> Self {
        match codec {
            "h264" => Self::Lengths { size_bytes: nal_length_bytes, codec: NalCodec::H264 },
            "hevc" => Self::Lengths { size_bytes: nal_length_bytes, codec: NalCodec::H265 },
            "aac" => Self::Plain,
            other => Self::of(other, &[]),
        }
    }

    /// Whether the muxer may join packets, so that their number says nothing.
    pub fn joins_packets(self) -> bool {
        self == Self::Joined
    }

    /// Adds one packet's payload to the digest.
    pub fn feed(self, payload: &[u8], hash: &mut ChunkedDigest) {
        match self {
            Self::Plain => feed_sized(payload, hash),
            Self::Joined => hash.update(payload),
            Self::Adts => feed_sized(without_adts(payload), hash),
            Self::Obu => feed_obus(payload, hash),
            Self::StartCodes(codec) => {
                each_annex_b_unit(payload, |unit| feed_unit(unit, codec, hash));
                hash.update(&PACKET_END);
            }
            Self::Lengths { size_bytes, codec } => {
                each_sized_unit(payload, size_bytes, |unit| feed_unit(unit, codec, hash));
                hash.update(&PACKET_END);
            }
        }
    }

    /// What a payload that carries its own configuration says of it, told from others: the sequence parameter sets in front of a
    /// picture, profile, rate and channels of ADTS. `None` where it says nothing.
    pub fn configuration(self, payload: &[u8]) -> Option<[u8; 32]> {
        match self {
            Self::Adts if is_adts(payload) => {
                let mut said = [0; 32];
                (said[0], said[1]) = (payload[2] & 0xFD, payload[3] & 0xC0);
                Some(said)
            }
            Self::StartCodes(codec) => sequence_parameters(payload, codec),
            _ => None,
        }
    }

    /// Whether the payload says of itself that it is whole; false means cut or unknown.
    pub fn is_surely_whole(self, payload: &[u8]) -> bool {
        match self {
            Self::Adts => adts_frame_bytes(payload) == Some(payload.len()),
            _ => false,
        }
    }
}

fn begins_with_start_code(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 1, ..] | [0, 0, 0, 1, ..])
}

fn feed_sized(payload: &[u8], hash: &mut ChunkedDigest) {
    hash.update(&(payload.len() as u64).to_be_bytes());
    hash.update(payload);
}

fn without_trailing_zeros(unit: &[u8]) -> &[u8] {
    &unit[..unit.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1)]
}

fn feed_unit(unit: &[u8], codec: NalCodec, hash: &mut ChunkedDigest) {
    let unit = without_trailing_zeros(unit);
    if unit.is_empty() || codec.is_delimiter(unit) {
        return;
    }
    hash.update(&u32::try_from(unit.len()).unwrap_or(u32::MAX - 1).to_be_bytes());
    hash.update(unit);
}

fn sequence_parameters(payload: &[u8], codec: NalCodec) -> Option<[u8; 32]> {
    let (mut hash, mut is_said) = (blake3::Hasher::new(), false);
    let mut code = next_start_code(payload, 0)?;
    loop {
        let unit = &payload[code + 3..];
        let next = if codec.is_slice(unit) { None } else { next_start_code(payload, code + 3) };
        if codec.is_sequence_parameters(unit) {
            let unit = next.map_or(unit, |next| &payload[code + 3..next]);
            let unit = without_trailing_zeros(unit);
            hash.update(&(unit.len() as u64).to_be_bytes()).update(unit);
            is_said = true;
        }
        match next {
            Some(next) => code = next,
            None => return is_said.then(|| hash.finalize().into()),
        }
    }
}

/// Calls `take` with every NAL unit between start codes; bytes before the first start code count as a unit.
fn each_annex_b_unit(payload: &[u8], mut take: impl FnMut(&[u8])) {
    let mut begin = 0;
    while let Some(code) = next_start_code(payload, begin) {
        take(&payload[begin..code]);
        begin = code + 3;
    }
    take(&payload[begin..]);
}

/// Offset of the next `00 00 01` at or after `from`. Looks at every third byte only, as most are no part of one.
fn next_start_code(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 2;
    while at < bytes.len() {
        match bytes[at] {
            1 if bytes[at - 1] == 0 && bytes[at - 2] == 0 => return Some(at - 2),
            0 => at += 1,
            _ => at += 3,
        }
    }
    None
}

/// Calls `take` with every unit behind a length; what does not parse is taken whole.
fn each_sized_unit(mut rest: &[u8], size_bytes: usize, mut take: impl FnMut(&[u8])) {
    while rest.len() > size_bytes {
        let (length, tail) = rest.split_at(size_bytes);
        let length = length.iter().fold(0usize, |sum, b| sum << 8 | usize::from(*b));
        if length > tail.len() {
            break;
        }
        take(&tail[..length]);
        rest = &tail[length..];
    }
    take(rest);
}

const ADTS_HEADER_BYTES: usize = 7;

pub(super) fn is_adts(payload: &[u8]) -> bool {
    payload.len() > ADTS_HEADER_BYTES && payload[0] == 0xFF && payload[1] & 0xF6 == 0xF0
}

fn without_adts(payload: &[u8]) -> &[u8] {
    if !is_adts(payload) {
        return payload;
    }
    let has_crc = payload[1] & 1 == 0;
    &payload[(ADTS_HEADER_BYTES + if has_crc { 2 } else { 0 }).min(payload.len())..]
}

fn adts_frame_bytes(payload: &[u8]) -> Option<usize> {
    is_adts(payload)
        .then(|| usize::from(payload[3] & 3) << 11 | usize::from(payload[4]) << 3 | usize::from(payload[5] >> 5))
}

/// Hashes the OBUs that containers keep; temporal delimiters, redundant headers, tile lists and padding they drop.
fn feed_obus(mut rest: &[u8], hash: &mut ChunkedDigest) {
    while let Some(length) = obu_bytes(rest) {
        let (obu, tail) = rest.split_at(length);
        if !matches!(obu[0] >> 3 & 0xF, 2 | 7 | 8 | 15) {
            feed_sized(obu, hash);
        }
        rest = tail;
    }
    feed_sized(rest, hash);
}

/// Length of the first OBU with a size field (AV1 specification §5.3.1), header included, if it lies inside.
fn obu_bytes(bytes: &[u8]) -> Option<usize> {
    let head = *bytes.first()?;
    let has_size = head & 0x02 != 0;
    let mut at = if head & 0x04 == 0 { 1 } else { 2 };
    let mut size = 0usize;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        size |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let end = at.checked_add(size)?;
    (has_size && end <= bytes.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(framing: Framing, packets: &[&[u8]]) -> [u8; 32] {
        let mut hash = ChunkedDigest::new();
        for packet in packets {
            framing.feed(packet, &mut hash);
        }
        hash.digest()
    }

    const ANNEX_B: Framing = Framing::StartCodes(NalCodec::H264);
    const AVCC: Framing = Framing::Lengths { size_bytes: 4, codec: NalCodec::H264 };

    #[test]
    fn start_codes_and_lengths_give_one_digest() {
        let annex_b = b"\0\0\0\x01\x65abc\0\0\x01\x06de\0\0\0";
        let avcc = b"\0\0\0\x04\x65abc\0\0\0\x03\x06de";
        assert_eq!(digest(ANNEX_B, &[annex_b]), digest(AVCC, &[avcc]));
    }

    #[test]
    fn delimiters_come_and_go_without_a_trace() {
        assert_eq!(digest(ANNEX_B, &[b"\0\0\x01\x09\xF0\0\0\x01\x65abc"]), digest(ANNEX_B, &[b"\0\0\x01\x65abc"]));
        let hevc = Framing::StartCodes(NalCodec::H265);
        assert_eq!(digest(hevc, &[b"\0\0\x01\x46\x01\x50\0\0\x01\x26\x01a"]), digest(hevc, &[b"\0\0\x01\x26\x01a"]));
    }

    #[test]
    fn a_flipped_byte_a_moved_border_and_a_lost_packet_show() {
        let whole = digest(AVCC, &[b"\0\0\0\x02\x65a", b"\0\0\0\x02\x41b"]);
        assert_ne!(whole, digest(AVCC, &[b"\0\0\0\x02\x65a", b"\0\0\0\x02\x41c"]));
        assert_ne!(whole, digest(AVCC, &[b"\0\0\0\x02\x65a\0\0\0\x02\x41b"]));
        assert_ne!(whole, digest(AVCC, &[b"\0\0\0\x02\x65a"]));
        assert_ne!(digest(Framing::Plain, &[b"ab", b"c"]), digest(Framing::Plain, &[b"a", b"bc"]));
    }

    #[test]
    fn adts_is_stripped_with_and_without_crc() {
        let plain = digest(Framing::Plain, &[b"frame"]);
        assert_eq!(digest(Framing::Adts, &[b"\xFF\xF1\x50\x80\x01\x9F\xFCframe"]), plain);
        assert_eq!(digest(Framing::Adts, &[b"\xFF\xF0\x50\x80\x01\xDF\xFC\xAA\xBBframe"]), plain);
        assert_eq!(digest(Framing::Adts, &[b"frame"]), plain);
    }

    #[test]
    fn an_adts_frame_knows_its_length() {
        assert!(Framing::Adts.is_surely_whole(b"\xFF\xF1\x50\x80\x01\x9F\xFCframe"));
        assert!(!Framing::Adts.is_surely_whole(b"\xFF\xF1\x50\x80\x01\x9F\xFCfra"));
    }

    #[test]
    fn temporal_delimiters_are_no_part_of_av1() {
        let with = b"\x12\0\x32\x03abc";
        assert_eq!(digest(Framing::Obu, &[with]), digest(Framing::Obu, &[&with[2..]]));
        assert_ne!(digest(Framing::Obu, &[b"\x32\x03abc"]), digest(Framing::Obu, &[b"\x32\x03abd"]));
    }

    #[test]
    fn nonsense_never_panics() {
        for framing in [ANNEX_B, AVCC, Framing::Obu, Framing::Adts] {
            for len in 0..12 {
                digest(framing, &[&[0xFF; 12][..len], &[0; 12][..len], &[0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1][..len]]);
            }
        }
    }

    #[test]
    fn packets_that_carry_their_configuration_tell_another_one() {
        let at = |sps: &[u8]| {
            let unit = [b"\0\0\0\x01\x09\xF0\0\0\0\x01\x67", sps, b"\0\0\x01\x68pps\0\0\x01\x65slice"].concat();
            ANNEX_B.configuration(&unit)
        };
        assert!(at(b"one").is_some());
        assert_eq!((at(b"one"), ANNEX_B.configuration(b"\0\0\x01\x41slice")), (at(b"one\0"), None));
        assert_ne!(at(b"one"), at(b"two"));
        let adts = |header: [u8; 4]| Framing::Adts.configuration(&[&header[..], b"\x01\x9F\xFCframe"].concat());
        assert_eq!(adts([0xFF, 0xF1, 0x50, 0x80]), adts([0xFF, 0xF1, 0x50, 0x81]));
        assert_ne!(adts([0xFF, 0xF1, 0x50, 0x80]), adts([0xFF, 0xF1, 0x4C, 0x80]));
        assert_eq!(AVCC.configuration(b"\0\0\0\x02\x67a"), None);
    }

    #[test]
    fn the_configuration_tells_the_framing() {
        assert_eq!(Framing::of("h264", &[1, 100, 0, 31, 0xFF, 0xE1, 0]), AVCC);
        assert_eq!(Framing::of("h264", &[0, 0, 0, 1, 0x67, 1, 2, 3]), ANNEX_B);
        assert_eq!(Framing::of("aac", &[]), Framing::Adts);
        assert_eq!(Framing::of("aac", &[0x12, 0x10]), Framing::Plain);
    }
}
