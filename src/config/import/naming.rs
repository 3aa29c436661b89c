//! Whether the preset of a server reads the names that its configuration makes, and which template does where it does not.
//!
//! Nothing is assumed: an example of such a name is read by what would read the real ones, and the stream and the start must
//! come out.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::discover::{FragmentedPolicy, Namer, RootOptions, Server};
use crate::ingest::{EXAMPLE_START_MS, EXAMPLE_STREAM, Pattern, Piece, Time};

/// How names are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// By the preset of the server.
    Preset,
    /// By this template.
    Template(String),
    /// Not at all; an example of one.
    Unread(String),
}

/// How the names of a server are read whose configuration makes them so.
pub fn naming(server: Server, names: Option<&Pattern>) -> Naming {
    let Some(names) = names else { return Naming::Preset };
    if is_read(server, None, names) {
        return Naming::Preset;
    }
    match names.template().filter(|template| is_read(server, Some(template), names)) {
        Some(template) => Naming::Template(template),
        None => Naming::Unread(names.example()),
    }
}

fn is_read(server: Server, template: Option<&str>, names: &Pattern) -> bool {
    let root = RootOptions {
        path: PathBuf::from("/recordings"),
        server,
        template: template.map(str::to_owned),
        stream: None,
        fragmented: FragmentedPolicy::Auto,
        deliver_progressive: false,
        shared: false,
        first_right: false,
        app: None,
        control: crate::discover::ControlOptions::default(),
    };
    let Ok(reader) = Namer::new(&root, &[], TimeZone::UTC) else { return false };
    let read = reader.read(Path::new(&names.example()));
    let has_stream = names.0.contains(&Piece::Stream);
    let is_stream = !has_stream || read.facts.stream_id == EXAMPLE_STREAM;
    read.matched && is_stream && (!names.has_start() || is_start(names, read.facts.start_ms))
}

/// Whether a start is the example's, as exactly as the names say it.
fn is_start(names: &Pattern, start_ms: Option<i64>) -> bool {
    const DAY_MS: i64 = 86_400_000;
    let has = |time: Time| names.0.contains(&Piece::Start(time));
    let is_to_the_second = has(Time::Epoch) || has(Time::EpochMs) || (has(Time::Hour) && has(Time::Second));
    let unit_ms = if is_to_the_second { 1000 } else { DAY_MS };
    start_ms.is_some_and(|start_ms| start_ms.div_euclid(unit_ms) == EXAMPLE_START_MS.div_euclid(unit_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(pieces: &[Piece]) -> Pattern {
        let mut pattern = Pattern::default();
        for piece in pieces {
            pattern.push(piece.clone());
        }
        pattern
    }

    #[test]
    fn a_preset_reads_its_usual_names_and_a_template_the_others() {
        let text = |text: &str| Piece::Text(text.to_owned());
        let usual = pattern(&[Piece::Stream, text("-"), Piece::Start(Time::Epoch), text(".flv")]);
        assert_eq!(naming(Server::NginxRtmp, Some(&usual)), Naming::Preset);
        let own = pattern(&[
            Piece::Stream,
            text("_"),
            Piece::Start(Time::Year),
            Piece::Start(Time::Month),
            Piece::Start(Time::Day),
            text(".flv"),
        ]);
        assert_eq!(naming(Server::NginxRtmp, Some(&own)), Naming::Template("{stream}_{start:%Y%m%d}".into()));
        let split = pattern(&[
            Piece::Start(Time::Year),
            text("-"),
            Piece::Start(Time::Month),
            text("-"),
            Piece::Stream,
            text("-"),
            Piece::Start(Time::Day),
            text(".mp4"),
        ]);
        assert_eq!(naming(Server::MediaMtx, Some(&split)), Naming::Unread("2026-03-room1-04.mp4".into()));
        assert_eq!(naming(Server::LiveKit, None), Naming::Preset);
    }
}
