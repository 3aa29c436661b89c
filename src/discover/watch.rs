//! Notifications of changes below the roots. Events are hints, the scan is the truth.
//!
//! ```text
//! notify's thread ── translate ──▶ bounded channel ─▶ pipeline
//!        │  never waits: what does not fit, and every new directory, becomes an order
//!        ╰──▶ keeper thread: watches new directories, then asks for a rescan of them
//! ```
//!
//! Every directory has a watch of its own, set here: one that may not be read then costs only itself. Where nothing can
//! be notified (network file systems, limits of the kernel) a root is polled, which means that only periodic scans find
//! what is new. Ticks for those are the caller's.

mod keeper;
mod translate;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use notify::{RecommendedWatcher, Watcher as _};

use super::candidate::NameRules;
use super::error::{DiscoverError, Problem};
use super::lease;
use super::options::{RootOptions, WatchOptions};
use keeper::WatchWorker;

/// Something happened below a root.
#[derive(Debug)]
pub enum WatchEvent {
    /// A file that was open for writing was closed (`IN_CLOSE_WRITE`).
    Closed(PathBuf),
    /// A file was renamed to this name, or moved into the root.
    Renamed {
        /// Its name now.
        to: PathBuf,
    },
    /// A file was created or its attributes changed. Writes are not told one by one: a close follows them.
    Changed(PathBuf),
    /// A file or directory is gone from this name.
    Removed(PathBuf),
    /// Events may have been missed: scan this directory and everything below it, or every root.
    Rescan {
        /// The directory, or `None` for every root.
        directory: Option<PathBuf>,
        /// Why, for the log.
        reason: &'static str,
    },
    /// Something is not watched.
    Problem(Problem),
}

/// What the keeper is asked to do.
#[derive(Debug)]
enum WatchCommand {
    /// A directory has appeared: watch it and everything below, then ask for a rescan of it.
    Watch(PathBuf),
    /// A directory is gone; it may have been a root.
    Forget(PathBuf),
    /// Events were lost.
    Rescan(&'static str),
    /// A root is to be watched again.
    Return(PathBuf),
    /// Something that must not be lost although the channel is full.
    Tell(Problem),
}

/// Events that wait for the pipeline before further ones become one rescan.
const CHANNEL_EVENTS: usize = 16_384;

/// What the threads share.
#[derive(Debug, Default)]
struct WatchState {
    /// Roots that are not watched, or not completely.
    polled: Mutex<HashSet<PathBuf>>,
    /// Whether a rescan for lost events is already ordered.
    is_rescan_ordered: AtomicBool,
}

impl WatchState {
    fn poll(&self, root: &Path) {
        self.polled.lock().unwrap_or_else(PoisonError::into_inner).insert(root.to_owned());
    }

    fn poll_all<'a>(&self, roots: impl IntoIterator<Item = &'a PathBuf>) {
        for root in roots {
            self.poll(root);
        }
    }

    fn unpoll(&self, root: &Path) {
        self.polled.lock().unwrap_or_else(PoisonError::into_inner).remove(root);
    }

    #[cfg(test)]
    fn is_polled(&self, root: &Path) -> bool {
        self.polled.lock().unwrap_or_else(PoisonError::into_inner).contains(root)
    }
}

/// Watches the roots until it is dropped.
#[derive(Debug)]
pub struct RootWatcher {
    shared: Arc<WatchState>,
    orders: Option<Sender<WatchCommand>>,
    /// Roots that are polled by choice or by their file system, and stay so.
    never_watched: HashSet<PathBuf>,
    keeper: Option<JoinHandle<()>>,
}

impl RootWatcher {
    /// Starts watching. What cannot be watched is told as the first events and polled; this fails only if no thread
    /// can be started.
    ///
    /// # Errors
    /// [`DiscoverError::Thread`].
    pub fn start(roots: &[RootOptions], options: &WatchOptions) -> Result<(Self, Receiver<WatchEvent>), DiscoverError> {
        Self::start_with(roots, options, CHANNEL_EVENTS)
    }

    fn start_with(
        roots: &[RootOptions],
        options: &WatchOptions,
        capacity: usize,
    ) -> Result<(Self, Receiver<WatchEvent>), DiscoverError> {
        let (events, received) = crossbeam_channel::bounded(capacity);
        let (orders, ordered) = crossbeam_channel::unbounded();
        let shared = Arc::new(WatchState::default());
        let may_watch = |root: &RootOptions| !options.poll && !lease::is_remote(lease::magic_of(&root.path));
        let to_watch: Vec<PathBuf> = roots.iter().filter(|r| may_watch(r)).map(|r| r.path.clone()).collect();
        let never_watched: HashSet<PathBuf> = roots.iter().filter(|r| !may_watch(r)).map(|r| r.path.clone()).collect();
        shared.poll_all(&never_watched);

        let translator = Translator {
            rules: NameRules::new(&options.temporary_suffixes),
            events: events.clone(),
            orders: orders.clone(),
            shared: Arc::clone(&shared),
        };
        let watcher = start_watcher(translator, &to_watch, &shared, &orders);
        let (first_done, first) = crossbeam_channel::bounded(1);
        let keeper = WatchWorker { watcher, roots: to_watch, events, shared: Arc::clone(&shared) };
        let thread = thread::Builder::new().name("watch".into()).spawn(move || keeper.run(&first_done, &ordered));
        let keeper = thread.map_err(DiscoverError::Thread)?;
        // The watches are in place when this returns, so that a scan that follows leaves no gap.
        let _ = first.recv();
        Ok((Self { shared, orders: Some(orders), never_watched, keeper: Some(keeper) }, received))
    }

    /// Tries again to watch roots that are polled because they were gone or a limit was reached. To be called at every
    /// periodic scan.
    pub fn retry(&self) {
        let polled = self.shared.polled.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for root in polled.into_iter().filter(|r| !self.never_watched.contains(r) && r.is_dir()) {
            if let Some(orders) = &self.orders {
                let _ = orders.send(WatchCommand::Return(root));
            }
        }
    }
}

impl Drop for RootWatcher {
    fn drop(&mut self) {
        // The keeper ends when nobody can order anything: its watcher, which holds the other sender, ends with it.
        if let Some(orders) = self.orders.take() {
            let _ = orders.send(WatchCommand::Rescan(STOP));
        }
        // It may be waiting for room in the channel whose receiver lives on, so it is not waited for.
        drop(self.keeper.take());
    }
}

/// The reason of the order that ends the keeper.
const STOP: &str = "stop";

fn start_watcher(
    translator: Translator,
    roots: &[PathBuf],
    shared: &WatchState,
    orders: &Sender<WatchCommand>,
) -> Option<RecommendedWatcher> {
    let first = roots.first()?;
    let config = notify::Config::default().with_follow_symlinks(false);
    match RecommendedWatcher::new(move |event| translator.handle(event), config) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            shared.poll_all(roots);
            let _ = orders.send(WatchCommand::Tell(translate::problem(error, first)));
            None
        }
    }
}

/// Runs on notify's thread: it must never wait.
struct Translator {
    rules: NameRules,
    events: Sender<WatchEvent>,
    orders: Sender<WatchCommand>,
    shared: Arc<WatchState>,
}

impl Translator {
    fn handle(&self, event: notify::Result<notify::Event>) {
        match event {
            Ok(event) => translate::each(&self.rules, event, |told| match told {
                translate::Translated::Event(event) => self.send(event),
                translate::Translated::Order(order) => self.order(order),
            }),
            Err(error) => {
                let path = error.paths.first().cloned().unwrap_or_default();
                self.order(WatchCommand::Tell(translate::problem(error, &path)));
            }
        }
    }

    fn order(&self, order: WatchCommand) {
        let _ = self.orders.send(order);
    }

    /// An event that does not fit is not dropped: a rescan that the keeper delivers stands in for it.
    fn send(&self, event: WatchEvent) {
        if let Err(TrySendError::Full(_)) = self.events.try_send(event)
            && !self.shared.is_rescan_ordered.swap(true, Ordering::SeqCst)
        {
            self.order(WatchCommand::Rescan("too many events"));
        }
    }
}

#[cfg(test)]
mod tests;
