//! What a cut splice left, told by the journalled intent, and the way forward or back from there.
//!
//! | the cut was | the file | what is done |
//! |---|---|---|
//! | before the insert | as before | nothing |
//! | inside the insert, or inside taking it back | longer by S; blocks before a boundary where they were, those behind it S later | the gap at the boundary is collapsed |
//! | before the commit mark | the whole insert, its first sector empty | the inserted blocks are collapsed |
//! | behind the commit mark | the new header in front | the old `moov` is retired |

use std::os::unix::fs::FileExt;

use super::in_place::payload_digest;
use crate::durable::{FileError, InPlaceEditor, InPlaceOp};
use crate::finish::FinishError;
use crate::recording::{Retirement, SpliceIntent};

/// What became of a cut splice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpliceRecovery {
    /// The file is complete and durable, with the fingerprint of [`SpliceIntent::after`].
    Finished,
    /// The file is what it was, byte for byte, with the fingerprint of [`SpliceIntent::before`].
    AsBefore,
    /// The file is not there any more, or another one stands in its place.
    Gone,
    /// What is there cannot be explained; nothing was changed.
    Unclear(String),
}

/// Whether a file is again what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RestoreOutcome {
    AsBefore,
    Unclear(String),
}

/// Completes or reverts a splice that was cut. Repeated as often as it is cut itself, it comes to the same end.
pub fn recover(intent: &SpliceIntent) -> Result<SpliceRecovery, FinishError> {
    let open = match InPlaceEditor::open(&intent.path) {
        Ok(open) => open,
        Err(error) if error.is_missing() => return Ok(SpliceRecovery::Gone),
        Err(error) => return Err(error.into()),
    };
    if !open.state()?.0.same_inode(&intent.before) {
        return Ok(SpliceRecovery::Gone);
    }
    if !is_committed(&open, intent)? {
        return Ok(match put_back(&open, intent)? {
            RestoreOutcome::AsBefore => SpliceRecovery::AsBefore,
            RestoreOutcome::Unclear(why) => SpliceRecovery::Unclear(why),
        });
    }
    carry_on(&open, intent)
}

/// Whether the whole new header is in front.
fn is_committed(open: &InPlaceEditor, intent: &SpliceIntent) -> Result<bool, FileError> {
    use std::io::Read;
    let mut head = Vec::new();
    let mut file = open.file();
    std::io::Seek::rewind(&mut file).map_err(FileError::on("read", open.path()))?;
    file.take(intent.inserted_bytes).read_to_end(&mut head).map_err(FileError::on("read", open.path()))?;
    Ok(blake3::hash(&head).to_hex().as_str() == intent.header_digest)
}

fn carry_on(open: &InPlaceEditor, intent: &SpliceIntent) -> Result<SpliceRecovery, FinishError> {
    let digest = payload_digest(open);
    if digest.is_ok_and(|digest| digest == intent.payload_digest) {
        retire(open, intent)?;
        let is_expected = open.state()?.0 == intent.after;
        let unclear = || SpliceRecovery::Unclear("its length is not the expected one".into());
        return Ok(if is_expected { SpliceRecovery::Finished } else { unclear() });
    }
    let is_retired = open.state()?.0.size_bytes != intent.before.size_bytes + intent.inserted_bytes;
    if is_retired {
        return Ok(SpliceRecovery::Unclear("its payloads differ from before".into()));
    }
    Ok(match put_back(open, intent)? {
        RestoreOutcome::AsBefore => SpliceRecovery::AsBefore,
        RestoreOutcome::Unclear(why) => SpliceRecovery::Unclear(why),
    })
}

/// Retires the old `moov`, gives the file its time again, and makes all of it durable. May be repeated.
pub(super) fn retire(open: &InPlaceEditor, intent: &SpliceIntent) -> Result<(), FileError> {
    retire_by(open, intent.retirement)?;
    open.perform(InPlaceOp::SetModified { ns: intent.before.mtime_ns })?;
    open.perform(InPlaceOp::Sync)
}

/// Retires the old `moov`. May be repeated.
pub(super) fn retire_by(open: &InPlaceEditor, retirement: Retirement) -> Result<(), FileError> {
    match retirement {
        Retirement::Truncate { len } if open.state()?.0.size_bytes > len => open.perform(InPlaceOp::Truncate { len }),
        Retirement::Nothing | Retirement::Truncate { .. } => Ok(()),
        Retirement::Free { at } => open.perform(InPlaceOp::Write { at, bytes: b"free" }),
    }
}

/// Takes the inserted blocks out again, wherever the kernel was when it was cut.
pub(super) fn put_back(open: &InPlaceEditor, intent: &SpliceIntent) -> Result<RestoreOutcome, FileError> {
    let len = open.state()?.0.size_bytes;
    let (old_len, inserted) = (intent.before.size_bytes, intent.inserted_bytes);
    let Some(now) = open.extents()? else { return Ok(RestoreOutcome::Unclear("its extents are not settled".into())) };
    let moved = match moved_from(&intent.extents, &now, inserted) {
        Ok(moved) => moved,
        Err(why) => return Ok(RestoreOutcome::Unclear(why)),
    };
    match moved {
        None if len == old_len => {}
        None if len == old_len + inserted || is_only_longer(open, old_len, len, inserted)? => {
            open.perform(InPlaceOp::Truncate { len: old_len })?;
        }
        Some(at) if len == old_len + inserted && at + inserted < len => {
            open.perform(InPlaceOp::Collapse { at, bytes: inserted })?;
        }
        _ => {
            return Ok(RestoreOutcome::Unclear(format!(
                "it is {len} bytes long, which no interruption of the splice explains"
            )));
        }
    }
    open.perform(InPlaceOp::SetModified { ns: intent.before.mtime_ns })?;
    open.perform(InPlaceOp::Sync)?;
    let is_back = open.state()?.0 == intent.before;
    Ok(if is_back {
        RestoreOutcome::AsBefore
    } else {
        RestoreOutcome::Unclear("it still differs from its previous state".into())
    })
}

/// Whether nothing was added to a file but a few zeros. XFS lengthens it before it moves a block, and writes the rest of
/// its last block first: cut there, the file ends with that block.
fn is_only_longer(open: &InPlaceEditor, old_len: u64, len: u64, inserted: u64) -> Result<bool, FileError> {
    let Some(more) = len.checked_sub(old_len).filter(|more| *more < inserted) else { return Ok(false) };
    let mut end = vec![1; usize::try_from(more).unwrap_or(0)];
    open.file().read_exact_at(&mut end, old_len).map_err(FileError::on("read", open.path()))?;
    Ok(end.iter().all(|byte| *byte == 0))
}

/// Where in the old file the part begins that has moved on by `inserted` bytes; `None` if nothing has. Pure.
///
/// Blocks keep their place on the device when others are inserted before them: so each of them tells where it was.
pub(super) fn moved_from(old: &[[u64; 3]], now: &[[u64; 3]], inserted: u64) -> Result<Option<u64>, String> {
    let mut by_place = old.to_vec();
    by_place.sort_unstable_by_key(|[_, physical, _]| *physical);
    let mut moved: Option<u64> = None;
    let mut stayed_end = 0;
    for [logical, physical, length] in now {
        let end = physical + length;
        let first = by_place.partition_point(|[_, was, bytes]| was + bytes <= *physical);
        for [was_logical, was_physical, was_length] in by_place[first..].iter().take_while(|[_, was, _]| *was < end) {
            let from = (*physical).max(*was_physical);
            let bytes = end.min(was_physical + was_length) - from;
            let was_at = was_logical + (from - was_physical);
            match (logical + (from - physical)).checked_sub(was_at) {
                Some(0) => stayed_end = stayed_end.max(was_at + bytes),
                Some(by) if by == inserted => moved = Some(moved.map_or(was_at, |m| m.min(was_at))),
                _ => {
                    return Err(format!(
                        "the block of byte {was_at} is neither at its old offset nor {inserted} bytes later"
                    ));
                }
            }
        }
    }
    match moved {
        Some(at) if at < stayed_end => Err(format!("blocks before byte {stayed_end} have moved and others have not")),
        moved => Ok(moved),
    }
}

#[cfg(test)]
mod tests {
    use super::moved_from;

    const OLD: [[u64; 3]; 3] = [[0, 1000, 100], [100, 5000, 50], [200, 3000, 100]];

    #[test]
    fn the_boundary_of_a_half_insert_is_where_blocks_begin_to_be_later() {
        let at = |now: &[[u64; 3]]| moved_from(&OLD, now, 40).unwrap();
        assert_eq!(at(&OLD), None);
        assert_eq!(at(&[[40, 1000, 100], [140, 5000, 50], [240, 3000, 100]]), Some(0));
        assert_eq!(at(&[[0, 1000, 100], [140, 5000, 50], [240, 3000, 100]]), Some(100));
        assert_eq!(at(&[[0, 1000, 100], [100, 5000, 50], [240, 3000, 100]]), Some(200));
        // Inside an extent, and with the header's own new blocks in front.
        assert_eq!(at(&[[0, 1000, 60], [100, 1060, 40], [140, 5000, 50], [240, 3000, 100]]), Some(60));
        assert_eq!(at(&[[0, 9000, 40], [40, 1000, 100], [140, 5000, 50], [240, 3000, 100]]), Some(0));
    }

    #[test]
    fn what_no_cut_can_leave_is_not_guessed_at() {
        assert!(moved_from(&OLD, &[[40, 1000, 100], [100, 5000, 50]], 40).is_err(), "moved before stayed");
        assert!(moved_from(&OLD, &[[7, 1000, 100]], 40).is_err());
    }
}
