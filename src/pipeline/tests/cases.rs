//! The recordings that are cut, how each is finished, and what has to be there after every start-up.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use super::super::active_config::PipelineSettings;
use super::super::context::{OpeningOptions, PipelineContext};
use super::super::{finding, journey, resuming};
use super::disk::Disk;
use super::recording::files_below;
use crate::catalog::KnownFile;
use crate::cpu_permits::CpuPermits;
use crate::discover::Settled;
use crate::discover::{self, FragmentedPolicy, RootOptions, Server};
use crate::durable;
use crate::finish::{self, SpliceMode};
use crate::isobmff;
use crate::recording::journey::{Candidate, Step};
use crate::recording::{Defect, VodRecord};
use crate::stop::Stop;

/// A recording and how it is finished.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordingCase {
    pub(super) name: &'static str,
    /// What it is made as.
    recipe: Recipe,
    /// The name it is found under.
    file: &'static str,
    subfolder: &'static str,
    splice: SpliceMode,
    /// Whether it is changed where it stands.
    pub(super) is_in_place: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Recipe {
    Last,
    First,
    Fragmented,
    Flv,
    Ts,
}

/// Every way to a final name.
pub(super) const CASES: [RecordingCase; 7] = [
    RecordingCase {
        name: "header last, in place",
        recipe: Recipe::Last,
        file: "room.mp4.tmp",
        subfolder: "",
        splice: SpliceMode::InsertRange,
        is_in_place: true,
    },
    RecordingCase {
        name: "fragmented, in place, into a subfolder",
        recipe: Recipe::Fragmented,
        file: "room.mp4.tmp",
        subfolder: "vod/day",
        splice: SpliceMode::InsertRange,
        is_in_place: true,
    },
    RecordingCase {
        name: "header last, in place under its final name",
        recipe: Recipe::Last,
        file: "room.mp4",
        subfolder: "",
        splice: SpliceMode::InsertRange,
        is_in_place: true,
    },
    RecordingCase {
        name: "header last, copied and put in place of its source",
        recipe: Recipe::Last,
        file: "room.mp4",
        subfolder: "",
        splice: SpliceMode::CopyRange,
        is_in_place: false,
    },
    RecordingCase {
        name: "FLV, in place",
        recipe: Recipe::Flv,
        file: "room.flv.tmp",
        subfolder: "",
        splice: SpliceMode::InsertRange,
        is_in_place: true,
    },
    RecordingCase {
        name: "MPEG-TS of a known stream into MP4, its source removed",
        recipe: Recipe::Ts,
        file: "room.ts",
        subfolder: "",
        splice: SpliceMode::Auto,
        is_in_place: false,
    },
    RecordingCase {
        name: "header first, only renamed",
        recipe: Recipe::First,
        file: "room.mp4.tmp",
        subfolder: "vod",
        splice: SpliceMode::Auto,
        is_in_place: false,
    },
];

fn made(recipe: Recipe) -> PathBuf {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap();
    let path = DIR.get_or_init(|| tempfile::tempdir().unwrap()).path().join(format!("{recipe:?}"));
    if !path.exists() {
        let format: &[&str] = match recipe {
            Recipe::Last => &["-f", "mp4"],
            Recipe::First => &["-movflags", "+faststart", "-f", "mp4"],
            Recipe::Fragmented => &["-movflags", "frag_keyframe+empty_moov", "-f", "mp4"],
            Recipe::Flv => &["-f", "flv"],
            Recipe::Ts => &["-f", "mpegts"],
        };
        let run = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=160x120:r=15:d=2"])
            .args(["-f", "lavfi", "-i", "sine=f=440:b=2:r=48000:d=2", "-c:v", "libx264", "-preset", "ultrafast"])
            .args(["-bf", "2", "-g", "15", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "48k"])
            .args(format)
            .arg(&path)
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }
    path
}

impl RecordingCase {
    /// The recording where a writer left it.
    pub(super) fn put(&self, disk: &Disk) -> PathBuf {
        let path = disk.root().join(self.file);
        fs::copy(made(self.recipe), &path).unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(long_ago).unwrap();
        file.sync_all().unwrap();
        path
    }

    pub(super) fn settings(&self, disk: &Disk) -> PipelineSettings {
        let root = RootOptions {
            path: disk.root(),
            server: Server::AntMedia,
            template: None,
            stream: Some("room".into()),
            fragmented: FragmentedPolicy::Auto,
            deliver_progressive: false,
            shared: false,
            first_right: false,
            app: None,
            control: discover::ControlOptions::default(),
        };
        PipelineSettings {
            state_dir: disk.state_dir(),
            watch: discover::WatchOptions { roots: vec![root], ..discover::WatchOptions::default() },
            finish: finish::FinishOptions {
                recording_subfolder: self.subfolder.into(),
                splice: self.splice,
                // What is done to the disk is told by thread.
                background_nice: 0,
                ..finish::FinishOptions::default()
            },
            ..PipelineSettings::default()
        }
    }

    pub(super) fn open(&self, disk: &Disk) -> Result<PipelineContext, String> {
        PipelineContext::open(self.settings(disk), Stop::default(), OpeningOptions::default())
            .map_err(|e| crate::fault::chain(&e))
    }

    /// Of a stream that was recorded before, nothing is remembered anew: no other flush of the journal stands in for the one
    /// that makes the record durable. `None` where there is no disk to learn it on.
    pub(super) fn teach(&self, ctx: &PipelineContext) -> Option<()> {
        if self.recipe == Recipe::Ts {
            let disk = Disk::new()?;
            self.put(&disk);
            let other = self.start(&disk).unwrap();
            let known = other.catalog.codecs("room").unwrap().expect("it was recorded soundly");
            ctx.catalog.remember_codec("room", &known).unwrap();
        }
        Some(())
    }

    /// What a start does: opens the catalogue, carries on with what the journal holds, and takes what the scan finds.
    pub(super) fn start(&self, disk: &Disk) -> Result<PipelineContext, String> {
        self.open(disk).and_then(carry_on)
    }
}

/// What a start does with the open catalogue.
pub(super) fn carry_on(ctx: PipelineContext) -> Result<PipelineContext, String> {
    let cpu_permits = CpuPermits::new(1);
    for settled in resuming::resume(&ctx).map_err(|e| crate::fault::chain(&e))? {
        journey::run(&ctx, &settled, &cpu_permits.acquire());
    }
    let places = finding::configured_places(&ctx.settings());
    let found = finding::find(&ctx.discovering, &places, None).map_err(|e| crate::fault::chain(&e))?;
    for candidate in found.candidates {
        run_if_new(&ctx, candidate, &cpu_permits);
    }
    Ok(ctx)
}

fn run_if_new(ctx: &PipelineContext, candidate: Candidate, cpu_permits: &CpuPermits) {
    let known = ctx.catalog.knows(&candidate.path, &candidate.fingerprint).unwrap();
    if matches!(known, KnownFile::Unknown | KnownFile::Failed { .. } | KnownFile::UnderWay) {
        journey::run(ctx, &Settled::for_test(candidate), &cpu_permits.acquire());
    }
}

/// What a recording is when all went well.
#[derive(Debug)]
pub(super) struct ExpectedRecording {
    record: VodRecord,
    names: BTreeSet<PathBuf>,
    payloads: Vec<[u8; 32]>,
}

impl ExpectedRecording {
    /// As it stands after an undisturbed start.
    pub(super) fn of(ctx: &PipelineContext, disk: &Disk) -> Self {
        let record = only_vod(ctx).unwrap();
        let payloads = payloads(&record.file_path).unwrap();
        Self { names: names(disk), payloads, record }
    }

    /// Where the finished file is.
    pub(super) fn path(&self) -> PathBuf {
        self.record.file_path.clone()
    }

    /// Whether everything is there once and whole after a start.
    pub(super) fn is_met(&self, ctx: &PipelineContext, disk: &Disk) -> Result<(), String> {
        self.is_catalogued(ctx)?;
        let record = only_vod(ctx)?;
        let there = names(disk);
        if there != self.names {
            return Err(format!("there are {there:?}"));
        }
        if payloads(&record.file_path)? != self.payloads {
            return Err("the packets are not the same".into());
        }
        let now = durable::fingerprint(&record.file_path).map_err(|e| e.to_string())?;
        if now != record.fingerprint {
            return Err("the record has another fingerprint than the file".into());
        }
        self.is_at_an_end(ctx, disk)
    }

    /// Whether nothing waits for good: no partial is left, and the journal is closed.
    pub(super) fn is_at_an_end(&self, ctx: &PipelineContext, disk: &Disk) -> Result<(), String> {
        let open = ctx.catalog.open_entries().map_err(|e| e.to_string())?.items;
        if !open.is_empty() {
            return Err(format!("the journal says that more is to be done: {:?}", open[0].1.step.name()));
        }
        let has_second = names(disk).iter().any(|name| name.to_string_lossy().contains("_1"));
        if has_second && !self.record.file_path.exists() {
            return Err(format!("a second name was taken although the first is free: {:?}", names(disk)));
        }
        if let Some(partial) = names(disk).iter().find(|name| name.file_name().is_some_and(durable::is_partial)) {
            return Err(format!("`{}` is left", partial.display()));
        }
        let checked = ctx.catalog.check(false).map_err(|e| e.to_string())?;
        if checked.is_sound() { Ok(()) } else { Err(format!("{checked:?}")) }
    }

    /// Whether the catalogue holds the record, and no other.
    pub(super) fn is_catalogued(&self, ctx: &PipelineContext) -> Result<(), String> {
        let facts = |r: &VodRecord| {
            let (path, original) = (r.file_path.clone(), r.original_path.clone());
            (r.vod_id.clone(), path, original, r.outcome, r.splice, r.duration, r.stream_id.clone())
        };
        let record = only_vod(ctx)?;
        if facts(&record) == facts(&self.record) { Ok(()) } else { Err(format!("catalogued as {:?}", facts(&record))) }
    }

    /// Whether the finished file is there and catalogued, whatever else is.
    pub(super) fn is_among(&self, ctx: &PipelineContext) -> Result<(), String> {
        let record = ctx.catalog.shared().vod(&self.record.vod_id).map_err(|e| e.to_string())?;
        let record = record.ok_or("the finished file is not catalogued")?;
        let is_it = record.file_path == self.record.file_path && payloads(&record.file_path)? == self.payloads;
        if is_it { Ok(()) } else { Err("the finished file is another one".into()) }
    }

    /// Whether the recording is whole on the disk, told without the journal.
    pub(super) fn is_whole_by_bytes(&self, disk: &Disk) -> Result<(), String> {
        for path in files_below(&disk.root()).keys().map(|path| disk.root().join(path)) {
            finish::put_back_by_bytes(&path).map_err(|e| crate::fault::chain(&e))?;
            if payloads(&path).is_ok_and(|payloads| payloads == self.payloads) {
                return Ok(());
            }
        }
        Err("without the journal the packets are not there".into())
    }
}

/// Whether the recording is in our hands, so that what its writer never made durable must be there all the same: once
/// the journal says that it is changed where it stands, that its place is taken, or that another file holds it.
pub(super) fn is_in_our_hands(ctx: &PipelineContext, source: &Settled, case: RecordingCase) -> bool {
    let entry = ctx.catalog.entry_for(source.path(), &source.candidate().fingerprint).unwrap();
    entry.is_some_and(|entry| match entry.step {
        Step::Splicing { .. } => case.is_in_place,
        Step::Publishing { record, .. } => case.is_in_place || record.file_path == record.source_path,
        step => matches!(step, Step::Catalogued { .. } | Step::Done { .. }),
    })
}

/// Whether the recording is quarantined because the process died with it in hand.
pub(super) fn is_held_against_it(ctx: &PipelineContext, source: &Settled) -> bool {
    let entry = ctx.catalog.entry_for(source.path(), &source.candidate().fingerprint).unwrap();
    let is_death = |defect: &Defect| matches!(defect, Defect::KillsTheProcess { .. });
    entry.is_some_and(|entry| matches!(&entry.step, Step::Quarantined { defects } if defects.iter().any(is_death)))
}

fn only_vod(ctx: &PipelineContext) -> Result<VodRecord, String> {
    let all: Vec<_> = ctx.catalog.shared().all_vods().map_err(|e| e.to_string())?.collect();
    match &all[..] {
        [Ok(record)] => Ok(record.clone()),
        other => Err(format!("there are {} VoDs", other.len())),
    }
}

fn names(disk: &Disk) -> BTreeSet<PathBuf> {
    files_below(&disk.root()).into_keys().collect()
}

fn payloads(path: &Path) -> Result<Vec<[u8; 32]>, String> {
    let found = finish::inspect(path).map_err(|e| e.to_string())?;
    let movie = if found.is_indexable {
        match finish::index(path, &|_| true).map_err(|e| e.to_string())? {
            finish::IndexOutcome::Done(found) => Some(found.movie),
            _ => None,
        }
    } else {
        found.iso.and_then(|iso| iso.movie)
    };
    let movie = movie.ok_or_else(|| format!("no header is found in {}", path.display()))?;
    let mut file = File::open(path).map_err(|e| e.to_string())?;
    isobmff::payload_digests(&mut file, &movie).map_err(|e| e.to_string())
}

/// Runs a check; a panic is a failure of it like any other.
pub(super) fn guarded(check: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panicked: {}", words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default()))
    })
}
