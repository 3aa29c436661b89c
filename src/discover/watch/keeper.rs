//! The thread that sets watches and delivers what must not be lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::translate::problem;
use super::{STOP, WatchCommand, WatchEvent, WatchState};
use crate::discover::error::DiscoverError;

pub(super) struct WatchWorker {
    /// `None` where the kernel gives none; then every root is polled.
    pub(super) watcher: Option<RecommendedWatcher>,
    /// Roots that are to be watched.
    pub(super) roots: Vec<PathBuf>,
    pub(super) events: Sender<WatchEvent>,
    pub(super) shared: Arc<WatchState>,
}

/// Nobody listens any more.
struct ReceiverGone;

impl WatchWorker {
    /// Watches the roots, says so, and then does what is ordered until it is told to stop or nobody listens.
    pub(super) fn run(mut self, first_done: &Sender<()>, ordered: &Receiver<WatchCommand>) {
        let mut problems = Vec::new();
        for root in self.roots.clone() {
            problems.extend(self.watch_below(&root));
        }
        let _ = first_done.send(());
        if self.tell(problems).is_err() {
            return;
        }
        while let Ok(order) = ordered.recv() {
            if matches!(order, WatchCommand::Rescan(reason) if reason == STOP) || self.obey(order).is_err() {
                return;
            }
        }
    }

    fn obey(&mut self, order: WatchCommand) -> Result<(), ReceiverGone> {
        match order {
            WatchCommand::Watch(directory) => {
                // Watches first, then the rescan: what is created in between is either told or found.
                let problems = self.watch_below(&directory);
                self.tell(problems)?;
                self.rescan(Some(directory), "a directory appeared")
            }
            WatchCommand::Forget(path) => self.forget(path),
            WatchCommand::Rescan(reason) => {
                // Cleared first: an event that is lost from now on orders another one.
                self.shared.is_rescan_ordered.store(false, Ordering::SeqCst);
                self.rescan(None, reason)
            }
            WatchCommand::Return(root) => {
                self.shared.unpoll(&root);
                let problems = self.watch_below(&root);
                // It was told when it went; here it is no news.
                if problems.is_empty() { self.rescan(Some(root), "the root is watched again") } else { Ok(()) }
            }
            WatchCommand::Tell(problem) => {
                self.poll_for(&problem);
                self.send(WatchEvent::Problem(problem))
            }
        }
    }

    /// A root that is gone is polled until it is back.
    fn forget(&mut self, path: PathBuf) -> Result<(), ReceiverGone> {
        if self.roots.contains(&path) && !path.exists() {
            self.shared.poll(&path);
            return self.send(WatchEvent::Problem(DiscoverError::RootGone { path }));
        }
        self.send(WatchEvent::Removed(path))
    }

    /// Watches a directory and all below it, each for itself; symbolic links are not followed.
    fn watch_below(&mut self, top: &Path) -> Vec<DiscoverError> {
        let Some(watcher) = self.watcher.as_mut() else { return Vec::new() };
        let mut problems = Vec::new();
        let mut stack = vec![top.to_owned()];
        while let Some(directory) = stack.pop() {
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => stack.extend(directories_in(&directory)),
                // A directory that vanished meanwhile needs no watch.
                Err(error) if directory != top && !directory.exists() => drop(error),
                Err(error) => {
                    let problem = problem(error, &directory);
                    let is_limit = matches!(problem, DiscoverError::WatchLimit { .. });
                    problems.push(problem);
                    if is_limit {
                        break;
                    }
                }
            }
        }
        for problem in &problems {
            self.poll_for(problem);
        }
        problems
    }

    /// The root in which something is not watched is polled from now on.
    fn poll_for(&self, problem: &DiscoverError) {
        let (DiscoverError::WatchLimit { path, .. } | DiscoverError::NotWatched { path, .. }) = problem else { return };
        for root in self.roots.iter().filter(|root| path.starts_with(root) || path.as_os_str().is_empty()) {
            self.shared.poll(root);
        }
    }

    fn tell(&self, problems: Vec<DiscoverError>) -> Result<(), ReceiverGone> {
        problems.into_iter().try_for_each(|problem| self.send(WatchEvent::Problem(problem)))
    }

    fn rescan(&self, directory: Option<PathBuf>, reason: &'static str) -> Result<(), ReceiverGone> {
        self.send(WatchEvent::Rescan { directory, reason })
    }

    /// Waits for room in the channel, which notify's thread must not.
    fn send(&self, event: WatchEvent) -> Result<(), ReceiverGone> {
        self.events.send(event).map_err(|_| ReceiverGone)
    }
}

/// Directories that a scan would enter.
fn directories_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    let visible = directories.filter(|e| !e.file_name().as_encoded_bytes().starts_with(b"."));
    visible.map(|e| e.path()).collect()
}
