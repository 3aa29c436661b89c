//! Questions on a terminal: a line, yes or no, one of several, a secret that is not shown.
//!
//! Questions are printed on standard error, as everything that is no result. Answers come line by line from any reader, so that
//! tests can give them; only a secret needs a terminal.

use std::io::{self, BufRead, IsTerminal as _};

use console::Term;

use super::output::Output;

/// Whoever answers.
pub struct Answers<'a> {
    /// Answers that are known already. Without: the person at the terminal, whose input is not kept locked, as a secret is read
    /// from it by other means.
    known: Option<Box<dyn BufRead + 'a>>,
}

/// Whether there is somebody who can be asked.
pub fn is_possible() -> bool {
    io::stdin().is_terminal() && Term::stderr().is_term()
}

impl Answers<'_> {
    /// The person at the terminal.
    pub const fn of_terminal() -> Self {
        Self { known: None }
    }

    /// Answers that are known already.
    #[cfg(test)]
    pub fn known(text: &str) -> Answers<'_> {
        Answers { known: Some(Box::new(text.as_bytes())) }
    }

    /// Asks for a line; an empty answer is the default. Asks again until `check` takes the answer.
    pub fn line<T>(
        &mut self,
        question: &str,
        default: Option<&str>,
        out: &mut Output<'_>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> io::Result<T> {
        loop {
            match default {
                Some(default) if !default.is_empty() => write!(out.err, "{question} [{default}]: ")?,
                _ => write!(out.err, "{question}: ")?,
            }
            let typed = self.read(out)?;
            let answer = if typed.is_empty() { default.unwrap_or_default() } else { &typed };
            match check(answer) {
                Ok(value) => return Ok(value),
                Err(why) => writeln!(out.err, "  {why}")?,
            }
        }
    }

    /// Asks yes or no.
    pub fn yes(&mut self, question: &str, default: bool, out: &mut Output<'_>) -> io::Result<bool> {
        let choices = if default { "Y/n" } else { "y/N" };
        loop {
            write!(out.err, "{question} [{choices}] ")?;
            match self.read(out)?.to_ascii_lowercase().as_str() {
                "" => return Ok(default),
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => writeln!(out.err, "  answer yes or no")?,
            }
        }
    }

    /// Asks for one of several, by its number; the first is the default.
    pub fn choice(&mut self, question: &str, choices: &[&str], out: &mut Output<'_>) -> io::Result<usize> {
        for (n, choice) in choices.iter().enumerate() {
            writeln!(out.err, "  {}. {choice}", n + 1)?;
        }
        self.line(question, Some("1"), out, |answer| {
            let number = answer.parse::<usize>().ok().filter(|number| (1..=choices.len()).contains(number));
            number.map(|number| number - 1).ok_or_else(|| format!("a number from 1 to {}", choices.len()))
        })
    }

    /// Asks for a secret; what is typed is not shown.
    pub fn secret(question: &str, out: &mut Output<'_>) -> io::Result<String> {
        loop {
            write!(out.err, "{question} (not shown): ")?;
            out.err.as_it_is().flush()?;
            let typed = Term::stderr().read_secure_line()?;
            match typed.trim() {
                "" => writeln!(out.err, "  it must not be empty")?,
                typed => return Ok(typed.to_owned()),
            }
        }
    }

    fn read(&mut self, out: &mut Output<'_>) -> io::Result<String> {
        out.err.as_it_is().flush()?;
        let mut line = String::new();
        let bytes = match &mut self.known {
            None => io::stdin().read_line(&mut line)?,
            Some(lines) => lines.read_line(&mut line)?,
        };
        if bytes == 0 {
            writeln!(out.err)?;
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the input ended before the last answer"));
        }
        Ok(line.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::captured;
    use super::*;

    fn asked<T>(
        answers: &str,
        ask: impl FnOnce(&mut Answers<'_>, &mut Output<'_>) -> io::Result<T>,
    ) -> (io::Result<T>, String) {
        let (answer, _, said) = captured(|output| ask(&mut Answers::known(answers), output));
        (answer, said)
    }

    #[test]
    fn a_wrong_answer_is_asked_again_with_the_reason() {
        let number = |text: &str| text.parse::<u8>().map_err(|_| "a number from 0 to 255".to_owned());
        let (answer, said) = asked("x\n7\n", |a, out| a.line("How many", None, out, number));
        assert_eq!((answer.unwrap(), said.as_str()), (7, "How many:   a number from 0 to 255\nHow many: "));
        let (answer, said) = asked("\n", |a, out| a.line("How many", Some("3"), out, number));
        assert_eq!((answer.unwrap(), said.as_str()), (3, "How many [3]: "));
        let (answer, said) = asked("perhaps\nNO\n", |a, out| a.yes("Go on?", true, out));
        assert!(!answer.unwrap() && said.contains("[Y/n]") && said.contains("answer yes or no"));
        let (answer, _) = asked("4\n2\n", |a, out| a.choice("Which", &["one", "two"], out));
        assert_eq!(answer.unwrap(), 1);
    }

    #[test]
    fn the_end_of_the_input_is_an_error_and_questions_cannot_paint() {
        let (answer, said) = asked("", |a, out| a.yes("Watch `\u{1b}[2J`?", true, out));
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(said.contains("\\u{1b}[2J"), "{said}");
    }
}
