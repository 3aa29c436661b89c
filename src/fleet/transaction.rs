//! A transaction that has an end from its first moment: what begins it sets its limits, in one message. Between two messages, a process
//! can be suspended, and a transaction without limits would stay open in the database, and keep its connection, for as long as that takes.

use std::ops::Deref;

use deadpool_postgres::Client;
use futures::FutureExt as _;
use tokio_postgres::Error;

/// An open transaction. Rolled back if it is dropped.
#[derive(Debug)]
pub(super) struct Transaction<'a> {
    client: &'a Client,
    is_open: bool,
}

impl<'a> Transaction<'a> {
    /// Begins one with the statements that limit it, each a `SET LOCAL`. Nothing else is done with the connection meanwhile: it is
    /// borrowed as a whole.
    pub(super) async fn begin(client: &'a mut Client, limits: &str) -> Result<Self, Error> {
        // Before it is known whether it has begun: whoever is cancelled while waiting for that rolls it back.
        let transaction = Self { client, is_open: true };
        transaction.client.batch_execute(&format!("BEGIN; {limits}")).await?;
        Ok(transaction)
    }

    /// All of it counts from here on.
    pub(super) async fn commit(mut self) -> Result<(), Error> {
        self.is_open = false;
        self.client.batch_execute("COMMIT").await
    }

    /// Nothing of it counts.
    pub(super) async fn rollback(mut self) -> Result<(), Error> {
        self.is_open = false;
        self.client.batch_execute("ROLLBACK").await
    }
}

impl Deref for Transaction<'_> {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &Self::Target {
        self.client
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open {
            // Polled once, which sends it, before everything that is asked of this connection later. Nobody can wait here for the answer,
            // and if the connection is broken there is nothing to roll back.
            let _ = self.client.batch_execute("ROLLBACK").now_or_never();
        }
    }
}
