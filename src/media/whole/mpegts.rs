//! The end of an MPEG transport stream (ISO/IEC 13818-1 §2.4.3): whole packets, whole PES packets. Packets may have four bytes
//! of arrival time in front of them (`.m2ts`), or 16 of error correction behind.
//!
//! A PES packet says its length or, for pictures, 0. Where it says none, its end shows in the stuffing: a writer fills
//! the last transport packet of a PES packet with an adaptation field, so one that ends without any is cut. That would be said
//! wrongly of one whole stream in 184; but a writer that never goes on with a PES packet once it has begun another (as FFmpeg
//! does) has completed every one behind which another begins.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use super::FileTail;

pub(super) const PACKET_BYTES: usize = 188;
/// From one packet to the next where more than the packet is stored.
const LONGER: [usize; 2] = [192, 204];
pub(super) const SYNC: u8 = 0x47;
pub(super) const NULL_PID: u16 = 0x1FFF;
/// How much of the end is looked at: more than the longest PES packet of any sane recording.
const WINDOW_BYTES: u64 = 4 << 20;

/// Checks the last packets of every PID.
pub fn tail(file: &mut (impl Read + Seek), size_bytes: u64) -> io::Result<FileTail> {
    let packet_bytes = PACKET_BYTES as u64;
    let window = (size_bytes / packet_bytes).min(WINDOW_BYTES / packet_bytes) * packet_bytes;
    let odd = size_bytes % packet_bytes;
    file.seek(SeekFrom::Start(size_bytes - odd - window))?;
    let mut bytes = Vec::new();
    file.take(window + odd).read_to_end(&mut bytes)?;
    Ok(judge(&bytes))
}

/// The newest PES packet of one PID.
#[derive(Debug, Clone, Copy, Default)]
struct PesPacket {
    /// Bytes it says it has, if it says so.
    declared: Option<usize>,
    /// Bytes of it that are there.
    present: usize,
    /// Whether its last transport packet has stuffing.
    is_stuffed: bool,
    /// Whether its first packet was seen.
    is_begun: bool,
    /// Whether a PES packet of another PID began behind its last packet.
    is_followed: bool,
}

/// What the end of a stream shows.
#[derive(Debug, Default)]
struct StreamEnd {
    units: BTreeMap<u16, PesPacket>,
    /// PES packets behind which one of another PID began.
    followed: usize,
    /// Whether one of them went on all the same.
    is_interleaved: bool,
}

/// After so many PES packets that nothing interrupted the writer is one that interrupts none.
const ENOUGH_FOLLOWED: usize = 8;

impl PesPacket {
    fn is_cut(&self, completes_what_it_begins: bool) -> bool {
        match self.declared {
            Some(declared) => self.present < declared,
            None => self.present > 0 && !self.is_stuffed && !(self.is_followed && completes_what_it_begins),
        }
    }
}

fn judge(bytes: &[u8]) -> FileTail {
    let mut end = StreamEnd::default();
    let (mut at, step) = phase(bytes);
    while let Some(packet) = bytes.get(at..at + PACKET_BYTES) {
        if packet[0] == SYNC {
            end.note(packet);
        }
        at += step;
    }
    let odd = bytes.get(at..).unwrap_or_default();
    let completes_what_it_begins = end.followed >= ENOUGH_FOLLOWED && !end.is_interleaved;
    let units = end.units;
    let is_cut = |(pid, unit): (&u16, &PesPacket)| unit.is_cut(completes_what_it_begins).then_some(*pid);
    let mut cut: Vec<u16> = units.iter().filter_map(is_cut).collect();
    if let Some(pid) = continued_pid(odd).filter(|pid| units.contains_key(pid) && !cut.contains(pid)) {
        cut.push(pid);
    }
    FileTail { missing: in_words(&cut, odd.len(), &units), declared_ms: None, cut_pids: cut }
}

/// Where packets begin, and how far they are apart: bytes that are missing before leave the rest out of step with the file.
fn phase(bytes: &[u8]) -> (usize, usize) {
    let syncs = |phase: usize, step| bytes.iter().skip(phase).step_by(step).filter(|byte| **byte == SYNC).count();
    // Of those that show as many marks the first is taken.
    let phases = |step: usize| (0..step.min(bytes.len())).rev().map(move |phase| (syncs(phase, step), phase, step));
    let best = |step| phases(step).max_by_key(|(count, ..)| *count);
    let (count, phase, step) = best(PACKET_BYTES).unwrap_or((0, 0, PACKET_BYTES));
    if count >= bytes.len() / PACKET_BYTES / 2 {
        return (phase, step);
    }
    let others = LONGER.into_iter().filter_map(best).max_by_key(|(count, ..)| *count);
    others.filter(|(other, ..)| *other > count).map_or((phase, step), |(_, phase, step)| (phase, step))
}

/// The PID of a cut transport packet that goes on with a PES packet.
fn continued_pid(odd: &[u8]) -> Option<u16> {
    match odd {
        [SYNC, high, low, ..] if high & 0x40 == 0 => Some(pid(*high, *low)),
        _ => None,
    }
}

pub(super) fn pid(high: u8, low: u8) -> u16 {
    u16::from(high & 0x1F) << 8 | u16::from(low)
}

impl StreamEnd {
    fn note(&mut self, packet: &[u8]) {
        let (pid, begins, field) = (pid(packet[1], packet[2]), packet[1] & 0x40 != 0, packet[3] >> 4 & 3);
        if pid == NULL_PID || field & 1 == 0 {
            return;
        }
        let adaptation_bytes = if field & 2 == 0 { 0 } else { 1 + usize::from(packet[4]) };
        let payload = packet.get(4 + adaptation_bytes..).unwrap_or_default();
        if begins && !is_pes(payload) {
            self.units.remove(&pid);
            return;
        }
        if begins {
            self.begin(pid, declared(payload));
        }
        if let Some(unit) = self.units.get_mut(&pid).filter(|unit| unit.is_begun) {
            self.is_interleaved |= unit.is_followed;
            unit.present += payload.len();
            unit.is_stuffed = field & 2 != 0 && has_stuffing(packet[4], packet[5]);
        }
    }

    fn begin(&mut self, pid: u16, declared: Option<usize>) {
        for unit in self.units.iter_mut().filter(|(other, _)| **other != pid).map(|(_, unit)| unit) {
            self.followed += usize::from(!unit.is_followed);
            unit.is_followed = true;
        }
        self.units.insert(pid, PesPacket { declared, is_begun: true, ..PesPacket::default() });
    }
}

/// Whether an adaptation field (§2.4.3.5) is longer than its clock references and splice countdown need.
fn has_stuffing(length: u8, flags: u8) -> bool {
    let needed =
        1 + [(0x10, 6), (0x08, 6), (0x04, 1)].iter().filter(|(bit, _)| flags & bit != 0).map(|(_, n)| n).sum::<u8>();
    length == 0 || length > needed
}

const PES_HEAD_BYTES: usize = 6;

fn is_pes(payload: &[u8]) -> bool {
    payload.len() >= PES_HEAD_BYTES && payload.starts_with(&[0, 0, 1])
}

/// Length of the whole PES packet, if it says one.
fn declared(payload: &[u8]) -> Option<usize> {
    let length = usize::from(payload[4]) << 8 | usize::from(payload[5]);
    (length > 0).then_some(length + PES_HEAD_BYTES)
}

fn in_words(cut: &[u16], odd_bytes: usize, units: &BTreeMap<u16, PesPacket>) -> Option<String> {
    let mut words: Vec<String> = cut.iter().map(|pid| cut_in_words(*pid, units)).collect();
    if odd_bytes > 0 {
        words.push(format!("{} bytes of the last transport packet", PACKET_BYTES - odd_bytes));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

fn cut_in_words(pid: u16, units: &BTreeMap<u16, PesPacket>) -> String {
    match units.get(&pid) {
        Some(PesPacket { declared: Some(declared), present, .. }) if declared > present => {
            format!("{} bytes of the last unit of PID {pid}", declared - present)
        }
        _ => format!("the end of the last unit of PID {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A transport packet with so many bytes of payload, stuffed where they do not fill it.
    fn packet(pid: u16, begins: bool, payload: &[u8]) -> Vec<u8> {
        let [high, low] = pid.to_be_bytes();
        let room = 184 - payload.len();
        let mut packet = vec![SYNC, high | if begins { 0x40 } else { 0 }, low];
        packet.push(if room > 0 { 0x30 } else { 0x10 });
        if room > 0 {
            packet.push(u8::try_from(room - 1).unwrap());
            packet.extend(vec![0xFF; room - 1]);
        }
        packet.extend(payload);
        packet
    }

    fn pes(declared: u16, bytes: usize) -> Vec<u8> {
        let mut head = vec![0, 0, 1, 0xE0];
        head.extend(declared.to_be_bytes());
        head.resize(bytes, 0xAA);
        head
    }

    #[test]
    fn a_whole_stream_is_whole() {
        let video = [packet(256, true, &pes(0, 184)), packet(256, false, &[1; 100])].concat();
        let audio = packet(257, true, &pes(94, 100));
        assert_eq!(judge(&[video, audio].concat()), FileTail::default());
    }

    #[test]
    fn a_picture_without_stuffing_is_cut() {
        let bytes = [packet(256, true, &pes(0, 184)), packet(256, false, &[1; 184])].concat();
        let tail = judge(&bytes);
        assert_eq!(tail.cut_pids, [256]);
        assert_eq!(tail.missing.as_deref(), Some("the end of the last unit of PID 256"));
    }

    #[test]
    fn a_picture_without_stuffing_is_whole_where_the_writer_completes_what_it_begins() {
        let picture = |last: usize| [packet(256, true, &pes(0, 184)), packet(256, false, &vec![1; last])].concat();
        let sound = packet(257, true, &pes(94, 100));
        let begun = [picture(100), sound.clone()].concat().repeat(5);
        assert_eq!(judge(&[begun.clone(), picture(184), sound.clone()].concat()), FileTail::default());
        let is_cut = |bytes: &[u8]| assert_eq!(judge(bytes).cut_pids, [256]);
        is_cut(&[begun.clone(), picture(184)].concat());
        is_cut(&[begun.clone(), sound.clone(), picture(184)].concat());
        // Another writer puts sound between the packets of a picture, or has not shown yet that it does not.
        let between = [packet(256, true, &pes(0, 184)), sound.clone(), packet(256, false, &[1; 100])].concat();
        is_cut(&[begun, between, picture(184), sound.clone()].concat());
        is_cut(&[picture(184), sound].concat());
    }

    #[test]
    fn a_clock_reference_is_no_stuffing() {
        let mut first = vec![SYNC, 0x41, 0, 0x30, 7, 0x10];
        first.extend([0; 6]);
        first.extend(pes(0, 176));
        assert_eq!(judge(&first).cut_pids, [256]);
    }

    #[test]
    fn a_unit_shorter_than_it_says_is_cut() {
        let tail = judge(&packet(257, true, &pes(300, 184)));
        assert_eq!(tail.missing.as_deref(), Some("122 bytes of the last unit of PID 257"));
    }

    #[test]
    fn a_cut_transport_packet_cuts_the_unit_that_it_goes_on_with() {
        let mut bytes = packet(256, true, &pes(0, 100));
        bytes.extend(&packet(256, false, &[1; 184])[..50]);
        let tail = judge(&bytes);
        assert_eq!(tail.cut_pids, [256]);
        assert!(tail.missing.unwrap().contains("138 bytes of the last transport packet"));
    }

    #[test]
    fn packets_out_of_step_with_the_file_are_found() {
        let whole = [packet(256, true, &pes(100, 100)), packet(256, true, &pes(100, 100))].concat();
        let expected = judge(&whole);
        assert_eq!(judge(&[&[0x11; 57][..], &whole].concat()), expected);
    }

    #[test]
    fn packets_with_more_between_them_say_the_same() {
        let whole: Vec<_> = (0..6).map(|_| packet(256, true, &pes(100, 100))).collect();
        let cut = [&whole[..], &[packet(256, true, &pes(300, 184))]].concat();
        for packets in [&whole[..], &cut[..]] {
            let expected = judge(&packets.concat());
            let timed: Vec<u8> = (0x80_u8..).zip(packets).flat_map(|(n, p)| [&[n, n, n, n][..], p].concat()).collect();
            let protected: Vec<u8> = packets.iter().flat_map(|p| [p, &[0x99; 16][..]].concat()).collect();
            assert_eq!((judge(&timed), judge(&protected)), (expected.clone(), expected));
        }
        let begun = [&[0x80; 4][..], &packet(256, true, &pes(0, 100))].concat();
        let cut = [&begun.repeat(4)[..], &[0x80; 4], &packet(256, false, &[1; 184])[..50]].concat();
        assert!(judge(&cut).missing.unwrap().contains("138 bytes of the last transport packet"));
    }

    #[test]
    fn sections_are_no_units_and_nonsense_never_panics() {
        let mut section = vec![0, 0, 0xB0, 0x0D];
        section.resize(184, 0xFF);
        assert_eq!(judge(&packet(0, true, &section)), FileTail::default());
        judge(&[SYNC; 1000]);
        judge(&[0xFF; 400]);
        judge(&[]);
    }
}
