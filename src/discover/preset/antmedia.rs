//! Ant Media Server: `<base>[-<yyyy-MM-dd_HH-mm-ss.SSS>][_<480p500kbps>][_<N>].mp4[.tmp_extension]`, local time.
//!
//! A stream id that ends in `_2` cannot be told from the second recording of its name; the server's own reader
//! strips the number too.

use std::sync::LazyLock;

use regex::Regex;

use super::{NameInput, ParsedName, date};

static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    super::pattern(concat!(
        r"^(?P<stream>[A-Za-z0-9_.\-]+?)",
        r"(?:-(?P<Y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})_(?P<H>\d{2})-(?P<M>\d{2})-(?P<S>\d{2})\.(?P<f>\d{3}))?",
        r"(?:_(?P<rendition>\d+p(?:\d+kbps)?|\d+kbps(?:\d+p)?))?",
        r"(?:_(?P<n>[1-9]\d{0,2}))?$"
    ))
    .ok()
});

pub(super) fn read(subject: NameInput<'_>) -> Option<ParsedName> {
    let found = NAME.as_ref()?.captures(subject.stem)?;
    let text = |group: &str| found.name(group).map(|m| m.as_str().to_owned());
    Some(ParsedName {
        stream: text("stream"),
        start_ms: date::from_groups(&found, subject.zone),
        rendition: text("rendition"),
        part: found.name("n").and_then(|n| n.as_str().parse().ok()),
    })
}
