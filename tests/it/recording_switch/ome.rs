//! `OvenMediaEngine`'s API.

use std::fs;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Exchange, Ingest, ROOM1, assert_state, sandbox, switch};
use crate::support::Sandbox;
use crate::support::daemon::Daemon;
use crate::support::http::{Response, read_request, reply, serve};

fn ome(ingest: &Ingest) -> (Sandbox, Daemon) {
    let control = "control = \"http://{control}\"\ncontrol_credentials_file = \"{dir}/token\"";
    let sandbox = sandbox(ingest, &format!("server = \"ome\"\napp = \"app\"\n{control}"));
    fs::write(sandbox.path().join("token"), "ome-access-token\n").unwrap();
    let daemon = Daemon::start(&sandbox);
    (sandbox, daemon)
}

fn post(action: &str, body: Value, status: u16, answer: Value) -> Exchange {
    let target = format!("/v1/vhosts/default/apps/app:{action}");
    let exchange = Exchange::new("POST", target.leak(), status, answer);
    exchange.with("Basic b21lLWFjY2Vzcy10b2tlbg==").sending(body)
}

/// A list of recordings: id, stream, state.
fn records(all: &[(&str, &str, &str)]) -> Exchange {
    let record = |(id, stream, state): &(&str, &str, &str)| {
        json!({ "state": state, "id": id, "vhost": "default", "app": "app", "stream": { "name": stream, "tracks": [] },
            "filePath": "/path/${Sequence}.ts", "segmentationRule": "discontinuity" })
    };
    let all: Vec<_> = all.iter().map(record).collect();
    post("records", json!({}), 200, json!({ "message": "OK", "response": all, "statusCode": 200 }))
}

fn none() -> Exchange {
    let answer = json!({ "statusCode": 204, "message": "There is no record information (204)" });
    post("records", json!({}), 200, answer)
}

#[test]
fn oven_media_engine_is_asked_for_its_recordings() {
    let ingest = Ingest::start();
    let (sandbox, daemon) = ome(&ingest);
    let other = ("a", "room2", "recording");
    let unknown_app = json!({ "statusCode": 404, "message": "Could not find the application: [default/app]" });
    for (exchange, expected, basis, words) in [
        (records(&[other, ("b", "room1", "recording")]), "unknown", "server", "lists a recording"),
        (records(&[("b", "room1", "ready")]), "unknown", "nothing", "is ready to record"),
        (records(&[("b", "room1", "stopping")]), "unknown", "nothing", "ending or failed"),
        (records(&[other]), "notRecording", "server", "lists no recording of the stream"),
        (none(), "notRecording", "server", "lists no recording of the stream"),
        (post("records", json!({}), 404, unknown_app), "unknown", "nothing", "Could not find the application"),
    ] {
        ingest.hears([exchange], || assert_state(&sandbox, ROOM1, expected, basis, words));
    }
    daemon.stop();
}

#[test]
fn every_open_recording_of_the_stream_is_stopped_at_oven_media_engine() {
    let ingest = Ingest::start();
    let (sandbox, daemon) = ome(&ingest);
    let all = [("a", "room2", "recording"), ("b", "room1", "recording"), ("c", "room1", "ready")];
    let stop = |id: &str| {
        let answer = json!({ "message": "OK", "response": [], "statusCode": 200 });
        post("stopRecord", json!({ "id": id }), 200, answer)
    };
    let (status, said) = ingest.hears([records(&all), stop("b"), stop("c")], || switch(&sandbox, ROOM1, false));
    assert_eq!((status, &said["wasSo"]), (200, &json!(false)), "{said}");
    let (status, said) = ingest.hears([none()], || switch(&sandbox, ROOM1, false));
    assert_eq!((status, &said["wasSo"]), (200, &json!(true)), "{said}");
    let (status, said) = ingest.hears([records(&all)], || switch(&sandbox, ROOM1, true));
    assert_eq!((status, &said["wasSo"]), (200, &json!(true)), "{said}");
    daemon.stop();
}

/// The id is chosen anew each time, so that its request is looked at by itself.
#[test]
fn a_recording_at_oven_media_engine_gets_an_id_of_its_own() {
    let bodies = Arc::<Mutex<Vec<Value>>>::default();
    let seen = Arc::clone(&bodies);
    let address = serve(move |stream| {
        let Some(request) = read_request(&stream, |_, length| length) else { return };
        match request.target.strip_prefix("/v1/vhosts/other/apps/app:") {
            Some("startRecord") => {
                seen.lock().unwrap().push(serde_json::from_slice(&request.body).unwrap());
                let answer = json!({ "message": "OK", "response": [{ "state": "ready" }], "statusCode": 200 });
                reply(&stream, &Response::new(200).saying(answer.to_string()).bytes(false));
            }
            Some("records") => reply(&stream, &Response::new(204).bytes(false)),
            _ => reply(&stream, &Response::new(599).bytes(false)),
        }
    });
    let ingest = Ingest { address, script: Arc::default() };
    let sandbox = sandbox(&ingest, "server = \"ome\"\napp = \"app\"\ncontrol = \"http://{control}/v1/vhosts/other\"");
    let daemon = Daemon::start(&sandbox);
    for _ in 0..2 {
        let (status, said) = switch(&sandbox, ROOM1, true);
        assert_eq!((status, &said["wasSo"]), (200, &json!(false)), "{said}");
    }
    let bodies = bodies.lock().unwrap().clone();
    assert_eq!(bodies.len(), 2);
    assert!(bodies.iter().all(|body| body["stream"] == json!({ "name": "room1" })), "{bodies:?}");
    assert!(bodies[0]["id"].is_string() && bodies[0]["id"] != bodies[1]["id"], "{bodies:?}");
    daemon.stop();
}
