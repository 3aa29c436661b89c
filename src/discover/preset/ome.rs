//! `OvenMediaEngine`: `${Stream}/${StartTime:YYYYMMDDhhmmss}_${EndTime:YYYYMMDDhhmmss}.ts` in local time;
//! `tmp_` and 32 letters or digits, without an extension, while recording. Without a `FilePath` in its configuration:
//! `${TransactionId}_${VirtualHost}_${Application}_${Stream}_${StartTime}.ts`, in older releases with `_${EndTime}` behind it,
//! where the transaction's id is 16 random letters or digits (`file_session.cpp`, `GetOutputFilePath`).

use std::sync::LazyLock;

use regex::Regex;

use super::{NameInput, ParsedName, date};
use crate::discover::candidate::is_ome_temporary;

static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    super::pattern(concat!(
        r"^(?:(?P<stream>.+?)_)??",
        r"(?P<Y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?P<H>\d{2})(?P<M>\d{2})(?P<S>\d{2})",
        r"(?:_\d{14})?(?:_(?P<n>\d{1,6}))?$"
    ))
    .ok()
});

/// The name by default. Virtual host and application are taken to have no `_`; what is behind them is the stream.
static DEFAULT_NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    super::pattern(concat!(
        r"^[0-9A-Za-z]{16}_[^_]+_[^_]+_(?P<stream>.+?)_",
        r"(?P<Y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?P<H>\d{2})(?P<M>\d{2})(?P<S>\d{2})(?:_\d{14})?$"
    ))
    .ok()
});

pub(super) fn read(subject: NameInput<'_>) -> Option<ParsedName> {
    if is_ome_temporary(subject.stem.as_bytes()) {
        return Some(ParsedName { stream: subject.parent(), ..ParsedName::default() });
    }
    let by_default = DEFAULT_NAME.as_ref()?.captures(subject.stem);
    let found = by_default.or_else(|| NAME.as_ref()?.captures(subject.stem))?;
    let start_ms = Some(date::from_groups(&found, subject.zone)?);
    let stream = found.name("stream").map(|m| m.as_str().to_owned()).or_else(|| subject.parent());
    let part = found.name("n").and_then(|n| n.as_str().parse().ok());
    Some(ParsedName { stream, start_ms, part, rendition: None })
}
