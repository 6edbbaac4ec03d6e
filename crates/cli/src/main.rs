//! The program `sallyport`: reads the command line, calls the rest.
#![forbid(unsafe_code)]

mod add;
mod approval;
mod approval_pages;
mod arguments;
mod atomic_write;
mod audit;
mod call;
mod check;
mod client_files;
mod completions;
mod connect;
mod connect_pages;
mod doctor;
mod html;
mod import;
mod key;
mod learn;
mod list;
mod logs;
#[cfg(target_os = "linux")]
mod microvm;
mod output;
mod pages;
mod policy;
mod project_file;
mod reach;
mod reload;
mod remove;
mod running;
mod sandbox;
mod secret_file;
mod side_door;
mod start;
mod starting;
mod stdio;
mod tenant;
mod tenant_pages;
mod token;
mod tools;
mod up;
mod update;
mod user;
mod vault;
mod view;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};

fn main() -> ExitCode {
    // A server's launcher is this binary again, and must be single-threaded.
    sallyport_sandbox::enter_if_asked();
    let Arguments { global, command } = Arguments::parse();
    global.color.write_global();
    let done = match command {
        Command::Up(arguments) => up::run(&global, &arguments),
        Command::Stdio(arguments) => stdio::run(&global, &arguments),
        Command::Check(arguments) => check::run(&global, &arguments),
        Command::Tools(arguments) => tools::run(&global, &arguments),
        Command::Call(arguments) => call::run(&global, &arguments),
        Command::Add(arguments) => add::run(&global, &arguments),
        Command::Remove(arguments) => remove::run(&global, &arguments),
        Command::List(arguments) => list::run(&global, &arguments),
        Command::Approval(arguments) => approval::run(&global, &arguments),
        Command::Vault(arguments) => vault::run(&global, &arguments),
        Command::Tenant(arguments) => tenant::run(&global, &arguments.command),
        Command::Learn(arguments) => learn::run(&global, &arguments),
        Command::Update(arguments) => update::run(&global, &arguments),
        Command::Rollback(arguments) => update::roll_back(&global, &arguments),
        Command::Import(arguments) => import::run(&global, &arguments),
        Command::Connect(arguments) => connect::run(&global, &arguments),
        Command::Logs(arguments) => logs::run(&global, &arguments),
        Command::Audit(arguments) => audit::run(&global, &arguments),
        Command::Key(arguments) => key::run(&global, &arguments),
        Command::Policy(arguments) => policy::run(&global, &arguments.command),
        Command::Sandbox(arguments) => sandbox::run(&global, &arguments.command),
        Command::Doctor(arguments) => doctor::run(&global, &arguments),
        #[cfg(target_os = "linux")]
        Command::Microvm(arguments) => microvm::run(&arguments),
        #[cfg(not(target_os = "linux"))]
        Command::Microvm(_) => Err(output::Failure::new("microVMs are made on linux")),
        Command::User(arguments) => user::run(&global, &arguments),
        Command::Token(arguments) => token::run(&global, &arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}
