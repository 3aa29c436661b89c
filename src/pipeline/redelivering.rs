//! What follows when a copy is no longer what was proven: it is noted, it frees nothing any more, and as long as the local
//! file is there it is delivered again.

use tracing::{error, info, warn};

use super::delivering::Delivering;
use super::error::PipelineError;
use super::roots;
use crate::deliver::Difference;
use crate::durable;
use crate::recording::{Delivery, RemoteObject, VodRecord};
use crate::retain::ConfirmationRequest;

/// What became of a copy that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyCheck {
    /// It is as proven.
    AsProven,
    /// It differs, and the local file is on its way again.
    SentAgain(Difference),
    /// It differs, and there is no local file to send.
    OnlyNoted(Difference),
}

/// Notes what a look at an object of a VoD found.
pub fn note_look(
    ctx: &Delivering,
    vod: &VodRecord,
    object: &RemoteObject,
    found: Option<Difference>,
    was_read: bool,
) -> Result<CopyCheck, PipelineError> {
    // What was found by reading the bytes is not refuted by what the store says of itself.
    let found = found.or_else(|| still_differs(object).filter(|_| !was_read));
    let Some(difference) = found else {
        if object.differs.is_some() {
            ctx.config.targets().trust(object, &ctx.catalog)?;
            ctx.catalog.shared().verified(&vod.vod_id, object, None, ctx.clock.now_ms())?;
        }
        return Ok(CopyCheck::AsProven);
    };
    let when_read = difference.when_read || object.differs_when_read;
    if !difference.is_missing {
        ctx.config.targets().distrust(object, &ctx.catalog)?;
    }
    ctx.catalog.shared().verified(&vod.vod_id, object, Some((&difference.words, when_read)), ctx.clock.now_ms())?;
    if send_again(ctx, vod, object, &difference)? {
        return Ok(CopyCheck::SentAgain(difference));
    }
    Ok(CopyCheck::OnlyNoted(difference))
}

/// Notes what a store said of an object of a VoD when it was asked right before freeing: the local file is on its way again.
pub(super) fn note_difference(
    ctx: &Delivering,
    vod_id: &str,
    question: &ConfirmationRequest,
    difference: Difference,
) -> Result<(), PipelineError> {
    let Some(vod) = ctx.catalog.shared().vod(vod_id)? else { return Ok(()) };
    let object = &question.object;
    if question.is_finished {
        let was_read = difference.when_read;
        return note_look(ctx, &vod, object, Some(difference), was_read).map(drop);
    }
    if !difference.is_missing {
        ctx.config.targets().distrust(object, &ctx.catalog)?;
    }
    let why = format!("delivered before, but {} differs from its proof: {}", object.url, difference.words);
    let what = (&vod, object, difference.words.as_str());
    if ctx.catalog.deliver_what_differs(&question.delivery_id, &why, what, ctx.clock.now_ms())? {
        ctx.courier_notify.notify();
    }
    Ok(())
}

fn still_differs(object: &RemoteObject) -> Option<Difference> {
    let words = object.differs.clone().filter(|_| object.differs_when_read)?;
    Some(Difference { words, is_missing: false, when_read: true })
}

fn send_again(
    ctx: &Delivering,
    vod: &VodRecord,
    object: &RemoteObject,
    difference: &Difference,
) -> Result<bool, PipelineError> {
    let is_here =
        vod.freed_at.is_none() && durable::fingerprint(&vod.file_path).is_ok_and(|now| now == vod.fingerprint);
    // What is not there now may be there again when its root is.
    if !is_here && (vod.freed_at.is_some() || roots::is_available(&ctx.roots, &vod.root)) {
        error!(vod_id = vod.vod_id, url = object.url, difference.words, "remote copy lost, local file already freed");
        return Ok(false);
    }
    let id = Delivery::id_of(&vod.vod_id, &object.target);
    let why = format!("delivered before, but {} differs from its proof: {}", object.url, difference.words);
    if ctx.catalog.deliver_again(&id, &why, ctx.clock.now_ms())? {
        info!(delivery = id, "queued for delivery again");
        ctx.courier_notify.notify();
    } else if ctx.catalog.delivery(&id)?.is_none() {
        warn!(delivery = id, "delivery is no longer in the queue");
        return Ok(false);
    }
    Ok(true)
}
