//! Just enough of DASH manifests (ISO/IEC 23009-1): which files they name and whether they are static. No XML reader:
//! the few elements and attributes are found by pattern, which is all that deciding about names needs.

use std::sync::LazyLock;

use regex::Regex;

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
#[derive(Debug)]
pub(super) struct NamePattern {
    /// Directory below the manifest's, empty for its own.
    pub(super) directory: String,
    /// Matches the whole file name.
    pub(super) name: Regex,
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

/// Reads a manifest. Text that is none gives an empty one that has not ended.
pub(super) fn parse(text: &str) -> Manifest {
    let mut manifest =
        Manifest { names: Vec::new(), patterns: Vec::new(), has_ended: false, target_ms: DEFAULT_TARGET_MS };
    let (mut templates, mut representations) = (Vec::new(), Vec::new());
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
                representations.push((value("id").unwrap_or_default(), value("bandwidth").unwrap_or_default()));
            }
            "SegmentTemplate" => templates.extend([value("initialization"), value("media")].into_iter().flatten()),
            "SegmentURL" => manifest.names.extend(value("media")),
            _ => manifest.names.extend(value("sourceURL")),
        }
    }
    let bases = BASE_URL.as_ref().into_iter().flat_map(|b| b.captures_iter(text));
    manifest.names.extend(bases.map(|b| unescape(&b[1])).filter(|name| !name.is_empty() && !name.ends_with('/')));
    manifest.fill(&templates, &representations);
    manifest
}

impl Manifest {
    fn fill(&mut self, templates: &[String], representations: &[(String, String)]) {
        for template in templates {
            for (id, bandwidth) in representations {
                let filled = template.replace("$RepresentationID$", id).replace("$Bandwidth$", bandwidth);
                match open_pattern(&filled) {
                    Some(pattern) => self.patterns.push(pattern),
                    None => self.names.push(filled.replace("$$", "$")),
                }
            }
        }
        self.names.sort();
        self.names.dedup();
    }
}

/// The pattern of a template that has numbers or times in it; `None` where it names one file.
fn open_pattern(template: &str) -> Option<NamePattern> {
    let open = OPEN_FIELD.as_ref()?;
    if !open.is_match(template) || template.starts_with('/') || template.split('/').any(|part| part == "..") {
        return None;
    }
    let (directory, name) = template.rsplit_once('/').unwrap_or(("", template));
    let mut pattern = String::from("^");
    let mut at = 0;
    for field in open.find_iter(name) {
        pattern.push_str(&regex::escape(&name[at..field.start()].replace("$$", "$")));
        pattern.push_str(r"\d+");
        at = field.end();
    }
    pattern.push_str(&regex::escape(&name[at..].replace("$$", "$")));
    pattern.push('$');
    // Numbers in the directory's name would mean a directory per segment, which no server we know writes.
    (!open.is_match(directory)).then_some(())?;
    Some(NamePattern { directory: directory.to_owned(), name: Regex::new(&pattern).ok()? })
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
    use super::*;

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
        let matches = |name: &str| manifest.patterns.iter().any(|p| p.name.is_match(name));
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
