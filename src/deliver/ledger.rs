//! What is remembered of a multipart upload, so that another process can continue it.
//!
//! An upload has one head row (what is sent where, under which id) and one row per acknowledged part. A row is durable
//! before the next step begins. Assumes nothing about where rows are kept; the pipeline hands in a [`Ledger`].

use std::error::Error;
use std::path::PathBuf;

use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{DeliverError, Result};
use crate::durable::PartialOwner;
use crate::recording::{Fingerprint, RemoteObject};

/// Why a ledger cannot be read or written.
pub type LedgerFault = Box<dyn Error + Send + Sync>;

/// Keeps rows of JSON by key. Every write is durable when it returns.
pub trait Ledger: Send + Sync {
    /// Writes a row, in place of the one before.
    fn put(&self, row: &str, value: &Value) -> std::result::Result<(), LedgerFault>;
    /// Writes several rows; they may share one flush.
    fn put_all(&self, rows: &[(String, Value)]) -> std::result::Result<(), LedgerFault> {
        rows.iter().try_for_each(|(row, value)| self.put(row, value))
    }
    /// The rows whose keys begin with a text, in the order of their keys.
    fn rows(&self, prefix: &str) -> std::result::Result<Vec<(String, Value)>, LedgerFault>;
    /// Removes the rows whose keys begin with a text.
    fn remove(&self, prefix: &str) -> std::result::Result<(), LedgerFault>;
    /// In whose name files are written aside in a directory that is a target.
    fn owner(&self) -> PartialOwner {
        PartialOwner::of_process()
    }
    /// Takes keys of a store for an asset, among all who share the store; `false` if another asset has one of them. Whoever is alone has
    /// all keys, and whoever cannot ask goes on: the store is asked in any case.
    fn take_keys<'a>(&'a self, _keys: &'a SharedKeys) -> LocalBoxFuture<'a, bool> {
        Box::pin(std::future::ready(true))
    }
    /// Gives back keys that were taken for an asset and under which something else stands.
    fn release_keys<'a>(&'a self, _keys: &'a SharedKeys) -> LocalBoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
    /// Notes that the store has confirmed what is under the keys.
    fn keys_proven<'a>(&'a self, _keys: &'a SharedKeys, _objects: &'a [RemoteObject]) -> LocalBoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
    /// Whether rows outlive the call; where they do not, an upload that fails is aborted at once.
    fn remembers(&self) -> bool {
        true
    }
}

/// Keys of an asset in a store that others may share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedKeys {
    /// Endpoint, bucket and key of each of its objects, in the order of its files.
    pub places: Vec<String>,
    /// Id of the asset.
    pub asset_id: String,
    /// Sizes of its files, bytes: an asset is known by its beginning, and so may be two of different length.
    pub sizes: Vec<u64>,
}

/// Remembers nothing: for uploads that nobody will continue.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullLedger;

impl Ledger for NullLedger {
    fn put(&self, _: &str, _: &Value) -> std::result::Result<(), LedgerFault> {
        Ok(())
    }

    fn rows(&self, _: &str) -> std::result::Result<Vec<(String, Value)>, LedgerFault> {
        Ok(Vec::new())
    }

    fn remove(&self, _: &str) -> std::result::Result<(), LedgerFault> {
        Ok(())
    }

    fn remembers(&self) -> bool {
        false
    }
}

/// The row that says that what stands under a key was found to be otherwise than proven.
pub(super) fn distrusted_row(target: &str, key: &str) -> String {
    format!("distrusted/{target}/{}", &blake3::hash(key.as_bytes()).to_hex()[..32])
}

/// Whether such a row is there.
pub(super) fn is_distrusted(ledger: &dyn Ledger, target: &str, key: &str) -> Result<bool> {
    ledger.rows(&distrusted_row(target, key)).map(|rows| !rows.is_empty()).map_err(DeliverError::Ledger)
}

/// The row that says that an object was put under a key for an asset and is not reported as what was sent.
pub(super) fn unconfirmed_row(target: &str, key: &str, asset_id: &str) -> String {
    let of = |text: &str| blake3::hash(text.as_bytes()).to_hex()[..32].to_owned();
    format!("unconfirmed/{target}/{}/{}", of(key), of(asset_id))
}

/// Where the rows of uploads begin.
pub(super) const UPLOADS: &str = "upload/";

/// The head row of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UploadRow {
    /// Name of the target.
    pub target: String,
    pub key: String,
    /// The store's id of the upload; none while it is asked for.
    pub upload_id: Option<String>,
    pub part_bytes: u64,
    /// What is read, and what it was when the upload began.
    pub path: PathBuf,
    pub source: Fingerprint,
    /// When its inode had changed last, nanoseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub changed_ns: Option<i64>,
    /// Id of the asset, as the object's metadata carry it.
    pub asset_id: String,
}

/// The row of an acknowledged part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartRow {
    /// From 0.
    pub index: u64,
    pub size_bytes: u64,
    /// What the store wants to hear at the end: entity tag and checksum, or the block's id.
    pub content_id: String,
    /// What was read from disk.
    pub sums: super::checksum::PartSums,
    /// Whether the store answered with the same checksum.
    pub confirmed: bool,
}

/// The rows of one upload.
pub(super) struct UploadRows<'a> {
    ledger: &'a dyn Ledger,
    prefix: String,
}

impl<'a> UploadRows<'a> {
    /// The rows of the upload of an asset to a key of a target. Two recordings that want one key at the same time have rows
    /// of their own: parts of one must never count as parts of the other.
    pub fn of(ledger: &'a dyn Ledger, target: &str, key: &str, asset_id: &str) -> Self {
        let digest = &blake3::hash(format!("{key}\0{asset_id}").as_bytes()).to_hex()[..32];
        Self { ledger, prefix: format!("{UPLOADS}{target}/{digest}/") }
    }

    /// The rows that a head belongs to.
    pub fn of_head(ledger: &'a dyn Ledger, head: &UploadRow) -> Self {
        Self::of(ledger, &head.target, &head.key, &head.asset_id)
    }

    pub fn remembers(&self) -> bool {
        self.ledger.remembers()
    }

    pub fn write_head(&self, head: &UploadRow) -> Result<()> {
        self.write(&self.prefix, head)
    }

    /// Notes parts that were acknowledged together.
    pub fn write_parts(&self, parts: &[PartRow]) -> Result<()> {
        let row = |part: &PartRow| Ok((format!("{}{:05}", self.prefix, part.index), json_of(part)?));
        let rows = parts.iter().map(row).collect::<Result<Vec<_>>>()?;
        self.ledger.put_all(&rows).map_err(DeliverError::Ledger)
    }

    fn write(&self, row: &str, value: &impl Serialize) -> Result<()> {
        self.ledger.put(row, &json_of(value)?).map_err(DeliverError::Ledger)
    }

    /// What the last process left; rows that cannot be read count as none.
    pub fn read(&self) -> Result<Option<(UploadRow, Vec<PartRow>)>> {
        let mut rows = self.ledger.rows(&self.prefix).map_err(DeliverError::Ledger)?.into_iter();
        let Some((_, head)) = rows.next() else { return Ok(None) };
        let Ok(head) = serde_json::from_value(head) else { return Ok(None) };
        let parts = rows.filter_map(|(_, part)| serde_json::from_value(part).ok());
        Ok(Some((head, parts.collect())))
    }

    pub fn forget(&self) -> Result<()> {
        self.ledger.remove(&self.prefix).map_err(DeliverError::Ledger)
    }
}

fn json_of(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|e| DeliverError::Ledger(e.into()))
}

/// Every head that a ledger holds, whatever its target.
pub(super) fn heads(ledger: &dyn Ledger) -> Result<Vec<UploadRow>> {
    let rows = ledger.rows(UPLOADS).map_err(DeliverError::Ledger)?;
    let heads = rows.into_iter().filter(|(row, _)| row.ends_with('/'));
    Ok(heads.filter_map(|(_, head)| serde_json::from_value(head).ok()).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;

    /// Keeps rows in memory, and can count them.
    #[derive(Debug, Default)]
    pub struct MemoryLedger(pub Mutex<BTreeMap<String, Value>>);

    impl Ledger for MemoryLedger {
        fn put(&self, row: &str, value: &Value) -> std::result::Result<(), LedgerFault> {
            self.0.lock().unwrap().insert(row.to_owned(), value.clone());
            Ok(())
        }

        fn rows(&self, prefix: &str) -> std::result::Result<Vec<(String, Value)>, LedgerFault> {
            let rows = self.0.lock().unwrap();
            Ok(rows.iter().filter(|(k, _)| k.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect())
        }

        fn remove(&self, prefix: &str) -> std::result::Result<(), LedgerFault> {
            self.0.lock().unwrap().retain(|k, _| !k.starts_with(prefix));
            Ok(())
        }
    }

    #[test]
    fn an_upload_reads_back_and_is_forgotten_alone() {
        let ledger = MemoryLedger::default();
        let source = Fingerprint { device: 1, inode: 2, size_bytes: 3, mtime_ns: 4 };
        let head = |key: &str, asset: &str| UploadRow {
            target: "t".into(),
            key: key.into(),
            upload_id: Some("id".into()),
            part_bytes: 8,
            path: "/x".into(),
            source,
            changed_ns: Some(5),
            asset_id: asset.into(),
        };
        let part = |index| PartRow {
            index,
            size_bytes: 8,
            content_id: "etag".into(),
            sums: super::super::checksum::PartSums::default(),
            confirmed: true,
        };
        let (one, other) = (UploadRows::of(&ledger, "t", "a/x", "a"), UploadRows::of(&ledger, "t", "a/y", "a"));
        let same_key = UploadRows::of(&ledger, "t", "a/x", "b");
        one.write_head(&head("a/x", "a")).unwrap();
        other.write_head(&head("a/y", "a")).unwrap();
        same_key.write_head(&head("a/x", "b")).unwrap();
        same_key.write_parts(&[part(1)]).unwrap();
        one.write_parts(&[10, 2].map(part)).unwrap();
        one.write_parts(&[part(0)]).unwrap();
        let (read, parts) = one.read().unwrap().unwrap();
        assert_eq!(read, head("a/x", "a"));
        assert_eq!(parts.iter().map(|p| p.index).collect::<Vec<_>>(), [0, 2, 10]);
        assert_eq!(heads(&ledger).unwrap().len(), 3);
        one.forget().unwrap();
        assert!(one.read().unwrap().is_none() && other.read().unwrap().is_some());
        assert_eq!(same_key.read().unwrap().unwrap().1.len(), 1, "another asset under the same key");
        assert!(UploadRows::of(&ledger, "t2", "a/y", "a").read().unwrap().is_none());
    }
}
