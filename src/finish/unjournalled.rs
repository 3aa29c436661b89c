//! Work on a file that the journal does not know: a second file is made of it, and it stays as it is.

use std::io;
use std::path::Path;

use super::FinishError;
use crate::discover::Settled;
use crate::durable;
use crate::recording::journey::{Candidate, NameFacts};
use crate::recording::{SpliceIntent, VodRecord};

/// A file that is taken because somebody says so. With no better evidence than that it is never touched.
pub fn settled_as_given(file: &Path) -> Result<Settled, FinishError> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let candidate = Candidate {
        path: file.to_owned(),
        root: file.parent().unwrap_or(Path::new("/")).to_owned(),
        server: "none".into(),
        is_temporary: false,
        facts: NameFacts { stream_id: stem.clone(), stem, ..NameFacts::default() },
        fingerprint: durable::fingerprint(file)?,
    };
    Ok(Settled::as_given(candidate))
}

/// For [`Work::remember`](super::Work::remember): without a journal nothing may be changed where it stands.
pub fn never_in_place(_: &SpliceIntent, _: &VodRecord) -> Result<(), FinishError> {
    Err(FinishError::NotJournalled { source: io::Error::other("this work is not journalled").into() })
}
