//! Promise 4 against power cuts: every beginning of the tape of a whole journey, with everything that was not synced kept,
//! lost, out of order or torn, the journal's own files included. Start-up ends with the same packets, once. So do the
//! start-up itself, undoing, and mending without a journal, when they are cut.
//!
//! And the other way round: each sync is left out of the tape once, and then some cut is not mended; of a journey that
//! does not need a sync which others share with it, by those. With
//! `AFTERCAST_PROOF=all` the first test tries every torn sector, else one in some (`scripts/prove-syncs`).

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::rc::Rc;

use super::super::context::PipelineContext;
use super::super::{finding, undoing};
use super::cases::{CASES, ExpectedRecording, RecordingCase, carry_on, guarded, is_held_against_it, is_in_our_hands};
use super::crash::{Crash, CrashTape};
use super::disk::{Disk, DiskState};
use super::recording::{Act, RecordedAct, inode_of, record};
use crate::discover::Settled;
use crate::durable::tape::RecordedOp;
use crate::finish;

/// Of the remains that are not all or nothing, one in so many is tried where time is short.
const STRIDE: usize = 97;

/// What is done while it is on tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    /// A start, and all that it leads to.
    Start,
    /// The same after a first cut: another one, and the process has died twice with the recording in hand.
    StartAgain,
    /// `recover --undo`.
    Undo,
    /// `recover` without a journal.
    MendByBytes,
}

/// A deed, from where everything stood to its end, on tape.
struct TapedJourney {
    name: String,
    case: RecordingCase,
    deed: Scenario,
    disk: Disk,
    before: DiskState,
    source: Settled,
    /// What the recording's file held when its writer left it.
    original: Vec<u8>,
    log: Vec<RecordedAct>,
    expected: ExpectedRecording,
}

impl TapedJourney {
    /// A recording's way from where its writer left it, nothing of it synced, to the catalogue.
    fn record(case: RecordingCase) -> Option<Self> {
        let disk = Disk::new()?;
        // The catalogue is there already, and closed in good order.
        case.teach(&case.open(&disk).unwrap())?;
        let path = case.put(&disk);
        let before = disk.standing();
        let candidate = {
            let ctx = case.open(&disk).unwrap();
            finding::find(&ctx.discovering, &finding::configured_places(&ctx.settings()), None)
                .unwrap()
                .candidates
                .remove(0)
        };
        let source = Settled::for_test(candidate);
        let original = fs::read(&path).unwrap();
        let grown = Act::Grown(inode_of(&path), original.len() as u64 / 2);
        let (expected, log) = record(&disk.path(), &disk.state_dir(), || {
            let ctx = case.start(&disk).unwrap();
            ExpectedRecording::of(&ctx, &disk)
        });
        let first = RecordedAct { act: grown, from: String::new(), state: Rc::clone(&before.state) };
        expected.is_met(&case.open(&disk).unwrap(), &disk).unwrap();
        let log = [vec![first], log].concat();
        let name = case.name.to_owned();
        Some(Self { name, case, deed: Scenario::Start, disk, before, source, original, log, expected })
    }

    /// The start after a power cut, as a journey of its own: everything was kept of the first so many acts.
    fn start_after_cut(mut self, at: usize, what: &str) -> Self {
        self.leave_all(at);
        self.name = format!("{}; the start after a power cut {what}", self.name);
        self.before = self.disk.standing();
        let (case, disk) = (self.case, &self.disk);
        let ((), log) = record(&disk.path(), &disk.state_dir(), || drop(case.start(disk).unwrap()));
        self.expected.is_met(&case.open(disk).unwrap(), disk).unwrap();
        Self { log, deed: Scenario::StartAgain, ..self }
    }

    /// The mending of a half-done file of which no journal knows.
    fn mending_by_bytes(mut self, at: usize) -> Self {
        self.leave_all(at);
        fs::remove_dir_all(self.disk.state_dir()).unwrap();
        self.name = format!("{}; mended without a journal", self.name);
        self.before = self.disk.standing();
        let path = self.source.candidate().path.clone();
        let mend = || assert_eq!(finish::put_back_by_bytes(&path).unwrap(), finish::ByteRecovery::PutBack);
        let ((), log) = record(&self.disk.path(), &self.disk.state_dir(), mend);
        Self { log, deed: Scenario::MendByBytes, ..self }
    }

    /// Taking the finished splice back.
    fn undoing(mut self) -> Self {
        self.leave_all(self.log.len());
        self.name = format!("{}; undone", self.name);
        self.before = self.disk.standing();
        let (case, disk, path) = (self.case, &self.disk, self.expected.path());
        let undo = || undoing::undo(&case.open(disk).unwrap().journaling, &path).unwrap();
        let (undone, log) = record(&disk.path(), &disk.state_dir(), undo);
        let own_name = &self.source.candidate().path;
        let expected = if self.name.starts_with("FLV") { own_name.clone() } else { path.clone() };
        let taken = undoing::UndoResult { undone: finish::UndoOutcome::AsBefore, path: expected };
        assert_eq!(undone, Some(taken));
        Self { log, deed: Scenario::Undo, ..self }
    }

    fn leave_all(&self, at: usize) {
        let all_kept = CrashTape { log: &self.log, before: &self.before.state }.crashes(at).remove(0);
        self.disk.leave(&self.before, &self.log, &all_kept);
    }

    /// Brings everything to where the power cut left it, starts, and looks; where wanted, also without the journal.
    fn look_after(&self, log: &[RecordedAct], crash: &Crash, without_journal: bool) -> Result<(), String> {
        guarded(|| {
            self.disk.leave(&self.before, log, crash);
            match self.deed {
                Scenario::Start | Scenario::StartAgain => self.start_after(log, crash),
                Scenario::Undo => self.start_after_undoing(log, crash),
                Scenario::MendByBytes => self.expected.is_whole_by_bytes(&self.disk),
            }
        })?;
        if matches!(self.deed, Scenario::Undo | Scenario::MendByBytes) && crash.at == log.len() {
            guarded(|| {
                self.disk.leave(&self.before, log, crash);
                self.is_original()
            })?;
        }
        if !without_journal || !self.case.is_in_place || !crash.shortened.is_empty() {
            return Ok(());
        }
        guarded(|| {
            self.disk.leave(&self.before, log, crash);
            self.expected.is_whole_by_bytes(&self.disk)
        })
    }

    fn start_after(&self, log: &[RecordedAct], crash: &Crash) -> Result<(), String> {
        let ctx = self.case.open(&self.disk)?;
        let is_ours = self.look_at_journal(&ctx, log, crash)?;
        let ctx = carry_on(ctx)?;
        if self.deed == Scenario::StartAgain && is_held_against_it(&ctx, &self.source) {
            // Promise 6 does not know what made the process die.
            drop(ctx);
            return self.is_original();
        }
        match (crash.shortened.is_empty(), is_ours, self.case.is_in_place) {
            // What the writer itself never made durable, and we had not touched, was not ours to keep.
            (false, false, _) => self.expected.is_at_an_end(&ctx, &self.disk),
            // What is left of the source beside the finished file is a recording of its own.
            (false, true, false) => self.expected.is_among(&ctx),
            _ => self.expected.is_met(&ctx, &self.disk),
        }
    }

    /// A cut undo may be done or not; the recording is there either way, and what was reported as undone stays so.
    fn start_after_undoing(&self, log: &[RecordedAct], crash: &Crash) -> Result<(), String> {
        let ctx = self.case.start(&self.disk)?;
        let is_gone = ctx.catalog.shared().count().map_err(|e| e.to_string())? == 0;
        drop(ctx);
        if crash.at < log.len() {
            return self.expected.is_whole_by_bytes(&self.disk);
        }
        if is_gone { self.is_original() } else { Err("it was undone, and is catalogued again".into()) }
    }

    fn is_original(&self) -> Result<(), String> {
        // What was undone stands under the finished name, or where it is no MP4 again under its own.
        let finished = (self.deed == Scenario::Undo).then(|| self.expected.path()).filter(|path| path.exists());
        let path = finished.unwrap_or_else(|| self.source.candidate().path.clone());
        let is_it = fs::read(path).is_ok_and(|bytes| bytes == self.original);
        if is_it { Ok(()) } else { Err("the file is not what it was".into()) }
    }

    /// What the journal must know before anything is carried on; says whether the recording is in our hands.
    fn look_at_journal(&self, ctx: &PipelineContext, log: &[RecordedAct], crash: &Crash) -> Result<bool, String> {
        let is_ours = is_in_our_hands(ctx, &self.source, self.case);
        let candidate = self.source.candidate();
        let entry = ctx.catalog.entry_for(&candidate.path, &candidate.fingerprint).unwrap();
        if self.is_begun(&log[..crash.at]) && entry.is_none_or(|entry| entry.attempts < self.attempt()) {
            return Err("the attempt is not journalled (promise 6)".into());
        }
        let is_removal = |done: &RecordedAct| matches!(&done.act, Act::Removed(path) if candidate.path.ends_with(path));
        if log[..crash.at].iter().any(is_removal) && !candidate.path.exists() {
            self.expected.is_catalogued(ctx).map_err(|why| format!("its original is gone (promise 7), and {why}"))?;
        }
        if crash.at == log.len() {
            self.expected.is_catalogued(ctx).map_err(|why| format!("it was reported as finished, and {why}"))?;
        }
        Ok(is_ours)
    }

    /// The number of the attempt that is on tape.
    const fn attempt(&self) -> u32 {
        if matches!(self.deed, Scenario::StartAgain) { 2 } else { 1 }
    }

    /// Whether the attempt has done anything to the disk.
    fn is_begun(&self, log: &[RecordedAct]) -> bool {
        let is_begin = |done: &RecordedAct| done.act == Act::JournalSynced("journal begun".into());
        let is_journal = |act: &Act| matches!(act, Act::JournalWritten | Act::JournalSynced(_));
        let begun = self.log.iter().position(is_begin).unwrap_or(usize::MAX);
        log.iter().skip(begun).any(|done| !is_journal(&done.act))
    }

    /// The cuts after each act from one on; of those that are not all or nothing every `stride`-th. Returns how many
    /// were tried, and the first that was not mended.
    fn first_failure(&self, log: &[RecordedAct], from: usize, stride: usize) -> (usize, Option<String>) {
        let tape = CrashTape { log, before: &self.before.state };
        let (mut seen, mut seen_disks) = (HashSet::new(), HashSet::new());
        let mut tried = 0;
        for at in from..=log.len() {
            // The same remains at another moment are another case only where more was promised by then.
            let promised = (at == log.len(), self.is_begun(&log[..at]));
            let new = tape.crashes(at).into_iter().filter(|crash| seen.insert((promised, crash.key())));
            for (number, crash) in new.enumerate().collect::<Vec<_>>() {
                if !crash.is_extreme && number % stride != 0 {
                    continue;
                }
                tried += 1;
                let without_journal = seen_disks.insert(crash.disk_key());
                if let Err(why) = self.look_after(log, &crash, without_journal) {
                    let last = at.checked_sub(1).map(|last| log[last].to_string()).unwrap_or_default();
                    return (tried, Some(format!("cut after {at} ({last}){}: {why}", crash.what)));
                }
            }
        }
        (tried, None)
    }
}

/// The place on the tape just behind the first write into the inserted blocks, and just behind the commit mark.
fn places_of_writes(log: &[RecordedAct]) -> (usize, usize) {
    let is_write = |done: &RecordedAct, is: fn(u64) -> bool| matches!(&done.act, Act::Changed(_, RecordedOp::Write(at, _)) if is(*at));
    let header = log.iter().position(|done| is_write(done, |at| at != 0)).unwrap();
    let mark = log.iter().position(|done| is_write(done, |at| at == 0)).unwrap();
    (header + 1, mark + 1)
}

/// Every deed that is cut: a case, and what is done after a first cut of so many of those in place.
fn journeys(in_place: usize) -> impl Iterator<Item = TapedJourney> {
    let first = CASES.into_iter().map_while(TapedJourney::record);
    let in_place = move || {
        let cases = CASES.into_iter().filter(|case| case.is_in_place).take(in_place);
        cases.map_while(TapedJourney::record)
    };
    let back = in_place().map(|journey| {
        let (header, _) = places_of_writes(&journey.log);
        journey.start_after_cut(header, "before the commit mark")
    });
    let on = in_place().map(|journey| {
        let (_, mark) = places_of_writes(&journey.log);
        journey.start_after_cut(mark, "behind the commit mark")
    });
    let by_bytes = in_place().map(|journey| {
        let (header, _) = places_of_writes(&journey.log);
        journey.mending_by_bytes(header)
    });
    first.chain(back).chain(on).chain(by_bytes).chain(in_place().map(TapedJourney::undoing))
}

#[test]
fn a_power_cut_at_any_instant_leaves_a_recording_that_start_up_finishes() {
    let is_all = std::env::var("AFTERCAST_PROOF").is_ok_and(|how_much| how_much == "all");
    let (stride, in_place) = if is_all { (1, CASES.len()) } else { (STRIDE, 1) };
    let mut all_tried = 0;
    for journey in journeys(in_place) {
        let (tried, failure) = journey.first_failure(&journey.log, 0, stride);
        println!("{tried:5} power cuts, {:2} acts: {}", journey.log.len(), journey.name);
        assert_eq!(failure, None, "{}", journey.name);
        all_tried += tried;
    }
    println!("{all_tried:5} power cuts, each with the same packets after the next start");
}

#[test]
#[ignore = "takes minutes: scripts/prove-syncs"]
fn without_any_one_of_its_syncs_some_power_cut_is_not_mended() {
    let mut caught: BTreeMap<String, bool> = BTreeMap::new();
    for journey in journeys(CASES.len()) {
        println!("\n{}", journey.name);
        for (place, done) in journey.log.iter().enumerate().filter(|(_, done)| is_needed(&journey, done)) {
            let mut log = journey.log.clone();
            log.remove(place);
            let (tried, failure) = journey.first_failure(&log, place, 1);
            match &failure {
                Some(why) => println!("  caught by cut {tried:4}  {done}\n                       {why}"),
                None => println!("  none of {tried:4} cuts   {done}"),
            }
            *caught.entry(done.place()).or_default() |= failure.is_some();
        }
    }
    println!("\nevery sync, and whether a cut without it was noticed");
    for (place, is_caught) in &caught {
        println!("  {}  {place}", if *is_caught { "yes" } else { "NO " });
    }
    assert!(caught.values().all(|is_caught| *is_caught));
}

/// Whether it is a sync that guards against power cuts.
fn is_needed(journey: &TapedJourney, done: &RecordedAct) -> bool {
    // What is left out is told to a watch that runs at the same time; a cut undo may be done again.
    let is_for_others = journey.deed == Scenario::Undo && done.act == Act::JournalSynced("journal left out".into());
    // What a stream taught is for its next recording.
    let is_for_the_next = done.act == Act::JournalSynced("codec remembered".into());
    done.act.is_sync() && !is_for_others && !is_for_the_next
}
