//! The header in front of a file of our own that is not finished yet: no lease and no journal are needed, since nobody
//! else knows the file and a cut leaves a partial that is thrown away.

use std::io::BufReader;
use std::path::Path;

use super::prepare::{Unlike, file_type, inserts_blocks, retirement};
use super::recover::retire_by;
use crate::durable::{FileError, InPlace, Operation};
use crate::finish::{FinishError, sameness};
use crate::isobmff::{self, FrontPlan, Layout, Movie, Shape};

/// Whether the file system of a path inserts blocks without copying.
pub(crate) fn can_insert(path: &Path) -> bool {
    InPlace::open(path).and_then(|open| open.file_system()).is_ok_and(|(magic, _)| inserts_blocks(magic))
}

/// Puts the header of our own partial to its front. `false`: the file system does not do it here, and the partial is of
/// no use any more.
pub(crate) fn put_in_front_of_own(partial: &Path) -> Result<bool, FinishError> {
    let open = InPlace::open(partial)?;
    let (layout, movie) = header_of(&open).map_err(|e| e.on(partial))?;
    match layout.shape() {
        Shape::HeaderFirst => return Ok(true),
        Shape::HeaderLast => {}
        _ => return Ok(false),
    }
    let before = sameness::spread_digest(open.file(), &movie, 0).map_err(|e| Unlike::from(e).on(partial))?;
    let (_, block_bytes) = open.file_system()?;
    let ftyp = file_type(open.file(), &layout).map_err(FileError::on("read", partial))?;
    let plan = FrontPlan::whole(&layout, &movie, &ftyp, block_bytes).map_err(|e| Unlike::from(e).on(partial))?;
    let inserted_bytes = plan.header.len() as u64;
    if let Err(error) = open.perform(Operation::Insert { at: 0, bytes: inserted_bytes }) {
        tracing::debug!(error = %error.source, "The header of a partial is not inserted.");
        return Ok(false);
    }
    open.perform(Operation::Write { at: 0, bytes: &plan.header })?;
    retire_by(&open, retirement(layout.first(b"moov").copied(), layout.len, inserted_bytes))?;
    compare(&open, &movie, before).map_err(|e| e.on(partial))?;
    Ok(true)
}

fn header_of(open: &InPlace) -> Result<(Layout, Movie), Unlike> {
    let len = open.file().metadata()?.len();
    let mut reader = BufReader::new(open.file());
    let layout = isobmff::top_level(&mut reader, len)?;
    let movie = Movie::read(&mut reader, &layout)?;
    Ok((layout, movie))
}

fn compare(open: &InPlace, old: &Movie, before: blake3::Hash) -> Result<(), Unlike> {
    let (_, new) = header_of(open)?;
    sameness::same_samples(old, &new, None).map_err(Unlike::Different)?;
    let after = sameness::spread_digest(open.file(), &new, 0)?;
    if after == before { Ok(()) } else { Err(Unlike::Different("the payloads differ".into())) }
}
