//! Recordings with something wrong in them, most of them made by moving the tags of an FLV file.

use super::*;

/// The tags of an FLV file: (type, timestamp in milliseconds, body).
fn tags(path: &Path) -> Vec<(u8, u32, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let (mut at, mut found) = (13, Vec::new());
    while at + 11 < bytes.len() {
        let length = u32::from_be_bytes([0, bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        let time = u32::from_be_bytes([bytes[at + 7], bytes[at + 4], bytes[at + 5], bytes[at + 6]]);
        found.push((bytes[at], time, bytes[at + 11..at + 11 + length].to_vec()));
        at += 11 + length + 4;
    }
    found
}

fn write_tags(path: &Path, tags: &[(u8, u32, Vec<u8>)]) {
    let mut bytes = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
    for (kind, time, body) in tags {
        let (length, time) = (u32::try_from(body.len()).unwrap(), time.to_be_bytes());
        bytes.push(*kind);
        bytes.extend(&length.to_be_bytes()[1..]);
        bytes.extend([time[1], time[2], time[3], time[0], 0, 0, 0]);
        bytes.extend(body);
        bytes.extend((length + 11).to_be_bytes());
    }
    fs::write(path, bytes).unwrap();
}

fn flv(directory: &Path) -> Vec<(u8, u32, Vec<u8>)> {
    tags(&made(directory, "made.flv", &format!("{X264} -bf 0 -c:a aac"))).into_iter().filter(|t| t.0 != 18).collect()
}

#[test]
fn a_track_beyond_the_first_megabytes_is_still_found() {
    let directory = tempfile::tempdir().unwrap();
    let mut all = flv(directory.path());
    let padding = vec![0x55; 200_000];
    for tag in all.iter_mut().filter(|t| t.0 == 9 && t.2[1] == 1) {
        // Filler data (NAL unit type 12) makes the pictures large without changing them.
        tag.2.extend(u32::try_from(padding.len() + 1).unwrap().to_be_bytes());
        tag.2.push(12);
        tag.2.extend(&padding);
    }
    let (pictures, sound): (Vec<_>, Vec<_>) = all.into_iter().partition(|t| t.0 == 9);
    let late: Vec<_> = sound.into_iter().map(|(kind, time, body)| (kind, time + 3500, body)).collect();
    let mut all = [pictures, late].concat();
    all.sort_by_key(|t| t.1);
    let source = directory.path().join("late.flv");
    write_tags(&source, &all);
    let done = finish(&source, Container::Mp4, directory.path());
    assert_eq!(done.reading.tracks.len(), 2);
    assert!((3400..3600).contains(&done.reading.tracks[1].start_ms), "{}", done.reading.tracks[1].start_ms);
    assert!(!done.remuxed.leaves_something_out(), "{:?}", done.remuxed.defects);
}

#[test]
fn a_restarted_clock_is_joined_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let all = flv(directory.path());
    let again = all.iter().filter(|t| t.2[1] == 1).cloned();
    let source = directory.path().join("twice.flv");
    write_tags(&source, &all.iter().cloned().chain(again).collect::<Vec<_>>());
    let done = finish(&source, Container::Mp4, directory.path());
    assert!((7900..8200).contains(&done.reading.duration_ms()), "{}", done.reading.duration_ms());
    assert!(done.remuxed.defects.iter().any(|d| matches!(d, Defect::TimestampGap { length_ms: ..0, .. })));
    let [video, audio] = &done.reading.tracks[..] else { panic!("two tracks") };
    assert!((video.last_pts_ms - audio.last_pts_ms).abs() < 100, "sound and picture end together");
    assert_decodes(&done.output);
}

#[test]
fn sound_and_pictures_stay_together_through_several_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let all = flv(directory.path());
    let (heads, media): (Vec<_>, Vec<_>) = all.into_iter().partition(|tag| tag.2[1] == 0);
    let source = directory.path().join("thrice.flv");
    for length in [3100, 3400, 3900] {
        let mut tags = heads.clone();
        for start in [60_000, 0, 0, 500] {
            // At each break the sound ends a bit earlier.
            let is_there = |tag: &&(u8, u32, Vec<u8>)| tag.1 < length - if tag.0 == 8 { 300 } else { 0 };
            let run = media.iter().filter(is_there);
            tags.extend(run.map(|(kind, time, body)| (*kind, time + start, body.clone())));
        }
        write_tags(&source, &tags);
        let done = finish(&source, Container::Mp4, directory.path());
        assert!(!done.remuxed.leaves_something_out(), "{:?}", done.remuxed.defects);
        let [video, audio] = &done.reading.tracks[..] else { panic!("two tracks") };
        let apart = video.last_pts_ms - audio.last_pts_ms;
        assert!((200..450).contains(&apart), "{apart} ms at {length}");
        fs::remove_file(done.output).unwrap();
    }
}

#[test]
fn sound_of_a_restarted_clock_is_not_taken_for_sound_before_the_beginning() {
    let directory = tempfile::tempdir().unwrap();
    let all = flv(directory.path());
    let again = all.iter().filter(|t| t.2[1] == 1).cloned();
    let late = all.iter().map(|(kind, time, body)| (*kind, time + 60_000, body.clone()));
    let source = directory.path().join("late.flv");
    write_tags(&source, &late.chain(again).collect::<Vec<_>>());
    let done = finish(&source, Container::Mp4, directory.path());
    assert!(!done.remuxed.leaves_something_out(), "{:?}", done.remuxed.defects);
    assert!((7900..8200).contains(&done.reading.duration_ms()), "{}", done.reading.duration_ms());
    let [video, audio] = &done.reading.tracks[..] else { panic!("two tracks") };
    assert!((video.last_pts_ms - audio.last_pts_ms).abs() < 100, "sound and picture end together");
}

#[test]
fn a_picture_track_that_is_only_declared_is_named_and_nothing_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let all = flv(directory.path());
    let source = directory.path().join("silent.flv");
    // The codec configuration of the pictures, but no picture.
    write_tags(&source, &all.into_iter().filter(|t| t.0 == 8 || t.2[1] == 0).collect::<Vec<_>>());
    let done = finish(&source, Container::Mp4, directory.path());
    assert_eq!(done.reading.tracks.len(), 1);
    assert!(done.remuxed.defects.iter().any(|d| matches!(d, Defect::EmptyTrack { .. })), "{:?}", done.remuxed.defects);
    assert!(!done.remuxed.leaves_something_out(), "{:?}", done.remuxed.defects);
}

#[test]
fn pictures_without_a_keyframe_cannot_be_finished() {
    let directory = tempfile::tempdir().unwrap();
    let all = flv(directory.path());
    let source = directory.path().join("keyless.flv");
    write_tags(&source, &all.into_iter().filter(|t| t.0 == 8 || t.2[1] == 0 || t.2[0] >> 4 != 1).collect::<Vec<_>>());
    let output = directory.path().join("o.mp4");
    fs::write(&output, b"").unwrap();
    for begins in [OutputStart::AtKeyframe, OutputStart::AtFirstPacket] {
        let request = Remux { begins, ..Remux::new(&source, Container::Flv, &output, Container::Mp4) };
        let error = remux(&request).unwrap_err();
        assert_eq!(error.defects(), [Defect::NoKeyframe], "{error:?}");
    }
    assert!(read(&source, Container::Flv, PassControl::default()).unwrap().defects.contains(&Defect::NoKeyframe));
}

#[test]
fn of_a_damaged_recording_every_packet_is_kept_from_the_first_on() {
    let directory = tempfile::tempdir().unwrap();
    let all = tags(&made(directory.path(), "made.flv", &format!("{X264} -bf 2 -g 30 -c:a aac")));
    let all: Vec<_> = all.into_iter().filter(|tag| tag.0 != 18).collect();
    let is_media = |tag: &(u8, u32, Vec<u8>)| tag.2[1] == 1;
    let first = all.iter().position(is_media).unwrap();
    let pictures = |skipped| move |tag: &&(u8, u32, Vec<u8>)| tag.0 == 9 && tag.1 > skipped;
    // The beginning is lost in the middle of a group of pictures, wherever that is in their order.
    for skipped in [100, 140, 180, 220] {
        let left: Vec<_> = all[first..].iter().filter(|tag| is_media(tag) && tag.1 > skipped).cloned().collect();
        let source = directory.path().join("headless.flv");
        write_tags(&source, &[&all[..first], &left].concat());
        let output = directory.path().join("o.mp4");
        for header in [HeaderPlacement::First, HeaderPlacement::Fragments] {
            fs::write(&output, b"").unwrap();
            let request = Remux::new(&source, Container::Flv, &output, Container::Mp4);
            let request = Remux { begins: OutputStart::AtFirstPacket, header, ..request };
            let done = remux(&request).unwrap();
            assert!(!done.leaves_something_out(), "{skipped}: {:?}", done.defects);
            let reading = read(&output, Container::Mp4, PassControl::default()).unwrap();
            compare(&done, &reading).unwrap();
            let [video, audio] = &reading.tracks[..] else { panic!("two tracks") };
            assert_eq!(video.packets, left.iter().filter(pictures(skipped)).count() as u64, "{skipped}");
            let [was_video, was_audio] = &done.source.tracks[..] else { panic!("two tracks") };
            assert_eq!(video.first_pts_ms.min(audio.first_pts_ms), 0, "{skipped}");
            let (now, before) = (video.first_pts_ms - audio.first_pts_ms, was_video.start_ms - was_audio.start_ms);
            assert!((now - before).abs() <= 1, "{skipped}: {now} {before}");
        }
    }
}

#[test]
fn language_and_rotation_come_along() {
    let directory = tempfile::tempdir().unwrap();
    let plain = made(directory.path(), "plain.mp4", &format!("{X264} -c:a aac -metadata:s:a:0 language=fin"));
    let turned = directory.path().join("turned.mp4");
    ffmpeg(&format!("-i {} -c copy -metadata:s:v:0 rotate=90", plain.display()), &turned);
    assert!(ffprobe(&turned, "stream_side_data=rotation").contains("rotation="), "the source is turned");
    let done = finish(&turned, Container::Mp4, directory.path());
    assert_eq!(ffprobe(&done.output, "stream_side_data=rotation"), ffprobe(&turned, "stream_side_data=rotation"));
    assert_eq!(done.reading.tracks[1].language.as_deref(), Some("fin"));
}

#[test]
fn the_creation_time_is_kept_or_set() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("o.mp4");
    fs::write(&output, b"").unwrap();
    let source = fixture("test_short.flv");
    let mut request = Remux::new(&source, Container::Flv, &output, Container::Mp4);
    request.created_ms = Some(1_772_634_615_000);
    request.header = HeaderPlacement::Fragments;
    let remuxed = remux(&request).unwrap();
    let reading = read(&output, Container::Mp4, PassControl::default()).unwrap();
    compare(&remuxed, &reading).unwrap();
    assert_eq!(reading.created_ms, Some(1_772_634_615_000));
    assert!(boxes(&output).contains(&"moof".to_owned()), "the muxer wrote fragments");
}

#[test]
fn every_cut_of_a_recording_is_an_answer_and_never_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("o.mp4");
    for name in ["test_short.flv", "sample_MP4_480.mp4", "big-buck-bunny_trailer.webm"] {
        let whole = fs::read(fixture(name)).unwrap();
        let from = container_of(&fixture(name));
        let to = if from == Container::Webm { Container::Webm } else { Container::Mp4 };
        for length in [0, 1, 12, 13, 100, 1000, 5000, 20_000, whole.len() - 1] {
            let cut = directory.path().join("cut");
            fs::write(&cut, &whole[..length]).unwrap();
            fs::write(&output, b"").unwrap();
            match remux(&Remux::new(&cut, from, &output, to)) {
                Ok(done) => {
                    compare(&done, &read(&output, to, PassControl::default()).unwrap()).unwrap();
                    assert!(done.leaves_something_out(), "{name} at {length}: {:?}", done.defects);
                }
                Err(error) => assert_eq!(error.class(), Class::Permanent, "{name} at {length}: {error:?}"),
            }
        }
    }
}

/// Presentation times of a track, milliseconds.
fn shown(path: &Path, kind: &str) -> Vec<i64> {
    let mut run = Command::new("ffprobe");
    run.args(["-v", "error", "-select_streams", kind, "-show_entries", "packet=pts_time", "-of", "csv=p=0"]).arg(path);
    let seconds = String::from_utf8(run.output().unwrap().stdout).unwrap();
    let seconds = seconds.lines().filter_map(|line| line.trim_matches(',').parse::<f64>().ok());
    #[expect(clippy::cast_possible_truncation, reason = "a few seconds")]
    seconds.map(|at| (at * 1000.0).round() as i64).collect()
}

#[test]
fn a_time_that_was_hit_moves_no_other_packet() {
    let directory = tempfile::tempdir().unwrap();
    let all = flv(directory.path());
    let source = directory.path().join("hit.flv");
    let all: Vec<_> = all.into_iter().map(|(kind, time, body)| (kind, time + 5000, body)).collect();
    write_tags(&source, &all);
    let sound = finish(&source, Container::Mp4, directory.path()).output;
    let expected = ["v", "a"].map(|kind| shown(&sound, kind));
    fs::remove_file(sound).unwrap();
    // Tags, and the bits of their time that are hit: far ahead and far behind.
    for (kind, hits) in [(8, 60), (9, 30), (8, 100), (9, 80)] {
        for bits in [1 << 11, 1 << 12, 1 << 13, 1 << 20] {
            let mut hit = all.clone();
            let tags = hit.iter_mut().filter(|tag| tag.0 == kind).skip(1).enumerate();
            tags.filter(|(number, _)| *number == hits).for_each(|(_, tag)| tag.1 ^= bits);
            write_tags(&source, &hit);
            let done = finish(&source, Container::Mp4, directory.path());
            let found = ["v", "a"].map(|kind| shown(&done.output, kind));
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.len(), expected.len());
                let worst = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).max();
                assert!(worst <= Some(40), "{kind} {hits} {bits}: {worst:?}");
            }
            let is_said = |defect: &Defect| matches!(defect, Defect::TimestampsRepaired { .. });
            assert!(done.remuxed.defects.iter().any(is_said), "{:?}", done.remuxed.defects);
            fs::remove_file(done.output).unwrap();
        }
    }
}
