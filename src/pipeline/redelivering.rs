//! What follows when a copy is no longer what was proven: it is noted, it frees nothing any more, and as long as the local
//! file is there it is delivered again.

use tracing::{error, info, warn};

use super::error::PipelineError;
use super::house::{House, now_ms};
use super::roots;
use crate::deliver::Difference;
use crate::durable;
use crate::recording::{Delivery, RemoteObject, VodRecord};
use crate::retain::Question;

/// What became of a copy that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// It is as proven.
    AsProven,
    /// It differs, and the local file is on its way again.
    SentAgain(Difference),
    /// It differs, and there is no local file to send.
    OnlyNoted(Difference),
}

/// Notes what a look at an object of a VoD found.
pub fn note_look(
    house: &House,
    vod: &VodRecord,
    object: &RemoteObject,
    found: Option<Difference>,
    was_read: bool,
) -> Result<Looked, PipelineError> {
    // What was found by reading the bytes is not refuted by what the store says of itself.
    let found = found.or_else(|| still_differs(object).filter(|_| !was_read));
    let Some(difference) = found else {
        if object.differs.is_some() {
            house.targets().trust(object, &house.catalog)?;
            house.catalog.shared().verified(&vod.vod_id, object, None, now_ms())?;
        }
        return Ok(Looked::AsProven);
    };
    let when_read = difference.when_read || object.differs_when_read;
    if !difference.is_missing {
        house.targets().distrust(object, &house.catalog)?;
    }
    house.catalog.shared().verified(&vod.vod_id, object, Some((&difference.words, when_read)), now_ms())?;
    if send_again(house, vod, object, &difference)? {
        return Ok(Looked::SentAgain(difference));
    }
    Ok(Looked::OnlyNoted(difference))
}

/// Notes what a store said of an object of a VoD when it was asked right before freeing: the local file is on its way again.
pub(super) fn note_difference(
    house: &House,
    vod_id: &str,
    question: &Question,
    difference: Difference,
) -> Result<(), PipelineError> {
    let Some(vod) = house.catalog.shared().vod(vod_id)? else { return Ok(()) };
    let object = &question.object;
    if question.is_finished {
        let was_read = difference.when_read;
        return note_look(house, &vod, object, Some(difference), was_read).map(drop);
    }
    if !difference.is_missing {
        house.targets().distrust(object, &house.catalog)?;
    }
    let why = format!("delivered before, but {} differs from its proof: {}", object.url, difference.words);
    let what = (&vod, object, difference.words.as_str());
    if house.catalog.deliver_what_differs(&question.delivery_id, &why, what, now_ms())? {
        house.bell.ring();
    }
    Ok(())
}

fn still_differs(object: &RemoteObject) -> Option<Difference> {
    let words = object.differs.clone().filter(|_| object.differs_when_read)?;
    Some(Difference { words, is_missing: false, when_read: true })
}

fn send_again(
    house: &House,
    vod: &VodRecord,
    object: &RemoteObject,
    difference: &Difference,
) -> Result<bool, PipelineError> {
    let is_here =
        vod.freed_at.is_none() && durable::fingerprint(&vod.file_path).is_ok_and(|now| now == vod.fingerprint);
    // What is not there now may be there again when its root is.
    if !is_here && (vod.freed_at.is_some() || roots::is_available(house, &vod.root)) {
        error!(vod_id = vod.vod_id, url = object.url, difference.words, "remote copy lost, local file already freed");
        return Ok(false);
    }
    let id = Delivery::id_of(&vod.vod_id, &object.target);
    let why = format!("delivered before, but {} differs from its proof: {}", object.url, difference.words);
    if house.catalog.deliver_again(&id, &why, now_ms())? {
        info!(delivery = id, "queued for delivery again");
        house.bell.ring();
    } else if house.catalog.delivery(&id)?.is_none() {
        warn!(delivery = id, "delivery is no longer in the queue");
        return Ok(false);
    }
    Ok(true)
}
