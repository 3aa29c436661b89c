//! A target that is another view of the root: the local file would be taken for its own copy, and freeing it would lose it.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aftercast::deliver::{TargetOptions, VisibleRoot};
use aftercast::stop::Stop;

use crate::support::assets::{MemoryLedger, targets};
use crate::support::daemon::{Daemon, until};
use crate::support::http::{Request, Response, forward, read_request, reply, serve};
use crate::support::recordings::padded;
use crate::support::stores::{azure, gcs, keys_in, rclone_serving, s3, secret};
use crate::support::unruly::refusing;
use crate::support::{Sandbox, config_with_targets, standard_config};

const FREED: &str = "[retain]\ndelete_local = \"delivered\"";

fn probes(directory: &Path) -> usize {
    let is_probe = |name: &str| name.starts_with(".aftercast-probe");
    fs::read_dir(directory).unwrap().filter(|e| is_probe(&e.as_ref().unwrap().file_name().to_string_lossy())).count()
}

/// A gateway that serves the house's directory: each directory in it is a bucket.
struct Gateway {
    child: Child,
    target: TargetOptions,
}

impl Gateway {
    fn serving(sandbox: &Path, bucket: &str) -> Self {
        let (child, address) = rclone_serving(sandbox);
        let mut target = TargetOptions::new("gateway", &format!("s3://{bucket}"));
        target.endpoint = Some(format!("http://{address}"));
        for name in ["access_key_id", "secret_access_key"] {
            target.credential_files.insert(name.into(), secret(sandbox, name, "anything"));
        }
        Self { child, target }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a house says and keeps whose target shows its root.
fn a_view_frees_nothing(sandbox: &Sandbox, target: &str) {
    let (local, bytes) = (sandbox.root().join("take.mp4"), padded("take", 0));
    fs::write(&local, &bytes).unwrap();
    let said = sandbox.process();
    assert_eq!(fs::read(&local).unwrap(), bytes, "{}", said.err);
    let again = sandbox.run(&["retain"]);
    assert_eq!(fs::read(&local).unwrap(), bytes, "{}", again.err);
    let root = sandbox.root().display().to_string();
    let is_told = |line: &str| line.contains("ERROR") && line.contains(target) && line.contains(&root);
    let words = "another view of the recording directory";
    assert!(said.err.lines().any(|line| is_told(line) && line.contains(words)), "{}", said.err);
    let plan = sandbox.run(&["retain", "--dry-run"]).expect_code(0);
    assert!(plan.out.contains("is another view of"), "{}", plan.out);
    let queue = sandbox.run(&["queue", "list"]).expect_code(0);
    assert!(queue.out.contains("not freed") && queue.out.contains("is another view of"), "{}", queue.out);
    let doctor = sandbox.run(&["doctor"]).expect_code(5);
    assert!(doctor.out.contains("separate storage") && doctor.out.contains("another view of"), "{}", doctor.out);
    assert_eq!(probes(&sandbox.root()), 0);
    assert!(sandbox.vods()[0]["freedAt"].is_null());
}

#[test]
fn a_gateway_that_serves_the_root_frees_nothing_and_is_said() {
    let sandbox = Sandbox::new();
    let gateway = Gateway::serving(sandbox.path(), "root");
    fs::write(sandbox.path().join("config.toml"), config_with_targets(sandbox.path(), &[&gateway.target], FREED))
        .unwrap();
    a_view_frees_nothing(&sandbox, "gateway");
}

#[test]
fn a_gateway_whose_bucket_holds_the_root_is_found_by_the_pattern_of_its_keys() {
    let sandbox = Sandbox::new();
    let streams = sandbox.path().join("streams/live");
    fs::create_dir_all(&streams).unwrap();
    let gateway = Gateway::serving(sandbox.path(), "streams");
    let mut config = config_with_targets(sandbox.path(), &[&gateway.target], FREED);
    config = config.replace("/root\"", "/streams/live\"").replace("url = ", "key = \"{root}/{path}\"\nurl = ");
    fs::write(sandbox.path().join("config.toml"), config).unwrap();
    fs::write(streams.join("take.mp4"), padded("take", 0)).unwrap();
    let said = sandbox.run(&["process", streams.to_str().unwrap()]);
    assert!(streams.join("take.mp4").exists() && said.err.contains("another view of"), "{}", said.err);
}

#[test]
fn a_gateway_that_serves_another_directory_frees() {
    let sandbox = Sandbox::new();
    let gateway = Gateway::serving(sandbox.path(), "store");
    fs::write(sandbox.path().join("config.toml"), config_with_targets(sandbox.path(), &[&gateway.target], FREED))
        .unwrap();
    fs::write(sandbox.root().join("take.mp4"), padded("take", 0)).unwrap();
    sandbox.process().expect_code(0);
    assert!(!sandbox.root().join("take.mp4").exists() && sandbox.store().join("take.mp4").exists());
    assert_eq!((probes(&sandbox.root()), probes(&sandbox.store())), (0, 0));
    sandbox.run(&["doctor"]).expect_code(0);
}

#[test]
fn the_daemon_says_at_its_start_that_a_target_shows_the_root() {
    let sandbox = Sandbox::new();
    let gateway = Gateway::serving(sandbox.path(), "root");
    fs::write(sandbox.path().join("config.toml"), config_with_targets(sandbox.path(), &[&gateway.target], "")).unwrap();
    let daemon = Daemon::start(&sandbox);
    daemon.until_said("another view of the recording directory");
    daemon.stop();
    assert_eq!(probes(&sandbox.root()), 0);
}

/// A mount that ends with the test; `None` where it is refused.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(at: &'a Path, args: &[&str]) -> Option<Self> {
        let mount = Command::new("mount").args(args).arg(at).stderr(Stdio::piped()).output().unwrap();
        if !mount.status.success() {
            let why = String::from_utf8_lossy(&mount.stderr).into_owned();
            let _ = writeln!(std::io::stderr(), "skipped: mounting is refused here: {why}");
            return None;
        }
        Some(Self(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_directory_that_is_bound_into_the_root_frees_nothing_and_is_said() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, FREED));
    let archive = sandbox.root().join("archive");
    fs::create_dir(&archive).unwrap();
    let store = sandbox.store();
    let Some(_mounted) = Mounted::new(&store, &["--bind", archive.to_str().unwrap()]) else { return };
    a_view_frees_nothing(&sandbox, "store");
}

#[test]
fn an_overlay_above_the_root_frees_nothing_and_is_said() {
    // An overlay does not lie upon another one.
    let sandbox = Sandbox::with_config_in(Path::new("/dev/shm"), |dir| standard_config(dir, FREED));
    let [upper, work] = ["upper", "work"].map(|name| sandbox.path().join(name));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    let (store, root) = (sandbox.store(), sandbox.root());
    let options = format!("lowerdir={},upperdir={},workdir={}", root.display(), upper.display(), work.display());
    let Some(_mounted) = Mounted::new(&store, &["-t", "overlay", "overlay", "-o", &options]) else { return };
    a_view_frees_nothing(&sandbox, "store");
}

fn is_apart(target: TargetOptions) {
    let (root, rows) = (tempfile::tempdir().unwrap(), MemoryLedger::default());
    let roots = [root.path().to_owned()];
    let shown = targets(target).shows("cloud", root.path(), &roots, &Stop::default(), &rows).unwrap();
    assert_eq!(shown, []);
    assert_eq!((probes(root.path()), rows.keys()), (0, Vec::<String>::new()));
}

#[test]
fn stores_of_every_kind_are_apart_from_a_root_and_nothing_is_left() {
    let server = s3();
    is_apart(server.bucket("views-apart"));
    assert!(keys_in(server.address(), "views-apart").is_empty());
    is_apart(azure().container("views-apart"));
    is_apart(gcs().bucket("views-apart"));
    let dir = tempfile::tempdir().unwrap();
    is_apart(TargetOptions::new("cloud", &format!("file://{}", dir.path().display())));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn an_object_that_may_not_be_removed_is_used_again_and_goes_when_it_may() {
    let (server, may_remove) = (s3(), Arc::new(AtomicBool::new(false)));
    let honest = server.bucket("views-left");
    let allows = Arc::clone(&may_remove);
    let address = refusing(server.address(), move |request: &Request| {
        let is_refused =
            (request.method == "DELETE" || request.query("delete").is_some()) && !allows.load(Ordering::SeqCst);
        is_refused.then(|| Response::error(403, "AccessDenied"))
    });
    let target = TargetOptions { endpoint: Some(format!("http://{address}")), ..honest };
    let (root, rows, targets) = (tempfile::tempdir().unwrap(), MemoryLedger::default(), targets(target));
    let roots = [root.path().to_owned()];
    let look = || targets.shows("cloud", root.path(), &roots, &Stop::default(), &rows).unwrap();
    for _ in 0..3 {
        assert_eq!(look(), [] as [VisibleRoot; 0]);
        assert_eq!(keys_in(server.address(), "views-left").len(), 1);
    }
    may_remove.store(true, Ordering::SeqCst);
    look();
    assert!(keys_in(server.address(), "views-left").is_empty());
    assert_eq!(rows.keys(), Vec::<String>::new());
}

#[test]
fn a_store_that_is_silent_about_its_view_frees_nothing_yet_and_holds_nothing_up() {
    let server = s3();
    let honest = server.bucket("views-silent");
    let (is_silent, address) = (Arc::new(AtomicBool::new(true)), server.address());
    let hush = Arc::clone(&is_silent);
    let before = serve(move |client| {
        let Some(request) = read_request(&client, |_, length| length) else { return };
        let is_probe = request.path().contains("/.aftercast-probe-") && !request.path().ends_with("-conditions");
        if is_probe && request.method == "PUT" && hush.load(Ordering::SeqCst) {
            while hush.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
            return;
        }
        reply(&client, &forward(address, &request).unwrap_or_default());
    });
    let target = TargetOptions { endpoint: Some(format!("http://{before}")), ..honest };
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], FREED));
    let daemon = Daemon::start(&sandbox);
    fs::write(sandbox.path().join("new.mp4"), padded("new", 0)).unwrap();
    fs::rename(sandbox.path().join("new.mp4"), sandbox.root().join("new.mp4")).unwrap();
    until("it is delivered", || sandbox.vods().first().filter(|vod| vod["remote"][0].is_object()).map(drop));
    daemon.stop();
    assert!(sandbox.root().join("new.mp4").exists());
    is_silent.store(false, Ordering::SeqCst);
    sandbox.run(&["retain"]).expect_code(0);
    assert!(!sandbox.root().join("new.mp4").exists());
    assert_eq!(keys_in(server.address(), "views-silent").len(), 1, "only the recording");
}
