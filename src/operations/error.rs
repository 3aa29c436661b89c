//! Why an operation did not happen or ended early: data that a person can read and a client can decide by.

use std::any::Any;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalog::CatalogError;
use crate::clip::ClipError;
use crate::durable::RootError;
use crate::fault::{Class, Fault, causes, chain};
use crate::pipeline::PipelineError;

/// What kind of answer an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ErrorKind {
    /// What was asked is not possible with these arguments; nothing was begun.
    Invalid,
    /// What was named does not exist.
    NotFound,
    /// It needs a token, or another one.
    Unauthorized,
    /// The token does not allow it.
    Forbidden,
    /// The path does not have the method.
    WrongMethod,
    /// What is around this program has no such function, or it is not configured.
    NotSupported,
    /// It belongs to another node of the fleet; nothing was changed.
    OtherNode,
    /// It belongs to another node of the fleet, which cannot be reached; nothing was changed.
    NodeAway,
    /// Another node of the fleet was asked and has not answered yet.
    Pending,
    /// The configuration is wrong.
    Configuration,
    /// Another process owns the state directory.
    StateInUse,
    /// Another process owns a root that was named.
    RootInUse,
    /// It was tried and failed; the class says what to do about it.
    Failed,
    /// An object store could not give what it is to have; the class says what to do about it.
    Store,
    /// A fault of the program itself.
    Internal,
}

/// An operation's error. Its strings are as they came: whoever prints them escapes them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize, JsonSchema)]
#[error("{detail}")]
#[serde(rename_all = "camelCase")]
pub struct OperationError {
    /// What kind of answer it is.
    pub kind: ErrorKind,
    /// What to do about it.
    pub class: Class,
    /// What went wrong.
    pub detail: String,
    /// What lies under it, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub causes: Vec<String>,
    /// What is safe and what to do next, as full sentences.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_step: Option<String>,
    /// State directory of the process that owns the root, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<PathBuf>,
    /// Id of the command that another node has not answered yet: `GET /api/v1/commands/{id}`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<Box<str>>,
}

impl OperationError {
    fn new(kind: ErrorKind, class: Class, detail: impl Into<String>) -> Self {
        Self { kind, class, detail: detail.into(), causes: Vec::new(), next_step: None, owner: None, command: None }
    }

    /// What was asked is not possible with these arguments.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, Class::Permanent, detail)
    }

    /// What was named does not exist.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, Class::Permanent, detail)
    }

    /// It needs a token, or another one.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unauthorized, Class::Permanent, detail)
    }

    /// The token does not allow it.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, Class::Permanent, detail)
    }

    /// The path does not have the method.
    pub fn wrong_method(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::WrongMethod, Class::Permanent, detail)
    }

    /// What is around this program has no such function, or it is not configured.
    pub fn not_supported(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotSupported, Class::Permanent, detail)
    }

    /// It belongs to another node of the fleet.
    pub fn other_node(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::OtherNode, Class::Permanent, detail)
    }

    /// It belongs to another node of the fleet, which cannot be reached.
    pub fn node_away(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::NodeAway, Class::Transient, detail)
    }

    /// Another node was asked by a command and has not answered yet.
    pub fn pending(command: &str, detail: impl Into<String>) -> Self {
        let error = Self::new(ErrorKind::Pending, Class::Transient, detail);
        let next_step = format!("GET /api/v1/commands/{command} says what the node answers.");
        Self { command: Some(command.into()), next_step: Some(next_step), ..error }
    }

    /// It failed in a way that a later try may not meet.
    pub fn transient(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, Class::Transient, detail)
    }

    /// Whoever asked does not listen any more, or wished it to end.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Failed, Class::Cancelled, "stopped")
    }

    /// A fault of the program itself.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, Class::Permanent, detail)
    }

    /// The configuration is wrong.
    pub fn configuration(error: &dyn Fault) -> Self {
        Self { kind: ErrorKind::Configuration, ..Self::of(error) }
    }

    /// A room's error. That a state directory or a root is in use is told apart from every other failure.
    pub fn of_pipeline(error: &PipelineError) -> Self {
        let said = Self::of(error);
        match error {
            PipelineError::Catalog(CatalogError::InUse { .. }) => Self { kind: ErrorKind::StateInUse, ..said },
            PipelineError::NoRoots => Self { kind: ErrorKind::Configuration, ..said },
            PipelineError::Root(RootError::InUse { owner, .. }) => {
                let owner = owner.as_ref().map(|owner| owner.state_dir.clone());
                Self { kind: ErrorKind::RootInUse, owner, ..said }
            }
            _ => said,
        }
    }

    /// A clip that cannot be made; what was asked wrongly, and what is not recorded, is told apart from every other failure.
    pub fn of_clip(error: &ClipError) -> Self {
        let said = Self::of(error);
        let kind = match error {
            ClipError::Reversed { .. } | ClipError::TooLong { .. } => ErrorKind::Invalid,
            ClipError::NoStream { .. } | ClipError::Gap { .. } => ErrorKind::NotFound,
            ClipError::Store { .. } | ClipError::Replaced { .. } | ClipError::Late { .. } => ErrorKind::Store,
            _ => said.kind,
        };
        Self { kind, ..said }
    }

    fn of(error: &dyn Fault) -> Self {
        let next_step = error.hint();
        Self { causes: causes(error), next_step, ..Self::new(ErrorKind::Failed, error.class(), error.to_string()) }
    }

    /// A room's error with its causes in one line.
    pub fn in_one_line(error: &dyn Fault) -> Self {
        Self { detail: chain(error), causes: Vec::new(), ..Self::of(error) }
    }

    /// The same with more that can be done.
    #[must_use]
    pub fn or_next_step(self, other: &str) -> Self {
        let next_step = self.next_step.map_or_else(|| other.to_owned(), |first| format!("{first} {other}"));
        Self { next_step: Some(next_step), ..self }
    }

    /// The same with what to do next.
    #[must_use]
    pub fn with_next_step(self, next_step: impl Into<String>) -> Self {
        Self { next_step: Some(next_step.into()), ..self }
    }
}

impl<E: Fault + 'static> From<E> for OperationError {
    fn from(error: E) -> Self {
        let any = &error as &dyn Any;
        if let Some(error) = any.downcast_ref() {
            return Self::of_pipeline(error);
        }
        match any.downcast_ref() {
            Some(error) => Self::of_clip(error),
            None => Self::of(&error),
        }
    }
}
