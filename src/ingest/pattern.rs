//! The names that a server gives to its recordings, in one form for all servers: text, the stream, and parts of a time.

use std::path::PathBuf;

/// One piece of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it is; may hold `/`.
    Text(String),
    /// The name of the stream.
    Stream,
    /// A part of the time of the start.
    Start(Time),
    /// Something else without `/`, with an example of it: the application, a random id, the time of the end.
    Any(&'static str),
}

/// A part of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// `2026`
    Year,
    /// `26`
    ShortYear,
    /// `03`
    Month,
    /// `Mar`
    MonthName,
    /// `04`
    Day,
    /// `14`
    Hour,
    /// `30`
    Minute,
    /// `15`
    Second,
    /// `123456` or `123`: a fraction of a second, with this many digits.
    Fraction(u8),
    /// Seconds since the Unix epoch.
    Epoch,
    /// Milliseconds since the Unix epoch.
    EpochMs,
    /// `+0000`
    Offset,
}

/// 2026-03-04 14:30:15.123456 UTC, the time of every example.
pub const EXAMPLE_START_MS: i64 = 1_772_634_615_123;
/// The stream of every example.
pub const EXAMPLE_STREAM: &str = "room1";

impl Time {
    /// An example of it.
    pub fn example(self) -> String {
        match self {
            Self::Year => "2026".into(),
            Self::ShortYear => "26".into(),
            Self::Month => "03".into(),
            Self::MonthName => "Mar".into(),
            Self::Day => "04".into(),
            Self::Hour => "14".into(),
            Self::Minute => "30".into(),
            Self::Second => "15".into(),
            Self::Fraction(digits) => "123456"[..usize::from(digits.clamp(1, 6))].into(),
            Self::Epoch => (EXAMPLE_START_MS / 1000).to_string(),
            Self::EpochMs => EXAMPLE_START_MS.to_string(),
            Self::Offset => "+0000".into(),
        }
    }

    /// The letter of `{start:…}` in a name template.
    const fn letter(self) -> char {
        match self {
            Self::Year => 'Y',
            Self::ShortYear => 'y',
            Self::Month => 'm',
            Self::MonthName => 'b',
            Self::Day => 'd',
            Self::Hour => 'H',
            Self::Minute => 'M',
            Self::Second => 'S',
            Self::Fraction(_) => 'f',
            Self::Epoch | Self::EpochMs => 's',
            Self::Offset => 'z',
        }
    }
}

/// The names below a directory, with their extension.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pattern(pub Vec<Piece>);

impl Pattern {
    /// Adds text, to the text before it if there is some.
    pub fn push_text(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(before)) => before.push_str(text),
            _ => self.0.push(Piece::Text(text.to_owned())),
        }
    }

    /// Adds any piece.
    pub fn push(&mut self, piece: Piece) {
        match piece {
            Piece::Text(text) => self.push_text(&text),
            other => self.0.push(other),
        }
    }

    /// Cuts a whole path into the directory that it certainly lies in, and the names below that.
    pub fn split(mut self) -> (PathBuf, Self) {
        let (directory, rest) = match self.0.first() {
            Some(Piece::Text(text)) => {
                let cut = text.rfind('/').map_or(0, |at| at + 1);
                (text[..cut].to_owned(), text[cut..].to_owned())
            }
            _ => return (PathBuf::from("."), self),
        };
        self.0.remove(0);
        let mut below = Self::default();
        below.push_text(&rest);
        below.0.append(&mut self.0);
        let directory = if directory.is_empty() { "." } else { &directory };
        (PathBuf::from(directory), below)
    }

    /// A name of this pattern, with the stream and the time of every example.
    pub fn example(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Stream => EXAMPLE_STREAM.to_owned(),
            Piece::Start(time) => time.example(),
            Piece::Any(example) => (*example).to_owned(),
        };
        self.0.iter().map(piece).collect()
    }

    /// Whether the time of the start can be told from a name.
    pub fn has_start(&self) -> bool {
        let has = |any: &[Time]| any.iter().any(|time| self.0.contains(&Piece::Start(*time)));
        has(&[Time::Epoch, Time::EpochMs])
            || (has(&[Time::Year, Time::ShortYear]) && has(&[Time::Month, Time::MonthName]) && has(&[Time::Day]))
    }

    /// The same as a name template of ours, without the extension. `None` if a template cannot say it.
    pub fn template(&self) -> Option<String> {
        let pieces = self.without_extension();
        let is_start = |piece: &Piece| matches!(piece, Piece::Start(_));
        let dated = self.has_start().then(|| pieces.iter().position(is_start)).flatten();
        let until = pieces.iter().rposition(is_start);
        let (mut template, mut has_stream) = (String::new(), false);
        for (n, piece) in pieces.iter().enumerate() {
            let inside = dated.zip(until).is_some_and(|(first, last)| (first..=last).contains(&n));
            if dated == Some(n) {
                template.push_str("{start:");
            }
            match piece {
                Piece::Text(text) if text.contains(['{', '}']) => return None,
                Piece::Text(text) if inside => template.push_str(&text.replace('%', "%%")),
                Piece::Text(text) => template.push_str(text),
                Piece::Start(time) if inside => template.extend(['%', time.letter()]),
                _ if inside => return None,
                Piece::Stream if !has_stream => {
                    has_stream = true;
                    template.push_str("{stream}");
                }
                Piece::Stream | Piece::Start(_) | Piece::Any(_) => template.push_str("{any}"),
            }
            if inside && until == Some(n) {
                template.push('}');
            }
        }
        Some(template)
    }

    fn without_extension(&self) -> Vec<Piece> {
        let mut pieces = self.0.clone();
        if let Some(Piece::Text(last)) = pieces.last_mut()
            && let Some(at) = last.rfind('.').filter(|at| !last[*at..].contains('/'))
        {
            last.truncate(at);
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn date(separator: &str) -> Vec<Piece> {
        vec![
            Piece::Start(Time::Year),
            text(separator),
            Piece::Start(Time::Month),
            text(separator),
            Piece::Start(Time::Day),
        ]
    }

    #[test]
    fn a_path_is_cut_behind_its_last_certain_directory() {
        let whole = Pattern(vec![text("/rec/live-"), Piece::Stream, text("/x.mp4")]);
        assert_eq!(whole.split(), ("/rec/".into(), Pattern(vec![text("live-"), Piece::Stream, text("/x.mp4")])));
        assert_eq!(Pattern(vec![Piece::Stream]).split().0, PathBuf::from("."));
        assert_eq!(Pattern(vec![text("x"), Piece::Stream]).split().0, PathBuf::from("."));
        assert_eq!(Pattern(vec![text("/rec/x.flv")]).split(), ("/rec/".into(), Pattern(vec![text("x.flv")])));
    }

    #[test]
    fn a_pattern_becomes_a_template_and_an_example() {
        let mut pieces = vec![Piece::Any("live"), text("/"), Piece::Stream, text("_")];
        pieces.extend(date("/"));
        pieces.extend([text(" 100%-"), Piece::Start(Time::Hour), text(".mp4")]);
        let pattern = Pattern(pieces);
        assert_eq!(pattern.template().as_deref(), Some("{any}/{stream}_{start:%Y/%m/%d 100%%-%H}"));
        assert_eq!(pattern.example(), "live/room1_2026/03/04 100%-14.mp4");
    }

    #[test]
    fn what_a_template_cannot_say_is_none() {
        let mut split = date("-");
        split.insert(1, Piece::Stream);
        assert_eq!(Pattern(split).template(), None, "the stream stands inside of the date");
        assert_eq!(Pattern(vec![text("{a}"), Piece::Stream]).template(), None);
        let undated = Pattern(vec![Piece::Stream, text("-"), Piece::Start(Time::Hour), text(".flv")]);
        assert_eq!(undated.template().as_deref(), Some("{stream}-{any}"));
    }
}
