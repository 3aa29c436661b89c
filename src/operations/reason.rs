//! What deliveries that failed alike have in common.
//!
//! A message names the target, the object, how long a store asks to be left alone, and what to do: no two are the same. The reason is
//! what is left without these: `target `x`: cannot write `key`: connection refused: …. The recording is safe …` is `connection refused`.

use crate::fault::Class;
use crate::recording::DeliveryState;

/// What stands for a name or a number that differs from file to file.
const ANY: &str = "…";

/// Class and reason of the last failure of a delivery, if it failed.
pub fn failure_of(state: &DeliveryState) -> Option<(Class, String)> {
    match state {
        DeliveryState::Waiting { last_fault, .. } => {
            last_fault.as_ref().map(|(class, message)| (*class, reason_of(message)))
        }
        DeliveryState::Stuck { message } => Some((Class::Permanent, reason_of(message))),
        DeliveryState::Delivered { .. } => None,
    }
}

/// What a message has in common with others of its kind.
pub(super) fn reason_of(message: &str) -> String {
    // Names first: there may be anything in them.
    let said = nameless(without_tried(without_target(message)));
    let cause = said.split(": ").next().unwrap_or_default();
    numberless(sentence(cause))
}

/// Behind ``target `x`: ``.
fn without_target(message: &str) -> &str {
    behind_name(message, "target `").unwrap_or(message)
}

/// Behind ``cannot write `key`: ``.
fn without_tried(said: &str) -> &str {
    let verb =
        said.strip_prefix("cannot ").and_then(|rest| rest.split_once('`')).filter(|(verb, _)| !verb.contains(':'));
    verb.and_then(|(_, rest)| behind_name(rest, "")).unwrap_or(said)
}

/// What follows a beginning, a name up to its closing back quote, and a colon.
fn behind_name<'a>(text: &'a str, beginning: &str) -> Option<&'a str> {
    text.strip_prefix(beginning)?.split_once("`: ").map(|(_, rest)| rest)
}

/// The first sentence, without what is advised behind it.
fn sentence(text: &str) -> &str {
    let is_next = |(at, _): &(usize, &str)| text[at + 2..].starts_with(|first: char| first.is_ascii_uppercase());
    let end = text.match_indices(". ").find(is_next).map_or(text.len(), |(at, _)| at);
    text[..end].trim_end_matches('.')
}

/// With names in back quotes left out.
fn nameless(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(number, part)| if number % 2 == 0 { part.to_owned() } else { format!("`{ANY}`") }).collect()
}

/// With numbers left out that are words of their own: `us-east-1` is a name.
fn numberless(text: &str) -> String {
    let is_number = |word: &str| word.starts_with(|first: char| first.is_ascii_digit());
    let words = text.split(' ').map(|word| if is_number(word) { ANY } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_same_for_every_file_and_every_time() {
        for (message, reason) in [
            (
                "target `cloud`: cannot write `a/room1.mp4`: connection refused: tcp connect error: os error 111. The recording \
                 is safe on the local disk. Check `endpoint`.",
                "connection refused",
            ),
            (
                "target `cloud`: cannot create the multipart upload of `x: y.mp4`: the store is throttling requests: asks to wait 1 s. \
                 The recording is safe.",
                "the store is throttling requests",
            ),
            (
                "target `cloud`: cannot write `x`: this machine's clock is 301 s off. The recording",
                "this machine's clock is … s off",
            ),
            (
                "target `a`: cannot write `x`: the bucket is in region us-east-1: no",
                "the bucket is in region us-east-1",
            ),
            ("target `a`: `k.mp4` does not match: size is 5, expected 7. The", "`…` does not match"),
            ("target `a`: the directory `/mnt/x: y` does not exist. Mount", "the directory `…` does not exist"),
            (
                "target `a`: `k` and 99 numbered names are already in use by other content. Check",
                "`…` and … numbered names are already in use by other content",
            ),
            ("`/rec/2.mp4` changed since it was queued. Nothing counts", "`…` changed since it was queued"),
            (
                "the recording cannot be uploaded: cannot read `/x`: permission denied",
                "the recording cannot be uploaded",
            ),
            ("internal error", "internal error"),
            ("stopped", "stopped"),
            ("", ""),
            ("`", "`…`"),
        ] {
            assert_eq!(reason_of(message), reason, "{message}");
        }
    }

    #[test]
    fn what_has_not_failed_has_no_reason() {
        let waiting = |last_fault| DeliveryState::Waiting { due_ms: 0, last_fault };
        assert_eq!(failure_of(&waiting(None)), None);
        let failed =
            waiting(Some((Class::Transient, "target `x`: cannot write `k`: the request timed out: 30 s".into())));
        assert_eq!(failure_of(&failed), Some((Class::Transient, "the request timed out".into())));
        let stuck = DeliveryState::Stuck { message: "no".into() };
        assert_eq!(failure_of(&stuck), Some((Class::Permanent, "no".into())));
    }
}
