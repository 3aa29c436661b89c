//! What an operator can set about finding recordings.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of `[watch]`.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchOptions {
    /// Directories to watch, each with its own preset.
    pub roots: Vec<RootOptions>,
    /// How long a finished name must stay unchanged when its close was not seen. Default 5 s.
    pub settle: Duration,
    /// How long a file must stay unchanged when only weak evidence can be had. Default 120 s.
    pub quiet: Duration,
    /// How old a temporary name must be before it counts as orphaned while a server runs. Default 10 min.
    pub orphan_after: Duration,
    /// How recent a last write proves that the writer of a temporary name lives, whatever the process list says. Default
    /// 30 s.
    pub orphan_grace: Duration,
    /// Time between two full scans. Default 60 s.
    pub rescan: Duration,
    /// What is done with recordings that were there before the first start.
    pub existing: Existing,
    /// Suffixes that mark a file as temporary, besides the presets' own. Default `.tmp`, `.tmp_extension`.
    pub temporary_suffixes: Vec<String>,
    /// Whether to poll although notifications would work. Network file systems are polled anyway. Default false.
    pub poll: bool,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            settle: Duration::from_secs(5),
            quiet: Duration::from_secs(120),
            orphan_after: Duration::from_secs(600),
            orphan_grace: Duration::from_secs(30),
            rescan: Duration::from_secs(60),
            existing: Existing::All,
            temporary_suffixes: vec![".tmp".into(), ".tmp_extension".into()],
            poll: false,
        }
    }
}

/// One watched directory.
#[derive(Debug, Clone, PartialEq)]
pub struct RootOptions {
    /// The directory, absolute.
    pub path: PathBuf,
    /// Which ingest server writes there.
    pub server: Server,
    /// A name template such as `{stream}/{start:%Y-%m-%d_%H-%M-%S}_{part}.{ext}`; overrides the preset's.
    pub template: Option<String>,
    /// A stream id that holds for every file (`--stream`).
    pub stream: Option<String>,
    /// What becomes of fragmented MP4.
    pub fragmented: FragmentedPolicy,
    /// Whether fragmented MP4 that is kept is uploaded as progressive MP4.
    pub deliver_progressive: bool,
    /// Whether several nodes work on it, each recording once.
    pub shared: bool,
    /// Whether this node runs beside the ingest server that records into a shared root, and sees all of its writers.
    pub first_right: bool,
    /// Its application in the Ant Media API, where it is named.
    pub app: Option<String>,
    /// How its ingest server is told to record.
    pub control: ControlOptions,
}

/// Where an ingest server takes commands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ControlOptions {
    /// Base URL of its control interface, http or https; none where it is never asked.
    pub url: Option<String>,
    /// The file that holds the credentials for it, or `env:NAME`.
    pub credentials_file: Option<PathBuf>,
}

impl RootOptions {
    /// The name of its application: the one that is set, else the directory before `streams`, else its own name.
    pub fn application(&self) -> String {
        if let Some(app) = &self.app {
            return app.clone();
        }
        let names: Vec<_> = self.path.iter().map(|name| name.to_string_lossy()).filter(|name| name != "/").collect();
        let streams = names.iter().rposition(|name| name == STREAMS).filter(|at| *at > 0);
        let name = streams.map_or_else(|| names.last(), |at| names.get(at - 1));
        name.map_or_else(|| "root".to_owned(), ToString::to_string)
    }
}

/// The directory in which Ant Media's applications record.
const STREAMS: &str = "streams";

/// What becomes of fragmented MP4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FragmentedPolicy {
    /// Kept where the server that wrote it may read the fragments again; else progressive.
    #[default]
    Auto,
    /// Checked, catalogued and delivered as it is; never changed.
    Keep,
    /// One header in front of all fragments.
    Progressive,
}

impl FragmentedPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Keep, Self::Progressive];

    /// The name in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Keep => "keep",
            Self::Progressive => "progressive",
        }
    }
}

/// The ingest server whose names are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Server {
    /// Found out from the names and files that are there; the choice and its reason are printed.
    #[default]
    Auto,
    /// Ant Media Server.
    AntMedia,
    /// `MediaMTX`.
    MediaMtx,
    /// SRS.
    Srs,
    /// `OvenMediaEngine`.
    Ome,
    /// nginx with the RTMP module.
    NginxRtmp,
    /// `LiveKit` egress.
    LiveKit,
    /// OBS Studio.
    Obs,
}

impl Server {
    /// All of them, `auto` first.
    pub const ALL: [Self; 8] =
        [Self::Auto, Self::AntMedia, Self::MediaMtx, Self::Srs, Self::Ome, Self::NginxRtmp, Self::LiveKit, Self::Obs];

    /// The name in configuration and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::AntMedia => "antmedia",
            Self::MediaMtx => "mediamtx",
            Self::Srs => "srs",
            Self::Ome => "ome",
            Self::NginxRtmp => "nginx-rtmp",
            Self::LiveKit => "livekit",
            Self::Obs => "obs",
        }
    }

    /// The name of the product.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Auto => "unknown server",
            Self::AntMedia => "Ant Media Server",
            Self::MediaMtx => "MediaMTX",
            Self::Srs => "SRS",
            Self::Ome => "OvenMediaEngine",
            Self::NginxRtmp => "nginx-rtmp",
            Self::LiveKit => "LiveKit egress",
            Self::Obs => "OBS Studio",
        }
    }

    /// The server of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

/// What is done with recordings that were there before the first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Everything is taken.
    #[default]
    All,
    /// Only temporary names are taken.
    Orphans,
    /// Nothing is taken.
    None,
    /// What was modified at or after this time is taken, milliseconds since the Unix epoch.
    Since(i64),
}
