//! FLV with codecs that FFmpeg 5.1 does not know there, made by a small muxer from files that FFmpeg makes.

use super::*;
use crate::media::ffi::{MediaSource, Packet, ProbeDepth, ReadOutcome, TimeBase};
use crate::media::flv::tag::tests::{file, tag};

/// How a picture tag says its codec.
#[derive(Debug, Clone, Copy, PartialEq)]
enum PictureTagForm {
    /// Codec id 12 or 13 in the low bits of the first byte.
    CodecId(u8),
    /// Enhanced RTMP with a composition time in every frame.
    CodedFrames(&'static [u8; 4]),
    /// Enhanced RTMP, without a composition time where it is zero.
    CodedFramesX(&'static [u8; 4]),
    /// As [`Self::CodedFrames`], behind a modifier of enhanced RTMP v2.
    Modified(&'static [u8; 4]),
}

impl PictureTagForm {
    fn configuration(self, extradata: &[u8]) -> Vec<u8> {
        match self {
            Self::CodecId(id) => [&[0x10 | id, 0, 0, 0, 0], extradata].concat(),
            Self::CodedFrames(code) | Self::CodedFramesX(code) | Self::Modified(code) => {
                [&[0x90], &code[..], extradata].concat()
            }
        }
    }

    fn frame(self, is_key: bool, composition_ms: i32, payload: &[u8]) -> Vec<u8> {
        let kind = if is_key { 0x10 } else { 0x20 };
        let composition = &composition_ms.to_be_bytes()[1..];
        let has_time = |code: &[u8; 4]| matches!(code, b"hvc1" | b"avc1");
        match self {
            Self::CodecId(id) => [&[kind | id, 1], composition, payload].concat(),
            Self::CodedFramesX(code) if composition_ms == 0 => [&[0x80 | kind | 3], &code[..], payload].concat(),
            Self::Modified(code) => [&[0x80 | kind | 7, 2, 0, 0, 0, 1], &code[..], composition, payload].concat(),
            Self::CodedFrames(code) | Self::CodedFramesX(code) if has_time(code) => {
                [&[0x80 | kind | 1], &code[..], composition, payload].concat()
            }
            Self::CodedFrames(code) | Self::CodedFramesX(code) => [&[0x80 | kind | 1], &code[..], payload].concat(),
        }
    }
}

/// The heads of a sound tag with a configuration and with a frame.
type SoundHeads = (&'static [u8], &'static [u8]);
const AAC: SoundHeads = (b"\xAF\0", b"\xAF\x01");
const OPUS: SoundHeads = (b"\x90Opus", b"\x91Opus");

/// The tags of a file's tracks in decoding order.
fn flv_tags(path: &Path, container: Container, form: PictureTagForm, sound: SoundHeads) -> Vec<(i64, Vec<u8>)> {
    let mut source = MediaSource::open(path, container, ProbeDepth::Usual).unwrap();
    let (mut tags, mut earliest) = (Vec::new(), None);
    for facts in source.tracks() {
        tags.push((
            i64::MIN,
            match facts.kind {
                TrackKind::Video => tag(9, 0, &form.configuration(&facts.extradata)),
                _ => tag(8, 0, &[sound.0, &facts.extradata].concat()),
            },
        ));
    }
    let mut packet = Packet::empty();
    while source.next(&mut packet).unwrap() == ReadOutcome::Packet {
        let facts = source.track(packet.stream()).unwrap();
        let ms = |ticks: i64| facts.time_base.rescale(ticks, TimeBase::MILLISECONDS);
        let dts = ms(packet.dts().unwrap());
        let zero = *earliest.get_or_insert(dts);
        let time = u32::try_from((dts - zero).max(0)).unwrap();
        let composition = i32::try_from(ms(packet.pts().unwrap()) - dts).unwrap();
        let payload = packet.data().unwrap();
        let body = match facts.kind {
            TrackKind::Video => form.frame(packet.is_key(), composition, payload),
            _ => [sound.1, payload].concat(),
        };
        tags.push((i64::from(time), tag(if facts.kind == TrackKind::Video { 9 } else { 8 }, time, &body)));
        packet = Packet::empty();
    }
    tags.sort_by_key(|tag| tag.0);
    tags
}

fn write_flv(path: &Path, tags: &[(i64, Vec<u8>)]) {
    let tags: Vec<Vec<u8>> = tags.iter().map(|tag| tag.1.clone()).collect();
    fs::write(path, file(&tags)).unwrap();
}

const X265: &str = "-c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=3:keyint=25 -pix_fmt yuv420p";
const HVC1: &[u8; 4] = b"hvc1";

/// An MP4 with H.265 and AAC, and the same packets as FLV.
fn h265(directory: &Path, form: PictureTagForm) -> (PathBuf, PathBuf) {
    let mp4 = made(directory, "model.mp4", &format!("{X265} -tag:v hvc1 -c:a aac"));
    let flv = directory.join("source.flv");
    write_flv(&flv, &flv_tags(&mp4, Container::Mp4, form, AAC));
    (mp4, flv)
}

/// Digests of the payloads of the first picture and the first sound track, as ffprobe sees them.
fn payloads(path: &Path) -> [Vec<String>; 2] {
    ["v:0", "a:0"].map(|track| {
        let run = Command::new("ffprobe")
            .args(["-v", "error", "-of", "csv=p=0", "-show_data_hash", "md5", "-select_streams", track])
            .args(["-show_entries", "packet=data_hash"])
            .arg(path)
            .output()
            .expect("ffprobe runs");
        // Side data puts words of its own before and after the digest.
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        said.split("MD5:").skip(1).map(|rest| rest[..32].to_owned()).collect()
    })
}

#[test]
fn h265_in_flv_comes_out_whole_in_every_form() {
    for form in [
        PictureTagForm::CodecId(12),
        PictureTagForm::CodedFrames(HVC1),
        PictureTagForm::CodedFramesX(HVC1),
        PictureTagForm::Modified(HVC1),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (mp4, flv) = h265(directory.path(), form);
        for to in [Container::Mp4, Container::Matroska] {
            let done = finish(&flv, to, directory.path());
            assert_sound(&done, 4.0);
            assert_eq!(done.remuxed.defects, [], "{form:?} to {to:?}");
            assert_eq!(payloads(&done.output), payloads(&mp4), "{form:?} to {to:?}");
            assert_eq!(payloads(&mp4)[0].len(), 100);
            assert_eq!(read(&flv, Container::Flv, PassControl::default()).unwrap(), done.remuxed.source, "{form:?}");
        }
    }
}

#[test]
fn h265_keeps_its_shape_and_what_it_says_of_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mp4 = made(directory.path(), "model.mp4", &format!("{X265} -vf setsar=4/3 -tag:v hvc1 -c:a aac"));
    let mut tags = flv_tags(&mp4, Container::Mp4, PictureTagForm::CodedFrames(HVC1), AAC);
    let script = b"\x02\0\x0AonMetaData\x08\0\0\0\x01\0\x05title\x02\0\x01x\0\x06server\x02\0\x01y\0\0\x09";
    tags.insert(0, (i64::MIN, tag(18, 0, script)));
    let flv = directory.path().join("source.flv");
    write_flv(&flv, &tags);
    let done = finish(&flv, Container::Mp4, directory.path());
    assert!(ffprobe(&done.output, "format_tags=title,server").trim() == "TAG:title=x");
    // FFmpeg's own MP4 is the model of how wide the pictures are shown.
    let header = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        let at = |name: &[u8]| bytes.windows(4).position(|found| found == name).unwrap();
        (bytes[at(b"tkhd") + 80..at(b"tkhd") + 84].to_vec(), bytes[at(b"pasp")..at(b"pasp") + 12].to_vec())
    };
    assert_eq!(header(&done.output), header(&mp4));
}

#[test]
fn times_of_h265_are_those_of_the_tags() {
    let directory = tempfile::tempdir().unwrap();
    let (mp4, flv) = h265(directory.path(), PictureTagForm::CodecId(12));
    let done = finish(&flv, Container::Mp4, directory.path());
    let model = read(&mp4, Container::Mp4, PassControl::default()).unwrap();
    for (ours, theirs) in done.reading.tracks.iter().zip(&model.tracks) {
        assert!((ours.duration_ms - theirs.duration_ms).abs() < 45, "{ours:?} {theirs:?}");
        assert!((ours.start_ms - theirs.start_ms).abs() <= 1, "{ours:?} {theirs:?}");
        assert_eq!(ours.keyframes, theirs.keyframes);
        assert_eq!(ours.keyframe_interval_ms, theirs.keyframe_interval_ms);
    }
}

#[test]
fn a_probe_knows_codecs_sizes_and_rates() {
    let directory = tempfile::tempdir().unwrap();
    for form in [PictureTagForm::CodecId(12), PictureTagForm::CodedFramesX(HVC1)] {
        let (_, flv) = h265(directory.path(), form);
        let probed = probe(&flv, Container::Flv).unwrap();
        let [video, audio] = &probed.tracks[..] else { panic!("{probed:?}") };
        assert_eq!((video.codec.as_str(), video.width, video.height), ("hevc", Some(320), Some(180)));
        assert_eq!((audio.codec.as_str(), audio.sample_rate_hz, audio.channels), ("aac", Some(48_000), Some(1)));
        assert!(probed.tracks.iter().all(|t| t.is_readable && t.has_extradata));
        assert_eq!(decode_check(&flv, Container::Flv, PassControl::default()).unwrap(), []);
        assert_eq!(poster(&flv, Container::Flv, 90).unwrap().height, 90);
    }
}

#[test]
fn av1_and_vp9_and_opus_of_enhanced_rtmp_come_out_whole() {
    let table: &[(&str, PictureTagForm)] = &[
        ("-c:v libsvtav1 -preset 12 -g 25", PictureTagForm::CodedFrames(b"av01")),
        ("-c:v libsvtav1 -preset 12 -g 25", PictureTagForm::CodecId(13)),
        ("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25", PictureTagForm::CodedFramesX(b"vp09")),
        ("-c:v libx264 -preset veryfast -g 25 -bf 2 -pix_fmt yuv420p", PictureTagForm::CodedFrames(b"avc1")),
    ];
    for (codec, form) in table {
        let directory = tempfile::tempdir().unwrap();
        let model = made(directory.path(), "model.mp4", &format!("{codec} -c:a libopus"));
        let flv = directory.path().join("source.flv");
        write_flv(&flv, &flv_tags(&model, Container::Mp4, *form, OPUS));
        let done = finish(&flv, Container::Mp4, directory.path());
        assert_sound(&done, 4.0);
        assert_eq!(done.remuxed.defects, [], "{form:?}");
        assert_eq!(payloads(&done.output), payloads(&model), "{form:?}");
    }
}

#[test]
fn h265_cut_anywhere_keeps_what_is_whole_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (_, flv) = h265(directory.path(), PictureTagForm::CodedFrames(HVC1));
    let whole = fs::read(&flv).unwrap();
    for permille in [300, 501, 777usize, 998] {
        let cut = directory.path().join("cut.flv");
        fs::write(&cut, &whole[..=whole.len() * permille / 1000]).unwrap();
        let done = finish(&cut, Container::Mp4, directory.path());
        assert!(done.remuxed.leaves_something_out(), "{permille}: {:?}", done.remuxed.defects);
        assert!(done.remuxed.defects.iter().any(|d| matches!(d, Defect::Truncated { .. })), "{permille}");
        assert_decodes(&done.output);
        assert_eq!(done.reading.tracks.len(), 2);
    }
}

#[test]
fn h265_begins_at_its_first_keyframe() {
    let directory = tempfile::tempdir().unwrap();
    let (mp4, flv) = h265(directory.path(), PictureTagForm::CodecId(12));
    let mut tags = flv_tags(&mp4, Container::Mp4, PictureTagForm::CodecId(12), AAC);
    let first = tags.iter().position(|t| t.1[0] == 9 && t.1[11] >> 4 == 1 && t.1[12] == 1).unwrap();
    tags.remove(first);
    write_flv(&flv, &tags);
    let done = finish(&flv, Container::Mp4, directory.path());
    assert!(done.remuxed.defects.iter().any(|d| matches!(d, Defect::LeadingPacketsDropped { track: 1, .. })));
    let (pictures, sound) = (&done.reading.tracks[0], &done.reading.tracks[1]);
    assert!((900..1200).contains(&pictures.start_ms) && sound.start_ms == 0, "{pictures:?}");
    assert_eq!(payloads(&done.output)[0][0], payloads(&mp4)[0][25], "the second keyframe of the model");
    tags.retain(|t| t.1[0] == 8 || t.1[12] == 0 || t.1[11] >> 4 != 1);
    write_flv(&flv, &tags);
    let error = remux(&Remux::new(&flv, Container::Flv, &done.output, Container::Mp4)).unwrap_err();
    assert_eq!(error.defects(), [Defect::NoKeyframe], "{error:?}");
}

#[test]
fn damage_in_the_middle_of_h265_costs_only_itself_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (mp4, flv) = h265(directory.path(), PictureTagForm::CodedFrames(HVC1));
    let mut bytes = fs::read(&flv).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 3000].fill(0);
    fs::write(&flv, &bytes).unwrap();
    let done = finish(&flv, Container::Mp4, directory.path());
    assert!(done.remuxed.leaves_something_out(), "{:?}", done.remuxed.defects);
    assert!(
        done.remuxed.defects.iter().any(|d| d.to_string().contains("unreadable places")),
        "{:?}",
        done.remuxed.defects
    );
    let (ours, theirs) = (payloads(&done.output), payloads(&mp4));
    assert!(ours[0].len() > 60 && ours[0].len() < 100, "{}", ours[0].len());
    assert_eq!(ours[0].last(), theirs[0].last());
}

#[test]
fn sound_that_comes_late_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let (mp4, flv) = h265(directory.path(), PictureTagForm::CodedFrames(HVC1));
    let mut tags = flv_tags(&mp4, Container::Mp4, PictureTagForm::CodedFrames(HVC1), AAC);
    for (time, tag) in tags.iter_mut().filter(|t| t.1[0] == 8) {
        let late = (*time).max(0) + 30_000;
        *time = late;
        tag[4..7].copy_from_slice(&u32::try_from(late).unwrap().to_be_bytes()[1..]);
    }
    let pictures: Vec<_> = tags.iter().filter(|t| t.1[0] == 9 && t.0 >= 0).cloned().collect();
    for round in 1..8i64 {
        tags.extend(pictures.iter().map(|(time, tag)| {
            let (later, mut tag) = (time + round * 4000, tag.clone());
            tag[4..7].copy_from_slice(&u32::try_from(later).unwrap().to_be_bytes()[1..]);
            (later, tag)
        }));
    }
    tags.sort_by_key(|tag| tag.0);
    write_flv(&flv, &tags);
    let done = finish(&flv, Container::Mp4, directory.path());
    assert_eq!(done.reading.tracks.len(), 2);
    assert!((29_000..31_000).contains(&done.reading.tracks[1].start_ms), "{}", done.reading.tracks[1].start_ms);
    assert!(!done.remuxed.leaves_something_out(), "{:?}", done.remuxed.defects);
}

#[test]
fn a_second_configuration_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (mp4, flv) = h265(directory.path(), PictureTagForm::CodecId(12));
    let mut tags = flv_tags(&mp4, Container::Mp4, PictureTagForm::CodecId(12), AAC);
    let mut again = tags.iter().find(|t| t.1[0] == 9).unwrap().1.clone();
    let middle = tags.len() / 2;
    tags.insert(middle, (tags[middle].0, again.clone()));
    write_flv(&flv, &tags);
    assert_eq!(finish(&flv, Container::Mp4, directory.path()).remuxed.defects, [], "the same once more");
    let last = again.len() - 5;
    again[last] ^= 0x55;
    tags[middle].1 = again;
    write_flv(&flv, &tags);
    let done = finish(&flv, Container::Mp4, directory.path());
    assert!(done.remuxed.defects.iter().any(|d| d.to_string().contains("second codec configuration")));
}

#[test]
fn what_nobody_can_read_is_left_out_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let (mp4, flv) = h265(directory.path(), PictureTagForm::CodedFrames(HVC1));
    // More than one track in a tag (packet type 6), and a code that does not exist.
    let changes: [fn(&mut [u8]); 2] = [|body| body[0] = body[0] & 0xF0 | 6, |body| body[1..5].copy_from_slice(b"nope")];
    for change in changes {
        let mut tags = flv_tags(&mp4, Container::Mp4, PictureTagForm::CodedFrames(HVC1), AAC);
        let is_frame = |tag: &[u8]| tag[0] == 9 && tag[11] & 0x0F == 1;
        let frames: Vec<bool> = tags.iter().map(|(_, tag)| is_frame(tag)).collect();
        tags.iter_mut()
            .zip(&frames)
            .filter(|(_, is_frame)| **is_frame)
            .for_each(|((_, tag), _)| change(&mut tag[11..]));
        write_flv(&flv, &tags);
        let done = finish(&flv, Container::Mp4, directory.path());
        let left_out = |d: &Defect| matches!(d, Defect::TrackLeftOut { codec, .. } if codec == "none");
        assert!(done.remuxed.defects.iter().any(left_out), "{:?}", done.remuxed.defects);
        assert!(done.remuxed.leaves_something_out());
        assert_eq!(payloads(&done.output)[1], payloads(&mp4)[1], "the sound is all there");
        let alone: Vec<_> =
            tags.into_iter().zip(frames).filter(|(_, is_frame)| *is_frame).map(|(tag, _)| tag).collect();
        write_flv(&flv, &alone);
        let error = remux(&Remux::new(&flv, Container::Flv, &done.output, Container::Mp4)).unwrap_err();
        assert!(matches!(error, MediaError::UnreadableTrack { .. }), "{error:?}");
    }
}
