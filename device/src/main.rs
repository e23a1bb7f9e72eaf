//! `device`: judges camera frames by Monte-Carlo dropout and flags the uncertain ones over serial.

mod cmd;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Judges camera frames by Monte-Carlo dropout and flags the uncertain ones over serial.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage.")]
struct Cli {
    /// More log lines on stderr (-v: debug, -vv: trace).
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<cmd::run::Args>),
    Check(cmd::check::Args),
    Info(cmd::info::Args),
    Swap(cmd::swap::Args),
    Bench(cmd::bench::Args),
    Cameras(cmd::cameras::Args),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = match device::config::parse::<Cli>() {
        Ok(Some(cli)) => cli,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return device::log::exit_code(Err(error)),
    };
    device::log::start(cli.verbose);
    let result = match cli.command {
        Command::Run(args) => cmd::run::run(&args),
        Command::Check(args) => cmd::check::run(&args),
        Command::Info(args) => cmd::info::run(&args),
        Command::Swap(args) => cmd::swap::run(&args),
        Command::Bench(args) => cmd::bench::run(&args),
        Command::Cameras(args) => cmd::cameras::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "device", &mut std::io::stdout());
            Ok(())
        }
    };
    device::log::exit_code(result)
}
