//! `sallyport sandbox attack`: a hostile program tries to get out of a sandbox on this very machine.

use std::time::Duration;

use indicatif::ProgressBar;
use owo_colors::OwoColorize;
use sallyport_sandbox::attack::{self, Outcome, ROWS, Row, Verdict};
use sallyport_sandbox::{Host, Selection};

use crate::arguments::AttackArguments;
use crate::output::{self, Exit, Failure};
use crate::sandbox::file_code::FileCode;
use crate::sandbox::{refused, select};
use crate::start;

/// As long as a folder is swapped for a link while the gateway reads through it.
const RACE: Duration = Duration::from_secs(10);

pub(crate) fn run(arguments: &AttackArguments) -> Result<(), Failure> {
    let selection = select(arguments.backend.as_deref())?;
    let line = ProgressBar::new(ROWS.len() as u64); // on stderr, and nothing at all where that is no terminal
    let mut tell = |row: &Row| {
        line.set_position(u64::from(row.number));
        line.set_message(row.name);
    };
    line.set_style(style());
    let verdicts = start::runtime()?.block_on(attack::run(&Host::this_binary(), &selection, &FileCode, RACE, &mut tell));
    line.finish_and_clear();
    let verdicts = verdicts.map_err(|error| refused(&error))?;
    if arguments.json {
        output::json(&verdicts)?;
    } else {
        print(&selection, &verdicts)?;
    }
    match verdicts.iter().any(|verdict| verdict.outcome == Outcome::Open) {
        true => Err(Failure::told(Exit::Failed)),
        false => Ok(()),
    }
}

fn style() -> indicatif::ProgressStyle {
    // A template of ours that does not parse is seen by the first test.
    indicatif::ProgressStyle::with_template("{pos:>2}/{len} {msg}").unwrap_or_else(|_| indicatif::ProgressStyle::default_bar())
}

fn print(selection: &Selection, verdicts: &[Verdict]) -> Result<(), Failure> {
    for verdict in verdicts {
        let word = verdict.outcome.word();
        let word = match verdict.outcome {
            Outcome::Stopped => format!("{word:<14}").green().to_string(),
            Outcome::Open => format!("{word:<14}").red().bold().to_string(),
            Outcome::NotApplicable => format!("{word:<14}").dimmed().to_string(),
            Outcome::Accepted => format!("{word:<14}").yellow().to_string(),
        };
        output::line(format!("{:>2}  {word}  {}  {}", verdict.row, verdict.name.bold(), verdict.layer.dimmed()))?;
        if verdict.outcome != Outcome::Stopped {
            output::line(format!("                    {}", verdict.detail))?;
        }
    }
    let count = |outcome| verdicts.iter().filter(|verdict| verdict.outcome == outcome).count();
    output::line(format!(
        "{} of {} attacks on `{}` stopped, {} open, {} accepted, {} not applicable",
        count(Outcome::Stopped),
        verdicts.len(),
        selection.boundary(),
        count(Outcome::Open),
        count(Outcome::Accepted),
        count(Outcome::NotApplicable),
    ))
}
