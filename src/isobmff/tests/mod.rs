//! Whole files: made with the FFmpeg command line, compared with what `ffprobe` reads from them.

mod codecs;
mod fragmented;
mod hostile;
mod moved;
mod probe;
mod sparse;
mod synthetic;
mod traps;
mod unmovable;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{FrontPlan, Layout, Movie, top_level};

/// The H.264 and AAC recording among the fixtures.
pub(super) fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sample_MP4_480.mp4")
}

/// Four seconds of test pictures with B-frames and two tones, muxed with the given options into `name`.
pub(super) fn made(dir: &Path, name: &str, options: &[&str]) -> PathBuf {
    let path = dir.join(name);
    let codecs = ["-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-bf", "2", "-c:a", "aac", "-b:a", "64k"];
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=4"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=4"])
        .args(["-f", "lavfi", "-i", "sine=frequency=880:sample_rate=44100:duration=4"])
        .args(codecs)
        .args(options)
        .arg(&path)
        .status()
        .unwrap();
    assert!(status.success(), "ffmpeg could not make {name}");
    path
}

/// Opens a file and reads its top level.
pub(super) fn opened(path: &Path) -> (File, Layout) {
    let mut file = File::open(path).unwrap();
    let len = file.metadata().unwrap().len();
    let layout = top_level(&mut file, len).unwrap();
    (file, layout)
}

/// Opens a file and reads its movie.
pub(super) fn read(path: &Path) -> (File, Layout, Movie) {
    let (mut file, layout) = opened(path);
    let movie = Movie::read(&mut file, &layout).unwrap();
    (file, layout, movie)
}

/// The `ftyp` box of a file.
pub(super) fn ftyp(path: &Path, layout: &Layout) -> Vec<u8> {
    let end = layout.first(b"ftyp").map_or(0, super::BoxHeader::end);
    std::fs::read(path).unwrap()[..usize::try_from(end).unwrap()].to_vec()
}

/// Writes the file that a plan describes.
pub(super) fn applied(plan: &FrontPlan, old: &Path, new: &Path) {
    let old = std::fs::read(old).unwrap();
    let mut bytes = plan.header.clone();
    for range in &plan.body_ranges {
        bytes.extend(&old[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]);
    }
    assert_eq!(bytes.len() as u64, plan.len());
    std::fs::write(new, bytes).unwrap();
}

/// FFmpeg's view of the packets: one line each with payload digest, size and times after edit lists.
pub(super) fn framehash(path: &Path) -> String {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0", "-c", "copy", "-f", "framehash", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
