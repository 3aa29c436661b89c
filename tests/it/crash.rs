//! A true crash: the writer of a recording is killed under `aftercast watch`, and what it left plays.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::browser::width_in_chromium;
use crate::support::daemon::{Daemon, until};
use crate::support::recordings::{decode_errors, duration_s};
use crate::support::{Sandbox, standard_config};

/// What the encoder is fed and told; noisy enough to fill the writer's buffer of 256 KiB several times a second.
const ENCODER: [&str; 22] = [
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-bf",
    "2",
    "-g",
    "25",
    "-qp",
    "32",
    "-pix_fmt",
    "yuv420p",
    "-threads",
    "1",
    "-c:a",
    "aac",
    "-b:a",
    "128k",
    "-shortest",
    "-f",
    "mp4",
    "-y",
];

fn writer(to: &Path, seconds: &str, is_live: bool) -> Child {
    let video = format!("testsrc2=s=640x360:r=25:d={seconds},noise=alls=20:allf=t");
    let audio = format!("sine=f=440:b=4:r=48000:d={seconds}");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error"]);
    for input in [&video, &audio] {
        command.args(if is_live { &["-re"][..] } else { &[] }).args(["-f", "lavfi", "-i", input]);
    }
    command.args(ENCODER).arg(to).stdout(Stdio::null()).spawn().unwrap()
}

fn salvaged(sandbox: &Sandbox) -> Option<Value> {
    sandbox.vods().into_iter().find(|vod| vod["salvaged"] == true)
}

#[test]
fn a_writer_that_is_killed_leaves_a_recording_that_plays() {
    let sandbox = Sandbox::with_config(|dir| {
        standard_config(dir, "").replace("[watch]\n", "[watch]\norphan_after = \"1s\"\nrescan = \"1s\"\n")
    });
    let daemon = Daemon::start(&sandbox);
    for directory in ["monday", "tuesday"] {
        fs::create_dir_all(sandbox.root().join(directory)).unwrap();
    }
    let before = sandbox.root().join("monday/room9.mp4");
    assert!(writer(&before, "2", false).wait().unwrap().success());
    until("the earlier recording", || Some(sandbox.vods()).filter(|vods| vods.len() == 1));

    let crashed = sandbox.root().join("tuesday/room9.mp4.tmp");
    let mut live = writer(&crashed, "600", true);
    until("some seconds of media", || fs::metadata(&crashed).ok().filter(|m| m.len() > 2 << 20));
    live.kill().unwrap();
    live.wait().unwrap();

    let vod = until("the salvaged VoD", || salvaged(&sandbox));
    assert_eq!(
        (vod["outcome"].as_str(), vod["salvage"]["source"].as_str()),
        (Some("salvaged"), Some("stream")),
        "{vod}"
    );
    assert_eq!(vod["salvage"]["decodeErrors"], 0, "{vod}");
    let path = sandbox.root().join("tuesday/room9.mp4");
    assert_eq!(decode_errors(&path), "");
    assert!(duration_s(&path) > 1.0 && crashed.exists(), "{vod}");
    assert!(width_in_chromium(&path, sandbox.path()).is_none_or(|width| width == 640));
    daemon.stop();
}
