//! `MediaMTX`'s API.

use std::fs;

use serde_json::{Value, json};

use super::{Exchange, Ingest, assert_state, assert_unproven, sandbox, switch};
use crate::support::Sandbox;
use crate::support::daemon::Daemon;

const CAM1: &str = "/api/v1/streams/live%2Fcam1/recording";
const CREDENTIALS: &str = "Basic YWRtaW46aHVudGVyMg==";

fn mediamtx(ingest: &Ingest) -> (Sandbox, Daemon) {
    let control = "control = \"http://{control}/\"\ncontrol_credentials_file = \"{dir}/api\"";
    let sandbox = sandbox(ingest, &format!("server = \"mediamtx\"\n{control}"));
    fs::write(sandbox.path().join("api"), "admin:hunter2").unwrap();
    let daemon = Daemon::start(&sandbox);
    (sandbox, daemon)
}

fn failure(error: &str) -> Value {
    json!({ "status": "error", "error": error })
}

#[test]
fn mediamtx_is_asked_for_the_path_and_its_configuration() {
    let ingest = Ingest::start();
    let (sandbox, daemon) = mediamtx(&ingest);
    let get = |target, status, answer: Value| Exchange::new("GET", target, status, answer).with(CREDENTIALS);
    let at = "/v3/paths/get/live/cam1";
    let path = |ready: bool| get(at, 200, json!({ "name": "live/cam1", "confName": "all_others", "ready": ready }));
    let config = |record: bool| {
        let config = json!({ "name": "all_others", "record": record, "source": "publisher" });
        get("/v3/config/paths/get/all_others", 200, config)
    };
    let on = "has `record: yes` in the path configuration `all_others`, but no file";
    for (exchanges, expected, words) in [
        (vec![path(true), config(true)], "unknown", on),
        (vec![path(true), config(false)], "notRecording", "has `record: no`"),
        (vec![path(false)], "notRecording", "does not receive the stream"),
        (vec![get(at, 404, failure("path not found"))], "notRecording", "does not have the stream"),
    ] {
        ingest.hears(exchanges, || assert_state(&sandbox, CAM1, expected, "server", words));
    }
    // Any server has a 404.
    ingest.hears([get(at, 404, json!("404 page not found"))], || assert_unproven(&sandbox, CAM1, "HTTP status 404"));
    daemon.stop();
}

#[test]
fn mediamtx_is_switched_in_the_configuration_of_the_path() {
    let ingest = Ingest::start();
    let (sandbox, daemon) = mediamtx(&ingest);
    let patch = |on: bool, status, answer: Value| {
        let exchange = Exchange::new("PATCH", "/v3/config/paths/patch/live/cam1", status, answer);
        exchange.with(CREDENTIALS).sending(json!({ "record": on }))
    };
    for on in [true, false] {
        let (status, said) = ingest.hears([patch(on, 200, json!({ "status": "ok" }))], || switch(&sandbox, CAM1, on));
        assert_eq!((status, &said["record"], &said["wasSo"]), (200, &json!(on), &json!(false)), "{said}");
        assert_eq!((&said["streamId"], &said["server"]), (&json!("live/cam1"), &json!("mediamtx")), "{said}");
    }
    let (status, said) = ingest.hears([patch(true, 404, failure("path not found"))], || switch(&sandbox, CAM1, true));
    assert_eq!((status, &said["class"]), (422, &json!("permanent")), "{said}");
    assert!(said["nextStep"].as_str().unwrap().contains("all_others"), "{said}");
    let (status, said) =
        ingest.hears([patch(true, 400, failure("invalid \u{1b}[2J"))], || switch(&sandbox, CAM1, true));
    assert!(status == 422 && said["detail"].as_str().unwrap().ends_with("invalid \\u{1b}[2J"), "{said}");
    daemon.stop();
}
