//! `aftercast doctor` asks the server at `control` for something that changes nothing.

use std::fs;

use serde_json::{Value, json};

use super::{Exchange, Ingest, sandbox};
use crate::support::Sandbox;
use crate::support::http::Response;

/// Settings of a root, the request that is sent, and an answer as its server's source has it with the words for it.
fn servers() -> [(&'static str, Exchange, &'static str); 4] {
    let count = json!({ "number": 2 });
    let paths = json!({ "itemCount": 1, "pageCount": 1, "items": [{ "name": "cam1" }] });
    let none = json!({ "statusCode": 204, "message": "There is no record information (204)" });
    let state = "/control/record/state?rec=r1&app=live&name=aftercast-doctor";
    [
        (
            "server = \"antmedia\"\napp = \"live\"\ncontrol = \"http://{control}\"",
            Exchange::new("GET", "/live/rest/v2/broadcasts/count", 200, count).with("user:hunter2"),
            "`antmedia` answers; the application `live` has 2 broadcasts",
        ),
        (
            "server = \"mediamtx\"\ncontrol = \"http://{control}\"",
            Exchange::new("GET", "/v3/paths/list?itemsPerPage=1", 200, paths).with("Basic dXNlcjpodW50ZXIy"),
            "`mediamtx` answers; it has 1 path",
        ),
        (
            "server = \"nginx-rtmp\"\napp = \"live\"\ncontrol = \"http://{control}/control?rec=r1\"",
            Exchange::new("GET", state, 204, Value::Null).with("Basic dXNlcjpodW50ZXIy"),
            "`nginx-rtmp` answers",
        ),
        (
            "server = \"ome\"\napp = \"live\"\ncontrol = \"http://{control}\"",
            Exchange::new("POST", "/v1/vhosts/default/apps/live:records", 200, none)
                .with("Basic dXNlcjpodW50ZXIy")
                .sending(json!({})),
            "`ome` answers; the application `live` has 0 recordings",
        ),
    ]
}

fn with_credentials(ingest: &Ingest, root: &str) -> Sandbox {
    let sandbox = sandbox(ingest, &format!("{root}\ncontrol_credentials_file = \"{{dir}}/credentials\""));
    fs::write(sandbox.path().join("credentials"), "user:hunter2\n").unwrap();
    sandbox
}

/// What `doctor` says of the server: whether it is well, the detail and the next step.
fn checked(sandbox: &Sandbox) -> Option<(bool, String, String)> {
    let said = sandbox.run(&["--json", "doctor"]);
    assert!(!said.out.contains("hunter2") && !said.err.contains("hunter2"), "{said:?}");
    let check = said.json_lines().into_iter().find(|check| check["check"] == "control")?;
    assert_eq!(check["subject"], json!(sandbox.root()), "{check}");
    let (detail, hint) = (check["detail"].as_str().unwrap(), check["hint"].as_str().unwrap_or_default());
    let is_ok = check["ok"].as_bool().unwrap();
    assert!(is_ok || said.code() == 5, "{said:?}");
    Some((is_ok, detail.to_owned(), hint.to_owned()))
}

#[test]
fn every_server_is_asked_with_its_credentials_and_told_nothing() {
    for (root, exchange, words) in servers() {
        let ingest = Ingest::start();
        let sandbox = with_credentials(&ingest, root);
        let checked = ingest.hears([exchange], || checked(&sandbox));
        assert_eq!(checked, Some((true, words.to_owned(), String::new())));
    }
}

#[test]
fn a_server_that_refuses_is_told_with_the_next_step() {
    for (root, exchange, _) in servers() {
        let ingest = Ingest::start();
        let sandbox = with_credentials(&ingest, root);
        let answered = |answer: Response| {
            let authorization = exchange.authorization.unwrap();
            let asked = Exchange::new(exchange.method, exchange.target, 200, Value::Null).with(authorization);
            let asked = Exchange { body: exchange.body.clone(), answer, ..asked };
            ingest.hears([asked], || checked(&sandbox)).unwrap()
        };
        let (is_ok, detail, hint) = answered(Response::new(401));
        assert!(!is_ok && detail.contains("HTTP status 401"), "{root}: {detail}");
        assert!(hint.contains("`control_credentials_file`"), "{root}: {hint}");
        for other in [Response::new(404), Response::new(200).saying("<html>another program")] {
            let (is_ok, detail, hint) = answered(other);
            assert!(!is_ok && hint.contains("`control`"), "{root}: {detail}: {hint}");
        }
        fs::remove_file(sandbox.path().join("credentials")).unwrap();
        let (is_ok, detail, hint) = ingest.hears([], || checked(&sandbox)).unwrap();
        assert!(!is_ok && detail.contains("cannot read the credentials"), "{root}: {detail}");
        assert!(hint.contains("let this user read the file"), "{root}: {hint}");
    }
}

#[test]
fn an_early_nginx_module_names_what_it_has_not_found() {
    let ingest = Ingest::start();
    let [_, _, (root, _, _), _] = servers();
    let sandbox = with_credentials(&ingest, root);
    let answered = |said: &str| {
        let state = "/control/record/state?rec=r1&app=live&name=aftercast-doctor";
        let asked = Exchange::new("GET", state, 200, Value::Null).with("Basic dXNlcjpodW50ZXIy");
        ingest.hears([Exchange { answer: Response::new(400).saying(said), ..asked }], || checked(&sandbox)).unwrap()
    };
    let (is_ok, detail, _) = answered("Live stream not found");
    assert!(is_ok && detail.contains("it has the application `live`"), "{detail}");
    let (is_ok, detail, _) = answered("Application not found");
    assert!(!is_ok && detail.contains("Application not found"), "{detail}");
}

#[test]
fn a_server_that_is_down_is_told_and_one_without_control_is_not_asked() {
    let (_port, down) = Ingest::down();
    let unanswered = sandbox(&down, "server = \"mediamtx\"\ncontrol = \"http://{control}\"");
    let (is_ok, detail, hint) = checked(&unanswered).unwrap();
    assert!(!is_ok && detail.starts_with("the ingest server did not answer"), "{detail}");
    assert!(hint.contains("Check that the server runs"), "{hint}");
    let ingest = Ingest::start();
    let without = sandbox(&ingest, "server = \"mediamtx\"");
    assert_eq!(ingest.hears([], || checked(&without)), None);
}
