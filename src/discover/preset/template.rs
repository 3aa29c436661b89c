//! The free name template: `{stream}/{start:%Y-%m-%d_%H-%M-%S}_{part}.{ext}`, compiled to a regular expression.
//!
//! A template with a `/` is matched against the end of the path below the root, one without against the file name.
//! Without `{ext}` it is matched against the name without its extension.

use jiff::tz::{Offset, TimeZone};
use regex::{Captures, Regex};

use super::date::{self, DateParts};
use super::{NameInput, ParsedName};

/// A template that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A field that does not exist.
    #[error(
        "`{{{0}}}` is not a field: use {{stream}} {{start:%Y-%m-%d_%H-%M-%S}} {{part}} {{rendition}} {{ext}} {{any}}"
    )]
    UnknownField(String),
    /// A field that stands twice.
    #[error("`{{{0}}}` appears twice")]
    Twice(String),
    /// A brace without its partner.
    #[error("`{0}` has an unbalanced brace")]
    Unbalanced(String),
    /// A letter after `%` that is not read.
    #[error(
        "`%{0}` is not supported in {{start}}: use %Y %y %m %b %d %H %M %S %f (fraction) %s (Unix time) %z (offset)"
    )]
    UnknownDirective(char),
    /// A date that lacks year, month or day, and is no Unix time.
    #[error("`{0}` does not define a date: it needs %Y (or %y), %m (or %b) and %d, or %s")]
    NoDate(String),
    /// A template without any field.
    #[error("`{0}` has no field and would match only one name")]
    NoField(String),
    /// What it compiles to is refused.
    #[error("`{0}` is too long or nested too deeply")]
    TooLarge(String),
}

/// A compiled template.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pattern: Regex,
    is_path: bool,
    has_extension: bool,
}

const DEFAULT_START: &str = "%Y-%m-%d_%H-%M-%S";

/// Checks a name template without using it.
pub fn check_template(text: &str) -> Result<(), TemplateError> {
    Template::parse(text).map(|_| ())
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let unbalanced = || TemplateError::Unbalanced(text.to_owned());
        let (mut pattern, mut fields, mut rest) = (String::new(), Vec::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            pattern.push_str(&regex::escape(&rest[..at]));
            let (field, after) = rest[at..].strip_prefix('{').and_then(|r| r.split_once('}')).ok_or_else(unbalanced)?;
            if field.contains('{') {
                return Err(unbalanced());
            }
            let name = field.split(':').next().unwrap_or_default();
            if name != "any" && fields.contains(&name) {
                return Err(TemplateError::Twice(name.to_owned()));
            }
            fields.push(name);
            pattern.push_str(&field_pattern(field)?);
            rest = after;
        }
        pattern.push_str(&regex::escape(rest));
        if fields.is_empty() {
            return Err(TemplateError::NoField(text.to_owned()));
        }
        let start = if text.contains('/') { "(?:^|/)" } else { "^" };
        let pattern =
            super::pattern(&format!("{start}{pattern}$")).map_err(|_| TemplateError::TooLarge(text.to_owned()))?;
        Ok(Self { pattern, is_path: text.contains('/'), has_extension: fields.contains(&"ext") })
    }

    /// Reads a name; `base` is the file name without its temporary suffix.
    pub(super) fn read(&self, subject: NameInput<'_>, base: &str) -> Option<ParsedName> {
        let name = if self.has_extension { base } else { subject.stem };
        let path = format!("{}/{name}", subject.directory);
        let found = self.pattern.captures(if self.is_path { path.trim_start_matches('/') } else { name })?;
        let text = |group: &str| found.name(group).map(|m| m.as_str().to_owned());
        let start_ms = start_of(&found, subject.zone);
        // The digits fit but are no date (month 13): the name is not one of this template's.
        if start_ms.is_none() && (found.name("d").is_some() || found.name("s").is_some()) {
            return None;
        }
        let part = text("part").and_then(|n| n.parse().ok());
        Some(ParsedName { stream: text("stream"), start_ms, rendition: text("rendition"), part })
    }
}

fn field_pattern(field: &str) -> Result<String, TemplateError> {
    Ok(match field.split_once(':') {
        None => match field {
            "stream" => "(?P<stream>[^/]+?)".into(),
            "part" => r"(?P<part>\d+)".into(),
            "rendition" => "(?P<rendition>[A-Za-z0-9]+)".into(),
            "ext" => "(?P<ext>[A-Za-z0-9]+)".into(),
            "any" => "[^/]*?".into(),
            "start" => start_pattern(DEFAULT_START)?,
            other => return Err(TemplateError::UnknownField(other.to_owned())),
        },
        Some(("start", format)) => start_pattern(format)?,
        Some(_) => return Err(TemplateError::UnknownField(field.to_owned())),
    })
}

fn start_pattern(format: &str) -> Result<String, TemplateError> {
    let mut pattern = String::new();
    let mut seen = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            pattern.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
            continue;
        }
        let directive = chars.next().unwrap_or('%');
        if directive != '%' && seen.contains(directive) {
            return Err(TemplateError::Twice(format!("%{directive}")));
        }
        pattern.push_str(directive_pattern(directive)?);
        seen.push(directive);
    }
    let has = |any: &str| any.chars().any(|c| seen.contains(c));
    if has("s") || (has("Yy") && has("mb") && has("d")) {
        Ok(pattern)
    } else {
        Err(TemplateError::NoDate(format.into()))
    }
}

fn directive_pattern(directive: char) -> Result<&'static str, TemplateError> {
    Ok(match directive {
        'Y' => r"(?P<Y>\d{4})",
        'y' => r"(?P<y>\d{2})",
        'm' => r"(?P<m>\d{2})",
        'b' => "(?P<b>[A-Za-z]{3})",
        'd' => r"(?P<d>\d{2})",
        'H' => r"(?P<H>\d{2})",
        'M' => r"(?P<M>\d{2})",
        'S' => r"(?P<S>\d{2})",
        'f' => r"(?P<f>\d{1,9})",
        's' => r"(?P<s>\d{10}|\d{13})",
        'z' => r"(?P<z>Z|[+-]\d{2}:?\d{2})",
        '%' => "%",
        other => return Err(TemplateError::UnknownDirective(other)),
    })
}

fn start_of(found: &Captures<'_>, zone: &TimeZone) -> Option<i64> {
    if let Some(epoch) = found.name("s") {
        return date::epoch_ms(epoch.as_str());
    }
    let number = |group: &str| found.name(group)?.as_str().parse::<i16>().ok();
    let small = |group: &str| number(group).and_then(|n| i8::try_from(n).ok());
    let year = number("Y").or_else(|| number("y").map(|y| 2000 + y))?;
    let month = small("m").or_else(|| date::month_number(found.name("b")?.as_str()))?;
    let civil = DateParts {
        year,
        month,
        day: small("d")?,
        hour: small("H").unwrap_or(0),
        minute: small("M").unwrap_or(0),
        second: small("S").unwrap_or(0),
        milli: found.name("f").map_or(0, |f| date::fraction_ms(f.as_str())),
    };
    match found.name("z") {
        Some(offset) => civil.in_zone(&offset_zone(offset.as_str())?),
        None => civil.in_zone(zone),
    }
}

fn offset_zone(text: &str) -> Option<TimeZone> {
    if text == "Z" {
        return Some(TimeZone::UTC);
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let seconds = digits[..2].parse::<i32>().ok()? * 3600 + digits[2..].parse::<i32>().ok()? * 60;
    let sign = if text.starts_with('-') { -1 } else { 1 };
    Offset::from_seconds(sign * seconds).ok().map(TimeZone::fixed)
}
