//! The catalogue's VoDs: a page, one, all of them, and deleting one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Context, Nothing, Operation, OperationError, Tell};
use crate::catalog::Page;
use crate::deliver::{DeliverError, Removal};
use crate::fault::chain;
use crate::pipeline::{self, House, Owned, now_ms};
use crate::recording::VodRecord;
use crate::recording::name::printable_text;

/// VoDs of a page at most: what a listing holds in memory at once.
const PAGE_LIMIT: usize = 1000;

/// A page of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListVods {
    /// Only this stream, by start time; otherwise all, by creation date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// How many at most; a page has no more than 1,000.
    pub limit: usize,
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The oldest first instead of the newest.
    pub oldest_first: bool,
}

impl Default for ListVods {
    fn default() -> Self {
        Self { stream: None, limit: 100, after: None, oldest_first: false }
    }
}

/// The page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VodPage {
    /// The VoDs in order.
    pub items: Vec<VodRecord>,
    /// Where the next page begins, if there is more.
    pub next: Option<String>,
    /// Records that cannot be read, in words; they count as items of the page.
    pub unreadable: Vec<String>,
}

impl Operation for ListVods {
    type Item = Nothing;
    type Data = VodPage;

    fn run(&self, context: &Context, _tell: Tell<'_, Nothing>) -> Result<VodPage, OperationError> {
        let not_a_cursor = |_| OperationError::invalid("`after` takes the `next` of the page before");
        let after = self.after.as_deref().map(str::parse).transpose().map_err(not_a_cursor)?;
        let limit = self.limit.min(PAGE_LIMIT);
        let page = Page { after, limit, newest_first: !self.oldest_first, stream: self.stream.as_deref() };
        let listing = context.house().catalog.shared().vods(&page)?;
        Ok(VodPage {
            items: listing.items,
            next: listing.next.map(|next| next.to_string()),
            unreadable: listing.unreadable.iter().map(|error| chain(error)).collect(),
        })
    }
}

/// One VoD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShowVod {
    /// Its id.
    pub id: String,
}

impl Operation for ShowVod {
    type Item = Nothing;
    type Data = VodRecord;

    fn run(&self, context: &Context, _tell: Tell<'_, Nothing>) -> Result<VodRecord, OperationError> {
        known(context.house(), &self.id)
    }
}

pub(super) fn known(house: &House, id: &str) -> Result<VodRecord, OperationError> {
    let unknown = || OperationError::not_found(format!("no VoD has the id `{}`", printable_text(id)));
    house.catalog.shared().vod(id)?.ok_or_else(unknown)
}

/// Every VoD, the oldest first, one item each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportVods {}

/// How many there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// VoDs told.
    pub vods: u64,
}

impl Operation for ExportVods {
    type Item = VodRecord;
    type Data = Exported;

    fn run(&self, context: &Context, tell: Tell<'_, VodRecord>) -> Result<Exported, OperationError> {
        let mut vods = 0;
        for vod in context.house().catalog.shared().all_vods()? {
            context.go_on()?;
            tell(vod?)?;
            vods += 1;
        }
        Ok(Exported { vods })
    }
}

/// Deletes a VoD: the record, its local file, and exactly the objects that were delivered for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteVod {
    /// Its id.
    pub id: String,
    /// Keep the local file.
    #[serde(default)]
    pub keep_file: bool,
    /// Keep the objects in the stores.
    #[serde(default)]
    pub keep_objects: bool,
    /// Only say what would be deleted.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was deleted, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// Id of the VoD.
    pub vod_id: String,
    /// Whether its record is deleted.
    pub is_deleted: bool,
    /// Its objects in the stores.
    pub objects: Vec<DeletedObject>,
    /// Its local file, unless that was freed before or is kept.
    pub file: Option<DeletedFile>,
}

/// An object in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletedObject {
    /// Where it is, or was.
    pub url: String,
    /// Another VoD that references it, too: it is kept for that one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub also_of: Option<String>,
    /// How it differs from what was delivered, if it does: then it was left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub left: Option<String>,
}

/// A local file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletedFile {
    /// Its path.
    pub path: PathBuf,
    /// Why it was left, if it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub left: Option<String>,
}

impl Operation for DeleteVod {
    type Item = Nothing;
    type Data = Deletion;

    fn run(&self, context: &Context, _tell: Tell<'_, Nothing>) -> Result<Deletion, OperationError> {
        let house = context.house();
        let vod = known(house, &self.id)?;
        let owned = if self.keep_objects { Vec::new() } else { pipeline::objects_of(house, &vod)? };
        let is_local = vod.freed_at.is_none() && !self.keep_file;
        let mut deletion = Deletion {
            vod_id: vod.vod_id.clone(),
            is_deleted: false,
            objects: owned.iter().map(DeletedObject::of).collect(),
            file: is_local.then(|| DeletedFile { path: vod.file_path.clone(), left: None }),
        };
        if self.dry_run {
            return Ok(deletion);
        }
        delete_objects(house, &owned, &mut deletion.objects)?;
        if let Some(file) = &mut deletion.file {
            let left = pipeline::remove_local(house, &vod)?;
            file.left = left.map(str::to_owned);
        }
        house.catalog.delete_vod(&self.id, now_ms())?;
        Ok(Deletion { is_deleted: true, ..deletion })
    }
}

impl DeletedObject {
    fn of(owned: &Owned) -> Self {
        Self { url: owned.object.url.clone(), also_of: owned.also_of.clone(), left: None }
    }
}

/// Removes objects that are still what was delivered; what somebody else has put under their keys stays.
fn delete_objects(house: &House, owned: &[Owned], said: &mut [DeletedObject]) -> Result<(), OperationError> {
    let targets = house.targets();
    // Nothing is removed anywhere before it is clear that every target can be asked.
    if let Some(unknown) = owned.iter().find(|o| !targets.names().any(|name| name == o.object.target)) {
        return Err(DeliverError::UnknownTarget(unknown.object.target.clone()).into());
    }
    for (Owned { asset_id, object, .. }, said) in owned.iter().zip(said).filter(|(o, _)| o.also_of.is_none()) {
        if let Removal::Left { difference } = targets.remove(asset_id, object)? {
            said.left = Some(difference);
        }
    }
    Ok(())
}
