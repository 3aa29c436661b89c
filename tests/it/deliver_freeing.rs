//! Delivery and freeing by the real program, against a store that fails, one that lies, and under sources that change
//! while they are sent: whatever is freed is in the store, whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aftercast::deliver::{NullLedger, TargetOptions};

use crate::support::assets::{MIB, targets};
use crate::support::clients::see;
use crate::support::daemon::{Daemon, until_with};
use crate::support::http::Request;
use crate::support::recordings::padded;
use crate::support::stores::s3;
use crate::support::unruly::{Mischief, Unruly};
use crate::support::{Sandbox, config_with_targets, tree};

const RECORDINGS: usize = 45;
/// Goes up in parts.
const LARGE: usize = 17 * MIB;

fn through(options: &TargetOptions, proxy: &Unruly) -> TargetOptions {
    TargetOptions { endpoint: Some(format!("http://{}", proxy.address)), ..options.clone() }
}

fn freeing(dir: &Path, target: &TargetOptions) -> String {
    config_with_targets(dir, &[target], "[retain]\ndelete_local = \"delivered\"")
}

#[test]
fn of_45_that_end_at_once_each_arrives_once_and_is_freed_only_when_it_is_there() {
    let server = s3();
    let honest = server.bucket("storm-freeing");
    let proxy = Unruly::failing(server.address(), 30, 11);
    let sandbox = Sandbox::with_config(|dir| freeing(dir, &through(&honest, &proxy)));
    let written: BTreeMap<_, _> = (0..RECORDINGS)
        .map(|n| format!("room{n}.mp4"))
        .enumerate()
        .map(|(n, name)| (name.clone(), padded(&name, if n % 9 == 0 { LARGE } else { 0 })))
        .collect();
    for (name, bytes) in &written {
        fs::write(sandbox.path().join(name), bytes).unwrap();
    }
    let daemon = Daemon::start(&sandbox);
    for name in written.keys() {
        fs::rename(sandbox.path().join(name), sandbox.root().join(name)).unwrap();
    }
    let is_there = |name: &str| sandbox.root().join(name).exists();
    let mut left: Vec<_> = written.keys().map(String::as_str).collect();
    while !left.is_empty() {
        // One that is unlucky a few times in a row waits ever longer: an operator who asks does not.
        let retry = || drop(sandbox.run(&["queue", "retry"]));
        let is_one_freed = || left.iter().any(|name| !is_there(name)).then_some(());
        until_with("another one is freed", Duration::from_secs(5), retry, is_one_freed);
        for gone in left.extract_if(.., |name| !is_there(name)) {
            let held = see(&honest, &format!("pre/{gone}")).bytes;
            assert!(held == written[gone], "{gone} was freed, and the store has {} bytes", held.len());
        }
    }
    let keys: Vec<_> = server.listing("storm-freeing").into_iter().map(|(key, _)| key).collect();
    let mut expected: Vec<_> = written.keys().map(|name| format!("pre/{name}")).collect();
    expected.sort();
    assert_eq!(keys, expected, "something was stored twice");
    let vods = sandbox.vods();
    assert_eq!(vods.len(), RECORDINGS);
    for vod in &vods {
        let remote = vod["remote"].as_array().unwrap();
        assert!(remote.len() == 1 && remote[0]["checksumCompared"] == true && vod["freedAt"].is_i64(), "{vod}");
    }
    assert_eq!(targets(honest).open_uploads("cloud", &NullLedger).unwrap(), []);
    let kinds: BTreeSet<_> = proxy.done().into_iter().map(|(mischief, _)| mischief).collect();
    assert_eq!(kinds, Mischief::ALL.into_iter().collect(), "not everything was provoked");
    daemon.stop();
}

#[test]
fn no_lie_of_a_store_frees_a_recording_and_the_truth_does() {
    let server = s3();
    let honest = server.bucket("lies-freeing");
    for lie in [Mischief::StoredNothing, Mischief::WrongChecksum, Mischief::WrongSize] {
        for size in [0, LARGE] {
            let name = format!("{lie:?}-{size}.mp4").to_lowercase();
            let is_about_it = format!("/{name}");
            let proxy = Unruly::on(server.address(), move |request: &Request| {
                request.path().ends_with(&is_about_it).then_some(lie)
            });
            let sandbox = Sandbox::with_config(|dir| freeing(dir, &through(&honest, &proxy)));
            let local = sandbox.root().join(&name);
            let bytes = padded(&name, size);
            fs::write(&local, &bytes).unwrap();
            sandbox.process().expect_code(5);
            sandbox.run(&["retain"]);
            assert!(fs::read(&local).unwrap() == bytes, "{name}");
            assert!(proxy.done().iter().any(|(done, _)| *done == lie), "{name}");
            assert_eq!(sandbox.vods()[0]["remote"].as_array().map_or(0, Vec::len), 0, "{name}");

            fs::write(sandbox.path().join("config.toml"), freeing(sandbox.path(), &honest)).unwrap();
            // The upload that the lie was told of is found out to be gone first.
            sandbox.run(&["process", "--wait", sandbox.root().to_str().unwrap()]).expect_code(0);
            assert!(!local.exists(), "{name}");
            let remote = sandbox.vods()[0]["remote"][0].clone();
            let key = remote["key"].as_str().unwrap();
            assert!(see(&honest, key).bytes == bytes, "{name}");
        }
    }
}

/// How a source is changed while it is sent.
type Change = fn(&Path);

fn truncate(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 100).unwrap();
}

fn append(path: &Path) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
}

/// Other bytes, and the length and the time of before.
fn rewrite(path: &Path) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.seek(SeekFrom::End(-4)).unwrap();
    file.write_all(b"else").unwrap();
    file.set_modified(modified).unwrap();
}

/// Replaced by another file of the same length and time.
fn replace(path: &Path) {
    let aside = path.with_extension("aside");
    fs::copy(path, &aside).unwrap();
    rewrite(&aside);
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    File::options().write(true).open(&aside).unwrap().set_modified(modified).unwrap();
    fs::rename(&aside, path).unwrap();
}

#[test]
fn a_source_that_changes_while_it_is_sent_never_counts_as_delivered() {
    let server = s3();
    let honest = server.bucket("changes-freeing");
    let kinds: [(&str, Change); 4] =
        [("truncated", truncate), ("appended", append), ("rewritten", rewrite), ("replaced", replace)];
    for (how, change) in kinds {
        for size in [0, LARGE] {
            let name = format!("{how}-{size}.mp4");
            let (is_changed, path) =
                (Arc::new(AtomicBool::new(false)), Arc::new(std::sync::OnceLock::<PathBuf>::new()));
            let (once, source, about) = (Arc::clone(&is_changed), Arc::clone(&path), format!("/{name}"));
            let proxy = Unruly::on(server.address(), move |request: &Request| {
                let is_put = request.method == "PUT" && request.path().ends_with(&about);
                if is_put && !once.swap(true, Ordering::SeqCst) {
                    change(source.get().unwrap());
                }
                None
            });
            let sandbox = Sandbox::with_config(|dir| freeing(dir, &through(&honest, &proxy)));
            let local = sandbox.root().join(&name);
            path.set(local.clone()).unwrap();
            fs::write(&local, padded(&name, size)).unwrap();
            sandbox.process().expect_code(5);
            assert!(is_changed.load(Ordering::SeqCst), "{name}");
            let left = tree(&sandbox.root());
            assert_eq!(left.keys().collect::<Vec<_>>(), [&name], "{name}");
            sandbox.run(&["retain"]);
            assert_eq!(tree(&sandbox.root()), left, "{name}");
            let vod = sandbox.vods().remove(0);
            assert!(vod["remote"].as_array().is_none_or(Vec::is_empty) && vod.get("freedAt").is_none(), "{vod}");
            let torn: Vec<_> =
                server.listing("changes-freeing").into_iter().filter(|(key, _)| key.contains(how)).collect();
            assert_eq!(torn, [], "a torn object is taken back");
        }
    }
    assert_eq!(targets(honest).open_uploads("cloud", &NullLedger).unwrap(), []);
}
