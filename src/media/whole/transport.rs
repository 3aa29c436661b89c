//! What an MPEG transport stream carries (ISO/IEC 13818-1, 2.4.3), by a walk of our own: libavformat looks for the next sync byte,
//! drops a PES packet that it cannot begin, and says nothing.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use super::mpegts::{NULL_PID, PACKET_BYTES, SYNC, pid};

/// Packets that must follow one another where they begin again.
const CHAIN: usize = 3;
/// Bytes that are read at once.
const WINDOW_BYTES: usize = 4096 * PACKET_BYTES;
/// So many begin as they should for each that does not.
const MOSTLY: u64 = 9;
const PAT_PID: u16 = 0;
/// A packet of a PID that comes no more often than this was meant for another.
const MOST_OF_A_STRAY: u64 = 2;
/// PIDs below are for tables of the standard and of DVB, the last is for stuffing.
const FIRST_FREE_PID: u16 = 0x20;

/// What the packets of one PID carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct PidStats {
    packets: u64,
    /// Payload of PES packets that begin in the file, without their headers.
    bytes: u64,
    /// PES packets that began.
    begun: u64,
    /// Those of them that begin with a unit of a codec.
    opened: u64,
    /// Whether the first did.
    is_first_opened: bool,
    counter: Option<u8>,
    /// A packet out of turn, if the last was one: whether the next goes on as if it were not there.
    is_out_of_turn: bool,
    /// Packets that belong to another PID.
    intruders: u64,
    /// Places where packets are missing.
    gaps: u64,
    /// Packets in which a PES packet or a section begins.
    starts: u64,
}

/// What a walk found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransportWalk {
    carriers: BTreeMap<u16, PidStats>,
    /// Bytes between packets that are no packet.
    pub skipped_bytes: u64,
    /// In how many places.
    pub skipped_places: u64,
    /// Byte offset of the first of them.
    pub skipped_from: Option<u64>,
}

impl TransportWalk {
    /// Bytes of payload of a PID, from the first PES packet that begins.
    pub fn bytes_of(&self, pid: u16) -> u64 {
        self.carriers.get(&pid).map_or(0, |carrier| carrier.bytes)
    }

    /// PES packets whose header was hit: nearly all others of their PID begin with a unit of a codec, and they do not. The first
    /// may begin in the middle of one.
    pub fn misbegun(&self) -> u64 {
        let misbegun = |carrier: &PidStats| {
            let others = carrier.begun - carrier.opened - u64::from(carrier.begun > 0 && !carrier.is_first_opened);
            if carrier.opened >= others * MOSTLY { others } else { 0 }
        };
        self.carriers.values().map(misbegun).sum()
    }

    /// Whether the first PES packet of a PID begins with a unit of a codec.
    pub fn is_first_opened(&self, pid: u16) -> bool {
        self.carriers.get(&pid).is_some_and(|carrier| carrier.is_first_opened)
    }

    /// Packets whose PID was hit: one that comes in another's turn, or of a PID that hardly a packet has: in which nothing begins,
    /// or that another PID lacks.
    pub fn misled(&self) -> u64 {
        let is_short = self.carriers.values().any(|carrier| carrier.gaps > 0);
        let is_stray = |(pid, carrier): &(&u16, &PidStats)| {
            let may_be = carrier.starts == 0 || (carrier.begun > 0 && is_short);
            (FIRST_FREE_PID..NULL_PID).contains(*pid) && carrier.packets <= MOST_OF_A_STRAY && may_be
        };
        let strays = self.carriers.iter().filter(is_stray).map(|(_, carrier)| carrier.packets).sum::<u64>();
        strays + self.carriers.values().map(|carrier| carrier.intruders).sum::<u64>()
    }

    fn note(&mut self, packet: &[u8]) {
        let pid = pid(packet[1], packet[2]);
        let (begins, field, counter) = (packet[1] & 0x40 != 0, packet[3] >> 4 & 3, packet[3] & 0x0F);
        let carrier = self.carriers.entry(pid).or_default();
        carrier.packets += 1;
        carrier.starts += u64::from(begins);
        if field & 1 == 0 || pid == NULL_PID || pid == PAT_PID {
            return;
        }
        let is_announced = field & 2 != 0 && packet[4] > 0 && packet[5] & 0x80 != 0;
        carrier.count(counter, is_announced);
        let start = if field & 2 == 0 { 4 } else { 5 + usize::from(packet[4]) };
        // An adaptation field that is longer than its packet was hit.
        let payload = packet.get(start..).unwrap_or(&packet[4..]);
        match (begins, pes_payload(payload)) {
            (true, Some(content)) => carrier.begin(content),
            (true, None) if carrier.begun > 0 => carrier.begin(payload),
            (false, _) if carrier.begun > 0 => carrier.bytes += payload.len() as u64,
            _ => {}
        }
    }
}

impl PidStats {
    fn begin(&mut self, content: &[u8]) {
        let is_opened = begins_a_unit(content);
        self.is_first_opened |= self.begun == 0 && is_opened;
        self.begun += 1;
        self.opened += u64::from(is_opened);
        self.bytes += content.len() as u64;
    }

    /// Holds a continuity counter against the one before (2.4.3.3).
    fn count(&mut self, counter: u8, is_announced: bool) {
        let Some(last) = self.counter.filter(|_| !is_announced) else {
            (self.counter, self.is_out_of_turn) = (Some(counter), false);
            return;
        };
        let is_next = counter == (last + 1) & 0x0F;
        if is_next {
            self.intruders += u64::from(self.is_out_of_turn);
        }
        self.gaps += u64::from(!is_next && self.is_out_of_turn);
        // The first out of turn may be an intruder; the second shows that packets are missing.
        if is_next || self.is_out_of_turn {
            (self.counter, self.is_out_of_turn) = (Some(counter), false);
        } else {
            self.is_out_of_turn = true;
        }
    }
}

/// Whether bytes begin as units of the usual codecs do: a start code (ITU-T H.264 annex B, H.222.0), a sync word of MPEG audio or ADTS
/// (ISO/IEC 11172-3, 13818-7), of AC-3 (ETSI TS 102 366) or of DTS (TS 102 114).
fn begins_a_unit(bytes: &[u8]) -> bool {
    match bytes {
        [0, 0, 1, ..] | [0, 0, 0, 1, ..] | [0x0B, 0x77, ..] | [0x7F, 0xFE, 0x80, 0x01, ..] => true,
        [0xFF, second, ..] => second & 0xE0 == 0xE0,
        _ => false,
    }
}

/// What is behind the header of a PES packet (2.4.3.6) that begins with these; `None` if none does.
fn pes_payload(payload: &[u8]) -> Option<&[u8]> {
    const HEAD_BYTES: usize = 9;
    let head = payload.get(..HEAD_BYTES).filter(|head| head.starts_with(&[0, 0, 1]))?;
    payload.get(HEAD_BYTES + usize::from(head[8])..)
}

/// Walks through all packets of a file of so many bytes; `None` if it is no stream of packets of 188 bytes.
pub fn walk(file: &mut (impl Read + Seek), size_bytes: u64) -> io::Result<Option<TransportWalk>> {
    let (mut walked, mut buffer) = (TransportWalk::default(), Vec::new());
    let (mut at, mut is_in_step, mut has_begun) = (0_u64, true, false);
    while at < size_bytes {
        crate::stop::check();
        file.seek(SeekFrom::Start(at))?;
        buffer.clear();
        file.take(WINDOW_BYTES as u64).read_to_end(&mut buffer)?;
        let is_last = at + buffer.len() as u64 >= size_bytes;
        let mut from = 0;
        // What may begin a chain at the end of a window is looked at in the next.
        while buffer.len() - from >= if is_last { PACKET_BYTES } else { CHAIN * PACKET_BYTES } {
            if buffer[from] == SYNC && (is_in_step || is_chain(&buffer[from..])) {
                walked.note(&buffer[from..from + PACKET_BYTES]);
                (is_in_step, has_begun) = (true, true);
                from += PACKET_BYTES;
                continue;
            }
            if is_in_step && has_begun {
                walked.skipped_places += 1;
                walked.skipped_from.get_or_insert(at + from as u64);
            }
            walked.skipped_bytes += u64::from(has_begun);
            is_in_step = false;
            from += 1;
        }
        if is_last {
            break;
        }
        at += from as u64;
    }
    Ok(has_begun.then_some(walked))
}

/// Whether packets follow one another from here on, as far as can be seen.
fn is_chain(bytes: &[u8]) -> bool {
    bytes.iter().step_by(PACKET_BYTES).take(CHAIN).all(|byte| *byte == SYNC)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const PICTURES: u16 = 256;

    fn packet(pid: u16, counter: u8, begins: bool) -> Vec<u8> {
        let [high, low] = pid.to_be_bytes();
        let mut packet = vec![SYNC, high | if begins { 0x40 } else { 0 }, low, 0x10 | counter & 0x0F];
        packet.extend(if begins { &[0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0][..] } else { &[] });
        packet.resize(PACKET_BYTES, 0xAA);
        packet
    }

    fn stream() -> Vec<Vec<u8>> {
        (0..40).map(|n| packet(PICTURES + u16::from(n % 2), n / 2, n % 10 < 2)).collect()
    }

    fn walked(packets: &[Vec<u8>]) -> TransportWalk {
        let bytes = packets.concat();
        walk(&mut Cursor::new(&bytes), bytes.len() as u64).unwrap().unwrap()
    }

    #[test]
    fn what_is_whole_has_all_its_payload_and_nothing_else() {
        let found = walked(&stream());
        assert_eq!((found.skipped_bytes, found.skipped_places, found.misled()), (0, 0, 0));
        assert_eq!(found.bytes_of(PICTURES), 4 * 175 + 16 * 184);
    }

    #[test]
    fn a_hole_is_skipped_and_counted_once() {
        let mut packets = stream();
        packets[7].fill(0);
        packets[8].fill(0);
        let found = walked(&packets);
        assert_eq!((found.skipped_bytes, found.skipped_places, found.skipped_from), (376, 1, Some(7 * 188)));
    }

    #[test]
    fn a_packet_under_another_pid_is_told_from_one_that_is_missing() {
        let mut packets = stream();
        packets[7][2] ^= 1;
        assert_eq!(walked(&packets).misled(), 1, "in another's turn");
        packets = stream();
        packets[7][2] ^= 0x80;
        assert_eq!(walked(&packets).misled(), 1, "of nobody");
        packets = stream();
        packets[10][2] ^= 0x80;
        assert_eq!(walked(&packets).misled(), 1, "of nobody, and a PES packet begins in it");
        packets = stream();
        packets.remove(7);
        packets.drain(20..24);
        assert_eq!(walked(&packets).misled(), 0, "lost on the way to the recorder");
        packets = stream();
        packets.extend([packet(0x1000, 0, true), packet(0x300, 0, true)]);
        packets[40][4..7].copy_from_slice(&[0, 2, 0xB0]);
        assert_eq!(walked(&packets).misled(), 0, "a section, and a PES packet of a track of few");
    }

    #[test]
    fn nonsense_is_no_stream() {
        assert_eq!(walk(&mut Cursor::new([0; 1000]), 1000).unwrap(), None);
        assert_eq!(walk(&mut Cursor::new([]), 0).unwrap(), None);
    }
}
