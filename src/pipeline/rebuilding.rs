//! `catalog rebuild`: makes the records of finished files again from what is on disk, with the same ids, and those of freed
//! ones from what the stores hold.

use std::path::{Path, PathBuf};

use super::context::PipelineContext;
use super::discovering::Discovering;
use super::error::PipelineError;
use super::finding::{self, InputPath, Item};
use super::restoring;
use super::sidecars;
use crate::catalog::Catalog;
use crate::discover::{Mode, Problem, SettleOutcome, Settled};
use crate::fault::chain;
use crate::finish::{self, FinishAction, FinishError, Provenance};
use crate::media::PassControl;
use crate::recording::journey::Candidate;
use crate::recording::{Container, Outcome, VodRecord};

/// Records that are added in one go.
const BATCH: usize = 100;

/// What a rebuild did.
#[derive(Debug, Default)]
pub struct RebuildResult {
    /// Records that were made and were not there.
    pub added: usize,
    /// Records that were there already.
    pub known: usize,
    /// Records that were made from objects: their local files were freed.
    pub from_stores: usize,
    /// Copies that were noted in records that were there, whose local files are gone.
    pub attached: usize,
    /// Targets that could not be asked, or not to the end, with the reason.
    pub unasked: Vec<(String, String)>,
    /// Files that are not finished; `process` takes them.
    pub unfinished: Vec<PathBuf>,
    /// Files that could not be read, with the reason.
    pub failed: Vec<(PathBuf, String)>,
    /// Places that could not be read.
    pub problems: Vec<Problem>,
}

/// Looks at every finished file in the places and, unless told otherwise, at what the targets hold; writes no media.
pub fn rebuild(ctx: &PipelineContext, places: &[InputPath], asks_stores: bool) -> Result<RebuildResult, PipelineError> {
    let mut rebuilt = RebuildResult::default();
    let (mut records, mut failed) = (Vec::new(), None);
    finding::visit(&ctx.discovering, places, &mut |item| match item {
        Item::Candidate(candidate) if failed.is_none() => {
            let path = candidate.path.clone();
            match record_of(&ctx.discovering, candidate) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => rebuilt.unfinished.push(path),
                Err(error) => rebuilt.failed.push((path, chain(&error))),
            }
            if records.len() >= BATCH {
                failed = merge(&ctx.catalog, &mut records, &mut rebuilt).err();
            }
        }
        Item::Problem(problem) => rebuilt.problems.push(problem),
        _ => {}
    })?;
    failed.map_or(Ok(()), Err)?;
    merge(&ctx.catalog, &mut records, &mut rebuilt)?;
    if asks_stores {
        restoring::restore(&ctx.delivering, places, &mut rebuilt)?;
    }
    ctx.catalog.caught_up()?;
    Ok(rebuilt)
}

/// Adds records to the catalogue.
fn merge(catalog: &Catalog, records: &mut Vec<VodRecord>, rebuilt: &mut RebuildResult) -> Result<(), PipelineError> {
    let merged = catalog.merge_rebuilt(records)?;
    rebuilt.added += merged.added;
    rebuilt.known += records.len().saturating_sub(merged.added);
    records.clear();
    Ok(())
}

/// The record of a file that is finished and settled; `None` for one that `process` would still work on.
fn record_of(ctx: &Discovering, candidate: Candidate) -> Result<Option<VodRecord>, FinishError> {
    if candidate.is_temporary {
        return Ok(None);
    }
    let settings = ctx.config.settings();
    let inspection = finish::inspect(&candidate.path)?;
    let plan = finish::decide(&inspection, &settings.finish_of(&candidate));
    let SettleOutcome::Settled(settled) =
        ctx.config.settler().settle(candidate, None, Mode::Recover, ctx.clock.now_ms())
    else {
        return Ok(None);
    };
    match plan.action {
        FinishAction::Keep if !has_finished_sibling(settled.path()) => {
            record_of_settled(&settled, &inspection, plan.container, ctx.clock.now_ms())
                .map(|record| Some(sidecars::with_notes(record)))
        }
        _ => Ok(None),
    }
}

/// An original that was kept lies beside the file that was made from it.
fn has_finished_sibling(path: &Path) -> bool {
    let is_own =
        |e: &str| Container::from_extension(e).is_some_and(|c| c.is_iso() || c.is_kept() || c == Container::Webm);
    let is_finished = path.extension().is_some_and(|e| is_own(&e.to_string_lossy()));
    !is_finished
        && ["mp4", "webm", "mkv"]
            .iter()
            .any(|e| path.extension().is_some_and(|own| own != *e) && path.with_extension(e).exists())
}

fn record_of_settled(
    settled: &Settled,
    inspection: &finish::Inspection,
    container: Container,
    now_ms: i64,
) -> Result<VodRecord, FinishError> {
    let watch = PassControl { cancel: None, progress: None };
    let description = finish::describe(settled.path(), container, &watch)?;
    let start = finish::start_of(settled.candidate(), description.created_ms, description.duration_ms);
    let provenance =
        Provenance { outcome: Outcome::Kept, splice: None, undo: None, salvage: None, keeps_original: false };
    let (path, fingerprint) = (settled.candidate().path.clone(), settled.candidate().fingerprint);
    let made = finish::FinishedFile {
        path,
        evidence: settled.evidence(),
        description,
        defects: inspection.defects.clone(),
        start,
        fingerprint,
        provenance,
    };
    Ok(finish::record_of_finished(settled.candidate(), made, now_ms))
}
