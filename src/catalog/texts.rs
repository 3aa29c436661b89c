//! What is kept in memory of each VoD to find, sort and name it, packed in blocks. Pure.
//!
//! A place is a number that stays the same as long as the VoD does. The texts of the places of a block lie behind one another, so
//! that a search reads memory once from one end to the other:
//!
//! ```text
//! lower-case id · 0 · lower-case name · 0 · [lower-case stream id · 0] · [lower-case stream name · 0]
//! ```
//!
//! A field whose text is a part of an earlier one is left out: whatever is found in it is found there. Which letters of an id are
//! upper-case is in `case`; an id that this does not tell is written once more behind the other fields.

use memchr::memmem::Finder;
use std::collections::BTreeMap;

use super::marks::Marks;

/// Places of a block. With texts of 70 bytes a change moves some 20 KB at most.
const IN_BLOCK: usize = 512;
/// Bytes of a text that are kept; the rest is not searched. Names of files are shorter.
const TEXT_BYTES: usize = 2048;
const CASE_BITS: usize = 32;
const END: char = '\0';

/// What a VoD is found and sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SearchText<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub stream_id: &'a str,
    pub stream_name: &'a str,
    /// What a person wrote about it.
    pub description: Option<&'a str>,
    /// Names and values that it was given; values are searched.
    pub metadata: Option<&'a BTreeMap<String, String>>,
}

/// A packed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PackedText {
    pub text: Box<[u8]>,
    pub case: u32,
    pub created_ms: i64,
    /// Start of the recording, milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// What it is and has (see `marks`).
    pub marks: u8,
    /// Digest of the stream id.
    pub stream: u64,
    /// Number of the root.
    pub part: u32,
}

impl PackedText {
    pub(super) fn new(words: SearchText<'_>, created_ms: i64, stream: u64, part: u32) -> Self {
        let (text, case) = pack(words);
        Self { text, case, created_ms, started_ms: created_ms, marks: 0, stream, part }
    }

    /// With the start of the recording and what it is.
    pub(super) fn marked(self, started_ms: i64, marks: u8) -> Self {
        Self { started_ms, marks, ..self }
    }
}

/// One form for upper and lower case.
pub(super) fn folded(text: &str) -> String {
    text.to_lowercase().replace(END, "\u{1}")
}

fn values(metadata: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    metadata.values().map(String::as_str)
}

fn pack(words: SearchText<'_>) -> (Box<[u8]>, u32) {
    let mut text = String::with_capacity(words.id.len() + words.name.len() + 2);
    let is_told_by_case = words.id.is_ascii() && words.id.len() <= CASE_BITS;
    let upper = words.id.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_uppercase());
    let case = if is_told_by_case { upper.fold(0, |case, (at, _)| case | 1 << at) } else { 0 };
    let mut field = |field: &str| {
        text.push_str(field);
        text.push(END);
    };
    let (name, stream_id, stream_name) = (folded(words.name), folded(words.stream_id), folded(words.stream_name));
    field(&folded(words.id));
    field(&name);
    let is_new = |text: &str, before: &[&str]| before.iter().all(|before| !before.contains(text));
    if is_new(&stream_id, &[&name]) {
        field(&stream_id);
    }
    if is_new(&stream_name, &[&name, &stream_id]) {
        field(&stream_name);
    }
    let notes: Vec<_> = words.description.into_iter().chain(words.metadata.into_iter().flat_map(values)).collect();
    let notes = folded(&notes.join(" "));
    if !notes.is_empty() {
        field(&notes);
    }
    if text.len() > TEXT_BYTES {
        let end = (0..=TEXT_BYTES).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push(END);
    }
    if !is_told_by_case {
        text.push(END);
        text.push_str(words.id);
    }
    (text.into_bytes().into_boxed_slice(), case)
}

#[derive(Debug, Default)]
struct TextBlock {
    text: Vec<u8>,
    /// Where the text of each place ends.
    ends: Vec<u32>,
    case: Vec<u32>,
    created_ms: Vec<i64>,
    started_ms: Vec<i64>,
    marks: Vec<u8>,
    stream: Vec<u64>,
    part: Vec<u32>,
}

/// All places.
#[derive(Debug, Default)]
pub(super) struct PackedTexts {
    blocks: Vec<TextBlock>,
    free: Vec<u32>,
}

impl PackedTexts {
    /// Puts an entry into a free place.
    pub(super) fn add(&mut self, entry: &PackedText) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| self.new_place());
        let (block, at) = self.block_mut(place);
        let start = block.start(at);
        if block.ends.len() == IN_BLOCK {
            block.text.reserve_exact(entry.text.len());
        }
        block.text.splice(start..start, entry.text.iter().copied());
        let length = u32::try_from(entry.text.len()).unwrap_or(0);
        block.ends[at..].iter_mut().for_each(|end| *end += length);
        (block.case[at], block.created_ms[at]) = (entry.case, entry.created_ms);
        (block.started_ms[at], block.marks[at]) = (entry.started_ms, entry.marks);
        (block.stream[at], block.part[at]) = (entry.stream, entry.part);
        place
    }

    /// Empties a place.
    pub(super) fn remove(&mut self, place: u32) {
        let (block, at) = self.block_mut(place);
        let (start, end) = (block.start(at), block.ends[at] as usize);
        drop(block.text.drain(start..end));
        let length = u32::try_from(end - start).unwrap_or(0);
        block.ends[at..].iter_mut().for_each(|end| *end -= length);
        self.free.push(place);
    }

    fn new_place(&mut self) -> u32 {
        if self.blocks.last().is_none_or(|block| block.ends.len() == IN_BLOCK) {
            if let Some(full) = self.blocks.last_mut() {
                full.text.shrink_to_fit();
            }
            self.blocks.push(TextBlock::with_places());
        }
        let at_block = self.blocks.len() - 1;
        let block = &mut self.blocks[at_block];
        let end = block.ends.last().copied().unwrap_or(0);
        block.ends.push(end);
        block.case.push(0);
        block.created_ms.push(0);
        block.started_ms.push(0);
        block.marks.push(0);
        block.stream.push(0);
        block.part.push(0);
        u32::try_from(at_block * IN_BLOCK + block.ends.len() - 1).unwrap_or(u32::MAX)
    }

    fn block_mut(&mut self, place: u32) -> (&mut TextBlock, usize) {
        let place = place as usize;
        (&mut self.blocks[place / IN_BLOCK], place % IN_BLOCK)
    }

    fn block(&self, place: u32) -> (&TextBlock, usize) {
        let place = place as usize;
        (&self.blocks[place / IN_BLOCK], place % IN_BLOCK)
    }

    pub(super) fn created_ms(&self, place: u32) -> i64 {
        let (block, at) = self.block(place);
        block.created_ms[at]
    }

    pub(super) fn started_ms(&self, place: u32) -> i64 {
        let (block, at) = self.block(place);
        block.started_ms[at]
    }

    pub(super) fn part(&self, place: u32) -> u32 {
        let (block, at) = self.block(place);
        block.part[at]
    }

    pub(super) fn case(&self, place: u32) -> u32 {
        let (block, at) = self.block(place);
        block.case[at]
    }

    fn text(&self, place: u32) -> &[u8] {
        let (block, at) = self.block(place);
        &block.text[block.start(at)..block.ends[at] as usize]
    }

    /// Whether an entry is already what is there.
    pub(super) fn holds(&self, place: u32, entry: &PackedText) -> bool {
        let (block, at) = self.block(place);
        (block.case[at], block.created_ms[at]) == (entry.case, entry.created_ms)
            && (block.started_ms[at], block.marks[at]) == (entry.started_ms, entry.marks)
            && (block.stream[at], block.part[at]) == (entry.stream, entry.part)
            && self.text(place) == &*entry.text
    }

    /// The id in lower case.
    pub(super) fn folded_id(&self, place: u32) -> &[u8] {
        self.text(place).split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The name in lower case.
    pub(super) fn folded_name(&self, place: u32) -> &[u8] {
        self.text(place).split(|byte| *byte == 0).nth(1).unwrap_or_default()
    }

    /// The id as it is.
    pub(super) fn id(&self, place: u32) -> String {
        let (text, case) = (self.text(place), self.case(place));
        // A text ends with the end of a field, unless the id stands behind it.
        if text.last() != Some(&0) {
            let id = text.rsplit(|byte| *byte == 0).next().unwrap_or_default();
            return String::from_utf8_lossy(id).into_owned();
        }
        let upper = |(at, byte): (usize, &u8)| if case >> at & 1 == 1 { byte.to_ascii_uppercase() } else { *byte };
        self.folded_id(place).iter().take(CASE_BITS).enumerate().map(upper).map(char::from).collect()
    }

    /// Tells every place whose text holds the words, in the order of places. The words are in lower case and hold no NUL.
    pub(super) fn find(&self, words: &str, mut found: impl FnMut(u32)) {
        let finder = Finder::new(words);
        for (number, block) in self.blocks.iter().enumerate() {
            let (mut at, mut from) = (0, 0);
            while let Some(hit) = finder.find(&block.text[from..]) {
                let hit = u32::try_from(from + hit).unwrap_or(u32::MAX);
                // Mostly it is in the next place or not far behind it.
                if block.ends[at] <= hit {
                    at += 1;
                    if block.ends[at] <= hit {
                        at += block.ends[at..].partition_point(|end| *end <= hit);
                    }
                }
                found(u32::try_from(number * IN_BLOCK + at).unwrap_or(u32::MAX));
                from = block.ends[at] as usize;
            }
        }
    }

    /// Tells every place of a stream.
    pub(super) fn of_stream(&self, stream: u64, mut found: impl FnMut(u32)) {
        for (number, block) in self.blocks.iter().enumerate() {
            for at in (0..block.ends.len()).filter(|at| block.stream[*at] == stream && !block.is_free(*at)) {
                found(u32::try_from(number * IN_BLOCK + at).unwrap_or(u32::MAX));
            }
        }
    }

    /// Tells every place whose marks are wanted.
    pub(super) fn marked(&self, wanted: Marks, mut found: impl FnMut(u32)) {
        for (number, block) in self.blocks.iter().enumerate() {
            for at in (0..block.ends.len()).filter(|at| wanted.wants(block.marks[*at]) && !block.is_free(*at)) {
                found(u32::try_from(number * IN_BLOCK + at).unwrap_or(u32::MAX));
            }
        }
    }

    /// Places, free ones included.
    pub(super) fn len(&self) -> usize {
        self.blocks.last().map_or(0, |last| (self.blocks.len() - 1) * IN_BLOCK + last.ends.len())
    }
}

impl TextBlock {
    fn with_places() -> Self {
        Self {
            text: Vec::new(),
            ends: Vec::with_capacity(IN_BLOCK),
            case: Vec::with_capacity(IN_BLOCK),
            created_ms: Vec::with_capacity(IN_BLOCK),
            started_ms: Vec::with_capacity(IN_BLOCK),
            marks: Vec::with_capacity(IN_BLOCK),
            stream: Vec::with_capacity(IN_BLOCK),
            part: Vec::with_capacity(IN_BLOCK),
        }
    }

    fn start(&self, at: usize) -> usize {
        if at == 0 { 0 } else { self.ends[at - 1] as usize }
    }

    fn is_free(&self, at: usize) -> bool {
        self.start(at) == self.ends[at] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(id: &str, name: &str, stream_id: &str, stream_name: &str) -> PackedText {
        PackedText::new(SearchText { id, name, stream_id, stream_name, description: None, metadata: None }, 0, 0, 0)
    }

    fn found(texts: &PackedTexts, words: &str) -> Vec<u32> {
        let mut places = Vec::new();
        texts.find(words, |place| places.push(place));
        places
    }

    #[test]
    fn ids_come_back_as_they_were() {
        let mut texts = PackedTexts::default();
        for id in ["xAHS4T5Rzfs9P6pzf7IChQXH", "", "ÄÖÜ-Id", &"aB".repeat(40), "a.b", "Kelvin\u{212a}"] {
            let place = texts.add(&packed(id, "Name.mp4", "s", "t"));
            assert_eq!(texts.id(place), id);
            assert_eq!(texts.folded_name(place), b"name.mp4");
        }
    }

    #[test]
    fn every_field_is_found_once_and_nothing_across_two() {
        let mut texts = PackedTexts::default();
        let a = texts.add(&packed("AAbb", "Room1-2026.mp4", "room1", "The Room"));
        let b = texts.add(&packed("CCdd", "x.mp4", "ROOM1", "ROOM1"));
        assert_eq!(found(&texts, "room1"), [a, b]);
        assert_eq!(found(&texts, "aabb"), [a]);
        assert_eq!(found(&texts, "the room"), [a]);
        assert_eq!(found(&texts, "mp4"), [a, b]);
        assert_eq!(found(&texts, "mp4ccdd"), [0u32; 0]);
        assert_eq!(found(&texts, "bbroom"), [0u32; 0]);
        assert_eq!(found(&texts, "nothing"), [0u32; 0]);
    }

    #[test]
    fn what_is_removed_is_not_found_and_its_place_is_used_again() {
        let mut texts = PackedTexts::default();
        let entry = |n: u32| packed(&format!("id{n}"), &format!("name{n}.mp4"), &format!("stream{n}"), "");
        let places: Vec<_> = (0..2000).map(|n| texts.add(&entry(n))).collect();
        for place in places.iter().step_by(3) {
            texts.remove(*place);
        }
        assert_eq!(found(&texts, "name").len(), 1333);
        assert_eq!(found(&texts, "name1999"), [1999]);
        assert_eq!(found(&texts, "name3."), [0u32; 0]);
        let again = texts.add(&entry(7000));
        assert!(again < 2000);
        assert_eq!(found(&texts, "stream7000"), [again]);
        assert_eq!((texts.id(again).as_str(), texts.len()), ("id7000", 2000));
        assert!((0..2000).filter(|n| n % 3 != 0).all(|n| texts.id(n) == format!("id{n}")));
    }

    #[test]
    fn a_text_is_bounded_and_hostile_words_are_words() {
        let mut texts = PackedTexts::default();
        let long = "ä".repeat(4000);
        let place = texts.add(&packed("id", "<script>\n\0.mp4", &long, &long));
        assert!(texts.text(place).len() <= TEXT_BYTES + 1);
        assert_eq!(texts.id(place), "id");
        assert_eq!(found(&texts, "<script>\n"), [place]);
    }
}
