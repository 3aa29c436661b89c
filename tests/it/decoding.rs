//! `validate = "decode"`: what a decoder conceals is named, and what is sound is not suspected.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::pictures::{children_of, record, signal, worker_of};
use crate::support::daemon::{Daemon, until};
use crate::support::recordings::{decode_errors, ffmpeg, made};
use crate::support::{Sandbox, standard_config};

/// Offset and size of the packets of a stream that are no keyframes, in the file.
fn later_packets(path: &Path, stream: &str) -> Vec<(usize, usize)> {
    let show = ["-show_entries", "packet=pos,size,flags", "-of", "csv=p=0"];
    let run = Command::new("ffprobe").args(["-v", "error", "-select_streams", stream]).args(show).arg(path).output();
    let said = String::from_utf8(run.unwrap().stdout).unwrap();
    let packet = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let (size, at, flags) = (fields[0].parse().ok()?, fields[1].parse().ok()?, fields[2]);
        (!flags.starts_with('K')).then_some((at, size))
    };
    said.lines().filter_map(packet).collect()
}

fn noise(place: usize) -> u8 {
    place.wrapping_mul(2_654_435_761).to_le_bytes()[2] | 1
}

/// A copy in which the second half of the largest so many pictures that are no keyframes is noise; their lengths and slice headers
/// are whole.
fn with_noise(path: &Path, pictures: usize) -> std::path::PathBuf {
    let mut bytes = fs::read(path).unwrap();
    let mut found = later_packets(path, "v");
    found.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    for (at, size) in &found[..pictures] {
        let half = at + size / 2..at + size - 8;
        // What follows from its place is noise enough, and never zero.
        half.clone().zip(&mut bytes[half]).for_each(|(place, byte)| *byte = noise(place));
    }
    let to = path.with_file_name(format!("noise-{}", path.file_name().unwrap().to_string_lossy()));
    fs::write(&to, bytes).unwrap();
    to
}

/// The decoding errors of each track that the record of the only recording names.
fn named(sandbox: &Sandbox) -> Vec<(u64, u64)> {
    let vods = sandbox.vods();
    assert_eq!(vods.len(), 1, "{vods:?}");
    let defects = vods[0]["defects"].as_array().unwrap();
    let of_decoder = |defect: &&Value| defect["kind"] == "undecodable";
    let numbers = |d: &Value| (d["track"].as_u64().unwrap(), d["errors"].as_u64().unwrap());
    defects.iter().filter(of_decoder).map(numbers).collect()
}

fn that_decodes() -> Sandbox {
    Sandbox::with_config(|dir| standard_config(dir, "[finish]\nvalidate = \"decode\"\n"))
}

#[test]
fn pictures_whose_damage_a_decoder_conceals_are_counted() {
    // H.265 is not among them: its decoder says nothing of noise behind whole slice headers.
    for recipe in ["mp4", "mp4-faststart", "mp4-fragmented", "mp4-mpeg4", "flv", "mkv"] {
        let noisy = with_noise(&made(recipe, 4), 8);
        assert!(!decode_errors(&noisy).is_empty(), "{recipe}: a decoder complains");
        let sandbox = that_decodes();
        sandbox.put(&noisy, &format!("room.{}", noisy.extension().unwrap().to_str().unwrap()));
        sandbox.process().expect_code(0);
        let named = named(&sandbox);
        assert!(matches!(named[..], [(1, errors)] if errors > 0), "{recipe}: {named:?}");
        // Nobody asked a decoder here.
        let sandbox = Sandbox::new();
        sandbox.put(&noisy, &format!("room.{}", noisy.extension().unwrap().to_str().unwrap()));
        sandbox.process().expect_code(0);
        assert_eq!(self::named(&sandbox), [], "{recipe}");
    }
}

/// The process that decodes for a daemon now.
fn decoder_of(daemon: &Daemon) -> Option<u32> {
    children_of(worker_of(daemon)?).first().map(|(id, _)| *id)
}

#[test]
fn a_decoder_that_dies_costs_its_check_and_nothing_else() {
    let sandbox = that_decodes();
    let daemon = Daemon::start(&sandbox);
    let made_by = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 50";
    record(&sandbox, "long.mp4", "testsrc2=s=1280x720:r=50:d=60", made_by);
    let vods = || Some(sandbox.vods()).filter(|vods| !vods.is_empty());
    // It is tried once more, as it may have been killed from outside.
    let mut killed = std::collections::BTreeSet::new();
    let vod = until("it is catalogued", || {
        if let Some(decoder) = decoder_of(&daemon).filter(|decoder| !killed.contains(decoder)) {
            signal(decoder, "ABRT");
            killed.insert(decoder);
        }
        vods().map(|mut vods| vods.remove(0))
    });
    let defects = vod["defects"].as_array().unwrap();
    assert_eq!(defects.len(), 1, "{vod}");
    assert_eq!(
        (&defects[0]["kind"], &defects[0]["reason"]),
        (&"not_decoded".into(), &"the decoder was ended by signal 6 (SIGABRT)".into())
    );
    assert_eq!(killed.len(), 2, "{killed:?}");
    until("it is delivered", || sandbox.store().join("long.mp4").exists().then_some(()));
    // The next one has a decoder of its own.
    sandbox.put(&made("mp4", 2), "next.mp4");
    let vods = until("the next is finished", || vods().filter(|vods| vods.len() == 2));
    let next = vods.iter().find(|vod| vod["vodName"] == "next.mp4").unwrap();
    assert_eq!(next["defects"], serde_json::json!([]), "{next}");
    daemon.stop();
}

#[test]
fn a_sound_recording_has_no_decoding_errors() {
    for recipe in [
        "mp4",
        "mp4-fragmented",
        "mp4-h265",
        "mp4-vp9",
        "mp4-mp3",
        "mp4-ac3",
        "mp4-eac3",
        "mp4-opus",
        "mov-pcm",
        "mp4-mpeg4",
        "mp4-inband",
        "flv",
        "ts",
        "ts-mp2",
        "mkv",
        "mkv-vp9",
        "webm",
        "webm-vp9",
    ] {
        let whole = made(recipe, 4);
        let sandbox = that_decodes();
        sandbox.put(&whole, &format!("room.{}", whole.extension().unwrap().to_str().unwrap()));
        sandbox.process().expect_code(0);
        assert_eq!(named(&sandbox), [], "{recipe}");
    }
}

#[test]
fn pictures_in_front_of_the_first_of_a_recording_that_joins_a_stream_are_no_errors() {
    // From its second key picture on, which has pictures behind it that refer to those before it, in three slices each.
    let slices = "log-level=none:keyint=15:min-keyint=15:bframes=3:open-gop=1:slices=3";
    for (name, format) in [("mp4", "mp4"), ("ts", "mpegts"), ("mkv", "matroska")] {
        let sandbox = that_decodes();
        let (whole, joined) = (sandbox.path().join("whole.mp4"), sandbox.path().join(format!("joined.{name}")));
        let pictures = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=4", "-c:v", "libx265", "-preset", "ultrafast"];
        let tail = ["-x265-params", slices, "-pix_fmt", "yuv420p", whole.to_str().unwrap()];
        ffmpeg(&[&pictures[..], &tail].concat());
        let seek = ["-ss", "1.0", "-i", whole.to_str().unwrap(), "-c", "copy", "-f", format, joined.to_str().unwrap()];
        ffmpeg(&seek);
        sandbox.put(&joined, &format!("room.{name}"));
        sandbox.process().expect_code(0);
        assert_eq!(named(&sandbox), [], "{name}");
    }
}
