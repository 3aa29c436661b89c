//! What an operator says about endpoints.

use std::path::PathBuf;
use std::time::Duration;

/// The types that are sent where an endpoint names none.
pub const DEFAULT_TYPES: [&str; 8] = [
    "recording.finished",
    "recording.salvaged",
    "recording.quarantined",
    "vod.available",
    "vod.deleted",
    "delivery.failed",
    "target.paused",
    "local.freed",
];

/// The types that Ant Media's `vodReady` is sent for where an endpoint names none.
const READY_TYPES: [&str; 2] = ["recording.finished", "recording.salvaged"];

/// `[announce]` and its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnounceOptions {
    /// How long the freeing of a local file waits for endpoints that are to see it, from the event on. Default 24 h.
    pub hold: Duration,
    /// Each is sent events over HTTP.
    pub webhooks: Vec<WebhookOptions>,
    /// Each is run for events.
    pub commands: Vec<CommandOptions>,
}

impl Default for AnnounceOptions {
    fn default() -> Self {
        Self { hold: Duration::from_secs(24 * 3_600), webhooks: Vec::new(), commands: Vec::new() }
    }
}

/// How an event is written into the body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyFormat {
    /// The event as JSON.
    #[default]
    Json,
    /// The same as a form, inner names joined by dots.
    Form,
    /// Ant Media's `vodReady`.
    AntMedia,
}

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signature {
    /// Standard Webhooks: `webhook-signature: v1,…` over id, time and body.
    #[default]
    Standard,
    /// `X-Ams-Signature: sha256=…` over the body.
    Ams,
}

/// `[[announce.webhook]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookOptions {
    /// Its name; its place in the log is kept under it.
    pub name: String,
    /// Where to send; http or https.
    pub url: String,
    /// Types of events, with `*` and `?`; [`DEFAULT_TYPES`] if empty.
    pub types: Vec<String>,
    /// Ids of streams, with `*` and `?`; all if empty.
    pub streams: Vec<String>,
    /// Form of the body.
    pub format: BodyFormat,
    /// Whether `vodReady` has keys that Ant Media does not send.
    pub extra_keys: bool,
    /// How long a request may take.
    pub timeout: Duration,
    /// The file that holds the secret, or `env:NAME`; unsigned if none.
    pub secret_file: Option<PathBuf>,
    /// How it signs.
    pub signature: Signature,
}

impl WebhookOptions {
    /// With everything but name and URL at its default.
    pub fn new(name: &str, url: &str) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            types: Vec::new(),
            streams: Vec::new(),
            format: BodyFormat::Json,
            extra_keys: false,
            timeout: Duration::from_secs(10),
            secret_file: None,
            signature: Signature::Standard,
        }
    }
}

/// `[[announce.command]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOptions {
    /// Its name; its place in the log is kept under it.
    pub name: String,
    /// The program and its arguments; no shell reads them.
    pub command: Vec<String>,
    /// Types of events, with `*` and `?`; [`DEFAULT_TYPES`] if empty.
    pub types: Vec<String>,
    /// Ids of streams, with `*` and `?`; all if empty.
    pub streams: Vec<String>,
    /// How long a run may take.
    pub timeout: Duration,
    /// Runs at once.
    pub concurrency: usize,
}

impl CommandOptions {
    /// With everything but name and command at its default.
    pub fn new(name: &str, command: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            command,
            types: Vec::new(),
            streams: Vec::new(),
            timeout: Duration::from_secs(300),
            concurrency: 2,
        }
    }
}

/// Requests of a webhook under way at once, each for another recording.
const WEBHOOK_CONCURRENCY: usize = 8;

/// One endpoint of either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EndpointOptions {
    Webhook(WebhookOptions),
    Command(CommandOptions),
}

impl EndpointOptions {
    pub fn all(options: &AnnounceOptions) -> Vec<Self> {
        let webhooks = options.webhooks.iter().cloned().map(Self::Webhook);
        webhooks.chain(options.commands.iter().cloned().map(Self::Command)).collect()
    }

    /// Under which name its place in the log is kept.
    pub fn consumer(&self) -> String {
        match self {
            Self::Webhook(webhook) => format!("webhook/{}", webhook.name),
            Self::Command(command) => format!("command/{}", command.name),
        }
    }

    /// Whether a name of the kind of [`EndpointOptions::consumer`] was given.
    pub fn is_consumer(name: &str) -> bool {
        name.starts_with("webhook/") || name.starts_with("command/")
    }

    pub fn types(&self) -> Vec<&str> {
        let (named, is_ready) = match self {
            Self::Webhook(webhook) => (&webhook.types, webhook.format == BodyFormat::AntMedia),
            Self::Command(command) => (&command.types, false),
        };
        match (named.as_slice(), is_ready) {
            ([], true) => READY_TYPES.to_vec(),
            ([], false) => DEFAULT_TYPES.to_vec(),
            (named, _) => named.iter().map(String::as_str).collect(),
        }
    }

    pub fn streams(&self) -> &[String] {
        match self {
            Self::Webhook(webhook) => &webhook.streams,
            Self::Command(command) => &command.streams,
        }
    }

    pub const fn concurrency(&self) -> usize {
        match self {
            Self::Webhook(_) => WEBHOOK_CONCURRENCY,
            Self::Command(command) => command.concurrency,
        }
    }

    /// Whether it is to find the local file where the event says it is.
    pub fn sees_local_files(&self) -> bool {
        match self {
            Self::Webhook(webhook) => webhook.format == BodyFormat::AntMedia,
            Self::Command(_) => true,
        }
    }
}
