//! Where the bytes of a recording are, and in which state.

use std::path::PathBuf;
use std::sync::Arc;

use crate::deliver::PinnedObject;
use crate::recording::Fingerprint;

/// A file or an object in one state. Equal ones hold equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// A file: the local one, or a copy in a target that is a directory.
    File {
        /// Absolute path.
        path: PathBuf,
        /// Its state.
        fingerprint: Fingerprint,
    },
    /// An object in a store.
    Object(Arc<PinnedObject>),
}

impl Place {
    /// Adds it to what an entity tag is made of.
    pub(super) fn hash_into(&self, hash: &mut blake3::Hasher) {
        match self {
            Self::File { fingerprint, .. } => {
                // A device has another number after each mount; a download goes on.
                for number in [fingerprint.inode, fingerprint.size_bytes] {
                    hash.update(&number.to_be_bytes());
                }
                hash.update(&fingerprint.mtime_ns.to_be_bytes());
            }
            Self::Object(object) => {
                for text in [&object.target, &object.key, object.etag.as_ref().unwrap_or(&String::new())] {
                    hash.update(text.as_bytes()).update(&[0]);
                }
                hash.update(&object.size_bytes.to_be_bytes()).update(&object.modified_ms.to_be_bytes());
            }
        }
    }
}
