//! Looking after the catalogue: making its records again, comparing its indices with them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::fault::chain;
use crate::pipeline::{self, NameOverrides, RebuildResult};

/// Makes the records of finished files again from what is on disk, and of freed ones from the targets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RebuildCatalog {
    /// Directories, absolute; the configured roots if none is given.
    pub paths: Vec<PathBuf>,
    /// Do not ask the targets what they hold.
    pub no_stores: bool,
}

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebuiltCatalog {
    /// Records that were made and were not there.
    pub added: usize,
    /// Records that were there already.
    pub known: usize,
    /// Records that were made from objects.
    pub from_stores: usize,
    /// Copies that were added to records that were there.
    pub attached: usize,
    /// Targets that could not be asked, or not to the end.
    pub unasked: Vec<Unasked>,
    /// Files that are not finished.
    pub unfinished: Vec<PathBuf>,
    /// Files that could not be read, with the reason.
    pub failed: Vec<(PathBuf, String)>,
    /// Places that could not be read, in words.
    pub problems: Vec<String>,
}

/// A target that could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unasked {
    /// Its name.
    pub target: String,
    /// Why.
    pub reason: String,
}

impl RebuiltCatalog {
    /// Whether nothing was in the way.
    pub fn is_whole(&self) -> bool {
        self.failed.is_empty() && self.problems.is_empty() && self.unasked.is_empty()
    }
}

impl From<RebuildResult> for RebuiltCatalog {
    fn from(rebuilt: RebuildResult) -> Self {
        let RebuildResult { added, known, from_stores, attached, unasked, unfinished, failed, problems } = rebuilt;
        let unasked = unasked.into_iter().map(|(target, reason)| Unasked { target, reason }).collect();
        let problems = problems.iter().map(ToString::to_string).collect();
        Self { added, known, from_stores, attached, unasked, unfinished, failed, problems }
    }
}

impl Operation for RebuildCatalog {
    type Item = NoItem;
    type Data = RebuiltCatalog;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<RebuiltCatalog, OperationError> {
        let (ctx, settings) = (context.pipeline(), context.pipeline().settings());
        let places = if self.paths.is_empty() {
            pipeline::configured_places(&settings)
        } else {
            pipeline::places_of(super::process::absolute(&self.paths)?, &settings, &NameOverrides::default())
        };
        if places.is_empty() {
            let detail = "no directory is configured or given to rebuild the catalogue from";
            return Err(OperationError::invalid(detail));
        }
        Ok(context.stoppable(|| pipeline::rebuild(ctx, &places, !self.no_stores))??.into())
    }
}

/// Compares the index with the records, and repairs it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckCatalog {}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CatalogCheck {
    /// VoDs that were read.
    pub vods: usize,
    /// Deliveries that were read.
    pub deliveries: usize,
    /// Values that cannot be read, in words; they are left alone.
    pub unreadable: Vec<String>,
    /// Index rows that were missing and are added.
    pub missing_rows_added: usize,
    /// Index rows that belonged to nothing and are removed.
    pub dangling_rows_removed: usize,
}

impl Operation for CheckCatalog {
    type Item = NoItem;
    type Data = CatalogCheck;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<CatalogCheck, OperationError> {
        let checked = context.pipeline().catalog.check(true)?;
        Ok(CatalogCheck {
            vods: checked.vods,
            deliveries: checked.deliveries,
            unreadable: checked.unreadable.iter().map(|error| chain(error)).collect(),
            missing_rows_added: checked.missing_rows,
            dangling_rows_removed: checked.dangling_rows,
        })
    }
}
