//! A store and a line that fail in every way: everything arrives, nothing twice, and no lie counts as proof.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use aftercast::deliver::TargetOptions;
use aftercast::fault::{Class, Fault};
use aftercast::recording::RemoteObject;
use aftercast::stop::Stop;

use crate::support::assets::{MIB, MemoryLedger, asset, targets, write_noise};
use crate::support::stores::{keys_in, s3};
use crate::support::unruly::{Mischief, Unruly};

const RECORDINGS: usize = 45;
/// Far more than a daemon would need: a test must end.
const TRIES_MAX: usize = 60;

fn behind(options: &TargetOptions, proxy: &Unruly) -> TargetOptions {
    TargetOptions { endpoint: Some(format!("http://{}", proxy.address)), ..options.clone() }
}

#[test]
fn of_45_recordings_at_a_store_that_fails_a_third_of_all_requests_each_arrives_once_and_proven() {
    let server = s3();
    let honest = server.bucket("storm");
    let proxy = Unruly::failing(server.address(), 30, 7);
    let stormy = targets(behind(&honest, &proxy));
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<_> = (0..RECORDINGS).map(|n| format!("room{n}/take.mp4")).collect();
    for (n, name) in names.iter().enumerate() {
        let len = if n % 9 == 0 { 17 * MIB + n } else { 40_000 + n };
        write_noise(dir.path(), name, len, n as u64);
    }
    let (next, rows) = (AtomicUsize::new(0), MemoryLedger::default());
    let deliver = |name: &String| -> RemoteObject {
        let asset = asset(dir.path(), name, &[name]);
        for _ in 0..TRIES_MAX {
            match stormy.upload("cloud", &asset, "2026-03-04", &Stop::default(), &|_| {}, &rows) {
                Ok(mut objects) => return objects.remove(0),
                Err(error) => assert_eq!(error.class(), Class::Transient, "{name}: {error:?}"),
            }
        }
        panic!("{name} never arrived");
    };
    let work = || {
        let mut done = Vec::new();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::SeqCst)) {
            done.push(deliver(name));
        }
        done
    };
    let objects: Vec<RemoteObject> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });

    let calm = targets(honest);
    for object in &objects {
        assert!(object.checksum_compared, "{object:?}");
        assert_eq!(calm.verify(object, true, &Stop::default()).unwrap(), None, "{object:?}");
    }
    let delivered: BTreeSet<_> = objects.iter().map(|o| o.key.clone()).collect();
    assert_eq!(delivered, names.iter().map(|n| format!("pre/{n}")).collect());
    assert_eq!(keys_in(server.address(), "storm"), delivered, "something was stored twice");
    let kinds: BTreeSet<_> = proxy.done().into_iter().map(|(mischief, _)| mischief).collect();
    assert_eq!(kinds, Mischief::ALL.into_iter().collect(), "not everything was provoked");
    for object in &objects {
        let asset_id = object.key.strip_prefix("pre/").unwrap();
        stormy.forget(asset_id, std::slice::from_ref(object), &rows).unwrap();
    }
    assert_eq!(rows.keys(), ["conditions/cloud"], "nothing is left but what is known of the store");
    assert_eq!(calm.open_uploads("cloud", &rows).unwrap(), []);
}
