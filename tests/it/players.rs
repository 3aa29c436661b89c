//! A dozen layouts that muxers leave an MP4 in, finished by the real binary in place and beside themselves: the packets are
//! the same, the header is in front, and ffprobe, GStreamer's demuxer and a browser take the results. The short form of
//! `scripts/prove-corpus`.

use std::path::Path;
use std::process::Command;

fn is_there(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|run| run.status.success())
}

#[test]
fn every_layout_of_an_mp4_is_the_same_to_players_when_it_is_finished() {
    for tool in ["python3", "gst-launch-1.0"] {
        if !is_there(tool) {
            println!("skipped: no {tool} here");
            return;
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let mut prove = Command::new("python3");
    prove.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/corpus/prove.py")).arg("--quick");
    prove.args(["--aftercast", env!("CARGO_BIN_EXE_aftercast"), "--directory"]).arg(directory.path());
    if !["chromium", "chromium-browser", "google-chrome"].into_iter().any(is_there) {
        println!("skipped: no browser here; the other players only");
        prove.arg("--no-browser");
    }
    let run = prove.env_remove("AFTERCAST_CONFIG").output().unwrap();
    println!("{}", String::from_utf8_lossy(&run.stdout));
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}
