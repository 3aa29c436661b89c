//! The stored form of a value: packed JSON, and for what outlives a release the version of its form.
//!
//! A row of a newer version is refused and stays as it is: read by this version and written again it would lose what this
//! version does not know. Whoever adds a field to such a value raises its version.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::{JOURNAL_VERSION, JournalEntry};
use super::error::CatalogError;
use super::packing;
use super::tree::TreeId;
use crate::recording::{DELIVERY_VERSION, Delivery, VOD_VERSION, VodRecord};

/// What is stored as a value.
pub(super) trait StoredValue: DeserializeOwned {
    /// The newest version of its form that is read; `None` if it has none, or is only ever looked at.
    const VERSION: Option<u32> = None;
}

impl StoredValue for VodRecord {
    const VERSION: Option<u32> = Some(VOD_VERSION);
}

impl StoredValue for JournalEntry {
    const VERSION: Option<u32> = Some(JOURNAL_VERSION);
}

impl StoredValue for Delivery {
    const VERSION: Option<u32> = Some(DELIVERY_VERSION);
}

/// What other rooms keep here, in forms of their own.
impl StoredValue for Value {}

/// Numbers of attempts.
impl StoredValue for Vec<u32> {}

/// The version that a value says; those that say none are of the first.
#[derive(Deserialize)]
struct VersionStamp {
    #[serde(default = "first")]
    version: u32,
}

const fn first() -> u32 {
    1
}

/// Reads a stored value.
pub(super) fn decode<T: StoredValue>(tree: TreeId, key: &[u8], value: &[u8]) -> Result<T, CatalogError> {
    let json = packing::unpack(value);
    if let Some(known) = T::VERSION
        && let Some(found) = version_of(&json).filter(|found| *found > known)
    {
        return Err(CatalogError::NewerRow { tree: tree.name(), key: printable_key(key), found, known });
    }
    serde_json::from_slice(&json).map_err(|source| CatalogError::Unreadable {
        tree: tree.name(),
        key: printable_key(key),
        source,
    })
}

/// The version of a value, which mostly comes first in it.
fn version_of(json: &[u8]) -> Option<u32> {
    let digits = json.strip_prefix(b"{\"version\":").and_then(|rest| rest.split(|byte| *byte == b',').next());
    let read = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    read.or_else(|| serde_json::from_slice::<VersionStamp>(json).ok().map(|stamp| stamp.version))
}

/// Makes a value to be stored.
pub(super) fn encode(tree: TreeId, key: &[u8], value: &impl Serialize) -> Result<Vec<u8>, CatalogError> {
    serde_json::to_vec(value).map(packing::pack).map_err(|source| CatalogError::Unwritable {
        tree: tree.name(),
        key: printable_key(key),
        source,
    })
}

fn printable_key(key: &[u8]) -> String {
    crate::recording::name::printable_text(&String::from_utf8_lossy(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_value_is_found_wherever_it_stands() {
        let version = |json: &str| version_of(json.as_bytes());
        assert_eq!(version(r#"{"version":7,"a":1}"#), Some(7));
        assert_eq!(version(r#"{"version":7}"#), Some(7));
        assert_eq!(version(r#"{"a":{"version":9},"version": 3}"#), Some(3));
        assert_eq!(version(r#"{"a":{"version":9}}"#), Some(1), "it is that of the whole");
        assert_eq!([version("{"), version(r#"{"version":"x"}"#)], [None; 2]);
    }
}
