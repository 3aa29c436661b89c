//! What stands in the requests to a store, and what does not.

use std::sync::{Arc, Mutex};

use aftercast::deliver::{Cause, TargetOptions};
use sha2::{Digest as _, Sha256};

use crate::support::assets::{MIB, asset, targets, upload, write_noise};
use crate::support::http::{Request, Response};
use crate::support::recordings::made;
use crate::support::stores::{azure, s3};
use crate::support::unruly::refusing;
use crate::support::{Sandbox, config_with_targets};

/// Uploads to a target through a line that keeps all requests; `at` makes the endpoint of its port.
fn requests(options: &TargetOptions, len: usize, at: impl Fn(u16) -> String) -> Vec<Request> {
    let server = options.endpoint.as_ref().unwrap().trim_start_matches("http://").parse().unwrap();
    let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
    let keeps = Arc::clone(&seen);
    let address = refusing(server, move |request: &Request| {
        keeps.lock().unwrap().push(request.clone());
        None
    });
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "x.mp4", len, len as u64);
    let target = TargetOptions { endpoint: Some(at(address.port())), ..options.clone() };
    let object = upload(&targets(target), &asset(dir.path(), "id", &["x.mp4"])).unwrap().remove(0);
    assert!(object.checksum_compared, "{object:?}");
    let seen = seen.lock().unwrap();
    seen.clone()
}

/// Those that carry bytes of the recording.
fn payloads(requests: &[Request]) -> impl Iterator<Item = &Request> {
    requests.iter().filter(|request| request.method == "PUT" && request.path().ends_with("/x.mp4"))
}

#[test]
fn nothing_is_asked_of_a_store_that_nobody_set() {
    let server = s3();
    for (bucket, len) in [("plain-small", 1000), ("plain-large", 17 * MIB)] {
        let requests = requests(&server.bucket(bucket), len, |port| format!("http://127.0.0.1:{port}"));
        assert!(payloads(&requests).next().is_some());
        for unasked in
            ["x-amz-acl", "x-amz-storage-class", "x-amz-tagging", "x-amz-server-side-encryption", "cache-control"]
        {
            let asking: Vec<_> = requests.iter().filter(|request| request.header(unasked).is_some()).collect();
            assert!(asking.is_empty(), "{unasked}: {asking:?}");
        }
    }
}

#[test]
fn a_payload_is_covered_by_its_checksum_and_signed_where_the_line_is_open() {
    let server = s3();
    for len in [1000, 17 * MIB] {
        let on_this_machine =
            requests(&server.bucket(&format!("covered-{len}")), len, |port| format!("http://127.0.0.1:{port}"));
        let by_name =
            requests(&server.bucket(&format!("signed-{len}")), len, |port| format!("http://localhost:{port}"));
        assert_eq!(payloads(&by_name).count(), if len == 1000 { 1 } else { 3 });
        for request in payloads(&on_this_machine) {
            assert_eq!(request.header("x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"));
        }
        for request in payloads(&by_name) {
            let digest = format!("{:x}", Sha256::digest(&request.body));
            assert_eq!(request.header("x-amz-content-sha256"), Some(digest.as_str()));
        }
        for request in payloads(&on_this_machine).chain(payloads(&by_name)) {
            assert!(request.header("x-amz-checksum-crc64nvme").is_some(), "{:?}", request.headers);
        }
    }
}

#[test]
fn the_stores_own_number_of_a_refused_request_stands_in_the_log() {
    let server = s3();
    let options = server.bucket("numbered");
    let address = refusing(server.address(), |request: &Request| {
        let is_it = request.method == "PUT" && request.path().ends_with("/room1.mp4");
        is_it.then(|| Response::error(403, "AccessDenied").with("x-amz-request-id", "4442587FB7D0A2F9"))
    });
    let target = TargetOptions { endpoint: Some(format!("http://{address}")), ..options };
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    let root = sandbox.root();
    let said = sandbox.run(&["-vv", "process", root.to_str().unwrap()]).expect_code(5);
    assert!(said.err.contains("4442587FB7D0A2F9"), "{}", said.err);
}

#[test]
fn a_shared_access_signature_is_enough_and_what_it_lacks_is_named() {
    let server = azure();
    let dir = tempfile::tempdir().unwrap();
    let full = targets(server.signed_for("signed-for-all", "racwdl"));
    for (name, len) in [("small.mp4", 1000), ("large.mp4", 17 * MIB)] {
        write_noise(dir.path(), name, len, 1);
        let object = upload(&full, &asset(dir.path(), name, &[name])).unwrap().remove(0);
        assert!(object.checksum_compared, "{object:?}");
    }
    let reading = targets(server.signed_for("signed-for-reading", "rl"));
    let refused = upload(&reading, &asset(dir.path(), "small.mp4", &["small.mp4"])).unwrap_err();
    assert!(
        matches!(refused.cause(), Some(Cause::Denied { permission }) if permission.starts_with("blobs/write")),
        "{refused:?}"
    );
    let said = format!("{refused} {refused:?}");
    assert!(!said.contains("sig=") && !said.contains("2999-01-01"), "{said}");
}
