//! YAML as a tree whose scalars stay text: `yes`, `1d` and `0777` mean what the server that reads them says, not what a YAML
//! schema says.
//!
//! Aliases are copied and merge keys (`<<`) resolved, both within a bound: a few lines of YAML can stand for any amount of
//! memory. Only the first document is read.

use std::collections::HashMap;
use std::path::Path;

use saphyr_parser::{Event, Parser, ScanError, StrInput};

use super::error::IngestError;
use crate::printable::Printable;

/// Nodes that a file may have, aliases counted as often as they are used.
const MOST_NODES: usize = 100_000;
/// Levels of nesting.
const DEEPEST: usize = 64;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// Text; an empty plain scalar, `~` and `null` are [`Node::Nothing`].
    Text(String),
    Nothing,
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value of a key of a map; the last one counts.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The text of a key that has one.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries of a map, in the order of the file.
    pub fn entries(&self) -> &[(String, Self)] {
        match self {
            Self::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }
}

/// Reads the text of a file; an empty one is [`Node::Nothing`].
pub(super) fn parse(text: &str, path: &Path) -> Result<Node, IngestError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { parser: Parser::new_from_str(text), path, line: 1, anchors: HashMap::new(), nodes: 0 };
    loop {
        match reader.next()? {
            None | Some(Event::StreamEnd) => return Ok(Node::Nothing),
            Some(Event::StreamStart | Event::DocumentStart(_) | Event::Nothing) => {}
            Some(event) => {
                let node = reader.node(event, 0)?;
                // What is wrong behind the first value is wrong, too.
                while reader.next()?.is_some_and(|event| event != Event::DocumentEnd) {}
                return Ok(node);
            }
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    path: &'a Path,
    line: usize,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<Event<'a>>, IngestError> {
        let Some(next) = self.parser.next_event() else { return Ok(None) };
        let (event, span) = next.map_err(|error| self.failed(&error))?;
        self.line = span.start.line();
        Ok(Some(event))
    }

    fn failed(&self, error: &ScanError) -> IngestError {
        // The parser's words are its own; they name tokens, not what the file holds.
        IngestError::syntax(self.path, error.marker().line(), format!("not YAML: {}", Printable(error.info())))
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, IngestError> {
        let before = self.nodes;
        self.count(1)?;
        if depth > DEEPEST {
            return Err(IngestError::syntax(self.path, self.line, format!("nested deeper than {DEEPEST} levels")));
        }
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let is_plain = style == saphyr_parser::ScalarStyle::Plain;
                let is_nothing = is_plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                (anchor, if is_nothing { Node::Nothing } else { Node::Text(text.into_owned()) })
            }
            Event::SequenceStart(anchor, _) => (anchor, self.list(depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.map(depth)?),
            Event::Alias(anchor) => return self.alias(anchor),
            _ => return Err(IngestError::syntax(self.path, self.line, "not YAML: a value is missing")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize) -> Result<(), IngestError> {
        self.nodes += nodes;
        if self.nodes > MOST_NODES {
            return Err(IngestError::too_much(self.path, format!("it has more than {MOST_NODES} values")));
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize) -> Result<Node, IngestError> {
        let Some((node, nodes)) = self.anchors.get(&anchor).cloned() else {
            return Err(IngestError::syntax(self.path, self.line, "an alias refers to itself"));
        };
        self.count(nodes)?;
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Node, IngestError> {
        let mut items = Vec::new();
        while let Some(event) = self.next()? {
            if event == Event::SequenceEnd {
                break;
            }
            items.push(self.node(event, depth + 1)?);
        }
        Ok(Node::List(items))
    }

    fn map(&mut self, depth: usize) -> Result<Node, IngestError> {
        let (mut entries, mut merged) = (Vec::new(), Vec::new());
        while let Some(event) = self.next()? {
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, depth + 1)?;
            let Some(event) = self.next()? else { break };
            let value = self.node(event, depth + 1)?;
            match key {
                Node::Text(key) if key == "<<" => merged.push(value),
                Node::Text(key) => entries.push((key, value)),
                Node::Nothing => entries.push(("null".to_owned(), value)),
                // A list or a map as a key has no meaning for any of the servers.
                Node::List(_) | Node::Map(_) => {}
            }
        }
        for value in merged {
            self.merge(&mut entries, value)?;
        }
        Ok(Node::Map(entries))
    }

    /// What is already there wins over what is merged in.
    fn merge(&mut self, entries: &mut Vec<(String, Node)>, value: Node) -> Result<(), IngestError> {
        let maps = match value {
            Node::List(maps) => maps,
            map => vec![map],
        };
        for (key, value) in maps.into_iter().flat_map(|map| match map {
            Node::Map(entries) => entries,
            _ => Vec::new(),
        }) {
            if entries.iter().all(|(known, _)| *known != key) {
                self.count(1)?;
                entries.push((key, value));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn parsed(text: &str) -> Result<Node, IngestError> {
        parse(text, Path::new("x.yml"))
    }

    #[test]
    fn scalars_stay_text() {
        let node = parsed("a: yes\nb: 0777\nc: 1d # comment\nd: ''\ne:\nf: [1, two]\n'g h': \"x: y\"\n").unwrap();
        assert_eq!(node.text("a"), Some("yes"));
        assert_eq!(node.text("b"), Some("0777"));
        assert_eq!(node.text("c"), Some("1d"));
        assert_eq!(node.text("d"), Some(""));
        assert_eq!(node.get("e"), Some(&Node::Nothing));
        assert_eq!(node.get("f").unwrap().items(), [Node::Text("1".into()), Node::Text("two".into())]);
        assert_eq!(node.text("g h"), Some("x: y"));
        assert_eq!(parsed("# nothing\n").unwrap(), Node::Nothing);
        assert_eq!(parsed("a: 1\na: 2\n").unwrap().text("a"), Some("2"));
    }

    #[test]
    fn aliases_and_merge_keys_are_resolved() {
        let node = parsed("base: &b\n  record: yes\n  path: /a\none:\n  <<: *b\n  path: /b\ntwo: *b\n").unwrap();
        assert_eq!(node.get("one").unwrap().text("record"), Some("yes"));
        assert_eq!(node.get("one").unwrap().text("path"), Some("/b"));
        assert_eq!(node.get("two").unwrap().text("path"), Some("/a"));
    }

    #[test]
    fn an_error_names_its_line_and_nothing_grows_without_bound() {
        let line = |text: &str| match parsed(text) {
            Err(IngestError::Syntax { line, .. }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line("a: 1\nb: [1, 2\nc: 3\n"), 3);
        assert_eq!(line("a: *none\n"), 1);
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            writeln!(bomb, "a{n}: &a{n} [{aliases}]").unwrap();
        }
        assert!(matches!(parsed(&bomb), Err(IngestError::TooMuch { .. })));
        let deep = "[".repeat(500) + &"]".repeat(500);
        assert!(parsed(&deep).is_err());
    }
}
