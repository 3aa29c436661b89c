//! Frees local files by the plan that `retain` makes; each only with a permit (promise 3).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use tracing::{error, info, warn};

use super::active_config::ConfigSnapshot;
use super::confirming;
use super::context::PipelineContext;
use super::delivering::Delivering;
use super::leaving::{self, PendingRemoval};
use super::pictures;
use super::pruning;
use super::removing::Removing;
use super::roots;
use super::sidecars;
use super::views;
use crate::announce::AwaitedBy;
use crate::catalog::CatalogError;
use crate::durable;
use crate::fault::chain;
use crate::recording::name::printable;
use crate::recording::{Delivery, DeliveryState, RemoteObject, VodRecord};
use crate::retain::{
    self, AsideFile, DeleteLocal, FreeInventory, FreePlan, FreedVod, KeepReason, Permit, PermitFacts, Planner,
    RefusalFilter, TargetView, Volume,
};

/// A run of freeing on a thread of its own: it asks the stores, and nobody waits for those.
#[derive(Debug, Default)]
pub(super) struct FreeingThread(Option<JoinHandle<()>>);

impl FreeingThread {
    /// Begins a run, unless the last one is still under way.
    pub(super) fn begin(&mut self, ctx: &Arc<PipelineContext>) {
        if self.0.as_ref().is_some_and(|run| !run.is_finished()) {
            return;
        }
        let ctx = Arc::clone(ctx);
        let run = std::thread::Builder::new().name("freeing".into()).spawn(move || {
            free_what_is_due(&ctx);
        });
        match run {
            Ok(run) => self.0 = Some(run),
            Err(error) => warn!(error = chain(&error), "cannot start a thread to free local files; retrying later"),
        }
    }

    /// Waits for the end of a run, which sees the wish to stop.
    pub(super) fn join(&mut self) {
        if let Some(run) = self.0.take() {
            let _ = run.join();
        }
    }
}

/// Makes the plan for now; what `retain --dry-run` prints and [`free_what_is_due`] applies.
pub fn plan(ctx: &PipelineContext) -> Result<FreePlan, CatalogError> {
    Ok(plan_all(ctx, ctx.in_force(), RefusalFilter::All)?.0)
}

/// The plan for all records, and the bytes of those that stay.
fn plan_all(
    ctx: &PipelineContext,
    config: ConfigSnapshot,
    lists: RefusalFilter,
) -> Result<(FreePlan, u64), CatalogError> {
    let settings = Arc::clone(&config.settings);
    let mut survey = FreeingContext::new(ctx, config)?;
    let mut planner = Planner::new(&settings.retain, lists, survey.held_bytes);
    for_each_page(ctx, |page| survey.add(&mut planner, page))?;
    Ok((planner.end(), survey.held_bytes))
}

/// What a local file is kept for that has no pictures yet, to be read in the place of an endpoint.
const PICTURES: &str = "pictures";

/// Records that are looked at together.
const PAGE: usize = 200;

/// Hands out the records whose files are not freed, a page at a time.
fn for_each_page(
    ctx: &PipelineContext,
    mut look: impl FnMut(&[VodRecord]) -> Result<(), CatalogError>,
) -> Result<(), CatalogError> {
    let mut records = ctx.catalog.shared().unfreed()?;
    loop {
        let page = records.by_ref().take(PAGE).collect::<Result<Vec<_>, _>>()?;
        if page.is_empty() || ctx.stop.is_requested() {
            return Ok(());
        }
        look(&page)?;
    }
}

/// What is the same for all records of a plan.
struct FreeingContext<'a> {
    ctx: &'a PipelineContext,
    /// What was in force when it was begun: a reload changes nothing in the middle of a plan.
    config: ConfigSnapshot,
    required: Vec<String>,
    views: Vec<TargetView>,
    volumes: BTreeMap<PathBuf, Volume>,
    /// What waits aside makes room soon, and is not to be made up for by freeing more.
    leaving: Vec<PendingRemoval>,
    /// Bytes of all records whose files stay; 0 where the policy does not ask for them.
    held_bytes: u64,
}

impl<'a> FreeingContext<'a> {
    fn new(ctx: &'a PipelineContext, config: ConfigSnapshot) -> Result<Self, CatalogError> {
        let mut leaving = leaving::all(&ctx.removing)?;
        leaving.retain(|leaving| leaving.aside.is_some());
        let (required, views) = (config.targets.required(), ctx.delivering.views.all(&ctx.delivering)?);
        let mut survey = Self { ctx, config, required, views, volumes: BTreeMap::new(), leaving, held_bytes: 0 };
        if let DeleteLocal::MaxBytes(_) = survey.config.settings.retain.delete_local {
            let leaving = survey.leaving.iter().filter(|leaving| leaving.frees.is_some());
            let leaving_bytes = leaving.map(|leaving| leaving.seen.fingerprint.size_bytes).sum();
            for_each_page(ctx, |page| {
                survey.held_bytes += page.iter().map(|record| record.file_size).sum::<u64>();
                Ok(())
            })?;
            survey.held_bytes = survey.held_bytes.saturating_sub(leaving_bytes);
        }
        Ok(survey)
    }

    fn add(&mut self, planner: &mut Planner<'_>, records: &[VodRecord]) -> Result<(), CatalogError> {
        let (mut deliveries, mut on_disk, mut awaited) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for vod in records {
            deliveries.insert(vod.vod_id.clone(), self.ctx.catalog.deliveries_of_vod(&vod.vod_id)?);
            on_disk.extend(durable::seen(&vod.file_path).ok().map(|now| (vod.vod_id.clone(), now)));
            if let AwaitedBy::Endpoint(endpoint) = awaits(self.ctx, vod)? {
                awaited.insert(vod.vod_id.clone(), endpoint);
            } else if pictures::awaits(self.ctx, vod, self.ctx.clock.now_ms()) {
                awaited.insert(vod.vod_id.clone(), PICTURES.to_owned());
            }
            self.measure(&vod.root);
        }
        planner.add(&FreeInventory {
            records,
            held_bytes: self.held_bytes,
            deliveries: &deliveries,
            required: &self.required,
            uploaded: self.config.settings.deliver.upload_extensions,
            on_disk: &on_disk,
            views: &self.views,
            volumes: &self.volumes,
            awaited: &awaited,
            now_ms: self.ctx.clock.now_ms(),
        });
        Ok(())
    }

    /// Looks once at the file system of a root.
    fn measure(&mut self, root: &Path) {
        if self.volumes.contains_key(root) {
            return;
        }
        let Some(Volume { device, free_bytes }) = volume(root) else { return };
        let now = |leaving: &PendingRemoval| durable::fingerprint(leaving.aside.as_deref()?).ok();
        let here = self.leaving.iter().filter_map(now).filter(|now| now.device == device);
        let leaving_bytes = here.map(|now| now.size_bytes).sum();
        let volume = Volume { device, free_bytes: free_bytes.saturating_add(leaving_bytes) };
        self.volumes.insert(root.to_owned(), volume);
    }
}

fn volume(root: &Path) -> Option<Volume> {
    let device = durable::fingerprint(root).ok()?.device;
    Some(Volume { device, free_bytes: durable::free_bytes(root).ok()? })
}

/// Applies the plan; returns how many VoDs were freed.
pub fn free_what_is_due(ctx: &PipelineContext) -> usize {
    leaving::look_again(&ctx.removing);
    pruning::prune(&ctx.journaling);
    let config = ctx.in_force();
    let policy = config.settings.retain.delete_local;
    if policy == DeleteLocal::Never {
        return 0;
    }
    if ctx.catalog.is_behind() {
        error!("nothing is freed: the catalogue is in an older state; run `aftercast catalog rebuild`");
        return 0;
    }
    let freed = views::look_again(&ctx.delivering).and_then(|()| match policy {
        DeleteLocal::BelowFree(_) | DeleteLocal::MaxBytes(_) => free_the_oldest(ctx, config),
        _ => free_page_by_page(ctx, config),
    });
    freed.unwrap_or_else(|fault| unreadable(&fault))
}

/// Frees what makes up for the room that is lacking.
fn free_the_oldest(ctx: &PipelineContext, config: ConfigSnapshot) -> Result<usize, CatalogError> {
    let (plan, held_bytes) = plan_all(ctx, config, RefusalFilter::Missing)?;
    ctx.catalog.disk_low(plan.short_bytes, ctx.clock.now_ms())?;
    Ok(apply(ctx, &plan, held_bytes))
}

/// Frees what may go whatever else there is.
fn free_page_by_page(ctx: &PipelineContext, config: ConfigSnapshot) -> Result<usize, CatalogError> {
    let settings = Arc::clone(&config.settings);
    let mut survey = FreeingContext::new(ctx, config)?;
    let mut freed = 0;
    for_each_page(ctx, |page| {
        let mut planner = Planner::new(&settings.retain, RefusalFilter::Missing, survey.held_bytes);
        survey.add(&mut planner, page)?;
        freed += apply(ctx, &planner.end(), survey.held_bytes);
        Ok(())
    })?;
    Ok(freed)
}

fn unreadable(fault: &CatalogError) -> usize {
    warn!(error = chain(fault), "cannot read the catalogue; nothing is freed");
    0
}

/// Each file is freed by a permit of its own; what is left on disk is counted along.
fn apply(ctx: &PipelineContext, plan: &FreePlan, mut held_bytes: u64) -> usize {
    if plan.short_bytes > 0 {
        error!(short_bytes = plan.short_bytes, "disk space is low and no more files may be freed");
    }
    for (vod_id, _) in plan.kept.iter().filter(|(_, why)| *why == KeepReason::LocalMissing) {
        free_vod(ctx, vod_id, held_bytes);
    }
    let mut freed = 0;
    for planned in plan.frees.iter().take_while(|_| !ctx.stop.is_requested()) {
        if free_vod(ctx, &planned.vod_id, held_bytes) {
            freed += 1;
            held_bytes = held_bytes.saturating_sub(planned.finished_bytes);
        }
    }
    freed
}

/// A process that dies between removing a file and noting it leaves a record of a file that is gone; every required
/// target was proven to hold it before, and that is all a freed record says.
fn note_what_is_gone(ctx: &Delivering, record: &VodRecord) -> Result<(), CatalogError> {
    if !roots::is_available(&ctx.roots, &record.root) {
        return Ok(());
    }
    let is_proven = ctx.config.targets().required().iter().all(|target| record.remote_in(target).is_some());
    if is_proven && durable::seen(&durable::aside_path(&record.file_path)).is_err() {
        ctx.catalog.shared().freed(&record.vod_id, ctx.clock.now_ms())?;
        sidecars::clear_if_freed(&ctx.catalog, &record.vod_id);
    }
    Ok(())
}

/// Frees one VoD right after its delivery, where the policy says so.
pub fn free_if_due(ctx: &PipelineContext, vod_id: &str) {
    if ctx.settings().retain.delete_local == DeleteLocal::Delivered {
        free_vod(ctx, vod_id, 0);
    }
}

/// Asks the stores what they have not answered within the last minute, and frees what they confirm. `held_bytes` are those
/// of all finished recordings on disk; only `max_bytes` asks for them.
fn free_vod(ctx: &PipelineContext, vod_id: &str, held_bytes: u64) -> bool {
    if ctx.catalog.is_behind() {
        return false;
    }
    let needs = |facts: &PermitFacts<'_>, options: &retain::RetainOptions| {
        (retain::to_be_compared(facts, options), retain::questions(facts, options))
    };
    let freed = with_facts(ctx, vod_id, held_bytes, needs).and_then(|needs| {
        let (touched, questions) = needs.unwrap_or_default();
        compare_again(&ctx.delivering, &touched)?;
        confirming::ask(&ctx.delivering, vod_id, &questions);
        compare_with_root(ctx, vod_id, held_bytes)?;
        free_if_granted(ctx, vod_id, held_bytes)
    });
    freed.unwrap_or_else(|fault| {
        warn!(vod_id, error = chain(&fault), "cannot read the catalogue; nothing is freed");
        false
    })
}

/// Files that were touched since they were read are delivered again: what the store holds already is adopted, and a file
/// that holds something else by now is sent beside it.
fn compare_again(ctx: &Delivering, deliveries: &[String]) -> Result<(), CatalogError> {
    let why = "delivered before, but the local file was touched since; it is compared with the copy again";
    for id in deliveries {
        if ctx.catalog.deliver_again(id, why, ctx.clock.now_ms())? {
            info!(delivery = id, "the local file was touched since its delivery; comparing it with the copy again");
            ctx.courier_notify.notify();
        }
    }
    Ok(())
}

/// Where nothing else is lacking: whether the targets are apart from the root of the recordings.
fn compare_with_root(ctx: &PipelineContext, vod_id: &str, held_bytes: u64) -> Result<(), CatalogError> {
    let wanted = |facts: &PermitFacts<'_>, options: &retain::RetainOptions| {
        (facts.record.root.clone(), retain::to_be_looked_at(facts, options))
    };
    let Some((root, targets)) = with_facts(ctx, vod_id, held_bytes, wanted)? else { return Ok(()) };
    for target in targets {
        if !views::look(&ctx.delivering, &target, &root) {
            break;
        }
    }
    Ok(())
}

/// One at a time, so that a permit is used before another is granted for the same file.
fn free_if_granted(ctx: &PipelineContext, vod_id: &str, held_bytes: u64) -> Result<bool, CatalogError> {
    let _one_at_a_time = ctx.removing.permits.lock().unwrap_or_else(PoisonError::into_inner);
    let decide = |facts: &PermitFacts<'_>, options: &retain::RetainOptions| {
        (facts.record.clone(), retain::permit(facts, options))
    };
    match with_facts(ctx, vod_id, held_bytes, decide)? {
        Some((record, Ok(permit))) => {
            if let AwaitedBy::Overdue(endpoint) = awaits(ctx, &record)? {
                warn!(vod_id, endpoint, "freed before this endpoint was told of it: `announce.hold` is over");
            }
            if let Err(refusal) = roots::may_delete(&ctx.removing.roots, &record.root) {
                tracing::debug!(vod_id, reason = chain(&refusal), "local file kept");
                return Ok(false);
            }
            Ok(free_with(ctx, permit))
        }
        Some((record, Err(KeepReason::LocalMissing))) => note_what_is_gone(&ctx.delivering, &record).map(|()| false),
        Some((_, Err(refusal))) => {
            tracing::debug!(vod_id, reason = %refusal, "local file kept");
            Ok(false)
        }
        None => Ok(false),
    }
}

/// The record is read back: what is decided is decided on what the journal holds, not on what memory believes. `None` if
/// there is no record, or its file is freed.
fn with_facts<T>(
    ctx: &PipelineContext,
    vod_id: &str,
    held_bytes: u64,
    decide: impl FnOnce(&PermitFacts<'_>, &retain::RetainOptions) -> T,
) -> Result<Option<T>, CatalogError> {
    let ConfigSnapshot { settings, targets, .. } = ctx.in_force();
    let Some(record) = ctx.catalog.shared().vod(vod_id)?.filter(|r| r.freed_at.is_none()) else { return Ok(None) };
    if !roots::is_available(&ctx.roots, &record.root) {
        return Ok(None);
    }
    let deliveries = ctx.catalog.deliveries_of_vod(vod_id)?;
    let (awaits, now) = (awaits(ctx, &record)?, ctx.clock.now_ms());
    let pictures = pictures::awaits(ctx, &record, now).then_some(PICTURES);
    let copies = record.remote.iter().chain(deliveries.iter().flat_map(objects_of));
    let facts = PermitFacts {
        record: &record,
        deliveries: &deliveries,
        required: &targets.required(),
        uploaded: settings.deliver.upload_extensions,
        seen_now: durable::seen(&record.file_path).ok(),
        confirmed: &ctx.delivering.answers.about(copies, ctx.clock.now()),
        views: &ctx.delivering.views.about(&ctx.delivering, &record.root)?,
        free_bytes: durable::free_bytes(&record.root).unwrap_or(u64::MAX),
        held_bytes,
        awaited_by: awaits.by().or(pictures),
        now_ms: now,
    };
    Ok(Some(decide(&facts, &settings.retain)))
}

/// Whether an endpoint is to see the local file.
fn awaits(ctx: &PipelineContext, record: &VodRecord) -> Result<AwaitedBy, CatalogError> {
    ctx.announcer.awaits(&record.vod_id, record.creation_date, ctx.clock.now_ms())
}

fn objects_of(delivery: &Delivery) -> &[RemoteObject] {
    match &delivery.state {
        DeliveryState::Delivered { objects } => objects,
        _ => &[],
    }
}

fn free_with(ctx: &PipelineContext, permit: Permit) -> bool {
    let vod_id = permit.vod_id().to_owned();
    let freed = {
        let _no_put_back = ctx.removing.asides.read().unwrap_or_else(PoisonError::into_inner);
        retain::free(permit).inspect(|freed| remember_what_waits(&ctx.removing, freed))
    };
    match freed {
        Err(fault) => {
            warn!(vod_id, error = chain(&fault), "cannot free a delivered file; retrying later");
            false
        }
        // Freed when it has waited.
        Ok(freed) if freed.aside.iter().any(|waiting| waiting.is_finished) => false,
        Ok(_) => {
            info!(vod_id, "freed; every required target holds it");
            let noted = ctx.catalog.shared().freed(&vod_id, ctx.clock.now_ms());
            sidecars::clear_if_freed(&ctx.catalog, &vod_id);
            noted.inspect_err(|fault| warn!(vod_id, error = chain(fault), "file freed, but not recorded")).is_ok()
        }
    }
}

/// Of what is not remembered the next scan gives the name back.
fn remember_what_waits(ctx: &Removing, done: &FreedVod) {
    for AsideFile { path, aside, seen, is_finished } in &done.aside {
        let frees = is_finished.then_some(done.vod_id.as_str());
        if let Err(error) = leaving::remember(ctx, path, Some(aside), *seen, frees) {
            warn!(path = %printable(aside), error = chain(&error), "cannot record a file that was moved aside; it is kept");
        }
    }
}
