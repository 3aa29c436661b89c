//! Removes rows of shared roots whose files are gone: one node for each root, once a day, some rows at a time. A root whose file does not
//! say that it is this root is left alone: nothing that is not mounted counts as gone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use tracing::{debug, info};

use super::connecting::{client, with};
use super::engine::Member;
use super::error::FleetError;
use super::roots::FleetRoot;
use super::shared::spent::{self, OldRow};
use crate::durable;
use crate::fault::chain;
use crate::recording::name::printable;

/// How often it is asked whether it is this node's turn.
const ASK_FOR_TURN: Duration = Duration::from_secs(600);
/// Between two slices: the file system and the database have other things to do.
const PAUSE: Duration = Duration::from_secs(1);
/// How often files are looked at again that others look at now, or that do not answer.
const LOOKS: usize = 10;

impl Member {
    /// Goes on as long as the session does. What fails is tried again with the next turn.
    pub(super) async fn sweep(self: &Arc<Self>, pool: &Pool, life: (&str, i64)) -> Result<(), FleetError> {
        loop {
            for root in self.roots.shared() {
                match self.sweep_root(pool, life, &root).await {
                    Ok(0) => {}
                    Ok(rows) => info!(root = %printable(&root.path), rows, "rows of recordings that are gone removed"),
                    Err(error) => debug!(root = %printable(&root.path), error = chain(&error), "shared root not swept"),
                }
            }
            tokio::time::sleep(ASK_FOR_TURN).await;
        }
    }

    /// Says how many rows were removed.
    async fn sweep_root(self: &Arc<Self>, pool: &Pool, life: (&str, i64), root: &FleetRoot) -> Result<u64, FleetError> {
        if self.look(root, |_| ()).await.is_none()
            || !with(client(pool).await?, async |client| spent::take_turn(client, life, &root.root_id).await).await?
        {
            return Ok(0);
        }
        let (mut after, mut removed) = (spent::RowPlace::default(), 0);
        loop {
            let slice =
                with(client(pool).await?, async |client| spent::slice(client, &root.root_id, &after).await).await?;
            let old = Arc::new(slice.old);
            let are_spent =
                move |path: &Path| -> Vec<OldRow> { old.iter().filter(|row| row.is_spent(path)).cloned().collect() };
            let Some(rows) = self.look(root, are_spent).await else { return Ok(removed) };
            if !rows.is_empty() {
                removed +=
                    with(client(pool).await?, async |client| spent::remove(client, &root.root_id, &rows).await).await?;
            }
            match slice.next {
                Some(next) => after = next,
                None => return Ok(removed),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Looks at files of a root; `None` if it is not there, before or afterwards, or does not answer.
    async fn look<T: Send + 'static>(
        self: &Arc<Self>,
        root: &FleetRoot,
        look: impl Fn(&Path) -> T + Clone + Send + 'static,
    ) -> Option<T> {
        for _ in 0..LOOKS {
            let (root, look) = (root.clone(), look.clone());
            let is_it = move |root: &FleetRoot| {
                durable::owner_of(&root.path).is_some_and(|says| says.is_shared && says.root_id == root.root_id)
            };
            let looked = move || {
                let seen = is_it(&root).then(|| look(&root.path))?;
                is_it(&root).then_some(seen)
            };
            if let Some(looked) = self.beside_files(looked).await {
                return looked;
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }
}
