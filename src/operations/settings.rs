//! The settings in force, with where each came from. Nothing secret is ever among them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::config::{self, Config};

/// The settings in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowSettings {}

/// All that are set or have a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// The configuration file that was read, if any.
    pub file: Option<PathBuf>,
    /// The settings, in the order of the documentation.
    pub values: Vec<Setting>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// Its path: `watch.quiet`, `deliver.target.0.url`.
    pub key: String,
    /// The value as TOML.
    pub value: String,
    /// Where it came from: a line of the file, an environment variable, `default` …
    pub origin: String,
}

/// The settings of a configuration.
pub fn settings_of(config: &Config) -> Settings {
    let setting = |printed: config::PrintedSetting| Setting {
        key: printed.key,
        value: printed.value,
        origin: printed.origin.to_string(),
    };
    Settings { file: config.file.clone(), values: config::print(config).into_iter().map(setting).collect() }
}

impl Operation for ShowSettings {
    type Item = NoItem;
    type Data = Settings;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<Settings, OperationError> {
        Ok(settings_of(&context.config()))
    }
}
