//! Running one program as one step of a task, with its name, time and outcome on the terminal.

use std::io::{BufRead as _, BufReader};
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::repository::Outcome;

/// Runs `action` under a heading and says how long it took.
pub(crate) fn run<T>(name: &str, action: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    println!("==> {name}");
    let begin = Instant::now();
    let outcome = action();
    let verdict = if outcome.is_ok() { "done" } else { "FAILED" };
    println!("    {name}: {verdict} in {:.1} s", begin.elapsed().as_secs_f64());
    outcome
}

/// How many processors there are to work with.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Does `work` for every item, as many at once as there are processors, and gives back what came of each, in the order of the items.
pub(crate) fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        while let Some((index, item)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|index| Some((index, items.get(index)?))) {
            done.push((index, work(item)));
        }
        done
    };
    let mut all: Vec<(usize, R)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..processors()).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Runs a program with its output on the terminal; anything but exit code 0 is an error.
pub(crate) fn execute(command: &mut Command) -> Outcome {
    let status = command.stdin(Stdio::null()).status().map_err(|error| format!("could not start {}: {error}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", shown(command))) }
}

/// Runs a program and gives back what it wrote to stdout; its stderr goes to the terminal.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("could not start {}: {error}", shown(command)))?;
    if !output.status.success() {
        return Err(format!("{} ended with {}", shown(command), output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{} wrote something else than UTF-8: {error}", shown(command)))
}

/// Runs a program, copies its lines to the terminal and hands each to `look`; says whether it ended with exit code 0.
///
/// Both streams of a test runner carry its summary in one version or another, so stderr is merged into stdout.
pub(crate) fn watch(command: &mut Command, mut look: impl FnMut(&str)) -> Outcome<bool> {
    let (reader, writer) = std::io::pipe().map_err(|error| format!("could not make a pipe: {error}"))?;
    let twin = writer.try_clone().map_err(|error| format!("could not copy a pipe: {error}"))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(twin)
        .spawn()
        .map_err(|error| format!("could not start {}: {error}", shown(command)))?;
    // The command still holds the pipe's writing ends; without this the reader would never see its end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.map_err(|error| format!("could not read from {}: {error}", shown(command)))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        look(&line);
    }
    let status = child.wait().map_err(|error| format!("could not wait for {}: {error}", shown(command)))?;
    Ok(status.success())
}

/// Whether a program answers when asked `arguments`.
pub(crate) fn answers(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn shown(command: &Command) -> String {
    let words: Vec<_> =
        std::iter::once(command.get_program()).chain(command.get_args()).take(4).map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_side_by_side_comes_back_in_order() {
        let items: Vec<usize> = (0..100).collect();
        let doubled = side_by_side(&items, |item| {
            if item % 7 == 0 {
                thread::yield_now(); // so that others overtake it
            }
            item * 2
        });
        assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert!(side_by_side(&[] as &[usize], |item| *item).is_empty());
    }
}
