//! The parsers of the elements of media, one target each: what stands at a place is told the same way however much
//! stands behind it, never reaches outside, and leaves numbers that can be reckoned with.

use aftercast::salvage::aac::{self, ChannelElements};
use aftercast::salvage::element::Video;
use aftercast::salvage::nal::intra::{self, Marker};
use aftercast::salvage::nal::{CodecParameters, Standard, UnitRole, visual};
use aftercast::salvage::{flac, framed};

/// Rates of which each stands for one class of tables, and one that AAC does not have.
const AAC_RATES_HZ: [u32; 8] = [48_000, 44_100, 32_000, 24_000, 16_000, 8_000, 96_000, 12_345];

/// Units of H.264 behind their lengths: parameter sets are taken, slices read.
pub fn avc(bytes: &[u8]) {
    units(bytes, Standard::Avc);
}

/// The same of H.265.
pub fn hevc(bytes: &[u8]) {
    units(bytes, Standard::Hevc);
}

/// Units of AV1 with their own lengths.
pub fn av1(bytes: &[u8]) {
    units(bytes, Standard::Av1);
}

fn units(bytes: &[u8], standard: Standard) {
    let mut sets = CodecParameters::empty(standard);
    let lengths: &[usize] = if standard == Standard::Av1 { &[0] } else { &[4, 2, 1] };
    for length_bytes in lengths.iter().copied() {
        let video = Video { standard, length_bytes };
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(unit) = video.unit(rest) else {
                at += 1;
                continue;
            };
            assert!(unit.bytes > length_bytes as u64, "a unit has a header");
            let end = usize::try_from(unit.bytes).map_or(rest.len(), |end| end.min(rest.len()));
            let body = &rest[length_bytes..end];
            assert_eq!(video.unit(&rest[..end]), Some(unit), "what stands behind a unit says nothing of it");
            assert!(video.may_begin(rest), "a glance sees no less than a look");
            read(&mut sets, body, unit.role);
            at += end;
        }
    }
}

fn read(sets: &mut CodecParameters, body: &[u8], role: UnitRole) {
    match role {
        UnitRole::Opens | UnitRole::Closes => drop(sets.take(body)),
        UnitRole::Slice { .. } => {
            let (may_be, follows) = (sets.may_be(body), sets.may_follow(body));
            let picture = sets.picture(body);
            assert_eq!(follows, may_be && picture.is_some_and(|p| p.is_next), "to look ahead takes nothing");
            assert!(picture.is_none_or(|p| p.is_consistent || !p.is_next), "{picture:?}");
            assert!(picture.is_none_or(|picture| picture.order.abs() < 1 << 48), "{picture:?}");
        }
    }
    assert!(sets.order_period() >= 0 && sets.order_period() <= 1 << 34, "{}", sets.order_period());
    assert!(sets.dimensions().is_none_or(|(width, height)| width > 0 && height > 0), "{:?}", sets.dimensions());
    let _ = (sets.reorder(), sets.frame_duration(), sets.is_usable());
}

/// Raw blocks of AAC; the first byte says of which rate, the second of how many channels. A frame ends where it ends,
/// whatever stands behind it, and none is whole without its last byte.
pub fn aac(bytes: &[u8]) {
    let [rate, channels, rest @ ..] = bytes else { return };
    let elements = ChannelElements::of_channels(u32::from(*channels % 9));
    let Some(config) = aac::AacConfig::new(AAC_RATES_HZ[usize::from(*rate) % AAC_RATES_HZ.len()], elements) else {
        return;
    };
    let mut at = 0;
    while let Some(rest) = rest.get(at..).filter(|rest| !rest.is_empty()) {
        let Ok(length) = aac::frame_bytes(rest, &config) else {
            at += 1;
            continue;
        };
        assert!(length > 0 && length <= rest.len().min(aac::MAX_FRAME_BYTES), "{length} of {}", rest.len());
        assert_eq!(aac::frame_bytes(&rest[..length], &config), Ok(length));
        assert!(aac::frame_bytes(&rest[..length - 1], &config).is_err(), "no frame ends before its end");
        at += length;
    }
}

/// Frames of FLAC; the first byte says how many channels, the second how many bits. None is whole without its last byte.
pub fn flac(bytes: &[u8]) {
    let [channels, sample_bits, rest @ ..] = bytes else { return };
    let (channels, sample_bits) = (u32::from(channels % 8) + 1, u32::from(sample_bits % 32) + 1);
    let config = flac::FlacConfig { rate_hz: 48_000, channels, sample_bits };
    let mut at = 0;
    while let Some(rest) = rest.get(at..).filter(|rest| !rest.is_empty()) {
        let Ok(length) = flac::frame_bytes(rest, &config) else {
            at += 1;
            continue;
        };
        assert!(length > 0 && length <= rest.len(), "{length} of {}", rest.len());
        assert_eq!(flac::frame_bytes(&rest[..length], &config), Ok(length));
        assert!(flac::frame_bytes(&rest[..length - 1], &config).is_err(), "no frame ends before its end");
        at += length;
    }
}

/// Markers of JPEG and heads of ProRes.
pub fn intra(bytes: &[u8]) {
    for at in 0..bytes.len() {
        let rest = &bytes[at..];
        match intra::marker(rest) {
            Some(Marker::Table(length) | Marker::Scan(length) | Marker::Frame(length, _) | Marker::End(length)) => {
                assert!(length >= 2 && rest[0] == 0xFF, "{length}");
            }
            None => {}
        }
        assert!(intra::next_marker(rest).is_none_or(|next| rest[next] == 0xFF && rest[next + 1] != 0));
        assert!(intra::prores_bytes(rest).is_none_or(|length| length > 28 && &rest[4..8] == b"icpf"));
        for standard in [Standard::Jpeg, Standard::ProRes] {
            let _ = CodecParameters::empty(standard).picture(rest);
        }
    }
}

/// Headers of MP3, AC-3 and E-AC-3 frames.
pub fn framed(bytes: &[u8]) {
    for at in 0..bytes.len() {
        for found in [framed::mpeg_audio(&bytes[at..]), framed::dolby(&bytes[at..])].into_iter().flatten() {
            assert!((1..=16 << 10).contains(&found.bytes), "{found:?}");
            assert!((8_000..=48_000).contains(&found.rate_hz) && found.samples > 0, "{found:?}");
        }
    }
}

/// Pictures of MPEG-4 Part 2 behind their start codes.
pub fn visual(bytes: &[u8]) {
    let mut sets = visual::VisualParameters::default();
    let mut at = 0;
    while let Some(code) = visual::next_code(bytes, at) {
        assert!(code >= at && bytes[code..].starts_with(&[0, 0, 1]), "a code at {code}");
        let sample = &bytes[code..];
        if let Some(picture) = visual::picture_at(sample) {
            assert!(sample[picture..].starts_with(&[0, 0, 1]) && visual::may_begin(sample), "a picture at {picture}");
            let _ = sets.take(&sample[..picture]);
            assert!(sets.picture(sample).is_none_or(|picture| picture.order.abs() < 1 << 48));
        }
        let _ = (visual::is_sync(sample), visual::begins(sample), sets.is_usable());
        at = code + 3;
    }
}
