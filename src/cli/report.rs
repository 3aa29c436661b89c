//! An error on the terminal, said once: its words, its causes, and what to do next.
//!
//! ```text
//! Error: cannot publish `/srv/streams/room1.mp4`
//! Caused by:
//!   1: cannot rename `/srv/streams/.aftercast-1.partial`
//!   2: Permission denied (os error 13)
//! Hint: Nothing was changed. …
//! ```
//!
//! Every line is made safe for a terminal here once more, whoever wrote it; lines of one message that follow its first
//! are indented, so that no name can pose as a line of its own.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};

use crate::fault::{Fault, causes};
use crate::operations::OperationError;
use crate::printable::Printable;

/// The whole report of an error that knows what to do about it.
pub fn of_fault(fault: &dyn Fault) -> String {
    let hint = fault.hint();
    render(fault, hint.as_slice())
}

/// The whole report of an operation's error.
pub fn of_operation(error: &OperationError) -> String {
    laid_out(&error.detail, &error.causes, error.next_step.as_slice())
}

/// The whole report of any error, with hints.
pub fn render(error: &dyn Error, hints: &[String]) -> String {
    laid_out(&error.to_string(), &causes(error), hints)
}

fn laid_out(error: &str, causes: &[String], hints: &[String]) -> String {
    let mut text = String::new();
    push(&mut text, "Error: ", error);
    if !causes.is_empty() {
        text.push_str("Caused by:\n");
    }
    for (number, cause) in causes.iter().enumerate() {
        push(&mut text, &format!("  {}: ", number + 1), cause);
    }
    for hint in hints {
        push(&mut text, "Hint: ", hint);
    }
    text
}

/// Prints the report of a fault on standard error.
pub fn print(fault: &dyn Fault) {
    write(&of_fault(fault));
}

/// Prints one warning on standard error.
pub fn warn(text: &str) {
    let mut line = String::new();
    push(&mut line, "Warning: ", text);
    write(&line);
}

fn write(text: &str) {
    // A closed standard error is nobody to tell about it.
    super::progress::suspend(|| drop(io::stderr().lock().write_all(text.as_bytes())));
}

fn push(text: &mut String, label: &str, message: &str) {
    let indent = " ".repeat(label.len().clamp(2, 4));
    for (number, line) in message.lines().enumerate() {
        let before = if number == 0 { label } else { &indent };
        let _ = writeln!(text, "{before}{}", Printable(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Class;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Layered {
        words: &'static str,
        source: Option<Box<Layered>>,
    }

    impl Fault for Layered {
        fn class(&self) -> Class {
            Class::Environment
        }

        fn hint(&self) -> Option<String> {
            Some("Nothing was changed. Free space.".into())
        }
    }

    fn chain(words: &[&'static str]) -> Layered {
        let source = (words.len() > 1).then(|| Box::new(chain(&words[1..])));
        Layered { words: words[0], source }
    }

    #[test]
    fn causes_are_numbered_and_said_once() {
        let report = of_fault(&chain(&["cannot publish `x`", "cannot rename: disk full", "disk full", "os error 28"]));
        let expected = "Error: cannot publish `x`\nCaused by:\n  1: cannot rename: disk full\n  2: os error 28\n\
                        Hint: Nothing was changed. Free space.\n";
        assert_eq!(report, expected);
    }

    #[test]
    fn an_error_without_causes_is_one_line() {
        assert_eq!(render(&chain(&["no"]), &[]), "Error: no\n");
    }

    #[test]
    fn a_name_cannot_paint_the_terminal_or_pose_as_a_hint() {
        let report = render(&chain(&["cannot open `a\u{1b}[31m\nHint: run rm`"]), &[]);
        assert_eq!(report, "Error: cannot open `a\\u{1b}[31m\n    Hint: run rm`\n");
    }

    #[test]
    fn a_configuration_error_shows_each_problem_on_its_line() {
        let error = crate::config::read(
            Some(crate::config::FileText { path: "c.toml".as_ref(), text: "a = 1\nb = 2\n" }),
            &std::collections::BTreeMap::new(),
            &[],
        )
        .unwrap_err();
        let report = of_fault(&error);
        let lines: Vec<_> = report.lines().collect();
        assert_eq!(lines[0], "Error: the configuration has 2 problems");
        assert!(lines[1].starts_with("    c.toml:1: ") && lines[2].starts_with("    c.toml:2: "), "{report}");
        assert!(lines[3].starts_with("Hint: "), "{report}");
    }
}
