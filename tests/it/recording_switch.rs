//! Whether a stream is being recorded, and its switch at the ingest server: through the real daemon, against exchanges as the
//! servers' documentation and sources have them. The real nginx with its RTMP module is in `nginx_rtmp`.

mod antmedia;
mod doctor;
mod mediamtx;
mod ome;

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Mutex};

use aftercast::discover::OpenFiles;
use rustix::net::{AddressFamily, SocketType};
use serde_json::{Value, json};

use crate::support::Sandbox;
use crate::support::daemon::{Daemon, until};
use crate::support::http::{Request, Response, read_request, reply, serve};

/// One request that must come next, and its answer.
struct Exchange {
    method: &'static str,
    target: &'static str,
    authorization: Option<&'static str>,
    body: Option<Value>,
    answer: Response,
}

impl Exchange {
    fn new(method: &'static str, target: &'static str, status: u16, answer: impl Into<Value>) -> Self {
        let text =
            Some(answer.into()).filter(|value| !value.is_null()).map_or_else(String::new, |value| value.to_string());
        let answer = Response::new(status).with("content-type", "application/json").saying(text);
        Self { method, target, authorization: None, body: None, answer }
    }

    fn with(mut self, authorization: &'static str) -> Self {
        self.authorization = Some(authorization);
        self
    }

    fn sending(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// What is different from what must come.
    fn differs(&self, request: &Request) -> Option<String> {
        let body: Option<Value> = serde_json::from_slice(&request.body).ok();
        let is_json = request.header("content-type") == Some("application/json");
        let is_same = (request.method.as_str(), request.target.as_str()) == (self.method, self.target)
            && request.header("authorization") == self.authorization
            && body == self.body
            && (request.body.is_empty() || is_json)
            && request.header("host").is_some_and(|host| host.starts_with("127.0.0.1:"));
        (!is_same).then(|| format!("expected {} {} {:?}, got {request:?}", self.method, self.target, self.body))
    }
}

#[derive(Default)]
struct Script {
    expected: VecDeque<Exchange>,
    differences: Vec<String>,
}

/// An ingest server that answers what it is told to, in that order.
struct Ingest {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl Ingest {
    fn start() -> Self {
        let script = Arc::<Mutex<Script>>::default();
        let read = Arc::clone(&script);
        let address = serve(move |stream| {
            let Some(request) = read_request(&stream, |_, length| length) else { return };
            let mut script = read.lock().unwrap();
            let next = script.expected.pop_front();
            let difference = match &next {
                Some(next) => next.differs(&request),
                None => Some(format!("nothing more was expected, got {request:?}")),
            };
            script.differences.extend(difference);
            drop(script);
            let answer = next.map_or_else(|| Response::new(599), |next| next.answer);
            reply(&stream, &answer.bytes(false));
        });
        Self { address, script }
    }

    /// One on whose port, which is ours, nothing listens: one that was only let go may be another program's by now.
    fn down() -> (OwnedFd, Self) {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
        (socket, Self { address, script: Arc::default() })
    }

    /// Has these requests come during something.
    #[track_caller]
    fn hears<T>(&self, exchanges: impl IntoIterator<Item = Exchange>, during: impl FnOnce() -> T) -> T {
        self.script.lock().unwrap().expected = exchanges.into_iter().collect();
        let done = during();
        let script = self.script.lock().unwrap();
        assert!(script.differences.is_empty(), "{}", script.differences.join("\n"));
        assert!(script.expected.is_empty(), "{} requests did not come", script.expected.len());
        done
    }
}

/// A house with one root at a server; `{control}` and `{dir}` stand for the address and the house.
fn sandbox(ingest: &Ingest, root: &str) -> Sandbox {
    Sandbox::with_config(|dir| {
        let dir = dir.display();
        let root = root.replace("{control}", &ingest.address.to_string()).replace("{dir}", &dir.to_string());
        format!(
            "state_dir = \"{dir}/state\"\n[watch]\nsettle = \"0s\"\nquiet = \"1s\"\norphan_grace = \"0s\"\n\
             [[watch.root]]\npath = \"{dir}/root\"\n{root}\n"
        )
    })
}

/// Asks the daemon through its socket: status and JSON.
pub fn ask(sandbox: &Sandbox, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-X", method, "-w", "\n%{http_code}", "--unix-socket"]);
    curl.arg(sandbox.path().join("state/aftercast.sock")).arg(format!("http://localhost{path}"));
    if !body.is_empty() {
        curl.args(["-H", "content-type: application/json", "--data", body]);
    }
    let said = String::from_utf8(curl.output().unwrap().stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap_or_else(|| panic!("{method} {path}: {said}"));
    let body = serde_json::from_str(body).unwrap_or_else(|e| panic!("{method} {path}: {e}: {said}"));
    (status.parse().unwrap(), body)
}

const ROOM1: &str = "/api/v1/streams/room1/recording";

fn state(sandbox: &Sandbox, path: &str) -> (Value, Value, String) {
    let (status, said) = ask(sandbox, "GET", path, "");
    assert_eq!(status, 200, "{said}");
    let root = &said["roots"][0];
    assert_eq!(said["state"], root["state"], "{said}");
    (root["state"].clone(), root["basis"].clone(), root["detail"].as_str().unwrap().to_owned())
}

/// Where every process of the machine can be seen, it is certain that none has a file of the stream open; else nothing proves it.
/// Which it is changes with the processes that come and go: it is asked until both have seen the same.
#[track_caller]
fn assert_unproven(sandbox: &Sandbox, path: &str, words: &str) {
    until("the answer is what can be seen", || {
        let (state, basis, detail) = state(sandbox, path);
        let is_complete = OpenFiles::read().is_complete();
        let expected = if is_complete { ("notRecording", "processes") } else { ("unknown", "nothing") };
        let is_it = (state, basis) == (json!(expected.0), json!(expected.1));
        (is_it && (is_complete || detail.contains(words))).then_some(())
    });
}

/// Has the recording of a stream switched.
fn switch(sandbox: &Sandbox, path: &str, record: bool) -> (u16, Value) {
    ask(sandbox, "PUT", path, &json!({ "record": record }).to_string())
}

#[track_caller]
fn assert_state(sandbox: &Sandbox, path: &str, expected: &str, basis: &str, words: &str) {
    let (state, on, detail) = state(sandbox, path);
    assert_eq!((state, on), (json!(expected), json!(basis)), "{detail}");
    assert!(detail.contains(words), "{detail}");
}

#[test]
fn a_growing_file_is_a_recording_and_no_server_is_asked() {
    let ingest = Ingest::start();
    let sandbox = sandbox(&ingest, "server = \"antmedia\"\napp = \"live\"\ncontrol = \"http://{control}\"");
    let path = sandbox.root().join("room1.webm.tmp_extension");
    let mut file = File::create(&path).unwrap();
    let mut grow = || file.write_all(b"media").unwrap();
    grow();
    let daemon = Daemon::start(&sandbox);
    ingest.hears([], || {
        grow();
        let (_, said) = ask(&sandbox, "GET", ROOM1, "");
        let root = &said["roots"][0];
        assert_eq!((&said["state"], &root["basis"]), (&json!("recording"), &json!("files")), "{said}");
        let evidence = &root["files"][0];
        assert_eq!((&evidence["path"], &evidence["sizeBytes"]), (&json!(path), &json!(10)), "{said}");
        assert_ne!(evidence["writer"], "nobody", "{said}");
        grow();
        let (status, said) = ask(&sandbox, "GET", "/live/rest/v2/broadcasts/room1", "");
        assert_eq!(
            (status, &said["streamId"], &said["status"]),
            (200, &json!("room1"), &json!("broadcasting")),
            "{said}"
        );
        assert_eq!((&said["mp4Enabled"], &said["webMEnabled"]), (&json!(0), &json!(1)), "{said}");
        grow();
        let printed = sandbox.run(&["stream", "recording", "room1"]).expect_code(0).out;
        assert!(printed.starts_with("room1: recording\n") && printed.contains("room1.webm.tmp_extension"), "{printed}");
    });
    // Of another stream nothing is told by it.
    ingest.hears([Exchange::new("GET", "/live/rest/v2/broadcasts/room2", 404, Value::Null)], || {
        assert_unproven(&sandbox, "/api/v1/streams/room2/recording", "has no broadcast of this id");
    });
    daemon.stop();
}

#[test]
fn what_has_no_switch_says_so_and_is_never_asked() {
    let ingest = Ingest::start();
    for (root, words) in [
        ("server = \"srs\"", "the ingest server `srs` has no interface"),
        ("server = \"antmedia\"", "`control` is not set"),
        ("", "`control` is not set"),
    ] {
        let sandbox = sandbox(&ingest, &format!("{root}\napp = \"live\""));
        let daemon = Daemon::start(&sandbox);
        ingest.hears([], || {
            let (status, said) = ask(&sandbox, "PUT", ROOM1, "{\"record\":true}");
            assert_eq!((status, &said["kind"], &said["title"]), (501, &json!("notSupported"), &json!("Not supported")));
            assert!(said["detail"].as_str().unwrap().contains(words) && said["nextStep"].is_string(), "{said}");
            let (status, said) = ask(&sandbox, "PUT", "/live/rest/v2/broadcasts/room1/recording/true", "");
            assert_eq!((status, &said["success"]), (501, &json!(false)), "{said}");
            let (_, said) = ask(&sandbox, "GET", ROOM1, "");
            assert!(["unknown", "notRecording"].contains(&said["state"].as_str().unwrap()), "{said}");
            assert_eq!(said["roots"][0]["canSwitch"], false, "{said}");
            sandbox.run(&["stream", "recording", "room1", "off"]).expect_code(3);
        });
        let wrong = [
            ("PUT", ROOM1, "{}", 400),
            ("PUT", ROOM1, "{\"record\":true,\"format\":\"avi\"}", 400),
            ("PUT", ROOM1, "{\"record\":true,\"root\":\"/nowhere\"}", 404),
            ("GET", "/api/v1/streams/room1/recording?root=/nowhere", "", 404),
            ("POST", ROOM1, "{}", 405),
            ("POST", "/live/rest/v2/broadcasts/room1/recording/true", "", 405),
            ("PUT", "/live/rest/v2/broadcasts/room1", "", 405),
            ("PUT", "/live/rest/v2/broadcasts/room1/recording/maybe", "", 404),
            ("PUT", "/other/rest/v2/broadcasts/room1/recording/true", "", 404),
        ];
        for (method, path, body, expected) in wrong {
            let (status, said) = ask(&sandbox, method, path, body);
            assert_eq!(status, expected, "{method} {path}: {said}");
        }
        daemon.stop();
    }
}

#[test]
fn a_server_that_cannot_be_reached_leaves_the_state_unknown() {
    let (_port, ingest) = Ingest::down();
    let sandbox = sandbox(&ingest, "server = \"antmedia\"\ncontrol = \"http://{control}\"");
    let daemon = Daemon::start(&sandbox);
    assert_unproven(&sandbox, ROOM1, "the ingest server cannot be asked: the ingest server did not answer");
    let (status, said) = ask(&sandbox, "PUT", ROOM1, "{\"record\":true}");
    assert_eq!((status, &said["class"]), (503, &json!("transient")), "{said}");
    assert!(said["nextStep"].as_str().unwrap().contains("`control`"), "{said}");
    daemon.stop();
}
