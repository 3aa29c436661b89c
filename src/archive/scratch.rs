//! Finishes an object in scratch space: it comes down, is finished like any recording, and what was made of it goes up. Where that
//! is a header in front of all of the original, as of an FLV, only the header goes up, and the store copies the rest.
//!
//! ```text
//! SCRATCH/OWNER/ID/in/x.flv        the object as it was looked at
//! SCRATCH/OWNER/ID/out/live/x.mp4  what goes up, under the same path
//! ```
//!
//! One object lies there at a time. What a killed process left there goes when the next run begins. It must not be told to write
//! more than the setting and the disk allow.

use std::fs::File;
use std::io::{Read as _, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::error::{ArchiveError, Result};
use super::inside::{InsideJob, InsideOutcome, InsidePlan};
use super::item::Transferred;
use super::naming::finished_key;
use super::options::ArchiveOptions;
use super::run::ArchiveJob;
use super::siblings::references_beside;
use crate::cpu_permits::CpuPermit;
use crate::deliver::PinnedObject;
use crate::durable::{self, FileError, PartialOwner};
use crate::fault::{Class, Fault};
use crate::finish::{self, Conclusion, FinishJob, FinishOptions, Finished};
use crate::progress::Progress;
use crate::recording::{Asset, AssetFile, Defect, Kind, RemoteObject};

/// What is read of an object at once: it must arrive within the time that a request for a range may take.
pub const PIECE_BYTES: u64 = 4 << 20;
/// A range that failed in a way that passes is asked for again so often.
const TRIES: u32 = 3;
/// A header that is longer is none.
const MOST_HEADER_BYTES: u64 = 256 << 20;
/// What is compared of two files at once.
const COMPARED_BYTES: usize = 1 << 20;
/// Room for headers, and for what is not known before.
const SPARE_BYTES: u64 = 64 << 20;

/// A directory of ours for one object at a time.
#[derive(Debug)]
pub struct Scratch {
    directory: PathBuf,
    most_bytes: u64,
}

/// What came of a recording in scratch space.
#[derive(Debug)]
pub enum ScratchOutcome {
    /// It is complete as it is.
    Complete,
    /// It was finished, and what was made of it is up and proven.
    Finished {
        /// The object.
        object: Box<RemoteObject>,
        /// What is wrong with it.
        defects: Vec<Defect>,
    },
    /// It was finished, and the store has put a new header in front of the original.
    Assembled {
        /// The object.
        object: Box<PinnedObject>,
        /// What is wrong with it.
        defects: Vec<Defect>,
        /// What went over the line for that.
        transferred: Transferred,
        /// Whether an earlier run has done it.
        is_of_before: bool,
    },
    /// It cannot be finished.
    Quarantined(Vec<Defect>),
}

/// One object on its way through scratch space.
#[derive(Debug, Clone, Copy)]
pub struct ScratchJob<'a> {
    /// What is asked of the bucket.
    pub all: &'a ArchiveJob<'a>,
    /// The object as it was looked at.
    pub source: &'a PinnedObject,
    /// Its key below the prefix.
    pub relative: &'a str,
    /// The key of the finished object below the prefix, without extension and number.
    pub stem: &'a str,
    /// The key below the prefix that it gets if it is complete and bears a temporary name.
    pub renamed: Option<&'a str>,
    /// The id of what is made of it.
    pub id: &'a str,
}

impl Scratch {
    /// The scratch space of a state directory's owner; what an earlier process left there is removed.
    pub fn open(options: &ArchiveOptions, state_dir: &Path, owner: &PartialOwner) -> Result<Self> {
        let base = options.scratch_dir.clone().unwrap_or_else(|| state_dir.join("scratch"));
        let scratch = Self { directory: base.join(owner.id()), most_bytes: options.scratch_bytes };
        scratch.clear()?;
        Ok(scratch)
    }

    fn clear(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(FileError::on("remove", &self.directory)(error).into())
            }
            _ => Ok(()),
        }
    }

    /// An error unless an object and what is made of it fit.
    fn has_room_for(&self, size_bytes: u64) -> Result<()> {
        let needed_bytes = size_bytes.saturating_mul(2).saturating_add(SPARE_BYTES);
        if needed_bytes > self.most_bytes {
            return Err(ArchiveError::NoRoom { needed_bytes, available_bytes: self.most_bytes, is_by_setting: true });
        }
        durable::create_directories(&self.directory)?;
        let available_bytes = durable::free_bytes(&self.directory)?;
        if needed_bytes > available_bytes {
            return Err(ArchiveError::NoRoom { needed_bytes, available_bytes, is_by_setting: false });
        }
        Ok(())
    }

    /// Takes an object through it.
    pub fn run(&self, job: &ScratchJob<'_>) -> Result<ScratchOutcome> {
        self.has_room_for(job.source.size_bytes)?;
        let done = self.finish(job);
        match (done, self.clear()) {
            (Ok(_), Err(error)) => Err(error),
            (done, _) => done,
        }
    }

    fn finish(&self, job: &ScratchJob<'_>) -> Result<ScratchOutcome> {
        let (input, output) = (self.directory.join("in"), self.directory.join("out"));
        let file = input.join(job.relative);
        durable::create_directories(file.parent().unwrap_or(&input))?;
        download(job, &file)?;
        let finished = match finished(job, &file, &output)? {
            Conclusion::Quarantined(defects) => return Ok(ScratchOutcome::Quarantined(defects)),
            Conclusion::Finished(finished) => finished,
        };
        let is_complete = finished.written_path == file;
        let to = match job.renamed {
            _ if !is_complete => finished.record.file_path.clone(),
            Some(renamed) => output.join(renamed),
            None => return Ok(ScratchOutcome::Complete),
        };
        if !is_complete && let Some(assembled) = assembled(job, &finished, &file)? {
            return Ok(assembled);
        }
        durable::create_directories(to.parent().unwrap_or(&output))?;
        durable::publish(&finished.written_path, &to, &finished.written)?.durably()?;
        let object = upload(job, &finished, (output, to))?;
        Ok(ScratchOutcome::Finished { object: Box::new(object), defects: finished.record.defects })
    }
}

fn download(job: &ScratchJob<'_>, to: &Path) -> Result<()> {
    let mut file = File::create(to).map_err(FileError::on("create", to))?;
    let (mut at, len) = (0, job.source.size_bytes);
    while at < len {
        if job.all.stop.is_requested() {
            return Err(ArchiveError::Stopped);
        }
        let end = (at + PIECE_BYTES).min(len);
        let read = read_again(job, at..end)?;
        let bytes = read.ok_or_else(|| ArchiveError::Changed { key: job.source.key.clone() })?;
        file.write_all(&bytes).map_err(FileError::on("write", to))?;
        at = end;
    }
    Ok(())
}

/// A download of hours meets a failure that passes: it does not begin anew for that.
fn read_again(job: &ScratchJob<'_>, range: Range<u64>) -> Result<Option<Vec<u8>>> {
    let mut tries = 1;
    loop {
        match job.all.targets.read(job.source, range.clone()) {
            Err(error) if error.class() == Class::Transient && tries < TRIES => tries += 1,
            read => return Ok(read?),
        }
    }
}

fn finished(job: &ScratchJob<'_>, file: &Path, output: &Path) -> Result<Conclusion> {
    let settled = finish::settled_as_given(file)?;
    let options = FinishOptions { keep_original: true, ..job.all.finish.clone() };
    let work = FinishJob {
        settled: &settled,
        options: &options,
        stop: job.all.stop.flag(),
        now_ms: job.all.now_ms,
        progress: &Progress::default(),
        cpu_permit: &CpuPermit::alone(),
        owner: job.all.owner,
        decoder: job.all.decoder,
    };
    let prepared = finish::prepare(work)?;
    let references = if prepared.needs_references() { references_beside(job.all, job.source)? } else { Vec::new() };
    Ok(finish::finish_beside_named(prepared, &references, |wanted| {
        output.join(format!("{}.{}", job.stem, wanted.extension))
    })?)
}

/// Has the store put the finished object together where it is a header in front of all of the original; `None` where it is not, or
/// the store does not do that.
fn assembled(job: &ScratchJob<'_>, finished: &Finished, source: &Path) -> Result<Option<ScratchOutcome>> {
    let (all, record) = (job.all, &finished.record);
    let Some(copies) = all.targets.copies(all.url)? else { return Ok(None) };
    let source_bytes = job.source.size_bytes;
    if durable::metadata(source)?.len() != source_bytes {
        return Ok(None);
    }
    let Some(header) = header_before(&finished.written_path, source, source_bytes)? else { return Ok(None) };
    let ranges = std::iter::once(0..source_bytes).collect();
    let key = finished_key(all.rules, &job.source.key, record.container);
    let plan = InsidePlan { header, ranges, key, copies };
    let Some(transferred) = plan.transferred() else { return Ok(None) };
    let require_ours = || all.require_ours(&job.source.key);
    let (targets, ledger) = (all.targets, all.ledger);
    let inside =
        InsideJob { targets, ledger, source: job.source, plan: &plan, id: job.id, require_ours: &require_ours };
    let InsideOutcome::Made { made, is_of_before } = inside.run()? else { return Ok(None) };
    let (object, defects) = (Box::new(made), record.defects.clone());
    Ok(Some(ScratchOutcome::Assembled { object, defects, transferred, is_of_before }))
}

/// What stands in a finished file before all of the original, if that follows as it is.
fn header_before(finished: &Path, source: &Path, source_bytes: u64) -> Result<Option<Bytes>> {
    let header_bytes = durable::metadata(finished)?.len().checked_sub(source_bytes);
    let Some(header_bytes) = header_bytes.filter(|bytes| *bytes <= MOST_HEADER_BYTES) else { return Ok(None) };
    let (mut ours, mut theirs) = (durable::open_to_read(finished)?, durable::open_to_read(source)?);
    let mut header = Vec::new();
    (&mut ours).take(header_bytes).read_to_end(&mut header).map_err(FileError::on("read", finished))?;
    let (mut one, mut other) = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
    let mut left = source_bytes;
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(COMPARED_BYTES).min(COMPARED_BYTES);
        ours.read_exact(&mut one[..len]).map_err(FileError::on("read", finished))?;
        theirs.read_exact(&mut other[..len]).map_err(FileError::on("read", source))?;
        if one[..len] != other[..len] {
            return Ok(None);
        }
        left -= len as u64;
    }
    Ok(Some(header.into()))
}

fn upload(job: &ScratchJob<'_>, finished: &Finished, (root, file): (PathBuf, PathBuf)) -> Result<RemoteObject> {
    job.all.require_ours(&job.source.key)?;
    let record = &finished.record;
    let asset = Asset {
        id: job.id.to_owned(),
        kind: Kind::Recording,
        vod_id: None,
        stream_id: record.stream_id.clone(),
        root,
        start_ms: record.start_time,
        duration_ms: Some(record.duration),
        salvaged: record.salvaged,
        files: vec![AssetFile::new(file, finished.written)],
    };
    let mut objects = job.all.targets.upload(&job.source.target, &asset, "", job.all.stop, &|_| (), job.all.ledger)?;
    job.all.targets.forget(job.id, &objects, job.all.ledger)?;
    Ok(objects.remove(0))
}
