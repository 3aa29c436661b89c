//! Nothing that salvage makes is called playable before a decoder has shown it: parameters of another rendition, of another
//! broadcast, of another stream make no recording, and of several versions the one that decodes wins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Sandbox;
use crate::support::boxes;
use crate::support::recordings::{decode_errors, duration_s, ffmpeg, packets};

/// Pictures of a size with a tone; `look` makes those of one broadcast different from those of another.
#[derive(Debug, Clone, Copy)]
struct Broadcast<'a> {
    size: &'a str,
    look: u32,
    codecs: &'a str,
}

const H264: &str = "-c:v libx264 -preset veryfast -g 50 -pix_fmt yuv420p -c:a aac";
const H265: &str =
    "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=50 -pix_fmt yuv420p -tag:v hvc1 -c:a aac";

impl Broadcast<'_> {
    /// Writes `seconds` of it.
    fn write(self, to: &Path, seconds: u32) -> &Path {
        let Broadcast { size, look, codecs } = self;
        let pictures = format!("testsrc2=s={size}:r=25:d={seconds},hue=h={}", look * 70);
        let sound = format!("sine=f={}:r=48000:d={seconds}", 300 * (look + 1));
        write(&pictures, &sound, codecs, to);
        to
    }
}

fn write(pictures: &str, sound: &str, codecs: &str, to: &Path) {
    let mut args = vec!["-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", sound];
    args.extend(codecs.split(' '));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    args.push(to.to_str().unwrap());
    ffmpeg(&args);
}

/// What a writer that died leaves of an MP4: no `moov`, media of no size that stops after so many of a hundred bytes.
fn crash(whole: &Path, percent: usize, to: &Path) {
    let bytes = fs::read(whole).unwrap();
    let mdat = boxes::top(&bytes).into_iter().rfind(|b| b.is(*b"mdat")).unwrap();
    let body = mdat.body();
    let mut left = bytes[..body.start + body.len() * percent / 100].to_vec();
    left[mdat.range.start..mdat.range.start + 4].fill(0);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::write(to, left).unwrap();
}

/// Width and height as ffprobe says them.
fn size(path: &Path) -> String {
    let show = ["-select_streams", "v", "-show_entries", "stream=width,height", "-of", "csv=p=0:s=x"];
    let run = Command::new("ffprobe").args(["-v", "error"]).args(show).arg(path).output().unwrap();
    String::from_utf8(run.stdout).unwrap().trim().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Payloads of the pictures, in order.
fn pictures(path: &Path) -> Vec<String> {
    let hash = |line: &String| line.rsplit("data_hash=").next().unwrap().to_owned();
    packets(path).iter().filter(|line| line.contains("=video")).map(hash).collect()
}

/// Whether a recovered file is what was recorded, as far as it goes.
fn assert_is(recovered: &Path, whole: &Path, percent: usize) {
    assert_eq!(size(recovered), size(whole), "{}", recovered.display());
    assert_eq!(decode_errors(recovered), "", "{}", recovered.display());
    let (ours, theirs) = (pictures(recovered), pictures(whole));
    assert!(ours.len() * 100 >= theirs.len() * (percent - 15), "{} of {}", ours.len(), theirs.len());
    // ffprobe shows no digest of the first one, which has side data.
    assert_eq!(ours[1..], theirs[1..ours.len()], "{}", recovered.display());
}

#[test]
fn each_rendition_is_salvaged_with_its_own_parameters() {
    for codecs in [H264, H265] {
        let sandbox = Sandbox::new();
        let root = sandbox.root();
        let sizes = [("240p", "320x240"), ("360p500kbps", "480x360"), ("480p", "640x480")];
        for (rendition, size) in sizes {
            Broadcast { size, look: 0, codecs }.write(&root.join(format!("room1_{rendition}.mp4")), 2);
        }
        sandbox.run(&["process", "--server", "antmedia", text(&root)]).expect_code(0);
        for (rendition, size) in sizes {
            let whole = sandbox.path().join(format!("{rendition}.mp4"));
            Broadcast { size, look: 1, codecs }.write(&whole, 6);
            crash(&whole, 75, &root.join(format!("room1_{rendition}_1.mp4.tmp_extension")));
        }
        sandbox.run(&["recover", "--server", "antmedia", text(&root)]).expect_code(0);
        for (rendition, _) in sizes {
            let recovered = root.join(format!("room1_{rendition}_1.mp4"));
            assert_is(&recovered, &sandbox.path().join(format!("{rendition}.mp4")), 75);
        }
        let vods = sandbox.vods();
        let salvaged: Vec<_> = vods.iter().filter(|vod| vod["salvaged"] == true).collect();
        assert_eq!(salvaged.len(), 3);
        for vod in salvaged {
            assert_eq!(
                (&vod["salvage"]["source"], &vod["salvage"]["decodeErrors"]),
                (&"stream".into(), &0.into()),
                "{vod}"
            );
        }
    }
}

#[test]
fn a_stream_that_changes_its_size_between_broadcasts_is_salvaged_with_the_version_that_decodes() {
    let sandbox = Sandbox::new();
    let sizes = ["640x480", "320x240", "480x360"];
    for (day, size) in (0..).zip(sizes) {
        let sound = sandbox.root().join(format!("{day}/room.mp4"));
        Broadcast { size, look: day, codecs: H264 }.write(&sound, 2);
        sandbox.run(&["process", text(&sound), "--stream", "room"]).expect_code(0);
    }
    for (day, size) in (3..).zip(sizes) {
        let whole = sandbox.path().join(format!("{day}.mp4"));
        Broadcast { size, look: day, codecs: H264 }.write(&whole, 6);
        let crashed = sandbox.root().join(format!("{day}/room.mp4.tmp"));
        crash(&whole, 75, &crashed);
        sandbox.run(&["recover", text(&crashed), "--stream", "room"]).expect_code(0);
        assert_is(&crashed.with_extension(""), &whole, 75);
    }
}

#[test]
fn parameters_that_do_not_decode_make_no_recording_whoever_named_them() {
    for codecs in [H264, H265] {
        let sandbox = Sandbox::new();
        let whole = sandbox.path().join("whole.mp4");
        Broadcast { size: "640x480", look: 0, codecs }.write(&whole, 6);
        let crashed = sandbox.root().join("a/room.mp4.tmp");
        crash(&whole, 75, &crashed);
        for other in ["320x240", "480x640", "1280x960"] {
            let reference = sandbox.path().join(format!("{other}.mp4"));
            Broadcast { size: other, look: 1, codecs }.write(&reference, 2);
            let output = sandbox.path().join(format!("out-{other}.mp4"));
            let args =
                ["--json", "recover", text(&crashed), "--reference", text(&reference), "--output", text(&output)];
            let run = sandbox.run(&args).expect_code(4);
            assert!(run.out.contains("needs_parameters") && !output.exists(), "{other}: {}", run.out);
        }
        // Its stream recorded another size; then the right one.
        for (day, size, code) in [(0, "320x240", 4), (1, "640x480", 0)] {
            let sound = sandbox.root().join(format!("{day}/room.mp4"));
            Broadcast { size, look: 2, codecs }.write(&sound, 2);
            sandbox.run(&["process", text(&sound), "--stream", "room"]).expect_code(0);
            sandbox.run(&["recover", text(&crashed), "--stream", "room"]).expect_code(code);
        }
        assert_is(&sandbox.root().join("a/room.mp4"), &whole, 75);
    }
}

#[test]
fn pictures_that_refer_to_what_came_before_the_first_are_no_errors() {
    // Open GOPs of several slices: libavcodec skips the first slice of each such picture, and misses it at the others.
    let slices = "log-level=none:keyint=15:min-keyint=15:bframes=3:open-gop=1:slices=3";
    let codecs = format!("-c:v libx265 -preset ultrafast -x265-params {slices} -pix_fmt yuv420p -tag:v hvc1 -c:a aac");
    let sandbox = Sandbox::new();
    let of = |look, to: &Path, seconds| {
        Broadcast { size: "320x240", look, codecs: &codecs }.write(to, seconds);
    };
    let (whole, reference) = (sandbox.path().join("whole.mp4"), sandbox.path().join("reference.mp4"));
    of(1, &whole, 6);
    of(0, &reference, 2);
    let (crashed, output) = (sandbox.path().join("crashed.mp4"), sandbox.path().join("out.mp4"));
    crash(&whole, 75, &crashed);
    let args = ["--json", "recover", text(&crashed), "--reference", text(&reference), "--output", text(&output)];
    let run = sandbox.run(&args).expect_code(0);
    assert!(run.out.contains("\"decodeErrors\":0"), "{}", run.out);
    assert_is(&output, &whole, 75);
}

#[test]
fn flat_pictures_do_not_pass_for_those_of_another_size() {
    // A decoder goes through them without an error whatever their size: they say next to nothing.
    for codecs in [H264, H265] {
        let sandbox = Sandbox::new();
        let flat = |size: &str, to: &Path| {
            write(&format!("color=c=black:s={size}:r=25:d=4"), "sine=f=300:r=48000:d=4", codecs, to);
        };
        let (whole, smaller, own) =
            (sandbox.path().join("w.mp4"), sandbox.path().join("s.mp4"), sandbox.path().join("o.mp4"));
        flat("640x480", &whole);
        flat("320x240", &smaller);
        flat("640x480", &own);
        let crashed = sandbox.path().join("crashed.mp4");
        crash(&whole, 75, &crashed);
        let output = sandbox.path().join("out.mp4");
        let with = |reference: &Path| {
            sandbox.run(&["recover", text(&crashed), "--reference", text(reference), "--output", text(&output)])
        };
        with(&smaller).expect_code(4);
        with(&own).expect_code(0);
        assert_is(&output, &whole, 75);
    }
}

#[test]
fn matroska_and_flv_do_not_begin_with_the_head_of_another_size() {
    for extension in ["mkv", "flv"] {
        let sandbox = Sandbox::new();
        let (whole, other, own) = (
            sandbox.path().join(format!("whole.{extension}")),
            sandbox.path().join(format!("other.{extension}")),
            sandbox.path().join(format!("own.{extension}")),
        );
        let of =
            |size, look| Broadcast { size, look, codecs: "-c:v libx264 -preset veryfast -g 25 -ar 44100 -c:a aac" };
        of("640x480", 0).write(&whole, 6);
        of("320x240", 1).write(&other, 2);
        of("640x480", 2).write(&own, 2);
        let mut bytes = fs::read(&whole).unwrap();
        bytes[..1500].fill(0);
        let broken = sandbox.path().join(format!("broken.{extension}"));
        fs::write(&broken, bytes).unwrap();
        let output = sandbox.path().join(format!("out.{extension}"));
        let with = |reference: &Path| {
            sandbox.run(&["recover", text(&broken), "--reference", text(reference), "--output", text(&output)])
        };
        with(&other).expect_code(4);
        assert!(!output.exists(), "{extension}");
        with(&own).expect_code(0);
        assert_eq!(size(&output), "640x480", "{extension}");
    }
}

#[test]
fn media_of_another_stream_behind_a_header_in_front_is_not_spliced() {
    let sandbox = Sandbox::new();
    let front = sandbox.path().join("front.mp4");
    Broadcast { size: "640x480", look: 0, codecs: &format!("{H264} -movflags +faststart") }.write(&front, 2);
    let other = sandbox.path().join("other.mp4");
    Broadcast { size: "320x240", look: 1, codecs: H264 }.write(&other, 6);
    let mut bytes = fs::read(&front).unwrap();
    let mdat = boxes::top(&bytes).into_iter().find(|b| b.is(*b"mdat")).unwrap();
    bytes[mdat.range.start..mdat.range.start + 4].fill(0);
    let media = fs::read(&other).unwrap();
    let body = boxes::top(&media).into_iter().find(|b| b.is(*b"mdat")).unwrap().body();
    bytes.extend(&media[body]);
    let path = sandbox.root().join("room.mp4");
    fs::write(&path, &bytes).unwrap();
    sandbox.process().expect_code(0);
    let vod = &sandbox.vods()[0];
    assert!(vod["defects"].to_string().contains("unexplained"), "{vod}");
    let finished = PathBuf::from(vod["filePath"].as_str().unwrap());
    assert_eq!(pictures(&finished), pictures(&front), "the samples that its header names, and no others");
    assert!((duration_s(&finished) - 2.0).abs() < 0.1, "{}", duration_s(&finished));
}

/// Milliseconds of each track as the report of a salvage says them.
fn reported(run: &str) -> Vec<i64> {
    let said: serde_json::Value = serde_json::from_str(run).unwrap();
    said["salvage"]["tracks"].as_array().unwrap().iter().map(|track| track["durationMs"].as_i64().unwrap()).collect()
}

#[test]
fn uncoded_sound_lasts_as_long_as_it_was_recorded_at_every_rate_and_block() {
    for (codec, rate, channels) in [
        ("pcm_alaw", 8000, 1),
        ("pcm_mulaw", 8000, 2),
        ("pcm_s16be", 8000, 1),
        ("pcm_alaw", 16_000, 1),
        ("pcm_s16le", 11_025, 2),
        ("pcm_s24le", 22_050, 1),
        ("pcm_s8", 32_000, 1),
        ("pcm_f32le", 44_100, 2),
        ("pcm_s16le", 48_000, 2),
    ] {
        let sandbox = Sandbox::new();
        let codecs =
            format!("-c:v libx264 -preset veryfast -g 50 -pix_fmt yuv420p -c:a {codec} -ar {rate} -ac {channels}");
        let (whole, reference) = (sandbox.path().join("whole.mov"), sandbox.path().join("reference.mov"));
        Broadcast { size: "320x240", look: 1, codecs: &codecs }.write(&whole, 8);
        Broadcast { size: "320x240", look: 0, codecs: &codecs }.write(&reference, 4);
        let (crashed, output) = (sandbox.path().join("crashed.mov"), sandbox.path().join("out.mov"));
        crash(&whole, 75, &crashed);
        let args = ["--json", "recover", text(&crashed), "--reference", text(&reference), "--output", text(&output)];
        let run = sandbox.run(&args).expect_code(0);
        let what = format!("{codec} {rate} {channels}: {}", run.out);
        let shown = pictures(&output).len();
        let expected = i64::try_from(shown).unwrap() * 40;
        assert!((140..=170).contains(&shown), "{shown} pictures: {what}");
        let reported = reported(&run.out);
        assert_eq!(reported.len(), 2, "{what}");
        // The last picture may be one that is shown behind others which were never written.
        assert!((0..=130).contains(&(reported[0] - expected)), "{} of {expected} ms: {what}", reported[0]);
        // Pictures are written two before they are shown, and sound in packets.
        assert!((-130..=30).contains(&(reported[1] - expected)), "{} of {expected} ms: {what}", reported[1]);
        assert!(!run.out.contains("variable"), "{what}");
        // As the finished file is described, which was read again.
        let said: serde_json::Value = serde_json::from_str(&run.out).unwrap();
        for (track, milliseconds) in said["tracks"].as_array().unwrap().iter().zip(&reported) {
            assert!((track["durationMs"].as_i64().unwrap() - milliseconds).abs() <= 1, "{what}");
        }
    }
}
