//! What a recording says of itself, title and comment and so on, as players look for it: `udta/meta/ilst`, Apple's list of
//! values (QuickTime File Format, "Metadata"), and `loci` (3GPP TS 26.244 §8.10).
//!
//! Names are FFmpeg's, and each becomes what FFmpeg's muxer makes of it.

use std::collections::BTreeMap;

use super::encode::{boxed, full_boxed, put_u16, put_u32};
use super::movie::Movie;

/// How the value of an item lies in its `data` box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TagForm {
    /// UTF-8.
    Text,
    /// A number of 0 to 255, in so many bytes.
    Byte(usize),
    /// A number of 16 bits that is not 0.
    Word,
    /// A number that is not 0, and of how many, 16 bits each between as many zeros.
    Pair,
}

/// `data` types (well-known type of the value).
const NO_TYPE: u32 = 0;
const UTF_8: u32 = 1;
const SIGNED_INTEGER: u32 = 21;

/// The items by their names, in the order in which they are written.
const ITEMS: [(&str, &[u8; 4], TagForm); 27] = [
    ("title", b"\xA9nam", TagForm::Text),
    ("artist", b"\xA9ART", TagForm::Text),
    ("album_artist", b"aART", TagForm::Text),
    ("composer", b"\xA9wrt", TagForm::Text),
    ("album", b"\xA9alb", TagForm::Text),
    ("date", b"\xA9day", TagForm::Text),
    ("encoding_tool", b"\xA9too", TagForm::Text),
    ("comment", b"\xA9cmt", TagForm::Text),
    ("genre", b"\xA9gen", TagForm::Text),
    ("copyright", b"cprt", TagForm::Text),
    ("grouping", b"\xA9grp", TagForm::Text),
    ("lyrics", b"\xA9lyr", TagForm::Text),
    ("description", b"desc", TagForm::Text),
    ("synopsis", b"ldes", TagForm::Text),
    ("show", b"tvsh", TagForm::Text),
    ("episode_id", b"tven", TagForm::Text),
    ("network", b"tvnn", TagForm::Text),
    ("keywords", b"keyw", TagForm::Text),
    ("episode_sort", b"tves", TagForm::Byte(4)),
    ("season_number", b"tvsn", TagForm::Byte(4)),
    ("media_type", b"stik", TagForm::Byte(1)),
    ("hd_video", b"hdvd", TagForm::Byte(1)),
    ("gapless_playback", b"pgap", TagForm::Byte(1)),
    ("compilation", b"cpil", TagForm::Byte(1)),
    ("track", b"trkn", TagForm::Pair),
    ("disc", b"disk", TagForm::Pair),
    ("tmpo", b"tmpo", TagForm::Word),
];
/// The place of the recording (ISO 6709), which is no item.
const LOCATION: &str = "location";

/// `hdlr` of the list.
const HANDLER: &[u8; 33] = b"\0\0\0\x21hdlr\0\0\0\0\0\0\0\0mdirappl\0\0\0\0\0\0\0\0\0";

/// What a recording says of itself: of each name one value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags(BTreeMap<&'static str, String>);

impl Tags {
    /// The name by which an MP4 has a place for a tag, whatever its case.
    pub fn known(name: &[u8]) -> Option<&'static str> {
        let names = ITEMS.iter().map(|(name, ..)| *name).chain([LOCATION]);
        names.into_iter().find(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Says that a tag has a value; the last one counts, and an empty one takes it away.
    pub fn set(&mut self, name: &'static str, value: String) {
        if value.is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(name, value);
        }
    }

    /// Names and values.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// The content of `udta`; empty if there is nothing that can be said.
    fn user_data(&self) -> Vec<u8> {
        let (mut items, mut out) = (Vec::new(), Vec::new());
        for (name, fourcc, form) in ITEMS {
            let value = self.0.get(name).and_then(|value| form.value(value));
            if let Some((kind, value)) = value {
                boxed(&mut items, *fourcc, |out| {
                    boxed(out, *b"data", |out| {
                        put_u32(out, kind);
                        put_u32(out, 0);
                        out.extend(value);
                    });
                });
            }
        }
        if !items.is_empty() {
            full_boxed(&mut out, *b"meta", 0, 0, |out| {
                out.extend(HANDLER);
                boxed(out, *b"ilst", |out| out.extend(items));
            });
        }
        if let Some(place) = self.0.get(LOCATION).and_then(|text| GeoLocation::read(text)) {
            place.write(&mut out);
        }
        out
    }
}

impl Movie {
    /// Lets a movie that was made from something else say that of itself.
    pub fn set_tags(&mut self, tags: &Tags) {
        let content = tags.user_data();
        if !content.is_empty() {
            boxed(&mut self.kept, *b"udta", |out| out.extend(content));
        }
    }
}

impl TagForm {
    /// Type and bytes of a value; `None` for one that the form does not hold.
    fn value(self, text: &str) -> Option<(u32, Vec<u8>)> {
        let number = |text: &str| leading(text, |c| c.is_ascii_digit()).parse::<u16>().ok();
        Some(match self {
            Self::Text => (UTF_8, text.as_bytes().to_vec()),
            Self::Byte(bytes) => {
                let mut value = vec![0; bytes];
                *value.last_mut()? = u8::try_from(number(text)?).ok()?;
                (SIGNED_INTEGER, value)
            }
            Self::Word => (SIGNED_INTEGER, number(text).filter(|number| *number > 0)?.to_be_bytes().to_vec()),
            Self::Pair => {
                let (which, of) = text.split_once('/').unwrap_or((text, ""));
                let which = number(which).filter(|which| *which > 0)?;
                let mut value = vec![0; 2];
                for number in [which, number(of).unwrap_or(0), 0] {
                    put_u16(&mut value, number);
                }
                (NO_TYPE, value)
            }
        })
    }
}

fn leading(text: &str, is_part: impl Fn(char) -> bool) -> &str {
    let text = text.trim_start();
    &text[..text.find(|c| !is_part(c)).unwrap_or(text.len())]
}

/// A place on earth: degrees and metres in 16.16 fixed point, and what is behind the slash.
#[derive(Debug, PartialEq, Eq)]
struct GeoLocation<'a> {
    latitude: i32,
    longitude: i32,
    altitude: i32,
    name: &'a str,
}

/// `eng`, packed (ISO/IEC 14496-12 §8.4.2.3): what the 0 that FFmpeg writes is taken for.
const ENGLISH: u16 = 0x15C7;

impl<'a> GeoLocation<'a> {
    /// Reads `+52.1+004.2+12/name`, of which the last two may be missing.
    fn read(text: &'a str) -> Option<Self> {
        let mut rest = text;
        let mut next = || {
            let start = rest.trim_start();
            let length = leading(start.get(1..)?, |c| c.is_ascii_digit() || c == '.').len() + 1;
            let degrees: f64 = start[..length].parse().ok()?;
            rest = &start[length..];
            #[expect(clippy::cast_possible_truncation, reason = "saturates")]
            Some((degrees * 65_536.0) as i32)
        };
        let (latitude, longitude) = (next()?, next()?);
        let altitude = next().unwrap_or(0);
        Some(Self { latitude, longitude, altitude, name: rest.strip_prefix('/').unwrap_or_default() })
    }

    fn write(&self, out: &mut Vec<u8>) {
        full_boxed(out, *b"loci", 0, 0, |out| {
            put_u16(out, ENGLISH);
            out.extend(self.name.bytes());
            // The end of the name, and the role of the place: where it was recorded.
            out.extend([0, 0]);
            for number in [self.longitude, self.latitude, self.altitude] {
                out.extend(number.to_be_bytes());
            }
            out.extend(b"earth\0\0");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::cursor::{children, children_of};

    fn written(said: &[(&str, &str)]) -> Vec<u8> {
        let mut tags = Tags::default();
        for (name, value) in said {
            tags.set(Tags::known(name.as_bytes()).unwrap(), (*value).to_owned());
        }
        let mut movie = Movie::new(1000);
        movie.set_tags(&tags);
        movie.kept
    }

    /// The items with the content of their values.
    fn items(said: &[(&str, &str)]) -> Vec<([u8; 4], Vec<u8>)> {
        let bytes = written(said);
        let Some(udta) = children(&bytes, 0).next() else { return Vec::new() };
        let meta = children_of(&udta).find(|found| found.fourcc.0 == *b"meta").unwrap();
        let list = children(&meta.body[4..], 0).find(|found| found.fourcc.0 == *b"ilst").unwrap();
        children_of(&list).map(|item| (item.fourcc.0, item.body[8..].to_vec())).collect()
    }

    #[test]
    fn text_is_written_by_its_name_in_any_case_and_the_last_one_counts() {
        let found = items(&[("Comment", "first"), ("TITLE", "x"), ("comment", "second")]);
        let text = |text: &str| [&[0, 0, 0, 1, 0, 0, 0, 0][..], text.as_bytes()].concat();
        assert_eq!(found, [(*b"\xA9nam", text("x")), (*b"\xA9cmt", text("second"))]);
        assert_eq!(Tags::known(b"encoder"), None);
    }

    #[test]
    fn what_says_nothing_is_not_written() {
        assert_eq!(written(&[]), b"");
        assert_eq!(
            written(&[("title", "x"), ("title", ""), ("track", "0"), ("media_type", "300"), ("tmpo", "fast")]),
            b""
        );
        assert_eq!(written(&[("location", "home")]), b"");
    }

    #[test]
    fn numbers_have_the_length_of_their_item() {
        let found =
            items(&[("track", "3/7"), ("disc", "2"), ("season_number", "6"), ("compilation", "1"), ("tmpo", "120")]);
        let values = [
            (*b"tvsn", &[0, 0, 0, 21, 0, 0, 0, 0, 0, 0, 0, 6][..]),
            (*b"cpil", &[0, 0, 0, 21, 0, 0, 0, 0, 1]),
            (*b"trkn", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 7, 0, 0]),
            (*b"disk", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]),
            (*b"tmpo", &[0, 0, 0, 21, 0, 0, 0, 0, 0, 120]),
        ];
        assert_eq!(found, values.map(|(name, value)| (name, value.to_vec())));
    }

    #[test]
    fn a_place_is_read_as_far_as_it_is_one() {
        let place = |text| GeoLocation::read(text).map(|p| (p.latitude, p.longitude, p.altitude, p.name.to_owned()));
        assert_eq!(place("+52.5-004.25/"), Some((0x0034_8000, -0x0004_4000, 0, String::new())));
        assert_eq!(place("+52-004+12/x"), Some((52 << 16, -4 << 16, 12 << 16, "x".to_owned())));
        assert_eq!(
            [place(""), place("+"), place("+52"), place("é52+4"), place("north")],
            [None, None, None, None, None]
        );
    }
}
