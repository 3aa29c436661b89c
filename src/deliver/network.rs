//! How calls to stores run, and what ends them when a stop is requested.
//!
//! A store may be silent in any call, a multipart upload's first as well as a `HEAD`. Each call is abandoned soon after the stop;
//! what it may have begun is in the ledger, as after a crash.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use super::error::{DeliverError, Result};
use crate::runtime::Runtime;
use crate::stop::Stop;

/// How long a call may still take after a stop, to note what the store has acknowledged.
const GRACE: Duration = Duration::from_millis(500);

/// Where the calls of the targets run.
#[derive(Debug)]
pub(super) struct NetworkRuntime {
    pub(super) runtime: Runtime,
    pub(super) stop: Stop,
}

impl NetworkRuntime {
    /// Runs a call to its end, or until soon after a stop was requested.
    pub(super) fn until_stopped<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(async {
            let mut call = pin!(call);
            tokio::select! {
                done = &mut call => return done,
                () = self.stop.requested() => {}
            }
            tokio::time::timeout(GRACE, call).await.unwrap_or(Err(DeliverError::Cancelled))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> NetworkRuntime {
        NetworkRuntime { runtime: Runtime::start().unwrap(), stop: Stop::default() }
    }

    #[test]
    fn a_call_that_never_ends_is_abandoned_after_a_stop() {
        let network = open();
        let stop = network.stop.clone();
        let silent = async {
            stop.request();
            std::future::pending::<Result<()>>().await
        };
        assert!(matches!(network.until_stopped(silent), Err(DeliverError::Cancelled)));
    }

    #[test]
    fn what_a_call_does_at_once_when_it_is_stopped_is_done() {
        let network = open();
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
}
