//! Ant Media Server's REST interface.

use std::fs;

use serde_json::{Value, json};

use super::{Exchange, Ingest, ROOM1, ask, assert_state, assert_unproven, sandbox, switch};
use crate::support::Sandbox;
use crate::support::daemon::Daemon;
use crate::support::http::Response;

/// A JWT, as it is sent.
const TOKEN: &str = "eyJ.hunter2.x";
const BROADCAST: &str = "/live/rest/v2/broadcasts/room1";

fn antmedia(ingest: &Ingest) -> (Sandbox, Daemon) {
    let control = "control = \"http://{control}\"\ncontrol_credentials_file = \"{dir}/jwt\"";
    let sandbox = sandbox(ingest, &format!("server = \"antmedia\"\napp = \"live\"\n{control}"));
    fs::write(sandbox.path().join("jwt"), "eyJ.hunter2.x\n").unwrap();
    let daemon = Daemon::start(&sandbox);
    (sandbox, daemon)
}

fn broadcast(status: &str, mp4: i32, webm: i32) -> Exchange {
    let fields = json!({ "streamId": "room1", "status": status, "type": "liveStream", "name": null,
        "mp4Enabled": mp4, "webMEnabled": webm, "rtmpURL": "rtmp://127.0.0.1/live/room1", "speed": 1.0 });
    Exchange::new("GET", BROADCAST, 200, fields).with(TOKEN)
}

fn put(on: bool, kind: &str, answer: Value) -> Exchange {
    let target = format!("{BROADCAST}/recording/{on}?recordType={kind}");
    Exchange::new("PUT", target.leak(), 200, answer).with(TOKEN).sending(json!({}))
}

/// `io.antmedia.rest.model.Result`.
fn result(success: bool, message: Option<&str>) -> Value {
    json!({ "success": success, "message": message, "dataId": "x", "errorId": 0 })
}

#[test]
fn ant_media_is_asked_whether_it_records() {
    let ingest = Ingest::start();
    let (sandbox, daemon) = antmedia(&ingest);
    for (told, expected, words) in [
        (broadcast("finished", 1, 0), "notRecording", "does not receive the stream (status `finished`)"),
        (broadcast("broadcasting", -1, -1), "notRecording", "switched off"),
        (broadcast("broadcasting", 1, 0), "unknown", "but no file of the stream is seen growing"),
    ] {
        ingest.hears([told], || assert_state(&sandbox, ROOM1, expected, "server", words));
    }
    ingest.hears([broadcast("broadcasting", 0, 0)], || {
        assert_unproven(&sandbox, ROOM1, "if its application's settings say so");
    });
    let off = "/rest/v2/request?_path=live/rest/v2/broadcasts/room1";
    let (_, off) = ingest.hears([broadcast("finished", 0, 0)], || ask(&sandbox, "GET", off, ""));
    let switches = (&off["mp4Enabled"], &off["webMEnabled"], &off["status"]);
    assert_eq!(switches, (&json!(-1), &json!(-1), &Value::Null), "{off}");
    daemon.stop();
}

#[test]
fn ant_media_is_told_to_record_and_to_stop() {
    let ingest = Ingest::start();
    let (sandbox, daemon) = antmedia(&ingest);
    let asked = |path: &str| ask(&sandbox, "PUT", path, "");
    let done = || result(true, None);
    let webm = format!("{BROADCAST}/recording/true?recordType=webm");
    let (status, said) = ingest.hears([put(true, "webm", done())], || asked(&webm));
    assert_eq!((status, said), (200, json!({ "success": true, "message": null, "dataId": null, "errorId": 0 })));
    let webm = format!("{BROADCAST}/recording/false/webm");
    let (status, _) = ingest.hears([put(false, "webm", done())], || asked(&webm));
    assert_eq!(status, 200, "an older form has the container in the path");
    let printed = ingest
        .hears([put(true, "mp4", done())], || sandbox.run(&["stream", "recording", "room1", "on"]).expect_code(0).out);
    assert_eq!(printed, "room1: recording switched on at `antmedia`\n");

    let refused = || put(false, "mp4", result(false, Some("no stream for this id")));
    let proxied = format!("/rest/v2/request?_path={}/recording/false", &BROADCAST[1..]);
    let (status, said) = ingest.hears([refused(), broadcast("broadcasting", -1, 0)], || asked(&proxied));
    assert_eq!((status, &said["success"], &said["message"]), (200, &json!(true), &json!("it was so before")));
    let (status, said) = ingest.hears([refused(), broadcast("broadcasting", 1, 0)], || switch(&sandbox, ROOM1, false));
    assert_eq!(status, 422, "{said}");
    assert!(said["detail"].as_str().unwrap().ends_with("did not do it: no stream for this id"), "{said}");
    let named = format!("{BROADCAST}/recording/true?fileName=x");
    let (status, said) = ingest.hears([], || asked(&named));
    assert_eq!((status, &said["success"]), (501, &json!(false)), "{said}");
    daemon.stop();
}

#[test]
fn what_ant_media_refuses_is_told_and_nothing_is_followed() {
    let ingest = Ingest::start();
    let (sandbox, daemon) = antmedia(&ingest);
    let answered = |answer: Response| {
        let exchange = Exchange { answer, ..put(true, "mp4", Value::Null) };
        ingest.hears([exchange], || switch(&sandbox, ROOM1, true))
    };
    let (status, said) = answered(Response::new(403).saying("<html>Not allowed IP"));
    assert_eq!((status, &said["class"]), (503, &json!("environment")), "{said}");
    assert!(said["nextStep"].as_str().unwrap().contains("control_credentials_file"), "{said}");
    let (status, said) = answered(Response::new(302).with("location", &format!("http://{}/elsewhere", ingest.address)));
    assert_eq!(status, 422, "{said}");
    assert!(said["nextStep"].as_str().unwrap().contains("Redirects are not followed"), "{said}");
    let (status, said) = answered(Response::new(200).saying(vec![b' '; 2 << 20]));
    assert_eq!(status, 422, "{said}");
    assert!(said["detail"].as_str().unwrap().contains("longer than 1024 KiB"), "{said}");
    let (status, said) = answered(Response::new(200).saying("<html>another program"));
    assert_eq!((status, said["nextStep"].as_str().unwrap().contains("`app`")), (422, true), "{said}");
    assert!(!daemon.log().contains("hunter2"), "{}", daemon.log());
    daemon.stop();
}
