//! Whether the daemon can do its work, and how much of it there is.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, FleetStatus, ItemSink, NoItem, Operation, OperationError};
use crate::durable;
use crate::pipeline::PipelineContext;
use crate::recording::name::printable;

/// What the daemon is doing, what waits and what is in the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowStatus {}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Whether it can take recordings: the first scan is done, the catalogue works, every root is there.
    pub is_ready: bool,
    /// Why it cannot, in words.
    pub not_ready: Vec<String>,
    /// Name of the configured time zone, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time_zone: Option<String>,
    /// The configured roots.
    pub roots: Vec<RootStatus>,
    /// The configured targets.
    pub targets: Vec<TargetStatus>,
    /// What is being read, written or sent now, the longest under way first.
    pub under_way: Vec<UnderWay>,
    /// Recordings that are being finished.
    pub active: usize,
    /// Recordings that wait for it.
    pub queued: usize,
    /// What works only in part, in words; recordings are taken all the same.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub degraded: Vec<String>,
    /// How this node stands to others, where `[fleet]` is configured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fleet: Option<FleetStatus>,
}

/// A root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RootStatus {
    /// Its directory.
    pub path: PathBuf,
    /// Whether the directory that was there before is there now.
    pub is_available: bool,
    /// Why it is left alone for now because of other nodes, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refusal: Option<String>,
    /// Bytes free on its file system, if that can be told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub free_bytes: Option<u64>,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// Its name.
    pub name: String,
    /// Until when it is paused as a whole, milliseconds since the Unix epoch, if it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub paused_until_ms: Option<i64>,
}

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnderWay {
    /// The recording and what happens to it.
    pub label: String,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes to do, as far as is known.
    pub total_bytes: u64,
}

impl Operation for ShowStatus {
    type Item = NoItem;
    type Data = Status;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<Status, OperationError> {
        let ctx = context.pipeline();
        let roots: Vec<_> = ctx.settings().watch.roots.iter().map(|root| RootStatus::of(ctx, &root.path)).collect();
        let not_ready = not_ready(context, &roots);
        let reading = ctx.meters.read().into_iter();
        let (active, queued) = context.engine().pool().load();
        let fleet = FleetStatus::of(ctx)?;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            is_ready: not_ready.is_empty(),
            not_ready,
            time_zone: context.config().finish.time_zone.iana_name().map(str::to_owned),
            roots,
            targets: ctx.targets().names().map(|name| TargetStatus::of(ctx, name)).collect(),
            under_way: reading
                .map(|r| UnderWay { label: r.label, done_bytes: r.done_bytes, total_bytes: r.total_bytes })
                .collect(),
            active,
            queued,
            degraded: fleet.iter().filter_map(FleetStatus::degraded).chain(refused(ctx)).collect(),
            fleet,
        })
    }
}

/// Roots that are left alone because of other nodes.
fn refused(ctx: &PipelineContext) -> Vec<String> {
    let settings = ctx.settings();
    let refusals = settings.watch.roots.iter().filter_map(|root| ctx.refusal(&root.path));
    refusals.map(|refusal| refusal.to_string()).collect()
}

fn not_ready(context: &Context, roots: &[RootStatus]) -> Vec<String> {
    let mut reasons = Vec::new();
    if !context.is_ready() {
        reasons.push("the first scan is not done yet".to_owned());
    }
    if let Err(error) = context.pipeline().catalog.require_works() {
        reasons.push(error.to_string());
    }
    let missing = roots.iter().filter(|root| !root.is_available);
    reasons.extend(missing.map(|root| format!("the root `{}` is unavailable", printable(&root.path))));
    reasons
}

impl RootStatus {
    fn of(ctx: &PipelineContext, path: &std::path::Path) -> Self {
        let is_available = path.is_dir() && !ctx.is_unavailable(path);
        let refusal = ctx.refusal(path).map(|refusal| refusal.to_string());
        Self { path: path.to_owned(), is_available, refusal, free_bytes: durable::free_bytes(path).ok() }
    }
}

impl TargetStatus {
    fn of(ctx: &PipelineContext, name: &str) -> Self {
        Self { name: name.to_owned(), paused_until_ms: ctx.delivering.target_waits_until(name) }
    }
}
