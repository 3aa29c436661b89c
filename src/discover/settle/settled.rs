//! A file that nobody writes any more, as a value that only this room makes.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::recording::journey::{Candidate, Evidence};

/// A candidate nobody writes any more, with the evidence for that.
///
/// Made by [`Settler::settle`](super::Settler::settle), or [as given](Self::as_given) with the weakest evidence there is; the
/// journal reads back what was made before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    candidate: Candidate,
    evidence: Evidence,
}

impl Settled {
    pub(super) const fn new(candidate: Candidate, evidence: Evidence) -> Self {
        Self { candidate, evidence }
    }

    /// A file that nobody looked at. With evidence as weak as that it is only read: never finished in place, renamed or removed.
    pub const fn as_given(candidate: Candidate) -> Self {
        Self::new(candidate, Evidence::Unchanged { for_s: 0 })
    }

    /// With the strongest evidence, which nobody gathered.
    #[cfg(test)]
    pub(crate) const fn for_test(candidate: Candidate) -> Self {
        Self::new(candidate, Evidence::Lease)
    }

    /// The file.
    pub const fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// Why it counts as settled.
    pub const fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.candidate.path
    }
}
