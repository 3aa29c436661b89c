//! The thread that makes pictures, one after the other.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::making::{self, Outcome, is_missing_some};
use super::requests::Next;
use crate::catalog::{Cursor, VodQuery};
use crate::fault::chain;
use crate::media::apart::Worker;
use crate::pipeline::context::PipelineContext;

/// How long the thread sleeps at most before it looks whether to stop.
const NAP: Duration = Duration::from_millis(500);
/// When what could not be made is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(600);
/// Records that a sweep looks at in one go.
const PAGE: usize = 50;

/// The thread, once it has begun.
#[derive(Debug)]
pub struct Studio {
    ctx: Arc<PipelineContext>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Studio {
    /// None yet: a command that only looks makes no picture.
    pub fn of(ctx: &Arc<PipelineContext>) -> Self {
        Self { ctx: Arc::clone(ctx), thread: Mutex::default() }
    }

    /// Starts it, once, if this process can start a decoder. Without it recordings have no pictures, and nothing else is wrong.
    pub fn begin(&self) {
        let Some(program) = self.ctx.program.clone() else { return };
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return;
        }
        let ctx = Arc::clone(&self.ctx);
        self.ctx.pictures.serve();
        let started = std::thread::Builder::new().name("pictures".into()).spawn(move || work(&ctx, program));
        match started {
            Ok(started) => *thread = Some(started),
            Err(error) => {
                self.ctx.pictures.close();
                warn!(error = chain(&error), "cannot start a thread for pictures; recordings get none");
            }
        }
    }

    /// Ends what is under way, which is begun again at the next start, and joins the thread.
    pub fn join(&self) {
        self.ctx.pictures.close();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

fn work(ctx: &PipelineContext, program: PathBuf) {
    let mut worker = Worker::of(program);
    let mut sweep = Sweep::default();
    while !ctx.stop.is_requested() {
        let patience = if sweep.is_under_way() { Duration::ZERO } else { NAP };
        match ctx.pictures.next(patience, &ctx.clock) {
            Next::Closed => return,
            Next::One(id) => {
                sweep.note(make(ctx, &mut worker, &id), ctx.clock.now());
                ctx.pictures.done();
            }
            Next::Sweep => sweep.begin(),
            Next::Nothing => {
                sweep.begin_if_due(ctx.clock.now());
                if let Some(id) = sweep.next(ctx) {
                    sweep.note(make(ctx, &mut worker, &id), ctx.clock.now());
                }
            }
        }
    }
}

fn make(ctx: &PipelineContext, worker: &mut Worker, id: &str) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| making::make(ctx, worker, id))).unwrap_or_else(|_| {
        error!(vod_id = id, "making a picture panicked, please report it; the recording is not affected");
        Outcome::Done
    })
}

/// A walk over the catalogue, the newest first, that finds VoDs without pictures.
#[derive(Debug, Default)]
struct Sweep {
    found: VecDeque<String>,
    /// Where the next page begins; `None` if there is none.
    rest: Option<Rest>,
    /// When to walk again.
    again: Option<Instant>,
}

#[derive(Debug)]
enum Rest {
    All,
    After(Cursor),
}

impl Sweep {
    fn is_under_way(&self) -> bool {
        !self.found.is_empty() || self.rest.is_some()
    }

    fn begin(&mut self) {
        *self = Self { rest: Some(Rest::All), ..Self::default() };
    }

    fn begin_if_due(&mut self, now: Instant) {
        if self.again.is_some_and(|again| again <= now) {
            self.begin();
        }
    }

    fn note(&mut self, outcome: Outcome, now: Instant) {
        if outcome == Outcome::Later && self.again.is_none() {
            self.again = Some(now + AGAIN_AFTER);
        }
    }

    /// The next VoD whose pictures are missing; looks at one page at most.
    fn next(&mut self, ctx: &PipelineContext) -> Option<String> {
        if self.found.is_empty()
            && let Some(rest) = self.rest.take()
        {
            let after = match rest {
                Rest::All => None,
                Rest::After(cursor) => Some(cursor),
            };
            match ctx.catalog.shared().vods(&VodQuery { after, limit: PAGE, newest_first: true, stream: None }) {
                Ok(page) => {
                    let missing = page.items.into_iter().filter(|vod| is_missing_some(ctx, vod));
                    self.found.extend(missing.map(|vod| vod.vod_id));
                    self.rest = page.next.map(Rest::After);
                }
                Err(error) => {
                    warn!(error = chain(&error), "cannot read the catalogue; missing pictures are made later");
                    self.note(Outcome::Later, ctx.clock.now());
                }
            }
        }
        self.found.pop_front()
    }
}
