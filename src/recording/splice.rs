//! What is remembered of a header that is put in front of a file where the file stands: enough to carry it on, to take
//! it back after a cut, and to undo it later.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Fingerprint;

/// What is done with the old `moov` once the new header is durable; offsets are those of the new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Retirement {
    /// Nothing: it lies inside the new `mdat` as dead bytes.
    Nothing,
    /// It was the last thing in the file and is cut off.
    Truncate {
        /// New length of the file in bytes.
        len: u64,
    },
    /// It becomes a `free` box.
    Free {
        /// Byte offset of its type.
        at: u64,
    },
}

/// A header that is about to be inserted in front of a file. Journalled and flushed before the first block moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpliceIntent {
    /// The file.
    pub path: PathBuf,
    /// Its device, inode, length and time before.
    pub before: Fingerprint,
    /// Its fingerprint when all is done: the same file and time, another length.
    pub after: Fingerprint,
    /// Bytes that are inserted at offset 0.
    pub inserted_bytes: u64,
    /// Where the file's bytes lay on the device: `[offset in the file, offset on the device, length]`, in bytes.
    pub extents: Vec<[u64; 3]>,
    /// BLAKE3 of the inserted bytes, hex.
    pub header_digest: String,
    /// BLAKE3 of payloads spread over all tracks, hex.
    pub payload_digest: String,
    /// What is done with the old `moov`.
    pub retirement: Retirement,
}

/// What it takes to undo a finished splice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpliceUndo {
    /// Length of the file before, in bytes.
    pub len: u64,
    /// Bytes that were inserted at offset 0.
    pub inserted_bytes: u64,
    /// Where the old `moov` began, if there was one that was retired, in the old file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub moov_offset: Option<u64>,
    /// Length of the old `moov` in bytes.
    #[serde(default)]
    pub moov_bytes: u64,
    /// BLAKE3 of the old `moov`, hex.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub moov_digest: Option<String>,
    /// What was done with the old `moov`.
    pub retirement: Retirement,
}
