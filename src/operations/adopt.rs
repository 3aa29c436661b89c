//! A directory of a node that is no more, on a disk that is now here.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::recording::name::{printable, shown};

/// Makes the root of a node that is not running one of this node. Without `yes`, tells whose it is and changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptRoot {
    /// A configured root.
    pub root: PathBuf,
    /// Whether it is adopted.
    #[serde(default)]
    pub yes: bool,
}

/// What was, or would be, adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Adopted {
    /// The root.
    #[serde(serialize_with = "shown")]
    #[schemars(with = "PathBuf")]
    pub root: PathBuf,
    /// Its id, as in its file.
    pub root_id: String,
    /// Name of the node that has or had it, if the database knows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
    /// Whether it is adopted now.
    pub is_adopted: bool,
    /// Its VoDs that are listed for this node now.
    pub vods: u64,
}

impl Operation for AdoptRoot {
    type Item = NoItem;
    type Data = Adopted;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<Adopted, OperationError> {
        let ctx = context.pipeline();
        let fleet = ctx.fleet.as_ref().ok_or_else(|| {
            OperationError::invalid("`adopt` needs `[fleet] database`")
                .with_next_step("A node that works alone takes any directory: add it to `watch.roots`.")
        })?;
        if !fleet.has_begun() {
            return Err(OperationError::invalid("no daemon is watching")
                .with_next_step("Start `aftercast watch`; it leaves the directory alone until it is adopted."));
        }
        if !ctx.settings().watch.roots.iter().any(|root| root.path == self.root) {
            let words = format!("`{}` is not a configured root", printable(&self.root));
            return Err(OperationError::not_found(words)
                .with_next_step("Add it to `watch.roots` on this node and restart aftercast; then adopt it."));
        }
        ctx.adopt(&self.root, self.yes).map(Adopted::of).map_err(|error| OperationError::of_pipeline(&error))
    }
}

impl Adopted {
    fn of((adopted, is_adopted): (crate::fleet::AdoptedRoot, bool)) -> Self {
        Self { root: adopted.path, root_id: adopted.root_id, from: adopted.from, is_adopted, vods: adopted.vods }
    }
}
