//! `retain`: frees what is delivered and proven by the policy, or prints the plan.

use serde_json::json;

use super::super::args::RetainArgs;
use super::super::exit::Exit;
use super::super::human;
use super::super::output::Output;
use super::super::table::Table;
use super::Failure;
use crate::pipeline::{self, House};

/// Runs it.
pub fn run(house: &House, args: &RetainArgs, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if !args.dry_run {
        let freed = pipeline::free_what_is_due(house);
        let printed =
            if out.is_json { out.json(&json!({ "freed": freed })) } else { writeln!(out.out, "{freed} files freed.") };
        printed.map_err(Failure::output)?;
        return Ok(Exit::Done);
    }
    if house.catalog.is_behind() {
        writeln!(
            out.err,
            "Nothing is freed before `aftercast catalog rebuild`: the catalogue is an older state of itself."
        )
        .map_err(Failure::output)?;
    }
    let plan = pipeline::retention_plan(house)?;
    if out.is_json {
        for free in &plan.frees {
            let line = json!({ "vodId": free.vod_id, "path": free.path, "bytes": free.bytes, "frees": true, "reason": free.reason.clone() });
            out.json(&line).map_err(Failure::output)?;
        }
        for (vod_id, reason) in &plan.kept {
            out.json(&json!({ "vodId": vod_id, "frees": false, "reason": reason.to_string() }))
                .map_err(Failure::output)?;
        }
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["VOD", "PLAN", ">SIZE", "REASON"]);
    for free in &plan.frees {
        table.row([free.vod_id.clone(), "free".into(), human::size(free.bytes), free.reason.clone()]);
    }
    for (vod_id, reason) in &plan.kept {
        table.row([vod_id.clone(), "keep".into(), String::new(), reason.to_string()]);
    }
    out.table(&table, "There is no local file to decide on.").map_err(Failure::output)?;
    Ok(Exit::Done)
}
