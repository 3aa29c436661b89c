//! `catalog rebuild | check`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::args::CatalogCommand;
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::run::absolute;
use super::Failure;
use crate::pipeline::{self, House, NameOverrides, Rebuilt};
use crate::recording::name::{printable, printable_text};

/// Runs one of them.
pub fn run(
    house: &House,
    command: &CatalogCommand,
    directory: Option<&Path>,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    match command {
        CatalogCommand::Rebuild { paths, no_stores } => rebuild(house, &absolute(paths, directory), !no_stores, out),
        CatalogCommand::Check => check(house, out),
    }
}

fn rebuild(house: &House, paths: &[PathBuf], asks_stores: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let settings = house.settings();
    let places = if paths.is_empty() {
        pipeline::configured_places(&settings)
    } else {
        pipeline::places_of(paths, &settings, &NameOverrides::default())
    };
    if places.is_empty() {
        return Err(Failure::Usage("no directory is configured or given to rebuild the catalogue from".into()));
    }
    let rebuilt = pipeline::rebuild(house, &places, asks_stores)?;
    print(&rebuilt, out).map_err(Failure::output)?;
    let is_whole = rebuilt.failed.is_empty() && rebuilt.problems.is_empty() && rebuilt.unasked.is_empty();
    Ok(if is_whole { Exit::Done } else { Exit::SomeFailed })
}

fn print(rebuilt: &Rebuilt, out: &mut Output<'_>) -> std::io::Result<()> {
    let Rebuilt { added, known, from_stores, attached, unasked, unfinished, failed, problems } = rebuilt;
    if out.is_json {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        return out.json(&json!({
            "added": added, "known": known, "fromStores": from_stores, "attached": attached,
            "unasked": unasked.iter().map(|(target, reason)| json!({ "target": target, "reason": reason })).collect::<Vec<_>>(),
            "unfinished": unfinished, "failed": failed, "problems": problems,
        }));
    }
    for (path, reason) in failed {
        writeln!(out.out, "not read          {}: {}", printable(path), printable_text(reason))?;
    }
    for problem in problems {
        writeln!(out.out, "unreadable        {problem}")?;
    }
    for path in unfinished {
        writeln!(out.out, "not finished      {}", printable(path))?;
    }
    for (target, reason) in unasked {
        writeln!(out.out, "not asked         target {}: {}", printable_text(target), printable_text(reason))?;
    }
    writeln!(out.err, "{added} records made again, {known} were there, {} files are not finished.", unfinished.len())?;
    writeln!(
        out.err,
        "{from_stores} records of freed recordings made again from the targets, {attached} copies added to records that were there."
    )
}

fn check(house: &House, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let checked = house.catalog.check(true)?;
    for error in &checked.unreadable {
        writeln!(out.out, "{}", crate::fault::chain(error)).map_err(Failure::output)?;
    }
    let said = json!({
        "vods": checked.vods, "deliveries": checked.deliveries, "unreadable": checked.unreadable.len(),
        "missingRowsAdded": checked.missing_rows, "danglingRowsRemoved": checked.dangling_rows,
    });
    if out.is_json {
        out.json(&said).map_err(Failure::output)?;
    } else {
        writeln!(
            out.out,
            "{} VoDs, {} deliveries; {} index rows added, {} removed, {} values unreadable.",
            checked.vods,
            checked.deliveries,
            checked.missing_rows,
            checked.dangling_rows,
            checked.unreadable.len()
        )
        .map_err(Failure::output)?;
    }
    Ok(if checked.unreadable.is_empty() { Exit::Done } else { Exit::SomeFailed })
}
