//! Right before a local file is freed its stores are asked again: days may lie between the proof and the freeing, and
//! whatever the store no longer holds is sent again instead.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aftercast::deliver::TargetOptions;

use crate::support::assets::{asset, targets, upload, write_noise};
use crate::support::clients::see;
use crate::support::daemon::{Daemon, until};
use crate::support::http::{forward, read_request, reply, serve};
use crate::support::recordings::padded;
use crate::support::stores::{azure, gcs, s3};
use crate::support::unruly::{Mischief, Unruly};
use crate::support::{Sandbox, config_with_targets};

fn config(dir: &Path, target: &TargetOptions, retain: &str) -> String {
    config_with_targets(dir, &[target], &format!("[retain]\n{retain}"))
}

fn retaining(sandbox: &Sandbox, target: &TargetOptions, retain: &str) {
    fs::write(sandbox.path().join("config.toml"), config(sandbox.path(), target, retain)).unwrap();
}

const FREED: &str = "delete_local = \"delivered\"";
const KEPT: &str = "delete_local = \"delivered\"\nprotect = [\"*\"]";

/// What happens in the store between the proof and the freeing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Gone,
    /// An object of the same size has taken its place.
    Replaced,
}

fn change(target: &TargetOptions, key: &str, len: usize, how: Change) {
    let targets = targets(target.clone());
    targets.delete("cloud", key).unwrap();
    if how == Change::Replaced {
        let dir = tempfile::tempdir().unwrap();
        let name = Path::new(key).file_name().unwrap().to_str().unwrap();
        write_noise(dir.path(), name, len, 7);
        let object = upload(&targets, &asset(dir.path(), "another", &[name])).unwrap().remove(0);
        assert_eq!((object.key.as_str(), object.size_bytes), (key, len as u64));
    }
}

fn a_copy_that_changed_keeps_the_file(mut bucket: impl FnMut(&str) -> TargetOptions) {
    for how in [Change::Gone, Change::Replaced] {
        let name = format!("asking-{how:?}").to_lowercase();
        let target = bucket(&name);
        let sandbox = Sandbox::with_config(|dir| config(dir, &target, KEPT));
        let (local, bytes) = (sandbox.root().join("take.mp4"), padded(&name, 0));
        fs::write(&local, &bytes).unwrap();
        sandbox.process().expect_code(0);
        let proven = sandbox.vods()[0]["remote"][0].clone();
        change(&target, proven["key"].as_str().unwrap(), bytes.len(), how);

        retaining(&sandbox, &target, FREED);
        sandbox.run(&["retain"]).expect_code(0);
        assert!(local.exists(), "{how:?}");
        assert!(sandbox.vods()[0]["remote"][0]["differs"].is_string(), "{how:?}");
        sandbox.run(&["retain"]).expect_code(0);
        assert!(local.exists(), "{how:?}: once more");

        sandbox.process().expect_code(0);
        assert!(!local.exists(), "{how:?}: it is sent again, and freed by that proof");
        let key = sandbox.vods()[0]["remote"][0]["key"].clone();
        assert_eq!(see(&target, key.as_str().unwrap()).bytes, bytes, "{how:?}");
    }
}

#[test]
fn a_copy_on_s3_that_is_gone_or_replaced_keeps_the_file_and_is_sent_again() {
    let server = s3();
    a_copy_that_changed_keeps_the_file(|name| server.bucket(name));
}

#[test]
fn a_copy_on_azure_that_is_gone_or_replaced_keeps_the_file_and_is_sent_again() {
    let server = azure();
    a_copy_that_changed_keeps_the_file(|name| server.container(name));
}

#[test]
fn a_copy_on_google_that_is_gone_or_replaced_keeps_the_file_and_is_sent_again() {
    let server = gcs();
    a_copy_that_changed_keeps_the_file(|name| server.bucket(name));
}

#[test]
fn a_copy_in_a_directory_that_is_gone_or_replaced_keeps_the_file_and_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = |name: &str| TargetOptions::new("cloud", &format!("file://{}/{name}", dir.path().display()));
    a_copy_that_changed_keeps_the_file_on_disk(store);
}

/// A directory has no client but the file system.
fn a_copy_that_changed_keeps_the_file_on_disk(store: impl Fn(&str) -> TargetOptions) {
    for how in [Change::Gone, Change::Replaced] {
        let target = store(&format!("{how:?}"));
        let sandbox = Sandbox::with_config(|dir| config(dir, &target, KEPT));
        let (local, bytes) = (sandbox.root().join("take.mp4"), padded("take", 0));
        fs::write(&local, &bytes).unwrap();
        sandbox.process().expect_code(0);
        let copy = Path::new(target.url.strip_prefix("file://").unwrap()).join("take.mp4");
        fs::remove_file(&copy).unwrap();
        if how == Change::Replaced {
            write_noise(copy.parent().unwrap(), "take.mp4", bytes.len(), 7);
        }
        retaining(&sandbox, &target, FREED);
        sandbox.run(&["retain"]).expect_code(0);
        assert!(local.exists() && sandbox.vods()[0]["remote"][0]["differs"].is_string(), "{how:?}");
        sandbox.process().expect_code(0);
        assert!(!local.exists(), "{how:?}");
        let key = sandbox.vods()[0]["remote"][0]["key"].as_str().unwrap().to_owned();
        assert_eq!(fs::read(copy.with_file_name(key)).unwrap(), bytes, "{how:?}");
    }
}

#[test]
fn a_copy_that_was_only_touched_is_read_and_frees_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let target = TargetOptions::new("cloud", &format!("file://{}", dir.path().display()));
    let sandbox = Sandbox::with_config(|dir| config(dir, &target, KEPT));
    let local = sandbox.root().join("take.mp4");
    fs::write(&local, padded("take", 0)).unwrap();
    sandbox.process().expect_code(0);
    let copy = fs::File::options().write(true).open(dir.path().join("take.mp4")).unwrap();
    copy.set_modified(std::time::SystemTime::now()).unwrap();
    retaining(&sandbox, &target, FREED);
    sandbox.run(&["retain"]).expect_code(0);
    assert!(!local.exists());
}

/// A store that errs once must not get everything a second time: what differs at one look is looked at again.
#[test]
fn one_wrong_answer_of_a_store_neither_keeps_a_file_nor_sends_it_again() {
    let server = s3();
    for lie in [Mischief::WrongChecksum, Mischief::WrongSize] {
        for how in ["retain", "vod verify"] {
            let name = format!("errs-once-{lie:?}-{how}").to_lowercase().replace(' ', "-");
            let honest = server.bucket(&name);
            let sandbox = Sandbox::with_config(|dir| config(dir, &honest, KEPT));
            let local = sandbox.root().join("take.mp4");
            fs::write(&local, padded(&name, 0)).unwrap();
            sandbox.process().expect_code(0);

            let is_first = AtomicBool::new(true);
            let proxy = Unruly::on(server.address(), move |request| {
                let is_about_it = request.method == "HEAD" && request.path().ends_with("/take.mp4");
                (is_about_it && is_first.swap(false, Ordering::SeqCst)).then_some(lie)
            });
            let lying = TargetOptions { endpoint: Some(format!("http://{}", proxy.address)), ..honest.clone() };
            retaining(&sandbox, &lying, if how == "retain" { FREED } else { KEPT });
            sandbox.run(&how.split(' ').collect::<Vec<_>>()).expect_code(0);
            assert_eq!(proxy.done().len(), 1, "{name}: it lied once");
            assert!(sandbox.vods()[0]["remote"][0]["differs"].is_null(), "{name}");
            assert_eq!(local.exists(), how == "vod verify", "{name}");
            sandbox.process().expect_code(0);
            let keys: Vec<_> = server.listing(&name).into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys, ["pre/take.mp4"], "{name}: something was stored twice");
        }
    }
}

/// A store that hears some requests and says nothing while it is told to.
#[derive(Clone, Default)]
struct Hush {
    is_on: Arc<AtomicBool>,
    heard: Arc<AtomicUsize>,
}

impl Hush {
    fn before(&self, server: std::net::SocketAddr, is_about: &'static str) -> String {
        let hush = self.clone();
        let address = serve(move |client: TcpStream| {
            let Some(request) = read_request(&client, |_, length| length) else { return };
            if request.method == "HEAD" && request.path().contains(is_about) && hush.is_on.load(Ordering::SeqCst) {
                hush.heard.fetch_add(1, Ordering::SeqCst);
                while hush.is_on.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            reply(&client, &forward(server, &request).unwrap_or_default());
        });
        format!("http://{address}")
    }
}

#[test]
fn a_store_that_does_not_answer_keeps_every_file_and_is_asked_once_in_a_run() {
    const FILES: usize = 6;
    let (server, hush) = (s3(), Hush::default());
    let honest = server.bucket("asking-silence");
    let target = TargetOptions { endpoint: Some(hush.before(server.address(), "/pre/")), ..honest };
    let sandbox = Sandbox::with_config(|dir| config(dir, &target, KEPT));
    for n in 0..FILES {
        let name = format!("take{n}.mp4");
        fs::write(sandbox.root().join(&name), padded(&name, 0)).unwrap();
    }
    sandbox.process().expect_code(0);
    retaining(&sandbox, &target, FREED);
    hush.is_on.store(true, Ordering::SeqCst);
    let said = sandbox.run(&["retain"]).expect_code(0);
    assert_eq!(hush.heard.load(Ordering::SeqCst), 1, "{}", said.err);
    assert_eq!(said.err.matches("does not confirm").count(), 1, "{}", said.err);
    let left =
        || fs::read_dir(sandbox.root()).unwrap().filter(|e| e.as_ref().unwrap().path().extension().is_some()).count();
    assert_eq!(left(), FILES);
    hush.is_on.store(false, Ordering::SeqCst);
    sandbox.run(&["retain"]).expect_code(0);
    assert_eq!(left(), 0);
}

#[test]
fn while_a_store_is_asked_recordings_are_finished_and_the_daemon_stops() {
    let (server, hush) = (s3(), Hush::default());
    let honest = server.bucket("asking-beside");
    let target = TargetOptions { endpoint: Some(hush.before(server.address(), "/old.mp4")), ..honest };
    let sandbox = Sandbox::with_config(|dir| config(dir, &target, KEPT));
    fs::write(sandbox.root().join("old.mp4"), padded("old", 0)).unwrap();
    sandbox.process().expect_code(0);
    let watching =
        config(sandbox.path(), &target, FREED).replace("quiet = \"1s\"\n", "quiet = \"1s\"\nrescan = \"1s\"\n");
    fs::write(sandbox.path().join("config.toml"), watching).unwrap();
    hush.is_on.store(true, Ordering::SeqCst);
    let daemon = Daemon::start(&sandbox);
    until("the store is asked", || (hush.heard.load(Ordering::SeqCst) > 0).then_some(()));
    fs::write(sandbox.path().join("new.mp4"), padded("new", 0)).unwrap();
    fs::rename(sandbox.path().join("new.mp4"), sandbox.root().join("new.mp4")).unwrap();
    until("the new one is catalogued", || (sandbox.vods().len() == 2).then_some(()));
    assert!(sandbox.root().join("old.mp4").exists());
    daemon.stop();
    assert!(sandbox.root().join("old.mp4").exists());
}
