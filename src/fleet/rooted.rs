//! The roots of this node, between the pipeline that works on them and the database that says whose they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::Client;
use tracing::{info, warn};

use super::connecting::{self, within};
use super::engine::{Fleet, Member, lock};
use super::error::FleetError;
use super::options::FleetOptions;
use super::roots::{self, Confirmation, FirstRight, FleetRoot, Holder, RootAct, RootRefusal, SecondRight};
use super::schema;
use super::shared::{self, SharedClaim, SharedItem, SharedLease};
use crate::catalog::known_node_id;
use crate::durable::{self, RootOwner};
use crate::fault::chain;
use crate::printable::Printable;
use crate::recording::Fingerprint;
use crate::recording::name::printable;
use crate::runtime::Runtime;

/// How long a session waits for files of roots: less than a heartbeat.
const FILES_PATIENCE: Duration = Duration::from_secs(2);

/// A root that was adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedRoot {
    /// Its directory.
    pub path: PathBuf,
    /// Its id.
    pub root_id: String,
    /// Name of the node that had it, if the database knows it.
    pub from: Option<String>,
    /// How often it has had another node.
    pub epoch: i64,
    /// VoDs that are listed for this node now.
    pub vods: u64,
}

impl Fleet {
    /// Takes part with a root; the database is told soon.
    pub fn take_part(&self, root: FleetRoot) {
        if self.0.roots.put(root) {
            self.0.roots_changed.notify_one();
        }
    }

    /// Whether a root is known in exactly this way.
    pub fn knows_root(&self, root: &FleetRoot) -> bool {
        self.0.roots.at(&root.path).as_ref() == Some(root)
    }

    /// Whether a root is known at a path.
    pub fn has_root_at(&self, path: &Path) -> bool {
        self.0.roots.at(path).is_some()
    }

    /// Forgets all roots but these.
    pub fn keep_roots(&self, is_kept: impl Fn(&Path) -> bool) {
        self.0.roots.keep(is_kept);
    }

    /// Whether a session with the database is under way or being tried; a command has none.
    pub fn has_begun(&self) -> bool {
        lock(&self.0.task).is_some()
    }

    /// Whether something may be done to what lies at a path. Asks no database.
    pub fn allows(&self, path: &Path, act: RootAct) -> Result<(), RootRefusal> {
        let health = &self.0.health;
        let confirmation = self.0.roots.confirmation(health.now(), health.trust(), health.has_failed());
        self.0.roots.allows(path, act, confirmation, self.node_id())
    }

    /// Whether this node has the first right to a shared root, as the database said last.
    pub fn goes_first(&self, root: &Path) -> bool {
        self.0.roots.goes_first(root)
    }

    /// Shared roots whose first right another node has, although the settings give it to this one.
    pub fn second_rights(&self) -> Vec<SecondRight> {
        self.0.roots.seconds()
    }

    /// The shared root that holds a path.
    pub fn shared_root(&self, path: &Path) -> Option<FleetRoot> {
        self.0.roots.shared_above(path)
    }

    /// Asks for a recording in a shared root. Blocks.
    pub fn claim(&self, item: &SharedItem) -> Result<SharedClaim, FleetError> {
        let life = self.life()?;
        let sees_others = self.0.health.unbroken_for_a_lease();
        self.ask(async |client| shared::claim(client, life, item, sees_others).await)
    }

    /// Notes that a recording is being worked on from now on; `false` if another node has taken over. Blocks.
    pub fn begun(&self, lease: &SharedLease) -> Result<bool, FleetError> {
        let life = self.life()?;
        self.ask(async |client| shared::begun(client, life, lease).await)
    }

    /// Notes that nothing is to be done about a recording, and that its result is not this node's. Blocks.
    pub fn done_elsewhere(&self, lease: &SharedLease) -> Result<bool, FleetError> {
        let life = self.life()?;
        self.ask(async |client| shared::done_elsewhere(client, life, lease).await)
    }

    /// Notes a finished file, by its path below the root, before it gets its name; `false` if another node has taken over. Blocks.
    pub fn publishing(
        &self,
        lease: &SharedLease,
        result: &Path,
        fingerprint: &Fingerprint,
        digest: &str,
    ) -> Result<bool, FleetError> {
        let life = self.life()?;
        self.ask(async |client| shared::publishing(client, life, lease, (result, fingerprint, digest)).await)
    }

    /// Notes that a recording is finished; `false` if another node has taken over. Blocks.
    pub fn done(&self, lease: &SharedLease, vod_id: &str) -> Result<bool, FleetError> {
        let life = self.life()?;
        self.ask(async |client| shared::done(client, life, lease, vod_id).await)
    }

    /// Lets other nodes try a recording after some time. Blocks.
    pub fn give_back(&self, lease: &SharedLease, after: Duration, reason: &str) -> Result<bool, FleetError> {
        let life = self.life()?;
        self.ask(async |client| shared::give_back(client, life, lease, (after, reason)).await)
    }

    /// Keeps every node from a recording. Blocks.
    pub fn quarantine(&self, lease: &SharedLease, reason: &str) -> Result<bool, FleetError> {
        let life = self.life()?;
        self.ask(async |client| shared::quarantine(client, life, lease, reason).await)
    }

    /// Lets all nodes try a recording again that one of them has quarantined; `false` if none has. Blocks.
    pub fn reopen(&self, item: &SharedItem) -> Result<bool, FleetError> {
        let life = self.life()?;
        self.ask(async |client| shared::reopen(client, life, item).await)
    }

    /// Whose a root is that can be adopted; an error if its node is alive. Blocks.
    pub fn adoptable(&self, path: &Path) -> Result<AdoptedRoot, FleetError> {
        let (node_id, _) = self.life()?;
        let says = marker_of(path)?;
        let (epoch, from) = self.ask(async |client| roots::adoptable(client, node_id, &says.root_id).await)?;
        Ok(AdoptedRoot { path: path.to_owned(), root_id: says.root_id, from, epoch, vods: 0 })
    }

    /// Makes a root this node's whose node is not alive; its lock is held. Blocks.
    ///
    /// The file in the root is written first: a former node that sees the same directory and cannot reach the database finds its
    /// own name no more.
    pub fn adopt(&self, path: &Path) -> Result<AdoptedRoot, FleetError> {
        let life = self.life()?;
        let (before, known) = (marker_of(path)?, self.adoptable(path)?.epoch);
        let root =
            FleetRoot { path: path.to_owned(), root_id: before.root_id.clone(), is_shared: false, first_right: false };
        let next = known.max(before.owner_epoch.unwrap_or(0)).saturating_add(1);
        durable::note_node(path, Some(&root.root_id), life.0, next).map_err(FleetError::Marker)?;
        let adopted = self.ask(async |client| roots::adopt(client, life, &root).await);
        let adopted = adopted.inspect_err(|_| {
            if let Err(error) = durable::restore_owner(path, &before) {
                warn!(root = %printable(path), error = chain(&error), "cannot restore the file of the root");
            }
        })?;
        let vods = self.ask(async |client| roots::move_vods(client, life.0, life.1).await)?;
        self.0.roots.confirm_one(path, Holder::Ours { epoch: adopted.epoch, url: path.to_string_lossy().into_owned() });
        self.0.roots_changed.notify_one();
        info!(root = %printable(path), from = adopted.from, epoch = adopted.epoch, vods, "root adopted");
        let roots::Adoption { epoch, from } = adopted;
        Ok(AdoptedRoot { path: root.path, root_id: root.root_id, from, epoch, vods })
    }
}

/// A root, and who goes first there in place of this node, or why it is left alone.
pub type CheckedRoot = (PathBuf, Result<Option<SecondRight>, RootRefusal>);

/// What the database says of these roots, for `doctor`. Nothing is changed. Blocks.
pub fn check_roots(
    options: &FleetOptions,
    state_dir: &Path,
    roots: &[FleetRoot],
    runtime: &Runtime,
) -> Result<Vec<CheckedRoot>, FleetError> {
    let Some(node_id) = known_node_id(state_dir)? else { return Ok(Vec::new()) };
    let held = runtime.block_on(async {
        let pool = connecting::pool(options)?;
        let client = connecting::client(&pool).await?;
        let held = if within(schema::found(&**client)).await? < schema::KNOWN {
            BTreeMap::new()
        } else {
            roots::owned(&client, &node_id, roots).await?
        };
        pool.close();
        Ok::<_, FleetError>(held)
    })?;
    let said = |root: &FleetRoot| {
        let holder = held.get(&root.path)?;
        let judged = roots::judge(root, Some(holder), Confirmation::Fresh)?;
        Some((root.path.clone(), judged.map(|()| SecondRight::of(root, Some(holder)))))
    };
    Ok(roots.iter().filter_map(said).collect())
}

fn marker_of(path: &Path) -> Result<RootOwner, FleetError> {
    let says = durable::owner_of(path).ok_or_else(|| FleetError::NotARoot(path.to_owned()))?;
    if says.is_shared { Err(FleetError::SharedRoot) } else { Ok(says) }
}

impl Member {
    /// At the beginning of a session: the roots, and what an adoption that was cut has left to be done.
    pub(super) async fn enter_roots(
        self: &Arc<Self>,
        client: &mut Client,
        node_id: &str,
        epoch: i64,
    ) -> Result<(), FleetError> {
        self.check_roots(client, node_id, epoch).await?;
        let vods = roots::move_vods(client, node_id, epoch).await?;
        if vods > 0 {
            info!(vods, "VoDs of adopted roots are listed for this node");
        }
        Ok(())
    }

    /// Registers roots, asks whose they are, and notes in those of this node that they are its.
    pub(super) async fn check_roots(
        self: &Arc<Self>,
        client: &mut Client,
        node_id: &str,
        epoch: i64,
    ) -> Result<(), FleetError> {
        let asked_at = self.health.now();
        let all = self.roots.all();
        if all.is_empty() {
            self.hear_of_roots(asked_at, &BTreeMap::new());
            return Ok(());
        }
        let mut held = roots::owned(client, node_id, &all).await?;
        let lacking: Vec<_> =
            all.iter().filter(|root| needs_registering(root, held.get(&root.path), &all)).cloned().collect();
        // Before any file is looked at: a network file system may hang, and roots on others must not wait for it. Of a root that is yet
        // to be registered nothing is known.
        let is_lacking = |path: &PathBuf| lacking.iter().any(|root| root.path == *path);
        let known =
            held.iter().filter(|(path, _)| !is_lacking(path)).map(|(path, holder)| (path.clone(), holder.clone()));
        self.hear_of_roots(asked_at, &known.collect());
        if !lacking.is_empty() {
            let paths: Vec<_> = lacking.iter().map(|root| root.path.clone()).collect();
            let look = move || paths.iter().map(|path| durable::owner_of(path).and_then(|says| says.node_id)).collect();
            let Some(marked): Option<Vec<_>> = self.beside_files(look).await else { return Ok(()) };
            for (root, marked) in lacking.iter().zip(&marked) {
                roots::register(client, (node_id, epoch), root, marked.as_deref()).await?;
            }
            held = roots::owned(client, node_id, &all).await?;
            self.hear_of_roots(asked_at, &held);
        }
        let ours = all.iter().filter_map(|root| match held.get(&root.path) {
            Some(Holder::Ours { epoch, .. }) if !root.is_shared => Some((root.clone(), *epoch)),
            _ => None,
        });
        let (ours, name): (Vec<_>, _) = (ours.collect(), node_id.to_owned());
        self.beside_files(move || ours.iter().for_each(|(root, epoch)| note(root, &name, *epoch))).await;
        Ok(())
    }

    /// Notes what the database has said of roots.
    fn hear_of_roots(&self, asked_at: Instant, said: &BTreeMap<PathBuf, Holder>) {
        self.roots.confirm(asked_at, said);
        for second in self.roots.unsaid_seconds() {
            warn!(root = %printable(&second.root), node = %Printable(&second.node), hint = second.hint(), "another node has the first right");
        }
    }

    /// Does something with files of roots; `None` if it takes too long, and while it takes: heartbeats go on beside a file system that
    /// hangs.
    pub(super) async fn beside_files<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.root_files).try_acquire_owned().ok()?;
        let done = self.blocking(move |_| {
            let done = work();
            drop(turn);
            Ok(done)
        });
        tokio::time::timeout(FILES_PATIENCE, done).await.ok()?.ok()
    }
}

/// Whether the database is to be told of a root: it has none, or has it in another way.
fn needs_registering(root: &FleetRoot, holder: Option<&Holder>, all: &[FleetRoot]) -> bool {
    match holder {
        // It is mounted elsewhere now, unless another root here is the one that was registered.
        Some(Holder::Ours { url, .. }) => {
            let is_of_another = |other: &FleetRoot| other.path == Path::new(url) && other.root_id == root.root_id;
            root.is_shared || root.path != Path::new(url) && !all.iter().any(is_of_another)
        }
        // The first right is wanted and free, or is this node's and not wanted any more.
        Some(Holder::Shared { first }) => {
            root.is_shared && *first == if root.first_right { FirstRight::Free } else { FirstRight::Ours }
        }
        Some(Holder::Other { is_alive, .. }) => !is_alive,
        None => true,
    }
}

fn note(root: &FleetRoot, node_id: &str, epoch: i64) {
    // Another directory may have been mounted there meanwhile.
    if let Err(error) = durable::note_node(&root.path, Some(&root.root_id), node_id, epoch) {
        tracing::debug!(root = %printable(&root.path), error = chain(&error), "cannot note the node in the file of the root");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_registered_where_the_database_has_it_in_no_way_or_another() {
        let root = |is_shared| FleetRoot { path: "/r".into(), root_id: "1".into(), is_shared, first_right: false };
        let other = |is_alive| Holder::Other { node: "b".into(), is_alive };
        let ours = |url: &str| Holder::Ours { epoch: 1, url: url.to_owned() };
        let needs =
            |root: FleetRoot, holder: Option<&Holder>| needs_registering(&root, holder, std::slice::from_ref(&root));
        assert!(needs(root(false), None));
        assert!(!needs(root(false), Some(&ours("/r"))));
        assert!(needs(root(false), Some(&ours("/elsewhere"))), "mounted elsewhere");
        assert!(needs(root(true), Some(&ours("/r"))), "it becomes shared");
        let shared = |first| Holder::Shared { first };
        let first_right = |first_right| FleetRoot { first_right, ..root(true) };
        let of_all = [FirstRight::Free, FirstRight::Ours, FirstRight::OfOther { node: "b".into() }].map(shared);
        assert!(of_all.iter().all(|holder| !needs(root(false), Some(holder))));
        let wanted = of_all.each_ref().map(|holder| needs(first_right(true), Some(holder)));
        let unwanted = of_all.each_ref().map(|holder| needs(first_right(false), Some(holder)));
        assert_eq!((wanted, unwanted), ([true, false, false], [false, true, false]));
        assert!(!needs(root(false), Some(&other(true))));
        assert!(needs(root(false), Some(&other(false))), "it may be registered for nobody");
        let copy = FleetRoot { path: "/copy".into(), ..root(false) };
        assert!(!needs_registering(&copy, Some(&ours("/r")), &[root(false), copy.clone()]), "its file was copied");
    }
}
