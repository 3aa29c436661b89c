//! The runtime on which the calls to stores run, and what ends them when a stop is requested.
//!
//! A store may be silent in any call, a multipart upload's first as well as a `HEAD`. Each call is abandoned soon after the stop;
//! what it may have begun is in the ledger, as after a crash.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::error::{DeliverError, Result};
use crate::stop::Stop;

/// How often a waiting call looks whether a stop was requested.
const POLL: Duration = Duration::from_millis(50);
/// How long a call may still take then, to note what the store has acknowledged.
const GRACE: Duration = Duration::from_millis(500);

/// The runtime of the targets.
#[derive(Debug)]
pub(super) struct Network {
    /// Taken only when this is dropped.
    runtime: Option<Runtime>,
    pub(super) stop: Stop,
}

impl Network {
    pub(super) fn open() -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("deliver").enable_all().build();
        Ok(Self { runtime: Some(runtime.map_err(DeliverError::Runtime)?), stop: Stop::default() })
    }

    /// Runs a call to its end, or until soon after a stop was requested.
    pub(super) fn until_stopped<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = self.runtime.as_ref().ok_or(DeliverError::Cancelled)?;
        runtime.block_on(async {
            let mut call = pin!(call);
            tokio::select! {
                done = &mut call => return done,
                () = until_set(self.stop.flag()) => {}
            }
            tokio::time::timeout(GRACE, call).await.unwrap_or(Err(DeliverError::Cancelled))
        })
    }
}

/// Waits until a flag is set; looked at now and then, since whoever sets it knows of no runtime.
pub(super) async fn until_set(flag: &AtomicBool) {
    while !flag.load(Ordering::SeqCst) {
        tokio::time::sleep(POLL).await;
    }
}

impl Drop for Network {
    /// Does not wait for name lookups, which run on threads of the runtime and cannot be cancelled.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_never_ends_is_abandoned_after_a_stop() {
        let network = Network::open().unwrap();
        let stop = network.stop.clone();
        let silent = async {
            stop.request();
            std::future::pending::<Result<()>>().await
        };
        assert!(matches!(network.until_stopped(silent), Err(DeliverError::Cancelled)));
    }

    #[test]
    fn what_a_call_does_at_once_when_it_is_stopped_is_done() {
        let network = Network::open().unwrap();
        network.stop.request();
        let notes = async {
            while !network.stop.is_requested() {
                tokio::task::yield_now().await;
            }
            tokio::task::yield_now().await;
            Ok(7)
        };
        assert_eq!(network.until_stopped(notes).unwrap(), 7);
    }

    #[test]
    fn a_name_lookup_that_hangs_does_not_keep_the_runtime() {
        let network = Network::open().unwrap();
        let (hangs, until) = std::sync::mpsc::channel::<()>();
        let begins = async { Ok(tokio::task::spawn_blocking(move || until.recv())) };
        let lookup = network.until_stopped(begins).unwrap();
        drop(network);
        assert!(!lookup.is_finished());
        drop(hangs);
    }
}
