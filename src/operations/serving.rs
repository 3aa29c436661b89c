//! Doing what other nodes ask of this one, on a few threads: the same operations as for any other client.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::{Context, DeleteVod, Operation, OperationError, RetryDeliveries, VerifyVods};
use crate::fault::chain;
use crate::fleet::{CommandKind, Fleet, FleetCommand};
use crate::pipeline::Stop;
use crate::recording::name::printable_text;

/// Commands that are done at once.
const THREADS: usize = 3;
/// Longest time until the wish to stop is seen.
const TICK: Duration = Duration::from_millis(500);

/// The threads.
#[derive(Debug, Default)]
pub struct CommandThreads {
    threads: Vec<JoinHandle<()>>,
    stop: Stop,
}

impl CommandThreads {
    /// Begins to do what other nodes ask, if there are any; before the pipeline watches.
    pub fn begin(context: &Context) -> Self {
        let Some(fleet) = context.pipeline().fleet.clone() else { return Self::default() };
        fleet.serve_commands();
        let context = context.for_node();
        let spawn = |_| {
            let (fleet, context) = (fleet.clone(), context.clone());
            let thread = std::thread::Builder::new().name("commands".into());
            let spawned = thread.spawn(move || serve(&fleet, &context));
            spawned.inspect_err(|error| warn!(error = chain(error), "no thread for commands of other nodes")).ok()
        };
        Self { threads: (0..THREADS).filter_map(spawn).collect(), stop: context.stop().clone() }
    }

    /// Lets them come to their next safe point, and waits for their end.
    pub fn join(self) {
        self.stop.request();
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn serve(fleet: &Fleet, context: &Context) {
    while !context.stop().is_requested() {
        let Some(command) = fleet.next_command(TICK) else { continue };
        let done = catch_unwind(AssertUnwindSafe(|| perform(context, &command)));
        let answer = done.unwrap_or_else(|_| Err(OperationError::internal("internal error")));
        let (vod_id, asked_by) = (printable_text(&command.vod_id), printable_text(&command.asked_by));
        let kind = command.kind.map_or("unknown", CommandKind::name);
        match &answer {
            Ok(_) => info!(kind, vod_id, asked_by, "command of another node done"),
            Err(error) => {
                warn!(kind, vod_id, asked_by, error = printable_text(&error.detail), "command of another node failed");
            }
        }
        fleet.answer_command(&command.id, answer.unwrap_or_else(|error| json!({ "error": error })));
    }
}

/// Does a command. The row says which VoD it is about, and so must the arguments.
fn perform(context: &Context, command: &FleetCommand) -> Result<Value, OperationError> {
    let id = &command.vod_id;
    match command.kind {
        Some(CommandKind::Delete) => {
            let wanted: DeleteVod = arguments(command)?;
            done(context, command, wanted.id == *id, &wanted)
        }
        Some(CommandKind::Verify) => {
            let wanted: VerifyVods = arguments(command)?;
            done(context, command, wanted.ids.iter().eq([id]), &wanted)
        }
        Some(CommandKind::Retry) => {
            let wanted: RetryDeliveries = arguments(command)?;
            let is_of = |named: &String| named.split(['@', '.']).next() == Some(id);
            done(context, command, !wanted.ids.is_empty() && wanted.ids.iter().all(is_of), &wanted)
        }
        None => Err(OperationError::not_supported("this version does not know the command")),
    }
}

fn arguments<O: DeserializeOwned>(command: &FleetCommand) -> Result<O, OperationError> {
    serde_json::from_value(command.arguments.clone())
        .map_err(|error| OperationError::invalid(format!("the arguments are not valid: {}", chain(&error))))
}

fn done<O: Operation>(
    context: &Context,
    command: &FleetCommand,
    is_about_it: bool,
    operation: &O,
) -> Result<Value, OperationError> {
    if !is_about_it {
        return Err(OperationError::invalid("the arguments are about another VoD than the command"));
    }
    let id = printable_text(&command.vod_id);
    if context.pipeline().catalog.shared().vod(&command.vod_id)?.is_none() {
        return Err(OperationError::not_found(format!("no VoD has the id `{id}`")));
    }
    let unwritable = |error: serde_json::Error| OperationError::internal(chain(&error));
    let mut items = Vec::new();
    let data = operation.run(context, &mut |item| {
        items.push(serde_json::to_value(&item).map_err(unwritable)?);
        Ok(())
    })?;
    Ok(json!({ "items": items, "data": serde_json::to_value(&data).map_err(unwritable)? }))
}
