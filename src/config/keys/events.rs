//! Keys of `[events]`.

use super::{Accessors, DURATION, Key, Section, ValueKind, put};
use crate::config::units;
use crate::config::value::{Value, ValueError, quote};

const SOME: ValueKind = ValueKind { unit: "count", wants: "a whole number above 0, such as 10000" };

pub(super) static KEYS: [Key; 2] = [
    Key::new(
        Section::Events,
        "keep",
        SOME,
        Accessors::Whole(|c, v| put(&mut c.events.keep, some(v)), |c| Some(c.events.keep.to_string())),
        "Maximum number of events to keep; a finished and delivered recording writes about six. Older events are \
         dropped even if a consumer has not read them.",
    )
    .or("10000"),
    Key::new(
        Section::Events,
        "keep_for",
        DURATION,
        Accessors::Whole(
            |c, v| put(&mut c.events.keep_for, v.some_duration()),
            |c| Some(quote(&units::show_duration(c.events.keep_for))),
        ),
        "Maximum age of an event.",
    )
    .or(r#""30d""#),
];

fn some(value: &Value) -> Result<u64, ValueError> {
    let count = value.count()?;
    u64::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| ValueError::Kind(format!("`{count}`")))
}
