//! `watch` under a memory limit: every recording is finished or quarantined, and nothing is begun again and again.
//!
//! `TEST_RECORDINGS` (24) and `TEST_RECORDING_BYTES` (16 MB) make the measure larger; `scripts/prove-memory`
//! does so with 200 of 100 MB.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fuzz::{Numbers, changed};
use crate::support::daemon::PATIENCE;
use crate::support::limited::Limited;
use crate::support::recordings::{ffmpeg, made, without_moov};
use crate::support::stores::s3;
use crate::support::{Sandbox, config_with_targets, standard_config};

const LIMIT_BYTES: u64 = 256 << 20;

fn asked_for(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

/// Recordings of about so many bytes, one of each kind, made by repeating a short one.
fn large_ones(sandbox: &Sandbox, bytes: u64) -> Vec<PathBuf> {
    let clip = made("mp4", 2);
    let make = |name: &str, more: &[&str]| {
        let path = sandbox.path().join(name);
        let limit = bytes.to_string();
        let mut args = vec!["-stream_loop", "-1", "-i", clip.to_str().unwrap(), "-c", "copy", "-fs", &limit];
        args.extend(more);
        args.push(path.to_str().unwrap());
        ffmpeg(&args);
        path
    };
    let last = make("last.mp4", &[]);
    let crashed = without_moov(&last);
    let fragmented = make("fragmented.mp4", &["-movflags", "frag_keyframe+empty_moov"]);
    vec![last, crashed, fragmented, make("live.flv", &[]), make("live.ts", &[]), make("live.mkv", &[])]
}

/// Fills the root: so many large ones, and small ones whose bytes were changed by chance.
fn fill(sandbox: &Sandbox, count: u64, bytes: u64) -> BTreeSet<PathBuf> {
    let large = large_ones(sandbox, bytes);
    let mut put = BTreeSet::new();
    for (n, from) in (0..count).zip(large.iter().cycle()) {
        put.insert(sandbox.put(from, &format!("large{n}.{}", from.extension().unwrap().to_str().unwrap())));
    }
    for path in &large {
        fs::remove_file(path).unwrap();
    }
    let mut numbers = Numbers(7);
    for recipe in ["mp4", "mp4-fragmented", "flv", "ts", "mkv", "webm"] {
        let seed = made(recipe, 2);
        let bytes = fs::read(&seed).unwrap();
        for n in 0..count / 4 {
            let path =
                sandbox.root().join(format!("{recipe}-changed{n}.{}", seed.extension().unwrap().to_str().unwrap()));
            fs::write(&path, changed(&bytes, &mut numbers)).unwrap();
            put.insert(path);
        }
    }
    put
}

/// What a command of a daemon that may be starting just now says; nothing while it has no socket.
fn lines(sandbox: &Sandbox, args: &[&str]) -> Option<Vec<serde_json::Value>> {
    let run = sandbox.run(args);
    (run.code() == 0).then(|| run.json_lines())
}

/// Sources that have come to an end: a record, or a place in the list of what is left.
fn ended(sandbox: &Sandbox) -> BTreeSet<PathBuf> {
    let path = |value: &serde_json::Value| value.as_str().map(PathBuf::from);
    let vods = lines(sandbox, &["--json", "vod", "list", "--limit", "100000"]).unwrap_or_default();
    let finished = vods.into_iter().filter_map(|vod| path(&vod["sourcePath"]));
    let listed = lines(sandbox, &["--json", "queue", "list"]).unwrap_or_default();
    let stopped = listed.iter().filter(|line| line["state"] == "quarantined" || line["state"] == "failed");
    finished.chain(stopped.filter_map(|line| path(&line["path"]))).collect()
}

/// A service manager: starts the daemon again whenever it ends.
struct Service<'a> {
    sandbox: &'a Sandbox,
    limit: &'a Limited,
    child: Child,
    starts: u32,
}

impl<'a> Service<'a> {
    fn start(sandbox: &'a Sandbox, limit: &'a Limited) -> Self {
        Self { sandbox, limit, child: Self::spawn(sandbox, limit), starts: 1 }
    }

    fn spawn(sandbox: &Sandbox, limit: &Limited) -> Child {
        let log = fs::File::options().create(true).append(true).open(sandbox.path().join("daemon.log")).unwrap();
        let mut command = limit.wrap(&sandbox.command(&["watch"]));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    /// Until something holds; a daemon that ended is started again, at most `most` times in all.
    #[track_caller]
    fn until(&mut self, what: &str, most: u32, patience: Duration, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < patience, "{what}: {}", self.log());
            if self.child.try_wait().unwrap().is_some() {
                self.starts += 1;
                assert!(self.starts <= most, "started {} times: {}", self.starts, self.log());
                self.child = Self::spawn(self.sandbox, self.limit);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.sandbox.path().join("daemon.log")).unwrap_or_default()
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn is_whole(path: &Path) -> bool {
    let run = Command::new("ffprobe").args(["-v", "error", "-show_entries", "format=nb_streams"]).arg(path).output();
    run.unwrap().status.success()
}

#[test]
fn under_a_memory_limit_everything_is_finished_or_quarantined_and_nothing_is_begun_again_and_again() {
    let server = s3();
    let target = server.bucket("limited");
    let sandbox =
        Sandbox::with_config(|dir| config_with_targets(dir, &[&target], "[retain]\ndelete_local = \"never\""));
    let count = asked_for("TEST_RECORDINGS", 24);
    let put = fill(&sandbox, count, asked_for("TEST_RECORDING_BYTES", 16_000_000));
    let limit = Limited::to(LIMIT_BYTES);
    let mut service = Service::start(&sandbox, &limit);
    let patience = PATIENCE * (4 + u32::try_from(count).unwrap());
    service.until("everything ends", 3, patience, || ended(&sandbox).is_superset(&put));
    let vods = sandbox.vods();
    let is_large = |vod: &&serde_json::Value| vod["sourcePath"].as_str().unwrap().contains("/large");
    let large: Vec<_> = vods.iter().filter(is_large).collect();
    assert_eq!(large.len() as u64, count, "what is sound is finished, not quarantined: {}", service.log());
    assert!(large.iter().all(|vod| is_whole(Path::new(vod["filePath"].as_str().unwrap()))));
    let is_delivered =
        || lines(&sandbox, &["--json", "queue", "list"]).is_some_and(|all| all.iter().all(|l| l["delivery"].is_null()));
    service.until("everything is delivered", 3, patience, is_delivered);
    assert_eq!((service.starts, limit.kills().unwrap_or(0)), (1, 0), "{}", service.log());
    let (all, peak) = (put.len(), limit.peak_bytes());
    let _ =
        writeln!(std::io::stderr(), "{all} recordings, {count} of them large; peak with file pages: {peak:?} bytes");
}

/// A daemon by itself runs in 8 MiB, with FFmpeg's libraries it needs 16: there each attempt ends the process.
#[test]
fn an_attempt_that_the_kernel_kills_for_memory_is_made_twice_and_then_quarantined() {
    let killed = [16, 14, 12, 10, 8].into_iter().any(|mib| is_killed_twice_in(mib << 20));
    assert!(killed, "no limit was too small for FFmpeg");
}

/// Whether a transport stream was quarantined because the process died of it; `false` if it was finished.
fn is_killed_twice_in(bytes: u64) -> bool {
    let limit = Limited::to(bytes);
    if limit.kills().is_none() {
        let _ = writeln!(std::io::stderr(), "skipped: only a control group kills, and none can be made here");
        return true;
    }
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, ""));
    let hungry = sandbox.put(&made("ts", 2), "b.ts");
    let before = fs::read(&hungry).unwrap();
    let mut service = Service::start(&sandbox, &limit);
    service.until("it ends", 4, PATIENCE * 4, || ended(&sandbox).contains(&hungry));
    if sandbox.vods().len() == 1 {
        return false;
    }
    let listed = sandbox.run(&["--json", "queue", "list"]).expect_code(0).json_lines();
    let entry = listed.iter().find(|line| line["path"] == hungry.to_str().unwrap()).unwrap();
    assert_eq!(entry["step"]["step"], "quarantined", "{entry}");
    assert_eq!(entry["step"]["defects"][0]["kind"], "kills_the_process", "{entry}");
    assert_eq!(entry["step"]["defects"][0]["attempts"], 2, "{entry}");
    assert_eq!((limit.kills(), service.starts), (Some(2), 3), "{}", service.log());
    assert_eq!(fs::read(&hungry).unwrap(), before);
    true
}
