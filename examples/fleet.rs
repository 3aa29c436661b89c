//! How fast a node tells the database of a fleet what it has missed, and how fast the shared list answers.
//!
//! `fleet fill STATE_DIR ROOT VODS` makes a catalogue of made-up VoDs, with an event for each of them.
//! `fleet replicate STATE_DIR URL PASSWORD_FILE` tells the database all of it.
//! `fleet list STATE_DIR URL PASSWORD_FILE AFTER_MS` measures pages of 50: the first, and those behind a creation date.
//! `fleet work STATE_DIR URL PASSWORD_FILE ITEMS` has eight nodes claim and finish items of shared work that need nothing done.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aftercast::catalog::{Catalog, EventLimits};
use aftercast::clock::Clock;
use aftercast::fleet::{
    Fleet, FleetHome, FleetOptions, FleetOrder, FleetQuery, NewWork, SharedWork, WorkResult, WorkScope,
};
use aftercast::runtime::Runtime;
use aftercast::stop::Stop;
use serde_json::{Value, json};

#[path = "../tests/support/archive.rs"]
mod archive;

use archive::Outcome;

const APART_MS: i64 = 61_000;
const PAGE: usize = 50;
const RUNS: usize = 200;
/// Events are written by so many threads, which share their flushes.
const WRITERS: usize = 32;

fn main() -> Outcome<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let said = match args.as_slice() {
        ["fill", state_dir, root, vods] => fill(Path::new(state_dir), Path::new(root), vods.parse()?)?,
        ["replicate", state_dir, url, password] => replicate(Path::new(state_dir), &options(url, password))?,
        ["list", state_dir, url, password, after_ms] => {
            list(Path::new(state_dir), &options(url, password), after_ms.parse()?)?
        }
        ["work", state_dir, url, password, items] => {
            work(Path::new(state_dir), &options(url, password), items.parse()?)?
        }
        _ => return Err("usage: fleet fill|replicate|list|work …".into()),
    };
    writeln!(std::io::stdout(), "{said}")?;
    Ok(())
}

fn options(url: &str, password: &str) -> FleetOptions {
    FleetOptions {
        database: Some(url.to_owned()),
        password_file: Some(PathBuf::from(password)),
        name: Some("bench".to_owned()),
        ..FleetOptions::default()
    }
}

fn fill(state_dir: &Path, root: &Path, vods: u64) -> Outcome<Value> {
    let catalog = Catalog::open(state_dir)?;
    catalog.shared().limit_events(EventLimits { keep: 10 * vods.max(1), ..EventLimits::default() });
    archive::fill(&catalog, root, vods, APART_MS, None)?;
    let ids = catalog.shared().all_vods()?.map(|vod| Ok(vod?.vod_id)).collect::<Outcome<Vec<_>>>()?;
    let part = ids.len().div_ceil(WRITERS).max(1);
    std::thread::scope(|scope| {
        for ids in ids.chunks(part) {
            let shared = catalog.shared().clone();
            scope.spawn(move || ids.iter().try_for_each(|id| shared.freed(id, 1).map(drop)));
        }
    });
    Ok(json!({ "vods": ids.len(), "events": catalog.shared().last_event()? }))
}

fn opened(state_dir: &Path, options: &FleetOptions) -> Outcome<(Catalog, Fleet, Stop)> {
    let catalog = Catalog::open(state_dir)?;
    catalog.shared().limit_events(EventLimits { keep: u64::MAX, ..EventLimits::default() });
    let stop = Stop::default();
    let (runtime, clock) = (Runtime::start()?, Clock::default());
    let home = FleetHome { shared: catalog.shared(), state_dir, runtime: &runtime, clock: &clock, stop: &stop };
    let fleet = Fleet::open(options, BTreeMap::new(), home);
    Ok((catalog, fleet.ok_or("no database")?, stop))
}

fn replicate(state_dir: &Path, options: &FleetOptions) -> Outcome<Value> {
    let (catalog, fleet, stop) = opened(state_dir, options)?;
    let (vods, events) = (catalog.shared().count()?, catalog.shared().last_event()?);
    let begun = Instant::now();
    fleet.begin();
    let mut lag = Vec::new();
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let health = fleet.health()?;
        if health.is_connected && health.waiting_events == 0 && health.waiting_vods == 0 {
            break;
        }
        if begun.elapsed().as_secs() > lag.len() as u64 {
            lag.push(health.waiting_events);
        }
        if let Some(problem) = health.problem.filter(|_| begun.elapsed() > Duration::from_secs(20)) {
            return Err(problem.into());
        }
    }
    let took_s = begun.elapsed().as_secs_f64();
    stop.request();
    fleet.join();
    Ok(json!({ "vods": vods, "events": events, "seconds": took_s, "waitingEventsEachSecond": lag }))
}

fn list(state_dir: &Path, options: &FleetOptions, after_ms: i64) -> Outcome<Value> {
    let (_catalog, fleet, _) = opened(state_dir, options)?;
    let query = || FleetQuery { limit: PAGE, newest_first: true, ..FleetQuery::default() };
    let deep = format!("fleet.{after_ms}.0.{}", fleet.node_id());
    let first = pages(&fleet, query())?;
    let deep = pages(&fleet, FleetQuery { after: Some(deep), ..query() })?;
    let stream = pages(&fleet, FleetQuery { stream: Some("room-42".to_owned()), order: FleetOrder::Start, ..query() })?;
    let begun = Instant::now();
    let found = fleet.vods(&FleetQuery { text: Some("room-4242-".to_owned()), ..query() })?.items.len();
    let search = json!({ "found": found, "ms": begun.elapsed().as_secs_f64() * 1e3 });
    Ok(json!({ "first": first, "deep": deep, "stream": stream, "search": search }))
}

/// Milliseconds of pages one after the other: the median and the 99th percentile.
fn pages(fleet: &Fleet, mut query: FleetQuery) -> Outcome<Value> {
    let mut took_ms = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let begun = Instant::now();
        let page = fleet.vods(&query)?;
        took_ms.push(begun.elapsed().as_secs_f64() * 1e3);
        if page.items.len() != PAGE && page.next.is_some() {
            return Err(Box::<dyn Error>::from(format!("a page has {} VoDs", page.items.len())));
        }
        query.after = page.next.or(query.after);
    }
    took_ms.sort_by(f64::total_cmp);
    Ok(json!({ "medianMs": took_ms[RUNS / 2], "p99Ms": took_ms[RUNS * 99 / 100] }))
}

/// Nodes that work at once, and what each claims at once.
const NODES: usize = 8;
const CLAIMED: u32 = 100;
const SCOPE: WorkScope<'_> = WorkScope::Root { kind: "bench", root: "nowhere" };

fn work(state_dir: &Path, options: &FleetOptions, items: usize) -> Outcome<Value> {
    let (runtime, clock, stop) = (Runtime::start()?, Clock::default(), Stop::default());
    let mut fleets = Vec::new();
    for node in 0..NODES {
        let own = state_dir.join(node.to_string());
        let catalog = Catalog::open(&own)?;
        let home =
            FleetHome { shared: catalog.shared(), state_dir: &own, runtime: &runtime, clock: &clock, stop: &stop };
        let fleet = Fleet::open(options, BTreeMap::new(), home).ok_or("no database")?;
        fleet.begin();
        while fleet.work().claim(SCOPE, 1).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        fleets.push((fleet, catalog));
    }
    let of_item = |item: usize| NewWork {
        kind: "bench".to_owned(),
        root: "nowhere".to_owned(),
        item: format!("recordings/room{}/{item}.mp4", item % 100),
        ..NewWork::default()
    };
    let all: Vec<_> = (0..items).map(of_item).collect();
    let begun = Instant::now();
    fleets[0].0.work().enqueue(&all)?;
    let enqueued_s = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let done = std::thread::scope(|scope| {
        let workers: Vec<_> = fleets.iter().map(|(fleet, _)| scope.spawn(|| work_off(&fleet.work()))).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err("a worker failed".to_owned())))
            .sum::<Result<usize, _>>()
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    stop.request();
    for (fleet, _) in &fleets {
        fleet.join();
    }
    Ok(json!({ "items": done, "nodes": NODES, "seconds": seconds, "enqueuedInSeconds": enqueued_s }))
}

/// Claims and finishes until nothing is left.
fn work_off(work: &SharedWork) -> Result<usize, String> {
    let result = WorkResult { outcome: "finished".to_owned(), ..WorkResult::default() };
    let mut done = 0;
    loop {
        let items = work.claim(SCOPE, CLAIMED).map_err(|error| error.to_string())?;
        if items.is_empty() {
            return Ok(done);
        }
        let ended: Vec<_> = items.iter().map(|item| (item, &result)).collect();
        done += work.finish_all(&ended).map_err(|error| error.to_string())?;
    }
}
