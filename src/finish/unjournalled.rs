//! Work on a file that the journal does not know: a second file is made of it, and it stays as it is.

use std::io;
use std::path::{Path, PathBuf};

use super::phases::PreparedRecording;
use super::work::{Conclusion, FinishPhase};
use super::{FinishError, NameRequest};
use crate::discover::Settled;
use crate::durable;
use crate::recording::journey::{Candidate, NameFacts};
use crate::salvage::Reference;

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

/// Finishes such a file into a second one under a name of ours beside `to`, which nobody else may be given meanwhile.
pub fn finish_beside(
    prepared: PreparedRecording<'_>,
    references: &[Reference],
    to: &Path,
) -> Result<Conclusion, FinishError> {
    finish_beside_named(prepared, references, |_| to.to_owned())
}

/// The same, beside a name that is chosen when the extension of the finished file is known.
pub fn finish_beside_named(
    prepared: PreparedRecording<'_>,
    references: &[Reference],
    to: impl Fn(&NameRequest) -> PathBuf,
) -> Result<Conclusion, FinishError> {
    let mut phase = prepared.begin(references)?;
    loop {
        phase = match phase {
            FinishPhase::Unnamed(unnamed) => {
                let to = to(unnamed.name_request());
                unnamed.named(to)?
            }
            // Without a journal nothing may be changed where it stands.
            FinishPhase::Change(_) => {
                return Err(FinishError::NotJournalled {
                    source: io::Error::other("this work is not journalled").into(),
                });
            }
            FinishPhase::Ended(conclusion) => return Ok(conclusion),
        }
    }
}
