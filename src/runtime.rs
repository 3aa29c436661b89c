//! The one tokio runtime of the process: calls to stores run on it, and whatever else waits for a network or a socket.
//!
//! Clones are handles on the same one. It ends when the last of them is dropped.

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::runtime::{self, Builder, Handle};
use tokio::task::spawn_blocking;

/// A handle on the runtime.
#[derive(Debug, Clone)]
pub struct Runtime(Arc<OwnedRuntime>);

/// Taken only when this is dropped.
#[derive(Debug)]
struct OwnedRuntime(Option<runtime::Runtime>, Handle);

impl Runtime {
    /// Starts it, once for a process; an error if the system gives no threads.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("net").enable_all().build()?;
        let handle = runtime.handle().clone();
        Ok(Self(Arc::new(OwnedRuntime(Some(runtime), handle))))
    }

    /// To spawn on it. It does not keep the runtime: whoever spawns keeps a [`Runtime`] for as long as that is to go on.
    pub fn handle(&self) -> &Handle {
        &self.0.1
    }

    /// Runs a future to its end on this thread, which must not be one of the runtime's own.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.handle().block_on(future)
    }
}

/// Does something that waits for the disk beside the threads of the runtime. A panic of it goes on in the caller.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => match panic.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends.
            Err(_) => std::future::pending().await,
        },
    }
}

impl Drop for OwnedRuntime {
    /// Does not wait for name lookups, which run on threads of the runtime and cannot be cancelled.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lookup_that_hangs_does_not_keep_the_runtime() {
        let runtime = Runtime::start().unwrap();
        let (hangs, until) = std::sync::mpsc::channel::<()>();
        let lookup = runtime.handle().spawn_blocking(move || until.recv());
        drop(runtime);
        assert!(!lookup.is_finished());
        drop(hangs);
    }

    #[test]
    fn what_is_spawned_goes_on_while_there_is_a_handle() {
        let runtime = Runtime::start().unwrap();
        let other = runtime.clone();
        drop(runtime);
        let task = other.handle().spawn(async { 7 });
        assert_eq!(other.block_on(task).unwrap(), 7);
    }
}
