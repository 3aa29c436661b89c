//! Which events an endpoint wants.

use wildmatch::WildMatch;

use super::options::{BodyFormat, EndpointOptions};
use crate::recording::Event;

/// What an endpoint wants, ready to be compared.
#[derive(Debug)]
pub(super) struct EventFilter {
    types: Vec<WildMatch>,
    /// All, those of no stream too, if empty.
    streams: Vec<WildMatch>,
    is_of_vods: bool,
}

impl EventFilter {
    pub fn of(means: &EndpointOptions) -> Self {
        let is_of_vods = matches!(means, EndpointOptions::Webhook(webhook) if webhook.format == BodyFormat::AntMedia);
        Self {
            types: means.types().into_iter().map(WildMatch::new).collect(),
            streams: means.streams().iter().map(|pattern| WildMatch::new(pattern)).collect(),
            is_of_vods,
        }
    }

    pub fn wants(&self, event: &Event) -> bool {
        let has = |patterns: &[WildMatch], text: &str| patterns.iter().any(|pattern| pattern.matches(text));
        let is_of_stream = || event.stream_id().is_some_and(|stream| has(&self.streams, stream));
        (!self.is_of_vods || event.vod().is_some())
            && has(&self.types, event.name())
            && (self.streams.is_empty() || is_of_stream())
    }
}

/// Whether a text is like one of some patterns with `*` and `?`; anything is, where there are none.
pub fn is_like<S: AsRef<str>>(text: &str, patterns: &[S]) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| WildMatch::new(pattern.as_ref()).matches(text))
}

#[cfg(test)]
mod tests {
    use super::super::options::{CommandOptions, WebhookOptions};
    use super::*;

    fn about(stream_id: &str) -> Event {
        let key = "k".to_owned();
        let recording =
            crate::recording::RecordingFacts { key, stream_id: stream_id.to_owned(), path: "/srv/x.mp4".into() };
        Event::Quarantined { recording, defects: Vec::new() }
    }

    #[test]
    fn types_and_streams_are_compared_with_patterns() {
        let paused = Event::TargetResumed { target: "a".into() };
        let mut command = CommandOptions::new("c", vec!["/bin/true".into()]);
        let wants = |command: &CommandOptions, event: &Event| {
            EventFilter::of(&EndpointOptions::Command(command.clone())).wants(event)
        };
        assert!(wants(&command, &about("room1")) && !wants(&command, &paused), "what is sent by default");
        command.types = vec!["recording.*".into(), "target.resumed".into()];
        assert!(wants(&command, &about("room1")) && wants(&command, &paused));
        command.streams = vec!["room?".into(), "court*".into()];
        let wanted = ["room1", "room12", "court-7", ""].map(|stream| wants(&command, &about(stream)));
        assert_eq!(wanted, [true, false, true, false]);
        assert!(!wants(&command, &paused), "it is of no stream");
    }

    #[test]
    fn vod_ready_tells_of_vods_alone() {
        let mut webhook = WebhookOptions::new("a", "http://localhost");
        (webhook.format, webhook.types) = (BodyFormat::AntMedia, vec!["*".into()]);
        assert!(!EventFilter::of(&EndpointOptions::Webhook(webhook)).wants(&about("room1")));
    }
}
