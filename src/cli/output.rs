//! Where a command prints: results on `out`, everything else on `err`.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use super::table::{Style, Table};
use crate::printable::{Printable, is_misleading};

/// The two ends of a command, and the form of its results.
pub struct Output<'a> {
    /// Results.
    pub out: OutputStream<'a>,
    /// Everything else.
    pub err: OutputStream<'a>,
    /// Whether results are JSON, one value per line.
    pub is_json: bool,
    /// Whether tables may have colour.
    pub style: Style,
}

impl fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("is_json", &self.is_json).finish_non_exhaustive()
    }
}

impl Output<'_> {
    /// Prints one result as JSON, on a line of its own.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let line = json_text(value, CompactFormatter)?;
        writeln!(self.out.as_it_is(), "{line}")
    }

    /// Prints a table, or what to say instead of an empty one.
    pub fn table(&mut self, table: &Table, when_empty: &str) -> io::Result<()> {
        if table.is_empty() {
            return writeln!(self.err, "{when_empty}");
        }
        write!(self.out.as_it_is(), "{}", table.render(self.style))
    }
}

/// One of the two ends. What `writeln!` prints here is one line, whatever names and words it holds.
pub struct OutputStream<'a>(&'a mut dyn Write);

impl fmt::Debug for OutputStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutputStream")
    }
}

impl<'a> OutputStream<'a> {
    /// An end that writes there.
    pub fn new(to: &'a mut dyn Write) -> Self {
        Self(to)
    }

    /// Prints one line (`write!` and `writeln!` come here), escaped but for the line break at its end.
    pub fn write_fmt(&mut self, line: fmt::Arguments<'_>) -> io::Result<()> {
        let text = line.to_string();
        match text.strip_suffix('\n') {
            Some(line) => writeln!(self.0, "{}", Printable(line)),
            None => write!(self.0, "{}", Printable(text)),
        }
    }

    /// For what is safe already (tables, JSON, reports) or of our own making (completions).
    pub fn as_it_is(&mut self) -> &mut (dyn Write + 'a) {
        self.0
    }
}

fn json_text(value: &impl Serialize, form: impl Formatter) -> io::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, PrintableJson { form, before: None }))?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// JSON in some form whose strings are safe to print and mean the same.
struct PrintableJson<F> {
    form: F,
    before: Option<char>,
}

/// Hands the listed methods of a JSON formatter on to the form within.
macro_rules! as_the_form_does {
    ($($name:ident($($arg:ident: $kind:ty),*);)*) => {
        $(fn $name<W: ?Sized + Write>(&mut self, writer: &mut W $(, $arg: $kind)*) -> io::Result<()> {
            self.form.$name(writer $(, $arg)*)
        })*
    };
}

impl<F: Formatter> Formatter for PrintableJson<F> {
    as_the_form_does! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }

    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.before = None;
        self.form.begin_string(writer)
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut shown = 0;
        for (at, c) in fragment.char_indices() {
            if is_misleading(c, self.before.replace(c)) {
                writer.write_all(&fragment.as_bytes()[shown..at])?;
                c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?;
                shown = at + c.len_utf8();
            }
        }
        writer.write_all(&fragment.as_bytes()[shown..])
    }
}

/// What work prints, standard output and standard error, and what it returns.
#[cfg(test)]
pub(super) fn captured<T>(work: impl FnOnce(&mut Output<'_>) -> T) -> (T, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (out_stream, err_stream) = (OutputStream::new(&mut out), OutputStream::new(&mut err));
    let returned = work(&mut Output { out: out_stream, err: err_stream, is_json: false, style: Style::Plain });
    (returned, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(print: impl FnOnce(&mut Output<'_>) -> io::Result<()>) -> String {
        let (printed, out, _) = captured(print);
        printed.unwrap();
        out
    }

    #[test]
    fn a_line_stays_one_line() {
        let name = "a\u{1b}[2J\n\u{202e}b";
        let line = printed(|output| writeln!(output.out, "finished  {name}"));
        assert_eq!(line, "finished  a\\u{1b}[2J\\u{a}\\u{202e}b\n");
    }

    #[test]
    fn json_is_safe_to_print_and_means_the_same() {
        let value = serde_json::json!({ "name": "x\u{7f}\u{9b}\n\u{202e}\u{e0041}\"é", "list": [1, { "b": null }], "none": {} });
        let text = printed(|output| output.json(&value));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        assert!(text.contains("x\\u007f\\u009b\\n\\u202e\\udb40\\udc41\\\"é"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
