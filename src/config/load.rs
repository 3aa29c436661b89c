//! Which file is read, and the four sources laid on each other: flag > environment > file > default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::compose::compose;
use super::error::{ConfigError, ConfigProblem, Origin, ProblemKind};
use super::layer::Layer;
use super::{Config, env, file};

const FILE_VARIABLE: &str = "AFTERCAST_CONFIG";
const LOCAL_FILE: &str = "config.toml";
const SYSTEM_FILE: &str = "/etc/aftercast/config.toml";

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources<'a> {
    /// `--config FILE`.
    pub file: Option<&'a Path>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Settings of the command line: dotted path and text, such as `("watch.quiet", "60s")`. Paths absolute.
    pub overrides: &'a [(String, String)],
}

impl<'a> Sources<'a> {
    /// The sources of this process. Variables that are not UTF-8 are none of ours.
    pub fn of_process(file: Option<&'a Path>, overrides: &'a [(String, String)]) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { file, env: std::env::vars_os().filter_map(text).collect(), overrides }
    }
}

/// A configuration file as read.
#[derive(Debug, Clone, Copy)]
pub struct FileText<'a> {
    /// Its path, for messages.
    pub path: &'a Path,
    /// Its text.
    pub text: &'a str,
}

/// Looks for the file, reads it, and checks everything.
pub fn load(sources: &Sources<'_>) -> Result<Config, ConfigError> {
    let Some(path) = locate(sources, Path::exists) else {
        return read(None, &sources.env, sources.overrides);
    };
    let unreadable = |source| ConfigError::Unreadable { path: path.clone(), source };
    let bytes = std::fs::read(&path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(&path, &error))?;
    read(Some(FileText { path: &path, text: &text }), &sources.env, sources.overrides)
}

fn not_utf8(path: &Path, error: &std::string::FromUtf8Error) -> ConfigError {
    let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = before.split(|b| *b == b'\n').count();
    let origin = Origin::File(u32::try_from(line).unwrap_or(u32::MAX));
    let what = ProblemKind::Syntax("the line is not UTF-8".into());
    ConfigError::Invalid {
        file: Some(path.to_owned()),
        problems: vec![ConfigProblem { origin, key: String::new(), what }],
    }
}

/// The file to read: the flag, else the variable, else the first of `./config.toml` and `/etc/aftercast/config.toml`
/// that exists. A file that was named is not looked for elsewhere.
pub fn locate(sources: &Sources<'_>, exists: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let named = sources.env.get(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let found = || [LOCAL_FILE, SYSTEM_FILE].map(PathBuf::from).into_iter().find(|path| exists(path));
    sources.file.map(Path::to_owned).or(named).or_else(found)
}

/// Checks a file's text (if there is one), an environment and settings of the command line; touches nothing.
///
/// All problems are reported at once.
pub fn read(
    file: Option<FileText<'_>>,
    env: &BTreeMap<String, String>,
    overrides: &[(String, String)],
) -> Result<Config, ConfigError> {
    let mut layer = file.map(|file| file::layer(file.text)).unwrap_or_default();
    let (of_env, warnings) = env::layer(env.iter().map(|(name, value)| (name.clone(), value.clone())));
    layer.cover(of_env);
    layer.cover(env::overrides(overrides));
    let path = file.map(|file| file.path.to_owned());
    let composed = with_state_dir(layer, env);
    let mut config = composed.map_err(|problems| ConfigError::Invalid { file: path.clone(), problems })?;
    config.file = path;
    config.warnings = warnings;
    Ok(config)
}

fn with_state_dir(layer: Layer, env: &BTreeMap<String, String>) -> Result<Config, Vec<ConfigProblem>> {
    let mut config = compose(layer)?;
    if config.state_dir.as_os_str().is_empty() {
        config.state_dir = default_state_dir(env).ok_or_else(|| vec![no_home()])?;
    }
    Ok(config)
}

fn no_home() -> ConfigProblem {
    let text = "`state_dir` has no default because neither XDG_STATE_HOME nor HOME is set: set `state_dir` or AFTERCAST_STATE_DIR";
    ConfigProblem { origin: Origin::Default, key: "state_dir".into(), what: ProblemKind::Rule(text.into()) }
}

/// `$XDG_STATE_HOME/aftercast`, else `~/.local/state/aftercast`; relative values are ignored, as the XDG base directory
/// specification wants it.
pub fn default_state_dir(env: &BTreeMap<String, String>) -> Option<PathBuf> {
    let absolute = |name: &str| env.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state_home = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state_home.map(|directory| directory.join("aftercast"))
}
