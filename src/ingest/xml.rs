//! XML as a tree of elements with their text, as `Server.xml` needs it: no namespaces, no mixed content.
//!
//! Entities other than XML's own are left out; nothing outside of the text is ever loaded.

use std::path::Path;

use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};

use super::error::IngestError;
use crate::printable::Printable;

const DEEPEST: usize = 64;
const MOST_ELEMENTS: usize = 100_000;

/// One element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub name: String,
    /// The value of its attribute `include`, if it has one.
    pub include: Option<String>,
    /// Its own text, without blanks around it.
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// Elements of that name in it.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first element of that name in it.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first element of that name, if it has some.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str()).filter(|text| !text.is_empty())
    }
}

/// Reads a text; the elements at the top are children of what is returned.
pub(super) fn parse(text: &str, path: &Path) -> Result<Element, IngestError> {
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let line_at =
        |at: u64| text.bytes().take(usize::try_from(at).unwrap_or(usize::MAX)).filter(|b| *b == b'\n').count() + 1;
    let mut open = vec![Element::default()];
    let mut elements = 0;
    loop {
        let event = reader.read_event();
        let line = line_at(reader.error_position().max(reader.buffer_position()));
        let event =
            event.map_err(|error| IngestError::syntax(path, line, format!("not XML: {}", Printable(&error))))?;
        match event {
            Event::Start(start) => open.push(begun(&start)),
            Event::Empty(start) => close(&mut open, begun(&start)),
            Event::End(_) => {
                if let Some(element) = open.pop() {
                    close(&mut open, element);
                }
            }
            Event::Text(text) => add_text(&mut open, &String::from_utf8_lossy(&text)),
            Event::CData(text) => add_text(&mut open, &String::from_utf8_lossy(&text)),
            Event::GeneralRef(entity) => {
                let entity = format!("&{};", String::from_utf8_lossy(&entity));
                add_text(&mut open, unescape(&entity).as_deref().unwrap_or_default());
            }
            Event::Eof => break,
            _ => continue,
        }
        elements += 1;
        if open.len() > DEEPEST || elements > MOST_ELEMENTS {
            return Err(IngestError::too_much(path, "it has too many elements, or too deeply nested ones"));
        }
    }
    if open.len() > 1 {
        let name = open.pop().unwrap_or_default().name;
        return Err(IngestError::syntax(path, line_at(u64::MAX), format!("not XML: `<{name}>` is not closed")));
    }
    Ok(open.pop().unwrap_or_default())
}

fn begun(start: &BytesStart<'_>) -> Element {
    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
    let include = start.try_get_attribute("include").ok().flatten();
    let include = include.map(|attribute| String::from_utf8_lossy(&attribute.value).into_owned());
    Element { name, include, ..Element::default() }
}

fn close(open: &mut [Element], mut element: Element) {
    element.text.truncate(element.text.trim_end().len());
    element.text.drain(..element.text.len() - element.text.trim_start().len());
    if let Some(parent) = open.last_mut() {
        parent.children.push(element);
    }
}

fn add_text(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_attributes_entities_and_comments() {
        let text = "<?xml version=\"1.0\"?>\n<A><!-- <B>no</B> --><B x=\"1\" include=\"V*.xml\"/><B> a &amp; &lt;b&gt; <![CDATA[<c>]]> </B></A>";
        let a = parse(text, Path::new("x")).unwrap().child("A").cloned().unwrap();
        assert_eq!(a.named("B").count(), 2);
        assert_eq!(a.children[0].include.as_deref(), Some("V*.xml"));
        assert_eq!(a.children[1].text, "a & <b> <c>");
        assert_eq!(a.text_of("B"), None, "the first has none");
    }

    #[test]
    fn an_error_has_its_line() {
        let line = |text: &str| match parse(text, Path::new("x")) {
            Err(IngestError::Syntax { line, .. }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line("<A>\n<B>\n</A>\n"), 3);
        assert_eq!(line("<A>\n<B></B>\n"), 3);
        assert!(parse(&"<a>".repeat(1000), Path::new("x")).is_err());
    }
}
