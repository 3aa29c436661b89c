//! Every refusal, the property that nothing unproven is ever freed, and freeing itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::durable;
use crate::fault::Class;
use crate::recording::journey::Evidence;
use crate::recording::{
    Asset, AssetFile, Container, Defect, Delivery, DeliveryState, FileVersion, Fingerprint, Kind, Kinds, Outcome,
    Pictures, RemoteObject, StartSource, VOD_VERSION, VodRecord, VodType,
};

const SEEN: Fingerprint = Fingerprint { device: 1, inode: 2, size_bytes: 100, mtime_ns: 3 };
const CHANGED_NS: i64 = 7;
const PROVEN_MS: i64 = 1_000_000;

const fn untouched(fingerprint: Fingerprint) -> FileVersion {
    FileVersion { fingerprint, changed_ns: CHANGED_NS }
}

fn record(id: &str, path: &Path, fingerprint: Fingerprint) -> VodRecord {
    VodRecord {
        version: VOD_VERSION,
        vod_id: id.into(),
        stream_id: "room1".into(),
        stream_name: "room1".into(),
        vod_name: "x.mp4".into(),
        file_path: path.to_owned(),
        root: "/srv".into(),
        duration: 0,
        creation_date: 0,
        start_time: 0,
        start_source: StartSource::Name,
        file_size: fingerprint.size_bytes,
        preview_file_path: None,
        pictures: Pictures::default(),
        vod_type: VodType::Stream,
        container: Container::Mp4,
        tracks: Vec::new(),
        bitrate: 0,
        declared_duration: None,
        wall_clock: None,
        defects: Vec::new(),
        outcome: Outcome::Kept,
        splice: None,
        splice_undo: None,
        salvaged: false,
        salvage: None,
        digest: None,
        server: "antmedia".into(),
        rendition: None,
        source_path: path.to_owned(),
        source: fingerprint,
        source_changed_ns: None,
        evidence: Evidence::Lease,
        original_path: None,
        fingerprint,
        remote: Vec::new(),
        freed_at: None,
        description: None,
        metadata: BTreeMap::new(),
    }
}

fn object(target: &str, source: Fingerprint) -> RemoteObject {
    RemoteObject {
        target: target.into(),
        key: "x.mp4".into(),
        url: "s3://b/x.mp4".into(),
        size_bytes: source.size_bytes,
        etag: None,
        version: None,
        checksum: Some("crc64nvme:AAAA".into()),
        checksum_compared: true,
        verified_ms: PROVEN_MS,
        source,
        source_changed_ns: Some(CHANGED_NS),
        differs: None,
        differs_when_read: false,
        is_progressive_copy: false,
    }
}

fn delivery(target: &str, kind: Kind, path: &Path, source: Fingerprint, state: DeliveryState) -> Delivery {
    let asset = Asset {
        id: "a".into(),
        kind,
        vod_id: Some("v".into()),
        stream_id: "room1".into(),
        root: "/srv".into(),
        start_ms: 0,
        duration_ms: None,
        salvaged: false,
        files: vec![AssetFile::new(path.to_owned(), source)],
    };
    Delivery { id: "a@t".into(), asset, target: target.into(), state, attempts: 0, queued_ms: 0 }
}

fn confirmation(target: &str) -> Confirmation {
    Confirmation { target: target.into(), key: "x.mp4".into(), age_ms: ANSWER_MAX_AGE_MS, beyond_size: true }
}

fn apart(target: &str) -> TargetView {
    TargetView { target: target.into(), root: "/srv".into(), is_apart: true, age_ms: VIEW_MAX_AGE_MS }
}

/// A case that is granted, to be spoilt in one place.
#[derive(Debug)]
struct PermitCase {
    record: VodRecord,
    deliveries: Vec<Delivery>,
    required: Vec<String>,
    uploaded: Kinds,
    now: Option<FileVersion>,
    confirmed: Vec<Confirmation>,
    views: Vec<TargetView>,
    free_bytes: u64,
    held_bytes: u64,
    awaited_by: Option<String>,
    now_ms: i64,
    options: RetainOptions,
}

fn good() -> PermitCase {
    let mut record = record("v", Path::new("/srv/x.mp4"), SEEN);
    record.remote = vec![object("a", SEEN), object("b", SEEN)];
    PermitCase {
        record,
        deliveries: Vec::new(),
        required: vec!["a".into(), "b".into()],
        uploaded: Kinds::DEFAULT,
        now: Some(untouched(SEEN)),
        confirmed: vec![confirmation("a"), confirmation("b")],
        views: vec![apart("a"), apart("b")],
        free_bytes: 0,
        held_bytes: 100,
        awaited_by: None,
        now_ms: PROVEN_MS,
        options: RetainOptions { delete_local: DeleteLocal::Delivered, accept_size_only: false, protect: Vec::new() },
    }
}

impl PermitCase {
    fn decide(&self) -> Result<Permit, KeepReason> {
        self.with_facts(|facts| permit(facts, &self.options))
    }

    fn with_facts<T>(&self, act: impl FnOnce(&PermitFacts<'_>) -> T) -> T {
        act(&PermitFacts {
            record: &self.record,
            deliveries: &self.deliveries,
            required: &self.required,
            uploaded: self.uploaded,
            seen_now: self.now,
            confirmed: &self.confirmed,
            views: &self.views,
            free_bytes: self.free_bytes,
            held_bytes: self.held_bytes,
            awaited_by: self.awaited_by.as_deref(),
            now_ms: self.now_ms,
        })
    }
}

fn refused(spoil: impl FnOnce(&mut PermitCase)) -> KeepReason {
    let mut case = good();
    spoil(&mut case);
    case.decide().unwrap_err()
}

#[test]
fn a_file_that_an_endpoint_is_to_see_stays_in_the_plan_too() {
    let by = "command/index".to_owned();
    assert_eq!(refused(|case| case.awaited_by = Some("command/index".into())), KeepReason::Awaited(by.clone()));
    let mut stock = TestInventory::of(three_records());
    let all = freed(&stock.plan(DeleteLocal::Delivered)).len();
    let first = stock.records[0].vod_id.clone();
    stock.awaited.insert(first.clone(), by.clone());
    let plan = stock.plan(DeleteLocal::Delivered);
    assert_eq!((freed(&plan).len(), freed(&plan).contains(&first.as_str())), (all - 1, false));
    assert!(plan.kept.contains(&(first, KeepReason::Awaited(by))), "{:?}", plan.kept);
}

#[test]
fn a_proven_file_gets_its_permit() {
    let permit = good().decide().unwrap();
    assert_eq!((permit.vod_id(), permit.path()), ("v", Path::new("/srv/x.mp4")));
}

#[test]
fn every_refusal_has_its_reason() {
    let other = Fingerprint { mtime_ns: 4, ..SEEN };
    assert_eq!(refused(|c| c.options.delete_local = DeleteLocal::Never), KeepReason::Policy);
    assert_eq!(refused(|c| c.required.clear()), KeepReason::NoRequiredTarget);
    assert_eq!(refused(|c| c.uploaded = Kinds::NONE), KeepReason::KindNotUploaded);
    assert_eq!(refused(|c| c.record.freed_at = Some(1)), KeepReason::AlreadyFreed);
    assert_eq!(refused(|c| c.now = None), KeepReason::LocalMissing);
    assert_eq!(refused(|c| c.now = Some(untouched(other))), KeepReason::LocalChanged);
    assert_eq!(refused(|c| c.record.file_size = 99), KeepReason::LocalChanged);
    assert_eq!(refused(|c| c.record.remote.truncate(1)), KeepReason::NotDelivered("b".into()));
    let short = KeepReason::SizeDiffers { target: "b".into(), remote_bytes: 99, local_bytes: 100 };
    assert_eq!(refused(|c| c.record.remote[1].size_bytes = 99), short);
    assert_eq!(refused(|c| c.record.remote[1].checksum_compared = false), KeepReason::NoChecksum("b".into()));
    assert_eq!(refused(|c| c.record.remote[1].checksum = None), KeepReason::NoChecksum("b".into()));
    assert_eq!(refused(|c| c.record.remote[0].source = other), KeepReason::OtherSource("a".into()));
    let waiting = DeliveryState::Waiting { due_ms: 0, last_fault: None };
    let pending = delivery("c", Kind::Recording, Path::new("/srv/x.mp4"), SEEN, waiting);
    assert_eq!(refused(|c| c.deliveries.push(pending)), KeepReason::StillNeeded("c".into()));
    let hour = DeleteLocal::After(Duration::from_secs(3600));
    assert_eq!(refused(|c| c.options.delete_local = hour), KeepReason::TooEarly { due_ms: PROVEN_MS + 3_600_000 });
    let room = |c: &mut PermitCase| (c.options.delete_local, c.free_bytes) = (DeleteLocal::BelowFree(10), 10);
    assert_eq!(refused(|c| room(c)), KeepReason::EnoughRoom { free_bytes: 10 });
    let touched = KeepReason::Touched("a".into());
    assert_eq!(refused(|c| c.now = Some(FileVersion { changed_ns: CHANGED_NS + 1, ..untouched(SEEN) })), touched);
    assert_eq!(refused(|c| c.record.remote[1].source_changed_ns = Some(CHANGED_NS - 1)), touched);
    assert_eq!(refused(|c| c.record.remote[1].source_changed_ns = None), touched, "as an older version noted it");
    let unconfirmed = KeepReason::NotConfirmed("b".into());
    assert_eq!(refused(|c| c.confirmed.truncate(1)), unconfirmed);
    assert_eq!(refused(|c| c.confirmed[1].age_ms += 1), unconfirmed);
    assert_eq!(refused(|c| c.confirmed[1].key = "y.mp4".into()), unconfirmed);
    assert_eq!(refused(|c| c.confirmed[1].beyond_size = false), unconfirmed);
    let unseen = KeepReason::NotApart("b".into());
    assert_eq!(refused(|c| c.views.truncate(1)), unseen);
    assert_eq!(refused(|c| c.views[1].age_ms += 1), unseen);
    assert_eq!(refused(|c| c.views[1].root = "/elsewhere".into()), unseen);
    let view = KeepReason::View { target: "b".into(), root: "/srv".into() };
    assert_eq!(refused(|c| c.views[1].is_apart = false), view);
    assert_eq!(refused(|c| (c.views[1].is_apart, c.confirmed) = (false, Vec::new())), view, "the store is not asked");
}

#[test]
fn targets_are_compared_with_the_root_only_where_nothing_else_is_lacking() {
    let looked_at = |spoil: &dyn Fn(&mut PermitCase)| {
        let mut case = good();
        case.views.truncate(1);
        spoil(&mut case);
        case.with_facts(|facts| to_be_looked_at(facts, &case.options))
    };
    assert_eq!(looked_at(&|_| ()), ["b"]);
    assert_eq!(looked_at(&|c| c.views.clear()), ["a", "b"]);
    assert_eq!(looked_at(&|c| c.confirmed.clear()), [""; 0]);
    assert_eq!(looked_at(&|c| c.options.delete_local = DeleteLocal::Never), [""; 0]);
}

#[test]
fn a_plan_says_that_a_target_is_a_view_of_the_root() {
    let mut stock = TestInventory::of(three_records());
    stock.views = vec![TargetView { is_apart: false, ..apart("a") }];
    let plan = stock.plan(DeleteLocal::Delivered);
    assert_eq!((plan.frees.len(), plan.kept.len()), (0, 3));
    assert!(plan.kept[0].1.to_string().contains("`a` is another view of `/srv`"), "{}", plan.kept[0].1);
}

#[test]
fn the_stores_are_asked_for_what_would_go_and_nothing_else() {
    let (original, poster) = (PathBuf::from("/srv/x.flv"), PathBuf::from("/srv/x.png"));
    let mut case = good();
    case.record.preview_file_path = Some(poster.clone());
    case.record.original_path = Some(original);
    for target in ["a", "b"] {
        let object = RemoteObject { key: "x.png".into(), ..object(target, SEEN) };
        let state = DeliveryState::Delivered { objects: vec![object] };
        case.deliveries.push(delivery(target, Kind::Preview, &poster, SEEN, state));
    }
    let asked = |case: &PermitCase| {
        let questions = case.with_facts(|facts| questions(facts, &case.options));
        questions.into_iter().map(|q| (q.object.target, q.object.key, q.is_finished)).collect::<Vec<_>>()
    };
    let poster_of = |target: &str| (target.to_owned(), "x.png".to_owned(), false);
    assert_eq!(asked(&case), [poster_of("a"), poster_of("b")], "the finished file is confirmed");
    let freed = |case: &PermitCase| case.decide().unwrap().files().map(|(path, _)| path.to_owned()).collect::<Vec<_>>();
    assert_eq!(freed(&case), [PathBuf::from("/srv/x.mp4")], "and a companion that is not confirmed stays");
    case.confirmed.truncate(1);
    assert_eq!(asked(&case), [("b".into(), "x.mp4".into(), true), poster_of("a"), poster_of("b")]);
    case.options.delete_local = DeleteLocal::Never;
    assert_eq!(asked(&case), []);
}

#[test]
fn age_counts_from_the_last_required_proof_and_a_clock_set_back_waits() {
    let mut case = good();
    case.options.delete_local = DeleteLocal::After(Duration::from_millis(10));
    case.record.remote[0].verified_ms = PROVEN_MS + 5;
    case.now_ms = PROVEN_MS + 14;
    assert_eq!(case.decide().unwrap_err(), KeepReason::TooEarly { due_ms: PROVEN_MS + 15 });
    case.now_ms = PROVEN_MS + 15;
    assert!(case.decide().is_ok());
    case.now_ms = 0;
    assert!(case.decide().is_err());
}

#[test]
fn size_alone_is_enough_only_where_it_is_allowed_and_an_optional_target_that_failed_holds_nothing_back() {
    let mut case = good();
    case.record.remote[1].checksum_compared = false;
    case.options.accept_size_only = true;
    let fault = Some((Class::Transient, "down".to_owned()));
    let failed = DeliveryState::Waiting { due_ms: 0, last_fault: fault };
    case.deliveries.push(delivery("c", Kind::Recording, Path::new("/srv/x.mp4"), SEEN, failed));
    assert!(case.decide().is_err(), "it waits for its root, and was never tried");
    case.deliveries.last_mut().unwrap().attempts = 1;
    assert!(case.decide().is_ok());
}

#[test]
fn companions_go_only_if_they_are_proven_themselves() {
    let (original, poster) = (PathBuf::from("/srv/x.flv"), PathBuf::from("/srv/x.png"));
    let mut case = good();
    case.record.original_path = Some(original.clone());
    case.record.preview_file_path = Some(poster.clone());
    let freed = |case: &PermitCase| case.decide().unwrap().files().map(|(p, _)| p.to_owned()).collect::<Vec<_>>();
    assert_eq!(freed(&case), [PathBuf::from("/srv/x.mp4")]);

    for target in ["a", "b"] {
        for (kind, path) in [(Kind::OtherContainer, &original), (Kind::Preview, &poster)] {
            let state = DeliveryState::Delivered { objects: vec![object(target, SEEN)] };
            case.deliveries.push(delivery(target, kind, path, SEEN, state));
        }
    }
    // The mask has no bit for originals, so the original stays.
    assert_eq!(freed(&case), [poster.clone(), "/srv/x.mp4".into()]);
    case.uploaded = Kinds::from_bits(63).unwrap();
    assert_eq!(freed(&case), [original.clone(), poster.clone(), "/srv/x.mp4".into()]);
    // Whatever was left out of the finished file is in the original alone.
    case.record.defects.push(Defect::Truncated { missing: "1 s".into() });
    assert_eq!(freed(&case), [poster, "/srv/x.mp4".into()]);
    // One target does not hold the poster.
    case.deliveries.retain(|d| d.target == "a");
    assert_eq!(freed(&case), [PathBuf::from("/srv/x.mp4")]);
}

/// Records, and what is on disk and free where they lie: 50 bytes on device 1.
struct TestInventory {
    records: Vec<VodRecord>,
    deliveries: BTreeMap<String, Vec<Delivery>>,
    on_disk: BTreeMap<String, FileVersion>,
    volumes: BTreeMap<PathBuf, Volume>,
    views: Vec<TargetView>,
    required: Vec<String>,
    awaited: BTreeMap<String, String>,
}

impl TestInventory {
    fn of(records: Vec<VodRecord>) -> Self {
        let on_disk = records.iter().map(|r| (r.vod_id.clone(), untouched(r.fingerprint))).collect();
        let volumes = [("/srv".into(), Volume { device: 1, free_bytes: 50 })].into();
        let (deliveries, awaited, required) = (BTreeMap::new(), BTreeMap::new(), vec!["a".into()]);
        Self { records, deliveries, on_disk, volumes, views: Vec::new(), required, awaited }
    }

    fn plan(&self, delete_local: DeleteLocal) -> FreePlan {
        let inventory = FreeInventory {
            records: &self.records,
            deliveries: &self.deliveries,
            required: &self.required,
            uploaded: Kinds::DEFAULT,
            held_bytes: self.records.iter().filter(|r| r.freed_at.is_none()).map(|r| r.file_size).sum(),
            on_disk: &self.on_disk,
            volumes: &self.volumes,
            views: &self.views,
            awaited: &self.awaited,
            now_ms: PROVEN_MS,
        };
        plan(&inventory, &RetainOptions { delete_local, ..RetainOptions::default() })
    }
}

fn freed(plan: &FreePlan) -> Vec<&str> {
    plan.frees.iter().map(|f| f.vod_id.as_str()).collect()
}

fn three_records() -> Vec<VodRecord> {
    let with_proof = |(i, id): (i64, &str)| {
        let mut record = record(id, Path::new("/srv/x.mp4"), SEEN);
        record.remote = vec![RemoteObject { verified_ms: PROVEN_MS - i, ..object("a", SEEN) }];
        record
    };
    let mut records: Vec<_> = [(1, "young"), (9, "old"), (5, "unproven")].into_iter().map(with_proof).collect();
    records[2].remote[0].checksum_compared = false;
    records
}

#[test]
fn below_the_watermark_the_oldest_proven_goes_first_and_only_as_much_as_is_missing() {
    let stock = TestInventory::of(three_records());
    let at = |watermark| stock.plan(DeleteLocal::BelowFree(watermark));
    let some = at(120);
    assert_eq!(freed(&some), ["old"]);
    assert_eq!((some.frees[0].bytes, some.short_bytes), (100, 0));
    assert!(some.kept.contains(&("unproven".into(), KeepReason::NoChecksum("a".into()))));
    assert!(some.kept.contains(&("young".into(), KeepReason::EnoughRoom { free_bytes: 150 })));
    let all = at(1000);
    assert_eq!(freed(&all), ["old", "young"]);
    assert_eq!(all.short_bytes, 750);
    assert_eq!(at(50).frees, []);
}

#[test]
fn room_is_made_on_the_file_system_that_lacks_it() {
    let mut records = three_records();
    records[1].root = "/other".into();
    let mut stock = TestInventory::of(records);
    stock.volumes.insert("/other".into(), Volume { device: 2, free_bytes: 1000 });
    let plan = stock.plan(DeleteLocal::BelowFree(120));
    assert_eq!(freed(&plan), ["young"], "the oldest lies where there is room enough");
    assert!(plan.kept.contains(&("old".into(), KeepReason::EnoughRoom { free_bytes: 1000 })), "{plan:?}");
}

#[test]
fn what_changed_or_is_gone_makes_no_room_and_the_next_goes() {
    let mut stock = TestInventory::of(three_records());
    stock.on_disk.insert("old".into(), untouched(Fingerprint { mtime_ns: 9, ..SEEN }));
    for policy in [DeleteLocal::BelowFree(120), DeleteLocal::MaxBytes(250)] {
        let plan = stock.plan(policy);
        assert_eq!(freed(&plan), ["young"]);
        assert!(plan.kept.contains(&("old".into(), KeepReason::LocalChanged)), "{plan:?}");
    }
    stock.on_disk.remove("old");
    assert!(stock.plan(DeleteLocal::Delivered).kept.contains(&("old".into(), KeepReason::LocalMissing)));
}

#[test]
fn a_plan_names_what_goes_and_why_the_rest_stays() {
    let mut records = three_records();
    records[0].freed_at = Some(1);
    let plan = TestInventory::of(records).plan(DeleteLocal::Delivered);
    assert_eq!(plan.frees.len(), 1);
    assert!(plan.frees[0].reason.contains("1970-01-01T00:16:39.991Z"), "{}", plan.frees[0].reason);
    assert_eq!(plan.kept, [("unproven".into(), KeepReason::NoChecksum("a".into()))]);
}

fn granted_for(path: &Path) -> Permit {
    let now = durable::seen(path).unwrap();
    let mut case = good();
    case.record = record("v", path, now.fingerprint);
    let object = |target| RemoteObject { source_changed_ns: Some(now.changed_ns), ..object(target, now.fingerprint) };
    case.record.remote = vec![object("a"), object("b")];
    case.now = Some(now);
    case.decide().unwrap()
}

#[test]
fn freeing_removes_the_file_and_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.mp4");
    fs::write(&path, "proven").unwrap();
    fs::write(dir.path().join("other.mp4"), "other").unwrap();
    let freed = free(granted_for(&path)).unwrap();
    assert_eq!((freed.bytes, freed.paths), (6, vec![path]));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_changes_after_the_permit_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.mp4");
    fs::write(&path, "proven").unwrap();
    let permit = granted_for(&path);
    fs::write(&path, "rewritten").unwrap();
    assert!(matches!(free(permit), Err(FreeError::Changed { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "rewritten");
}

#[test]
fn above_the_maximum_the_oldest_proven_goes_first() {
    let stock = TestInventory::of(three_records());
    let at = |max| stock.plan(DeleteLocal::MaxBytes(max));
    assert_eq!((freed(&at(200)), at(200).short_bytes), (vec!["old"], 0));
    assert!(at(200).kept.contains(&("young".into(), KeepReason::WithinMax { held_bytes: 200 })));
    assert_eq!((freed(&at(50)), at(50).short_bytes), (vec!["old", "young"], 50));
    assert_eq!(at(300).frees, []);
}

#[test]
fn a_protected_stream_and_a_copy_that_changed_stay() {
    let mut case = good();
    case.options.protect = vec!["other".into(), "roo*".into()];
    assert_eq!(case.decide(), Err(KeepReason::Protected("room1".into())));
    case.options.protect = vec!["room".into(), "room10".into()];
    assert!(case.decide().is_ok());
    case.record.remote[1].differs = Some("missing".into());
    assert_eq!(case.decide(), Err(KeepReason::Differs { target: "b".into(), difference: "missing".into() }));
}

fn some_seen() -> impl Strategy<Value = FileVersion> {
    let touched = proptest::bool::weighted(0.1);
    (some_fingerprint(), touched)
        .prop_map(|(fingerprint, touched)| FileVersion { fingerprint, changed_ns: CHANGED_NS + i64::from(touched) })
}

fn some_fingerprint() -> impl Strategy<Value = Fingerprint> {
    let (inode, size_bytes, mtime_ns) = (1u64..3, 99u64..102, 0i64..2);
    (inode, size_bytes, mtime_ns).prop_map(|(inode, size_bytes, mtime_ns)| Fingerprint {
        device: 1,
        inode,
        size_bytes,
        mtime_ns,
    })
}

prop_compose! {
    fn some_object()(
        target in "[abc]", size_bytes in 99u64..102, checksum in any::<bool>(), checksum_compared in any::<bool>(),
        verified_ms in 0i64..20, source in some_fingerprint(), has_changed in proptest::bool::weighted(0.1),
        noted in proptest::bool::weighted(0.9),
    ) -> RemoteObject {
        let source_changed_ns = noted.then_some(CHANGED_NS);
        let differs = has_changed.then(|| "missing".to_owned());
        let checksum = checksum.then(|| "md5:x".to_owned());
        RemoteObject { size_bytes, checksum, checksum_compared, verified_ms, source_changed_ns, differs, ..object(&target, source) }
    }
}

const FINISHED: &str = "/srv/x.mp4";
const ORIGINAL: &str = "/srv/x.flv";
const POSTER: &str = "/srv/x.png";

prop_compose! {
    /// A delivery of the finished file or of one of its companions, in any state; its objects may be of another target.
    fn some_delivery()(
        target in "[abc]", object in some_object(), same_target in proptest::bool::weighted(0.9),
        (kind, path) in prop_oneof![
            Just((Kind::Recording, FINISHED)), Just((Kind::OtherContainer, ORIGINAL)), Just((Kind::Preview, POSTER)),
        ],
        state in 0..4, promised in some_fingerprint(), align in proptest::bool::weighted(0.7),
    ) -> Delivery {
        let mut object = object;
        if same_target {
            object.target.clone_from(&target);
        }
        if align {
            (object.source, object.size_bytes) = (promised, promised.size_bytes);
        }
        let fault = Some((Class::Transient, "down".to_owned()));
        let state = match state {
            0 => DeliveryState::Waiting { due_ms: 0, last_fault: None },
            1 => DeliveryState::Waiting { due_ms: 0, last_fault: fault },
            _ => DeliveryState::Delivered { objects: vec![object] },
        };
        delivery(&target, kind, Path::new(path), promised, state)
    }
}

prop_compose! {
    fn some_view()(
        target in "[abc]", is_old in proptest::bool::weighted(0.1), is_apart in proptest::bool::weighted(0.9),
        is_other in proptest::bool::weighted(0.1),
    ) -> TargetView {
        let root = if is_other { "/elsewhere".into() } else { "/srv".into() };
        TargetView { target, root, is_apart, age_ms: VIEW_MAX_AGE_MS + u64::from(is_old) }
    }
}

prop_compose! {
    fn some_confirmation()(
        target in "[abc]", is_old in proptest::bool::weighted(0.1), beyond_size in proptest::bool::weighted(0.9),
        is_other in proptest::bool::weighted(0.1),
    ) -> Confirmation {
        let key = if is_other { "y.mp4".into() } else { "x.mp4".into() };
        Confirmation { target, key, age_ms: ANSWER_MAX_AGE_MS + u64::from(is_old), beyond_size }
    }
}

/// Whether a target's store said within the last minute that it still holds what was proven.
fn is_fresh(case: &PermitCase, target: &str) -> bool {
    case.confirmed.iter().any(|c| {
        c.target == target && c.key == "x.mp4" && c.age_ms <= 60_000 && (c.beyond_size || case.options.accept_size_only)
    })
}

/// Whether a target was found to be apart from the root within the last hour, and by nothing to be a view of it.
fn is_apart(case: &PermitCase, target: &str) -> bool {
    let mut of_it = case.views.iter().filter(|v| v.target == target && v.root == Path::new("/srv")).peekable();
    of_it.peek().is_some() && of_it.all(|v| v.is_apart && v.age_ms <= 3_600_000)
}

fn some_policy() -> impl Strategy<Value = DeleteLocal> {
    prop_oneof![
        Just(DeleteLocal::Never),
        Just(DeleteLocal::Delivered),
        (0u64..20).prop_map(|ms| DeleteLocal::After(Duration::from_millis(ms))),
        (0u64..20).prop_map(DeleteLocal::BelowFree),
        (0u64..20).prop_map(DeleteLocal::MaxBytes),
    ]
}

prop_compose! {
    fn some_case()(
        remote in proptest::collection::vec(some_object(), 0..4), required in proptest::collection::vec("[abc]", 0..3),
        recorded in some_fingerprint(), now in proptest::option::of(some_seen()), same_now in any::<bool>(),
        align in any::<bool>(), file_size in 99u64..102, bits in 0i64..32, free_bytes in 0u64..20, now_ms in 0i64..40,
        policy in some_policy(), accept_size_only in any::<bool>(), freed_at in proptest::option::of(0i64..2),
        (held_bytes, protected) in (0u64..20, proptest::bool::weighted(0.2)),
        deliveries in proptest::collection::vec(some_delivery(), 0..8),
        (confirmed, views) in
            (proptest::collection::vec(some_confirmation(), 0..6), proptest::collection::vec(some_view(), 0..6)),
        (is_cut, has_companions) in (proptest::bool::weighted(0.2), any::<bool>()),
    ) -> PermitCase {
        let mut case = good();
        case.deliveries = deliveries;
        (case.confirmed, case.views) = (confirmed, views);
        if is_cut {
            case.record.defects.push(Defect::Truncated { missing: "1 s".into() });
        }
        if has_companions {
            case.record.original_path = Some(ORIGINAL.into());
            case.record.preview_file_path = Some(POSTER.into());
        }
        let mut recorded = recorded;
        if align {
            recorded = SEEN;
        }
        case.record.fingerprint = recorded;
        case.record.file_size = if align { recorded.size_bytes } else { file_size };
        case.record.remote = remote;
        if align {
            // Without this nearly every random case is refused for the same reason.
            case.record.remote.iter_mut().for_each(|o| (o.source, o.size_bytes) = (SEEN, SEEN.size_bytes));
        }
        case.record.freed_at = freed_at;
        case.now = if same_now { Some(untouched(recorded)) } else { now };
        (case.required, case.free_bytes, case.now_ms) = (required, free_bytes, now_ms);
        case.uploaded = Kinds::from_bits(bits).unwrap();
        let protect = if protected { vec!["room*".to_owned()] } else { Vec::new() };
        case.options = RetainOptions { delete_local: policy, accept_size_only, protect };
        case.held_bytes = held_bytes;
        case
    }
}

/// The oracle, written apart from the code: what must hold of every file that is freed.
fn is_proven(case: &PermitCase) -> bool {
    let Some(FileVersion { fingerprint: now, changed_ns }) = case.now else { return false };
    let held = |target: &String| {
        let object = case.record.remote.iter().find(|o| &o.target == target);
        object.is_some_and(|o| {
            o.size_bytes == now.size_bytes
                && o.source_changed_ns == Some(changed_ns)
                && o.source == now
                && o.differs.is_none()
                && is_fresh(case, target)
                && is_apart(case, target)
                && ((o.checksum_compared && o.checksum.is_some()) || case.options.accept_size_only)
        })
    };
    !case.required.is_empty()
        && case.required.iter().all(held)
        && now == case.record.fingerprint
        && case.record.freed_at.is_none()
        && case.options.protect.is_empty()
        && case.options.delete_local != DeleteLocal::Never
        && case.uploaded.bits() & 1 == 1
}

/// The same of a companion: every required target has a delivery of exactly this file that proves it as it is freed.
fn is_companion_proven(case: &PermitCase, path: &Path, seen: FileVersion) -> bool {
    let FileVersion { fingerprint: seen, changed_ns } = seen;
    let kind = if path == Path::new(ORIGINAL) { Kind::OtherContainer } else { Kind::Preview };
    let holds = |target: &String| {
        case.deliveries.iter().any(|d| match &d.state {
            DeliveryState::Delivered { objects } => {
                let (file, object) = (&d.asset.files[0], &objects[0]);
                (d.target == *target && object.target == *target && file.path == path)
                    && (file.fingerprint == seen && object.source == seen && object.size_bytes == seen.size_bytes)
                    && object.source_changed_ns == Some(changed_ns)
                    && (object.differs.is_none() && (object.checksum_compared && object.checksum.is_some())
                        || object.differs.is_none() && case.options.accept_size_only)
            }
            _ => false,
        })
    };
    case.required.iter().all(|target| holds(target) && is_fresh(case, target))
        && case.uploaded.contains(kind)
        && (kind == Kind::Preview || !case.record.defects.iter().any(Defect::leaves_something_out))
}

/// Whether a target still waits for its first try with the finished file.
fn is_wanted(case: &PermitCase) -> bool {
    let untried = |d: &Delivery| matches!(d.state, DeliveryState::Waiting { last_fault: None, .. });
    case.deliveries.iter().any(|d| untried(d) && d.asset.files[0].path == Path::new(FINISHED))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn no_combination_frees_an_unproven_file(case in some_case()) {
        if let Ok(permit) = case.decide() {
            prop_assert!(is_proven(&case) && !is_wanted(&case));
            for (path, seen) in permit.files().filter(|(path, _)| *path != Path::new(FINISHED)) {
                prop_assert!(is_companion_proven(&case, path, seen), "{}", path.display());
            }
        }
    }

    #[test]
    fn what_is_proven_and_due_at_once_is_freed(case in some_case()) {
        if is_proven(&case) && !is_wanted(&case) && case.options.delete_local == DeleteLocal::Delivered {
            prop_assert!(case.decide().is_ok());
        }
    }
}
