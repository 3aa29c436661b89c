//! An intact recording teaches how a stream is coded: from a path by the command, and as an upload for who has not the daemon's disk.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::Sandbox;
use crate::support::daemon::{Daemon, until};
use crate::support::recordings::{made, without_moov};

/// Sends bytes as an upload; status and answer.
fn upload(sandbox: &Sandbox, stream: &str, bytes: &[u8]) -> (u16, Value) {
    let mut socket = UnixStream::connect(sandbox.path().join("state/aftercast.sock")).unwrap();
    let head = format!(
        "POST /api/v1/streams/{stream}/reference/upload HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
        bytes.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    // An answer may come before all is sent.
    let _ = socket.write_all(bytes);
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer}")).parse().unwrap();
    (status, serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap())
}

/// A daemon with a crashed recording of a stream that nothing is known of.
fn crashed(sandbox: &Sandbox, name: &str) {
    let whole = sandbox.path().join("whole.mp4");
    fs::copy(made("mp4", 4), &whole).unwrap();
    sandbox.put(&without_moov(&whole), name);
}

fn quarantined(sandbox: &Sandbox) -> Option<Vec<Value>> {
    let listed = sandbox.run(&["--json", "queue", "list"]).expect_code(0).json_lines();
    let recordings: Vec<_> = listed.into_iter().filter(|line| line["state"] == "quarantined").collect();
    (!recordings.is_empty()).then_some(recordings)
}

fn salvaged(sandbox: &Sandbox, stream: &str) -> Option<()> {
    let is_it = |vod: &Value| vod["streamId"] == stream && vod["outcome"] == "salvaged";
    sandbox.vods().iter().any(is_it).then_some(())
}

#[test]
fn an_uploaded_recording_of_the_stream_frees_what_waits_for_its_parameters() {
    let sandbox = Sandbox::new();
    let daemon = Daemon::start(&sandbox);
    crashed(&sandbox, "lesson.mp4");
    let waiting = until("it is quarantined", || quarantined(&sandbox));
    assert_eq!(
        (&waiting[0]["state"], &waiting[0]["streamId"]),
        (&"quarantined".into(), &"lesson".into()),
        "{waiting:?}"
    );

    let (status, said) = upload(&sandbox, "lesson", b"no media at all");
    assert_eq!((status, &said["kind"]), (400, &"invalid".into()), "{said}");
    assert!(said["nextStep"].as_str().unwrap().contains("`lesson`"), "{said}");
    let (status, said) = upload(&sandbox, "another", &fs::read(made("mp4", 2)).unwrap());
    assert_eq!((status, said), (200, json!({ "streamId": "another", "retried": 0 })));
    let (status, said) = upload(&sandbox, "lesson", &fs::read(made("mp4", 2)).unwrap());
    assert_eq!((status, said), (200, json!({ "streamId": "lesson", "retried": 1 })));
    until("it is salvaged", || salvaged(&sandbox, "lesson"));
    daemon.stop();
}

#[test]
fn the_command_teaches_from_a_path() {
    let sandbox = Sandbox::new();
    let daemon = Daemon::start(&sandbox);
    crashed(&sandbox, "lesson.mp4");
    until("it is quarantined", || quarantined(&sandbox));
    let good = sandbox.path().join("good.mp4");
    fs::copy(made("mp4", 2), &good).unwrap();
    let teach = |file: &Path| sandbox.run(&["stream", "reference", "lesson", file.to_str().unwrap()]);
    assert!(teach(&sandbox.path().join("config.toml")).err.contains("no usable codec parameters"));
    let run = teach(&good).expect_code(0);
    assert_eq!(run.out, "lesson: codec parameters learned; 1 quarantined recording to be tried again\n");
    until("it is salvaged", || salvaged(&sandbox, "lesson"));
    daemon.stop();
}
