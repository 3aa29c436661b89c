//! MPEG transport streams with more or less in them than sound and pictures.

use super::*;

const PACKET_BYTES: usize = 188;
const PMT_PID: u16 = 0x1000;

fn pid(packet: &[u8]) -> u16 {
    u16::from(packet[1] & 0x1F) << 8 | u16::from(packet[2])
}

/// The checksum of sections (ISO/IEC 13818-1, annex A).
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| crc << 1 ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 })
    })
}

/// Says in every program map that the PID carries another type of stream, with a descriptor.
fn retype(bytes: &mut [u8], wanted: u16, stream_type: u8, descriptor: &[u8]) {
    for packet in bytes.chunks_exact_mut(PACKET_BYTES).filter(|p| pid(p) == PMT_PID && p[1] & 0x40 != 0) {
        let section = &packet[5..];
        let length = 3 + (usize::from(section[1] & 0xF) << 8 | usize::from(section[2]));
        let mut map = section[..length - 4].to_vec();
        let mut at = 12 + usize::from(map[11]);
        while pid(&map[at..]) != wanted {
            at += 5 + usize::from(map[at + 4]);
        }
        map[at] = stream_type;
        map[at + 4] += u8::try_from(descriptor.len()).unwrap();
        map.splice(at + 5..at + 5, descriptor.iter().copied());
        map[2] += u8::try_from(descriptor.len()).unwrap();
        map.extend(crc(&map).to_be_bytes());
        packet[5..5 + map.len()].copy_from_slice(&map);
    }
}

#[test]
fn a_data_track_that_does_not_fit_is_named_and_the_original_stays() {
    let directory = tempfile::tempdir().unwrap();
    let made = made(directory.path(), "three.ts", &format!("-map 0 -map 1 -map 1 {X264} -c:a aac"));
    let source = directory.path().join("data.ts");
    // SMPTE KLV by its registration (private data, stream type 6), and timed ID3 by its metadata descriptor.
    let id3 = b"\x26\x0D\xFF\xFFID3 \xFFID3 \0\x1F\0\x01";
    for (codec, stream_type, descriptor) in [("klv", 6, &b"\x05\x04KLVA"[..]), ("timed_id3", 0x15, id3)] {
        let mut bytes = fs::read(&made).unwrap();
        retype(&mut bytes, 0x102, stream_type, descriptor);
        fs::write(&source, bytes).unwrap();
        assert!(ffprobe(&source, "stream=codec_name").contains(codec), "ffprobe sees the data track");
        for to in [Container::Mp4, Container::Matroska] {
            let done = finish(&source, to, directory.path());
            let [Defect::TrackLeftOut { track: 3, codec: left_out, .. }] = &done.remuxed.defects[..] else {
                panic!("{codec} to {to:?}: {:?}", done.remuxed.defects)
            };
            assert_eq!(left_out, codec);
            assert!(done.remuxed.leaves_something_out(), "so that the original stays");
            assert_eq!(done.reading.tracks.len(), 2);
            assert!(done.remuxed.source.tracks[2].packets > 0, "and still counted");
            assert_sound(&done, 4.0);
        }
    }
}

#[test]
fn a_transport_stream_damaged_in_the_middle_is_finished_around_the_damage() {
    let directory = tempfile::tempdir().unwrap();
    let whole = made(directory.path(), "whole.ts", &format!("{X264} -c:a aac"));
    let model = finish(&whole, Container::Mp4, directory.path()).reading;
    let bytes = fs::read(&whole).unwrap();
    let middle = bytes.len() / 2;
    for (name, length, fill) in [("zeros", 40 * PACKET_BYTES, 0), ("not a multiple of a packet", 7001, 0xA5)] {
        let mut bytes = bytes.clone();
        bytes[middle..middle + length].fill(fill);
        let source = directory.path().join("damaged.ts");
        fs::write(&source, bytes).unwrap();
        let done = finish(&source, Container::Mp4, directory.path());
        println!("{name}: {:?}", done.remuxed.defects);
        let is_named = done.remuxed.defects.iter().any(|d| d.to_string().contains("transport errors"));
        assert!(is_named || done.remuxed.leaves_something_out(), "{name}: {:?}", done.remuxed.defects);
        let (ours, theirs) = (&done.reading.tracks[0], &model.tracks[0]);
        assert!(ours.packets < theirs.packets || ours.digest != theirs.digest, "{name}: the damage is real");
        assert!(ours.packets > theirs.packets * 4 / 5, "{name}: {} of {}", ours.packets, theirs.packets);
        assert!((done.reading.duration_ms() - model.duration_ms()).abs() < 100, "{name}: time does not shrink");
    }
}

#[test]
fn bytes_missing_in_the_middle_of_a_transport_stream_cost_only_what_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let whole = made(directory.path(), "whole.ts", &format!("{X264} -c:a aac"));
    let bytes = fs::read(&whole).unwrap();
    let model = finish(&whole, Container::Mp4, directory.path()).reading;
    let (from, to) = (bytes.len() / 2, bytes.len() / 2 + 5000);
    fs::write(&whole, [&bytes[..from], &bytes[to..]].concat()).unwrap();
    let done = finish(&whole, Container::Mp4, directory.path());
    assert!(
        done.remuxed.defects.iter().any(|d| d.to_string().contains("transport errors")),
        "{:?}",
        done.remuxed.defects
    );
    for (ours, theirs) in done.reading.tracks.iter().zip(&model.tracks) {
        assert!((ours.last_pts_ms - theirs.last_pts_ms).abs() <= 1, "the last packet is there: {ours:?} {theirs:?}");
    }
}
