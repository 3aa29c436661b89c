//! What an operator can set about finishing recordings.

use jiff::tz::TimeZone;

use crate::recording::name::DEFAULT_DATE_PATTERN;

/// Settings of `[finish]`.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch that operators know under its own name")]
pub struct FinishOptions {
    /// `mp4MuxingEnabled`: other containers become MP4 where every track fits. Default true.
    pub mp4_muxing_enabled: bool,
    /// `webMMuxingEnabled`: other containers become WebM where every track fits and MP4 was not made. Default false.
    pub webm_muxing_enabled: bool,
    /// `addDateTimeToMp4FileName`: the start of the recording is added to names that have none. Default false.
    pub add_date_time_to_mp4_file_name: bool,
    /// The `strftime` pattern of that date. Default `_%Y-%m-%d_%H-%M-%S`.
    pub date_pattern: String,
    /// `recordingSubfolder`: finished files go there, below the recording's directory; `{stream}` and `{date}` allowed.
    pub recording_subfolder: String,
    /// The time zone of dates in names. Default the system's.
    pub time_zone: TimeZone,
    /// How much of a recording is read before it counts as sound.
    pub validate: ValidationLevel,
    /// How the header of an MP4 comes to its front.
    pub splice: SpliceMode,
    /// When a crashed MP4 gets its header where it stands.
    pub salvage_in_place: SalvageInPlace,
    /// Whether a fragmented MP4 stays as it is; a setting of each root (`[[watch.root]] fragmented`). Default false.
    pub keeps_fragments: bool,
    /// Whether `x.flv` stays beside `x.mp4`. Default false.
    pub keep_original: bool,
    /// Threads that finish recordings; 0 means all cores but one, or all of them for a command that runs at a lower priority
    /// (`background_nice`). Default 0.
    pub jobs: usize,
    /// By how much the CPU priority of a backlog and of salvage is lowered, 0 to 19. Default 10.
    pub background_nice: u8,
}

impl Default for FinishOptions {
    fn default() -> Self {
        Self {
            mp4_muxing_enabled: true,
            webm_muxing_enabled: false,
            add_date_time_to_mp4_file_name: false,
            date_pattern: DEFAULT_DATE_PATTERN.to_owned(),
            recording_subfolder: String::new(),
            time_zone: TimeZone::system(),
            validate: ValidationLevel::Structure,
            splice: SpliceMode::Auto,
            salvage_in_place: SalvageInPlace::WhenFull,
            keeps_fragments: false,
            keep_original: false,
            jobs: 0,
            background_nice: 10,
        }
    }
}

impl FinishOptions {
    /// The same for a root that other nodes change, too: nothing is changed where it stands.
    #[must_use]
    pub fn never_in_place(self) -> Self {
        let splice = match self.splice {
            SpliceMode::Auto | SpliceMode::InsertRange => SpliceMode::Reflink,
            beside => beside,
        };
        Self { splice, salvage_in_place: SalvageInPlace::Never, ..self }
    }
}

/// How the header of an MP4 comes to its front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpliceMode {
    /// Shared where the file system can; large recordings, and those without room for another way, in place; else copied
    /// inside the kernel, or copied, whichever works first.
    #[default]
    Auto,
    /// In place wherever that is safe, whatever the name.
    InsertRange,
    /// Beside the source, sharing its blocks.
    Reflink,
    /// Beside the source, copied inside the kernel.
    CopyRange,
    /// Beside the source, read and written.
    Copy,
}

impl SpliceMode {
    /// All of them, cheapest first.
    pub const ALL: [Self; 5] = [Self::Auto, Self::InsertRange, Self::Reflink, Self::CopyRange, Self::Copy];

    /// The name in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::InsertRange => "insert_range",
            Self::Reflink => "reflink",
            Self::CopyRange => "copy_range",
            Self::Copy => "copy",
        }
    }
}

/// When a crashed MP4 gets its rebuilt header where it stands. All its bytes stay in the file and `recover --undo` takes
/// the header out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SalvageInPlace {
    /// If there is no room for another way.
    #[default]
    WhenFull,
    /// Never.
    Never,
    /// Wherever the file system can.
    Always,
}

impl SalvageInPlace {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::WhenFull, Self::Never, Self::Always];

    /// The name in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WhenFull => "when_full",
            Self::Never => "never",
            Self::Always => "always",
        }
    }
}

/// How much of a recording is read before it counts as sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ValidationLevel {
    /// Headers and sample tables.
    #[default]
    Structure,
    /// Every packet is read and digested.
    Packets,
    /// Every packet is decoded and errors are counted.
    Decode,
}

impl ValidationLevel {
    /// All of them, cheapest first.
    pub const ALL: [Self; 3] = [Self::Structure, Self::Packets, Self::Decode];

    /// The name in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Packets => "packets",
            Self::Decode => "decode",
        }
    }
}
