//! Running an operation for a request whose answer has a shape of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::answering::{Service, busy, fault};
use crate::operations::{Context, Operation, OperationError};

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

impl Service {
    /// A turn, as soon as one is free: clients that come together are served one after the other.
    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit, OperationError> {
        let permit = tokio::time::timeout(PATIENCE, Arc::clone(&self.operations).acquire_owned()).await;
        permit.ok().and_then(Result::ok).ok_or_else(busy)
    }

    /// Does an operation and gives its data; what it tells on the way is left out. It is not stopped when the client goes away.
    pub(super) async fn ask<O: Operation>(&self, operation: O) -> Result<O::Data, OperationError> {
        self.ask_for(move |context| operation.run(context, &mut |_| Ok(()))).await
    }

    /// The same for several in one turn.
    pub(super) async fn ask_for<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Context) -> Result<T, OperationError> + Send + 'static,
    ) -> Result<T, OperationError> {
        self.work(self.turn().await?, work).await
    }

    /// The same, refused at once where no turn is free: for work that takes a while, of which no queue should form.
    pub(super) async fn ask_now<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Context) -> Result<T, OperationError> + Send + 'static,
    ) -> Result<T, OperationError> {
        let permit = Arc::clone(&self.operations).try_acquire_owned().map_err(|_| busy())?;
        self.work(permit, work).await
    }

    async fn work<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        work: impl FnOnce(&Context) -> Result<T, OperationError> + Send + 'static,
    ) -> Result<T, OperationError> {
        let context = self.context.for_request();
        let worked = tokio::task::spawn_blocking(move || {
            let _until_done = permit;
            work(&context)
        });
        worked.await.unwrap_or_else(|_| Err(fault()))
    }
}
