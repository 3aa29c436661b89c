//! `OvenMediaEngine`: `${Stream}/${StartTime:YYYYMMDDhhmmss}_${EndTime:YYYYMMDDhhmmss}.ts` in local time;
//! `tmp_` and 32 letters or digits, without an extension, while recording.

use std::sync::LazyLock;

use regex::Regex;

use super::{Parsed, Subject, date};
use crate::discover::candidate::is_ome_temporary;

static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    super::pattern(concat!(
        r"^(?:(?P<stream>.+?)_)??",
        r"(?P<Y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?P<H>\d{2})(?P<M>\d{2})(?P<S>\d{2})",
        r"(?:_\d{14})?(?:_(?P<n>\d{1,6}))?$"
    ))
    .ok()
});

pub(super) fn read(subject: Subject<'_>) -> Option<Parsed> {
    if is_ome_temporary(subject.stem.as_bytes()) {
        return Some(Parsed { stream: subject.parent(), ..Parsed::default() });
    }
    let found = NAME.as_ref()?.captures(subject.stem)?;
    let start_ms = Some(date::from_groups(&found, subject.zone)?);
    let stream = found.name("stream").map(|m| m.as_str().to_owned()).or_else(|| subject.parent());
    Some(Parsed { stream, start_ms, part: found.name("n").and_then(|n| n.as_str().parse().ok()), rendition: None })
}
