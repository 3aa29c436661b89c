//! Object keys: where a finished file goes inside a bucket.

use std::path::Path;

/// A key pattern with `{path}`, `{root}`, `{stream}`, `{date}`, `{name}`, `{ext}`, `{vod_id}`; `{path}` by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPattern {
    pattern: String,
}

/// A key pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A field that does not exist.
    #[error("`{{{0}}}` is not a field of a key: use {{path}} {{root}} {{stream}} {{date}} {{name}} {{ext}} {{vod_id}}")]
    UnknownField(String),
    /// A brace without its partner.
    #[error("`{0}` has an unbalanced brace")]
    Unbalanced(String),
    /// A pattern that gives every file the same key.
    #[error("`{0}` gives every recording the same key: it needs {{path}}, {{name}} or {{vod_id}}")]
    NotDistinct(String),
}

/// What a key is made from.
#[derive(Debug, Clone, Copy)]
pub struct KeyFacts<'a> {
    /// Path of the finished file relative to its root.
    pub relative_path: &'a Path,
    /// The root that holds it.
    pub root: &'a Path,
    /// Stream id.
    pub stream_id: &'a str,
    /// Start date, `YYYY-MM-DD`, in the configured time zone.
    pub date: &'a str,
    /// Id of the VoD, empty for other kinds of files.
    pub vod_id: &'a str,
}

const FIELDS: [&str; 7] = ["path", "root", "stream", "date", "name", "ext", "vod_id"];

impl Default for KeyPattern {
    fn default() -> Self {
        Self { pattern: "{path}".to_owned() }
    }
}

impl KeyPattern {
    /// Checks a pattern from configuration.
    pub fn parse(pattern: &str) -> Result<Self, KeyError> {
        let mut is_distinct = false;
        let mut rest = pattern;
        while let Some(at) = rest.find(['{', '}']) {
            let unbalanced = || KeyError::Unbalanced(pattern.to_owned());
            let field = rest[at..].strip_prefix('{').and_then(|r| r.split_once('}')).ok_or_else(unbalanced)?;
            if !FIELDS.contains(&field.0) {
                return Err(KeyError::UnknownField(field.0.to_owned()));
            }
            is_distinct |= ["path", "name", "vod_id"].contains(&field.0);
            rest = field.1;
        }
        if is_distinct {
            Ok(Self { pattern: pattern.to_owned() })
        } else {
            Err(KeyError::NotDistinct(pattern.to_owned()))
        }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    fn fill(&self, facts: &KeyFacts<'_>) -> String {
        let part = |p: Option<&std::ffi::OsStr>| p.unwrap_or_default().to_string_lossy().into_owned();
        self.pattern
            .replace("{path}", &facts.relative_path.to_string_lossy())
            .replace("{root}", &part(facts.root.file_name()))
            .replace("{stream}", facts.stream_id)
            .replace("{date}", facts.date)
            .replace("{name}", &part(facts.relative_path.file_stem()))
            .replace("{ext}", &part(facts.relative_path.extension()))
            .replace("{vod_id}", facts.vod_id)
    }
}

/// Joins a target's prefix and a pattern into a key: `//` collapsed, no `.` or `..` segments, no leading slash.
pub fn object_key(prefix: &str, pattern: &KeyPattern, facts: &KeyFacts<'_>) -> String {
    let whole = format!("{prefix}/{}", pattern.fill(facts));
    let segments = whole.split('/').filter(|s| !s.is_empty() && *s != "." && *s != "..");
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>() -> KeyFacts<'a> {
        KeyFacts {
            relative_path: Path::new("room1/vod/x.mp4"),
            root: Path::new("/srv/streams"),
            stream_id: "room1",
            date: "2026-03-04",
            vod_id: "abc",
        }
    }

    #[test]
    fn the_default_key_is_prefix_and_relative_path_with_single_slashes() {
        let key = |prefix| object_key(prefix, &KeyPattern::default(), &facts());
        assert_eq!(key("streams/"), "streams/room1/vod/x.mp4");
        assert_eq!(key(""), "room1/vod/x.mp4");
        assert_eq!(key("/a//b/"), "a/b/room1/vod/x.mp4");
    }

    #[test]
    fn every_field_is_filled() {
        let pattern = KeyPattern::parse("{root}/{stream}/{date}/{name}-{vod_id}.{ext}").unwrap();
        assert_eq!(object_key("p", &pattern, &facts()), "p/streams/room1/2026-03-04/x-abc.mp4");
    }

    #[test]
    fn a_useless_pattern_is_refused() {
        assert_eq!(KeyPattern::parse("{nam}"), Err(KeyError::UnknownField("nam".into())));
        assert_eq!(KeyPattern::parse("{path"), Err(KeyError::Unbalanced("{path".into())));
        assert_eq!(KeyPattern::parse("x}{path}"), Err(KeyError::Unbalanced("x}{path}".into())));
        assert_eq!(KeyPattern::parse("all.mp4"), Err(KeyError::NotDistinct("all.mp4".into())));
    }

    #[test]
    fn a_stream_id_cannot_climb_out_of_the_prefix() {
        let facts = KeyFacts { stream_id: "../..", ..facts() };
        let pattern = KeyPattern::parse("{stream}/{name}").unwrap();
        assert_eq!(object_key("p", &pattern, &facts), "p/x");
    }
}
