//! What stores say in XML, read leniently: it may stand amid other words, be cut off, or not be quite well formed.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

fn reader(text: &str) -> Reader<&[u8]> {
    let mut reader = Reader::from_str(text);
    let config = reader.config_mut();
    config.allow_dangling_amp = true;
    config.allow_unmatched_ends = true;
    config.check_end_names = false;
    reader
}

/// Whether an element of a name begins in a text.
pub(super) fn has(text: &str, name: &str) -> bool {
    let mut reader = reader(text);
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) if start.local_name().as_ref() == name.as_bytes() => return true,
            Ok(Event::Eof) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}

/// What stands between begin and end of each element of a name, still escaped.
pub(super) fn elements(text: &str, name: &str) -> impl Iterator<Item = String> {
    let mut reader = reader(text);
    std::iter::from_fn(move || {
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) if start.local_name().as_ref() == name.as_bytes() => {
                    return Some(reader.read_text(start.name()).ok()?.decode().ok()?.into_owned());
                }
                Event::Eof => return None,
                _ => {}
            }
        }
    })
}

/// The text of the first element of a name, wherever it is in a text, without space around it; `None` if it never ends.
pub(super) fn text_of(text: &str, name: &str) -> Option<String> {
    exact_text_of(text, name).map(|said| said.trim().to_owned())
}

/// The same with the space around it.
pub(super) fn exact_text_of(text: &str, name: &str) -> Option<String> {
    let element = elements(text, name).next()?;
    let mut reader = reader(&element);
    let mut said = String::new();
    loop {
        match reader.read_event().ok()? {
            Event::Text(text) => said.push_str(&text.decode().ok()?),
            Event::CData(text) => said.push_str(&text.decode().ok()?),
            Event::GeneralRef(entity) => said.extend(character(&entity)),
            Event::Eof => return Some(said),
            _ => {}
        }
    }
}

/// The character that an entity stands for; nothing for one that XML does not know (XML 1.0 §4.6).
fn character(entity: &BytesRef<'_>) -> Option<char> {
    let named = || resolve_predefined_entity(&entity.decode().ok()?)?.chars().next();
    entity.resolve_char_ref().ok().flatten().or_else(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_code_is_read_out_of_its_answer() {
        let body = "403: <?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Region> eu-1 </Region></Error>: more";
        assert_eq!(text_of(body, "Code").as_deref(), Some("SlowDown"));
        assert_eq!(text_of(body, "Region").as_deref(), Some("eu-1"));
        assert_eq!(text_of(body, "Message"), None);
        assert_eq!(text_of("<Code>never closed", "Code"), None);
        assert!(has(body, "Error") && !has(body, "Message"));
    }

    #[test]
    fn odd_xml_is_read_as_far_as_it_goes() {
        let of = |text| text_of(text, "Key");
        assert_eq!(of("<Key>a & b &lt;&#x2F;&#65;&nothing;</Key>").as_deref(), Some("a & b </A"));
        assert_eq!(of("<r xmlns='x' xmlns:y='y'><y:Key z='1'><![CDATA[a&b]]></y:Key>").as_deref(), Some("a&b"));
        assert_eq!(of("</p><x></y><Key>1</Key><Key>2</Key>").as_deref(), Some("1"));
        assert_eq!(of("<Key/><Key >2</Key >").as_deref(), Some("2"));
        assert!(has("<Error xmlns='x'><Code>InternalError", "Error"), "cut off");
        for none in ["", "<", "<Key", "<html><body>login</body></html>", "5 < 6"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
