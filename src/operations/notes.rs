//! What a person writes about a VoD: a description, and names with values.
//!
//! The catalogue keeps it a second time outside its database, so that a rebuilt one has it again.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::vods::known;
use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::pipeline;
use crate::recording::{Noted, VOD_VERSION, VodRecord};

const LONGEST_DESCRIPTION: usize = Noted::LONGEST_DESCRIPTION;
const MOST_NAMES: usize = Noted::MOST_NAMES;
const LONGEST_VALUE: usize = Noted::LONGEST_VALUE;

/// Changes description and metadata of a VoD. What is not named stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EditVod {
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// The new description; empty text removes it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// Values by name; `null` removes a name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub metadata: BTreeMap<String, Option<String>>,
}

impl Operation for EditVod {
    type Item = NoItem;
    type Data = VodRecord;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<VodRecord, OperationError> {
        self.check()?;
        let ctx = context.pipeline();
        let mut changed = known(ctx, &self.id)?;
        self.apply(&mut changed);
        if changed.metadata.len() > MOST_NAMES {
            return Err(OperationError::invalid(format!("a VoD has at most {MOST_NAMES} names in `metadata`")));
        }
        let vod = ctx.catalog.edit_notes(&self.id, |vod| self.apply(vod))?;
        pipeline::sidecar_edited(&ctx.delivering, &self.id);
        Ok(vod)
    }
}

impl EditVod {
    fn check(&self) -> Result<(), OperationError> {
        let too_long = |what: &str, most| OperationError::invalid(format!("{what} has more than {most} characters"));
        if self.description.as_ref().is_some_and(|text| text.chars().count() > LONGEST_DESCRIPTION) {
            return Err(too_long("`description`", LONGEST_DESCRIPTION));
        }
        let texts = self.metadata.keys().chain(self.metadata.values().flatten());
        match texts.into_iter().find(|text| text.chars().count() > LONGEST_VALUE) {
            Some(_) => Err(too_long("a name or value in `metadata`", LONGEST_VALUE)),
            None => Ok(()),
        }
    }

    fn apply(&self, vod: &mut VodRecord) {
        vod.version = VOD_VERSION;
        if let Some(text) = &self.description {
            vod.description = Some(text.clone()).filter(|text| !text.is_empty());
        }
        for (name, value) in &self.metadata {
            match value {
                Some(value) => drop(vod.metadata.insert(name.clone(), value.clone())),
                None => drop(vod.metadata.remove(name)),
            }
        }
    }
}
