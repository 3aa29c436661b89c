//! What the catalogue promises, tried on real databases in temporary directories.

mod behind;
mod compact;
mod damage;
mod events;
mod former;
mod journey;
mod kill;
mod listing;
mod queue;
mod replica;
mod selecting;
mod upkeep;
mod versions;

use std::path::{Path, PathBuf};

use super::*;
use crate::discover::Settled;
use crate::recording::journey::{Candidate, Evidence, NameFacts, Postponed, Stage, Step};
use crate::recording::*;

/// A catalogue in a directory of its own.
struct TestCatalog {
    dir: tempfile::TempDir,
    catalog: Option<Catalog>,
}

impl TestCatalog {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("state")).unwrap();
        Self { dir, catalog: Some(catalog) }
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Ends the process, as far as the catalogue can tell, and starts another.
    fn restart(&mut self) {
        self.close();
        self.catalog = Some(Catalog::open(&self.state_dir()).unwrap());
    }

    fn close(&mut self) {
        self.catalog = None;
    }

    /// What would be handed out one after the other.
    fn due(&self, now_ms: i64, limit: usize) -> Result<Vec<Delivery>> {
        let mut due: Vec<Delivery> = Vec::new();
        while due.len() < limit {
            let is_free = |id: &str| due.iter().all(|delivery| delivery.id != id);
            match self.next_due(now_ms, &DueFilter { may_try: &|_| true, is_free: &is_free })? {
                NextDue::Due(delivery) => due.push(*delivery),
                NextDue::At(_) | NextDue::Nothing => break,
            }
        }
        Ok(due)
    }

    /// The catalogue as another process would find it if this one were killed now.
    fn as_left_by_a_kill(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy_directory(&self.state_dir(), &dir.path().join("state"));
        let catalog = Catalog::open(&dir.path().join("state")).unwrap();
        Self { dir, catalog: Some(catalog) }
    }
}

impl std::ops::Deref for TestCatalog {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        self.catalog.as_ref().unwrap()
    }
}

/// A closed copy of a closed one.
fn copy_of(home: &TestCatalog) -> TestCatalog {
    let dir = tempfile::tempdir().unwrap();
    copy_directory(&home.state_dir(), &dir.path().join("state"));
    TestCatalog { dir, catalog: None }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() { copy_directory(&from, &to) } else { std::fs::copy(&from, &to).map(drop).unwrap() }
    }
}

fn fingerprint(inode: u64) -> Fingerprint {
    Fingerprint { device: 1, inode, size_bytes: 1_000 + inode, mtime_ns: 1_700_000_000_000_000_000 }
}

/// The recording `/srv/<name>.flv.tmp`.
fn candidate(name: &str, inode: u64) -> Candidate {
    Candidate {
        path: format!("/srv/{name}.flv.tmp").into(),
        root: "/srv".into(),
        server: "antmedia".into(),
        is_temporary: true,
        facts: NameFacts { stream_id: name.into(), stem: name.into(), ..NameFacts::default() },
        fingerprint: fingerprint(inode),
    }
}

fn settled(name: &str, inode: u64) -> Settled {
    Settled::for_test(candidate(name, inode))
}

/// The finished file `/srv/<name>.mp4` of that recording.
fn record(name: &str, inode: u64, at_ms: i64) -> VodRecord {
    VodRecord {
        version: VOD_VERSION,
        vod_id: vod_id(name, &format!("{name}.mp4"), &[(inode, [1; 32])]),
        stream_id: name.into(),
        stream_name: name.into(),
        vod_name: format!("{name}.mp4"),
        file_path: format!("/srv/{name}.mp4").into(),
        root: "/srv".into(),
        duration: 8_000,
        creation_date: at_ms,
        start_time: at_ms - 8_000,
        start_source: StartSource::Mtime,
        file_size: 1_000,
        preview_file_path: None,
        pictures: Pictures::default(),
        vod_type: VodType::Stream,
        container: Container::Mp4,
        tracks: Vec::new(),
        bitrate: 1_000,
        declared_duration: None,
        wall_clock: None,
        defects: Vec::new(),
        outcome: Outcome::Remuxed,
        splice: None,
        splice_undo: None,
        salvaged: false,
        salvage: None,
        digest: None,
        server: "antmedia".into(),
        rendition: None,
        source_path: format!("/srv/{name}.flv.tmp").into(),
        source: fingerprint(inode),
        source_changed_ns: None,
        evidence: Evidence::Lease,
        original_path: None,
        fingerprint: fingerprint(inode + 1_000_000),
        remote: Vec::new(),
        freed_at: None,
        description: None,
        metadata: std::collections::BTreeMap::new(),
    }
}

fn delivery(vod: &VodRecord, target: &str, at_ms: i64) -> Delivery {
    Delivery {
        id: Delivery::id_of(&vod.vod_id, target),
        asset: Asset {
            id: vod.vod_id.clone(),
            kind: Kind::Recording,
            vod_id: Some(vod.vod_id.clone()),
            stream_id: vod.stream_id.clone(),
            root: vod.root.clone(),
            start_ms: vod.start_time,
            duration_ms: Some(vod.duration),
            salvaged: false,
            files: vec![AssetFile::new(vod.file_path.clone(), vod.fingerprint)],
        },
        target: target.into(),
        state: DeliveryState::Waiting { due_ms: at_ms, last_fault: None },
        attempts: 0,
        queued_ms: at_ms,
    }
}

fn object(vod: &VodRecord, target: &str) -> RemoteObject {
    RemoteObject {
        target: target.into(),
        key: vod.vod_name.clone(),
        url: format!("s3://bucket/{}", vod.vod_name),
        size_bytes: vod.file_size,
        etag: None,
        version: None,
        checksum: None,
        checksum_compared: false,
        verified_ms: 9_000,
        source: vod.fingerprint,
        source_changed_ns: None,
        differs: None,
        differs_when_read: false,
        is_progressive_copy: false,
    }
}

/// Begins an attempt that must be possible.
fn attempt(catalog: &Catalog, settled: &Settled, now_ms: i64) -> JournalKey {
    match catalog.begin(settled, now_ms).unwrap() {
        BeginOutcome::Attempt { key, .. } => key,
        other => panic!("no attempt: {other:?}"),
    }
}

/// Takes a recording from its beginning into the catalogue, with a delivery to `primary`.
fn catalogue(catalog: &Catalog, name: &str, inode: u64, at_ms: i64) -> VodRecord {
    let key = attempt(catalog, &settled(name, inode), at_ms);
    let vod = record(name, inode, at_ms);
    catalog.commit_vod(&key, &vod, &[delivery(&vod, "primary", at_ms)], false, at_ms).unwrap().record
}

/// The first so many VoDs whose local file is not freed.
fn unfreed(catalog: &Catalog, most: usize) -> Vec<VodRecord> {
    catalog.shared().unfreed().unwrap().take(most).map(Result::unwrap).collect()
}

fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.asset.stream_id.as_str()).collect()
}

fn names(vods: &[VodRecord]) -> Vec<&str> {
    vods.iter().map(|vod| vod.vod_name.as_str()).collect()
}

/// Puts bytes into a tree behind the catalogue's back.
fn tamper(catalog: &Catalog, tree: tree::TreeId, key: &str, value: &[u8]) {
    catalog.store().transact(|tx| tx.put(tree, key, value)).unwrap();
}
