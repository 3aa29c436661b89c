//! The syntax that nginx and SRS have in common: `name argument …;` and `name argument … { … }`, with comments, quotes,
//! escapes and `include`.
//!
//! Includes are followed within a bound; a file that includes itself is an error that names it.

use std::path::{Path, PathBuf};

use super::error::IngestError;
use super::files::ServerFiles;

/// Levels of blocks, and of files that include one another.
const DEEPEST: usize = 64;
/// Directives over all files.
const MOST_DIRECTIVES: usize = 100_000;
/// Files that one configuration may include.
const MOST_FILES: usize = 1000;

/// One directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    pub name: String,
    pub arguments: Vec<String>,
    /// What stands between its braces, if it has some.
    pub block: Vec<Directive>,
}

impl Directive {
    /// The first argument.
    pub fn value(&self) -> Option<&str> {
        self.arguments.first().map(String::as_str)
    }
}

/// The directives of one name.
pub(super) fn named<'a>(block: &'a [Directive], name: &str) -> impl Iterator<Item = &'a Directive> {
    block.iter().filter(move |directive| directive.name == name)
}

/// The first argument of a directive; the last one of the name counts.
pub(super) fn value<'a>(block: &'a [Directive], name: &str) -> Option<&'a str> {
    named(block, name).last().and_then(Directive::value)
}

/// Reads a file and what it includes. Relative includes begin at `base`.
pub(super) fn read(path: &Path, base: &Path, files: &ServerFiles) -> Result<Vec<Directive>, IngestError> {
    let mut reading = DirectiveReader { base, files, open: Vec::new(), directives: 0, read: 0 };
    reading.file(path)
}

struct DirectiveReader<'a> {
    base: &'a Path,
    files: &'a ServerFiles,
    /// The files that are being read: the one that includes, and what included it.
    open: Vec<PathBuf>,
    directives: usize,
    read: usize,
}

impl DirectiveReader<'_> {
    fn file(&mut self, path: &Path) -> Result<Vec<Directive>, IngestError> {
        if self.open.iter().any(|open| open == path) {
            return Err(IngestError::too_much(path, "it includes itself"));
        }
        self.read += 1;
        if self.open.len() > DEEPEST || self.read > MOST_FILES {
            return Err(IngestError::too_much(path, format!("more than {MOST_FILES} files are included")));
        }
        let text = self.files.read(path)?;
        self.open.push(path.to_owned());
        let mut tokens = DirectiveTokens { text: text.chars().collect(), at: 0, line: 1, path };
        let (block, _) = self.block(&mut tokens, 0)?;
        self.open.pop();
        Ok(block)
    }

    /// Reads up to the end of a block, and whether a brace ended it.
    fn block(&mut self, tokens: &mut DirectiveTokens<'_>, depth: usize) -> Result<(Vec<Directive>, bool), IngestError> {
        let (mut block, mut words) = (Vec::new(), Vec::new());
        loop {
            match tokens.next()? {
                Token::Word(word) => words.push(word),
                Token::End if words.is_empty() => {}
                Token::End => self.add(&mut block, std::mem::take(&mut words), Vec::new(), tokens)?,
                Token::Open if words.is_empty() => return Err(tokens.wrong("`{` without a name before it")),
                Token::Open if depth >= DEEPEST => return Err(tokens.wrong("blocks are nested too deeply")),
                Token::Open => {
                    let opened = tokens.line;
                    let (inner, is_closed) = self.block(tokens, depth + 1)?;
                    if !is_closed {
                        return Err(IngestError::syntax(tokens.path, opened, "`{` is not closed"));
                    }
                    self.add(&mut block, std::mem::take(&mut words), inner, tokens)?;
                }
                Token::Close | Token::Nothing if !words.is_empty() => return Err(tokens.wrong("a `;` is missing")),
                Token::Close if depth == 0 => return Err(tokens.wrong("`}` without its `{`")),
                Token::Close => return Ok((block, true)),
                Token::Nothing => return Ok((block, false)),
            }
        }
    }

    fn add(
        &mut self,
        block: &mut Vec<Directive>,
        words: Vec<String>,
        inner: Vec<Directive>,
        tokens: &DirectiveTokens<'_>,
    ) -> Result<(), IngestError> {
        self.directives += 1;
        if self.directives > MOST_DIRECTIVES {
            return Err(IngestError::too_much(tokens.path, format!("it has more than {MOST_DIRECTIVES} directives")));
        }
        let mut words = words.into_iter();
        let Some(name) = words.next() else { return Ok(()) };
        let arguments: Vec<String> = words.collect();
        if name != "include" {
            block.push(Directive { name, arguments, block: inner });
            return Ok(());
        }
        for argument in arguments {
            for path in self.files.matching(&super::plain(&self.base.join(argument)))? {
                block.extend(self.file(&path)?);
            }
        }
        Ok(())
    }
}

enum Token {
    Word(String),
    /// `;`
    End,
    Open,
    Close,
    /// The end of the file.
    Nothing,
}

struct DirectiveTokens<'a> {
    text: Vec<char>,
    at: usize,
    line: usize,
    path: &'a Path,
}

impl DirectiveTokens<'_> {
    fn wrong(&self, what: &str) -> IngestError {
        IngestError::syntax(self.path, self.line, what)
    }

    fn take(&mut self) -> Option<char> {
        let c = self.text.get(self.at).copied()?;
        self.at += 1;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn next(&mut self) -> Result<Token, IngestError> {
        loop {
            match self.text.get(self.at).copied() {
                None => return Ok(Token::Nothing),
                Some(c) if c.is_whitespace() => drop(self.take()),
                Some('#') => while self.take().is_some_and(|c| c != '\n') {},
                Some(c @ (';' | '{' | '}')) => {
                    self.take();
                    return Ok(match c {
                        ';' => Token::End,
                        '{' => Token::Open,
                        _ => Token::Close,
                    });
                }
                Some(quote @ ('"' | '\'')) => return self.quoted(quote),
                Some(_) => return Ok(self.word()),
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Token, IngestError> {
        let begun = self.line;
        self.take();
        let mut word = String::new();
        loop {
            match self.take() {
                None => return Err(IngestError::syntax(self.path, begun, "a quote is not closed")),
                Some(c) if c == quote => return Ok(Token::Word(word)),
                Some('\\') => self.escaped(&mut word),
                Some(c) => word.push(c),
            }
        }
    }

    /// A word up to a blank, `;`, `{` or `}`; `${name}` belongs to it.
    fn word(&mut self) -> Token {
        let mut word = String::new();
        while let Some(c) = self.text.get(self.at).copied() {
            let is_variable = c == '{' && word.ends_with('$');
            if c.is_whitespace() || c == ';' || (c == '{' && !is_variable) {
                break;
            }
            if c == '}' && !(word.contains("${") && word.rfind("${") > word.rfind('}')) {
                break;
            }
            self.take();
            match c {
                '\\' => self.escaped(&mut word),
                _ => word.push(c),
            }
        }
        Token::Word(word)
    }

    /// nginx removes a backslash before quotes, blanks and itself, and reads `\t`, `\r` and `\n`; any other one stays.
    fn escaped(&mut self, word: &mut String) {
        match self.take() {
            Some('t') => word.push('\t'),
            Some('r') => word.push('\r'),
            Some('n') => word.push('\n'),
            Some(c @ ('"' | '\'' | '\\' | ' ' | ';' | '{' | '}' | '#')) => word.push(c),
            Some(c) => word.extend(['\\', c]),
            None => word.push('\\'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read_all(contents: &[(&str, &str)]) -> Result<Vec<Directive>, IngestError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in contents {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        read(Path::new("/main.conf"), Path::new("/"), &ServerFiles::below(dir.path()))
    }

    fn line_of(text: &str) -> usize {
        match read_all(&[("main.conf", text)]) {
            Err(IngestError::Syntax { line, .. }) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn directives_blocks_comments_and_quotes() {
        let text = "# a comment; with { signs }\nlisten 1935;\nvhost a.b {\n  dvr { # on\n    path \"/a b/[x].flv\"; }\n}\n\
                    log 'it''s' \"say \\\"x\\\"\" a\\ b $u/${name}.x;\nempty{}";
        let read = read_all(&[("main.conf", text)]).unwrap();
        assert_eq!(read.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["listen", "vhost", "log", "empty"]);
        let dvr = named(&read[1].block, "dvr").next().unwrap();
        assert_eq!((read[1].value(), value(&dvr.block, "path")), (Some("a.b"), Some("/a b/[x].flv")));
        assert_eq!(read[2].arguments, ["it", "s", "say \"x\"", "a b", "$u/${name}.x"]);
    }

    #[test]
    fn includes_are_relative_may_have_patterns_and_may_stand_in_a_block() {
        let read = read_all(&[
            ("main.conf", "a 1;\nrtmp { include conf.d/*.conf; }\ninclude other.conf;"),
            ("conf.d/2.conf", "two;"),
            ("conf.d/1.conf", "one;"),
            ("other.conf", "b 2;"),
        ])
        .unwrap();
        assert_eq!(read[1].block.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(value(&read, "b"), Some("2"));
        let missing = read_all(&[("main.conf", "include none.conf;")]);
        assert!(matches!(missing, Err(IngestError::Unreadable { path, .. }) if path == Path::new("/none.conf")));
        assert!(read_all(&[("main.conf", "include none/*.conf;")]).unwrap().is_empty());
    }

    #[test]
    fn a_file_that_includes_itself_is_an_error() {
        for files in [
            &[("main.conf", "include main.conf;")][..],
            &[("main.conf", "include a.conf;"), ("a.conf", "x { include ./b.conf; }"), ("b.conf", "include a.conf;")],
        ] {
            let error = read_all(files).unwrap_err();
            assert!(error.to_string().contains("it includes itself"), "{error}");
        }
        let twice = read_all(&[("main.conf", "include a.conf; include a.conf;"), ("a.conf", "x;")]).unwrap();
        assert_eq!(twice.len(), 2, "twice in a row is no circle");
    }

    #[test]
    fn an_error_names_its_line() {
        assert_eq!(line_of("a 1;\nb {\n c;\n"), 2, "not closed");
        assert_eq!(line_of("a 1;\n}\n"), 2);
        assert_eq!(line_of("a 1;\nb 'x;\n"), 2);
        assert_eq!(line_of("a {\n  b\n}\n"), 3);
        assert_eq!(line_of("a\nb"), 2);
        assert_eq!(line_of("{ }"), 1);
        let deep = "a {".repeat(500);
        assert_eq!(line_of(&deep), 1);
    }
}
