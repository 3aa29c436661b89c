//! A recording whose header is taken away gets the same samples again; hostile bytes end soon and soundly.

mod shape;
mod unframed;

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::isobmff::{Movie, Track};

pub(super) const SOUND: &[u8] = include_bytes!("../../tests/fixtures/sample_MP4_480.mp4");

pub(super) fn movie_of(bytes: &[u8]) -> Movie {
    let mut reader = Cursor::new(bytes);
    let layout = top_level(&mut reader, bytes.len() as u64).unwrap();
    Movie::read(&mut reader, &layout).unwrap()
}

/// The recording up to the end of its media, with the size field that a live writer leaves.
pub(super) fn crashed(bytes: &[u8]) -> Vec<u8> {
    let layout = top_level(&mut Cursor::new(bytes), bytes.len() as u64).unwrap();
    let mdat = *layout.first(b"mdat").unwrap();
    let mut out = b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\0mdat".to_vec();
    out.extend(&bytes[usize::try_from(mdat.body_offset()).unwrap()..usize::try_from(mdat.end()).unwrap()]);
    out
}

fn sizes(movie: &Movie, kind: crate::recording::TrackKind) -> Vec<(u32, i64, i64)> {
    let track = movie.tracks.iter().find(|t| t.kind() == kind).unwrap();
    track.samples().map(|s| (s.size_bytes, s.pts - s.dts, s.dts)).collect()
}

#[test]
fn a_recording_without_header_gets_its_samples_again() {
    use crate::recording::TrackKind::{Audio, Video};
    let truth = movie_of(SOUND);
    let reference = Reference::of(&truth, Origin::Given);
    let broken = crashed(SOUND);
    let salvaged = salvage(Cursor::new(&broken), ExtraReaders::none(), broken.len() as u64, &[reference]).unwrap();
    assert_eq!(salvaged.verdict, SalvageVerdict::Playable);
    assert_eq!(salvaged.report.unexplained_bytes, 0, "{:?}", salvaged.report);
    let only = |samples: Vec<(u32, i64, i64)>| samples.into_iter().map(|s| s.0).collect::<Vec<_>>();
    assert_eq!(only(sizes(&salvaged.movie, Audio)), only(sizes(&truth, Audio)));
    assert_eq!(only(sizes(&salvaged.movie, Video)), only(sizes(&truth, Video)));
}

#[test]
fn pictures_that_were_to_be_shown_behind_the_cut_are_named() {
    use crate::recording::TrackKind::Video;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.mp4");
    let pictures = "testsrc2=s=320x180:r=30:d=6,select='not(eq(mod(n\\,7)\\,3)+eq(mod(n\\,11)\\,5))'";
    let mut run = std::process::Command::new("ffmpeg");
    run.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", "sine=b=2:r=48000:d=6"]);
    run.args(["-vsync", "vfr", "-c:v", "libx264", "-bf", "2", "-c:a", "aac"]).arg(&path);
    assert!(run.status().unwrap().success());
    let whole = std::fs::read(&path).unwrap();
    let truth = movie_of(&whole);
    let reference = Reference::of(&truth, Origin::Given);
    let body = crashed(&whole);
    for share in [5, 7, 9] {
        let broken = &body[..body.len() * share / 10];
        let references = std::slice::from_ref(&reference);
        let salvaged = salvage(Cursor::new(broken), ExtraReaders::none(), broken.len() as u64, references).unwrap();
        assert_eq!(salvaged.report.frame_rate, "variable");
        let shown = |movie: &Movie| {
            let track = movie.tracks.iter().find(|track| track.kind() == Video).unwrap();
            let ms = |ticks: i64| ticks * 1000 / i64::from(track.timescale());
            track.samples().map(|sample| ms(sample.pts)).collect::<Vec<_>>()
        };
        let (found, expected) = (shown(&salvaged.movie), shown(&truth));
        let zero = found[0] - expected[0];
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_by_key(|at| found[*at]);
        let guessed = usize::try_from(salvaged.report.guessed_pictures).unwrap();
        assert!((1..=3).contains(&guessed), "{guessed} at {share}");
        for at in &order[..order.len() - guessed] {
            assert!((found[*at] - zero - expected[*at]).abs() <= 40, "{at} of {}, {guessed} at {share}", order.len());
        }
    }
}

#[test]
fn a_length_that_lies_costs_one_picture_wherever_it_leads() {
    use crate::recording::TrackKind::{Audio, Video};
    let truth = movie_of(SOUND);
    let reference = Reference::of(&truth, Origin::Given);
    let body = truth.tracks.iter().flat_map(|track| track.samples()).map(|sample| sample.offset).min().unwrap();
    let video = truth.tracks.iter().find(|track| track.kind() == Video).unwrap();
    let units: Vec<_> = video.samples().collect();
    let largest = units.iter().take(20).map(|sample| sample.size_bytes).max().unwrap();
    let whole = crashed(SOUND);
    let layout = top_level(&mut Cursor::new(SOUND), SOUND.len() as u64).unwrap();
    let shift = layout.first(b"mdat").unwrap().body_offset() - 24;
    assert!(body >= shift + 24);
    let lying = units[20];
    // It leads exactly to where another picture begins, so that everything behind it stands.
    let far = lying.offset + u64::from(largest * 5).max(70_000);
    let target = units.iter().find(|sample| sample.offset > far).unwrap();
    let mut broken = whole;
    let at = usize::try_from(lying.offset - shift).unwrap();
    let length = u32::try_from(target.offset - lying.offset - 4).unwrap();
    broken[at..at + 4].copy_from_slice(&length.to_be_bytes());
    let salvaged = salvage(Cursor::new(&broken), ExtraReaders::none(), broken.len() as u64, &[reference]).unwrap();
    let missing = |kind| sizes(&truth, kind).len() - sizes(&salvaged.movie, kind).len();
    assert!(missing(Video) <= 1 && missing(Audio) == 0, "{} {}", missing(Video), missing(Audio));
}

#[test]
fn a_picture_that_the_end_cuts_off_is_no_sound() {
    let truth = movie_of(SOUND);
    let video = truth.tracks.iter().find(|track| track.kind() == crate::recording::TrackKind::Video).unwrap();
    let picture = |number: usize| {
        let sample = video.samples().nth(number).unwrap();
        let at = usize::try_from(sample.offset).unwrap();
        &SOUND[at..at + sample.size_bytes as usize]
    };
    let mut noise = (0..).map(|n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[0] | 4);
    let mut media = Vec::new();
    for number in 0..12 {
        media.extend_from_slice(picture(number));
        media.extend(noise.by_ref().take(4096));
    }
    // The last picture that is whole, with no sound between it and the one that is cut.
    media.extend_from_slice(picture(12));
    let cut = media.len() as u64;
    media.extend_from_slice(&picture(13)[..picture(13).len() / 2]);
    let mut hypothesis = Reference::of(&truth, Origin::Given).hypothesis();
    hypothesis.audio[0].sound = element::Sound::Pcm { block_bytes: 4 };
    let mut source = Source::new(Cursor::new(&media), media.len() as u64);
    let walked = walk::walk(&mut source, 0..media.len() as u64, &hypothesis);
    assert_eq!((walked.frames.len(), walked.audio[0].len()), (13, 12), "{:?}", walked.gaps);
    assert_eq!(walked.gaps.last().unwrap().range, cut..media.len() as u64);
}

#[test]
fn the_last_picture_is_not_given_up_for_one_frame_of_sound_that_seems_to_lie_in_it() {
    use crate::recording::TrackKind::{Audio, Video};
    let truth = movie_of(SOUND);
    let sample = |kind, number: usize| {
        let track = truth.tracks.iter().find(|track| track.kind() == kind).unwrap();
        let sample = track.samples().nth(number).unwrap();
        let at = usize::try_from(sample.offset).unwrap();
        SOUND[at..at + sample.size_bytes as usize].to_vec()
    };
    let mut media: Vec<u8> = (0..12).flat_map(|number| sample(Video, number)).collect();
    // The bytes of a frame begin inside the last picture, and those behind it are nothing by themselves: as when the end of
    // the file cuts what follows.
    let (mut picture, frame) = (sample(Video, 12), sample(Audio, 9));
    let inside = (frame.len() / 3..frame.len()).find(|at| frame[*at - 1] != 0).unwrap();
    let begins = picture.len() - inside;
    picture[begins..].copy_from_slice(&frame[..inside]);
    media.extend([&picture[..], &frame[inside..]].concat());
    let hypothesis = Reference::of(&truth, Origin::Given).hypothesis();
    let mut source = Source::new(Cursor::new(&media), media.len() as u64);
    let walked = walk::walk(&mut source, 0..media.len() as u64, &hypothesis);
    assert_eq!((walked.frames.len(), walked.audio[0].len()), (13, 0), "{:?}", walked.gaps);
}

#[test]
fn a_picture_in_front_of_a_cut_frame_that_looks_like_a_huge_slice_is_whole() {
    let truth = movie_of(SOUND);
    let video = truth.tracks.iter().find(|track| track.kind() == crate::recording::TrackKind::Video).unwrap();
    let picture = |sample: crate::isobmff::Sample| {
        let at = usize::try_from(sample.offset).unwrap();
        SOUND[at..at + sample.size_bytes as usize].to_vec()
    };
    let pictures: Vec<u8> = video.samples().take(13).flat_map(picture).collect();
    // The beginning of a frame of one channel: as a length 17 MB, and then a slice that is not the first.
    for (length, whole) in [([0x01, 0x10, 0, 0], 13), ([0, 0, 0x10, 0], 12)] {
        let media = [&pictures[..], &length, &[0x41, 0x5B], &[0x55; 60]].concat();
        let hypothesis = Reference::of(&truth, Origin::Given).hypothesis();
        let mut source = Source::new(Cursor::new(&media), media.len() as u64);
        let walked = walk::walk(&mut source, 0..media.len() as u64, &hypothesis);
        assert_eq!(walked.frames.len(), whole, "{length:x?} {:?}", walked.gaps);
    }
}

#[test]
fn silence_that_looks_like_the_length_of_a_huge_unit_is_sound() {
    // A frame of one silent channel; as a length it is 18 MB, and may lead to another one by chance.
    const SILENCE: [u8; 4] = [0x01, 0x18, 0x20, 0x07];
    let truth = movie_of(SOUND);
    let video = truth.tracks.iter().find(|track| track.kind() == crate::recording::TrackKind::Video).unwrap();
    let picture = |sample: crate::isobmff::Sample| {
        let at = usize::try_from(sample.offset).unwrap();
        &SOUND[at..at + sample.size_bytes as usize]
    };
    let pictures: Vec<&[u8]> = video.samples().take(13).map(picture).collect();
    let odd = pictures.iter().find(|picture| picture.len() % 2 == 1).unwrap();
    let distance = usize::try_from(u32::from_be_bytes(SILENCE)).unwrap();
    // Between the length and where it leads: pictures, and then as much silence as makes it lead to a frame.
    let mut between = SILENCE.to_vec();
    between.extend(pictures.concat().repeat(distance / pictures.concat().len() - 1));
    let fitting = (0..4).find(|count| (distance - between.len() - count * odd.len()).is_multiple_of(4)).unwrap();
    between.extend(odd.repeat(fitting));
    between.extend(SILENCE.repeat((distance - between.len()) / 4));
    let media = [&pictures.concat()[..], &SILENCE, &between, &SILENCE.repeat(20), pictures[1]].concat();
    let mut hypothesis = Reference::of(&truth, Origin::Given).hypothesis();
    let config = aac::AacConfig::new(48_000, aac::ChannelElements::of_channels(1)).unwrap();
    hypothesis.audio[0].sound = element::Sound::Aac(config);
    let mut source = Source::new(Cursor::new(&media), media.len() as u64);
    let walked = walk::walk(&mut source, 0..media.len() as u64, &hypothesis);
    assert_eq!(walked.gaps, []);
    assert_eq!(walked.audio[0].len(), media.windows(4).filter(|window| *window == SILENCE).count());
}

#[test]
fn media_of_which_nothing_is_known_counts_as_lost() {
    let truth = movie_of(SOUND);
    let mut broken = crashed(SOUND);
    let cut = broken.len() * 6 / 10;
    let mut noise = (0..).map(|n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[0] | 4);
    broken[cut..].fill_with(|| noise.next().unwrap_or(0));
    let reference = Reference::of(&truth, Origin::Given);
    let salvaged = salvage(Cursor::new(&broken), ExtraReaders::none(), broken.len() as u64, &[reference]).unwrap();
    for (found, track) in salvaged.report.tracks.iter().zip(&truth.tracks) {
        let missing = i64::try_from(track.tables.count() - found.packets).unwrap();
        assert!(found.lost * 2 > missing && found.lost < missing * 2, "{found:?}, {missing} are missing");
    }
    assert!(salvaged.report.unexplained_bytes * 10 > broken.len() as u64 * 3, "{:?}", salvaged.report.gaps);
    assert_eq!(salvaged.report.confidence, Confidence::Low);
}

#[test]
fn what_a_recording_beside_it_has_that_cannot_be_read_is_not_taken_for_its_other_tracks() {
    let mut movie = movie_of(SOUND);
    let video = movie.tracks.iter_mut().find(|track| track.kind() == crate::recording::TrackKind::Video).unwrap();
    let other = [&b"\0\0\0\x66stsd\0\0\0\0\0\0\0\x01\0\0\0\x56vp09"[..], &[0; 78]].concat();
    *video = Track::new(video.id(), crate::isobmff::FourCc(*b"vide"), 1000, &other, (320, 240)).unwrap();
    let broken = crashed(SOUND);
    for origin in [Origin::Given, Origin::Stream, Origin::Sibling] {
        let references = [Reference::of(&movie, origin)];
        let salvaged = salvage(Cursor::new(&broken), ExtraReaders::none(), broken.len() as u64, &references).unwrap();
        // That the media is of another codec after all is seen, but not how that is coded.
        let is_own = origin != Origin::Sibling;
        assert_eq!(salvaged.verdict == SalvageVerdict::NotCovered, is_own, "{origin:?}: {:?}", salvaged.verdict);
        assert!(!is_own || salvaged.report.tracks[0].codec == "vp9");
        assert!(salvaged.movie.tracks.iter().all(|track| track.codec() != "aac") || !is_own);
    }
    // Any bytes are sound that is not coded.
    let mut sound = movie_of(SOUND);
    sound.tracks.retain(|track| track.codec() == "aac");
    let pcm = [
        &b"\0\0\0\x34stsd\0\0\0\0\0\0\0\x01\0\0\0\x24sowt"[..],
        &[0; 16],
        &[0, 2, 0, 16, 0, 0, 0, 0, 0xBB, 0x80, 0, 0],
    ]
    .concat();
    sound.tracks[0] = Track::new(1, crate::isobmff::FourCc(*b"soun"), 48_000, &pcm, (0, 0)).unwrap();
    let beside = Reference::of(&sound, Origin::Sibling);
    assert!(beside.audio().count() == 1 && !beside.can_be_refuted());
    let noise: Vec<u8> = (0..100_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let broken = [&b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\0mdat"[..], &noise].concat();
    let salvaged = salvage(Cursor::new(&broken), ExtraReaders::none(), broken.len() as u64, &[beside]).unwrap();
    assert_eq!(salvaged.verdict, SalvageVerdict::Nothing);
}

#[test]
fn without_any_parameter_set_it_is_not_called_playable() {
    let broken = crashed(SOUND);
    let salvaged = salvage(Cursor::new(&broken), ExtraReaders::none(), broken.len() as u64, &[]).unwrap();
    let truth = movie_of(SOUND);
    let pictures = truth.tracks.iter().find(|t| t.codec() == "h264").unwrap().tables.count();
    assert_eq!(salvaged.verdict, SalvageVerdict::NeedsParameters);
    assert_eq!(salvaged.report.tracks[0].packets, pictures);
}

#[test]
fn bytes_without_media_end_soon_with_nothing() {
    for filler in [0_u8, 0xFF, 0x21, 0x01, 0x65] {
        let mut bytes = b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\0mdat".to_vec();
        bytes.resize(200_000, filler);
        let reference = Reference::of(&movie_of(SOUND), Origin::Given);
        let salvaged = salvage(Cursor::new(&bytes), ExtraReaders::none(), bytes.len() as u64, &[reference]).unwrap();
        assert!(salvaged.report.packets() < 1000, "{filler:#x}: {:?}", salvaged.report.tracks);
    }
}

/// Elements that nearly follow one another, and bytes that take long to be seen through, repeated to a length.
pub(super) fn hostile(len: usize) -> Vec<(String, Vec<u8>)> {
    let truth = movie_of(SOUND);
    let first = |kind| {
        let track = truth.tracks.iter().find(|track| track.kind() == kind).unwrap();
        let sample = track.samples().nth(9).unwrap();
        let at = usize::try_from(sample.offset).unwrap();
        SOUND[at..at + sample.size_bytes as usize].to_vec()
    };
    let (picture, sound) = (first(crate::recording::TrackKind::Video), first(crate::recording::TrackKind::Audio));
    let unit =
        |bytes: usize| [&u32::try_from(bytes - 4).unwrap().to_be_bytes(), &picture[4..bytes - 1], &[0x80]].concat();
    let long = [&u32::to_be_bytes(200_000)[..], &picture[4..16]].concat();
    let mut patterns: Vec<(String, Vec<u8>)> =
        (0..=255_u8).step_by(17).chain([1, 2, 0x21]).map(|byte| (format!("{byte:#x}"), vec![byte; 64])).collect();
    patterns.extend([
        ("one unit".to_owned(), [&unit(40)[..], &[0x77, 0x13]].concat()),
        ("two units".to_owned(), [&unit(40)[..], &unit(50), &[0x77, 0x13, 0xF1]].concat()),
        ("long units".to_owned(), long),
        ("one frame".to_owned(), [&sound[..], &[0xFF]].concat()),
        ("cut frames".to_owned(), sound[..sound.len() - 3].to_vec()),
        ("heads of frames".to_owned(), sound[..20].to_vec()),
    ]);
    let repeated = |(name, pattern): (String, Vec<u8>)| (name, pattern.iter().copied().cycle().take(len).collect());
    patterns.into_iter().map(repeated).collect()
}

#[test]
fn hostile_bytes_are_looked_at_a_bounded_number_of_times() {
    // What one look costs at most, beyond what is allowed.
    const ONE_LOOK_BYTES: u64 = 256 << 10;
    let reference = Reference::of(&movie_of(SOUND), Origin::Given);
    let mut are_spent = 0;
    for len in [100 << 10, 400 << 10] {
        for (name, bytes) in hostile(len) {
            let mut hypotheses = vec![reference.hypothesis()];
            let mut unframed = reference.hypothesis();
            unframed.audio[0].sound = element::Sound::Opus;
            hypotheses.push(unframed);
            for hypothesis in hypotheses {
                let mut source = Source::new(Cursor::new(&bytes), len as u64);
                let walked = walk::walk(&mut source, 0..len as u64, &hypothesis);
                let budget = walk::WalkBudget::new(0, len as u64);
                let allowed = budget.allowed_at(len as u64) + ONE_LOOK_BYTES;
                assert!(walked.work_bytes <= allowed, "{name}: {} of {allowed}", walked.work_bytes);
                are_spent += u32::from(walked.work_bytes > budget.allowed_at(0));
            }
        }
    }
    assert!(are_spent > 0, "what is tried is hostile indeed");
}

/// What an interrupted `faststart` pass leaves of a file: moved by `by` bytes up to so many pieces of that length.
fn interrupted(written: &[u8], by: usize, pieces: usize) -> Vec<u8> {
    let moved = &written[16..16 + by * pieces];
    [&written[..16 + by], moved, &written[16 + by * (pieces + 1)..]].concat()
}

#[test]
fn an_interrupted_faststart_pass_costs_what_was_in_memory() {
    let truth = movie_of(SOUND);
    let whole = crashed(SOUND);
    // As FFmpeg writes it before the pass: a `free` box, and an `mdat` whose size is known.
    let body = &whole[24..];
    let size = u32::try_from(body.len() + 8).unwrap().to_be_bytes();
    let written = [&whole[..16], b"\0\0\0\x08free", &size, b"mdat", body].concat();
    let (by, pieces) = (30_000, 20);
    let broken = interrupted(&written, by, pieces);
    assert_eq!(broken.len(), written.len());
    let reference = Reference::of(&truth, Origin::Given);
    let salvaged = salvage(Cursor::new(&broken), ExtraReaders::none(), broken.len() as u64, &[reference]).unwrap();
    assert_eq!(salvaged.verdict, SalvageVerdict::Playable, "{:?}", salvaged.report);
    let gone = written.len() as u64 - (16 + by * (pieces + 1)) as u64;
    for kind in [crate::recording::TrackKind::Video, crate::recording::TrackKind::Audio] {
        let (before, after) = (sizes(&truth, kind), sizes(&salvaged.movie, kind));
        let mean: u32 = before.iter().map(|s| s.0).sum::<u32>() / u32::try_from(before.len()).unwrap();
        let most_lost = by / mean as usize + 20;
        assert!(
            after.len() <= before.len() && after.len() + most_lost >= before.len(),
            "{kind:?} {} {gone}",
            after.len()
        );
        // Behind the frontier the times are those of the recording again.
        let (last, end) = (before[before.len() - 1], after[after.len() - 1]);
        assert!((last.2 - end.2).abs() * 25 < 2 * 48_000, "{kind:?} {last:?} {end:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn flipped_and_cut_bytes_never_lead_outside(
        flips in proptest::collection::vec((0.0..1.0_f64, any::<u8>()), 0..40), cut in 0.1..1.0_f64,
    ) {
        let whole = crashed(SOUND);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a fraction of a length")]
        let place = |share: f64, len: usize| ((len as f64) * share) as usize;
        let mut broken = whole[..place(cut, whole.len().min(600_000)).max(40)].to_vec();
        let len = broken.len();
        for (share, value) in flips {
            broken[28.max(place(share, len))..][..1][0] ^= value;
        }
        let reference = Reference::of(&movie_of(SOUND), Origin::Given);
        let salvaged = salvage(Cursor::new(&broken), ExtraReaders::none(), len as u64, &[reference]).unwrap();
        for sample in salvaged.movie.tracks.iter().flat_map(|t| t.samples()) {
            prop_assert!(sample.offset + u64::from(sample.size_bytes) <= len as u64 && sample.pts >= sample.dts);
        }
        prop_assert!(salvaged.movie.to_moov(0).is_ok());
    }
}

/// Counts the bytes that are read.
struct CountingReader<'a>(Cursor<&'a [u8]>, &'a std::cell::Cell<usize>);

impl Read for CountingReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(into)?;
        self.1.set(self.1.get() + read);
        Ok(read)
    }
}

impl Seek for CountingReader<'_> {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn a_long_tail_of_zeros_is_read_a_few_times_at_most() {
    for (data, zeros) in [(100_000, 8 << 20), (70_001, 3), (0, 1 << 20), (300_000, 0)] {
        let mut media = vec![7; data];
        media.resize(data + zeros, 0);
        let read = std::cell::Cell::new(0);
        let len = media.len() as u64;
        let mut reader = CountingReader(Cursor::new(&media), &read);
        assert_eq!(trimmed(&mut reader, &(24..len)).unwrap(), (data as u64).max(24));
        assert!(read.get() <= 3 * media.len() + (1 << 20), "{} of {}", read.get(), media.len());
    }
}
