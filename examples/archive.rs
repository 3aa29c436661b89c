//! How fast a large archive answers: fills a state directory with made-up VoDs of one root, then measures the index in memory, pages
//! at its beginning and near its end, and searches. A directory that holds VoDs already is only measured.
//!
//! `cargo run --release --example archive -- STATE_DIR ROOT [VODS [PREVIEW]]`, where PREVIEW is the image that all VoDs have.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use aftercast::catalog::{Catalog, Order, Selection};
use serde_json::json;

#[path = "../tests/support/archive.rs"]
mod archive;

use archive::Outcome;

const DEFAULT_VODS: u64 = 1_000_000;
const APART_MS: i64 = 61_000;
const PAGE: usize = 50;
const RUNS: u32 = 20;

fn main() -> Outcome<()> {
    let mut args = std::env::args_os().skip(1);
    let (Some(dir), Some(root)) = (args.next().map(PathBuf::from), args.next().map(PathBuf::from)) else {
        return Err("usage: archive STATE_DIR ROOT [VODS [PREVIEW]]".into());
    };
    let vods = args.next().map_or(Ok(DEFAULT_VODS), |n| n.to_string_lossy().parse())?;
    let preview = args.next().map(PathBuf::from);
    let begun = Instant::now();
    let catalog = Catalog::open(&dir)?;
    let opened_s = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    archive::fill(&catalog, &root, vods, APART_MS, preview.as_deref())?;
    let filled_s = begun.elapsed().as_secs_f64();
    let (shared, roots) = (catalog.shared(), [root]);
    let all = Selection { roots: &roots, ..Selection::default() };
    let before_mib = resident_mib()?;
    let begun = Instant::now();
    let count = shared.count_selected(&all)?;
    let indexed_s = begun.elapsed().as_secs_f64();
    let after_mib = resident_mib()?;
    let page = |selection: &Selection<'_>, offset| timed(|| shared.select(selection, offset, PAGE).map(drop));
    let deep = count / 10 * 9;
    let by_name = Selection { order: Order::Name, descending: true, ..all };
    let search = |text: &str| {
        // A change in between: what was found before is not kept.
        let id = shared.select(&all, 0, 1)?.first().map(|vod| vod.vod_id.clone()).ok_or("there is no VoD")?;
        shared.update_vod(&id, |vod| vod.bitrate += 1)?;
        let selection = Selection { search: Some(text), ..all };
        let begun = Instant::now();
        let found = shared.count_selected(&selection)?;
        Outcome::Ok(json!({ "text": text, "found": found, "ms": begun.elapsed().as_secs_f64() * 1e3 }))
    };
    let said = json!({
        "vods": count, "openSeconds": opened_s, "fillSeconds": filled_s, "indexSeconds": indexed_s,
        "residentMibBefore": before_mib, "residentMibWithIndex": after_mib,
        "firstPageMs": page(&all, 0)?, "deepPageMs": page(&all, deep)?,
        "firstPageByNameMs": page(&by_name, 0)?, "deepPageByNameMs": page(&by_name, deep)?,
        "searches": [search("room-42")?, search("mp4")?, search("2026-03-04_14")?, search("nothing like it")?],
    });
    writeln!(std::io::stdout(), "{said}")?;
    Ok(())
}

/// Milliseconds that it takes, the mean of some runs.
fn timed<E: Error + 'static>(work: impl Fn() -> Result<(), E>) -> Outcome<f64> {
    let begun = Instant::now();
    for _ in 0..RUNS {
        work()?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3 / f64::from(RUNS))
}

fn resident_mib() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse::<u64>()? / 1024)
}
