//! TOML, environment and command line to checked options.
//!
//! Every room declares its own options; this one composes them into a [`Config`] and knows where each value came
//! from. [`keys`] is the one table that drives reading, suggestions, environment names, `config print` and the checks
//! of the example and the documentation. [`read`] is pure over the text and the environment; [`load`] is the thin
//! shell that looks for the file. No secret is ever kept here: a configuration can be printed as it is.

mod address;
mod check;
mod compose;
mod document;
mod draft;
mod env;
mod error;
mod example;
mod file;
mod import;
mod keys;
mod layer;
mod load;
mod moment;
mod print;
mod serve;
mod template;
mod units;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::catalog::EventLimits;
use crate::discover::{ControlOptions, FragmentedPolicy, RootOptions, Server};
use crate::pipeline::PictureOptions;
use crate::{announce, archive, deliver, discover, finish, fleet, retain};

pub use draft::{DraftRoot, DraftTarget, comment as draft_comment, watch as draft_watch};
pub use error::{ConfigError, ConfigProblem, Origin, ProblemKind};
pub use example::{example, reference};
pub use import::{
    Naming, check_target, import, import_antmedia, import_antmedia_file, import_server, naming, outermost, roots_of,
    target_of,
};
pub use keys::{Key, Section, keys};
pub use load::{FileText, Sources, default_state_dir, load, locate, read};
pub use print::{PrintedSetting, print};
pub use serve::ServeOptions;
pub use value::quote;

/// Everything an operator has set, checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Catalogue, journal, lock and socket.
    pub state_dir: PathBuf,
    /// `[watch]`.
    pub watch: discover::WatchOptions,
    /// `[finish]`.
    pub finish: finish::FinishOptions,
    /// `[pictures]`.
    pub pictures: PictureOptions,
    /// `[deliver]`.
    pub deliver: deliver::DeliverOptions,
    /// `[retain]`.
    pub retain: retain::RetainOptions,
    /// `[archive]`.
    pub archive: archive::ArchiveOptions,
    /// `[events]`.
    pub events: EventLimits,
    /// `[serve]`.
    pub serve: ServeOptions,
    /// `[announce]`.
    pub announce: announce::AnnounceOptions,
    /// `[fleet]`.
    pub fleet: fleet::FleetOptions,
    /// `server` and `template` of `[watch]`: they hold for roots without their own and for paths given to commands.
    pub root_defaults: RootDefaults,
    /// Where each value came from, by path; what is not here is the default.
    pub origins: BTreeMap<String, Origin>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// What to tell the operator although it is no error: environment variables of ours that set nothing.
    pub warnings: Vec<String>,
}

/// What a root has unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RootDefaults {
    /// Which ingest server writes there.
    pub server: Server,
    /// A name template that overrides the preset's.
    pub template: Option<String>,
    /// What becomes of fragmented MP4.
    pub fragmented: FragmentedPolicy,
    /// Whether fragmented MP4 that is kept is uploaded as progressive MP4.
    pub deliver_progressive: bool,
}

impl Config {
    /// A root at that path with the section's server and template, as a path given to `process` gets it.
    pub fn root_at(&self, path: PathBuf) -> RootOptions {
        let RootDefaults { server, template, fragmented, deliver_progressive } = self.root_defaults.clone();
        let control = ControlOptions::default();
        RootOptions {
            path,
            server,
            template,
            stream: None,
            fragmented,
            deliver_progressive,
            shared: false,
            first_right: false,
            app: None,
            control,
        }
    }
}
