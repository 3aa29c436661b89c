//! What is wrong with a configuration: every problem, where it stands, and what would be right.
//!
//! No message repeats a value that could be a secret.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::fault::{Class, Fault};
use crate::recording::name::{printable, printable_text};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// That line of the file.
    File(u32),
    /// That environment variable.
    Env(String),
    /// The command line.
    Flag,
    /// Built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(line) => write!(f, "line {line}"),
            Self::Env(name) => f.write_str(name),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where it stands.
    pub origin: Origin,
    /// The canonical path of the key it is about; empty for syntax.
    pub key: String,
    /// What is wrong.
    pub what: ProblemKind,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// It is not TOML.
    #[error("not TOML: {0}")]
    Syntax(String),
    /// Nobody knows the key.
    #[error("unknown key `{spelled}`{}", .advice.as_deref().map(|a| format!("; {a}")).unwrap_or_default())]
    UnknownKey {
        /// As written, with its section.
        spelled: String,
        /// The nearest valid one, or what to do instead.
        advice: Option<String>,
    },
    /// The value is of another kind.
    #[error("`{key}` must be {wants}, not {found}")]
    Kind {
        /// Canonical path.
        key: String,
        /// What it must be, with an example.
        wants: &'static str,
        /// What it is.
        found: String,
    },
    /// The value is of the right kind and means nothing.
    #[error("`{key}`: {why}; it must be {wants}")]
    Meaning {
        /// Canonical path.
        key: String,
        /// What it must be, with an example.
        wants: &'static str,
        /// What is wrong with this one.
        why: String,
    },
    /// The same key in two spellings.
    #[error("`{key}` is set twice, as `{first}` and as `{second}`; keep one")]
    TwoSpellings {
        /// Canonical path.
        key: String,
        /// As written first.
        first: String,
        /// As written second.
        second: String,
    },
    /// Something that has to be there is not, or does not go together with the rest.
    #[error("{0}")]
    Rule(String),
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file `{}`", printable(path))]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in it, in the environment or on the command line is wrong.
    #[error("{}", say(file.as_ref(), problems))]
    Invalid {
        /// The file that was read, if any.
        file: Option<PathBuf>,
        /// Everything that is wrong, in the order of the file, then environment, then command line.
        problems: Vec<ConfigProblem>,
    },
}

impl Fault for ConfigError {
    fn class(&self) -> Class {
        Class::Permanent
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "Nothing was started. Use `config.toml.example` as a template; `--config FILE` selects another file."
                    .into()
            }
            Self::Unreadable { .. } => {
                "Nothing was started. Give the user that runs aftercast permission to read it.".into()
            }
            Self::Invalid { .. } => {
                "Nothing was started and no recording was touched. `docs/configuration.md` describes every key; \
                 `aftercast config check` checks the configuration again."
                    .into()
            }
        })
    }
}

fn say(file: Option<&PathBuf>, problems: &[ConfigProblem]) -> String {
    let shown = file.map(|path| printable(path));
    let count = match problems.len() {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    };
    let lines = problems.iter().map(|problem| format!("\n{}", problem.line(shown.as_deref())));
    format!("the configuration has {count}{}", lines.collect::<String>())
}

impl ConfigProblem {
    /// `config.toml:7: …`, with the file's name as given.
    pub fn line(&self, file: Option<&str>) -> String {
        let place = match (&self.origin, file) {
            (Origin::File(line), Some(file)) => format!("{file}:{line}"),
            (origin, _) => origin.to_string(),
        };
        let what = printable_text(&self.what.to_string());
        match self.origin {
            Origin::Default => what,
            _ => format!("{}: {what}", printable_text(&place)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_said_each_on_its_line() {
        let problems = vec![
            ConfigProblem { origin: Origin::File(3), key: String::new(), what: ProblemKind::Syntax("x".into()) },
            ConfigProblem {
                origin: Origin::Env("AFTERCAST_WATCH__QUIET".into()),
                key: "watch.quiet".into(),
                what: ProblemKind::Kind { key: "watch.quiet".into(), wants: "a duration", found: "a\nlist".into() },
            },
        ];
        let error = ConfigError::Invalid { file: Some("/etc/aftercast/config.toml".into()), problems };
        assert_eq!(
            error.to_string(),
            "the configuration has 2 problems\n/etc/aftercast/config.toml:3: not TOML: x\n\
             AFTERCAST_WATCH__QUIET: `watch.quiet` must be a duration, not a\\u{a}list"
        );
    }
}
