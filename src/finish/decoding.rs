//! Whether a recording decodes, asked of a process with limits (`media::apart`): a decoder that crashes, hangs or takes all memory costs
//! its check and nothing else.
//!
//! A process that is not the program itself, such as a test of this room, has nothing to start and decodes here.

use std::path::Path;
use std::time::Duration;

use super::FinishError;
use crate::durable;
use crate::fault::{Class, Fault as _, chain};
use crate::media::apart::{ApartError, Limits, Worker};
use crate::media::{self, DecodeErrors, MediaError, PassControl};
use crate::recording::Container;

/// Memory beyond the program and its libraries: four threads that decode 8K have less.
const MEMORY_BYTES: u64 = 2 << 30;
/// CPU time of any recording, and more for each so many bytes: 4K with few bits takes a decoder long.
const LEAST_TIME: Duration = Duration::from_secs(600);
const BYTES_PER_SECOND: u64 = 64 << 10;
/// A decoder that reads nothing more for so long does not come to an end.
const SILENCE: Duration = Duration::from_secs(300);
const ANSWER_BYTES: usize = 1 << 20;

/// What came of it.
#[derive(Debug)]
pub(super) enum DecodeOutcome {
    /// Everything was decoded; these are the errors.
    Errors(Vec<DecodeErrors>),
    /// The decoder was ended, and why.
    Failed(String),
}

/// Decodes a recording, or its first bytes behind a header that is in no file.
pub(super) fn decoded(
    (path, container): (&Path, Container),
    part: Option<(Vec<u8>, u64)>,
    decoder: Option<&Path>,
    watch: PassControl<'_>,
) -> Result<DecodeOutcome, FinishError> {
    let Some(program) = decoder else {
        let errors = match part {
            None => media::decode_check(path, container, watch)?,
            Some((header, len)) => media::decode_check_headed(path, header, len, watch)?,
        };
        return Ok(DecodeOutcome::Errors(errors));
    };
    let file = durable::open_to_read(path)?;
    let size_bytes = durable::metadata(path)?.len();
    let limits = limits(size_bytes);
    let part = part.as_ref().map(|(header, len)| (&header[..], *len));
    let mut worker = Worker::of(program.to_owned());
    let mut check = || worker.check((&file, path, container), part, &limits, watch);
    let mut checked = check();
    if checked.as_ref().is_err_and(ApartError::is_death) {
        // The kernel or an operator may have ended it.
        checked = check();
    }
    match checked {
        Ok(errors) => Ok(DecodeOutcome::Errors(errors)),
        Err(ApartError::Stopped) => Err(MediaError::Cancelled.into()),
        Err(error) if error.class() == Class::Permanent && !matches!(error, ApartError::Refused { .. }) => {
            Ok(DecodeOutcome::Failed(chain(&error)))
        }
        Err(source) => Err(FinishError::Decoder { path: path.to_owned(), source }),
    }
}

fn limits(size_bytes: u64) -> Limits {
    let time = LEAST_TIME + Duration::from_secs(size_bytes / BYTES_PER_SECOND);
    Limits { memory_bytes: MEMORY_BYTES, time, silence: Some(SILENCE), answer_bytes: ANSWER_BYTES }
}
