//! The memory that uploads to one target read into: bounded, and used again.
//!
//! A buffer that is mapped anew for every part costs more processor time than reading the part, checking it and sending it:
//! the kernel has to clear each of its pages first. So a buffer that nobody reads from any more is handed to the next part.
//! Buffers lie in large pages where the system has them: copying into small ones is slower, above all in a virtual machine.
//! When nothing is left to send, [`Buffers::rest`] gives the memory back to the system.
//!
//! Assumes that whoever has room keeps what was filled for no longer than the room. Must not decide what is sent when.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use memmap2::{Advice, MmapMut};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::{DeliverError, Result};
use super::parts::PART_MIN_BYTES;
use crate::memory;

/// Buffers of [`PART_MIN_BYTES`] over all uploads to a target at once, where nobody asks for more on the way: what bounds
/// the memory of this room.
const BUFFERS: usize = 4;
/// No machine has the memory for more.
const BUFFERS_MAX: usize = 1 << 20;
/// All buffers of a target together take at most this part of the memory that the process may have, but for one.
const MEMORY_PARTS: u64 = 8;

/// The buffers of one target.
#[derive(Debug, Clone)]
pub(super) struct Buffers(Arc<BufferPool>);

#[derive(Debug)]
struct BufferPool {
    count: usize,
    rooms: Semaphore,
    idle: Mutex<Vec<MmapMut>>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self::at_least(0)
    }
}

impl Buffers {
    /// So many, where that is more than usual: each holds [`PART_MIN_BYTES`] on the way.
    pub fn at_least(wanted: u64) -> Self {
        let count = count_for(wanted, memory::limit_bytes());
        Self(Arc::new(BufferPool { count, rooms: Semaphore::new(count), idle: Mutex::default() }))
    }

    /// Waits until so many bytes may be held. More than all buffers together count as all of them.
    pub async fn room(&self, bytes: u64) -> BufferReservation<'_> {
        let units = usize::try_from(bytes.div_ceil(PART_MIN_BYTES)).unwrap_or(usize::MAX).clamp(1, self.0.count);
        let permit = self.0.rooms.acquire_many(u32::try_from(units).unwrap_or(1)).await;
        // The semaphore is never closed.
        let permit = permit.unwrap_or_else(|_| unreachable!("the buffers' semaphore was closed"));
        BufferReservation { shared: &self.0, _permit: permit, bytes }
    }

    /// Gives back the memory that no upload uses now.
    pub fn rest(&self) {
        self.0.idle().clear();
    }
}

fn count_for(wanted: u64, memory_bytes: u64) -> usize {
    let room = usize::try_from(memory_bytes / MEMORY_PARTS / PART_MIN_BYTES).unwrap_or(usize::MAX);
    usize::try_from(wanted).unwrap_or(usize::MAX).clamp(BUFFERS, BUFFERS_MAX).min(room.max(1))
}

impl BufferPool {
    fn idle(&self) -> MutexGuard<'_, Vec<MmapMut>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for some bytes, until this is dropped.
#[derive(Debug)]
pub(super) struct BufferReservation<'a> {
    shared: &'a Arc<BufferPool>,
    _permit: SemaphorePermit<'a>,
    bytes: u64,
}

impl BufferReservation<'_> {
    /// Has a buffer of so many bytes as there is room for filled. It is used again once the last clone of what this returns
    /// is gone.
    pub fn fill(&self, read: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<Bytes> {
        let len = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        let mut lent = LentBuffer { memory: Some(self.take()?), len, shared: Arc::clone(self.shared) };
        read(lent.memory.as_mut().map(|memory| &mut memory[..len]).unwrap_or_default())?;
        Ok(Bytes::from_owner(lent))
    }

    /// An idle buffer or a new one. What is idle beyond the room that is left makes way: it would come on top of the bound.
    fn take(&self) -> Result<MmapMut> {
        let mut idle = self.shared.idle();
        let used_again = if self.bytes <= PART_MIN_BYTES { idle.pop() } else { None };
        idle.truncate(self.shared.rooms.available_permits());
        drop(idle);
        used_again.map_or_else(|| mapped(self.bytes.max(PART_MIN_BYTES)), Ok)
    }
}

fn mapped(bytes: u64) -> Result<MmapMut> {
    let memory = MmapMut::map_anon(usize::try_from(bytes).unwrap_or(usize::MAX)).map_err(DeliverError::Memory)?;
    // A system without large pages refuses; small ones serve as well.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(Advice::HugePage);
    Ok(memory)
}

/// A filled buffer on its way back.
struct LentBuffer {
    /// There until it goes back.
    memory: Option<MmapMut>,
    len: usize,
    shared: Arc<BufferPool>,
}

impl AsRef<[u8]> for LentBuffer {
    fn as_ref(&self) -> &[u8] {
        self.memory.as_ref().map(|memory| &memory[..self.len]).unwrap_or_default()
    }
}

impl Drop for LentBuffer {
    fn drop(&mut self) {
        let is_of_one_size = |memory: &MmapMut| memory.len() as u64 == PART_MIN_BYTES;
        let Some(memory) = self.memory.take().filter(is_of_one_size) else { return };
        let mut idle = self.shared.idle();
        if idle.len() < self.shared.count {
            idle.push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::super::error::DeliverError;
    use super::*;

    fn room(buffers: &Buffers, bytes: u64) -> BufferReservation<'_> {
        buffers.room(bytes).now_or_never().expect("room")
    }

    fn filled(room: &BufferReservation<'_>, with: &[u8]) -> Bytes {
        let fill = |buffer: &mut [u8]| {
            buffer[..with.len()].copy_from_slice(with);
            Ok(())
        };
        room.fill(fill).unwrap().slice(..with.len())
    }

    #[test]
    fn a_buffer_is_used_again_once_nobody_reads_from_it() {
        let buffers = Buffers::default();
        let (first, second) = (room(&buffers, PART_MIN_BYTES), room(&buffers, 6));
        assert_eq!(first.fill(|_| Ok(())).unwrap().len() as u64, PART_MIN_BYTES, "as long as the room");
        let bytes = filled(&first, b"first");
        let (at, clone) = (bytes.as_ptr(), bytes.slice(1..));
        drop(bytes);
        let other = filled(&second, b"second");
        assert_ne!(other.as_ptr(), at, "somebody still reads");
        assert_eq!(&clone[..], b"irst");
        drop(clone);
        let third = room(&buffers, 5);
        let again = filled(&third, b"3");
        assert_eq!((again.as_ptr(), &again[..]), (at, &b"3"[..]));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let buffers = Buffers::default();
        let idle = |count| assert_eq!(buffers.0.idle().len(), count);
        let rooms: Vec<_> = (0..BUFFERS).map(|_| room(&buffers, 1)).collect();
        assert!(buffers.room(1).now_or_never().is_none(), "a fifth waits");
        drop(rooms.iter().map(|room| filled(room, b"x")).collect::<Vec<_>>());
        idle(4);
        drop(rooms);
        idle(4);
        buffers.rest();
        idle(0);
        let (one, large) = (room(&buffers, 1), room(&buffers, 2 * PART_MIN_BYTES));
        drop((filled(&one, b"x"), filled(&one, b"y")));
        idle(2);
        let whole = filled(&large, b"x");
        idle(1);
        drop(whole);
        idle(1);
    }

    #[test]
    fn who_asks_for_more_on_the_way_has_room_for_it() {
        for (wanted, expected) in [(0, BUFFERS), (6, 6), (u64::MAX, BUFFERS_MAX)] {
            assert_eq!(count_for(wanted, u64::MAX), expected);
        }
        for (memory_bytes, expected) in [(1 << 30, 6), (256 << 20, 4), (100 << 20, 1), (1 << 20, 1)] {
            assert_eq!(count_for(6, memory_bytes), expected);
        }
        let buffers = Buffers::at_least(6);
        let rooms: Vec<_> = (0..6).map(|_| room(&buffers, 1)).collect();
        drop(rooms.iter().map(|room| filled(room, b"x")).collect::<Vec<_>>());
        assert_eq!(buffers.0.idle().len(), 6);
    }

    #[test]
    fn what_could_not_be_read_gives_its_buffer_back() {
        let buffers = Buffers::default();
        let room = room(&buffers, 1);
        assert!(room.fill(|_| Err(DeliverError::Cancelled)).is_err());
        assert_eq!(buffers.0.idle().len(), 1);
    }

    #[test]
    fn more_than_everything_is_everything() {
        let buffers = Buffers::default();
        let all = room(&buffers, u64::MAX);
        assert!(buffers.room(1).now_or_never().is_none());
        drop(all);
        room(&buffers, 1);
    }
}
