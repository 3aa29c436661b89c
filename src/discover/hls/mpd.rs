//! Just enough of DASH manifests (ISO/IEC 23009-1): which files they name and whether they are static. No XML reader:
//! the few elements and attributes are found by pattern, which is all that deciding about names needs.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::limits::{LimitExceeded, MAX_FILLED_NAMES, MAX_NAME_BYTES, MAX_OPEN_FIELDS, has_room};
use super::m3u8::whole_ms;

/// What a manifest says.
#[derive(Debug)]
pub(super) struct Manifest {
    /// Names as written.
    pub(super) names: Vec<String>,
    /// Names with numbers or times in them.
    pub(super) patterns: Vec<NamePattern>,
    /// `MPD@type="static"`: nothing will be added (§5.3.1.2).
    pub(super) has_ended: bool,
    /// Longest segment, milliseconds.
    pub(super) target_ms: i64,
}

/// A `SegmentTemplate` (§5.3.9.4) with the identifiers filled in and the numbers open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NamePattern {
    /// Directory below the manifest's, empty for its own.
    pub(super) directory: String,
    /// What every matching file name begins with.
    pub(super) begins: String,
    /// What stands behind each number, the last one at the end of the name.
    behind: Vec<String>,
}

impl NamePattern {
    /// Whether it matches the whole file name: between its parts stands at least one digit each.
    pub(super) fn is_match(&self, name: &str) -> bool {
        let Some(mut rest) = name.strip_prefix(&self.begins).map(|rest| vec![rest.len()]) else { return false };
        // Places, by the bytes behind them, that the parts so far can end at: a number may end at any of its digits.
        for part in &self.behind {
            let mut next = BTreeSet::new();
            for left in rest {
                let tail = &name.as_bytes()[name.len() - left..];
                let digits = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let ends = (1..=digits).filter(|at| tail[*at..].starts_with(part.as_bytes()));
                next.extend(ends.map(|at| left - at - part.len()));
            }
            rest = next.into_iter().collect();
        }
        rest.contains(&0)
    }
}

const DEFAULT_TARGET_MS: i64 = 10_000;

static ELEMENT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"<(MPD|Representation|SegmentTemplate|SegmentURL|Initialization)\b([^>]*)>").ok());
static ATTRIBUTE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"([A-Za-z:]+)\s*=\s*(?:"([^"]*)"|'([^']*)')"#).ok());
static BASE_URL: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"<BaseURL\b[^>]*>\s*([^<]*?)\s*</BaseURL>").ok());
static OPEN_FIELD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\$(Number|Time|SubNumber)(%0\d+d)?\$").ok());
static DURATION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^PT(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?$").ok());

/// Reads a manifest. Text that is none gives an empty one that has not ended; one of too many names is refused.
///
/// What a `SegmentTimeline` says (`S@r`, §5.3.9.6) is not read: which numbers there are is told by the files.
pub(super) fn parse(text: &str) -> Result<Manifest, LimitExceeded> {
    let mut manifest =
        Manifest { names: Vec::new(), patterns: Vec::new(), has_ended: false, target_ms: DEFAULT_TARGET_MS };
    // Each once: the periods of a manifest repeat them.
    let (mut templates, mut representations) = (BTreeSet::new(), BTreeSet::new());
    for element in ELEMENT.as_ref().into_iter().flat_map(|e| e.captures_iter(text)) {
        let value = |name: &str| attribute(&element[2], name);
        match &element[1] {
            "MPD" => {
                // The default of the attribute is "static" (§5.3.1.2, table 3).
                manifest.has_ended = value("type").is_none_or(|t| t == "static");
                let longest = value("maxSegmentDuration").or_else(|| value("minimumUpdatePeriod"));
                manifest.target_ms = longest.and_then(|d| duration_ms(&d)).unwrap_or(DEFAULT_TARGET_MS);
            }
            "Representation" => {
                has_room(representations.len())?;
                representations.insert((value("id").unwrap_or_default(), value("bandwidth").unwrap_or_default()));
            }
            "SegmentTemplate" => {
                has_room(templates.len())?;
                templates.extend([value("initialization"), value("media")].into_iter().flatten());
            }
            "SegmentURL" => manifest.add(value("media"))?,
            _ => manifest.add(value("sourceURL"))?,
        }
    }
    for base in BASE_URL.as_ref().into_iter().flat_map(|b| b.captures_iter(text)) {
        manifest.add(Some(unescape(&base[1])).filter(|name| !name.is_empty() && !name.ends_with('/')))?;
    }
    manifest.fill(&templates, &representations)?;
    Ok(manifest)
}

impl Manifest {
    fn add(&mut self, name: Option<String>) -> Result<(), LimitExceeded> {
        if let Some(name) = name.filter(|name| name.len() <= MAX_NAME_BYTES) {
            has_room(self.names.len())?;
            self.names.push(name);
        }
        Ok(())
    }

    /// Fills every template for every representation, which is more than the standard says: a template counts for what it
    /// stands in or above. So a name may be claimed that the manifest does not mean, and none is missed.
    fn fill(
        &mut self,
        templates: &BTreeSet<String>,
        representations: &BTreeSet<(String, String)>,
    ) -> Result<(), LimitExceeded> {
        if templates.len().saturating_mul(representations.len()) > MAX_FILLED_NAMES {
            return Err(LimitExceeded {
                what: "file names generated from its templates",
                limit: MAX_FILLED_NAMES as u64,
            });
        }
        let mut patterns = BTreeSet::new();
        for template in templates {
            for (id, bandwidth) in representations {
                let Some(filled) = filled(template, id, bandwidth) else { continue };
                match open_pattern(&filled) {
                    Some(pattern) => drop(patterns.insert(pattern)),
                    None => self.add(Some(filled.replace("$$", "$")))?,
                }
            }
        }
        self.patterns.extend(patterns);
        self.names.sort();
        self.names.dedup();
        Ok(())
    }
}

/// A template with its identifiers filled in; `None` if no file has so long a name.
fn filled(template: &str, id: &str, bandwidth: &str) -> Option<String> {
    let mut filled = template.to_owned();
    for (field, value) in [("$RepresentationID$", id), ("$Bandwidth$", bandwidth)] {
        // The length first: a short template of many fields and a long identifier multiply.
        let longer = filled.matches(field).count().saturating_mul(value.len());
        if filled.len().saturating_add(longer) > 2 * MAX_NAME_BYTES {
            return None;
        }
        filled = filled.replace(field, value);
    }
    (filled.len() <= MAX_NAME_BYTES).then_some(filled)
}

/// The pattern of a template that has numbers or times in it; `None` where it names one file.
fn open_pattern(template: &str) -> Option<NamePattern> {
    let open = OPEN_FIELD.as_ref()?;
    if !open.is_match(template) || template.starts_with('/') || template.split('/').any(|part| part == "..") {
        return None;
    }
    let (directory, name) = template.rsplit_once('/').unwrap_or(("", template));
    // Numbers in the directory's name would mean a directory per segment, which no server we know writes.
    (!open.is_match(directory)).then_some(())?;
    let mut parts: Vec<String> = open.splitn(name, MAX_OPEN_FIELDS + 2).map(|part| part.replace("$$", "$")).collect();
    (parts.len() <= MAX_OPEN_FIELDS + 1).then_some(())?;
    let behind = parts.split_off(1);
    Some(NamePattern { directory: directory.to_owned(), begins: parts.pop()?, behind })
}

fn attribute(attributes: &str, name: &str) -> Option<String> {
    let found = ATTRIBUTE.as_ref()?.captures_iter(attributes).find(|a| &a[1] == name)?;
    found.get(2).or_else(|| found.get(3)).map(|m| unescape(m.as_str()))
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

/// An `xs:duration` of hours, minutes and seconds, milliseconds.
fn duration_ms(text: &str) -> Option<i64> {
    let found = DURATION.as_ref()?.captures(text)?;
    let number = |at: usize| found.get(at).and_then(|m| m.as_str().parse::<f64>().ok()).unwrap_or(0.0);
    Some(whole_ms(number(1).mul_add(3600.0, number(2).mul_add(60.0, number(3))))).filter(|ms| *ms > 0)
}

#[cfg(test)]
mod tests {
    use super::super::limits::MAX_NAMES;
    use super::*;

    fn parse(text: &str) -> Manifest {
        super::parse(text).unwrap()
    }

    fn refused(text: &str) -> u64 {
        super::parse(text).unwrap_err().limit
    }

    /// Five thousand representations and five thousand templates, each a few bytes: 25 million patterns.
    #[test]
    fn a_manifest_that_multiplies_is_refused() {
        let of = |count: usize, each: &dyn Fn(usize) -> String| (0..count).map(each).collect::<Vec<_>>().concat();
        let representation = |n| format!("<Representation id='{n}'>");
        let template = |n| format!("<SegmentTemplate media='{n}-$RepresentationID$-$Number$'>");
        let most = MAX_FILLED_NAMES as u64;
        assert_eq!(refused(&(of(5000, &representation) + &of(5000, &template))), most);
        assert_eq!(refused(&(of(65, &representation) + &of(64, &template))), most);
        assert_eq!(parse(&(of(64, &representation) + &of(64, &template))).patterns.len(), MAX_FILLED_NAMES);
        // The periods of a manifest say the same again and again.
        let repeated = of(3, &representation) + &of(3, &template);
        assert_eq!(parse(&repeated.repeat(5000)).patterns.len(), 9);
        assert_eq!(refused(&of(MAX_NAMES + 1, &|n| format!("<SegmentURL media='{n}'>"))), MAX_NAMES as u64);
        assert_eq!(refused(&of(MAX_NAMES + 1, &representation)), MAX_NAMES as u64);
    }

    #[test]
    fn a_name_that_grows_beyond_a_path_is_no_name() {
        let id = "x".repeat(4000);
        let twice = format!("<Representation id='{id}'><SegmentTemplate media='{}'>", "$RepresentationID$".repeat(2));
        let many = format!("<Representation id='{id}'><SegmentTemplate media='{}'>", "$RepresentationID$".repeat(2000));
        let long = format!("<SegmentURL media='{}'/>", "x".repeat(MAX_NAME_BYTES + 1));
        for text in [twice, many, long] {
            let manifest = parse(&text);
            assert!(manifest.names.is_empty() && manifest.patterns.is_empty());
        }
    }

    #[test]
    fn numbers_match_as_they_can() {
        let pattern = |template: &str| open_pattern(template).unwrap();
        let both = pattern("a$Number$$Time$b1$SubNumber%03d$.m4s");
        for (name, matches) in [
            ("a12b13.m4s", true),
            ("a1b13.m4s", false),
            ("a12b1.m4s", false),
            ("a12b13.m4sx", false),
            ("a12b13m4s", false),
            ("a9999999999b1111.m4s", true),
            ("aü2b13.m4s", false),
        ] {
            assert_eq!(both.is_match(name), matches, "{name}");
        }
        assert!(pattern("$Number$").is_match("7") && !pattern("$Number$").is_match(""));
        assert!(pattern("7$Number$7").is_match("7777") && !pattern("7$Number$7").is_match("77"));
        assert!(open_pattern(&"$Number$".repeat(MAX_OPEN_FIELDS)).is_some());
        assert!(open_pattern(&"$Number$".repeat(MAX_OPEN_FIELDS + 1)).is_none());
    }

    const LIVE: &str = r#"<?xml version="1.0"?><MPD type="dynamic" maxSegmentDuration="PT2.5S" minimumUpdatePeriod="PT500S">
        <Period><AdaptationSet><Representation id="0" bandwidth="500">
        <SegmentTemplate timescale="1000" initialization="init-stream$RepresentationID$.m4s" media="chunk-stream$RepresentationID$-$Number%05d$.m4s" startNumber="1">
        </SegmentTemplate></Representation></AdaptationSet>
        <AdaptationSet><Representation id="1"/></AdaptationSet></Period></MPD>"#;

    #[test]
    fn templates_are_filled_for_each_representation_and_match_whole_names() {
        let manifest = parse(LIVE);
        assert!(!manifest.has_ended);
        assert_eq!(manifest.target_ms, 2500);
        assert_eq!(manifest.names, ["init-stream0.m4s", "init-stream1.m4s"]);
        let matches = |name: &str| manifest.patterns.iter().any(|p| p.is_match(name));
        assert!(matches("chunk-stream0-00001.m4s") && matches("chunk-stream1-123456.m4s"));
        assert!(!matches("chunk-stream10-00001.m4s") && !matches("xchunk-stream0-00001.m4s"));
    }

    #[test]
    fn a_static_manifest_with_whole_files_has_ended() {
        let manifest = parse(
            "<MPD><Period><Representation id='v'><BaseURL> video.mp4 </BaseURL></Representation>\
             <SegmentList><SegmentURL media=\"a&amp;b.m4s\"/><Initialization sourceURL='i.mp4'/></SegmentList></Period></MPD>",
        );
        assert!(manifest.has_ended);
        assert_eq!(manifest.names, ["a&b.m4s", "i.mp4", "video.mp4"]);
    }

    #[test]
    fn random_text_has_not_ended() {
        assert!(!parse("<<MP \0 $Number$ > <SegmentTemplate media=\"$Number\">").has_ended);
    }
}
