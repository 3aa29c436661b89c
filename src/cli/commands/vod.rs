//! `vod list | show | delete | verify | export`.

use std::path::Path;

use serde_json::json;

use super::super::args::{ExportFormat, VodCommand};
use super::super::exit::Exit;
use super::super::human;
use super::super::output::Output;
use super::super::table::Table;
use super::Failure;
use crate::catalog::Page;
use crate::deliver::{DeliverError, Removal};
use crate::pipeline::{self, House, Looked, Owned, now_ms};
use crate::recording::name::{format_time, printable, printable_text};
use crate::recording::{RemoteObject, VodRecord};

/// Runs one of them.
pub fn run(house: &House, command: &VodCommand, out: &mut Output<'_>) -> Result<Exit, Failure> {
    match command {
        VodCommand::List { stream, limit, after, oldest_first } => {
            let not_a_place = |_| Failure::Usage("--after wants the place that the page before ended with".into());
            let after = after.as_deref().map(str::parse).transpose().map_err(not_a_place)?;
            let page = Page { after, limit: *limit, newest_first: !oldest_first, stream: stream.as_deref() };
            list(house, &page, out)
        }
        VodCommand::Show { id } => show(house, id, out),
        VodCommand::Delete { ids, yes, keep_file, keep_objects } => {
            let what = Deletion { is_confirmed: *yes, keeps_file: *keep_file, keeps_objects: *keep_objects };
            ids.iter().try_fold(Exit::Done, |exit, id| Ok(exit.merge(delete(house, id, what, out)?)))
        }
        VodCommand::Verify { ids, download, sample } => verify(house, ids, *download, *sample, out),
        VodCommand::Export { format } => export(house, *format, out),
    }
}

fn known(house: &House, id: &str) -> Result<VodRecord, Failure> {
    let unknown = || Failure::Usage(format!("no VoD has the id `{}`", printable_text(id)));
    house.catalog.shared().vod(id)?.ok_or_else(unknown)
}

fn list(house: &House, page: &Page<'_>, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let listing = house.catalog.shared().vods(page)?;
    for error in &listing.unreadable {
        writeln!(out.err, "Warning: {}", crate::fault::chain(error)).map_err(Failure::output)?;
    }
    if out.is_json {
        listing.items.iter().try_for_each(|vod| out.json(vod)).map_err(Failure::output)?;
    } else {
        let table = table_of(house, &listing.items);
        out.table(&table, "The catalogue is empty.").map_err(Failure::output)?;
    }
    if let Some(next) = &listing.next {
        writeln!(out.err, "There is more: --after {next}").map_err(Failure::output)?;
    }
    Ok(if listing.unreadable.is_empty() { Exit::Done } else { Exit::SomeFailed })
}

fn table_of(house: &House, vods: &[VodRecord]) -> Table {
    let zone = &house.settings().finish.time_zone;
    let mut table = Table::new(&["ID", "STREAM", "NAME", "START", ">LENGTH", ">SIZE", "MEDIA", "OUTCOME", "WHERE"]);
    for vod in vods {
        table.row([
            vod.vod_id.clone(),
            vod.stream_id.clone(),
            vod.vod_name.clone(),
            format_time(vod.start_time, zone, "%Y-%m-%d %H:%M:%S").unwrap_or_default(),
            human::duration(vod.duration),
            human::size(vod.file_size),
            media_of(vod),
            format!("{}{}", word(&vod.outcome), if vod.defects.is_empty() { "" } else { ", with defects" }),
            places_of(vod),
        ]);
    }
    table
}

/// A serialised enum's own word.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn media_of(vod: &VodRecord) -> String {
    let codecs: Vec<_> = vod.tracks.iter().map(|t| t.codec.as_str()).collect();
    let size = vod.tracks.iter().find_map(|t| Some((t.width?, t.height?)));
    let size = size.map(|(w, h)| format!(" {w}x{h}")).unwrap_or_default();
    format!("{} {}{size}", vod.container.extension(), codecs.join("+"))
}

fn places_of(vod: &VodRecord) -> String {
    let local = vod.freed_at.is_none().then_some("local");
    let places: Vec<_> = local.into_iter().chain(vod.remote.iter().map(|r| r.target.as_str())).collect();
    places.join(", ")
}

fn show(house: &House, id: &str, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let vod = known(house, id)?;
    let printed = if out.is_json { out.json(&vod) } else { out.pretty_json(&vod) };
    printed.map_err(Failure::output)?;
    Ok(Exit::Done)
}

#[derive(Debug, Clone, Copy)]
struct Deletion {
    is_confirmed: bool,
    keeps_file: bool,
    keeps_objects: bool,
}

/// Deletes what was delivered for the VoD in every target, its local file, then the record itself.
fn delete(house: &House, id: &str, what: Deletion, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let vod = known(house, id)?;
    let owned = if what.keeps_objects { Vec::new() } else { pipeline::objects_of(house, &vod)? };
    let is_local = vod.freed_at.is_none() && !what.keeps_file;
    for Owned { object, also_of, .. } in &owned {
        let url = printable_text(&object.url);
        match also_of {
            Some(other) => writeln!(out.err, "Keeps {url}: VoD {other} names it, too"),
            None => writeln!(out.err, "{} {url}", verb(what)),
        }
        .map_err(Failure::output)?;
    }
    if is_local {
        writeln!(out.err, "{} {}", verb(what), printable(&vod.file_path)).map_err(Failure::output)?;
    }
    if !what.is_confirmed {
        writeln!(out.err, "Nothing was deleted; --yes deletes.").map_err(Failure::output)?;
        return Ok(Exit::Done);
    }
    let mut exit = delete_objects(house, &owned, out)?;
    if is_local && let Some(why) = pipeline::remove_local(house, &vod)? {
        writeln!(out.err, "Left {}: {why}", printable(&vod.file_path)).map_err(Failure::output)?;
        exit = exit.merge(Exit::SomeFailed);
    }
    house.catalog.delete_vod(id, now_ms())?;
    if out.is_json {
        out.json(&json!({ "vodId": id, "state": "deleted" })).map_err(Failure::output)?;
    }
    Ok(exit)
}

/// Removes objects that are still what was delivered; what somebody else has put under their keys stays.
fn delete_objects(house: &House, owned: &[Owned], out: &mut Output<'_>) -> Result<Exit, Failure> {
    let targets = house.targets();
    // Nothing is removed anywhere before it is clear that every target can be asked.
    if let Some(unknown) = owned.iter().find(|o| !targets.names().any(|name| name == o.object.target)) {
        return Err(DeliverError::UnknownTarget(unknown.object.target.clone()).into());
    }
    let mut exit = Exit::Done;
    for Owned { asset_id, object, .. } in owned.iter().filter(|o| o.also_of.is_none()) {
        if let Removal::Left { difference } = targets.remove(asset_id, object)? {
            let (url, difference) = (printable_text(&object.url), printable_text(&difference));
            writeln!(out.err, "Left {url}: it is not what was delivered: {difference}").map_err(Failure::output)?;
            exit = exit.merge(Exit::SomeFailed);
        }
    }
    Ok(exit)
}

const fn verb(what: Deletion) -> &'static str {
    if what.is_confirmed { "Deletes" } else { "Would delete" }
}

/// Asks every store for what the records name; a difference is noted in the record, where it keeps the local file from
/// being freed, and is a failure.
fn verify(
    house: &House,
    ids: &[String],
    reads: bool,
    sample: Option<f64>,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let mut vods: Vec<VodRecord> = if ids.is_empty() {
        house.catalog.shared().all_vods()?.collect::<Result<_, _>>()?
    } else {
        ids.iter().map(|id| known(house, id)).collect::<Result<_, _>>()?
    };
    if let Some(percent) = sample {
        vods.retain(|vod| is_in_sample(&vod.vod_id, percent, now_ms()));
    }
    let mut exit = Exit::Done;
    for (vod, object) in vods.iter().flat_map(|vod| vod.remote.iter().map(move |object| (vod, object))) {
        if house.stop.is_requested() {
            break;
        }
        exit = exit.merge(verify_one(house, vod, object, reads, out)?);
    }
    Ok(exit)
}

fn verify_one(
    house: &House,
    vod: &VodRecord,
    object: &RemoteObject,
    reads: bool,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let (is_same, said) = match house.targets().verify(object, reads, &house.stop) {
        Err(error) => (false, crate::fault::chain(&error)),
        Ok(found) => match pipeline::note_look(house, vod, object, found, reads)? {
            Looked::AsProven => (true, "as proven".to_owned()),
            Looked::SentAgain(difference) => (false, format!("{}; it is sent again", difference.words)),
            Looked::OnlyNoted(difference) => (false, format!("{}; no local file is left to send", difference.words)),
        },
    };
    if out.is_json {
        let line = json!({ "vodId": vod.vod_id, "url": object.url, "same": is_same, "message": said });
        out.json(&line).map_err(Failure::output)?;
    } else {
        writeln!(out.out, "{}  {}  {}", vod.vod_id, printable_text(&object.url), printable_text(&said))
            .map_err(Failure::output)?;
    }
    Ok(if is_same { Exit::Done } else { Exit::SomeFailed })
}

/// Whether a VoD belongs to the sample of a day.
fn is_in_sample(vod_id: &str, percent: f64, now_ms: i64) -> bool {
    const DAY_MS: i64 = 24 * 3_600 * 1_000;
    let digest = blake3::hash(format!("{vod_id} {}", now_ms.div_euclid(DAY_MS)).as_bytes());
    let [a, b, ..] = *digest.as_bytes();
    f64::from(u16::from_be_bytes([a, b])) < percent / 100.0 * 65_536.0
}

fn export(house: &House, format: ExportFormat, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let vods = house.catalog.shared().all_vods()?;
    match format {
        ExportFormat::Json => {
            for vod in vods {
                out.json(&vod?).map_err(Failure::output)?;
            }
        }
        ExportFormat::Csv => {
            let mut csv = csv::Writer::from_writer(out.out.as_it_is());
            csv.write_record(CSV_COLUMNS).map_err(csv_failure)?;
            for vod in vods {
                csv.write_record(csv_row(&vod?)).map_err(csv_failure)?;
            }
            csv.flush().map_err(Failure::output)?;
        }
    }
    Ok(Exit::Done)
}

fn csv_failure(error: csv::Error) -> Failure {
    Failure::output(std::io::Error::other(error))
}

const CSV_COLUMNS: [&str; 14] = [
    "vodId",
    "streamId",
    "vodName",
    "filePath",
    "startTime",
    "creationDate",
    "duration",
    "fileSize",
    "container",
    "codecs",
    "outcome",
    "defects",
    "freedAt",
    "remote",
];

fn csv_row(vod: &VodRecord) -> [String; 14] {
    let join = |words: Vec<String>, by: &str| words.join(by);
    [
        vod.vod_id.clone(),
        vod.stream_id.clone(),
        vod.vod_name.clone(),
        path_text(&vod.file_path),
        vod.start_time.to_string(),
        vod.creation_date.to_string(),
        vod.duration.to_string(),
        vod.file_size.to_string(),
        word(&vod.container),
        join(vod.tracks.iter().map(|t| t.codec.clone()).collect(), "+"),
        word(&vod.outcome),
        join(vod.defects.iter().map(ToString::to_string).collect(), "; "),
        vod.freed_at.map(|ms| ms.to_string()).unwrap_or_default(),
        join(vod.remote.iter().map(|r| r.url.clone()).collect(), " "),
    ]
    .map(|cell| printable_text(&cell))
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_about_its_share_and_another_every_day() {
        let taken =
            |percent, now_ms| (0..10_000).filter(|i| is_in_sample(&i.to_string(), percent, now_ms)).collect::<Vec<_>>();
        let today = taken(5.0, 0);
        assert!((400..600).contains(&today.len()), "{}", today.len());
        assert_eq!(today, taken(5.0, 1000));
        assert_ne!(today, taken(5.0, 90_000_000));
        assert_eq!(taken(100.0, 0).len(), 10_000);
    }
}
