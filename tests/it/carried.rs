//! What containers carry and muxers change: everything that can be finished is, what cannot stays with its original, and no file
//! that somebody may have ends in an error.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::Sandbox;
use crate::support::recordings::{cut, decode_errors, ffmpeg, packets};

const PICTURES: &str = "testsrc2=s=160x120:r=25:d=";
const H264: &str = "-c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p";

/// A recording of pictures and sound, by ffmpeg's options behind its two inputs.
fn recorded(sandbox: &Sandbox, name: &str, seconds: u32, options: &str) -> PathBuf {
    let path = sandbox.root().join(name);
    let (pictures, sound) = (format!("{PICTURES}{seconds}"), format!("sine=r=48000:d={seconds}"));
    let mut args = vec!["-f", "lavfi", "-i", &pictures, "-f", "lavfi", "-i", &sound];
    args.extend(options.split(' '));
    args.push(path.to_str().unwrap());
    ffmpeg(&args);
    path
}

/// The only finished recording, after a run that ends well.
#[track_caller]
fn finished(sandbox: &Sandbox) -> Value {
    let run = sandbox.process().expect_code(0);
    let mut vods = sandbox.vods();
    assert_eq!(vods.len(), 1, "{}", run.out);
    vods.pop().unwrap()
}

/// How many packets each track has, in file order, with its codec.
fn tracks(vod: &Value) -> Vec<(String, u64)> {
    let track = |track: &Value| (track["codec"].as_str().unwrap().to_owned(), track["packets"].as_u64().unwrap());
    vod["tracks"].as_array().unwrap().iter().map(track).collect()
}

fn kinds(vod: &Value) -> Vec<&str> {
    vod["defects"].as_array().unwrap().iter().map(|defect| defect["kind"].as_str().unwrap()).collect()
}

fn file_of(vod: &Value) -> PathBuf {
    PathBuf::from(vod["filePath"].as_str().unwrap())
}

fn outcome(vod: &Value) -> (&str, &str) {
    (vod["container"].as_str().unwrap(), vod["outcome"].as_str().unwrap())
}

/// How many packets of a codec type FFmpeg finds.
fn count(path: &Path, kind: &str) -> usize {
    let line = format!("codec_type={kind}|");
    packets(path).iter().filter(|packet| packet.starts_with(&line)).count()
}

#[test]
fn a_fragmented_file_without_a_fragment_is_finished_as_any_other() {
    for options in
        ["-c:a aac -movflags frag_keyframe", "-c:a libopus -movflags frag_keyframe", "-an -movflags frag_every_frame"]
    {
        let sandbox = Sandbox::new();
        let codecs = H264.replace("-g 25", "-g 250");
        let source = recorded(&sandbox, "room1.mp4", 2, &format!("{codecs} {options}"));
        let expected = packets(&source);
        let vod = finished(&sandbox);
        assert_eq!((outcome(&vod), kinds(&vod)), (("mp4", "spliced"), vec![]), "{options}");
        assert_eq!(packets(&file_of(&vod)), expected, "{options}");
        assert_eq!(decode_errors(&file_of(&vod)), "", "{options}");
    }
}

/// A transport stream whose sound begins in the middle of a frame: the start of the first one is not there.
fn begins_in_a_frame(ts: &Path) {
    let mut bytes = fs::read(ts).unwrap();
    let first = bytes.chunks_mut(188).find(|packet| packet[1] & 0x5F == 0x41 && packet[2] == 1).unwrap();
    let payload = if first[3] & 0x20 == 0 { 4 } else { 5 + usize::from(first[4]) };
    let media = payload + 9 + usize::from(first[payload + 8]);
    // What is left of a frame that began before; no synchronisation word is in it.
    first[media..media + 40].fill(0x55);
    fs::write(ts, bytes).unwrap();
}

#[test]
fn sound_that_begins_in_the_middle_of_a_frame_loses_only_that() {
    for (codec, name) in [("ac3", "ac3"), ("eac3", "eac3"), ("aac", "aac")] {
        let sandbox = Sandbox::new();
        let source = recorded(&sandbox, "room1.ts", 4, &format!("{H264} -c:a {codec} -f mpegts"));
        let whole = count(&source, "audio");
        begins_in_a_frame(&source);
        let vod = finished(&sandbox);
        assert_eq!(outcome(&vod), ("mp4", "remuxed"), "{codec}: {vod}");
        let found = tracks(&vod);
        assert_eq!(found[0], ("h264".to_owned(), 100), "{codec}");
        assert_eq!(found[1], (name.to_owned(), whole as u64 - 1), "{codec}: {vod}");
        assert_eq!(decode_errors(&file_of(&vod)), "", "{codec}");
        assert!(kinds(&vod).contains(&"corrupt_packets") && source.exists(), "{codec}: {vod}");
    }
}

/// Puts a number into as many bytes as an EBML size of four bytes has.
fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).unwrap() | 0x1000_0000;
    [id, &size.to_be_bytes(), body].concat()
}

/// The frames of an IVF file: presentation time and bytes.
fn ivf_frames(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let (mut at, mut frames) = (32, Vec::new());
    while at + 12 <= bytes.len() {
        let size = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let time = u64::from_le_bytes(bytes[at + 4..at + 12].try_into().unwrap());
        frames.push((time, bytes[at + 12..at + 12 + size].to_vec()));
        at += 12 + size;
    }
    frames
}

/// The pictures of a superframe, each by itself (VP9 bitstream specification, annex B).
fn parts(frame: &[u8]) -> Vec<Vec<u8>> {
    let marker = *frame.last().unwrap();
    let (count, width) = (usize::from(marker & 7) + 1, usize::from(marker >> 3 & 3) + 1);
    let at = frame.len().wrapping_sub(2 + count * width);
    if marker & 0xE0 != 0xC0 || frame.get(at) != Some(&marker) {
        return vec![frame.to_vec()];
    }
    let (mut begin, mut parts) = (0, Vec::new());
    for size in frame[at + 1..frame.len() - 1].chunks(width) {
        let size = size.iter().rev().fold(0, |size, byte| size << 8 | usize::from(*byte));
        parts.push(frame[begin..begin + size].to_vec());
        begin += size;
    }
    parts
}

/// VP9 with hidden pictures, as an encoder gives it.
fn with_hidden_pictures(sandbox: &Sandbox) -> Vec<(u64, Vec<u8>)> {
    let (ivf, log) = (sandbox.path().join("v.ivf"), sandbox.path().join("log"));
    let log = log.to_str().unwrap();
    let source = format!("{PICTURES}4,noise=alls=20:allf=t");
    let codec = "-c:v libvpx-vp9 -b:v 200k -auto-alt-ref 1 -lag-in-frames 25 -cpu-used 5 -g 50";
    for pass in ["1", "2"] {
        let mut args = vec!["-f", "lavfi", "-i", &source];
        args.extend(codec.split(' '));
        args.extend(["-pass", pass, "-passlogfile", log, "-f", if pass == "1" { "null" } else { "ivf" }]);
        args.push(if pass == "1" { "-" } else { ivf.to_str().unwrap() });
        ffmpeg(&args);
    }
    ivf_frames(&ivf)
}

/// Matroska of one track whose packets are these: milliseconds, whether a keyframe, bytes.
fn matroska(codec: &str, blocks: &[(u64, bool, &[u8])]) -> Vec<u8> {
    let text = |id: &[u8], text: &str| element(id, text.as_bytes());
    let number = |id: &[u8], number: u64| element(id, &number.to_be_bytes());
    let head = element(&[0x1A, 0x45, 0xDF, 0xA3], &text(&[0x42, 0x82], "matroska"));
    let picture = element(&[0xE0], &[number(&[0xB0], 160), number(&[0xBA], 120)].concat());
    let entry =
        [number(&[0xD7], 1), number(&[0x73, 0xC5], 1), number(&[0x83], 1), text(&[0x86], codec), picture].concat();
    let info = element(&[0x15, 0x49, 0xA9, 0x66], &number(&[0x2A, 0xD7, 0xB1], 1_000_000));
    let mut segment = [info, element(&[0x16, 0x54, 0xAE, 0x6B], &element(&[0xAE], &entry))].concat();
    for (time, is_key, bytes) in blocks {
        let block = [&[0x81, 0, 0, if *is_key { 0x80 } else { 0 }], *bytes].concat();
        segment
            .extend(element(&[0x1F, 0x43, 0xB6, 0x75], &[number(&[0xE7], *time), element(&[0xA3], &block)].concat()));
    }
    [head, element(&[0x18, 0x53, 0x80, 0x67], &segment)].concat()
}

fn is_key(frame: &[u8]) -> bool {
    frame[0] >> 6 == 2 && frame[0] & 4 == 0 && frame[0] & 8 == 0
}

#[test]
fn hidden_pictures_that_are_packets_of_their_own_come_with_the_shown_ones() {
    let sandbox = Sandbox::new();
    let frames = with_hidden_pictures(&sandbox);
    let apart: Vec<(u64, Vec<u8>)> =
        frames.iter().flat_map(|(time, frame)| parts(frame).into_iter().map(|part| (*time, part))).collect();
    assert!(apart.len() > frames.len(), "the encoder hides pictures");
    let blocks: Vec<_> = apart.iter().map(|(time, part)| (time * 40, is_key(part), &part[..])).collect();
    fs::write(sandbox.root().join("room1.mkv"), matroska("V_VP9", &blocks)).unwrap();
    let vod = finished(&sandbox);
    assert_eq!((outcome(&vod), kinds(&vod)), (("mp4", "remuxed"), vec![]), "{vod}");
    assert_eq!(tracks(&vod), [("vp9".to_owned(), frames.len() as u64)]);
    assert_eq!(decode_errors(&file_of(&vod)), "");
    let hash = |packet: &String| packet.rsplit("data_hash=").next().unwrap().to_owned();
    let ours: Vec<_> = packets(&file_of(&vod)).iter().map(hash).collect();
    let theirs: Vec<_> = packets(&sandbox.path().join("v.ivf")).iter().map(hash).collect();
    assert_eq!(ours, theirs, "as the encoder put them together");
}

#[test]
fn a_hidden_picture_at_the_end_is_named_and_its_file_stays() {
    let sandbox = Sandbox::new();
    let frames = with_hidden_pictures(&sandbox);
    let hidden = frames.iter().rposition(|(_, frame)| parts(frame).len() > 1).unwrap();
    let mut apart: Vec<(u64, Vec<u8>)> = frames[..hidden].to_vec();
    apart.push((frames[hidden].0, parts(&frames[hidden].1).swap_remove(0)));
    // Enhanced RTMP: a configuration, then frames.
    let mut flv = b"FLV\x01\x01\0\0\0\x09\0\0\0\0".to_vec();
    let mut tag = |time: u64, body: &[u8]| {
        let (length, time) = (u32::try_from(body.len()).unwrap(), u32::try_from(time).unwrap().to_be_bytes());
        flv.extend(
            [&[9][..], &length.to_be_bytes()[1..], &[time[1], time[2], time[3], time[0], 0, 0, 0], body].concat(),
        );
        flv.extend((length + 11).to_be_bytes());
    };
    tag(0, b"\x90vp09\x01\0\0\0\0\x0A\x82\x02\x02\x02\0\0");
    for (time, frame) in &apart {
        tag(time * 40, &[if is_key(frame) { b"\x91vp09" } else { b"\xA1vp09" }, &frame[..]].concat());
    }
    let source = sandbox.root().join("room1.flv");
    fs::write(&source, &flv).unwrap();
    let vod = finished(&sandbox);
    assert_eq!(outcome(&vod), ("mp4", "remuxed"), "{vod}");
    assert_eq!(tracks(&vod), [("vp9".to_owned(), hidden as u64)], "{vod}");
    assert_eq!((kinds(&vod), fs::read(&source).unwrap() == flv), (vec!["truncated"], true), "{vod}");
}

/// A transport stream of half a minute of pictures, then pictures with sound by a new table of programmes.
fn with_new_programme(sandbox: &Sandbox, has_sound_before: bool) -> PathBuf {
    let (first, second) = (sandbox.path().join("1.ts"), sandbox.path().join("2.ts"));
    let half = |path: &Path, more: &str| {
        let mut args =
            vec!["-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=30", "-f", "lavfi", "-i", "sine=r=48000:d=30"];
        args.extend(H264.split(' '));
        args.extend(more.split(' '));
        args.extend(["-f", "mpegts", path.to_str().unwrap()]);
        ffmpeg(&args);
    };
    half(&first, if has_sound_before { "-c:a aac" } else { "-an" });
    half(
        &second,
        "-c:a aac -streamid 1:260 -tables_version 5 -mpegts_flags initial_discontinuity -output_ts_offset 30",
    );
    let source = sandbox.root().join("room1.ts");
    fs::write(&source, [fs::read(&first).unwrap(), fs::read(&second).unwrap()].concat()).unwrap();
    assert!(fs::metadata(&first).unwrap().len() > 200_000, "beyond what is looked at for a beginning");
    source
}

#[test]
fn a_track_that_a_later_table_of_programmes_adds_is_found() {
    for has_sound_before in [false, true] {
        let sandbox = Sandbox::new();
        let source = with_new_programme(&sandbox, has_sound_before);
        let sounds = count(&sandbox.path().join("2.ts"), "audio") as u64;
        let before = if has_sound_before { count(&sandbox.path().join("1.ts"), "audio") as u64 } else { 0 };
        let vod = finished(&sandbox);
        assert_eq!(outcome(&vod), ("mp4", "remuxed"), "{vod}");
        let found = tracks(&vod);
        assert_eq!(found[0], ("h264".to_owned(), 1500), "{vod}");
        assert_eq!(found[1..].iter().map(|track| track.1).sum::<u64>(), before + sounds, "{vod}");
        let last = vod["tracks"].as_array().unwrap().last().unwrap();
        assert!((29_900..30_200).contains(&last["startMs"].as_i64().unwrap()), "{vod}");
        assert!((29_900..30_200).contains(&last["durationMs"].as_i64().unwrap()), "{vod}");
        assert!(!kinds(&vod).contains(&"track_left_out") && !source.exists(), "{vod}");
    }
}

#[test]
fn a_track_that_cannot_be_read_does_not_keep_the_others_from_being_finished() {
    /// A codec that Matroska's registry does not have, in place of one that it has.
    fn renamed(bytes: &mut [u8], codec: &[u8]) {
        let at = bytes.windows(codec.len()).position(|w| w == codec).unwrap();
        bytes[at + 2] = b'?';
    }
    type Damage = fn(&mut [u8]);
    let no_adts: Damage = |bytes| {
        for packet in bytes.chunks_mut(188).filter(|packet| packet[1] & 0x1F == 1 && packet[2] == 1) {
            let payload = if packet[3] & 0x20 == 0 { 4 } else { 5 + usize::from(packet[4]) };
            let head = if packet[1] & 0x40 == 0 { 0 } else { 9 + usize::from(packet[payload + 8]) };
            packet[(payload + head).min(188)..].fill(0x2A);
        }
    };
    let cases: [(&str, &str, Damage, &str); 3] = [
        ("room1.ts", "-f mpegts", no_adts, "h264"),
        ("room1.mkv", "-f matroska", |bytes| renamed(bytes, b"A_AAC"), "h264"),
        ("room1.mkv", "-f matroska", |bytes| renamed(bytes, b"V_MPEG4/ISO/AVC"), "aac"),
    ];
    for (name, format, damage, kept) in cases {
        let sandbox = Sandbox::new();
        let source = recorded(&sandbox, name, 4, &format!("{H264} -c:a aac {format}"));
        let mut bytes = fs::read(&source).unwrap();
        damage(&mut bytes);
        fs::write(&source, &bytes).unwrap();
        let vod = finished(&sandbox);
        assert_eq!(tracks(&vod).iter().map(|track| track.0.as_str()).collect::<Vec<_>>(), [kept], "{name}: {vod}");
        assert!(kinds(&vod).contains(&"track_left_out"), "{name}: {vod}");
        assert_eq!(fs::read(&source).unwrap(), bytes, "{name}: the original stays");
    }
}

/// The tags of an FLV file: type, milliseconds, body.
fn flv_tags(path: &Path) -> Vec<(u8, [u8; 4], Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let (mut at, mut tags) = (13, Vec::new());
    while at + 11 <= bytes.len() {
        let length = usize::from(bytes[at + 1]) << 16 | usize::from(bytes[at + 2]) << 8 | usize::from(bytes[at + 3]);
        tags.push((bytes[at], bytes[at + 4..at + 8].try_into().unwrap(), bytes[at + 11..at + 11 + length].to_vec()));
        at += 15 + length;
    }
    tags
}

fn write_flv(path: &Path, tags: &[(u8, [u8; 4], Vec<u8>)]) {
    let mut bytes = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
    for (kind, time, body) in tags {
        let length = u32::try_from(body.len()).unwrap();
        bytes.extend([&[*kind][..], &length.to_be_bytes()[1..], time, &[0, 0, 0], body].concat());
        bytes.extend((length + 11).to_be_bytes());
    }
    fs::write(path, bytes).unwrap();
}

/// FLV with a copy of one kind of track as the second one in packets of enhanced RTMP v2.
fn with_second_track(sandbox: &Sandbox, kind: u8, head: impl Fn(&[u8]) -> Vec<u8>) -> PathBuf {
    let source = recorded(sandbox, "room1.flv", 4, &format!("{H264} -bf 0 -c:a aac"));
    let mut tags = Vec::new();
    for tag in flv_tags(&source) {
        let second = (tag.0 == kind).then(|| (kind, tag.1, head(&tag.2)));
        tags.extend([tag].into_iter().chain(second));
    }
    write_flv(&source, &tags);
    source
}

#[test]
fn a_second_track_of_enhanced_rtmp_comes_along() {
    let sound = |body: &[u8]| [&[0x95, body[1]], &b"mp4a\x01"[..], &body[2..]].concat();
    let picture = |body: &[u8]| {
        let kind = 0x80 | body[0] & 0x70 | 6;
        let composition = if body[1] == 1 { &body[2..5] } else { &[][..] };
        [&[kind, body[1]], &b"avc1\x01"[..], composition, &body[5..]].concat()
    };
    for (kind, expected) in [(8, ["h264", "aac", "aac"]), (9, ["h264", "h264", "aac"])] {
        let sandbox = Sandbox::new();
        let source =
            if kind == 8 { with_second_track(&sandbox, 8, sound) } else { with_second_track(&sandbox, 9, picture) };
        let vod = finished(&sandbox);
        let mut found = tracks(&vod);
        found.sort_by(|a, b| b.0.cmp(&a.0));
        assert_eq!(found.iter().map(|track| track.0.as_str()).collect::<Vec<_>>(), expected, "{vod}");
        let same = if kind == 8 { (&found[1], &found[2]) } else { (&found[0], &found[1]) };
        assert_eq!(same.0, same.1, "{vod}");
        assert_eq!(decode_errors(&file_of(&vod)), "");
        assert!(kinds(&vod).is_empty() && !source.exists(), "{vod}");
    }
}

#[test]
fn several_tracks_in_one_tag_are_named_and_the_original_stays() {
    let sandbox = Sandbox::new();
    let many = |body: &[u8]| {
        let length = u32::try_from(body.len() - 2).unwrap().to_be_bytes();
        [&[0x95, 0x10 | body[1]], &b"mp4a\x01"[..], &length[1..], &body[2..]].concat()
    };
    let source = with_second_track(&sandbox, 8, many);
    let vod = finished(&sandbox);
    assert_eq!(tracks(&vod).iter().map(|track| track.0.as_str()).collect::<Vec<_>>(), ["h264", "aac"], "{vod}");
    assert!(kinds(&vod).contains(&"track_left_out") && source.exists(), "{vod}");
}

#[test]
fn what_no_other_container_carries_is_kept_in_its_own() {
    let latm = format!("{H264} -c:a aac -mpegts_flags latm -f mpegts");
    for (name, options, mut codecs) in [
        ("room1.ts", latm.as_str(), ["h264", "aac_latm"]),
        ("room1.flv", "-c:v flv1 -c:a nellymoser -ar 11025", ["flv1", "nellymoser"]),
    ] {
        for share in [1.0, 0.6] {
            let sandbox = Sandbox::new();
            let source = recorded(&sandbox, name, 4, options);
            if share < 1.0 {
                fs::rename(cut(&source, share), &source).unwrap();
            }
            let vod = finished(&sandbox);
            let own = if name.ends_with("ts") { "mpegts" } else { "flv" };
            assert_eq!(vod["container"], own, "{name} {share}: {vod}");
            let mut found: Vec<_> = tracks(&vod).into_iter().map(|track| track.0).collect();
            found.sort();
            codecs.sort_unstable();
            assert_eq!(found, codecs, "{name} {share}");
            if share >= 1.0 {
                assert_eq!((outcome(&vod).1, kinds(&vod), file_of(&vod)), ("kept", vec![], source), "{name}");
            }
        }
    }
}

#[test]
fn what_calls_itself_webm_and_is_not_becomes_what_it_is() {
    for (options, container) in [("-bf 0 -c:a libopus", "mp4"), ("-bf 0 -c:a pcm_s16le", "matroska")] {
        for live in ["-live 1", "-live 0"] {
            let sandbox = Sandbox::new();
            let source = recorded(&sandbox, "room1.mkv", 4, &format!("{H264} {options} {live} -f matroska"));
            let mut bytes = fs::read(&source).unwrap();
            let at = bytes.windows(11).position(|w| w == b"\x42\x82\x88matroska").unwrap();
            bytes[at..at + 11].copy_from_slice(b"\x42\x82\x84webm\xEC\x82\0\0");
            fs::remove_file(&source).unwrap();
            fs::write(sandbox.root().join("room1.webm"), bytes).unwrap();
            let vod = finished(&sandbox);
            assert_eq!(outcome(&vod), (container, "remuxed"), "{options} {live}: {vod}");
            assert_eq!(tracks(&vod)[0], ("h264".to_owned(), 100), "{vod}");
            assert!(kinds(&vod).is_empty(), "{vod}");
        }
    }
}

/// Whether this FFmpeg has an encoder.
fn has_encoder(name: &str) -> bool {
    let run = Command::new("ffmpeg").args(["-v", "error", "-h", &format!("encoder={name}")]).output().unwrap();
    !String::from_utf8_lossy(&run.stdout).contains("is not recognized")
}

/// Every codec that FFmpeg writes into a container, with a writer that ended and with one that did not.
#[test]
fn every_codec_of_a_container_ends_well() {
    let flv = ["flv", "flashsv", "flashsv2"].map(|codec| format!("-c:v {codec} -an -f flv"));
    let sounds =
        ["adpcm_swf -ar 22050", "pcm_s16le -ar 44100", "pcm_u8 -ar 22050", "pcm_alaw -ar 8000", "pcm_mulaw -ar 8000"]
            .map(|codec| format!("-c:v flv -c:a {codec} -f flv"));
    let ts = [
        "mp2",
        "s302m -ac 2 -strict -2",
        "dca -strict -2 -ac 2",
        "libopus",
        "pcm_bluray -ac 2",
        "truehd -strict -2 -ac 2",
    ]
    .map(|codec| format!("{H264} -c:a {codec} -f mpegts"));
    let pictures = ["mpeg2video", "mpeg4", "mjpeg"].map(|codec| format!("-c:v {codec} -c:a mp2 -f mpegts"));
    let all = flv.iter().chain(&sounds).map(|options| ("flv", options));
    for (extension, options) in all.chain(ts.iter().chain(&pictures).map(|options| ("ts", options))) {
        let words: Vec<_> = options.split(' ').collect();
        let encoders = words.windows(2).filter(|pair| pair[0].starts_with("-c:")).map(|pair| pair[1]);
        if !encoders.into_iter().all(has_encoder) {
            continue;
        }
        for share in [1.0, 0.7] {
            let sandbox = Sandbox::new();
            let source = recorded(&sandbox, &format!("room1.{extension}"), 2, options);
            if share < 1.0 {
                fs::rename(cut(&source, share), &source).unwrap();
            }
            let said = sandbox.process();
            assert_eq!(said.code(), 0, "{options} {share}: {}{}", said.out, said.err);
            assert!(!said.out.contains("report it"), "{options}: {}", said.out);
        }
    }
}
