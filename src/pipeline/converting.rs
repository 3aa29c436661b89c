//! What is uploaded in place of a file that stays as it is: a progressive copy of kept fragments, for one attempt.

use std::path::Path;

use super::delivering::Delivering;
use super::error::PipelineError;
use crate::deliver::DeliverError;
use crate::discover;
use crate::durable;
use crate::finish::{ProgressiveCopy, progressive_copy};
use crate::recording::{Asset, Delivery, FileVersion, Kind, RemoteObject, SubstituteFile};
use crate::stop::{self, Stopped};

/// The asset of an attempt, and the copy that it is read from.
pub(super) struct ConvertedAsset {
    pub(super) asset: Asset,
    before: FileVersion,
    _copy: ProgressiveCopy,
}

impl ConvertedAsset {
    /// What was proven, as objects of the file that stays; an error if that changed while it was copied and sent.
    pub(super) fn proven(&self, mut objects: Vec<RemoteObject>) -> Result<Vec<RemoteObject>, PipelineError> {
        let path = &self.asset.files[0].path;
        if durable::seen(path)? != self.before {
            return Err(DeliverError::changed(path).into());
        }
        for object in &mut objects {
            object.source_changed_ns = Some(self.before.changed_ns);
        }
        Ok(objects)
    }
}

/// Makes the copy where its root says so and the file is a fragmented MP4.
pub(super) fn converted(ctx: &Delivering, delivery: &Delivery) -> Result<Option<ConvertedAsset>, PipelineError> {
    let [file] = &delivery.asset.files[..] else { return Ok(None) };
    let settings = ctx.config.settings();
    let is_wanted = || discover::root_of(&delivery.asset.root, &settings.watch.roots).root.deliver_progressive;
    if delivery.asset.kind != Kind::Recording || !is_mp4(&file.path) || !is_wanted() {
        return Ok(None);
    }
    let before = durable::seen(&file.path).map_err(DeliverError::Source)?;
    if before.fingerprint != file.fingerprint {
        return Err(DeliverError::changed(&file.path).into());
    }
    let make = || progressive_copy(&file.path, &delivery.target, ctx.catalog.owner(), &ctx.stop, ctx.clock.now_ms());
    let copy = stop::stoppable(&ctx.stop, make);
    let Some(copy) = copy.map_err(|Stopped| PipelineError::Stopped)?? else { return Ok(None) };
    let mut asset = delivery.asset.clone();
    asset.files[0].stand_in = Some(SubstituteFile { path: copy.path.clone(), fingerprint: copy.fingerprint });
    Ok(Some(ConvertedAsset { asset, before, _copy: copy }))
}

fn is_mp4(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["mp4", "m4v", "m4a", "mov"].iter().any(|known| extension == *known))
}
