//! Clips of recordings that were freed locally: the same bytes as before, read by ranges from the store; a store that is away, that refuses,
//! or that holds another object by now is a clear answer.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use aftercast::deliver::TargetOptions;
use serde_json::Value;

use super::clips::{NAME, PlaybackReply, Playing, START_MS, target};
use crate::support::clients::put;
use crate::support::http::{Request, Response as Refusal};
use crate::support::recordings::made;
use crate::support::stores::s3;
use crate::support::unruly::{Mischief, Unruly, refusing};
use crate::support::{Sandbox, config_with_targets, standard_config};

const SPANS: [(f64, f64); 4] = [(0.0, 2.0), (3.41, 7.25), (6.99, 7.01), (9.0, 14.0)];
const FREEING: &str = "[retain]\ndelete_local = \"delivered\"\n";

fn with_server(config: &str) -> String {
    config.replace("[watch]\n", "[watch]\nserver = \"mediamtx\"\n")
}

fn house_with(target: &TargetOptions) -> Sandbox {
    Sandbox::with_config(|dir| with_server(&config_with_targets(dir, &[target], "")))
}

/// Two recordings that follow one another, delivered and still local.
fn deliver(sandbox: &Sandbox) {
    sandbox.put(&made("mp4", 12), &format!("cam/{NAME}.mp4"));
    sandbox.put(&made("mp4", 4), "cam/2026-03-04_14-30-27-200000.mp4");
    sandbox.process().expect_code(0);
}

/// Puts a configuration in force that frees, and frees.
fn free(sandbox: &Sandbox, config: &str) {
    let config = format!("{}\n[serve]\nlisten = \"off\"\n", with_server(config));
    fs::write(sandbox.path().join("config.toml"), config).unwrap();
    sandbox.run(&["retain"]).expect_code(0);
    let vods = sandbox.vods();
    let is_freed = |vod: &Value| vod["freedAt"].is_i64() && !Path::new(vod["filePath"].as_str().unwrap()).exists();
    assert!(vods.len() == 2 && vods.iter().all(is_freed), "{vods:?}");
}

/// Every clip of both formats.
fn clips(playing: &Playing) -> Vec<(String, PlaybackReply)> {
    let targets = SPANS.into_iter().flat_map(|span| ["mp4", "fmp4"].map(|format| target("cam", span, format)));
    targets.map(|target| (target.clone(), playing.get(&target))).collect()
}

/// Compares clips of local files with those of their copies.
fn compare(sandbox: Sandbox, freeing: &str) -> Playing {
    deliver(&sandbox);
    let local = Playing::new(sandbox);
    let before = clips(&local);
    let sandbox = local.end();
    free(&sandbox, freeing);
    let playing = Playing::new(sandbox);
    for ((target, before), (_, after)) in before.iter().zip(clips(&playing)) {
        assert_eq!((before.status, after.status), (200, 200), "{target}: {}", String::from_utf8_lossy(&after.body));
        assert!(before.body == after.body, "{target}: {} and {} bytes", before.body.len(), after.body.len());
    }
    let whole = &before[2];
    let mut joined = Vec::new();
    while joined.len() < whole.1.body.len() {
        let range = format!("bytes={}-{}", joined.len(), joined.len() + 50_006);
        let piece = playing.ask("GET", &whole.0, &[("range", &range)]);
        assert_eq!(piece.status, 206);
        joined.extend(piece.body);
    }
    assert!(joined == whole.1.body, "pieces are not the whole");
    let head = playing.ask("HEAD", &whole.0, &[]);
    let length = whole.1.body.len().to_string();
    assert_eq!((head.status, head.header("content-length")), (200, Some(&length[..])));
    let get = "/get?path=cam&start=2026-03-04T14:30:16Z&duration=5";
    let got = playing.get(get);
    assert_eq!((got.status, &got.body[4..8]), (200, &b"ftyp"[..]), "{get}");
    let timeline = playing.get("/api/v1/streams/cam/timeline").json();
    let spans = timeline["spans"].as_array().unwrap();
    assert!(spans.iter().all(|span| span["isClippable"] == true) && spans[0]["startMs"] == START_MS, "{timeline}");
    playing
}

fn refused(answer: &PlaybackReply, status: u16, class: &str, words: &str) {
    let said = answer.json();
    assert_eq!((answer.status, &said["class"]), (status, &Value::from(class)), "{said}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert!(said.to_string().contains(words) && said["nextStep"].is_string(), "{said}");
}

#[test]
fn clips_of_freed_recordings_are_read_from_a_directory() {
    let sandbox = Sandbox::with_config(|dir| with_server(&standard_config(dir, "")));
    let freeing = standard_config(sandbox.path(), FREEING);
    let playing = compare(sandbox, &freeing);
    let copy = playing.sandbox.store().join(format!("cam/{NAME}.mp4"));
    let mut other = fs::read(&copy).unwrap();
    let end = other.len() - 1;
    other[end] ^= 1;
    fs::write(&copy, &other).unwrap();
    let sandbox = playing.end();
    let playing = Playing::new(sandbox);
    refused(&playing.get(&target("cam", (0.0, 2.0), "mp4")), 502, "permanent", "is not the copy that was proven");
    fs::remove_file(&copy).unwrap();
    let sandbox = playing.end();
    let playing = Playing::new(sandbox);
    refused(&playing.get(&target("cam", (0.0, 2.0), "mp4")), 502, "permanent", "it is missing");
    playing.sandbox.run(&["vod", "verify"]);
    let answer = playing.get(&target("cam", (0.0, 2.0), "mp4"));
    refused(&answer, 422, "permanent", "no target has a proven copy");
    let timeline = playing.get("/api/v1/streams/cam/timeline").json();
    assert_eq!(timeline["spans"][0]["isClippable"], false, "{timeline}");
}

#[test]
fn clips_of_freed_recordings_are_read_from_a_bucket() {
    let server = s3();
    let options = server.bucket("clips");
    let sandbox = house_with(&options);
    let freeing = config_with_targets(sandbox.path(), &[&options], FREEING);
    let playing = compare(sandbox, &freeing);
    // As long as the one before, and of another recording.
    let key = format!("pre/cam/{NAME}.mp4");
    let mut other = crate::support::clients::see(&options, &key).bytes;
    let end = other.len() - 1;
    other[end] ^= 1;
    put(&options, &key, other);
    let playing = Playing::new(playing.end());
    let answer = playing.get(&target("cam", (0.0, 2.0), "mp4"));
    refused(&answer, 502, "permanent", "is not the copy that was proven");
}

/// What the store does to those who read.
fn mischief(now: &AtomicU8, request: &Request) -> Option<Mischief> {
    let is_read = request.method == "GET" && request.path().contains("/cam/");
    match now.load(Ordering::Relaxed) {
        1 if is_read => Some(Mischief::InternalError),
        // The condition was ignored, and what came is of another object.
        2 if is_read => Some(Mischief::WrongEtag),
        3 => Some(Mischief::AnswerLost),
        _ => None,
    }
}

#[test]
fn a_store_that_cannot_be_read_is_said_before_the_first_byte() {
    let server = s3();
    let honest = server.bucket("clips-away");
    let now = Arc::new(AtomicU8::new(0));
    let choice = Arc::clone(&now);
    let proxy = Unruly::on(server.address(), move |request| mischief(&choice, request));
    let through = |address| TargetOptions { endpoint: Some(format!("http://{address}")), ..honest.clone() };
    let sandbox = house_with(&through(proxy.address));
    deliver(&sandbox);
    free(&sandbox, &config_with_targets(sandbox.path(), &[&through(proxy.address)], FREEING));
    let span = target("cam", (0.0, 2.0), "mp4");
    let mut sandbox = sandbox;
    for (does, words) in
        [(1, "not on the local disk"), (3, "not on the local disk"), (2, "changed while the clip was made")]
    {
        now.store(does, Ordering::Relaxed);
        let playing = Playing::new(sandbox);
        refused(&playing.get(&span), 503, "transient", words);
        now.store(0, Ordering::Relaxed);
        assert_eq!(playing.get(&span).status, 200, "{does}: it is back");
        sandbox = playing.end();
    }

    let refuses = |request: &Request| {
        let is_read = request.method == "GET" && request.path().contains("/cam/");
        is_read.then(|| Refusal::error(403, "AccessDenied"))
    };
    let refusing = through(refusing(server.address(), refuses));
    free(&sandbox, &config_with_targets(sandbox.path(), &[&refusing], FREEING));
    let playing = Playing::new(sandbox);
    refused(&playing.get(&span), 502, "environment", "s3:GetObject");
}
