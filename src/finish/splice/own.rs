//! The header in front of a file of our own that is not finished yet: no lease and no journal are needed, since nobody
//! else knows the file and a cut leaves a partial that is thrown away.

use std::io::BufReader;
use std::path::Path;

use super::prepare::{PlanMismatch, file_type, inserts_blocks};
use crate::durable::{self, FileError, InPlaceEditor, InPlaceOp};
use crate::finish::FinishError;
use crate::finish::sameness::{self, PayloadSample};
use crate::isobmff::{self, FileShape, FrontPlan, Layout, Movie};
use crate::recording::Defect;
use crate::threads::alongside;

/// Whether the file system of a path inserts blocks without copying.
pub(crate) fn can_insert(path: &Path) -> bool {
    InPlaceEditor::open(path).and_then(|open| open.file_system()).is_ok_and(|(magic, _)| inserts_blocks(magic))
}

/// The header of a partial of ours as it was written: fragments gathered in one movie.
#[derive(Debug)]
pub(crate) struct OwnHeader {
    layout: Layout,
    /// The samples of all fragments.
    pub(crate) movie: Movie,
}

/// Reads the fragments of our own partial; `None` if one header cannot say what they say.
pub(crate) fn own_fragments(partial: &Path) -> Result<Option<OwnHeader>, FinishError> {
    let read = || -> Result<Option<OwnHeader>, PlanMismatch> {
        let file = durable::open_to_read(partial).map_err(|e| e.source)?;
        let len = file.metadata()?.len();
        let mut reader = BufReader::new(&file);
        let layout = isobmff::top_level(&mut reader, len)?;
        let movie = Movie::read(&mut reader, &layout)?;
        if layout.shape() != FileShape::Fragmented {
            return Ok(None);
        }
        let whole = isobmff::fragment::read(&mut reader, &layout, movie)?;
        let is_sound =
            whole.stays_fragmented.is_none() && !whole.movie.defects.iter().any(Defect::leaves_something_out);
        Ok(is_sound.then_some(OwnHeader { layout, movie: whole.movie }))
    };
    read().map_err(|e| e.on(partial))
}

/// Puts one header in front of the fragments of our own partial, which is on the disk already. `false`: the file system
/// does not do it here, and the partial is of no use any more.
pub(crate) fn put_in_front_of_own(partial: &Path, own: &OwnHeader) -> Result<bool, FinishError> {
    let open = InPlaceEditor::open(partial)?;
    let (_, block_bytes) = open.file_system()?;
    let chosen = PayloadSample::of(&own.movie);
    let digest = |moved_by| chosen.digest(open.file(), moved_by).map_err(|e| PlanMismatch::from(e).on(partial));
    let ftyp = file_type(open.file(), &own.layout).map_err(FileError::on("read", partial))?;
    let plan = || FrontPlan::spanning(&own.movie, &own.movie.to_ftyp(&ftyp), own.layout.len, block_bytes);
    let digest_and_drop = || {
        let before = digest(0);
        open.drop_pages();
        before
    };
    let (before, planned) = alongside(digest_and_drop, plan);
    let header = planned.map_err(|e| PlanMismatch::from(e).on(partial))?.header;
    let inserted_bytes = header.len() as u64;
    if let Err(error) = open.perform(InPlaceOp::Insert { at: 0, bytes: inserted_bytes }) {
        tracing::debug!(error = crate::fault::chain(&error.source), "header of a partial not inserted");
        return Ok(false);
    }
    let write_and_compare = || {
        open.perform(InPlaceOp::Write { at: 0, bytes: &header })?;
        drop(header);
        compare(&open, own, inserted_bytes).map_err(|e| e.on(partial))
    };
    let (written, after) = alongside(write_and_compare, || digest(inserted_bytes));
    written?;
    if after? == before? {
        return Ok(true);
    }
    Err(PlanMismatch::Different("the payloads differ after the blocks were inserted".into()).on(partial))
}

/// Every sample of the header in front lies so many bytes behind its place in the fragments.
fn compare(open: &InPlaceEditor, own: &OwnHeader, inserted_bytes: u64) -> Result<(), PlanMismatch> {
    let len = open.file().metadata()?.len();
    let mut reader = BufReader::new(open.file());
    let layout = isobmff::top_level(&mut reader, len)?;
    if layout.shape() != FileShape::HeaderFirst {
        return Err(PlanMismatch::Different("the header is not in front".into()));
    }
    let (_, moov) = isobmff::movie::read_moov(&mut reader, &layout)?;
    let said = sameness::same_header(&own.movie, &moov, Some(inserted_bytes))?;
    said.map_err(PlanMismatch::Different)
}
