//! Codec names, rates and channels as `ffprobe` says them.

use std::path::Path;
use std::process::Command;

use super::probe::{ours, probed};
use super::read;
use crate::isobmff::{Movie, check_packets, validate};
use crate::recording::TrackKind;

const VIDEO: [&str; 6] = ["libx264", "libx265", "mpeg4", "libvpx-vp9", "libaom-av1", "mjpeg"];
const AUDIO: [&str; 7] = ["aac", "libmp3lame", "ac3", "eac3", "libopus", "flac", "alac"];

fn encoded(dir: &Path, name: &str, options: &[&str]) -> std::path::PathBuf {
    let path = dir.join(name);
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=10:duration=1"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=1"])
        .args(options)
        .args(["-x265-params", "log-level=error", "-ac", "2", "-strict", "-2", "-pix_fmt", "yuv420p"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(status.success(), "{options:?}");
    path
}

/// What `ffprobe` says of a file's only stream, in one line.
fn stream(path: &Path, entries: &str) -> String {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "csv=p=0", "-show_entries", entries])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().trim_end_matches(',').to_owned()
}

fn assert_sound(path: &Path) -> (Movie, crate::recording::TrackSummary) {
    let (mut file, layout, movie) = read(path);
    let verdict = validate(&movie, &layout);
    assert_eq!(verdict.defects, [], "{}", path.display());
    assert_eq!(check_packets(&mut file, &movie).unwrap().defects, [], "{}", path.display());
    assert_eq!(ours(&movie, 0), probed(path, 0), "{}", path.display());
    (movie, verdict.tracks[0].clone())
}

#[test]
fn pictures_are_named_as_ffprobe_names_them() {
    let dir = tempfile::tempdir().unwrap();
    for codec in VIDEO {
        let path = encoded(dir.path(), &format!("{codec}.mp4"), &["-map", "0:v", "-c:v", codec, "-t", "0.5"]);
        let (_, track) = assert_sound(&path);
        let said = format!("{},{},{}", track.codec, track.width.unwrap(), track.height.unwrap());
        assert_eq!((track.kind, said), (TrackKind::Video, stream(&path, "stream=codec_name,width,height")));
    }
}

#[test]
fn sound_is_named_as_ffprobe_names_it() {
    let dir = tempfile::tempdir().unwrap();
    for (container, codec) in AUDIO.map(|codec| ("mp4", codec)).into_iter().chain([("mov", "aac"), ("mov", "alac")]) {
        let path = encoded(dir.path(), &format!("{codec}.{container}"), &["-map", "1:a", "-c:a", codec]);
        let (_, track) = assert_sound(&path);
        let said = format!("{},{},{}", track.codec, track.sample_rate_hz.unwrap(), track.channels.unwrap());
        assert_eq!((track.kind, said), (TrackKind::Audio, stream(&path, "stream=codec_name,sample_rate,channels")));
    }
}
