//! Every operation through the socket of a daemon and directly: the same data, the same errors. Who asks badly, slowly or not
//! to the end holds nothing up.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aftercast::cli::run::settings_of;
use aftercast::config::{self, Sources};
use aftercast::discover::Mode;
use aftercast::operations::{
    AdoptRoot, CheckCatalog, CollectUploads, Context, DeleteVod, DeleteVods, Doctor, EditVod, ExportVods, FollowEvents,
    FreeLocal, ListEvents, ListLive, ListQueue, ListRecordings, ListStreams, ListVods, MakeLogin, Plan, PlanRetention,
    Process, ProcessBucket, RebuildCatalog, ReplayEvents, Rescan, RetryDeliveries, ShareVod, SharedConfig,
    ShowRecording, ShowSettings, ShowStatus, ShowTimeline, ShowVod, SwitchRecording, TeachStream, UndoSplice,
    VerifyVods, VodHistogram, VodState,
};
use aftercast::pipeline::{Engine, OpeningOptions, Stop};
use aftercast::recording::Outcome;
use aftercast::serve::{Client, Method, ROUTES, Route};
use serde_json::{Value, json};

use crate::support::Sandbox;
use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;

/// Two houses that hold the same: one has a daemon, the other is worked in by this process.
struct Both {
    served: Sandbox,
    own: Sandbox,
    client: Client,
    context: Context,
    driven: BTreeSet<(Method, &'static str)>,
}

impl Both {
    fn new(served: Sandbox, own: Sandbox) -> Self {
        let client = Client::connect(&socket_of(&served), &Stop::default()).unwrap();
        let config = config::load(&Sources::of_process(Some(&own.path().join("config.toml")), &[])).unwrap();
        let roots: Vec<_> = config.watch.roots.iter().map(|root| root.path.clone()).collect();
        let engine = Engine::start(settings_of(&config), Stop::default(), OpeningOptions::default()).unwrap();
        engine.pipeline().own(roots.iter().map(PathBuf::as_path)).unwrap();
        let context = Context::new(Arc::new(engine), SharedConfig::new(config));
        Self { served, own, client, context, driven: BTreeSet::new() }
    }

    /// Does an operation in both houses, compares what was told and answered, and returns it.
    #[track_caller]
    fn same<O: Route>(&mut self, operation: impl Fn(&Sandbox) -> O) -> Value {
        self.driven.insert((O::METHOD, O::PATH));
        let (mut there, mut here) = (Vec::new(), Vec::new());
        let answered = self.client.perform(&operation(&self.served), &mut |item| {
            there.push(json!(item));
            Ok(())
        });
        let done = operation(&self.own).run(&self.context, &mut |item| {
            here.push(json!(item));
            Ok(())
        });
        let said = |mut items: Vec<Value>, end: Result<O::Data, _>, sandbox: &Sandbox| {
            items.sort_by_key(Value::to_string);
            let end = end.map_or_else(|error| json!({ "error": error }), |data| json!({ "data": data }));
            let mut said = json!({ "items": items, "end": end });
            make_comparable(&mut said, &sandbox.path().display().to_string());
            said
        };
        let (there, here) = (said(there, answered, &self.served), said(here, done, &self.own));
        assert_eq!(there, here, "{}", O::PATH);
        here
    }
}

/// What is different in two houses that are alike: where they are, when things happened, which inodes they got.
fn make_comparable(value: &mut Value, sandbox: &str) {
    const OF_THE_PLACE: &[&str] = &[
        // A daemon has done its first scan, this process does none.
        "isReady",
        "code",
        "expiresMs",
        "address",
        "notReady",
        "freeBytes",
        "timeZone",
        "sequence",
        "atMs",
        "last",
        "creationDate",
        "queuedMs",
        "dueMs",
        "changedMs",
        "inode",
        "device",
        "mtimeNs",
        "sourceChangedNs",
        "changedNs",
        "deliveredMs",
        "verifiedMs",
        "mtime_ns",
    ];
    match value {
        Value::String(text) => *text = text.replace(sandbox, "HOUSE"),
        Value::Array(all) => all.iter_mut().for_each(|value| make_comparable(value, sandbox)),
        Value::Object(fields) => {
            // How much is free changes by the moment.
            if fields.get("detail").and_then(Value::as_str).is_some_and(|detail| detail.ends_with(" free")) {
                fields["detail"] = json!("free");
            }
            for (name, value) in fields {
                if OF_THE_PLACE.contains(&name.as_str()) {
                    *value = Value::Null;
                }
                make_comparable(value, sandbox);
            }
        }
        _ => {}
    }
}

fn socket_of(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join("state/aftercast.sock")
}

fn beside(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join("beside")
}

/// A house with recordings beside its root, one of them damaged beyond repair.
fn house_with_recordings() -> Sandbox {
    let sandbox = Sandbox::new();
    fs::create_dir(beside(&sandbox)).unwrap();
    fs::copy(made("mp4-faststart", 2), beside(&sandbox).join("room1.mp4")).unwrap();
    fs::copy(made("flv", 2), beside(&sandbox).join("room2.flv")).unwrap();
    fs::write(beside(&sandbox).join("room3.mp4"), b"\0\0\0\x10ftypisom\0\0\0\0 no media follows").unwrap();
    fs::write(beside(&sandbox).join("room4.mpg"), b"not handled").unwrap();
    fs::write(beside(&sandbox).join(OsStr::from_bytes(b"\xff.mpg")), b"not handled").unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_634_615);
    for entry in fs::read_dir(beside(&sandbox)).unwrap() {
        File::options().write(true).open(entry.unwrap().path()).unwrap().set_modified(long_ago).unwrap();
    }
    sandbox
}

fn process(sandbox: &Sandbox) -> Process {
    Process { paths: vec![beside(sandbox)], ..Process::of_roots(Mode::Process) }
}

#[test]
fn every_operation_is_the_same_through_the_socket_and_directly() {
    let (served, own) = (house_with_recordings(), house_with_recordings());
    let daemon = Daemon::start(&served);
    let mut both = Both::new(served, own);
    let planned = both.same(|sandbox| Plan(process(sandbox)));
    assert!(planned["end"]["data"]["items"].as_array().is_some_and(|items| items.len() == 5), "{planned}");
    // One first, so that both houses catalogue the VoDs in the same order.
    both.same(|sandbox| Process { paths: vec![beside(sandbox).join("room1.mp4")], ..process(sandbox) });
    let processed = both.same(process);
    assert_eq!(processed["items"].as_array().map(Vec::len), Some(3), "{processed}");
    assert!(processed["end"]["data"]["undelivered"].as_array().is_some_and(Vec::is_empty), "{processed}");

    let page = both.same(|_| ListVods { oldest_first: true, ..ListVods::default() });
    let vods = page["end"]["data"]["items"].as_array().unwrap().clone();
    assert_eq!(vods.len(), 2, "{page}");
    let first = both.same(|_| ListVods { limit: 1, stream: Some("room1".into()), ..ListVods::default() });
    let id = first["end"]["data"]["items"][0]["vodId"].as_str().unwrap().to_owned();
    both.same(|_| ListVods { after: Some("no cursor".into()), ..ListVods::default() });
    both.same(|_| ShowVod { id: id.clone() });
    for unknown in ["unknown", "..", "a/b ?&#%ä"] {
        let said = both.same(|_| ShowVod { id: unknown.into() });
        assert_eq!(said["end"]["error"]["kind"], "notFound", "{said}");
    }
    edits(&mut both, &id);
    finds(&mut both);

    works_off_the_queue(&mut both);
    both.same(|_| PlanRetention {});
    both.same(|_| FreeLocal {});
    both.same(|_| ShowSettings {});
    let timeline = both.same(|_| ShowTimeline { id: "room1".into(), ..ShowTimeline::default() });
    assert_eq!(timeline["end"]["data"]["spans"].as_array().map(Vec::len), Some(1), "{timeline}");
    both.same(|_| ShowTimeline { id: "nothing".into(), from: Some("yesterday".into()), ..ShowTimeline::default() });
    switches(&mut both);
    let taught = both.same(|sandbox| TeachStream { id: "room1".into(), path: beside(sandbox).join("room1.mp4") });
    assert_eq!(taught["end"]["data"], json!({ "streamId": "room1", "retried": 0 }), "{taught}");
    both.same(|_| TeachStream { id: "room1".into(), path: "relative.mp4".into() });
    both.same(|_| Doctor {});
    both.same(|sandbox| UndoSplice { path: beside(sandbox).join("room1.mp4") });
    both.same(|_| UndoSplice { path: "relative".into() });
    both.same(|_| ProcessBucket { url: "file:///nowhere".into(), mode: Mode::Process, dry_run: true, shard: None });
    let rebuilt = both.same(|sandbox| RebuildCatalog { paths: vec![beside(sandbox)], no_stores: false });
    assert_eq!(rebuilt["end"]["data"]["known"], 2, "{rebuilt}");
    both.same(|_| CheckCatalog {});
    both.same(|_| DeleteVod { id: id.clone(), dry_run: true, ..DeleteVod::default() });
    both.same(|_| ShareVod { id: "unknown".into(), expires_in_s: 60 });
    both.same(|_| ShareVod { id: id.clone(), expires_in_s: 0 });
    both.same(|_| DeleteVods { ids: vec!["unknown".into(), id.clone()], dry_run: true, ..DeleteVods::default() });
    let deleted = both.same(|_| DeleteVod { id: id.clone(), ..DeleteVod::default() });
    assert_eq!(deleted["end"]["data"]["isDeleted"], true, "{deleted}");

    tells_events(&mut both, &id);

    let served: BTreeSet<_> = ROUTES.iter().copied().collect();
    assert_eq!(both.driven, served, "an operation is not compared");
    both.context.engine().stop_working();
    daemon.stop();
}

fn edits(both: &mut Both, id: &str) {
    let named = BTreeMap::from([("room".to_owned(), Some("ä".to_owned())), ("gone".to_owned(), None)]);
    let edit = || EditVod { id: id.to_owned(), description: Some("The opening".into()), metadata: named.clone() };
    let edited = both.same(|_| edit());
    assert_eq!(edited["end"]["data"]["metadata"], json!({ "room": "ä" }), "{edited}");
    both.same(|_| EditVod { id: "unknown".into(), ..edit() });
    both.same(|_| EditVod { description: Some("x".repeat(20_000)), ..edit() });
}

fn switches(both: &mut Both) {
    let shown = both.same(|_| ShowRecording { id: "room1".into(), root: None });
    assert_eq!(shown["end"]["data"]["state"], "unknown", "{shown}");
    both.same(|_| ShowRecording { id: "room1".into(), root: Some("/nowhere".into()) });
    let switch = || SwitchRecording { id: "room1".into(), record: true, root: None, format: None };
    let refused = both.same(|_| switch());
    assert_eq!(refused["end"]["error"]["kind"], "notSupported", "{refused}");
    both.same(|_| SwitchRecording { format: Some("avi".into()), ..switch() });
    both.same(|_| SwitchRecording { id: "a/../b".into(), ..switch() });
}

fn finds(both: &mut Both) {
    let filters = || ListVods { oldest_first: true, ..ListVods::default() };
    let found = |page: &Value| page["end"]["data"]["items"].as_array().map(Vec::len);
    for (filter, count) in [
        (ListVods { text: Some("OPENING".into()), ..filters() }, 1),
        (ListVods { text: Some("ä".into()), ..filters() }, 1),
        (ListVods { state: Some(VodState::Delivered), ..filters() }, 2),
        (ListVods { state: Some(VodState::Freed), ..filters() }, 0),
        (ListVods { to_ms: Some(0), ..filters() }, 0),
        (ListVods { outcome: Some(Outcome::Kept), ..filters() }, 1),
    ] {
        assert_eq!(found(&both.same(|_| filter.clone())), Some(count), "{filter:?}");
    }
    assert_eq!(both.same(|_| VodHistogram::default())["end"]["data"]["total"], 2);
    let quarantined = ListRecordings { state: Some("quarantined".into()), ..ListRecordings::default() };
    assert_eq!(found(&both.same(|_| quarantined.clone())), Some(1));
    both.same(|_| ListRecordings { state: Some("lost".into()), ..ListRecordings::default() });
    both.same(|_| ShowStatus {});
    assert_eq!(both.same(|_| ListLive {})["end"]["data"]["total"], 0);
    both.same(|_| MakeLogin {});
    assert_eq!(found(&both.same(|_| ListStreams::default())), Some(2));
    let second = ListStreams { after: Some("room1".into()), text: Some("ROOM".into()), ..ListStreams::default() };
    assert_eq!(found(&both.same(|_| second.clone())), Some(1));
    let at = |offset| ListVods { offset: Some(offset), limit: 1, ..ListVods::default() };
    let second = both.same(|_| at(1));
    assert_eq!(second["end"]["data"]["total"], 2, "{second}");
    both.same(|_| ListVods { from_ms: Some(0), ..at(0) });
    let unknown = both.same(|sandbox| Rescan { root: Some(beside(sandbox)) });
    assert_eq!(unknown["end"]["error"]["kind"], "notFound", "{unknown}");
    let alone = both.same(|sandbox| AdoptRoot { root: sandbox.root(), yes: true });
    assert_eq!(alone["end"]["error"]["kind"], "invalid", "{alone}");
    assert_eq!(both.same(|_| ExportVods {})["items"].as_array().map(Vec::len), Some(2));
}

fn works_off_the_queue(both: &mut Both) {
    let queue = both.same(|_| ListQueue { all: true, ..ListQueue::default() });
    assert_eq!(queue["end"]["data"]["recordings"][0]["state"], "quarantined", "{queue}");
    let unknown = both.same(|_| ListQueue { after: Some("x1".into()), ..ListQueue::default() });
    assert_eq!(unknown["end"]["error"]["kind"], "invalid", "{unknown}");
    both.same(|_| RetryDeliveries::default());
    both.same(|sandbox| RetryDeliveries {
        ids: vec!["room1.mp4".into()],
        directory: Some(beside(sandbox)),
        ..RetryDeliveries::default()
    });
    both.same(|_| RetryDeliveries { ids: vec!["nothing".into()], ..RetryDeliveries::default() });
    both.same(|_| RetryDeliveries { reason: Some("nothing".into()), ..RetryDeliveries::default() });
    both.same(|_| CollectUploads { abort: true });
    let verified = both.same(|_| VerifyVods { download: true, ..VerifyVods::default() });
    assert_eq!(verified["end"]["data"], json!({ "same": 2, "different": 0 }));
}

fn tells_events(both: &mut Both, id: &str) {
    let of_type = |name: &str| Some(name.to_owned());
    let listed = both.same(|_| ListEvents { types: of_type("vod.deleted"), ..ListEvents::default() });
    assert_eq!(listed["end"]["data"]["items"][0]["vod"]["vodId"], id, "{listed}");
    let followed = both.same(|_| FollowEvents {
        after: Some(0),
        types: of_type("vod.catalogued,vod.d*"),
        streams: of_type("room?"),
        ends: true,
    });
    assert_eq!(followed["items"].as_array().map(Vec::len), Some(3), "{followed}");
    let unknown = both.same(|_| ReplayEvents { endpoint: "nobody".into(), from: 1 });
    assert_eq!(unknown["end"]["error"]["kind"], "notFound", "{unknown}");
}

/// Sends bytes to the daemon and reads until it closes the connection, or has answered.
fn answer(socket: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    // A request that is too long is answered, and the connection closed, before all of it is read.
    let _ = stream.write_all(request);
    let mut said = String::new();
    let _ = stream.read_to_string(&mut said);
    said
}

#[test]
fn a_bad_request_is_answered_with_what_is_wrong() {
    let sandbox = Sandbox::new();
    let daemon = Daemon::start(&sandbox);
    let post = |path: &str, body: &str| {
        format!(
            "POST /api/v1{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let cases = [
        (get("/api/v1/nothing"), 404),
        (get("/api/v1/vods?limit=-1"), 400),
        (get("/api/v1/vods?colour=red"), 400),
        (get("/api/v1/vods?after=zz"), 400),
        (get("/api/v1/vods/nobody"), 404),
        (get("/api/v1/process"), 405),
        (post("/process", "no JSON"), 400),
        (post("/process", "{\"paths\":[],\"mode\":\"process\"}"), 400),
        (post("/process", "{\"paths\":[\"x\"],\"mode\":\"process\"}"), 400),
        (post("/process", "{\"paths\":[\"/x\"],\"mode\":\"process\",\"server\":\"none\"}"), 400),
        (post("/verify", &format!("{{\"ids\":[\"{}\"]}}", "x".repeat(2 << 20))), 400),
    ];
    for (request, status) in cases {
        let said = answer(&socket_of(&sandbox), request.as_bytes());
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request:.200}: {said}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.200}: {said}");
        assert!(head.contains("content-type: application/problem+json"), "{said}");
        let problem: Value = serde_json::from_str(body).unwrap();
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        assert_eq!(problem["status"], status);
    }
    assert_eq!(answer(&socket_of(&sandbox), b"{\"protocol\":1}\n").split(' ').nth(1), Some("400"));
    sandbox.run(&["vod", "list"]).expect_code(0);
    daemon.stop();
}

#[test]
fn clients_that_stall_hold_neither_the_daemon_nor_its_end() {
    let sandbox = house_with_recordings();
    sandbox.run(&["process", beside(&sandbox).to_str().unwrap()]).expect_code(4);
    let daemon = Daemon::start(&sandbox);
    let connect = || UnixStream::connect(socket_of(&sandbox)).unwrap();
    let stalled: Vec<_> = (0..20)
        .map(|n| {
            let mut stream = connect();
            // Nothing, half a head, a head without its body, a request whose answer nobody reads.
            let sent: &[u8] = match n % 4 {
                0 => b"",
                1 => b"GET /api/v1/vo",
                2 => b"POST /api/v1/process HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
                _ => b"GET /api/v1/export HTTP/1.1\r\nhost: x\r\n\r\n",
            };
            stream.write_all(sent).unwrap();
            stream
        })
        .collect();
    sandbox.run(&["vod", "list"]).expect_code(0);
    daemon.stop();
    drop(stalled);
}

#[test]
fn a_command_sees_the_settings_in_force_after_a_reload() {
    let sandbox = Sandbox::new();
    let daemon = Daemon::start(&sandbox);
    let client = Client::connect(&socket_of(&sandbox), &Stop::default()).unwrap();
    let quiet = || {
        let settings = client.perform(&ShowSettings {}, &mut |nothing| match nothing {}).unwrap();
        settings.values.into_iter().find(|setting| setting.key == "watch.quiet").unwrap().value
    };
    assert_eq!(quiet(), "\"1s\"");
    let file = sandbox.path().join("config.toml");
    let changed = fs::read_to_string(&file).unwrap().replace("quiet = \"1s\"", "quiet = \"3s\"");
    fs::write(&file, changed).unwrap();
    daemon.signal("HUP");
    until("the new settings are in force", || (quiet() == "\"3s\"").then_some(()));
    daemon.stop();
}

#[test]
fn a_rescan_tells_what_it_found_and_takes_it() {
    let sandbox = Sandbox::with_config(|dir| {
        // Nothing but a scan that is asked for finds anything.
        crate::support::standard_config(dir, "").replace("[watch]\n", "[watch]\nrescan = \"1h\"\npoll = true\n")
    });
    let scan = |args: &[&str]| sandbox.run(&[&["--json", "rescan"], args].concat());
    assert!(scan(&[]).expect_code(2).err.contains("no daemon is watching"));
    let daemon = Daemon::start(&sandbox);
    let empty = scan(&[]).expect_code(0).json_lines().remove(0);
    assert_eq!(empty["roots"].as_array().map(Vec::len), Some(1), "{empty}");
    assert_eq!((&empty["roots"][0]["recordings"], &empty["roots"][0]["isAvailable"]), (&json!(0), &json!(true)));
    sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    sandbox.put(&made("flv", 2), "room2.flv");
    fs::write(sandbox.root().join("room3.mp4.tmp_extension"), b"still written").unwrap();
    fs::write(sandbox.root().join("room4.mpg"), b"not handled").unwrap();
    let root = sandbox.root();
    let found = scan(&[root.to_str().unwrap()]).expect_code(0).json_lines().remove(0);
    let found = &found["roots"][0];
    assert!(
        found["recordings"].as_u64() >= Some(2) && found["taken"].as_u64() <= found["recordings"].as_u64(),
        "{found}"
    );
    assert_eq!(found["unhandled"], 1, "{found}");
    until("both are VoDs", || (sandbox.vods().len() == 2).then_some(()));
    let again = scan(&[]).expect_code(0).json_lines().remove(0);
    assert_eq!(again["roots"][0]["unhandled"], 1, "{again}");
    let elsewhere = sandbox.run(&["rescan", "/no/root"]).expect_code(2);
    assert!(elsewhere.err.contains("is not a configured root"), "{}", elsewhere.err);
    let table = sandbox.run(&["rescan"]).expect_code(0);
    assert!(table.out.contains("ROOT") && table.out.contains(root.to_str().unwrap()), "{}", table.out);
    daemon.stop();
}
