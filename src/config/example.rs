//! The table of keys as text: `config.toml.example` and the tables of `docs/configuration.md`.
//!
//! Tests compare both files with this, so that neither can say what the code does not do.

use std::fmt::Write as _;

use super::keys::{Key, Section, keys};

const HEAD: &str = "\
# aftercast: every key with its default, its type and a short description.
#
# Read from `--config FILE`, else AFTERCAST_CONFIG, else ./config.toml, else /etc/aftercast/config.toml.
# Every key can be set in the environment, too: watch.quiet is AFTERCAST_WATCH__QUIET, the url of the first target is
# AFTERCAST_DELIVER__TARGET__0__URL. Flag > environment > file > default; `aftercast config print` shows the values in
# force and where they came from, `aftercast config check` checks without starting anything.
#
# A line that begins with `#` and no space is an example, not the default. Secrets do not belong in this file.
";

const WIDTH: usize = 110;

/// The text of `config.toml.example`.
pub fn example() -> String {
    let mut text = HEAD.to_owned();
    for section in Section::ALL {
        text.push_str(&opening(section));
        for key in keys().filter(|key| key.section == section) {
            let _ = write!(text, "\n{}{}\n", comment(&prose(key)), line(key));
        }
    }
    text
}

fn opening(section: Section) -> String {
    let about = comment(about(section));
    match section {
        Section::Top => String::new(),
        _ if section.is_repeated() => format!("\n{about}#{}\n", section.header()),
        _ => format!("\n{about}{}\n", section.header()),
    }
}

/// What a section is for.
fn about(section: Section) -> &'static str {
    match section {
        Section::Top => "Above the first section.",
        Section::Watch => "Finding recordings that are no longer being written.",
        Section::Root => "One directory with its own server or template. Replaces `roots`; may be repeated.",
        Section::Finish => "Making a finished file from each recording.",
        Section::Pictures => "Pictures of finished recordings, made by a process with limits after everything else.",
        Section::Deliver => "Uploading.",
        Section::Target => {
            "One store; may be repeated. Credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, their Azure and \
             Google equivalents, the cloud's own credential chain, or credential_files."
        }
        Section::Retain => "Freeing local disk space. Needs a target with `required = true`.",
        Section::Archive => "Recordings that lie in a bucket: `aftercast process s3://bucket/prefix`.",
        Section::Events => "Event log of recordings, deliveries and targets.",
        Section::Serve => {
            "The HTTP interface of `aftercast watch`. Reading needs no token on a loopback address; changing something always needs one."
        }
        Section::Announce => "Telling others of events; at least once, and in order for each recording.",
        Section::Webhook => "One receiver of HTTP requests; as often as needed.",
        Section::Command => {
            "One command that is run for events; as often as needed. It gets the event as JSON on standard input."
        }
        Section::Fleet => {
            "Several nodes with one list of VoDs. Nothing of it is used without `database`. A change needs a restart."
        }
    }
}

fn prose(key: &Key) -> String {
    let kind = format!("({})", key.unit);
    match (key.default, key.example) {
        (Some(_), example) if !example.is_empty() => format!("{} {kind} For example: {example}", key.why),
        _ => format!("{} {kind}", key.why),
    }
}

/// Comment lines of at most [`WIDTH`] columns.
fn comment(prose: &str) -> String {
    let mut text = String::from("#");
    let mut used = 1;
    for word in prose.split(' ') {
        if used + word.chars().count() >= WIDTH {
            text.push_str("\n#");
            used = 1;
        }
        text.extend([" ", word]);
        used += 1 + word.chars().count();
    }
    text + "\n"
}

fn line(key: &Key) -> String {
    let value = key.default.unwrap_or(key.example);
    let is_set = key.default.is_some() && !key.section.is_repeated();
    format!("{}{} = {value}", if is_set { "" } else { "#" }, key.name)
}

/// The tables of `docs/configuration.md`, one per section.
pub fn reference() -> String {
    Section::ALL.into_iter().map(reference_of).collect::<Vec<_>>().join("\n")
}

fn reference_of(section: Section) -> String {
    let title = match section {
        Section::Top => "Above the first section".to_owned(),
        _ => format!("`{}`", section.header()),
    };
    let about = if section == Section::Top { String::new() } else { format!("{}\n\n", about(section)) };
    let head = "| key | value | default | description |\n|---|---|---|---|\n";
    let rows: String = keys().filter(|key| key.section == section).map(row).collect();
    format!("### {title}\n\n{about}{head}{rows}")
}

fn row(key: &Key) -> String {
    let aliases: String = key.aliases.iter().flat_map(|alias| [", `", alias, "`"]).collect();
    let default = key.default.map_or_else(|| "not set".to_owned(), |default| format!("`{default}`"));
    let wants = key.wants.replace('|', "\\|");
    format!("| `{}`{aliases} | {wants} | {default} | {} |\n", key.name, key.why.replace('|', "\\|"))
}
