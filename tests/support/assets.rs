//! Recordings to deliver: files of noise and the assets that name them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use aftercast::deliver::{DeliverError, DeliverOptions, Ledger, LedgerFault, NullLedger, TargetOptions, Targets};
use aftercast::durable;
use aftercast::recording::{Asset, AssetFile, Kind, RemoteObject};
use aftercast::runtime::Runtime;
use aftercast::stop::Stop;

pub const MIB: usize = 1024 * 1024;

/// Writes a file of noise that depends on its length and a seed.
pub fn write_noise(root: &Path, name: &str, len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, &bytes).unwrap();
    bytes
}

pub fn asset(root: &Path, id: &str, names: &[&str]) -> Asset {
    let file = |name: &&str| {
        let path = root.join(name);
        AssetFile::new(path.clone(), durable::fingerprint(&path).unwrap())
    };
    Asset {
        id: id.into(),
        kind: Kind::Recording,
        vod_id: Some(id.into()),
        stream_id: "room ü".into(),
        root: root.to_owned(),
        start_ms: 0,
        duration_ms: Some(1500),
        salvaged: false,
        files: names.iter().map(file).collect(),
    }
}

pub fn targets(target: TargetOptions) -> Targets {
    let runtime = Runtime::start().unwrap();
    match super::memory::bucket_of(&target) {
        Some((bucket, target)) => Targets::in_memory(&target, &bucket, &runtime).unwrap(),
        None => {
            Targets::open(&DeliverOptions { targets: vec![target], ..DeliverOptions::default() }, &runtime).unwrap()
        }
    }
}

pub fn upload(targets: &Targets, asset: &Asset) -> Result<Vec<RemoteObject>, DeliverError> {
    targets.upload("cloud", asset, "2026-03-04", &Stop::default(), &|_| {}, &NullLedger)
}

/// A ledger in memory.
#[derive(Debug, Default)]
pub struct MemoryLedger(Mutex<BTreeMap<String, serde_json::Value>>);

impl MemoryLedger {
    pub fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    /// Whether no upload is remembered.
    pub fn is_empty(&self) -> bool {
        !self.keys().iter().any(|key| key.starts_with("upload/"))
    }
}

impl Ledger for MemoryLedger {
    fn put(&self, row: &str, value: &serde_json::Value) -> Result<(), LedgerFault> {
        self.0.lock().unwrap().insert(row.to_owned(), value.clone());
        Ok(())
    }

    fn rows(&self, prefix: &str) -> Result<Vec<(String, serde_json::Value)>, LedgerFault> {
        let rows = self.0.lock().unwrap();
        Ok(rows.iter().filter(|(k, _)| k.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn remove(&self, prefix: &str) -> Result<(), LedgerFault> {
        self.0.lock().unwrap().retain(|k, _| !k.starts_with(prefix));
        Ok(())
    }
}
