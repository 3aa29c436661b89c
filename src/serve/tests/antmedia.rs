//! The calls of Ant Media's clients, one after the other, and what they must find in the answers.

use serde_json::json;

use super::*;

const LIVE: &str = "webapps/live/streams";

/// Five VoDs in one application, created in the order of their numbers.
fn live() -> (TestServer, Vec<VodRecord>) {
    let stage = TestServer::new(&[(LIVE, None)]);
    let names = ["b_480p.mp4", "a.mp4", "sub/C.webm", "d e#?.mp4", "B2.mp4"];
    let add = |(at, name): (usize, &&str)| {
        stage.add(LIVE, name, b"media", |vod| vod.creation_date = 1_000 + i64::try_from(at).unwrap())
    };
    let vods = names.iter().enumerate().map(add).collect();
    (stage, vods)
}

async fn names(stage: &TestServer, uri: &str) -> Vec<String> {
    let said = stage.get(uri).await;
    assert_eq!(said.status, StatusCode::OK, "{uri}: {:?}", said.body);
    said.json().as_array().unwrap().iter().map(|vod| vod["vodName"].as_str().unwrap().to_owned()).collect()
}

fn assert_result(said: &TestResponse, status: u16, is_success: bool) -> String {
    let result = said.json();
    assert_eq!((said.status.as_u16(), &result["success"]), (status, &json!(is_success)), "{result}");
    let fields: Vec<_> = result.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["success", "message", "dataId", "errorId"]);
    assert!(result["errorId"].is_i64() && result["dataId"].is_null());
    result["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_vod_has_every_field_and_nulls_are_written() {
    let (stage, vods) = live();
    let said = stage.get(&format!("/live/rest/v2/vods/{}", vods[2].vod_id)).await.json();
    assert_eq!(
        said,
        json!({
            "streamName": "C", "vodName": "C.webm", "streamId": "C", "creationDate": 1002, "startTime": 500,
            "duration": 8000, "fileSize": 5, "filePath": "streams/sub/C.webm", "vodId": vods[2].vod_id,
            "type": "streamVod", "previewFilePath": null, "processStatus": null, "processStartTime": 0,
            "processEndTime": 0, "description": null, "metadata": null, "longitude": null, "latitude": null,
            "altitude": null,
        })
    );
    assert_eq!(stage.get("/live/rest/v2/vods/list/2/1").await.json(), json!([said]));
}

#[tokio::test]
async fn lists_are_sorted_searched_and_cut_as_the_clients_ask() {
    let (stage, _vods) = live();
    let stored = ["b_480p.mp4", "a.mp4", "C.webm", "d e#?.mp4", "B2.mp4"];
    let by_name = ["a.mp4", "B2.mp4", "b_480p.mp4", "C.webm", "d e#?.mp4"];
    let turned = |names: [&'static str; 5]| names.into_iter().rev().collect::<Vec<_>>();
    for (query, expected) in [
        ("0/50?sort_by=&order_by=", stored.to_vec()),
        ("0/50&sort_by=&order_by=", stored.to_vec()),
        ("0/50?sort_by=&order_by=&search=", stored.to_vec()),
        ("0/50?order_by=desc", stored.to_vec()),
        ("0/50?sort_by=date&order_by=asc&streamId=", stored.to_vec()),
        ("0/50?sort_by=creationDate&order_by=desc", turned(stored)),
        ("0/50?sort_by=name&order_by=asc", by_name.to_vec()),
        ("0/50?sort_by=vodName&order_by=desc", turned(by_name)),
        ("0/50?sort_by=colour", stored.to_vec()),
        ("3/200", stored[3..].to_vec()),
        ("1/2?sort_by=name", by_name[1..3].to_vec()),
        ("5/50", vec![]),
        ("900000/50", vec![]),
        ("0/0", vec![]),
        ("0/-1", vec![]),
        ("-7/2", stored[..2].to_vec()),
        ("0/1000000000", stored.to_vec()),
        ("99999999999999999999999/5", vec![]),
        ("0/50?streamId=a", vec!["a.mp4"]),
        ("0/50?search=MP4&sort_by=name", vec!["a.mp4", "B2.mp4", "b_480p.mp4", "d e#?.mp4"]),
        ("1/1?search=mp4", vec!["a.mp4"]),
        ("0/50?search=e%23%3F", vec!["d e#?.mp4"]),
        ("0/50?search=d+e", vec!["d e#?.mp4"]),
    ] {
        assert_eq!(names(&stage, &format!("/live/rest/v2/vods/list/{query}")).await, expected, "{query}");
        let proxied = format!("/rest/v2/request?_path=live/rest/v2/vods/list/{}", query.replace('?', "&"));
        assert_eq!(names(&stage, &proxied).await, expected, "{proxied}");
        assert_eq!(names(&stage, &format!("/rest/v2/vods/list/{query}")).await, expected, "{query}");
    }
}

#[tokio::test]
async fn counts_are_numbers_and_follow_every_change() {
    let (stage, vods) = live();
    let count = async |path: &str| stage.get(&format!("/live/rest/v2/vods/count{path}")).await.json();
    assert_eq!(count("").await, json!({ "number": 5 }));
    assert_eq!(count("/").await, json!({ "number": 5 }));
    assert_eq!(count("/mp4").await, json!({ "number": 4 }));
    assert_eq!(count(&format!("/{}", vods[0].vod_id.to_lowercase())).await, json!({ "number": 1 }));
    assert_eq!(count("/d%20e").await, json!({ "number": 1 }));
    assert_eq!(count("/nothing").await, json!({ "number": 0 }));
    stage.add(LIVE, "new.mp4", b"more", |_| ());
    assert_eq!(count("").await, json!({ "number": 6 }));
    assert_eq!(count("/mp4").await, json!({ "number": 5 }));
    assert_eq!(names(&stage, "/live/rest/v2/vods/list/5/50?sort_by=name").await.len(), 1);
}

#[tokio::test]
async fn vods_are_deleted_one_by_one_and_together() {
    let (stage, vods) = live();
    let ids: Vec<_> = vods.iter().map(|vod| vod.vod_id.as_str()).collect();
    let delete = async |uri: String| stage.ask("DELETE", &uri, &[]).await;
    assert_result(&delete(format!("/live/rest/v2/vods/{}", ids[0])).await, 200, true);
    assert!(!vods[0].file_path.exists());
    let unknown = delete(format!("/live/rest/v2/vods/{}", ids[0])).await;
    assert!(assert_result(&unknown, 404, false).contains(ids[0]));
    assert_result(&delete(format!("/live/rest/v2/vods/?ids={}", ids[1])).await, 200, true);
    assert_result(&delete(format!("/rest/v2/request?_path=live/rest/v2/vods/&ids={},", ids[2])).await, 200, true);
    let some = delete(format!("/live/rest/v2/vods?ids=unknown,{},{}", ids[3], ids[0])).await;
    let words = assert_result(&some, 404, false);
    assert!(words.starts_with("1 deleted; ") && words.contains("unknown") && words.contains(ids[0]), "{words}");
    assert_eq!(names(&stage, "/live/rest/v2/vods/list/0/50").await, ["B2.mp4"]);
    assert_result(&delete("/live/rest/v2/vods".into()).await, 400, false);
    assert_result(&delete("/live/rest/v2/vods?ids=,".into()).await, 400, false);
}

#[tokio::test]
async fn bad_requests_are_results_with_words() {
    let (stage, vods) = live();
    let id = &vods[0].vod_id;
    for (method, path, status) in [
        ("GET", "vods/unknown", 404),
        ("GET", "vods/list/x/50", 400),
        ("GET", "vods/list/0/1e3", 400),
        ("GET", "vods/list/--1/5", 400),
        ("GET", "vods/list", 404),
        ("GET", "nothing", 404),
        ("GET", "vods", 405),
        ("POST", "vods/list/0/50", 405),
        ("DELETE", "vods/count", 405),
        ("PUT", "version", 405),
        ("POST", "vods/create?name=x", 405),
        ("POST", &format!("vods/{id}"), 405),
        ("GET", "vods/<script>alert(1)</script>".replace('<', "%3C").replace('>', "%3E").as_str(), 404),
        ("GET", "vods/%0d%0aSet-Cookie:%20x", 404),
        ("GET", "vods/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404),
        ("GET", "vods/%ff%fe", 404),
        ("GET", &format!("vods/{}", "x".repeat(4096)), 404),
        ("GET", &format!("vods/list/0/{}", "9".repeat(4096)), 200),
        ("GET", &format!("vods/count/{}", "x".repeat(4096)), 200),
    ] {
        let said = stage.ask(method, &format!("/live/rest/v2/{path}"), &[]).await;
        assert_eq!(said.status.as_u16(), status, "{method} {path:.100}: {:?}", said.body);
        if status != 200 {
            let words = assert_result(&said, status, false);
            assert!(!words.chars().any(char::is_control) && !words.is_empty(), "{words}");
        }
        assert_eq!(said.headers.contains_key("allow"), status == 405);
        assert!(!said.headers.contains_key("set-cookie"));
    }
    for uri in ["/other/rest/v2/vods/list/0/5", "/rest/v2/request?_path=other/rest/v2/vods/count", "/rest/v2/request"] {
        assert_result(&stage.get(uri).await, 404, false);
    }
}

#[tokio::test]
async fn an_application_shows_its_own_vods_only() {
    let stage = TestServer::new(&[("a/one/streams", None), ("b", Some("two"))]);
    let one = stage.add("a/one/streams", "x.mp4", b"1", |_| ());
    let two = stage.add("b", "y.mp4", b"2", |_| ());
    assert_eq!(names(&stage, "/one/rest/v2/vods/list/0/50").await, ["x.mp4"]);
    assert_eq!(names(&stage, "/two/rest/v2/vods/list/0/50").await, ["y.mp4"]);
    assert_eq!(stage.get("/two/rest/v2/vods/count/x").await.json(), json!({ "number": 0 }));
    assert_result(&stage.get(&format!("/two/rest/v2/vods/{}", one.vod_id)).await, 404, false);
    assert_result(&stage.ask("DELETE", &format!("/one/rest/v2/vods/{}", two.vod_id), &[]).await, 404, false);
    assert!(two.file_path.exists());
    assert!(assert_result(&stage.get("/rest/v2/vods/count").await, 404, false).contains("{app}"));
    for uri in ["/rest/v2/version", "/one/rest/v2/version", "/any/rest/v2/version"] {
        let version = stage.get(uri).await.json();
        assert_eq!(version["versionType"], "aftercast");
        assert!(version["versionName"].is_string() && version["buildNumber"].is_string());
    }
    let listed = stage.get("/two/rest/v2/vods/list/0/1").await.json();
    assert_eq!(listed[0]["filePath"], "streams/y.mp4");
}

#[tokio::test]
async fn hostile_names_are_text_and_nothing_else() {
    let stage = TestServer::new(&[(LIVE, None)]);
    let hostile =
        ["<script>alert(1)</script>.mp4", "new\nline\r\nX: y.mp4", "quo\"te\\.mp4", "..mp4", "ä\u{202e}4pm.mp4"];
    for name in hostile {
        let name = name.replace('/', "_");
        let vod = stage.add(LIVE, &name, name.as_bytes(), |_| ());
        let said = stage.get(&format!("/live/rest/v2/vods/{}", vod.vod_id)).await.json();
        assert_eq!((&said["vodName"], &said["filePath"]), (&json!(name), &json!(format!("streams/{name}"))));
        let path = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC).to_string();
        let media = stage.get(&format!("/live/streams/{path}?download=1")).await;
        assert_eq!((media.status, &media.body[..]), (StatusCode::OK, name.as_bytes()), "{name}");
        assert_eq!(stage.get(&format!("/live/rest/v2/vods/count/{path}")).await.json(), json!({ "number": 1 }));
    }
}
