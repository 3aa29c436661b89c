//! Everything in a root is accounted for: finished or kept and catalogued, or named as not handled.

use std::fs;
use std::path::PathBuf;

use crate::support::Sandbox;
use crate::support::recordings::{ffmpeg, made, packets};

/// A recording of sound, and of pictures where the options want them.
fn recorded(sandbox: &Sandbox, name: &str, options: &str) -> PathBuf {
    let path = sandbox.root().join(name);
    let mut args = vec!["-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=4", "-f", "lavfi", "-i", "sine=r=48000:d=4"];
    args.extend(options.split(' '));
    args.push(path.to_str().unwrap());
    ffmpeg(&args);
    path
}

const H264: &str = "-c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p";

/// What is kept as it is: name, options, container, codecs.
const KEPT: [(&str, &str, &str, &[&str]); 10] = [
    ("TR_abc-2026-03-04T143015.ogg", "-map 1 -c:a libopus", "ogg", &["opus"]),
    ("b.ogv", "-c:v libtheora -c:a libvorbis -f ogg", "ogg", &["theora", "vorbis"]),
    ("c.opus", "-map 1 -c:a libopus", "ogg", &["opus"]),
    ("d.ivf", "-map 0 -c:v libvpx -deadline realtime -cpu-used 8", "ivf", &["vp8"]),
    ("e.mp3", "-map 1 -c:a libmp3lame", "mp3", &["mp3"]),
    ("f.aac", "-map 1 -c:a aac", "aac", &["aac"]),
    ("g.wav", "-map 1 -c:a pcm_s16le", "wav", &["pcm_s16le"]),
    ("g64.wav", "-map 1 -c:a pcm_s16le -rf64 always", "wav", &["pcm_s16le"]),
    ("h.avi", "-c:v mpeg4 -c:a libmp3lame", "avi", &["mpeg4", "mp3"]),
    ("i.mka", "-map 1 -c:a pcm_s24le", "matroska", &["pcm_s24le"]),
];

#[test]
fn what_no_tool_need_change_is_kept_and_delivered() {
    for (name, options, container, codecs) in KEPT {
        let sandbox = Sandbox::new();
        let source = recorded(&sandbox, name, options);
        let bytes = fs::read(&source).unwrap();
        let plan = sandbox.run(&["process", "--dry-run", sandbox.root().to_str().unwrap()]).expect_code(0);
        assert!(plan.out.contains(name) && plan.out.contains("keep"), "{name}: {}", plan.out);
        sandbox.process().expect_code(0);
        let vod = sandbox.vods().pop().unwrap();
        assert_eq!((vod["container"].as_str(), vod["outcome"].as_str()), (Some(container), Some("kept")), "{vod}");
        let found: Vec<_> = vod["tracks"].as_array().unwrap().iter().map(|t| t["codec"].as_str().unwrap()).collect();
        assert_eq!(found, codecs, "{name}");
        assert!((3900..4200).contains(&vod["duration"].as_i64().unwrap()), "{name}: {vod}");
        assert_eq!(vod["defects"], serde_json::json!([]), "{name}");
        assert_eq!(fs::read(&source).unwrap(), bytes, "{name}");
        assert_eq!(fs::read(sandbox.store().join(name)).unwrap(), bytes, "{name} is delivered by bit 1");
        let again = sandbox.process().expect_code(0);
        assert!(again.out.contains("already finished"), "{name}: {}", again.out);
    }
}

#[test]
fn packets_with_their_time_of_arrival_are_a_transport_stream() {
    let sandbox = Sandbox::new();
    let source = recorded(&sandbox, "room1.m2ts", &format!("{H264} -c:a aac -mpegts_m2ts_mode 1 -f mpegts"));
    assert_eq!(fs::metadata(&source).unwrap().len() % 192, 0);
    let expected = packets(&source).len() as u64;
    sandbox.process().expect_code(0);
    let vod = sandbox.vods().pop().unwrap();
    assert_eq!((vod["container"].as_str(), vod["outcome"].as_str()), (Some("mp4"), Some("remuxed")), "{vod}");
    let found: u64 = vod["tracks"].as_array().unwrap().iter().map(|t| t["packets"].as_u64().unwrap()).sum();
    assert_eq!((found, vod["defects"].as_array().unwrap().len()), (expected, 0), "{vod}");

    let whole = recorded(&sandbox, "room2.m2ts", &format!("{H264} -c:a aac -mpegts_m2ts_mode 1 -f mpegts"));
    let bytes = fs::read(&whole).unwrap();
    fs::write(&whole, &bytes[..bytes.len() * 2 / 3]).unwrap();
    sandbox.process().expect_code(0);
    let vod = sandbox.vods().into_iter().find(|vod| vod["streamId"] == "room2").unwrap();
    assert!(vod["defects"].to_string().contains("truncated") && whole.exists(), "{vod}");
}

#[test]
fn what_was_cut_is_kept_with_its_defect() {
    for (name, options, _, _) in KEPT {
        let sandbox = Sandbox::new();
        let source = recorded(&sandbox, name, options);
        let bytes = fs::read(&source).unwrap();
        fs::write(&source, &bytes[..bytes.len() * 2 / 3]).unwrap();
        sandbox.process().expect_code(0);
        let vod = sandbox.vods().pop().unwrap();
        assert!((1500..3600).contains(&vod["duration"].as_i64().unwrap()), "{name}: {vod}");
        assert!(source.exists(), "{name}: {vod}");
        if ["g.wav", "h.avi", "i.mka"].contains(&name) {
            assert!(vod["defects"].to_string().contains("truncated"), "{name}: {vod}");
        }
    }
}

#[test]
fn sound_that_a_playlist_names_is_no_recording() {
    let sandbox = Sandbox::new();
    let beside = recorded(&sandbox, "free.aac", "-map 1 -c:a aac");
    fs::copy(&beside, sandbox.root().join("seg1.aac")).unwrap();
    fs::copy(&beside, sandbox.root().join("seg2.mp3")).unwrap();
    fs::copy(&beside, sandbox.root().join("seg3.ac3")).unwrap();
    let playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nseg1.aac\n#EXTINF:4,\nseg2.mp3\n#EXTINF:4,\nseg3.ac3\n#EXT-X-ENDLIST\n";
    fs::write(sandbox.root().join("room1.m3u8"), playlist).unwrap();
    let run = sandbox.process().expect_code(0);
    let vods = sandbox.vods();
    assert_eq!(
        vods.iter().map(|vod| vod["vodName"].as_str().unwrap()).collect::<Vec<_>>(),
        ["free.aac"],
        "{}",
        run.out
    );
    assert!(!run.out.contains("not handled"), "{}", run.out);
}

#[test]
fn what_is_not_handled_is_said_by_every_command_that_looks() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    for name in ["a.mpg", "sub/b.h264", "c.flac"] {
        sandbox.put(&made("mp4", 2), name);
    }
    fs::write(sandbox.root().join("notes.txt"), "nothing").unwrap();
    let root = sandbox.root();
    let plan = sandbox.run(&["process", "--dry-run", root.to_str().unwrap()]).expect_code(0).out;
    let run = sandbox.process().expect_code(0);
    for name in ["a.mpg", "sub/b.h264", "c.flac"] {
        let path = root.join(name);
        let line =
            |text: &str| text.lines().any(|l| l.starts_with("not handled") && l.ends_with(path.to_str().unwrap()));
        assert!(line(&plan) && line(&run.out), "{name}: {plan}{}", run.out);
    }
    assert!(!plan.contains("notes.txt") && run.err.contains("3 not handled"), "{}", run.err);
    let said = sandbox.run(&["doctor"]).out;
    assert!(said.lines().any(|l| l.contains("not handled") && l.contains("3 media files")), "{said}");
    let json = sandbox.run(&["--json", "process", root.to_str().unwrap()]).expect_code(0).json_lines();
    assert_eq!(json.iter().filter(|line| line["state"] == "not handled").count(), 3, "{json:?}");
    for name in ["a.mpg", "notes.txt"] {
        let run = sandbox.run(&["process", root.join(name).to_str().unwrap()]).expect_code(0);
        assert!(run.out.contains("not handled") && !run.err.contains("No recording"), "{}{}", run.out, run.err);
    }
}
