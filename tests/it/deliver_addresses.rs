//! Where requests to a store go: the bucket in the host name or in the path.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aftercast::deliver::TargetOptions;

use crate::support::clients::begin_upload;
use crate::support::http::{Request, forward, read_request, reply, serve};
use crate::support::recordings::padded;
use crate::support::stores::{S3_DOMAIN, s3};
use crate::support::{RunOutput, Sandbox, config_with_targets};

/// A proxy that passes everything on to one server, whatever host is asked for, and keeps the requests as they came.
fn proxy(server: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<Request>>>) {
    let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
    let keeps = Arc::clone(&seen);
    let address = serve(move |client| {
        let Some(mut request) = read_request(&client, |_, length| length) else { return };
        keeps.lock().unwrap().push(request.clone());
        request.target = split(&request).1.to_owned();
        reply(&client, &forward(server, &request).unwrap_or_default());
    });
    (address, seen)
}

/// The host that a proxy is asked for, and the path and query there.
fn split(request: &Request) -> (&str, &str) {
    let rest = request.target.strip_prefix("http://").unwrap();
    rest.split_at(rest.find('/').unwrap())
}

#[test]
fn the_bucket_stands_in_the_host_name_or_in_the_path_of_every_request() {
    let server = s3();
    for (bucket, path_style, is_in_host) in
        [("in-the-host", Some(false), true), ("in-the-path", Some(true), false), ("by-default", None, false)]
    {
        let direct = server.bucket(bucket);
        let (address, seen) = proxy(server.address());
        let endpoint = format!("{S3_DOMAIN}:8333");
        let target = TargetOptions { endpoint: Some(format!("http://{endpoint}")), path_style, ..direct.clone() };
        let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
        let run = |args: &[&str], code| -> String {
            let mut command = sandbox.command(args);
            command.env("HTTP_PROXY", format!("http://{address}")).env("http_proxy", format!("http://{address}"));
            command.env_remove("NO_PROXY").env_remove("no_proxy");
            RunOutput::from(command.output().unwrap()).expect_code(code).out
        };
        for (name, at_least) in [("small.mp4", 0), ("large.mp4", 20 << 20)] {
            fs::write(sandbox.root().join(name), padded(name, at_least)).unwrap();
        }
        run(&["process", sandbox.root().to_str().unwrap()], 0);
        let mut stored: Vec<_> = server.listing(bucket).into_iter().map(|(key, _)| key).collect();
        stored.sort();
        assert_eq!(stored, ["pre/large.mp4", "pre/small.mp4"]);
        let checked = run(&["vod", "verify", "--download"], 0);
        assert_eq!(checked.matches("as proven").count(), 2, "{checked}");
        begin_upload(&direct, "pre/theirs.mp4");
        let open = run(&["queue", "gc"], 0);
        assert!(open.contains("open  cloud  pre/theirs.mp4"), "{open}");
        run(&["queue", "gc", "--yes"], 0);
        let none = run(&["queue", "gc"], 0);
        assert!(none.contains("No abandoned uploads"), "{none}");
        run(&["doctor"], 0);

        let seen = seen.lock().unwrap();
        let expected_host = if is_in_host { format!("{bucket}.{endpoint}") } else { endpoint };
        let in_path = format!("/{bucket}");
        for request in seen.iter() {
            let (host, path) = split(request);
            assert_eq!((host, request.header("host")), (expected_host.as_str(), Some(expected_host.as_str())));
            assert_eq!(path.starts_with(&in_path), !is_in_host, "{path}");
        }
        for (method, what) in [
            ("PUT", "/pre/small.mp4"),
            ("POST", "/pre/large.mp4?uploads"),
            ("PUT", "partNumber=3"),
            ("POST", "uploadId="),
            ("HEAD", "/pre/large.mp4"),
            ("GET", "/pre/large.mp4"),
            ("GET", "?uploads=&prefix=pre%2F"),
            ("DELETE", "uploadId="),
            ("GET", "list-type=2"),
        ] {
            assert!(seen.iter().any(|r| r.method == method && r.target.contains(what)), "{method} {what}");
        }
    }
}
