//! `host`: trains, exports and checks Monte-Carlo-dropout models, and monitors devices that run them.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use host::cmd;

/// Trains, exports and evaluates Monte-Carlo-dropout models, and monitors devices that run them.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."
)]
struct Cli {
    /// More log lines on stderr (-v: debug, -vv: trace).
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "train")]
    Train(cmd::train::Args),
    Export(cmd::export::Args),
    Adopt(cmd::adopt::Args),
    Evaluate(cmd::evaluate::Args),
    Calibrate(cmd::calibrate::Args),
    Report(cmd::report::Args),
    Study(cmd::study::Args),
    Keygen(cmd::keygen::Args),
    Sign(cmd::sign::Args),
    Flash(cmd::flash::Args),
    Deploy(cmd::deploy::Args),
    Monitor(cmd::monitor::Args),
    Label(cmd::label::Args),
    Send(cmd::send::Args),
    Bench(cmd::bench::Args),
    #[command(hide = true)]
    BenchWorker(cmd::bench::WorkerArgs),
    Data(cmd::data::Args),
    Doctor(cmd::doctor::Args),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    device::log::start(cli.verbose);
    let result = match cli.command {
        #[cfg(feature = "train")]
        Command::Train(args) => cmd::train::run(args),
        Command::Export(args) => cmd::export::run(&args),
        Command::Adopt(args) => cmd::adopt::run(&args),
        Command::Evaluate(args) => cmd::evaluate::run(args),
        Command::Calibrate(args) => cmd::calibrate::run(&args),
        Command::Report(args) => cmd::report::run(args),
        Command::Study(args) => cmd::study::run(args),
        Command::Keygen(args) => cmd::keygen::run(&args),
        Command::Sign(args) => cmd::sign::run(&args),
        Command::Flash(args) => cmd::flash::run(&args),
        Command::Deploy(args) => cmd::deploy::run(&args),
        Command::Monitor(args) => cmd::monitor::run(&args),
        Command::Label(args) => cmd::label::run(&args),
        Command::Send(args) => cmd::send::run(&args),
        Command::Bench(args) => cmd::bench::run(&args),
        Command::BenchWorker(args) => cmd::bench::run_worker(args),
        Command::Data(args) => cmd::data::run(args),
        Command::Doctor(args) => cmd::doctor::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "host", &mut std::io::stdout());
            Ok(())
        }
    };
    device::log::exit_code(result)
}
