//! Slow lines and dead ones: a slow line is no fault, silence is.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aftercast::deliver::{Cause, TargetOptions};
use aftercast::fault::{Class, Fault};

use crate::support::assets::{MIB, asset, targets, upload, write_noise};
use crate::support::http::{Response, read_request, reply, serve};

/// A store that takes a body in sips of 128 KiB with a pause before each; without a pause it takes nothing at all.
fn store(pause: Option<Duration>) -> TargetOptions {
    let stored: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let address = serve(move |client: TcpStream| {
        let Some(request) = read_request(&client, |_, _| 0) else { return };
        let path = request.path().to_owned();
        let held = stored.lock().unwrap().get(&path).copied();
        match (request.method.as_str(), pause) {
            ("HEAD", _) if held.is_some() => {
                let said = Response::new(200).with("content-length", &held.unwrap()).with("etag", "\"x\"");
                reply(&client, &said.with("last-modified", "Fri, 02 Jan 2026 03:04:05 GMT").bytes(true));
            }
            ("PUT", Some(pause)) => {
                let length: usize = request.header("content-length").unwrap().parse().unwrap();
                let sipped = sipped(&client, length, pause);
                stored.lock().unwrap().insert(path, sipped);
                reply(&client, &Response::new(200).with("etag", "\"x\"").bytes(false));
            }
            ("DELETE", _) => {
                stored.lock().unwrap().remove(&path);
                reply(&client, &Response::new(204).bytes(false));
            }
            // The connection stays open, and nothing is read or said.
            ("PUT", None) => std::thread::sleep(Duration::from_secs(60)),
            (method, _) => reply(&client, &Response::error(404, "NoSuchKey").bytes(method == "HEAD")),
        }
    });
    let mut options = TargetOptions::new("cloud", "s3://bucket/pre");
    options.endpoint = Some(format!("http://{address}"));
    options.stall_timeout = Duration::from_secs(1);
    let secret = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("aftercast-line-{}", address.port()));
    std::fs::write(&secret, "secret").unwrap();
    for name in ["access_key_id", "secret_access_key"] {
        options.credential_files.insert(name.into(), secret.clone());
    }
    options
}

fn sipped(mut client: &TcpStream, length: usize, pause: Duration) -> usize {
    let (mut sip, mut taken) = (vec![0; 128 * 1024], 0);
    // The reader of the head may have taken the beginning of the body along.
    let _ = client.set_read_timeout(Some(Duration::from_secs(2)));
    while taken < length {
        std::thread::sleep(pause);
        match client.read(&mut sip) {
            Ok(read @ 1..) => taken += read,
            _ => break,
        }
    }
    length
}

#[test]
fn an_upload_that_takes_far_longer_than_the_stall_timeout_arrives_as_long_as_bytes_move() {
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "x.mp4", 12 * MIB, 1);
    let targets = targets(store(Some(Duration::from_millis(20))));
    let object = upload(&targets, &asset(dir.path(), "id", &["x.mp4"])).unwrap().remove(0);
    assert_eq!((object.size_bytes, object.checksum_compared), (12 * MIB as u64, false));
}

#[test]
fn a_store_that_stops_taking_bytes_is_a_timeout() {
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "x.mp4", 12 * MIB, 1);
    let error = upload(&targets(store(None)), &asset(dir.path(), "id", &["x.mp4"])).unwrap_err();
    assert_eq!((error.cause(), error.class()), (Some(&Cause::Timeout), Class::Transient), "{error:?}");
}
