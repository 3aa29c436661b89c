//! What Ant Media's clients ask for, of the real daemon through its socket: from a recording to its deletion.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::support::Sandbox;
use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;

/// An answer of the daemon.
struct DaemonReply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl DaemonReply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}\n{:?}", self.head, self.body))
    }

    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next().unwrap_or_default()
    }
}

fn ask(sandbox: &Sandbox, method: &str, target: &str, headers: &str) -> DaemonReply {
    let mut stream = UnixStream::connect(sandbox.path().join("state/aftercast.sock")).unwrap();
    let request = format!("{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    let end = said.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or_else(|| panic!("{target}: {said:?}"));
    let head = String::from_utf8(said[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    DaemonReply { status, head, body: said[end + 4..].to_vec() }
}

fn sandbox() -> Sandbox {
    Sandbox::with_config(|dir| {
        let dir = dir.display();
        format!(
            "state_dir = \"{dir}/state\"\n\
             [watch]\nsettle = \"0s\"\nquiet = \"1s\"\norphan_grace = \"0s\"\n\
             [[watch.root]]\npath = \"{dir}/root\"\napp = \"live\"\n\
             [[deliver.target]]\nname = \"store\"\nurl = \"file://{dir}/store\"\n\
             [retain]\ndelete_local = \"never\"\n"
        )
    })
}

#[test]
fn a_panel_lists_plays_searches_and_deletes_recordings() {
    let sandbox = sandbox();
    let daemon = Daemon::start(&sandbox);
    let get = |target: &str| ask(&sandbox, "GET", target, "");
    assert_eq!(get("/live/rest/v2/vods/count").json(), json!({ "number": 0 }));
    assert_eq!(get("/live/rest/v2/vods/list/0/50&sort_by=&order_by=").json(), json!([]));

    sandbox.put(&made("flv", 2), "evening/Room1.flv");
    until("the recording is a VoD", || {
        (get("/live/rest/v2/vods/count").json() == json!({ "number": 1 })).then_some(())
    });
    sandbox.put(&made("mp4-faststart", 2), "room2.mp4");
    until("so is the other", || (get("/live/rest/v2/vods/count").json()["number"] == 2).then_some(()));

    let list = get("/rest/v2/request?_path=live/rest/v2/vods/list/0/50&sort_by=name&order_by=asc&search=room1").json();
    let vod = &list[0];
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let (id, path) = (vod["vodId"].as_str().unwrap(), vod["filePath"].as_str().unwrap());
    assert_eq!(
        (path, &vod["vodName"], &vod["type"]),
        ("streams/evening/Room1.mp4", &json!("Room1.mp4"), &json!("streamVod"))
    );
    assert!(vod["duration"].as_i64().unwrap() > 1_500 && vod["processStatus"].is_null(), "{vod}");
    assert_eq!(&get(&format!("/live/rest/v2/vods/{id}")).json(), vod);
    assert_eq!(get("/live/rest/v2/vods/count/ROOM").json(), json!({ "number": 2 }));
    assert_eq!(get("/rest/v2/version").json()["versionType"], "aftercast");

    let finished = fs::read(sandbox.root().join("evening/Room1.mp4")).unwrap();
    for target in [format!("/live/{path}"), format!("/api/v1/vods/{id}/media")] {
        let whole = get(&target);
        assert_eq!((whole.status, whole.header("content-type")), (200, "video/mp4"), "{}", whole.head);
        assert!(whole.body == finished);
        let part = ask(&sandbox, "GET", &target, "range: bytes=10-19\r\n");
        assert_eq!((part.status, part.header("content-range")), (206, &*format!("bytes 10-19/{}", finished.len())));
        assert_eq!(part.body, finished[10..20]);
        let head = ask(&sandbox, "HEAD", &target, "");
        assert_eq!(
            (head.status, head.header("content-length"), head.body.len()),
            (200, &*finished.len().to_string(), 0)
        );
        let known = ask(&sandbox, "GET", &target, &format!("if-none-match: {}\r\n", whole.header("etag")));
        assert_eq!((known.status, known.body.len()), (304, 0));
    }

    assert_eq!(ask(&sandbox, "POST", "/live/rest/v2/vods/list/0/50", "").status, 405);
    for target in [format!("/live/{path}"), format!("/api/v1/vods/{id}/media"), format!("/live/previews/{id}.png")] {
        let said = ask(&sandbox, "POST", &target, "");
        assert_eq!((said.status, said.header("allow")), (405, "GET,HEAD"), "{target}: {}", said.head);
    }
    let deleted = ask(&sandbox, "DELETE", &format!("/rest/v2/request?_path=live/rest/v2/vods/&ids={id}"), "");
    assert_eq!((deleted.status, &deleted.json()["success"]), (200, &json!(true)), "{}", deleted.head);
    assert_eq!(get("/live/rest/v2/vods/count").json(), json!({ "number": 1 }));
    assert!(!sandbox.root().join("evening/Room1.mp4").exists());
    let gone = get(&format!("/live/rest/v2/vods/{id}"));
    assert_eq!((gone.status, &gone.json()["success"]), (404, &json!(false)));
    assert_eq!(get(&format!("/live/{path}")).status, 404);
    daemon.stop();
}

#[test]
fn a_large_file_arrives_whole_and_one_that_is_not_read_holds_nothing_up() {
    let sandbox = sandbox();
    let daemon = Daemon::start(&sandbox);
    // A `free` box of 40 MB behind the media, so that the file is far larger than any buffer on the way.
    let mut recording = fs::read(made("mp4-faststart", 2)).unwrap();
    let free_bytes = 40u32 << 20;
    recording.extend(free_bytes.to_be_bytes());
    recording.extend(b"free");
    recording.extend((8..free_bytes).map(|at| u8::try_from(at % 251).unwrap()));
    fs::write(sandbox.root().join("big.mp4"), &recording).unwrap();
    let list = until("the recording is a VoD", || {
        let list = ask(&sandbox, "GET", "/live/rest/v2/vods/list/0/1", "").json();
        list[0].is_object().then_some(list)
    });
    let target = format!("/live/{}", list[0]["filePath"].as_str().unwrap());
    let finished = fs::read(sandbox.root().join("big.mp4")).unwrap();
    assert!(finished.len() > 40 << 20);
    let unread: Vec<_> = (0..70)
        .map(|_| {
            let mut stream = UnixStream::connect(sandbox.path().join("state/aftercast.sock")).unwrap();
            stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
            stream
        })
        .collect();
    assert!(ask(&sandbox, "GET", &target, "").body == finished);
    assert_eq!(ask(&sandbox, "GET", "/live/rest/v2/vods/count", "").json(), json!({ "number": 1 }));
    drop(unread);
    daemon.stop();
}
