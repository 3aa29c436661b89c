//! What is told once as long as it lasts: that a target is paused, that a disk is short of room.
//!
//! Whether it was told is remembered in the transaction of its event, so that a restart tells it neither twice nor not at all.

use super::error::Result;
use super::log::Appender;
use super::node::NodeCatalog;
use super::store::{Tx, TxAbort};
use super::tree::TreeId;
use crate::fault::Class;
use crate::recording::Event;

/// Before the name of a target that is paused, in `meta`.
const PAUSED: &str = "paused/";
/// While a disk is short of room, in `meta`.
const DISK_LOW: &str = "disk_low";

impl NodeCatalog {
    /// Remembers that a target cannot be used; the first time it is an event. Not flushed: it is told again after a power cut.
    pub fn target_paused(&self, target: &str, class: Class, message: &str, now_ms: i64) -> Result<()> {
        if self.store().get(TreeId::Meta, paused(target))?.is_some() {
            return Ok(());
        }
        let (target, message) = (target.to_owned(), message.to_owned());
        let event = Event::TargetPaused { target: target.clone(), class, message };
        self.logged(now_ms, |tx, log| {
            tx.put(TreeId::Meta, paused(&target), b"")?;
            log.append(&event)
        })
    }

    /// Remembers by how many bytes too much is on a disk where nothing more may be freed; 0 if none is short of room. Becoming
    /// short of it is an event. Not flushed.
    pub fn disk_low(&self, short_bytes: u64, now_ms: i64) -> Result<()> {
        let was_low = self.store().get(TreeId::Meta, DISK_LOW)?.is_some();
        if was_low == (short_bytes > 0) {
            return Ok(());
        }
        self.logged(now_ms, |tx, log| {
            if short_bytes == 0 {
                return tx.remove(TreeId::Meta, DISK_LOW);
            }
            tx.put(TreeId::Meta, DISK_LOW, b"")?;
            log.append(&Event::DiskLow { short_bytes })
        })
    }
}

/// A target has taken a delivery: if it was paused, it is not any more.
pub(super) fn resume_in(tx: &Tx<'_>, log: &Appender<'_>, target: &str) -> std::result::Result<(), TxAbort> {
    if tx.get(TreeId::Meta, paused(target))?.is_none() {
        return Ok(());
    }
    tx.remove(TreeId::Meta, paused(target))?;
    log.append(&Event::TargetResumed { target: target.to_owned() })
}

fn paused(target: &str) -> String {
    format!("{PAUSED}{target}")
}
