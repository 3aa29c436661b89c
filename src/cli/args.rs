//! What can be typed: every command and option, once, for parsing, help, completions and the manual page.

mod batches;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::batches::{BatchCommand, Reprocess, WorkArgs};
use crate::printable::Printable;
use crate::recording::Shard;
use crate::recording::name::printable_text;

/// Finish, catalogue, deliver and free the recordings of live ingest servers.
#[derive(Debug, Parser)]
#[command(name = "aftercast", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Configuration file [default: ./config.toml, else /etc/aftercast/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "AFTERCAST_CONFIG")]
    pub config: Option<PathBuf>,

    /// Directory of the catalogue, the journal and the socket
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Print results as JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// Log more to standard error (-v info, -vv debug)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Print only errors to standard error
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads what was typed. An error shows it escaped: a pattern of the shell may have put the name of any file there.
    pub fn read(typed: &[OsString]) -> Result<Self, clap::Error> {
        Self::try_parse_from(typed).map_err(|error| {
            let escaped = typed.iter().map(|arg| printable_text(&arg.to_string_lossy()));
            let as_shown = Self::try_parse_from(escaped).err();
            as_shown.unwrap_or_else(|| clap::Error::raw(error.kind(), Printable(&error)))
        })
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the configured directories and process every recording
    Watch(WatchArgs),
    /// Process every recording in these paths that is no longer being written, once
    Process(ProcessArgs),
    /// Like process, but treat temporary names as orphaned immediately
    Recover(RecoverArgs),
    /// Show the contents of a file, its defects and the planned action
    Inspect(InspectArgs),
    /// List, show, delete or export the catalogue's VoDs
    #[command(subcommand)]
    Vod(VodCommand),
    /// Show or retry pending deliveries and failures
    #[command(subcommand)]
    Queue(QueueCommand),
    /// List or follow what happened, or send it to a webhook or command again
    #[command(subcommand)]
    Events(EventsCommand),
    /// Show whether a stream is being recorded, or switch that at its ingest server
    #[command(subcommand)]
    Stream(StreamCommand),
    /// Have the daemon scan its roots now, and show what it found
    Rescan(RescanArgs),
    /// Take over the root of a node that is not running: its disk is now on this node
    Adopt(AdoptArgs),
    /// Free local files that are delivered and proven, by the configured policy
    Retain(RetainArgs),
    /// Rebuild or check the catalogue
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Start a batch over an archive that several nodes work off, and show or change batches
    #[command(subcommand)]
    Batch(BatchCommand),
    /// Take work from batches until told to stop; start as many processes as wanted
    Work(WorkArgs),
    /// Open the daemon's page in a browser, logged in, or print the link
    Open(OpenArgs),
    /// Ask the running daemon whether it is ready and what it is doing
    Status,
    /// Check directories, permissions, leases, disk, FFmpeg, ingest servers and every target
    Doctor,
    /// Check, print or import the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Find ingest servers, propose a configuration and write it: the first run
    Setup(SetupArgs),
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man {
        /// Write a page for each command to this directory instead
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
}

/// Options of `open`.
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// Print the link even if a browser could be opened
    #[arg(short, long)]
    pub print: bool,
}

/// Options of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Print what would be done with the existing files, and exit
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Options of `process` and `recover`.
#[derive(Debug, Args, Clone)]
pub struct ProcessArgs {
    /// Recordings, or directories of recordings; or one s3://, az:// or gs:// URL of recordings in a bucket
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Print what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Wait until everything is delivered
    #[arg(long)]
    pub wait: bool,

    /// Also process recordings that were quarantined, left out or failed, and validate finished ones again
    #[arg(long)]
    pub again: bool,

    /// Ingest server whose file names are read
    #[arg(long, value_name = "SERVER")]
    pub server: Option<String>,

    /// File name template, such as `{stream}/{start:%Y-%m-%d_%H-%M-%S}.{ext}`
    #[arg(long, value_name = "TEMPLATE")]
    pub template: Option<String>,

    /// The stream id of every recording
    #[arg(long, value_name = "ID")]
    pub stream: Option<String>,

    /// Upload to this URL (s3://, az://, gs://, file://) instead of the configured targets
    #[arg(long, value_name = "URL")]
    pub target: Vec<String>,

    /// Process only part i of n of the recordings, such as 1/8
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
}

/// Options of `recover`.
#[derive(Debug, Args, Clone)]
pub struct RecoverArgs {
    /// What `process` takes too
    #[command(flatten)]
    pub process: ProcessArgs,

    /// An intact recording of the same stream, for a single FILE
    #[arg(long, value_name = "GOOD", requires = "output")]
    pub reference: Option<PathBuf>,

    /// Write the result for a single FILE here, without the catalogue; FILE is not changed
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["dry_run", "wait", "again", "target", "shard"])]
    pub output: Option<PathBuf>,

    /// Undo finishing in place: restore the recording and remove its VoD from the catalogue
    #[arg(long, conflicts_with_all = ["dry_run", "again", "wait", "output", "shard"])]
    pub undo: bool,
}

/// Options of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The file
    pub file: PathBuf,
}

/// Commands on VoDs.
#[derive(Debug, Subcommand)]
pub enum VodCommand {
    /// List VoDs, newest first
    List {
        /// Only this stream
        #[arg(long, value_name = "ID")]
        stream: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
        /// Continue after the cursor printed by the previous page
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        /// Oldest first
        #[arg(long)]
        oldest_first: bool,
        /// Only the VoDs of this node, by name or id; `this`: of the node that is asked. Default: all nodes that share a database
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
    },
    /// Show one VoD
    Show {
        /// Id of the VoD
        id: String,
    },
    /// Delete VoDs: the record, the local file, and exactly the objects listed in the record
    Delete {
        /// Ids of the VoDs
        #[arg(required = true)]
        ids: Vec<String>,
        /// Delete; without it, only print what would be deleted
        #[arg(long)]
        yes: bool,
        /// Keep the local file
        #[arg(long)]
        keep_file: bool,
        /// Keep the objects in the stores
        #[arg(long)]
        keep_objects: bool,
    },
    /// Compare the objects listed in the records with what the stores report
    Verify {
        /// Only these VoDs
        ids: Vec<String>,
        /// Download the objects and compare their contents
        #[arg(long)]
        download: bool,
        /// Only a sample of the VoDs, a different one every day, such as 5%
        #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "ids")]
        sample: Option<f64>,
    },
    /// Write all VoDs to standard output
    Export {
        /// Output format
        #[arg(long, value_enum, default_value_t = ExportFormat::Json)]
        format: ExportFormat,
    },
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').parse::<f64>().ok();
    number.filter(|n| *n > 0.0 && *n <= 100.0).ok_or_else(|| "percentage above 0 and up to 100, such as 5%".to_owned())
}

/// Form of an export.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ExportFormat {
    /// One JSON object per line
    Json,
    /// Comma-separated values with a header line
    Csv,
}

/// Commands on what waits.
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List pending deliveries, failures and quarantined recordings
    List {
        /// Include finished deliveries
        #[arg(long)]
        all: bool,
    },
    /// Retry now
    Retry {
        /// Delivery ids, or paths of delivered files; every pending delivery if none is given
        ids: Vec<String>,
    },
    /// List abandoned uploads in the stores, below the configured prefixes, and abort them with --yes
    Gc {
        /// Abort them; without it, only list them
        #[arg(long)]
        yes: bool,
    },
}

/// Commands on the event log.
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// List events, the oldest first
    List {
        /// Only events after this number
        #[arg(long, default_value_t = 0, value_name = "NUMBER")]
        after: u64,
        /// At most this many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
        /// Only these types, such as `recording.*`
        #[arg(long = "type", value_name = "PATTERN")]
        types: Vec<String>,
        /// Only these streams, such as `court-*`
        #[arg(long = "stream", value_name = "PATTERN")]
        streams: Vec<String>,
    },
    /// Print events as they come, until interrupted
    Tail {
        /// Begin with the events after this number; 0: with the oldest
        #[arg(long, value_name = "NUMBER")]
        after: Option<u64>,
        /// Only these types, such as `recording.*`
        #[arg(long = "type", value_name = "PATTERN")]
        types: Vec<String>,
        /// Only these streams, such as `court-*`
        #[arg(long = "stream", value_name = "PATTERN")]
        streams: Vec<String>,
    },
    /// Send events to a webhook or command again
    Replay {
        /// Its name: webhook/NAME, command/NAME or NAME
        endpoint: String,
        /// Number of the first event to send
        #[arg(long, value_name = "NUMBER")]
        from: u64,
    },
}

/// Commands on live streams.
#[derive(Debug, Subcommand)]
pub enum StreamCommand {
    /// Show whether a stream is being recorded; with on or off: tell its ingest server
    Recording {
        /// Id of the stream
        stream: String,
        /// What to tell the ingest server
        switch: Option<Switch>,
        /// Only this root; needed to switch if several have `control`
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// Container that Ant Media Server records into: mp4 or webm
        #[arg(long, value_name = "FORMAT", requires = "switch")]
        format: Option<String>,
    },
    /// Learn from an intact recording how a stream is coded; quarantined recordings that lack that are tried again
    Reference {
        /// Id of the stream
        stream: String,
        /// An intact recording that the same encoder made of the stream
        #[arg(value_name = "GOOD")]
        file: PathBuf,
    },
}

/// What an ingest server is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Record the stream
    On,
    /// Stop recording the stream
    Off,
}

/// Options of `rescan`.
#[derive(Debug, Args)]
pub struct RescanArgs {
    /// A configured root; all if none is given
    pub root: Option<PathBuf>,
}

/// Options of `adopt`.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// A configured root of this node that was another node's
    #[arg(value_name = "DIR")]
    pub root: PathBuf,

    /// Adopt it; without it, only show to which node it belongs
    #[arg(long)]
    pub yes: bool,
}

/// Options of `retain`.
#[derive(Debug, Args)]
pub struct RetainArgs {
    /// Print the plan with reasons, and free nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Commands on the catalogue.
#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Rebuild the records of finished files from the files on disk, and of freed files from the targets
    Rebuild {
        /// Directories; the configured roots if none is given
        paths: Vec<PathBuf>,
        /// Do not query the targets for their objects
        #[arg(long)]
        no_stores: bool,
    },
    /// Compare the index with the records, and repair it
    Check,
}

/// Commands on the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration and report every problem
    Check,
    /// Print every key, its value and where the value came from
    Print,
    /// Create a configuration from Ant Media's red5-web.properties
    ImportAntmedia {
        /// The properties file
        file: PathBuf,
    },
    /// Create a configuration from MediaMTX's mediamtx.yml
    ImportMediamtx(ImportArgs),
    /// Create a configuration from SRS's configuration (dvr)
    ImportSrs(ImportArgs),
    /// Create a configuration from nginx.conf (record of the RTMP module)
    ImportNginxRtmp(ImportArgs),
    /// Create a configuration from OvenMediaEngine's Server.xml (FILE publishers)
    ImportOme(ImportArgs),
    /// Create a configuration from LiveKit egress's YAML
    ImportLivekit(ImportArgs),
}

/// Options of `config import-…`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The server's configuration [default: that of the running server, else the installed one]
    pub file: Option<PathBuf>,
}

/// Options of `setup`.
#[derive(Debug, Args, Default)]
pub struct SetupArgs {
    /// Take the proposal without questions
    #[arg(short, long)]
    pub yes: bool,

    /// Print what would be written, and write nothing
    #[arg(short = 'n', long, conflicts_with = "yes")]
    pub dry_run: bool,

    /// Directory of recordings, instead of those that are found; may be repeated
    #[arg(long, value_name = "DIR")]
    pub root: Vec<PathBuf>,

    /// Ingest server that writes there, or the only one to look for
    #[arg(long, value_name = "SERVER")]
    pub server: Option<String>,

    /// Upload to this URL (s3://, az://, gs://, file://)
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,

    /// Endpoint of an S3-compatible store
    #[arg(long, value_name = "URL", requires = "target")]
    pub endpoint: Option<String>,

    /// Region of the bucket
    #[arg(long, value_name = "REGION", requires = "target")]
    pub region: Option<String>,

    /// File with a credential, such as `access_key_id_file=/etc/aftercast/key-id`, or `…=env:NAME`; may be repeated
    #[arg(long, value_name = "NAME=FILE", requires = "target")]
    pub credential_file: Vec<String>,

    /// Group that owns the recordings, for the commands that come next
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
}
