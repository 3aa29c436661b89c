//! Finished inside a container of Azure and a bucket of Google: what goes up, what comes of it, killed at every request, and with an
//! original, a key or a store that does something else meanwhile.

use std::any::Any;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use aftercast::deliver::TargetOptions;

use crate::support::Sandbox;
use crate::support::buckets::{Line, finished_locally, house, item, killed_at, large, process};
use crate::support::clients::{keys, put, see};
use crate::support::google::google;
use crate::support::http::{Request, Response, forward, read_request, reply, serve};
use crate::support::recordings::{made, packets};
use crate::support::stores::{azure, secret};

/// A store that puts objects together by itself.
struct Store {
    target: TargetOptions,
    address: SocketAddr,
    bucket: String,
    /// Whether a request has it copy something of another object.
    is_copy: fn(&Request) -> bool,
    /// Whether a request makes the new object.
    is_end: fn(&Request) -> bool,
    _server: Box<dyn Any>,
}

fn in_azure(container: &str) -> Store {
    let server = azure();
    Store {
        target: server.container(container),
        address: server.address(),
        bucket: format!("az://{container}"),
        is_copy: |request| request.header("x-ms-copy-source").is_some(),
        is_end: |request| request.query("comp") == Some("blocklist"),
        _server: Box::new(server),
    }
}

fn in_google(bucket: &str) -> Store {
    let server = google();
    let is_compose = |request: &Request| request.query("compose").is_some();
    Store {
        target: server.bucket(bucket),
        address: server.address,
        bucket: format!("gs://{bucket}"),
        is_copy: is_compose,
        is_end: is_compose,
        _server: Box::new(server),
    }
}

/// What to do with a request on its way to the store.
enum OnTheWay {
    Forward(Request),
    Answer(Response),
}

impl Store {
    /// A house that reaches the store over something that may change its requests.
    fn house(&self, change: impl Fn(Request) -> OnTheWay + Send + Sync + Clone + 'static) -> Sandbox {
        let server = self.address;
        let address = serve(move |client| {
            let Some(request) = read_request(&client, |_, length| length) else { return };
            let is_head = request.method == "HEAD";
            let answer = match change(request) {
                OnTheWay::Forward(request) => forward(server, &request).unwrap_or_default(),
                OnTheWay::Answer(answer) => answer.bytes(is_head),
            };
            reply(&client, &answer);
        });
        house(&self.target, address)
    }

    /// A house that reaches it over a line.
    fn over(&self, line: &Line) -> Sandbox {
        house(&self.target, line.address)
    }

    fn below(&self, prefix: &str) -> String {
        format!("{}/{prefix}", self.bucket)
    }

    /// Finishes the only object below `old` and says how.
    fn finish(&self, sandbox: &Sandbox, key: &str) -> (String, String) {
        let done = process(sandbox, &self.below("old"), &[]).expect_code(0).json_lines();
        let item = item(&done, key);
        assert_eq!(item["state"], "finished", "{item}");
        (item["way"].as_str().unwrap().to_owned(), item["to"].as_str().unwrap().to_owned())
    }
}

fn is_list(request: &str) -> bool {
    request.contains("comp=list") || request.contains("list-type=2")
}

/// The packets of an object as ffprobe reads them.
fn packets_of(bytes: &[u8]) -> Vec<String> {
    let file = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
    fs::write(file.path(), bytes).unwrap();
    packets(file.path())
}

/// Checks what was made of [`large`]: in a container of Azure the bytes of local finishing; in a bucket of Google the whole original
/// behind a new header.
fn assert_is_finished(store: &Store, result: &[u8]) {
    let original = fs::read(large()).unwrap();
    if store.bucket.starts_with("az:") {
        assert!(result == finished_locally(large(), "x.mp4"), "not as locally");
        return;
    }
    let header = result.strip_suffix(original.as_slice()).expect("the original is not behind the header");
    let boxes = [&b"ftyp"[..], b"moov", b"mdat"].map(|name| header.windows(4).position(|bytes| bytes == name));
    assert!(boxes.iter().all(Option::is_some) && boxes.is_sorted(), "{boxes:?}");
    assert_eq!(header[header.len() - 8..], (original.len() as u64 + 16).to_be_bytes(), "the size of the media box");
    let expected = packets_of(&finished_locally(large(), "x.mp4"));
    assert!(!expected.is_empty() && packets_of(result) == expected, "not the packets of local finishing");
}

fn a_header_last_mp4_is_finished_inside(store: &Store) {
    let line = Line::to(store.address);
    let sandbox = store.over(&line);
    let original = fs::read(large()).unwrap();
    put(&store.target, "old/live/x.mp4", original.clone());
    line.take();

    let url = store.below("old");
    let planned = process(&sandbox, &url, &["--dry-run"]).expect_code(0).json_lines();
    let plan = item(&planned, "old/live/x.mp4");
    let said = (&plan["state"], &plan["way"], &plan["to"]);
    assert_eq!(said, (&"planned".into(), &"inBucket".into(), &"old/live/x_1.mp4".into()));
    let only_reads = |line: &Line| {
        let requests = line.take();
        assert!(requests.iter().all(|(r, _)| r.starts_with("GET ") || r.starts_with("HEAD ")), "{requests:?}");
    };
    only_reads(&line);
    assert_eq!(keys(&store.target), ["old/live/x.mp4"]);

    let done = process(&sandbox, &url, &[]).expect_code(0).json_lines();
    assert_eq!(item(&done, "old/live/x.mp4")["state"], "finished", "{done:?}");
    let requests = line.take();
    let sent: usize = requests.iter().map(|(_, bytes)| bytes).sum();
    assert!(sent <= 8 << 20, "{sent} bytes were sent");
    let number = |name: &str| usize::try_from(plan["transferred"][name].as_u64().unwrap()).unwrap();
    // The list of parts has a body, too.
    let planned_bytes = number("sentBytes");
    assert!((planned_bytes..planned_bytes + 4096).contains(&sent), "{sent} bytes for {planned_bytes}");
    let asked = requests.iter().filter(|(request, _)| !is_list(request)).count();
    assert_eq!(asked, number("requests"), "{requests:#?}");
    assert_is_finished(store, &see(&store.target, "old/live/x_1.mp4").bytes);
    assert!(see(&store.target, "old/live/x.mp4").bytes == original);
    assert_eq!(see(&store.target, "old/live/x_1.mp4").content_type, "video/mp4");
    assert_eq!(keys(&store.target), ["old/live/x.mp4", "old/live/x_1.mp4"]);

    let again = process(&sandbox, &url, &[]).expect_code(0).json_lines();
    assert_eq!(item(&again, "old/live/x.mp4")["state"], "alreadyFinished", "{again:?}");
    assert_eq!(item(&again, "old/live/x_1.mp4")["state"], "complete", "{again:?}");
    only_reads(&line);
    // A node without the notes of the first one finds it by what it says of itself.
    let other = store.over(&line);
    let again = process(&other, &url, &[]).expect_code(0).json_lines();
    assert_eq!(item(&again, "old/live/x.mp4")["state"], "alreadyFinished", "{again:?}");
    only_reads(&line);
}

#[test]
fn a_header_last_mp4_is_finished_inside_a_container_of_azure() {
    a_header_last_mp4_is_finished_inside(&in_azure("inside"));
}

#[test]
fn a_header_last_mp4_is_finished_inside_a_bucket_of_google() {
    a_header_last_mp4_is_finished_inside(&in_google("inside"));
}

fn killed_at_every_request(store: &Store) {
    let line = Line::to(store.address);
    let original = fs::read(large()).unwrap();
    let held = |key: &str| keys(&store.target).contains(&key.to_owned()).then(|| see(&store.target, key).bytes);
    put(&store.target, "run0/x.mp4", original.clone());
    process(&store.over(&line), &store.below("run0"), &[]).expect_code(0);
    let expected = see(&store.target, "run0/x_1.mp4").bytes;
    assert_is_finished(store, &expected);
    let mut n = 0;
    loop {
        n += 1;
        let (url, key, result) = (store.below(&format!("run{n}")), format!("run{n}/x.mp4"), format!("run{n}/x_1.mp4"));
        put(&store.target, &key, original.clone());
        let sandbox = store.over(&line);
        let was_cut = killed_at(n, &line, &sandbox, &url);
        assert!(held(&key).is_some_and(|bytes| bytes == original), "{n}: the original is gone or another one");
        assert!(held(&result).is_none_or(|bytes| bytes == expected), "{n}: half an object under its final key");
        process(&sandbox, &url, &[]).expect_code(0);
        assert!(held(&key).is_some_and(|bytes| bytes == original), "{n}");
        assert!(held(&result).is_some_and(|bytes| bytes == expected), "{n}");
        if !was_cut {
            break;
        }
    }
    let _ = writeln!(std::io::stdout(), "{}: killed at each of {} requests", store.bucket, n - 1);
    assert!(n > 12, "only {n} requests");
    let all: Vec<_> = (0..=n).flat_map(|run| [format!("run{run}/x.mp4"), format!("run{run}/x_1.mp4")]).collect();
    let mut left = keys(&store.target);
    left.retain(|key| !all.contains(key));
    assert!(left.is_empty(), "{left:?} were left");
}

#[test]
fn killed_at_every_request_to_azure_neither_original_nor_result_is_missing() {
    killed_at_every_request(&in_azure("killed-inside"));
}

#[test]
fn killed_at_every_request_to_google_neither_original_nor_result_is_missing() {
    killed_at_every_request(&in_google("killed-inside"));
}

/// Does something once, right before the store gets the first request of a kind.
fn before_the_first(
    is_wanted: fn(&Request) -> bool,
    once: impl Fn() + Send + Sync + Clone + 'static,
) -> impl Fn(Request) -> OnTheWay + Send + Sync + Clone + 'static {
    let is_done = std::sync::Arc::new(AtomicBool::new(false));
    move |request| {
        if is_wanted(&request) && !is_done.swap(true, Ordering::SeqCst) {
            once();
        }
        OnTheWay::Forward(request)
    }
}

fn an_original_that_changes_meanwhile_is_refused(store: &Store) {
    let other = fs::read(made("mp4", 2)).unwrap();
    let (target, bytes) = (store.target.clone(), other.clone());
    let sandbox = store.house(before_the_first(store.is_copy, move || put(&target, "old/x.mp4", bytes.clone())));
    put(&store.target, "old/x.mp4", fs::read(large()).unwrap());
    let failed = process(&sandbox, &store.below("old"), &[]).expect_code(5).json_lines();
    let item = item(&failed, "old/x.mp4");
    assert!(item["message"].as_str().is_some_and(|m| m.contains("changed while it was processed")), "{item}");
    assert_eq!(keys(&store.target), ["old/x.mp4"], "nothing was made of it");
    assert!(see(&store.target, "old/x.mp4").bytes == other);
    let (way, to) = store.finish(&sandbox, "old/x.mp4");
    assert_eq!((way.as_str(), to.as_str()), ("inBucket", "old/x_1.mp4"));
    assert_eq!(packets_of(&see(&store.target, "old/x_1.mp4").bytes), packets(&made("mp4", 2)));
}

#[test]
fn an_original_in_azure_that_changes_meanwhile_is_refused() {
    an_original_that_changes_meanwhile_is_refused(&in_azure("changes"));
}

#[test]
fn an_original_at_google_that_changes_meanwhile_is_refused() {
    an_original_that_changes_meanwhile_is_refused(&in_google("changes"));
}

fn an_object_that_comes_meanwhile_is_not_replaced(store: &Store) {
    let target = store.target.clone();
    let come = move || put(&target, "old/x_1.mp4", b"of another program".to_vec());
    let sandbox = store.house(before_the_first(store.is_end, come));
    put(&store.target, "old/x.mp4", fs::read(large()).unwrap());
    let (way, to) = store.finish(&sandbox, "old/x.mp4");
    assert_eq!((way.as_str(), to.as_str()), ("inBucket", "old/x_2.mp4"));
    assert_eq!(see(&store.target, "old/x_1.mp4").bytes, b"of another program");
    assert_is_finished(store, &see(&store.target, "old/x_2.mp4").bytes);
    assert_eq!(keys(&store.target), ["old/x.mp4", "old/x_1.mp4", "old/x_2.mp4"]);
}

#[test]
fn an_object_that_comes_meanwhile_in_azure_is_not_replaced() {
    an_object_that_comes_meanwhile_is_not_replaced(&in_azure("comes"));
}

#[test]
fn an_object_that_comes_meanwhile_at_google_is_not_replaced() {
    an_object_that_comes_meanwhile_is_not_replaced(&in_google("comes"));
}

/// What a store refuses to put together is finished in scratch space, and that is said.
fn a_refusal_leads_through_scratch_space(store: &Store, refusal: &Response) {
    let (is_copy, refusal) = (store.is_copy, refusal.clone());
    let sandbox =
        store.house(
            move |request| {
                if is_copy(&request) { OnTheWay::Answer(refusal.clone()) } else { OnTheWay::Forward(request) }
            },
        );
    put(&store.target, "old/x.mp4", fs::read(large()).unwrap());
    let run = process(&sandbox, &store.below("old"), &[]).expect_code(0);
    assert!(run.err.contains("the store does not copy this object itself"), "{}", run.err);
    let lines = run.json_lines();
    let item = item(&lines, "old/x.mp4");
    assert_eq!((&item["state"], &item["way"]), (&"finished".into(), &"scratch".into()), "{item}");
    assert_eq!(keys(&store.target), ["old/x.mp4", "old/x_1.mp4"]);
    assert_eq!(packets_of(&see(&store.target, "old/x_1.mp4").bytes), packets(large()));
}

#[test]
fn what_azure_does_not_copy_goes_through_scratch_space() {
    // What the service says if it may not read the source, or does not find it from where it is.
    for (n, status) in [403, 404].into_iter().enumerate() {
        let refusal =
            Response::error(status, "CannotVerifyCopySource").with("x-ms-error-code", "CannotVerifyCopySource");
        a_refusal_leads_through_scratch_space(&in_azure(&format!("no-copies-{n}")), &refusal);
    }
}

#[test]
fn what_google_does_not_put_together_goes_through_scratch_space() {
    for (status, code) in [(501, "NotImplemented"), (400, "InvalidArgument")] {
        a_refusal_leads_through_scratch_space(&in_google("no-compose"), &Response::error(status, code));
    }
}

#[test]
fn a_store_without_generations_is_not_asked_to_compose() {
    let store = in_google("plain");
    let sandbox = store.house(|request| {
        assert!(request.query("compose").is_none(), "{request:?}");
        OnTheWay::Forward(request)
    });
    put(&store.target, "old/x.mp4", fs::read(made("mp4", 2)).unwrap());
    assert_eq!(store.finish(&sandbox, "old/x.mp4"), ("scratch".into(), "old/x_1.mp4".into()));
    assert_eq!(packets_of(&see(&store.target, "old/x_1.mp4").bytes), packets(&made("mp4", 2)));
}

/// What was put together of other bytes is removed again.
fn other_bytes_are_found_out(store: &Store, sandbox: &Sandbox) {
    let original = fs::read(large()).unwrap();
    put(&store.target, "old/x.mp4", original.clone());
    let failed = process(sandbox, &store.below("old"), &[]).expect_code(4).json_lines();
    let item = item(&failed, "old/x.mp4");
    assert!(item["message"].as_str().is_some_and(|m| m.contains("differs from what was planned")), "{item}");
    assert_eq!(keys(&store.target), ["old/x.mp4"], "the wrong object is removed");
    assert!(see(&store.target, "old/x.mp4").bytes == original);
}

#[test]
fn azure_copying_other_bytes_is_found_out_and_the_original_stays() {
    let server = azure();
    // A shared access signature covers no headers.
    let store = Store { target: server.signed_for("wrong-copies", "rwdlc"), ..in_azure("wrong-copies-besides") };
    let store = Store { bucket: "az://wrong-copies".into(), ..store };
    let sandbox = store.house(|mut request| {
        let range = request.headers.iter_mut().find(|(name, _)| name == "x-ms-source-range");
        if let Some((_, range)) = range {
            let numbers: Vec<u64> = range.trim_start_matches("bytes=").split('-').map(|n| n.parse().unwrap()).collect();
            *range = format!("bytes={}-{}", numbers[0] - 1, numbers[1] - 1);
        }
        OnTheWay::Forward(request)
    });
    other_bytes_are_found_out(&store, &sandbox);
}

#[test]
fn google_putting_other_bytes_together_is_found_out_by_the_checksum() {
    let store = in_google("wrong-order");
    let sandbox = store.house(|mut request| {
        if request.query("compose").is_some() {
            let said = String::from_utf8(request.body.clone()).unwrap();
            let inner = said.trim_start_matches("<ComposeRequest>").trim_end_matches("</ComposeRequest>");
            let (first, second) = inner.split_once("</Component>").unwrap();
            request.body = format!("<ComposeRequest>{second}{first}</Component></ComposeRequest>").into_bytes();
            let length = request.body.len().to_string();
            request.headers.retain(|(name, _)| name != "content-length");
            request.headers.push(("content-length".into(), length));
        }
        OnTheWay::Forward(request)
    });
    other_bytes_are_found_out(&store, &sandbox);
}

#[test]
fn a_shared_access_signature_lets_azure_read_the_source() {
    let server = azure();
    let store = in_azure("signed-besides");
    let store = Store { target: server.signed_for("signed", "rwdlc"), bucket: "az://signed".into(), ..store };
    let sandbox = store.house(OnTheWay::Forward);
    put(&store.target, "old/x.mp4", fs::read(large()).unwrap());
    assert_eq!(store.finish(&sandbox, "old/x.mp4").0, "inBucket");
    assert_is_finished(&store, &see(&store.target, "old/x_1.mp4").bytes);
}

#[test]
fn the_token_of_an_identity_lets_azure_read_the_source() {
    let server = azure();
    let signed = server.signed_for("token", "rwdlc");
    let signature = fs::read_to_string(&signed.credential_files["sas"]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut target = server.target("token");
    target.credential_files.insert("token".into(), secret(directory.path(), "token", "hush"));
    let store = Store { target, bucket: "az://token".into(), ..in_azure("token-besides") };
    // The emulator knows no tokens over HTTP: each is exchanged for a signature that may do the same.
    let sandbox = store.house(move |mut request| {
        let is_told = |name| request.header(name) == Some("Bearer hush");
        if !is_told("authorization") {
            return OnTheWay::Answer(Response::error(401, "NoAuthenticationInformation"));
        }
        let may_read = is_told("x-ms-copy-source-authorization");
        request.headers.retain(|(name, _)| !name.ends_with("authorization"));
        let mark = if request.target.contains('?') { '&' } else { '?' };
        request.target = format!("{}{mark}{signature}", request.target);
        let source = request.headers.iter_mut().find(|(name, _)| name == "x-ms-copy-source");
        if let Some((_, source)) = source.filter(|_| may_read) {
            *source = format!("{source}?{signature}");
        }
        OnTheWay::Forward(request)
    });
    put(&signed, "old/x.mp4", fs::read(large()).unwrap());
    assert_eq!(store.finish(&sandbox, "old/x.mp4").0, "inBucket");
    assert_is_finished(&store, &see(&signed, "old/x_1.mp4").bytes);
}

/// Signatures and paths hold names in different forms.
fn any_name_is_copied(store: &Store) {
    let sandbox = store.house(OnTheWay::Forward);
    put(&store.target, "old/Küche & Bad+1 (50%).mp4", fs::read(made("mp4", 2)).unwrap());
    let (way, to) = store.finish(&sandbox, "old/Küche & Bad+1 (50%).mp4");
    assert_eq!((way.as_str(), to.as_str()), ("inBucket", "old/Küche & Bad+1 (50%)_1.mp4"));
    assert_eq!(packets_of(&see(&store.target, &to).bytes), packets(&made("mp4", 2)));
}

#[test]
fn any_name_is_copied_in_azure() {
    any_name_is_copied(&in_azure("names"));
}

#[test]
fn any_name_is_put_together_at_google() {
    any_name_is_copied(&in_google("names"));
}

#[test]
fn fragments_become_one_movie_at_google_with_the_bytes_of_local_finishing() {
    let store = in_google("fragments");
    let source = made("mp4-fragmented", 6);
    put(&store.target, "old/x.mp4", fs::read(&source).unwrap());
    let sandbox = store.house(OnTheWay::Forward);
    assert_eq!(store.finish(&sandbox, "old/x.mp4").0, "inBucket");
    assert!(see(&store.target, "old/x_1.mp4").bytes == finished_locally(&source, "x.mp4"), "not as locally");
}

#[test]
fn a_temporary_header_that_was_left_is_removed_and_a_new_one_is_not() {
    let name = "old/.aftercast-made00112233445566778899aabbccdd.header";
    for (store, is_left) in [(in_google("aged"), false), (in_google("new"), true), (in_azure("new"), true)] {
        put(&store.target, name, b"header".to_vec());
        let sandbox = store.house(OnTheWay::Forward);
        process(&sandbox, &store.below("old"), &["--dry-run"]).expect_code(0);
        assert_eq!(keys(&store.target), [name], "a dry run removed it");
        let done = process(&sandbox, &store.below("old"), &[]).expect_code(0).json_lines();
        assert_eq!(done.last().unwrap()["leftAlone"], 1, "{done:?}");
        assert_eq!(keys(&store.target).is_empty(), !is_left, "{}", store.bucket);
    }
}
