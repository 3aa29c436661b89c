//! What can be typed: every command and option, once, for parsing, help, completions and the manual page.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::printable::Printable;
use crate::recording::name::printable_text;

/// Finishes, catalogues, delivers and frees the recordings that live ingest servers leave behind.
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

    /// Say more on standard error (-v info, -vv debug)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Say nothing on standard error but errors
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
    /// Watch the configured directories and take every recording to its end
    Watch(WatchArgs),
    /// Take every finished recording in these paths to its end, once
    Process(ProcessArgs),
    /// Like process, but take temporary names as orphaned at once
    Recover(RecoverArgs),
    /// Show what a file holds, what is wrong with it and what would be done
    Inspect(InspectArgs),
    /// List, show, delete or export the catalogue's VoDs
    #[command(subcommand)]
    Vod(VodCommand),
    /// Show or retry what waits for delivery or failed
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Free local files that are delivered and proven, by the configured policy
    Retain(RetainArgs),
    /// Look after the catalogue itself
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Check directories, permissions, leases, disk, FFmpeg and every target
    Doctor,
    /// Check, print or import the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Options of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Print what would be done with what is there now, and stop
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Options of `process` and `recover`.
#[derive(Debug, Args, Clone)]
pub struct ProcessArgs {
    /// Recordings, or directories of recordings
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Print what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Stay until everything is delivered
    #[arg(long)]
    pub wait: bool,

    /// Also take what was quarantined, left out or has failed before, and validate what is finished again
    #[arg(long)]
    pub again: bool,

    /// The ingest server whose names are read
    #[arg(long, value_name = "SERVER")]
    pub server: Option<String>,

    /// How names are read, such as `{stream}/{start:%Y-%m-%d_%H-%M-%S}.{ext}`
    #[arg(long, value_name = "TEMPLATE")]
    pub template: Option<String>,

    /// The stream id of every recording
    #[arg(long, value_name = "ID")]
    pub stream: Option<String>,

    /// Upload to this URL (s3://, az://, gs://, file://) instead of the configured targets
    #[arg(long, value_name = "URL")]
    pub target: Vec<String>,
}

/// Options of `recover`.
#[derive(Debug, Args, Clone)]
pub struct RecoverArgs {
    /// What `process` takes too
    #[command(flatten)]
    pub process: ProcessArgs,

    /// A sound recording of the same stream, for a single FILE
    #[arg(long, value_name = "GOOD", requires = "output")]
    pub reference: Option<PathBuf>,

    /// Write what a single FILE holds here, without the catalogue; FILE stays as it is
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["dry_run", "wait", "again", "target"])]
    pub output: Option<PathBuf>,

    /// Take back what was finished in place: the recording is what it was, and its VoD is no more
    #[arg(long, conflicts_with_all = ["dry_run", "again", "wait", "output"])]
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
        /// Go on after the place that the page before ended with
        #[arg(long, value_name = "PLACE")]
        after: Option<String>,
        /// Oldest first
        #[arg(long)]
        oldest_first: bool,
    },
    /// Show one VoD
    Show {
        /// Its id
        id: String,
    },
    /// Delete VoDs: the record, the local file, and exactly the objects the record names
    Delete {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
        /// Really delete
        #[arg(long)]
        yes: bool,
        /// Keep the local file
        #[arg(long)]
        keep_file: bool,
        /// Keep the objects in the stores
        #[arg(long)]
        keep_objects: bool,
    },
    /// Compare every object the records name with what the stores report
    Verify {
        /// Only these VoDs
        ids: Vec<String>,
        /// Read the objects and compare their bytes
        #[arg(long)]
        download: bool,
        /// Only a part of the VoDs, another one every day, such as 5%
        #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "ids")]
        sample: Option<f64>,
    },
    /// Write all VoDs to standard output
    Export {
        /// Form of the export
        #[arg(long, value_enum, default_value_t = ExportFormat::Json)]
        format: ExportFormat,
    },
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').parse::<f64>().ok();
    number.filter(|n| *n > 0.0 && *n <= 100.0).ok_or_else(|| "a share above 0 and up to 100 %, such as 5%".to_owned())
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
    /// List what waits for delivery, what failed and what is quarantined
    List {
        /// Delivered ones too
        #[arg(long)]
        all: bool,
    },
    /// Try again now
    Retry {
        /// Delivery ids, or paths of delivered files; every pending delivery if none is given
        ids: Vec<String>,
    },
    /// List uploads in the stores that nobody ended, below our prefixes, and abort them with --yes
    Gc {
        /// Really abort them
        #[arg(long)]
        yes: bool,
    },
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
    /// Make the records of finished files again from what is on disk, and of freed ones from the targets
    Rebuild {
        /// Directories; the configured roots if none is given
        paths: Vec<PathBuf>,
        /// Do not ask the targets what they hold
        #[arg(long)]
        no_stores: bool,
    },
    /// Compare the index with the records, and repair it
    Check,
}

/// Commands on the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the configuration and say whether it is sound
    Check,
    /// Print every key, its value and where the value came from
    Print,
    /// Make a configuration from Ant Media's red5-web.properties
    ImportAntmedia {
        /// The properties file
        file: PathBuf,
    },
}
