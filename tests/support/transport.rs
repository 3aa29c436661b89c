//! MPEG transport streams with other times in them than a muxer would write.

use std::collections::BTreeMap;

const PACKET_BYTES: usize = 188;

fn pid(packet: &[u8]) -> u16 {
    u16::from(packet[1] & 0x1F) << 8 | u16::from(packet[2])
}

fn payload(packet: &[u8]) -> &[u8] {
    match packet[3] >> 4 & 3 {
        1 => &packet[4..],
        3 => packet.get(5 + usize::from(packet[4])..).unwrap_or_default(),
        _ => &[],
    }
}

/// A time of 33 bits as it lies in a PES header (ISO/IEC 13818-1 §2.4.3.7).
fn time(bytes: &[u8]) -> i64 {
    let byte = |at: usize| i64::from(bytes[at]);
    (byte(0) >> 1 & 7) << 30 | byte(1) << 22 | (byte(2) >> 1) << 15 | byte(3) << 7 | byte(4) >> 1
}

fn put_time(out: &mut Vec<u8>, prefix: u8, time: i64) {
    let byte = |value: i64| u8::try_from(value & 0xFF).unwrap();
    out.push(prefix << 4 | byte(time >> 30 & 7) << 1 | 1);
    out.extend([byte(time >> 22), byte(time >> 14) | 1, byte(time >> 7), byte(time << 1) | 1]);
}

/// The same PES packet with both times written out.
fn redated(pes: &[u8], dts_of: &mut dyn FnMut(i64, i64) -> i64) -> Vec<u8> {
    let head = usize::from(pes[8]);
    let pts = time(&pes[9..]);
    let dts = if pes[7] & 0x40 != 0 { time(&pes[14..]) } else { pts };
    let mut out = [&pes[..4], &[0, 0, pes[6], 0xC0, 10]].concat();
    put_time(&mut out, 3, pts);
    put_time(&mut out, 1, dts_of(pts, dts));
    out.extend(&pes[9 + head..]);
    out
}

fn packets(pid: u16, pes: &[u8], counter: &mut u8) -> Vec<u8> {
    let (mut rest, mut out, mut is_first) = (pes, Vec::new(), true);
    while !rest.is_empty() {
        let length = rest.len().min(PACKET_BYTES - 4);
        let stuffing = PACKET_BYTES - 4 - length;
        let [high, low] = pid.to_be_bytes();
        out.extend([0x47, high | if is_first { 0x40 } else { 0 }, low]);
        out.push(if stuffing > 0 { 0x30 } else { 0x10 } | *counter);
        if stuffing > 0 {
            out.push(u8::try_from(stuffing - 1).unwrap());
            out.extend([0].iter().take(stuffing - 1));
            out.extend(vec![0xFF; stuffing.saturating_sub(2)]);
        }
        out.extend(&rest[..length]);
        rest = &rest[length..];
        *counter = (*counter + 1) & 15;
        is_first = false;
    }
    out
}

/// The stream with other decoding times of its pictures, which are told from presentation and decoding time, 90 kHz. Each
/// picture stands where its first packet stood.
pub fn with_decoding_times(stream: &[u8], mut dts_of: impl FnMut(i64, i64) -> i64) -> Vec<u8> {
    let all: Vec<&[u8]> = stream.chunks_exact(PACKET_BYTES).collect();
    let is_begin = |p: &[u8]| p[1] & 0x40 != 0 && matches!(payload(p), [0, 0, 1, 0xE0..=0xEF, ..]);
    let video = pid(all.iter().find(|p| is_begin(p)).unwrap());
    let mut pictures: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    let mut open = 0;
    for (at, packet) in all.iter().enumerate().filter(|(_, p)| pid(p) == video) {
        open = if is_begin(packet) { at } else { open };
        pictures.entry(open).or_default().extend(payload(packet));
    }
    let mut counter = 0;
    let write = |(at, packet): (usize, &&[u8])| match pictures.get(&at) {
        Some(pes) => packets(video, &redated(pes, &mut dts_of), &mut counter),
        None if pid(packet) == video => Vec::new(),
        None => packet.to_vec(),
    };
    all.iter().enumerate().flat_map(write).collect()
}
