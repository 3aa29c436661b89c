//! Checks the `{field}` template of a subfolder before it reaches the room that fills it.
//!
//! Looks at shape and field names only; what a field matches is known where it is used.

/// Fields of `finish.recording_subfolder`.
const SUBFOLDER_FIELDS: [&str; 2] = ["stream", "date"];

/// Checks a subfolder: braces in pairs, known fields.
pub(super) fn check_subfolder(template: &str) -> Result<(), String> {
    fields(template, &SUBFOLDER_FIELDS).map(|_| ())
}

fn fields<'a>(template: &'a str, known: &[&str]) -> Result<Vec<&'a str>, String> {
    let mut found = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let inside = rest[at..].strip_prefix('{').and_then(|r| r.split_once('}'));
        let (field, after) = inside.ok_or_else(|| format!("`{template}` has an unbalanced brace"))?;
        let name = field.split(':').next().unwrap_or_default();
        if !known.contains(&name) {
            return Err(format!("`{{{field}}}` is not a valid field: use {}", in_braces(known)));
        }
        found.push(name);
        rest = after;
    }
    Ok(found)
}

fn in_braces(names: &[&str]) -> String {
    names.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_template_is_taken() {
        assert_eq!(check_subfolder(""), Ok(()));
        assert_eq!(check_subfolder("{stream}/{date}"), Ok(()));
    }

    #[test]
    fn slips_are_named() {
        assert!(check_subfolder("{strem}").unwrap_err().contains("`{strem}`"));
        assert!(check_subfolder("{stream").unwrap_err().contains("brace"));
        assert!(check_subfolder("{vod_id}").unwrap_err().contains("{stream} {date}"));
    }
}
