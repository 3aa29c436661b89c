//! What is known of the roots of this node, and what follows from it. It asks nobody but the file in a root.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::refusal::RootRefusal;
use crate::durable::{self, RootOwner};
use crate::printable::Printable;
use crate::recording::name::printable;

/// A root that this node is to work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetRoot {
    /// Its directory.
    pub path: PathBuf,
    /// The id in its file.
    pub root_id: String,
    /// Whether several nodes work on it.
    pub is_shared: bool,
    /// Whether this node runs beside the ingest server that records into it.
    pub first_right: bool,
}

/// What is to be done in a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootAct {
    /// Something is made there, or delivered from there.
    Change,
    /// Something there is deleted.
    Delete,
}

/// Whose a root is, as the database says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::fleet) enum Holder {
    /// This node's alone.
    Ours {
        /// How often it has had another node.
        epoch: i64,
        /// Its directory, as it was registered last.
        url: String,
    },
    /// That of all nodes that share it, this one among them.
    Shared {
        /// Whose the first right is.
        first: FirstRight,
    },
    /// Another node's.
    Other {
        /// Its name.
        node: String,
        /// Whether the database has heard of it.
        is_alive: bool,
    },
}

/// Whose the first right to a shared root is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::fleet) enum FirstRight {
    /// This node's.
    Ours,
    /// That of another node that is alive.
    OfOther {
        /// Its name.
        node: String,
    },
    /// Nobody's, or that of a node that is not alive.
    Free,
}

/// A shared root to which this node is to have the first right, and another node has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondRight {
    /// The root.
    pub root: PathBuf,
    /// Name of the node that has it.
    pub node: String,
}

impl SecondRight {
    /// What follows from the database's word about a root, if this does.
    pub(in crate::fleet) fn of(root: &FleetRoot, holder: Option<&Holder>) -> Option<Self> {
        match holder {
            Some(Holder::Shared { first: FirstRight::OfOther { node } }) if root.is_shared && root.first_right => {
                Some(Self { root: root.path.clone(), node: node.clone() })
            }
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        format!(
            "This node works on the directory as one without `first_right`, until `{node}` ends. If ingest servers on both machines record \
             into it, remove `first_right` from both: neither sees the other's writers. Otherwise remove it from the node that is not \
             beside the ingest server.",
            node = Printable(&self.node)
        )
    }
}

impl std::fmt::Display for SecondRight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (root, node) = (printable(&self.root), Printable(&self.node));
        write!(f, "the node `{node}` has the first right to the shared root `{root}`; `first_right` has no effect here")
    }
}

/// What the database's word is worth now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fleet) enum Confirmation {
    /// It was heard not long ago.
    Fresh,
    /// It is older, and the database is being asked.
    Stale,
    /// It is older, and the database cannot be asked.
    Away,
}

#[derive(Debug, Clone)]
struct Entry {
    root: FleetRoot,
    holder: Option<Holder>,
}

#[derive(Debug, Default)]
struct TableState {
    entries: BTreeMap<PathBuf, Entry>,
    /// When the database was asked that has answered last.
    confirmed: Option<Instant>,
    /// What was last said of the first right.
    said: Vec<SecondRight>,
}

impl TableState {
    fn seconds(&self) -> Vec<SecondRight> {
        self.entries.values().filter_map(|entry| SecondRight::of(&entry.root, entry.holder.as_ref())).collect()
    }
}

/// The roots of this node.
#[derive(Debug, Default)]
pub(in crate::fleet) struct RootTable(Mutex<TableState>);

impl RootTable {
    fn lock(&self) -> MutexGuard<'_, TableState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a root; says whether that is news.
    pub fn put(&self, root: FleetRoot) -> bool {
        let mut state = self.lock();
        if state.entries.get(&root.path).is_some_and(|entry| entry.root == root) {
            return false;
        }
        state.entries.insert(root.path.clone(), Entry { root, holder: None });
        true
    }

    /// Forgets all roots but these.
    pub fn keep(&self, is_kept: impl Fn(&Path) -> bool) {
        self.lock().entries.retain(|path, _| is_kept(path));
    }

    /// All of them.
    pub fn all(&self) -> Vec<FleetRoot> {
        self.lock().entries.values().map(|entry| entry.root.clone()).collect()
    }

    /// Those that the database has as shared.
    pub fn shared(&self) -> Vec<FleetRoot> {
        let state = self.lock();
        let shared = state.entries.values().filter(|entry| matches!(entry.holder, Some(Holder::Shared { .. })));
        shared.filter(|entry| entry.root.is_shared).map(|entry| entry.root.clone()).collect()
    }

    /// The root at a path.
    pub fn at(&self, path: &Path) -> Option<FleetRoot> {
        self.lock().entries.get(path).map(|entry| entry.root.clone())
    }

    /// The shared root that holds a path.
    pub fn shared_above(&self, path: &Path) -> Option<FleetRoot> {
        self.above(path).map(|entry| entry.root).filter(|root| root.is_shared)
    }

    /// Notes what the database has said of them, and when it was asked.
    pub fn confirm(&self, asked_at: Instant, said: &BTreeMap<PathBuf, Holder>) {
        let mut state = self.lock();
        for (path, holder) in said {
            if let Some(entry) = state.entries.get_mut(path) {
                entry.holder = Some(holder.clone());
            }
        }
        state.confirmed = Some(asked_at);
    }

    /// Whether this node has the first right to a shared root, as the database said last.
    pub fn goes_first(&self, path: &Path) -> bool {
        let state = self.lock();
        let holder =
            state.entries.get(path).filter(|entry| entry.root.first_right).and_then(|entry| entry.holder.as_ref());
        matches!(holder, Some(Holder::Shared { first: FirstRight::Ours }))
    }

    /// Roots whose first right another node has, although this one is to have it.
    pub fn seconds(&self) -> Vec<SecondRight> {
        self.lock().seconds()
    }

    /// Those of them that were not said yet. What is over is said again when it comes back.
    pub fn unsaid_seconds(&self) -> Vec<SecondRight> {
        let mut state = self.lock();
        let now = state.seconds();
        let said = std::mem::replace(&mut state.said, now.clone());
        now.into_iter().filter(|second| !said.contains(second)).collect()
    }

    /// Notes what the database has said of one.
    pub fn confirm_one(&self, path: &Path, holder: Holder) {
        if let Some(entry) = self.lock().entries.get_mut(path) {
            entry.holder = Some(holder);
        }
    }

    /// What the database's last word is worth.
    pub fn confirmation(&self, now: Instant, trust: Duration, has_failed: bool) -> Confirmation {
        match self.lock().confirmed {
            Some(at) if now.saturating_duration_since(at) < trust => Confirmation::Fresh,
            _ if has_failed => Confirmation::Away,
            _ => Confirmation::Stale,
        }
    }

    /// The root of this node that has the same id and was registered with it: the file in one of them was copied.
    fn original_of(&self, root: &FleetRoot, holder: &Holder) -> Option<PathBuf> {
        let Holder::Ours { url, .. } = holder else { return None };
        let other = self.at(Path::new(url)).filter(|other| other.root_id == root.root_id)?;
        (other.path != root.path).then_some(other.path)
    }

    fn above(&self, path: &Path) -> Option<Entry> {
        let state = self.lock();
        path.ancestors().find_map(|above| state.entries.get(above)).cloned()
    }

    /// Whether something may be done to a root or what lies in it; of a path in no root there is nothing to say.
    pub fn allows(
        &self,
        path: &Path,
        act: RootAct,
        confirmation: Confirmation,
        node_id: &str,
    ) -> Result<(), RootRefusal> {
        let Some(Entry { root, holder }) = self.above(path) else { return Ok(()) };
        if let Some(other) = holder.as_ref().and_then(|holder| self.original_of(&root, holder)) {
            return Err(RootRefusal::Duplicate { root: root.path, other });
        }
        judge(&root, holder.as_ref(), confirmation).unwrap_or_else(|| by_file(&root, act, holder.is_some(), node_id))
    }
}

/// What follows from the database's word; `None` where the file in the root decides. Pure.
pub(in crate::fleet) fn judge(
    root: &FleetRoot,
    holder: Option<&Holder>,
    confirmation: Confirmation,
) -> Option<Result<(), RootRefusal>> {
    let path = || root.path.clone();
    let refusal = match (holder, root.is_shared) {
        (Some(Holder::Other { node, .. }), true) => RootRefusal::NotShared { root: path(), node: node.clone() },
        (Some(Holder::Other { node, is_alive: true }), false) => {
            RootRefusal::OfLiveNode { root: path(), node: node.clone() }
        }
        (Some(Holder::Other { node, is_alive: false }), false) => {
            RootRefusal::OfDeadNode { root: path(), node: node.clone() }
        }
        (Some(Holder::Shared { .. }), false) => RootRefusal::Shared { root: path() },
        (Some(Holder::Shared { .. }), true) if confirmation == Confirmation::Fresh => return Some(Ok(())),
        (_, true) => RootRefusal::Paused { root: path() },
        (Some(Holder::Ours { .. }), false) => match confirmation {
            Confirmation::Fresh => return Some(Ok(())),
            Confirmation::Stale => RootRefusal::Unconfirmed { root: path() },
            Confirmation::Away => return None,
        },
        (None, false) => return None,
    };
    Some(Err(refusal))
}

fn by_file(root: &FleetRoot, act: RootAct, was_ours: bool, node_id: &str) -> Result<(), RootRefusal> {
    judge_file(root, durable::owner_of(&root.path).as_ref(), act, was_ours, node_id)
}

/// What follows from the file in a root alone. A file that says nothing is no reason to leave recordings unfinished; but what was
/// once registered is deleted only where the file still says that it is this node's. Pure.
fn judge_file(
    root: &FleetRoot,
    says: Option<&RootOwner>,
    act: RootAct,
    was_ours: bool,
    node_id: &str,
) -> Result<(), RootRefusal> {
    let path = || root.path.clone();
    let marked = says.and_then(|says| says.node_id.as_deref());
    match marked {
        Some(marked) if !node_id.is_empty() && marked != node_id => Err(RootRefusal::OfAnother { root: path() }),
        Some(marked) if marked == node_id => Ok(()),
        None if !was_ours => Ok(()),
        _ if act == RootAct::Change => Ok(()),
        _ => Err(RootRefusal::Unmarked { root: path() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(is_shared: bool) -> FleetRoot {
        FleetRoot { path: "/srv/live".into(), root_id: "1".into(), is_shared, first_right: false }
    }

    fn other(is_alive: bool) -> Holder {
        Holder::Other { node: "b".into(), is_alive }
    }

    #[test]
    fn what_the_database_says_counts_while_it_is_fresh() {
        use Confirmation::{Away, Fresh, Stale};
        let (ours, shared) =
            (Holder::Ours { epoch: 1, url: "/srv/live".into() }, Holder::Shared { first: FirstRight::Free });
        let said = |root: &FleetRoot, holder: &Holder, confirmation| judge(root, Some(holder), confirmation);
        assert_eq!(said(&root(false), &ours, Fresh), Some(Ok(())));
        let unconfirmed = Err(RootRefusal::Unconfirmed { root: "/srv/live".into() });
        assert_eq!(said(&root(false), &ours, Stale), Some(unconfirmed));
        assert_eq!(said(&root(false), &ours, Away), None, "the file decides");
        assert_eq!(said(&root(true), &shared, Fresh), Some(Ok(())));
        for confirmation in [Stale, Away] {
            let paused = Err(RootRefusal::Paused { root: "/srv/live".into() });
            assert_eq!(said(&root(true), &shared, confirmation), Some(paused.clone()));
            assert_eq!(judge(&root(true), None, confirmation), Some(paused));
        }
        for confirmation in [Fresh, Stale, Away] {
            for is_alive in [true, false] {
                assert!(matches!(said(&root(false), &other(is_alive), confirmation), Some(Err(_))));
                assert!(matches!(said(&root(true), &other(is_alive), confirmation), Some(Err(_))));
            }
            assert!(matches!(said(&root(false), &shared, confirmation), Some(Err(RootRefusal::Shared { .. }))));
            assert_eq!(judge(&root(false), None, confirmation), None);
        }
    }

    #[test]
    fn without_the_database_the_file_decides_and_nothing_is_deleted_on_its_silence() {
        use RootAct::{Change, Delete};
        let says = |node_id: Option<&str>| RootOwner {
            root_id: "1".into(),
            state_id: String::new(),
            state_dir: PathBuf::new(),
            pid: 0,
            node_id: node_id.map(str::to_owned),
            owner_epoch: None,
            is_shared: false,
            other: serde_json::Map::new(),
        };
        let judged = |marked, act, was_ours| judge_file(&root(false), Some(&says(marked)), act, was_ours, "me");
        for act in [Change, Delete] {
            assert_eq!(judged(Some("me"), act, true), Ok(()));
            assert!(matches!(judged(Some("other"), act, true), Err(RootRefusal::OfAnother { .. })));
            assert_eq!(judged(None, act, false), Ok(()), "never registered, as without a fleet");
        }
        assert_eq!(judged(None, Change, true), Ok(()));
        assert!(matches!(judged(None, Delete, true), Err(RootRefusal::Unmarked { .. })));
        assert!(matches!(judge_file(&root(false), None, Delete, true, "me"), Err(RootRefusal::Unmarked { .. })));
        assert!(judge_file(&root(false), Some(&says(Some("x"))), Change, false, "").is_ok(), "identity unknown");
    }

    #[test]
    fn a_node_goes_first_only_where_the_database_says_so_and_another_one_is_named_once() {
        let table = RootTable::default();
        let wanted = FleetRoot { first_right: true, ..root(true) };
        table.put(wanted.clone());
        let path = wanted.path.as_path();
        let hear = |first: FirstRight| {
            table.confirm(Instant::now(), &BTreeMap::from([(path.to_owned(), Holder::Shared { first })]));
        };
        assert!(!table.goes_first(path), "nothing is known yet");
        hear(FirstRight::OfOther { node: "b".into() });
        let second = SecondRight { root: path.to_owned(), node: "b".into() };
        assert!(!table.goes_first(path) && table.seconds() == [second.clone()]);
        assert_eq!((table.unsaid_seconds(), table.unsaid_seconds()), (vec![second.clone()], Vec::new()));
        assert!(second.to_string().contains("the node `b`") && second.hint().contains("remove `first_right`"));
        hear(FirstRight::Ours);
        assert!(table.goes_first(path) && table.unsaid_seconds().is_empty() && table.seconds().is_empty());
        hear(FirstRight::OfOther { node: "b".into() });
        assert_eq!(table.unsaid_seconds(), [second], "it came back");
        table.put(root(true));
        hear(FirstRight::OfOther { node: "b".into() });
        assert!(!table.goes_first(path) && table.seconds().is_empty(), "it is not wanted");
    }

    #[test]
    fn of_two_roots_with_one_id_the_registered_one_is_worked_on() {
        let table = RootTable::default();
        let copy = FleetRoot { path: "/srv/copy".into(), ..root(false) };
        table.put(root(false));
        table.put(copy);
        let ours = Holder::Ours { epoch: 1, url: "/srv/live".into() };
        let said = ["/srv/live", "/srv/copy"].map(|path| (path.into(), ours.clone()));
        table.confirm(Instant::now(), &BTreeMap::from(said));
        let allowed = |path: &str| table.allows(Path::new(path), RootAct::Change, Confirmation::Fresh, "me");
        assert_eq!(allowed("/srv/live/x"), Ok(()));
        assert!(matches!(allowed("/srv/copy/x"), Err(RootRefusal::Duplicate { .. })));
    }

    #[test]
    fn a_path_belongs_to_the_innermost_root_above_it() {
        let table = RootTable::default();
        assert!(table.put(root(true)));
        assert!(!table.put(root(true)), "no news");
        let inner = FleetRoot { path: "/srv/live/b".into(), ..root(false) };
        assert!(table.put(inner));
        assert!(table.shared_above(Path::new("/srv/live/x.mp4")).is_some());
        assert!(table.shared_above(Path::new("/srv/live/b/x.mp4")).is_none());
        assert!(table.shared_above(Path::new("/srv/livestock")).is_none());
        assert_eq!(table.allows(Path::new("/tmp"), RootAct::Delete, Confirmation::Away, "me"), Ok(()));
        let (now, trust) = (Instant::now(), Duration::from_secs(20));
        assert_eq!(table.confirmation(now, trust, false), Confirmation::Stale);
        table.confirm(now, &BTreeMap::from([("/srv/live".into(), Holder::Shared { first: FirstRight::Free })]));
        assert_eq!(table.confirmation(now, trust, true), Confirmation::Fresh);
        assert_eq!(table.confirmation(now + trust, trust, true), Confirmation::Away);
        assert_eq!(table.confirmation(now + trust, trust, false), Confirmation::Stale);
        table.keep(|path| path.ends_with("b"));
        assert_eq!(table.all().len(), 1);
    }
}
