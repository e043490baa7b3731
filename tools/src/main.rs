//! `broadhead`: the server, and everything one does with it from a shell.
//!
//! Answers go to standard output, progress and messages to standard error. Exit codes: 0 done, 1 it went wrong, 2 it was asked wrongly.

mod cli;
mod commands;
mod config;
mod error;
mod load;
mod output;
mod progress;
mod recall;
mod sources;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = match EnvFilter::try_new(&cli.log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("error: --log {}: {error}", cli.log);
            return ExitCode::from(2);
        }
    };
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let result = match cli.command {
        Command::Serve(arguments) => commands::serve::run(arguments),
        Command::Import(arguments) => commands::import::run(&arguments),
        Command::Search(arguments) => commands::search::run(&arguments),
        Command::Traverse(arguments) => commands::traverse::run(&arguments),
        Command::Get(arguments) => commands::get::run(&arguments),
        Command::Update(arguments) => commands::update::run(&arguments),
        Command::Scan(arguments) => commands::scan::run(&arguments),
        Command::Count(arguments) => commands::count::run(&arguments),
        Command::Facets(arguments) => commands::facets::run(&arguments),
        Command::Delete(arguments) => commands::delete::run(&arguments),
        Command::Stats(arguments) => commands::stats::run(&arguments),
        Command::Create(arguments) => commands::create::run(&arguments),
        Command::Alter(arguments) => commands::alter::run(&arguments),
        Command::Describe(arguments) => commands::describe::run(&arguments),
        Command::Namespaces(arguments) => commands::namespace::list(&arguments),
        Command::Namespace(command) => commands::namespace::run(&command),
        Command::Collections(arguments) => commands::collections::run(&arguments),
        Command::Drop(arguments) => commands::drop_collection::run(&arguments),
        Command::Snapshot(arguments) => commands::snapshot::run(&arguments),
        Command::WaitIndexed(arguments) => commands::wait_indexed::run(&arguments),
        Command::Eval(arguments) => commands::eval::run(&arguments),
        Command::Bench(command) => commands::bench::run(&command),
        Command::Demo(arguments) => commands::demo::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
