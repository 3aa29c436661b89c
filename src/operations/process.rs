//! Taking recordings in some paths to their end, once; the plan of it; taking back what was finished in place.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::discover::{Mode, Server};
use crate::pipeline::{self, Batch, BatchPart, InputPath, JourneyOutcome, NameOverrides, PlannedItem, UndoResult};
use crate::recording::name::{all_shown, printable, shown};
use crate::recording::{Delivery, Shard};

/// Takes every finished recording in some paths to its end, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Process {
    /// Recordings, or directories of recordings, absolute.
    pub paths: Vec<PathBuf>,
    /// `recover` takes temporary names as orphaned at once.
    pub mode: Mode,
    /// Stay until everything is delivered.
    #[serde(default)]
    pub wait: bool,
    /// Also take what was quarantined, left out or has failed before, and validate what is finished again.
    #[serde(default)]
    pub again: bool,
    /// The ingest server whose names are read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server: Option<String>,
    /// How names are read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub template: Option<String>,
    /// The stream id of every recording.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stream: Option<String>,
    /// Only this part of the recordings, `i/n`: n processes with i from 1 to n take each recording once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shard: Option<Shard>,
}

/// How the journey of one recording ended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Processed {
    /// The recording.
    pub path: PathBuf,
    /// Its end, for now.
    #[serde(flatten)]
    pub ended: JourneyOutcome,
}

/// What there is to say when every journey has ended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessReport {
    /// Recordings that are still being written, or for which nothing proves that they are not.
    pub not_settled: Vec<NotSettled>,
    /// Media that is not handled, and files that were named and are no recordings.
    #[serde(serialize_with = "all_shown")]
    #[schemars(with = "Vec<PathBuf>")]
    pub unhandled: Vec<PathBuf>,
    /// Places that could not be read.
    pub problems: Vec<OperationError>,
    /// What is not delivered yet.
    pub undelivered: Vec<Delivery>,
    /// Whether it was stopped before its end.
    pub is_interrupted: bool,
}

/// A recording that may still be written.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct NotSettled {
    /// The recording.
    #[serde(serialize_with = "shown")]
    #[schemars(with = "PathBuf")]
    pub path: PathBuf,
    /// What is waited for.
    pub message: String,
}

impl Process {
    /// Everything in the configured roots: for a [`Plan`].
    pub const fn of_roots(mode: Mode) -> Self {
        Self {
            paths: Vec::new(),
            mode,
            wait: false,
            again: false,
            server: None,
            template: None,
            stream: None,
            shard: None,
        }
    }

    /// Whether the arguments are sound by themselves: for whoever does other work before it runs.
    pub fn check(&self) -> Result<(), OperationError> {
        if self.paths.is_empty() || self.mode == Mode::Watch {
            return Err(OperationError::invalid(
                "`paths` must not be empty, and `mode` must be `process` or `recover`",
            ));
        }
        self.server.as_deref().map(server_named).transpose()?;
        absolute(&self.paths).map(drop)
    }

    /// The places that the paths mean, with how names are read there.
    fn places(&self, context: &Context) -> Result<Vec<InputPath>, OperationError> {
        let server = self.server.as_deref().map(server_named).transpose()?;
        let names = NameOverrides { server, template: self.template.clone(), stream: self.stream.clone() };
        let config = context.config();
        let mut places = pipeline::places_of(absolute(&self.paths)?, &context.pipeline().settings(), &names);
        for place in places.iter_mut().filter(|p| !config.watch.roots.iter().any(|r| r.path == p.root.path)) {
            // A path outside every root is read like the section says, unless the request says otherwise.
            let defaults = config.root_at(place.root.path.clone());
            place.root.server = names.server.unwrap_or(defaults.server);
            place.root.template = names.template.clone().or(defaults.template);
        }
        Ok(places)
    }
}

fn server_named(name: &str) -> Result<Server, OperationError> {
    let names: Vec<_> = Server::ALL.into_iter().map(Server::name).collect();
    let unknown = || OperationError::invalid(format!("`{name}` is not a server; use one of {}", names.join(", ")));
    Server::from_name(name).ok_or_else(unknown)
}

/// Paths that mean the same wherever they were typed.
pub(super) fn absolute(paths: &[PathBuf]) -> Result<&[PathBuf], OperationError> {
    match paths.iter().find(|path| !path.is_absolute()) {
        Some(relative) => Err(OperationError::invalid(format!("`{}` is not an absolute path", printable(relative)))),
        None => Ok(paths),
    }
}

impl Operation for Process {
    type Item = Processed;
    type Data = ProcessReport;

    fn run(&self, context: &Context, tell: ItemSink<'_, Processed>) -> Result<ProcessReport, OperationError> {
        self.check()?;
        let stop = context.stop();
        let batch = Batch {
            places: self.places(context)?,
            mode: self.mode,
            wait: self.wait,
            again: self.again,
            part: self.shard.map_or(BatchPart::Whole, BatchPart::Shard),
            is_alone: context.is_alone(),
            stop: stop.clone(),
        };
        let mut hear = |path, ended| {
            if tell(Processed { path, ended }).is_err() {
                stop.request();
            }
        };
        let report = pipeline::run(context.engine(), &batch, &mut hear)?;
        let not_settled = report.not_settled.into_iter();
        Ok(ProcessReport {
            not_settled: not_settled.map(|(path, why)| NotSettled { path, message: why.to_string() }).collect(),
            unhandled: report.unhandled,
            problems: report.problems.iter().map(|problem| OperationError::in_one_line(problem)).collect(),
            undelivered: report.undelivered,
            is_interrupted: stop.is_requested(),
        })
    }
}

/// What a [`Process`] would do; without paths what the daemon would do in the configured roots. Nothing is journalled,
/// written or asked of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Plan(pub Process);

/// The plan.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlannedRun {
    /// What would be done with each recording or unit.
    pub items: Vec<PlannedItem>,
    /// Places that could not be read.
    pub problems: Vec<OperationError>,
}

impl Operation for Plan {
    type Item = NoItem;
    type Data = PlannedRun;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<PlannedRun, OperationError> {
        let places = if self.0.paths.is_empty() {
            pipeline::configured_places(&context.pipeline().settings())
        } else {
            self.0.places(context)?
        };
        let plan = || pipeline::plan(&context.pipeline().discovering, &places, self.0.shard, self.0.mode);
        let planned = context.stoppable(plan)??;
        let problems = planned.problems.iter().map(|problem| OperationError::in_one_line(problem)).collect();
        Ok(PlannedRun { items: planned.items, problems })
    }
}

/// Takes back the splice of the VoD at a path: the recording is what it was, and the VoD is no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoSplice {
    /// Absolute path of the finished file.
    pub path: PathBuf,
}

impl Operation for UndoSplice {
    type Item = NoItem;
    /// `None`: the catalogue has no VoD at that path.
    type Data = Option<UndoResult>;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<Option<UndoResult>, OperationError> {
        absolute(std::slice::from_ref(&self.path))?;
        Ok(pipeline::undo(&context.pipeline().journaling, &self.path)?)
    }
}
