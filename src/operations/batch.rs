//! Batches over an archive: starting one, and what is asked of those that run. They are in the fleet's database; the state directory is
//! not needed.

use std::path::Path;
use std::str::FromStr;

use serde::Serialize;

use super::OperationError;
use crate::config::Config;
use crate::deliver::bucket_options;
use crate::durable;
use crate::fleet::{BatchSpec, BatchStatus, Batches, PageRules};
use crate::recording::name::{printable, printable_text};
use crate::runtime::Runtime;

/// What a batch does with each recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BatchKind {
    /// What `process` does.
    Finish,
    /// What `recover` does: temporary names are orphaned, and what could not be finished before is tried again.
    Salvage,
    /// Catalogues each recording and makes its pictures.
    Posters,
    /// Reads headers and says what each recording needs. Nothing is changed.
    Verify,
    /// Delivers each recording to the configured targets and waits for it.
    Deliver,
}

impl BatchKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Finish, Self::Salvage, Self::Posters, Self::Verify, Self::Deliver];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::Salvage => "salvage",
            Self::Posters => "posters",
            Self::Verify => "verify",
            Self::Deliver => "deliver",
        }
    }

    /// By its name; `None` if a later version knows it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it can be done with objects in a bucket: no record is kept of these.
    const fn is_for_buckets(self) -> bool {
        matches!(self, Self::Finish | Self::Salvage | Self::Verify)
    }

    /// What is made of a page of its listing.
    pub(super) const fn page_rules(self) -> PageRules {
        PageRules {
            repeats: !matches!(self, Self::Finish),
            skips_results: matches!(self, Self::Finish | Self::Salvage),
        }
    }
}

/// At most so many recordings, for all nodes together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchRate {
    /// Recordings a second.
    pub per_second: f64,
}

impl FromStr for BatchRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit.trim() {
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            _ => 0.0,
        };
        let number = number.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
        match number {
            Some(number) if seconds > 0.0 => Ok(Self { per_second: number / seconds }),
            _ => Err("write a number of recordings a second, or one such as 600/min or 1000/h".to_owned()),
        }
    }
}

/// Starts a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct StartBatch {
    /// `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix`, or an absolute directory.
    pub root: String,
    /// What is done with each recording.
    pub kind: BatchKind,
    /// At most so many.
    pub rate: Option<BatchRate>,
}

/// Whether a root is a bucket.
pub fn is_bucket(root: &str) -> bool {
    ["s3://", "az://", "gs://"].iter().any(|scheme| root.starts_with(scheme))
}

impl StartBatch {
    /// Checks the root and starts the batch. Says its number.
    pub fn run(&self, config: &Config) -> Result<i64, OperationError> {
        let (root, root_id) = if is_bucket(&self.root) { self.bucket(config)? } else { self.directory()? };
        let rate = self.rate.map(|rate| rate.per_second);
        let spec = BatchSpec { kind: self.kind.name().to_owned(), root, root_id, rate };
        Ok(batches(config)?.start(&spec)?)
    }

    fn bucket(&self, config: &Config) -> Result<(String, Option<String>), OperationError> {
        if !self.kind.is_for_buckets() {
            let (kind, root) = (self.kind.name(), printable_text(&self.root));
            return Err(OperationError::invalid(format!(
                "`{kind}` does not apply to `{root}`: recordings in a bucket have no record"
            )));
        }
        let options = bucket_options(&self.root, &config.deliver).map_err(|e| OperationError::configuration(&e))?;
        Ok((options.targets.into_iter().next().map(|target| target.name).unwrap_or_default(), None))
    }

    /// A directory is known again by the id in its file, whatever lies under its path on other machines.
    fn directory(&self) -> Result<(String, Option<String>), OperationError> {
        let path = Path::new(&self.root);
        if !path.is_dir() {
            let words = format!("`{}` is not a directory, nor a URL of a bucket", printable(path));
            return Err(OperationError::invalid(words).with_next_step(
                "Write s3://bucket/prefix, az://container/prefix, gs://bucket/prefix, or the path of a directory.",
            ));
        }
        let root_id = durable::root_id(path)?;
        Ok((self.root.clone(), Some(root_id)))
    }
}

/// The batches in the configured database.
fn batches(config: &Config) -> Result<Batches, OperationError> {
    if !config.fleet.is_on() {
        return Err(needs_database());
    }
    let runtime = Runtime::start().map_err(|error| OperationError::internal(error.to_string()))?;
    Ok(Batches::open(&config.fleet, &runtime)?)
}

/// Without a database nothing is shared.
pub(super) fn needs_database() -> OperationError {
    OperationError::not_supported("batches need `[fleet] database`").with_next_step(
        "Set it, see docs/archive.md. Without a database, run `aftercast process --shard i/n` under any scheduler.",
    )
}

/// How one batch stands, or all.
pub fn batch_status(config: &Config, id: Option<i64>) -> Result<Vec<BatchStatus>, OperationError> {
    let batches = batches(config)?;
    Ok(match id {
        Some(id) => vec![batches.status(id)?],
        None => batches.list()?,
    })
}

/// What is done about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchChange {
    /// Nodes claim nothing of it until it is resumed.
    Pause,
    /// Nodes claim of it again.
    Resume,
    /// It ends before everything is done.
    Cancel,
}

/// Pauses, resumes or ends a batch. Says how it stands then.
pub fn change_batch(config: &Config, id: i64, change: BatchChange) -> Result<BatchStatus, OperationError> {
    let batches = batches(config)?;
    match change {
        BatchChange::Pause => batches.pause(id)?,
        BatchChange::Resume => batches.resume(id)?,
        BatchChange::Cancel => batches.cancel(id)?,
    }
    Ok(batches.status(id)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_with_or_without_a_unit() {
        let rate = |text: &str| text.parse::<BatchRate>().map(|rate| rate.per_second);
        assert_eq!(rate("50"), Ok(50.0));
        assert_eq!(rate("0.5/s"), Ok(0.5));
        assert_eq!(rate("600/min"), Ok(10.0));
        assert_eq!(rate("7200/h"), Ok(2.0));
        for bad in ["", "0", "-1", "x", "5/day", "inf", "NaN", "1/"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
