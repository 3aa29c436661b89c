//! Where pictures lie: in `previews/` beside their recording, under its name.

use std::ffi::OsString;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::durable::{self, FileError, Partial, PartialOwner};
use crate::fault::chain;
use crate::pipeline::context::PipelineContext;
use crate::recording::name::printable;
use crate::recording::{PictureFile, VodRecord};

/// The directory beside a recording.
const DIRECTORY: &str = "previews";
/// Names that are tried: `NAME.jpg`, `NAME_1.jpg` …
const MOST_NAMES: u32 = 100;

/// Writes a picture of a recording, durably; a name that is taken is left alone. Owner, group, mode and time are those of the
/// recording.
pub(super) fn write(
    vod: &VodRecord,
    like: &Metadata,
    owner: &PartialOwner,
    ending: &str,
    bytes: &[u8],
) -> Result<PictureFile, FileError> {
    let taken = || FileError {
        verb: "find a free name for",
        path: vod.file_path.clone(),
        source: std::io::ErrorKind::AlreadyExists.into(),
    };
    for number in 0..MOST_NAMES {
        let path = name(&vod.file_path, number, ending);
        if durable::fingerprint(&path).is_ok() {
            continue;
        }
        match write_as(&path, like, owner, bytes) {
            Err(error) if error.is_taken() => {}
            other => return other,
        }
    }
    Err(taken())
}

fn name(recording: &Path, number: u32, ending: &str) -> PathBuf {
    let mut name = OsString::from(recording.file_stem().unwrap_or_default());
    name.push(if number == 0 { String::new() } else { format!("_{number}") });
    name.push(ending);
    recording.parent().unwrap_or(Path::new("")).join(DIRECTORY).join(name)
}

fn write_as(path: &Path, like: &Metadata, owner: &PartialOwner, bytes: &[u8]) -> Result<PictureFile, FileError> {
    if let Some(directory) = path.parent() {
        durable::create_directories(directory)?;
    }
    let mut partial = Partial::create(path, owner)?;
    partial.write_all(bytes)?;
    let sealed = partial.seal(like)?;
    let named = durable::publish(&sealed.path, path, &sealed.fingerprint);
    if named.is_err() {
        let _ = durable::remove_own(&sealed.path);
    }
    named?.durably()?;
    let digest = blake3::hash(bytes).to_hex().to_string();
    Ok(PictureFile { path: path.to_owned(), digest, fingerprint: sealed.fingerprint })
}

/// Removes pictures that are as they were written.
pub(super) fn remove<'a>(files: impl Iterator<Item = &'a PictureFile>) {
    for file in files {
        let is_ours = durable::fingerprint(&file.path).is_ok_and(|now| now == file.fingerprint);
        if let Some(error) = is_ours.then(|| durable::remove(&file.path).err()).flatten() {
            warn!(path = %printable(&file.path), error = chain(&error), "cannot remove a picture");
        }
    }
}

/// Removes the pictures that were made of a VoD, if its root is there.
pub fn remove_pictures(ctx: &PipelineContext, vod: &VodRecord) {
    if crate::pipeline::roots::is_available(&ctx.roots, &vod.root) {
        remove(vod.pictures.files());
    }
}
