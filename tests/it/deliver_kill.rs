//! Uploads in parts that are killed at any point are continued by the next process: nothing is left open in the store, and
//! no more is sent again than was on the way.
//!
//! The process that is killed is this test binary itself, which runs [`uploads_for_the_parent`] alone.
//!
//! `AFTERCAST_TEST_KILLS` says how often uploads to each store are killed at a random moment (`scripts/kill-uploads`).

use std::io::Write as _;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aftercast::catalog::Catalog;
use aftercast::deliver::TargetOptions;
use aftercast::durable;
use aftercast::recording::Fingerprint;
use aftercast::stop::Stop;

use crate::support::assets::{MIB, asset, targets, write_noise};
use crate::support::google::google;
use crate::support::stores::{azure, gcs, s3};
use crate::support::tap::Tap;

const PARTS: usize = 8;
/// Parts on the way at once, by default.
const IN_FLIGHT: usize = 4;
/// Kills of one upload at random moments.
const KILLS_MAX: usize = 3;

/// When an upload is killed.
#[derive(Clone, Copy)]
enum Kill {
    /// After so many part requests.
    Parts(usize),
    /// After so many milliseconds, unless it has ended before.
    Ms(u64),
}

/// What the child needs to know travels in its environment.
fn child(home: &Path, options: &TargetOptions) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "deliver_kill::uploads_for_the_parent", "--nocapture"]);
    command.env("AFTERCAST_TEST_HOME", home).env("AFTERCAST_TEST_URL", &options.url);
    command.env("AFTERCAST_TEST_ENDPOINT", options.endpoint.as_deref().unwrap_or_default());
    let files: Vec<_> = options.credential_files.iter().map(|(k, v)| format!("{k}={}", v.display())).collect();
    command.env("AFTERCAST_TEST_CREDENTIALS", files.join("\n"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command
}

#[test]
fn uploads_for_the_parent() {
    let Some(home) = std::env::var_os("AFTERCAST_TEST_HOME") else { return };
    let home = Path::new(&home);
    let text = |name| std::env::var(name).unwrap();
    let mut options = TargetOptions::new("cloud", &text("AFTERCAST_TEST_URL"));
    options.endpoint = Some(text("AFTERCAST_TEST_ENDPOINT")).filter(|e| !e.is_empty());
    // Slow enough to be killed in any part.
    options.bandwidth = Some(aftercast::deliver::Bandwidth::parse("96M").unwrap());
    for line in text("AFTERCAST_TEST_CREDENTIALS").lines() {
        let (name, path) = line.split_once('=').unwrap();
        options.credential_files.insert(name.into(), path.into());
    }
    let catalog = Catalog::open(&home.join("state")).unwrap();
    let asset = asset(&home.join("root"), "id", &["x.mp4"]);
    let targets = targets(options);
    targets.upload("cloud", &asset, "2026-03-04", &Stop::default(), &|_| {}, &catalog).unwrap();
    std::fs::write(home.join("done"), "").unwrap();
}

/// Kills the upload several times; then lets it end. Returns how many parts were sent, and how often it was killed.
fn kill_and_continue(
    options: &TargetOptions,
    tap: &Tap,
    is_part: impl Fn(&str) -> bool,
    kills: &[Kill],
) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    write_noise(&dir.path().join("root"), "x.mp4", PARTS * 8 * MIB - 5, 1);
    let (mut sent, mut killed) = (0, 0);
    for kill in kills {
        let mut running: Child = child(dir.path(), options).spawn().unwrap();
        let (begun, mut seen) = (Instant::now(), 0);
        let is_time = |seen: usize| match kill {
            Kill::Parts(parts) => seen >= *parts,
            Kill::Ms(ms) => begun.elapsed() >= Duration::from_millis(*ms),
        };
        while !is_time(seen) && running.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            seen += tap.take().iter().filter(|line| is_part(line)).count();
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = running.kill();
        killed += usize::from(running.wait().unwrap().signal() == Some(9));
        sent += seen + tap.take().iter().filter(|line| is_part(line)).count();
    }
    let ended = child(dir.path(), options).status().unwrap();
    assert!(ended.success() && dir.path().join("done").exists());
    let seen: Fingerprint = durable::fingerprint(&dir.path().join("root/x.mp4")).unwrap();
    let catalog = Catalog::open(&dir.path().join("state")).unwrap();
    let targets = targets(options.clone());
    let held = targets.head("cloud", "pre/x.mp4").unwrap().unwrap();
    assert_eq!(held.size_bytes, seen.size_bytes);
    // Somebody else would see an upload that is open, our own ledger hidden.
    let open = targets.open_uploads("cloud", &aftercast::deliver::NullLedger);
    assert_eq!(open.unwrap_or_default(), [], "an upload is left open");
    let object = targets
        .upload(
            "cloud",
            &asset(&dir.path().join("root"), "id", &["x.mp4"]),
            "2026-03-04",
            &Stop::default(),
            &|_| {},
            &catalog,
        )
        .unwrap()
        .remove(0);
    assert!(object.checksum_compared, "{object:?}");
    assert_eq!(targets.verify(&object, true, &Stop::default()).unwrap(), None);
    (sent + tap.take().iter().filter(|line| is_part(line)).count(), killed)
}

fn assert_little_is_sent_again((parts, killed): (usize, usize)) {
    let most = PARTS + killed * IN_FLIGHT;
    assert!((PARTS..=most).contains(&parts), "{parts} parts were sent for {PARTS}, killed {killed} times");
}

fn is_part(line: &str) -> bool {
    line.starts_with("PUT ") && (line.contains("partNumber=") || line.contains("comp=block&"))
}

/// Kills uploads at moments that follow from a seed until there were enough.
fn kill_at_random(options: &TargetOptions, tap: &Tap, wanted: usize, seed: &str) {
    let (mut killed, mut uploads) = (0, 0);
    while killed < wanted {
        let moments = (0..KILLS_MAX.min(wanted - killed)).map(|n| {
            let digest = blake3::hash(format!("{seed} {uploads} {n}").as_bytes());
            Kill::Ms(u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap()) % 900)
        });
        let ended = kill_and_continue(options, tap, is_part, &moments.collect::<Vec<_>>());
        assert_little_is_sent_again(ended);
        targets(options.clone()).delete("cloud", "pre/x.mp4").unwrap();
        (killed, uploads) = (killed + ended.1, uploads + 1);
        assert!(uploads <= 20 + wanted * 3, "hardly any upload is killed");
    }
    let _ = writeln!(std::io::stdout(), "{seed}: {killed} kills in {uploads} uploads");
}

fn wanted_kills() -> usize {
    std::env::var("AFTERCAST_TEST_KILLS").map_or(1, |n| n.parse().expect("AFTERCAST_TEST_KILLS is a number"))
}

#[test]
fn uploads_to_s3_end_wherever_they_are_killed() {
    let server = s3();
    let tap = Tap::on(server.address());
    let options = TargetOptions { endpoint: Some(format!("http://{}", tap.address)), ..server.bucket("random") };
    kill_at_random(&options, &tap, wanted_kills(), "s3");
}

#[test]
fn uploads_to_azure_end_wherever_they_are_killed() {
    let server = azure();
    let tap = Tap::on(server.address());
    let endpoint = format!("http://{}/devstoreaccount1", tap.address);
    let options = TargetOptions { endpoint: Some(endpoint), ..server.container("random") };
    kill_at_random(&options, &tap, wanted_kills(), "azure");
}

#[test]
fn uploads_to_google_end_wherever_they_are_killed() {
    let server = google();
    let tap = Tap::on(server.address);
    let options = TargetOptions { endpoint: Some(format!("http://{}", tap.address)), ..server.bucket("random") };
    kill_at_random(&options, &tap, wanted_kills(), "google");
}

#[test]
fn killed_uploads_to_s3_are_continued() {
    let server = s3();
    let bucket = server.bucket("killed");
    for after in [[1, 3, 2], [4, 2, 5]].map(|after| after.map(Kill::Parts)) {
        let tap = Tap::on(server.address());
        let options = TargetOptions { endpoint: Some(format!("http://{}", tap.address)), ..bucket.clone() };
        assert_little_is_sent_again(kill_and_continue(&options, &tap, is_part, &after));
        targets(options).delete("cloud", "pre/x.mp4").unwrap();
    }
}

#[test]
fn killed_uploads_to_azure_are_continued_and_their_proof_survives() {
    let server = azure();
    let container = server.container("killed");
    let tap = Tap::on(server.address());
    let endpoint = format!("http://{}/devstoreaccount1", tap.address);
    let options = TargetOptions { endpoint: Some(endpoint), ..container };
    assert_little_is_sent_again(kill_and_continue(&options, &tap, is_part, &[1, 3, 2].map(Kill::Parts)));
}

#[test]
fn killed_uploads_to_google_are_continued() {
    let server = gcs();
    let bucket = server.bucket("killed");
    let tap = Tap::on(server.address());
    let options = TargetOptions { endpoint: Some(format!("http://{}", tap.address)), ..bucket };
    assert_little_is_sent_again(kill_and_continue(&options, &tap, is_part, &[2, 1, 3].map(Kill::Parts)));
}
