//! OBS Studio: `2024-01-02 15-04-05.mkv` in local time, `Replay 2024-01-02 15-04-05.mkv`, with underscores where
//! spaces are switched off, and ` (2)` or `_2` behind a name that was taken. The stream is the prefix, else the
//! directory.

use std::sync::LazyLock;

use regex::Regex;

use super::{NameInput, ParsedName, date};

static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    super::pattern(concat!(
        r"^(?:(?P<stream>.+?)[ _-])?",
        r"(?P<Y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})[ _](?P<H>\d{2})-(?P<M>\d{2})-(?P<S>\d{2})",
        r"(?: \((?P<n>\d{1,6})\)|_(?P<k>\d{1,6}))?$"
    ))
    .ok()
});

pub(super) fn read(subject: NameInput<'_>) -> Option<ParsedName> {
    let found = NAME.as_ref()?.captures(subject.stem)?;
    let start_ms = Some(date::from_groups(&found, subject.zone)?);
    let stream = found.name("stream").map(|m| m.as_str().to_owned()).or_else(|| subject.parent());
    let part = found.name("n").or_else(|| found.name("k")).and_then(|n| n.as_str().parse().ok());
    Some(ParsedName { stream, start_ms, part, rendition: None })
}
