//! Finding a key by what was written, and the nearest one where nothing was meant by it.

use super::{Key, Section, keys};

/// The key with that canonical name in that section.
pub(in crate::config) fn find(section: Section, name: &str) -> Option<&'static Key> {
    keys().find(|key| key.section == section && key.name == name)
}

/// The key with that other spelling, whatever the case (an environment variable has none of its own).
pub(in crate::config) fn find_alias(spelling: &str) -> Option<&'static Key> {
    keys().find(|key| key.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(spelling)))
}

/// The section of that path.
pub(in crate::config) fn section_named(path: &str) -> Option<Section> {
    Section::ALL.into_iter().filter(|s| *s != Section::Top).find(|s| s.name() == path)
}

/// What was probably meant by an unknown key (or section), as a phrase to follow "unknown key; ".
pub(in crate::config) fn nearest(section: Section, spelled: &str, is_section: bool) -> Option<String> {
    let canonical = snake_case(spelled);
    if is_section {
        return closest(&canonical, inner_sections(section)).map(|header| format!("did you mean `{header}`?"));
    }
    let elsewhere = keys().find(|key| key.name == canonical || key.aliases.contains(&spelled));
    if let Some(key) = elsewhere.filter(|key| key.section != section) {
        return Some(format!("`{}` belongs {}", key.name, place(key.section)));
    }
    let here = keys().filter(|key| key.section == section).map(|key| (key.name, key.path()));
    let others = keys().filter(|key| key.section != section).map(|key| (key.name, key.path()));
    let aliases = keys().flat_map(|key| key.aliases.iter().map(|alias| (*alias, (*alias).to_owned())));
    let sections = inner_sections(section);
    let best = closest(&canonical, here.chain(sections)).or_else(|| closest(&canonical, others));
    best.or_else(|| closest(spelled, aliases)).map(|path| format!("did you mean `{path}`?"))
}

fn inner_sections(section: Section) -> impl Iterator<Item = (&'static str, String)> {
    let subsections = Section::ALL.into_iter().filter(move |s| match section {
        Section::Top => !s.name().is_empty() && !s.is_repeated(),
        Section::Watch => *s == Section::Root,
        Section::Deliver => *s == Section::Target,
        Section::Announce => matches!(s, Section::Webhook | Section::Command),
        _ => false,
    });
    subsections.map(|s| (s.name().rsplit('.').next().unwrap_or_default(), s.header()))
}

fn place(section: Section) -> String {
    match section {
        Section::Top => "above the first section".to_owned(),
        _ => format!("in `{}`", section.header()),
    }
}

fn closest(spelled: &str, candidates: impl Iterator<Item = (&'static str, String)>) -> Option<String> {
    let worst = 1 + spelled.chars().count() / 3;
    let with_distance = candidates.map(|(name, path)| (strsim::damerau_levenshtein(spelled, name), path));
    with_distance.filter(|(distance, _)| *distance <= worst).min_by_key(|(distance, _)| *distance).map(|(_, path)| path)
}

/// `orphanAfter`, `ORPHAN-AFTER` → `orphan_after`.
fn snake_case(spelled: &str) -> String {
    let is_shouted = !spelled.chars().any(char::is_lowercase);
    let mut name = String::with_capacity(spelled.len() + 4);
    for c in spelled.chars() {
        if c.is_uppercase() && !is_shouted && !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
        name.push(if c == '-' { '_' } else { c.to_ascii_lowercase() });
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(section: Section, spelled: &str) -> String {
        nearest(section, spelled, false).unwrap_or_default()
    }

    #[test]
    fn a_slip_finds_its_key() {
        assert_eq!(said(Section::Watch, "quite"), "did you mean `watch.quiet`?");
        assert_eq!(said(Section::Watch, "orphanAfter"), "did you mean `watch.orphan_after`?");
        assert_eq!(said(Section::Top, "wacth"), "did you mean `[watch]`?");
        assert_eq!(said(Section::Watch, "rots"), "did you mean `watch.roots`?");
        assert_eq!(said(Section::Target, "buckt"), "");
        assert_eq!(nearest(Section::Top, "nothing", true), None);
        assert_eq!(nearest(Section::Watch, "rooot", true).unwrap(), "did you mean `[[watch.root]]`?");
    }

    #[test]
    fn a_key_in_the_wrong_section_is_sent_to_its_own() {
        assert_eq!(said(Section::Top, "quiet"), "`quiet` belongs in `[watch]`");
        assert_eq!(said(Section::Watch, "state_dir"), "`state_dir` belongs above the first section");
        assert_eq!(said(Section::Deliver, "url"), "`url` belongs in `[[deliver.target]]`");
    }

    #[test]
    fn both_spellings_and_any_case_of_the_other_are_found() {
        assert_eq!(find_alias("mp4MuxingEnabled").unwrap().name, "mp4_muxing_enabled");
        assert_eq!(find_alias("MP4MUXINGENABLED").unwrap().name, "mp4_muxing_enabled");
        assert_eq!(find(Section::Finish, "mp4_muxing_enabled").unwrap().path(), "finish.mp4_muxing_enabled");
        assert!(find(Section::Watch, "mp4_muxing_enabled").is_none());
    }
}
