//! Recordings in shared roots: each is worked on by one node at a time, and finished once.
//!
//! ```text
//! claim (token) ─▶ written aside under the token ─▶ publishing (digest) ─▶ link(2) ─▶ done
//! ```
//!
//! A claim holds as long as its node is alive in the life in which it was made; only the clock of the database counts. Whoever
//! takes over gets another token, and every later step of the former holder is refused. A recording on which two lives of nodes
//! had begun to work when they ended is quarantined. This room decides who works on what; it must not touch a file.

mod claimed;
pub(super) mod spent;

use crate::recording::Fingerprint;

pub(super) use claimed::{
    begun, claim, done, done_elsewhere, give_back, give_back_all, publishing, quarantine, reopen,
};

/// A recording in a shared root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedItem {
    /// Id of the root.
    pub root_id: String,
    /// Its path below the root.
    pub path: std::path::PathBuf,
    /// What it is now.
    pub fingerprint: Fingerprint,
}

/// The right to work on a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedLease {
    /// The recording.
    pub item: SharedItem,
    /// Grows with every claim; whoever has the greatest one holds the recording.
    pub token: i64,
    /// How many lives of nodes have worked on it and ended so, and this one.
    pub attempt: i32,
    /// The token of the last holder before who had begun, and may have left a partial.
    pub former_token: Option<i64>,
    /// What the holder before was about to publish.
    pub published: Option<SharedResult>,
}

/// A finished file that is about to get its name, or has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedResult {
    /// Its path below the root.
    pub path: std::path::PathBuf,
    /// BLAKE3 of all of it, hex.
    pub digest: String,
}

/// What came of the wish to work on a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedClaim {
    /// It is this node's.
    Ours(SharedLease),
    /// This node has finished it before.
    DoneHere(SharedLease),
    /// It was finished, or is a finished file itself.
    Done,
    /// Two nodes died of it.
    Quarantined,
    /// Another node has it, or goes first; or it failed and its time has not come.
    Later,
}

/// What tells one state of a file from another on every node: the device has other numbers elsewhere.
fn fingerprint_text(fingerprint: &Fingerprint) -> String {
    format!("{}:{}", fingerprint.size_bytes, fingerprint.mtime_ns)
}

/// A path as a key of bounded length.
fn path_key(path: &std::path::Path) -> String {
    blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_the_same_on_nodes_with_other_devices() {
        let here = Fingerprint { device: 1, inode: 2, size_bytes: 3, mtime_ns: 4 };
        let there = Fingerprint { device: 9, ..here };
        assert_eq!(fingerprint_text(&here), fingerprint_text(&there));
        assert_ne!(fingerprint_text(&here), fingerprint_text(&Fingerprint { mtime_ns: 5, ..here }));
        assert_eq!(path_key(std::path::Path::new(&"x".repeat(4_000))).len(), 32);
    }
}
