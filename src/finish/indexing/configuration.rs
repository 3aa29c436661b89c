//! An empty track from the configuration of a codec, as containers other than ISO base media keep it.

use crate::isobmff::headers::esds::AAC_RATES_HZ;
use crate::isobmff::{FourCc, PixelAspect, Track};
use crate::salvage::nal::Standard;
use crate::salvage::{FrameTiming, PictureShape, ReferenceTrack, SoundFacts, sound_configured, video_configured};

/// Ticks per second of a picture track: whole for milliseconds, and what FFmpeg's muxer would take.
pub(super) const PICTURE_TIMESCALE: u32 = 16_000;
/// Samples of a sound frame (ISO/IEC 14496-3 §4.5.2.1), of a configuration that does not say 960.
pub(super) const FRAME_SAMPLES: u32 = 1024;

const AAC_LC: u8 = 2;
/// `objectTypeIndication` of AAC (ISO/IEC 14496-1 §7.2.6.6).
const MPEG4_AUDIO: u8 = 0x40;
/// A track of that codec; `None` where the configuration is not one that is understood here to the last bit.
pub(super) fn track(id: u32, codec: &str, configuration: &[u8]) -> Option<Track> {
    match codec {
        "h264" => picture(id, Standard::Avc, configuration),
        "hevc" => picture(id, Standard::Hevc, configuration),
        "aac" => sound(id, configuration),
        _ => None,
    }
}

fn picture(id: u32, standard: Standard, configuration: &[u8]) -> Option<Track> {
    let of_shape = |shape| {
        let stsd = video_configured(standard, configuration, shape)?;
        Track::new(id, FourCc(*b"vide"), PICTURE_TIMESCALE, &stsd, shape.size)
    };
    let unknown = PictureShape { size: (0, 0), aspect: PixelAspect::SQUARE };
    let known = ReferenceTrack { track: of_shape(unknown)?, pace: FrameTiming::default() };
    let parameters = known.parameters()?;
    of_shape(PictureShape { size: parameters.dimensions()?, aspect: parameters.aspect()? })
}

/// AAC-LC without extensions (ISO/IEC 14496-3 §1.6.2.1): five bits of object type, four of the rate, four of the channels,
/// and a frame of 1,024 samples that depends on no core coder.
fn sound(id: u32, specific: &[u8]) -> Option<Track> {
    let [first, second, ..] = *specific else { return None };
    let rate_hz = *AAC_RATES_HZ.get(usize::from((first & 7) << 1 | second >> 7))?;
    let channels = match second >> 3 & 0xF {
        n @ 1..=6 => u16::from(n),
        7 => 8,
        _ => return None,
    };
    if first >> 3 != AAC_LC || second & 7 != 0 || extends(specific) {
        return None;
    }
    let facts = SoundFacts { rate_hz, channels, object_type: MPEG4_AUDIO };
    Track::new(id, FourCc(*b"soun"), rate_hz, &sound_configured(facts, specific), (0, 0))
}

/// Whether an extension is signalled behind the configuration (§1.6.6.1): the sync word 0x2B7 and a type that is on.
fn extends(specific: &[u8]) -> bool {
    matches!(specific, [_, _, 0x56, third, ..] if third >> 5 == 7)
        && specific.get(4).is_some_and(|flags| flags & 0x80 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sound_that_is_understood_to_the_last_bit_is_taken() {
        let stereo = sound(1, &[0x11, 0x90]).unwrap();
        assert_eq!((stereo.timescale(), stereo.codec().as_str()), (48_000, "aac"));
        assert_eq!(stereo.entry().unwrap().channels, Some(2));
        assert!(sound(1, &[0x12, 0x08, 0x56, 0xE5, 0x00]).is_some(), "an extension that is off");
        let refused: [(&[u8], &str); 6] = [
            (&[0x12], "cut"),
            (&[0x2B, 0x92, 0x08, 0x00], "SBR"),
            (&[0x11, 0x94], "frames of 960"),
            (&[0x11, 0x80], "channels by a program config element"),
            (&[0x17, 0x90], "a rate of its own"),
            (&[0x13, 0x10, 0x56, 0xE5, 0x98], "SBR behind it"),
        ];
        for (specific, what) in refused {
            assert!(sound(1, specific).is_none(), "{what}");
        }
    }

    #[test]
    fn pictures_have_the_size_of_their_parameter_sets() {
        let bytes = include_bytes!("../../../tests/fixtures/sample_MP4_480.mp4");
        let at = bytes.windows(4).position(|w| w == b"avcC").unwrap();
        let size = u32::from_be_bytes(bytes[at - 4..at].try_into().unwrap()) as usize;
        let track = track(1, "h264", &bytes[at + 4..at - 4 + size]).unwrap();
        let entry = track.entry().unwrap();
        assert_eq!((entry.dimensions, entry.nal_length_bytes), (Some((480, 270)), Some(4)));
        assert!(super::track(1, "h264", &bytes[at + 4..at + 9]).is_none(), "no parameter sets");
        assert!(super::track(1, "vp9", b"").is_none());
    }
}
