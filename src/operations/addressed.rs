//! What is asked of a recording that another node has: left for that node as a command, whose answer is waited for a little.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fleet::{away_since, not_here_by};
use super::{Context, ItemSink, OperationError};
use crate::fault::chain;
use crate::fleet::{CommandKind, CommandProgress, CommandRequest, CommandState, Fleet, FleetVod};
use crate::recording::VodRecord;
use crate::recording::name::printable_text;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a command waits for a node that is alive.
const VALID: Duration = Duration::from_secs(60);
/// How long it waits for one that is away, if that was asked for.
const VALID_QUEUED: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Who has a VoD.
pub(super) enum VodHolder {
    /// This node.
    Here(Box<VodRecord>),
    /// Another one.
    Other(Box<FleetVod>),
}

/// Finds out who has a VoD; an error if nobody has.
pub(super) fn holder_of(context: &Context, id: &str) -> Result<VodHolder, OperationError> {
    let ctx = context.pipeline();
    if let Some(vod) = ctx.catalog.shared().vod(id)? {
        return Ok(VodHolder::Here(Box::new(vod)));
    }
    // What another node asks of this one is not passed on.
    let Some(fleet) = ctx.fleet.as_ref().filter(|_| context.asks_others()) else {
        return Err(not_here_by(ctx, id, Ok(None)));
    };
    match fleet.vod(id) {
        Ok(Some(vod)) if vod.node.node_id != fleet.node_id() => Ok(VodHolder::Other(Box::new(vod))),
        found => Err(not_here_by(ctx, id, found)),
    }
}

/// Has the node that has a VoD do an operation with it.
pub(super) fn ask_holder<A, I, D>(
    context: &Context,
    vod: &FleetVod,
    (kind, arguments, queue): (CommandKind, &A, bool),
    tell: ItemSink<'_, I>,
) -> Result<D, OperationError>
where
    A: Serialize,
    I: DeserializeOwned,
    D: DeserializeOwned,
{
    let Some(fleet) = &context.pipeline().fleet else {
        return Err(OperationError::internal("another node has it, and there is no fleet"));
    };
    let unwritable = |error: serde_json::Error| OperationError::internal(chain(&error));
    let wanted = CommandRequest {
        to_node: vod.node.node_id.clone(),
        kind,
        vod_id: vod.record.vod_id.clone(),
        arguments: serde_json::to_value(arguments).map_err(unwritable)?,
        valid: if queue { VALID_QUEUED } else { VALID },
        waits_for_node: queue,
    };
    let id = fleet.command(&wanted)?.ok_or_else(|| away(vod))?;
    let patience = if vod.node.is_alive { PATIENCE } else { Duration::ZERO };
    match answer_of(fleet, &id, patience, context)? {
        Some(answer) => taken_apart(&name_of(vod), answer, tell),
        None => Err(OperationError::pending(&id, format!("the node `{}` has not answered yet", name_of(vod)))),
    }
}

/// The answer, if there is one in time.
fn answer_of(fleet: &Fleet, id: &str, patience: Duration, context: &Context) -> Result<Option<Value>, OperationError> {
    let state = match fleet.answer_to(id, patience, context.stop()) {
        Ok(state) => state,
        // The command is there; whether it is done can be asked later.
        Err(error) => {
            let words = format!("whether the other node has answered cannot be asked now: {}", chain(&error));
            return Err(OperationError::pending(id, words));
        }
    };
    match state {
        Some(CommandState { progress: CommandProgress::Done, answer, .. }) => Ok(Some(answer.unwrap_or_default())),
        Some(CommandState { progress: CommandProgress::Expired, .. }) => {
            let words = "the other node did not take the command in time; nothing was changed";
            Err(OperationError::node_away(words))
        }
        _ => Ok(None),
    }
}

/// What the other node said: items and data, or an error. It is as little to be trusted as any other input.
fn taken_apart<I, D>(name: &str, mut answer: Value, tell: ItemSink<'_, I>) -> Result<D, OperationError>
where
    I: DeserializeOwned,
    D: DeserializeOwned,
{
    if answer.get("interrupted").is_some() {
        let words = format!("the node `{name}` was restarted while it did this; it may have been done in part");
        return Err(OperationError::transient(words).with_next_step("Run the command again."));
    }
    if let Some(error) = answer.get_mut("error") {
        let error: OperationError = serde_json::from_value(error.take()).map_err(|error| unreadable(name, &error))?;
        return Err(OperationError { detail: format!("the node `{name}` says: {}", error.detail), ..error });
    }
    if let Some(Value::Array(items)) = answer.get_mut("items") {
        for item in std::mem::take(items) {
            tell(serde_json::from_value(item).map_err(|error| unreadable(name, &error))?)?;
        }
    }
    let data = answer.get_mut("data").map(Value::take).unwrap_or_default();
    serde_json::from_value(data).map_err(|error| unreadable(name, &error))
}

fn unreadable(name: &str, error: &serde_json::Error) -> OperationError {
    let words = format!("the answer of the node `{name}` cannot be read: {}", chain(error));
    OperationError::transient(words).with_next_step("Update aftercast on both nodes to one version.")
}

fn name_of(vod: &FleetVod) -> String {
    printable_text(&vod.node.name)
}

fn away(vod: &FleetVod) -> OperationError {
    let (id, name) = (printable_text(&vod.record.vod_id), name_of(vod));
    let since = away_since(vod.node.seen_ms);
    OperationError::node_away(format!("the VoD `{id}` belongs to the node `{name}`, unreachable since {since}; nothing was changed"))
        .with_next_step(format!(
            "Start `{name}` and try again, or leave it to `{name}` for when it is back: `queue=true` (`--queue`), within 7 days."
        ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::operations::{ErrorKind, Verification, Verified};

    fn said(answer: Value) -> (Vec<String>, Result<Verification, OperationError>) {
        let mut urls = Vec::new();
        let mut tell = |verified: Verified| {
            urls.push(verified.url);
            Ok(())
        };
        let said = taken_apart("b", answer, &mut tell);
        (urls, said)
    }

    #[test]
    fn what_another_node_says_is_an_answer_or_an_error_with_its_name() {
        let item = json!({ "vodId": "x", "url": "s3://b/x", "same": true, "message": "as proven" });
        let (urls, answer) = said(json!({ "items": [item], "data": { "same": 1, "different": 0 } }));
        assert_eq!((urls, answer.unwrap().same), (vec!["s3://b/x".to_owned()], 1));
        let error = OperationError::not_found("no such VoD");
        let refused = said(json!({ "error": error })).1.unwrap_err();
        assert_eq!((refused.kind, refused.detail.as_str()), (ErrorKind::NotFound, "the node `b` says: no such VoD"));
        assert!(said(json!({ "interrupted": true })).1.unwrap_err().detail.contains("restarted"));
        for hostile in [json!(null), json!(7), json!({ "error": 7 }), json!({ "data": "x" }), json!({ "items": [{}] })]
        {
            let refused = said(hostile.clone()).1.unwrap_err();
            assert!(refused.detail.contains("cannot be read"), "{hostile}: {refused}");
        }
    }
}
