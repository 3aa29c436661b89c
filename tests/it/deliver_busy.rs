//! Stores that are busy and stores that never end an answer: how often they are asked, what is said of it, how much is read.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aftercast::deliver::{DeliverError, Ledger, NullLedger, TargetOptions, Targets};
use aftercast::recording::RemoteObject;
use aftercast::stop::Stop;

use crate::support::assets::{MIB, asset, targets, upload, write_noise};
use crate::support::http::{Response, read_request, reply, serve};
use crate::support::identity::{self, CLIENT, TENANT};
use crate::support::recordings::made;
use crate::support::stores::secret;
use crate::support::{Sandbox, config_with_targets};

const RECORDINGS: usize = 40;

/// A store that answers every request alike; how many it got.
fn always(answer: Response) -> (SocketAddr, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&asked);
    let address = serve(move |client| {
        let Some(request) = read_request(&client, |_, length| length) else { return };
        counts.fetch_add(1, Ordering::SeqCst);
        reply(&client, &answer.bytes(request.method == "HEAD"));
    });
    (address, asked)
}

/// A target at an address of one's own, with credentials that nobody looks at.
fn s3_at(address: SocketAddr, directory: &std::path::Path) -> TargetOptions {
    let mut target = TargetOptions::new("cloud", "s3://bucket/pre");
    target.endpoint = Some(format!("http://{address}"));
    for name in ["access_key_id", "secret_access_key"] {
        target.credential_files.insert(name.into(), secret(directory, name, "any"));
    }
    target
}

#[test]
fn a_busy_store_is_left_alone_as_a_whole_and_said_once() {
    // The uploads that are on the way at once and those that follow until four have failed, each with two more tries; and one
    // more for each pause that ends before a slow machine has finished all recordings.
    const ASKED_AT_MOST: u64 = (4 + 3 + 5) * 3;
    let keys = tempfile::tempdir().unwrap();
    for answer in [
        Response::error(503, "SlowDown"),
        Response::new(503),
        Response::error(500, "InternalError"),
        Response::new(429),
    ] {
        let (address, asked) = always(answer.clone());
        let target = s3_at(address, keys.path());
        let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
        for n in 0..RECORDINGS {
            sandbox.put(&made("mp4-faststart", 2), &format!("room{n}.mp4"));
        }
        let run = sandbox.process();
        let said = |words: &str| run.err.lines().filter(|line| line.contains(words)).count();
        assert_eq!(said("target answers with errors; deliveries stay queued"), 1, "{}", run.err);
        assert!(said("not delivered") <= 1, "{}", run.err);
        let asked = asked.load(Ordering::SeqCst);
        assert!(asked <= ASKED_AT_MOST, "{asked} requests for {RECORDINGS} recordings: {answer:?}");
        let waiting = sandbox.run(&["queue", "list"]).expect_code(0).out;
        assert_eq!(waiting.matches("pending").count(), RECORDINGS, "{waiting}");
    }
}

#[test]
fn a_store_that_says_when_to_come_again_is_asked_once_by_each_upload_that_was_on_the_way() {
    let keys = tempfile::tempdir().unwrap();
    let (address, asked) = always(Response::error(503, "SlowDown").with("retry-after", "3600"));
    let target = s3_at(address, keys.path());
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    for n in 0..RECORDINGS {
        sandbox.put(&made("mp4-faststart", 2), &format!("room{n}.mp4"));
    }
    sandbox.process();
    let asked = asked.load(Ordering::SeqCst);
    assert!((1..=4).contains(&asked), "{asked}");

    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "take.mp4", 4_000, 1);
    let error = upload(&targets(target), &asset(dir.path(), "take", &["take.mp4"])).unwrap_err();
    let wait_s = error.ask_again_after().unwrap().as_secs();
    assert_eq!(wait_s, 15 * 60, "bounded");
    assert!(aftercast::fault::chain(&error).contains("503"), "{error:?}");
}

/// What is sent at most of an answer, so that a client that reads everything does not run out of memory.
const FLOOD_BYTES: u64 = 1 << 30;
/// What the sockets on both ends may hold besides.
const READ_AT_MOST: u64 = 64 << 20;

/// A server that begins its answers and does not end them.
struct Flood {
    address: SocketAddr,
    /// The most that was sent of one answer.
    sent: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
}

impl Flood {
    /// Answers with this head and the beginning of a body to requests that are chosen, else as is said.
    fn of(
        head: &'static str,
        begin: &'static str,
        calm: impl Fn(&str) -> Option<Response> + Send + Sync + Clone + 'static,
    ) -> Self {
        let (sent, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (noted, counts) = (Arc::clone(&sent), Arc::clone(&asked));
        let address = serve(move |client| {
            let Some(request) = read_request(&client, |_, length| length) else { return };
            let line = format!("{} {}", request.method, request.target);
            if let Some(answer) = calm(&line) {
                reply(&client, &answer.bytes(request.method == "HEAD"));
                return;
            }
            counts.fetch_add(1, Ordering::SeqCst);
            noted.fetch_max(pour(&client, head, begin), Ordering::SeqCst);
        });
        Self { address, sent, asked }
    }

    #[track_caller]
    fn expect_read_up_to_a_limit(&self, what: &str) {
        assert!(self.asked.swap(0, Ordering::SeqCst) > 0, "{what}: nothing was asked");
        let sent = self.sent.load(Ordering::SeqCst);
        assert!(sent < READ_AT_MOST, "{what}: {} MiB were read", sent >> 20);
    }
}

/// Sends until the client has enough; how much it took.
fn pour(mut client: &TcpStream, head: &str, begin: &str) -> u64 {
    let head = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{begin}");
    let piece = vec![b'x'; 64 << 10];
    let mut sent = 0;
    let mut result = client.write_all(head.as_bytes());
    while result.is_ok() && sent < FLOOD_BYTES {
        result = client.write_all(&piece);
        sent += piece.len() as u64;
    }
    let _ = client.shutdown(std::net::Shutdown::Write);
    let _ = client.set_read_timeout(Some(std::time::Duration::from_secs(1)));
    let _ = client.read(&mut [0; 16]);
    sent
}

/// A target of each family at an address.
fn of_each_family(address: SocketAddr, directory: &std::path::Path) -> [TargetOptions; 3] {
    let mut azure = TargetOptions::new("cloud", "az://bucket/pre");
    azure.endpoint = Some(format!("http://{address}/account"));
    azure.credential_files.insert("sas".into(), secret(directory, "sas", "sv=2020-12-06&sig=c2ln"));
    let mut google = TargetOptions::new("cloud", "gs://bucket/pre");
    let account = format!(
        r#"{{"gcs_base_url":"http://{address}","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}}"#
    );
    google.credential_files.insert("service_account".into(), secret(directory, "account.json", &account));
    [s3_at(address, directory), azure, google]
}

/// Everything that a target is asked.
fn ask_everything(targets: &Targets, root: &std::path::Path) {
    let small = asset(root, "small", &["small.mp4"]);
    let large = asset(root, "large", &["large.mp4"]);
    let _ = upload(targets, &small);
    let _ = upload(targets, &large);
    let _ = targets.open_uploads("cloud", &NullLedger);
    let _ = targets.delete("cloud", "pre/small.mp4");
    let _ = targets.probe("cloud");
    let object = RemoteObject {
        target: "cloud".into(),
        key: "pre/small.mp4".into(),
        url: String::new(),
        size_bytes: 4_000,
        etag: None,
        version: None,
        checksum: None,
        checksum_compared: false,
        verified_ms: 0,
        source: aftercast::durable::fingerprint(&root.join("small.mp4")).unwrap(),
        source_changed_ns: None,
        differs: None,
        differs_when_read: false,
        is_progressive_copy: false,
    };
    let _ = targets.verify(&object, true, &Stop::default());
}

#[test]
fn of_an_answer_without_an_end_no_more_than_a_limit_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "small.mp4", 4_000, 1);
    write_noise(dir.path(), "large.mp4", 17 * MIB, 2);
    let refusals = ["403 X", "400 X\r\ncontent-length: 99999999999", "500 X", "503 X\r\nretry-after: 1"];
    for head in refusals {
        let flood = Flood::of(head, "<Error><Code>AccessDenied</Code>", |_| None);
        for target in of_each_family(flood.address, dir.path()) {
            let url = target.url.clone();
            ask_everything(&targets(target), dir.path());
            flood.expect_read_up_to_a_limit(&format!("{url} {head}"));
        }
    }
}

#[test]
fn of_a_success_without_an_end_no_more_than_a_limit_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "small.mp4", 4_000, 1);
    write_noise(dir.path(), "large.mp4", 17 * MIB, 2);
    let held = "200 X\r\netag: \"x\"\r\nlast-modified: Thu, 05 Mar 2026 10:00:00 GMT\r\ncontent-length: 99999999999";
    for head in ["200 X", held] {
        let begins = ["<ListBucketResult><Contents><Key>", "<CompleteMultipartUploadResult><ETag>", ""];
        for begin in begins {
            let flood = Flood::of(head, begin, |line| line.starts_with("HEAD ").then(|| Response::new(404)));
            for target in of_each_family(flood.address, dir.path()) {
                let url = target.url.clone();
                ask_everything(&targets(target), dir.path());
                flood.expect_read_up_to_a_limit(&format!("{url} {head} {begin}"));
            }
        }
    }
}

#[test]
fn the_end_of_an_upload_that_is_answered_without_an_end_is_read_up_to_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "large.mp4", 17 * MIB, 2);
    let flood = Flood::of("200 X", "<CompleteMultipartUploadResult><ETag>", |line| {
        let begun = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
        match () {
            () if line.starts_with("POST ") && line.contains("uploadId=") => None,
            () if line.starts_with("HEAD ") => Some(Response::new(404)),
            () if line.starts_with("POST ") => Some(Response::new(200).saying(begun)),
            () => Some(Response::new(200).with("etag", "\"e\"")),
        }
    });
    let target = s3_at(flood.address, dir.path());
    let error = upload(&targets(target), &asset(dir.path(), "large", &["large.mp4"])).unwrap_err();
    assert!(matches!(error, DeliverError::Store { .. }), "{error:?}");
    flood.expect_read_up_to_a_limit("complete");
}

/// Runs `doctor` with an environment that points to a service for credentials.
fn with_environment(target: &TargetOptions, more: &[(&str, String)]) {
    let sandbox = Sandbox::with_config(|dir| {
        let mut target = target.clone();
        target.credential_files.clear();
        config_with_targets(dir, &[&target], "").replace("credential_files = {  }\n", "")
    });
    let mut command = sandbox.command(&["doctor"]);
    command.env("HOME", sandbox.path()).envs(more.iter().map(|(name, value)| (*name, value.as_str())));
    let run: crate::support::RunOutput = command.output().unwrap().into();
    assert_ne!(run.code(), 0, "{}", run.out);
}

#[test]
fn services_that_give_credentials_are_read_up_to_a_limit_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| secret(dir.path(), name, text).display().to_string();
    for head in ["200 X", "400 X"] {
        let flood = Flood::of(head, "{\"access_token\":\"", |_| None);
        let address = flood.address;
        let [s3, azure, _] = of_each_family(address, dir.path());
        let instance =
            [("AWS_EC2_METADATA_DISABLED", "false".into()), ("AWS_METADATA_ENDPOINT", format!("http://{address}"))];
        with_environment(&s3, &instance);
        flood.expect_read_up_to_a_limit("instance metadata");
        let workload = [
            ("AZURE_FEDERATED_TOKEN_FILE", file("federated", identity::ASSERTION)),
            ("AZURE_CLIENT_ID", CLIENT.into()),
            ("AZURE_TENANT_ID", TENANT.into()),
            ("AZURE_AUTHORITY_HOST", format!("http://{address}/")),
        ];
        with_environment(&azure, &workload);
        flood.expect_read_up_to_a_limit("workload identity");
    }
}

#[test]
fn a_list_of_unfinished_uploads_without_an_end_is_given_up() {
    let page = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>\
        <NextUploadIdMarker>u</NextUploadIdMarker></ListMultipartUploadsResult>";
    let (address, asked) = always(Response::new(200).saying(page));
    let dir = tempfile::tempdir().unwrap();
    let ledger: &dyn Ledger = &NullLedger;
    let error = targets(s3_at(address, dir.path())).open_uploads("cloud", ledger).unwrap_err();
    assert!(aftercast::fault::chain(&error).contains("does not end"), "{error:?}");
    assert!(asked.load(Ordering::SeqCst) <= 1_000);
}
