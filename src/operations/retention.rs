//! Freeing local files that are delivered and proven, and the plan of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::pipeline;
use crate::retain::PlannedFree;

/// What would be freed now, and why the rest stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRetention {}

/// The plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPlan {
    /// What would be freed, the oldest proof first.
    pub frees: Vec<PlannedFree>,
    /// What stays.
    pub kept: Vec<Kept>,
    /// Bytes still too much after everything that may go is gone.
    pub short_bytes: u64,
    /// Whether nothing is freed before `catalog rebuild`, as the catalogue is an older state of itself.
    pub is_behind: bool,
}

/// A VoD whose local file stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Its id.
    pub vod_id: String,
    /// Why.
    pub reason: String,
}

impl Operation for PlanRetention {
    type Item = NoItem;
    type Data = RetentionPlan;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<RetentionPlan, OperationError> {
        let ctx = context.pipeline();
        let plan = pipeline::retention_plan(ctx)?;
        let kept = plan.kept.into_iter().map(|(vod_id, reason)| Kept { vod_id, reason: reason.to_string() });
        Ok(RetentionPlan {
            frees: plan.frees,
            kept: kept.collect(),
            short_bytes: plan.short_bytes,
            is_behind: ctx.catalog.is_behind(),
        })
    }
}

/// Frees what the plan frees, each file with a permit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FreeLocal {}

/// How many there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Freed {
    /// VoDs whose local files were freed.
    pub freed: usize,
}

impl Operation for FreeLocal {
    type Item = NoItem;
    type Data = Freed;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<Freed, OperationError> {
        Ok(Freed { freed: pipeline::free_what_is_due(context.pipeline()) })
    }
}
