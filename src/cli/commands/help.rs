//! `completions` and `man`: the arguments' own description in other forms.

use std::path::Path;

use clap::CommandFactory as _;

use super::super::args::Cli;
use super::super::exit::Exit;
use super::super::output::Output;
use super::CommandError;

/// Prints a shell's completions.
pub fn completions(shell: clap_complete::Shell, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "aftercast", &mut script);
    out.out.as_it_is().write_all(&script).map_err(CommandError::output)?;
    Ok(Exit::Done)
}

/// Prints the manual page, every command included.
pub fn man(out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut out.out.as_it_is()).map_err(CommandError::output)?;
    for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
        clap_mangen::Man::new(sub.clone()).render(&mut out.out.as_it_is()).map_err(CommandError::output)?;
    }
    Ok(Exit::Done)
}

/// Writes a manual page for each command, `aftercast-vod-list.1` and the like, as packages ship them.
pub fn man_pages(directory: &Path) -> Result<Exit, CommandError> {
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, directory).map_err(CommandError::output)?;
    Ok(Exit::Done)
}
