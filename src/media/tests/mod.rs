//! Real recordings and files made by the ffmpeg command, through the whole room.

mod damage;
mod foreign;
mod transport;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::fault::{Class, Fault};
use crate::isobmff;
use crate::recording::{Container, Defect, TrackKind};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Runs ffmpeg with arguments split at spaces and an output path.
fn ffmpeg(arguments: &str, output: &Path) {
    let run = Command::new("ffmpeg")
        .args(["-y", "-v", "error", "-nostdin"])
        .args(arguments.split_whitespace())
        .arg(output)
        .output()
        .expect("ffmpeg runs");
    assert!(run.status.success(), "{arguments}: {}", String::from_utf8_lossy(&run.stderr));
}

const PICTURES: &str = "-f lavfi -i testsrc2=size=320x180:rate=25:duration=4";
const SOUND: &str = "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=4";
const X264: &str = "-c:v libx264 -preset veryfast -g 25 -pix_fmt yuv420p";

fn made(directory: &Path, name: &str, codecs: &str) -> PathBuf {
    let path = directory.join(name);
    ffmpeg(&format!("{PICTURES} {SOUND} {codecs}"), &path);
    path
}

fn ffprobe(path: &Path, entries: &str) -> String {
    let run = Command::new("ffprobe")
        .args(["-v", "error", "-of", "default=nw=1", "-show_entries", entries])
        .arg(path)
        .output()
        .expect("ffprobe runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8_lossy(&run.stdout).into_owned()
}

fn assert_decodes(path: &Path) {
    let run = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(path)
        .args(["-map", "0", "-f", "null", "-"])
        .output()
        .expect("ffmpeg runs");
    assert!(run.status.success() && run.stderr.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
}

fn container_of(path: &Path) -> Container {
    Container::sniff(&fs::read(path).unwrap()).unwrap()
}

struct RemuxResult {
    remuxed: Remuxed,
    reading: MediaReading,
    output: PathBuf,
}

/// Remuxes, reads back, compares.
fn finish(source: &Path, to: Container, directory: &Path) -> RemuxResult {
    let output = directory.join(format!("out.{}", to.extension()));
    fs::write(&output, b"leftovers").unwrap();
    let remuxed = remux(&Remux::new(source, container_of(source), &output, to)).unwrap();
    let reading = read(&output, to, PassControl::default()).unwrap();
    compare(&remuxed, &reading).unwrap();
    assert_eq!(differences(&remuxed, &reading), [], "{}", source.display());
    RemuxResult { remuxed, reading, output }
}

fn assert_sound(done: &RemuxResult, seconds: f64) {
    assert_decodes(&done.output);
    let said = ffprobe(&done.output, "format=duration");
    let duration: f64 = said.trim().rsplit('=').next().unwrap().parse().unwrap();
    assert!((duration - seconds).abs() < 0.15, "ffprobe says {duration}");
    let ours = std::time::Duration::from_millis(done.reading.duration_ms().try_into().unwrap());
    assert!((ours.as_secs_f64() - seconds).abs() < 0.15, "we say {ours:?}");
    assert_eq!(done.reading.defects, []);
}

/// Offsets of the top-level boxes, for a look at their order.
fn boxes(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap();
    let (mut at, mut found) = (0, Vec::new());
    while at + 8 <= bytes.len() {
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        found.push(String::from_utf8_lossy(&bytes[at + 4..at + 8]).into_owned());
        at += size.max(8);
    }
    found
}

#[test]
fn a_table_of_codecs_and_containers_comes_out_whole() {
    let table: &[(&str, &str, Container)] = &[
        ("a.flv", "-c:v libx264 -preset veryfast -g 25 -pix_fmt yuv420p -bf 0 -c:a aac", Container::Mp4),
        ("b.flv", "-c:v libx264 -preset veryfast -g 25 -pix_fmt yuv420p -bf 3 -c:a aac", Container::Mp4),
        ("a.ts", "-c:v libx264 -preset veryfast -g 25 -pix_fmt yuv420p -c:a aac", Container::Mp4),
        ("b.ts", "-c:v libx264 -preset veryfast -g 25 -pix_fmt yuv420p -c:a mp2", Container::Matroska),
        (
            "c.ts",
            "-c:v libx265 -preset ultrafast -x265-params log-level=none -g 25 -pix_fmt yuv420p -c:a ac3",
            Container::Mp4,
        ),
        ("a.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus", Container::Webm),
        ("b.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus", Container::Webm),
        ("c.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus", Container::Mp4),
        ("a.mkv", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus", Container::Webm),
        (
            "b.mkv",
            "-c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=3 -g 25 -pix_fmt yuv420p -c:a aac",
            Container::Mp4,
        ),
        ("c.mkv", "-c:v libx264 -preset veryfast -g 25 -bf 3 -pix_fmt yuv420p -c:a flac", Container::Mp4),
        ("d.mkv", "-c:v mpeg4 -g 25 -c:a libmp3lame", Container::Mp4),
        ("e.mkv", "-c:v libsvtav1 -preset 12 -g 25 -c:a libopus", Container::Mp4),
        ("f.mkv", "-c:v libx264 -preset veryfast -g 25 -pix_fmt yuv420p -c:a eac3", Container::Mp4),
    ];
    for (name, codecs, to) in table {
        let directory = tempfile::tempdir().unwrap();
        let source = made(directory.path(), name, codecs);
        let done = finish(&source, *to, directory.path());
        println!("{name} -> {}: {:?}", to.extension(), done.remuxed.defects);
        assert_sound(&done, 4.0);
        assert_eq!(done.remuxed.defects, [], "{name}");
        assert_eq!(done.reading.tracks.len(), 2);
        for (written, source) in done.remuxed.tracks_written.iter().zip(&done.remuxed.source.tracks) {
            assert_eq!((written.packets, written.digest), (source.packets, source.digest), "{name}");
        }
        let again = read(&source, container_of(&source), PassControl::default()).unwrap();
        assert_eq!(again, done.remuxed.source, "a reading of the source says the same as the remux: {name}");
        if *to == Container::Mp4 {
            assert_eq!(boxes(&done.output)[..2], ["ftyp", "moov"], "{name}");
        }
    }
}

#[test]
fn real_recordings_come_out_whole() {
    for (name, to) in [
        ("test_short.flv", Container::Mp4),
        ("sample_MP4_480.mp4", Container::Mp4),
        ("big-buck-bunny_trailer.webm", Container::Webm),
        ("test_short.flv", Container::Matroska),
        ("sample_MP4_480.mp4", Container::Matroska),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let done = finish(&fixture(name), to, directory.path());
        println!("{name}: {:?} {:?}", done.remuxed.defects, done.reading.defects);
        assert_decodes(&done.output);
        assert!(!done.remuxed.leaves_something_out(), "{name}: {:?}", done.remuxed.defects);
        assert_eq!(done.reading.defects, [], "{name}");
    }
}

#[test]
fn a_flipped_byte_fails_the_comparison() {
    let directory = tempfile::tempdir().unwrap();
    let done = finish(&fixture("test_short.flv"), Container::Mp4, directory.path());
    let mut bytes = fs::read(&done.output).unwrap();
    let in_media = bytes.len() - 5000;
    bytes[in_media] ^= 0x10;
    fs::write(&done.output, &bytes).unwrap();
    let tampered = read(&done.output, Container::Mp4, PassControl::default()).unwrap();
    assert!(matches!(compare(&done.remuxed, &tampered), Err(Mismatch::Payload { .. })));
    let mut short = done.reading.clone();
    short.tracks[0].packets -= 1;
    assert!(matches!(compare(&done.remuxed, &short), Err(Mismatch::Packets { track: 1, .. })));
    short.tracks.pop();
    assert!(matches!(compare(&done.remuxed, &short), Err(Mismatch::Tracks { .. })));
}

#[test]
fn a_cut_recording_is_finished_to_its_last_whole_unit_and_says_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let h264 = format!("{X264} -c:a aac");
    for (name, codecs, to) in [
        ("a.flv", h264.as_str(), Container::Mp4),
        ("a.ts", &h264, Container::Mp4),
        ("a.mkv", &h264, Container::Mp4),
        ("a.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libvorbis", Container::Webm),
    ] {
        let whole = fs::read(made(directory.path(), name, codecs)).unwrap();
        for permille in [400, 601, 777usize] {
            let cut = directory.path().join(format!("cut_{name}"));
            fs::write(&cut, &whole[..=whole.len() * permille / 1000]).unwrap();
            let done = finish(&cut, to, directory.path());
            println!("{name} at {permille}: {:?}", done.remuxed.defects);
            assert!(
                done.remuxed.defects.iter().any(|d| matches!(d, Defect::Truncated { .. })),
                "{name} at {permille}: {:?}",
                done.remuxed.defects
            );
            assert!(done.remuxed.leaves_something_out());
            assert_decodes(&done.output);
            assert!(usize::try_from(done.reading.duration_ms()).unwrap() > 2 * permille);
        }
    }
}

#[test]
fn pictures_begin_at_their_first_keyframe_and_sound_with_its_first_packet() {
    let directory = tempfile::tempdir().unwrap();
    let whole = made(directory.path(), "whole.ts", &format!("{X264} -bf 2 -c:a aac"));
    let bytes = fs::read(&whole).unwrap();
    let tables: Vec<u8> = bytes[..188 * 3].to_vec();
    let cut = directory.path().join("cut.ts");
    let from = bytes.len() * 2 / 5 / 188 * 188;
    fs::write(&cut, [&tables[..], &bytes[from..]].concat()).unwrap();
    let done = finish(&cut, Container::Mp4, directory.path());
    assert!(done.remuxed.defects.iter().any(|d| matches!(d, Defect::LeadingPacketsDropped { track: 1, .. })));
    let [video, audio] = &done.reading.tracks[..] else { panic!("two tracks") };
    assert_eq!((audio.first_pts_ms, audio.start_ms), (0, 0));
    assert_eq!(audio.packets, done.remuxed.source.tracks[1].packets, "no sound is left out");
    let apart_ms = done.remuxed.source.tracks[0].first_pts_ms - done.remuxed.source.tracks[1].first_pts_ms;
    assert!(video.start_ms >= apart_ms && video.start_ms > 100, "{} {apart_ms}", video.start_ms);
    assert_decodes(&done.output);
    let read_packets = done.remuxed.source.tracks[0].packets;
    assert!(read_packets > done.remuxed.tracks_written[0].packets, "what was dropped is still counted");
}

#[test]
fn a_track_that_starts_late_is_found_and_stays_in_sync() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("late.flv");
    let late = "-f lavfi -i testsrc2=size=320x180:rate=25:duration=4 -itsoffset 0.7 -f lavfi -i sine=duration=3";
    ffmpeg(&format!("{late} {X264} -bf 0 -c:a aac"), &source);
    assert_eq!(probe(&source, Container::Flv).unwrap().tracks.len(), 2);
    let done = finish(&source, Container::Mp4, directory.path());
    let start_ms = done.reading.tracks.iter().find(|t| t.kind == TrackKind::Audio).unwrap().start_ms;
    assert!((650..=750).contains(&start_ms), "{start_ms}");
}

#[test]
fn sound_alone_and_pictures_alone_come_through() {
    let directory = tempfile::tempdir().unwrap();
    let sound = directory.path().join("sound.flv");
    ffmpeg(&format!("{SOUND} -c:a aac"), &sound);
    assert_sound(&finish(&sound, Container::Mp4, directory.path()), 4.0);
    let pictures = directory.path().join("pictures.ts");
    ffmpeg(&format!("{PICTURES} {X264}"), &pictures);
    assert_sound(&finish(&pictures, Container::Mp4, directory.path()), 4.0);
}

#[test]
fn a_full_disk_is_said_as_such() {
    let source = fixture("test_short.flv");
    let error = remux(&Remux::new(&source, Container::Flv, Path::new("/dev/full"), Container::Mp4)).unwrap_err();
    assert!(
        matches!(&error, MediaError::Write { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
        "{error:?}"
    );
    assert_eq!(error.class(), Class::Environment);
}

#[test]
fn garbage_is_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let garbage = directory.path().join("garbage.mp4");
    fs::write(&garbage, (0..100_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[1]).collect::<Vec<_>>())
        .unwrap();
    for container in [Container::Mp4, Container::Flv, Container::MpegTs, Container::Matroska] {
        let said = read(&garbage, container, PassControl::default());
        let is_said = match &said {
            Err(error) => error.class() == Class::Permanent,
            Ok(reading) => reading.is_fatal(),
        };
        assert!(is_said, "{container:?}: {said:?}");
    }
    let empty = directory.path().join("empty.flv");
    fs::write(&empty, b"").unwrap();
    assert!(read(&empty, Container::Flv, PassControl::default()).map_or(true, |r| r.defects.contains(&Defect::Empty)));
    assert!(matches!(read(directory.path(), Container::Flv, PassControl::default()), Err(MediaError::Open { .. })));
    assert!(matches!(
        read(&directory.path().join("none.flv"), Container::Flv, PassControl::default()),
        Err(MediaError::Open { .. })
    ));
}

#[test]
fn names_need_not_be_utf_8() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join(OsStr::from_bytes(b"r\xFFom\n1.flv"));
    let output = directory.path().join(OsStr::from_bytes(b"r\xFFom\n1.mp4"));
    fs::copy(fixture("test_short.flv"), &source).unwrap();
    fs::write(&output, b"").unwrap();
    let remuxed = remux(&Remux::new(&source, Container::Flv, &output, Container::Mp4)).unwrap();
    compare(&remuxed, &read(&output, Container::Mp4, PassControl::default()).unwrap()).unwrap();
}

#[test]
fn work_can_be_cancelled_and_says_how_far_it_is() {
    let source = fixture("sample_MP4_480.mp4");
    let cancel = AtomicBool::new(true);
    let watch = PassControl { cancel: Some(&cancel), progress: None };
    assert!(matches!(read(&source, Container::Mp4, watch), Err(MediaError::Cancelled)));
    let far = std::cell::Cell::new(0);
    let note = |bytes: u64| far.set(bytes);
    read(&source, Container::Mp4, PassControl { cancel: None, progress: Some(&note) }).unwrap();
    assert!(far.get() > fs::metadata(&source).unwrap().len() * 9 / 10);
}

#[test]
fn what_does_not_fit_is_an_error_and_no_silent_loss() {
    let directory = tempfile::tempdir().unwrap();
    let source = made(directory.path(), "a.ts", &format!("{X264} -c:a mp2"));
    let output = directory.path().join("o.mp4");
    fs::write(&output, b"").unwrap();
    let error = remux(&Remux::new(&source, Container::MpegTs, &output, Container::Mp4)).unwrap_err();
    assert!(matches!(error, MediaError::DoesNotFit { ref codec, track: 2, .. } if codec == "mp2"), "{error:?}");
}

#[test]
fn a_probe_says_what_ffprobe_says() {
    let probed = probe(&fixture("sample_MP4_480.mp4"), Container::Mp4).unwrap();
    let said = ffprobe(&fixture("sample_MP4_480.mp4"), "stream=codec_name,width,sample_rate");
    for track in &probed.tracks {
        assert!(said.contains(&format!("codec_name={}", track.codec)), "{said}");
        assert!(track.is_readable && track.has_extradata);
        assert!(track.width.is_none_or(|w| said.contains(&format!("width={w}"))));
        assert!(track.sample_rate_hz.is_none_or(|r| said.contains(&format!("sample_rate={r}"))));
    }
    assert_eq!(probed.tracks.len(), 2);
}

#[test]
fn tables_name_codecs_as_libavformat_does() {
    let directory = tempfile::tempdir().unwrap();
    let pictures = [
        "mpeg2video",
        "mjpeg -pix_fmt yuvj420p",
        "dnxhd -profile:v dnxhr_lb -pix_fmt yuv422p -vf scale=256:144",
        "png",
    ];
    let sounds =
        ["s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "f64le", "u8", "alaw", "mulaw"];
    let of_pictures = pictures.map(|codec| format!("-an -c:v {codec}"));
    let of_sound = sounds.map(|codec| format!("-vn -c:a pcm_{codec}"));
    for (number, options) in of_pictures.iter().chain(&of_sound).enumerate() {
        let source = made(directory.path(), &format!("{number}.mov"), options);
        let mut file = fs::File::open(&source).unwrap();
        let layout = isobmff::top_level(&mut file, fs::metadata(&source).unwrap().len()).unwrap();
        let movie = isobmff::Movie::read(&mut file, &layout).unwrap();
        let said = ffprobe(&source, "stream=codec_name");
        assert!(
            said.contains(&format!("codec_name={}\n", movie.tracks[0].codec())),
            "{options}: {said} {}",
            movie.tracks[0].codec()
        );
    }
}

#[test]
fn a_decode_check_counts_what_does_not_decode() {
    let directory = tempfile::tempdir().unwrap();
    let source = fixture("test_short.flv");
    assert_eq!(decode_check(&source, Container::Flv, PassControl::default()).unwrap(), []);
    let mut bytes = fs::read(&source).unwrap();
    let length = bytes.len();
    for at in (length / 2..length * 3 / 4).step_by(97) {
        bytes[at] ^= 0x55;
    }
    let broken = directory.path().join("broken.flv");
    fs::write(&broken, &bytes).unwrap();
    assert_ne!(decode_check(&broken, Container::Flv, PassControl::default()).unwrap(), []);
}

/// A poster made in this process.
fn poster(path: &Path, container: Container, height: u32) -> Result<picture::Made, MediaError> {
    let file = fs::File::open(path).unwrap();
    let recording = picture::Recording { file: &file, name: path, container };
    let wanted = picture::Wanted::Poster { height, format: picture::Format::Jpeg, quality: 90 };
    picture::make(recording, wanted, picture::Budget::of(std::time::Duration::from_secs(60)))
}

#[test]
fn a_poster_is_a_jpeg_of_the_asked_height() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("poster.jpg");
    let made = poster(&fixture("sample_MP4_480.mp4"), Container::Mp4, 180).unwrap();
    assert_eq!(made.height, 180);
    fs::write(&output, &made.bytes).unwrap();
    assert!(made.bytes.starts_with(&[0xFF, 0xD8, 0xFF]));
    assert!(ffprobe(&output, "stream=width,height").contains("height=180"));
}

#[test]
fn a_sheet_has_a_picture_for_each_step() {
    let path = fixture("sample_MP4_480.mp4");
    let file = fs::File::open(&path).unwrap();
    let recording = picture::Recording { file: &file, name: &path, container: Container::Mp4 };
    let wanted = picture::Wanted::Sprite { height: 90, interval_ms: 2_000, duration_ms: 30_000 };
    let budget = picture::Budget::of(std::time::Duration::from_secs(60));
    let made = picture::make(recording, wanted, budget).unwrap();
    let tiles = made.tiles.unwrap();
    assert_eq!((tiles.count, tiles.columns, tiles.height), (15, 10, 90));
    assert_eq!((made.width, made.height), (10 * tiles.width, 180));
}
