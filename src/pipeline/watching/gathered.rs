//! What is held of a scan until it is over.

use std::path::PathBuf;

use super::MOST_AT_ONCE;
use crate::discover::{NewestCandidates, Problem};
use crate::pipeline::rescans::ScannedRoot;

/// What a scan found to be done, and how much there is of the root that is being scanned.
pub(super) struct ScanResult {
    pub newest: NewestCandidates,
    pub asides: Vec<PathBuf>,
    pub problems: Vec<Problem>,
    pub counted: ScannedRoot,
}

impl ScanResult {
    pub fn new() -> Self {
        let counted = ScannedRoot::default();
        Self { newest: NewestCandidates::new(MOST_AT_ONCE), asides: Vec::new(), problems: Vec::new(), counted }
    }
}
