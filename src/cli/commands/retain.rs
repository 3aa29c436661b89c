//! `retain`: frees what is delivered and proven by the policy, or prints the plan.

use serde_json::json;

use super::super::args::RetainArgs;
use super::super::executor::Executor;
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::table::Table;
use super::CommandError;
use crate::human;
use crate::operations::{FreeLocal, PlanRetention, RetentionPlan};

/// Runs it.
pub fn run(executor: &Executor, args: &RetainArgs, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let printed = if args.dry_run {
        print_plan(&executor.ask(&PlanRetention {})?, out)
    } else {
        let freed = executor.ask(&FreeLocal {})?;
        if out.is_json { out.json(&freed) } else { writeln!(out.out, "Files freed: {}.", freed.freed) }
    };
    printed.map_err(CommandError::output)?;
    Ok(Exit::Done)
}

fn print_plan(plan: &RetentionPlan, out: &mut Output<'_>) -> std::io::Result<()> {
    if plan.is_behind {
        writeln!(
            out.err,
            "The catalogue is in an older state: nothing is freed until you run `aftercast catalog rebuild`."
        )?;
    }
    if out.is_json {
        for free in &plan.frees {
            out.json(&json!({ "vodId": free.vod_id, "path": free.path, "bytes": free.bytes, "frees": true, "reason": free.reason }))?;
        }
        let keeps =
            |kept: &crate::operations::Kept| json!({ "vodId": kept.vod_id, "frees": false, "reason": kept.reason });
        return plan.kept.iter().try_for_each(|kept| out.json(&keeps(kept)));
    }
    let mut table = Table::new(&["VOD", "PLAN", ">SIZE", "REASON"]);
    for free in &plan.frees {
        table.row([&free.vod_id, "free", &human::size(free.bytes), &free.reason]);
    }
    for kept in &plan.kept {
        table.row([&kept.vod_id, "keep", "", &kept.reason]);
    }
    out.table(&table, "No local files.")
}
