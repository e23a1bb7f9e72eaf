//! Options of a program from a configuration file and from the environment.
//!
//! They are written as the command line that they stand for and read by the same parser, before the
//! options that were given as flags. So a new option needs no second declaration, and a value is
//! checked alike wherever it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use toml::de::{DeTable, DeValue};

/// The subcommand whose options have these layers.
const LAYERED: &str = "run";
/// Options of the command line alone.
const FLAGS_ONLY: [&str; 3] = ["config", "print-config", "help"];
/// Where an option's environment variable begins.
const PREFIX: &str = "MCDROPOUT_";

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    File { path: PathBuf, line: usize },
    Environment(String),
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// An option's values in the layer that decides.
struct Given {
    origin: Origin,
    values: Vec<OsString>,
}

/// Reads the command line; that of `run` on top of the environment and the file of `--config`.
/// Gives nothing where all that was asked for is done: `--print-config`.
///
/// Wrong usage ends the program with exit code 2, as ever.
///
/// # Errors
/// If the file cannot be read, or file or environment hold what is no option or no value for it.
pub fn parse<C: CommandFactory + FromArgMatches>() -> anyhow::Result<Option<C>> {
    let environment = |name: &str| std::env::var_os(name);
    let line = std::env::args_os().collect();
    let matches = match layered(C::command(), line, environment, |path| {
        std::fs::read_to_string(path)
    })? {
        Parsed::Usage(error) => error.exit(),
        Parsed::Matches(matches) => matches,
        Parsed::Print(text) => {
            io::stdout().lock().write_all(text.as_bytes())?;
            return Ok(None);
        }
    };
    match C::from_arg_matches(&matches) {
        Ok(command_line) => Ok(Some(command_line)),
        Err(error) => error.exit(),
    }
}

/// What a command line, the environment and a configuration file come to.
#[derive(Debug)]
pub enum Parsed {
    /// The options in force.
    Matches(ArgMatches),
    /// The command line is wrong, or asks for help.
    Usage(clap::Error),
    /// For standard output: the options in force, as a configuration file.
    Print(String),
}

/// As [`parse`], of any command line, environment and file.
///
/// # Errors
/// As [`parse`].
pub fn layered(
    command: Command,
    mut line: Vec<OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
    read: impl Fn(&Path) -> io::Result<String>,
) -> anyhow::Result<Parsed> {
    let command = command.mut_subcommand(LAYERED, with_revocable_switches);
    // Before a subcommand there are but switches without a value.
    let place = (1..line.len()).find(|&at| !line[at].as_encoded_bytes().starts_with(b"-"));
    let Some(place) = place.filter(|&at| line[at] == LAYERED) else {
        return Ok(command
            .try_get_matches_from(line)
            .map_or_else(Parsed::Usage, Parsed::Matches));
    };
    let Some(options) = command.find_subcommand(LAYERED).cloned() else {
        bail!("there is no subcommand {LAYERED}");
    };
    let flags = flags_in(&line[place + 1..]);
    let file = config_file(&line[place + 1..]);

    let mut lower = BTreeMap::new();
    if let Some(path) = file {
        let path = Path::new(&path);
        let text = read(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        lower.extend(options_in(&text, path)?);
    }
    lower.extend(read_environment(&options, environment));
    lower.retain(|name, _| !flags.contains(name));
    let written = lower.iter().flat_map(|(name, given)| {
        given
            .values
            .iter()
            .map(move |value| assignment(name, value))
    });
    line.splice(place + 1..=place, written);

    let mut origins: BTreeMap<String, Origin> = lower
        .into_iter()
        .map(|(name, given)| (name, given.origin))
        .collect();
    let matches = match command.try_get_matches_from(line) {
        Ok(matches) => matches,
        Err(error) => return explain(error, &origins).map(Parsed::Usage),
    };
    origins.extend(flags.into_iter().map(|name| (name, Origin::Flag)));
    match matches.subcommand_matches(LAYERED) {
        Some(run) if run.get_flag("print_config") => {
            Ok(Parsed::Print(in_force(&options, run, &origins)))
        }
        _ => Ok(Parsed::Matches(matches)),
    }
}

/// What is switched on in a file can be switched off by a flag: `--switch=false`.
fn with_revocable_switches(options: Command) -> Command {
    options.mut_args(|arg| {
        let layered = arg
            .get_long()
            .is_some_and(|name| !FLAGS_ONLY.contains(&name));
        if !layered || !matches!(arg.get_action(), ArgAction::SetTrue) {
            return arg;
        }
        arg.action(ArgAction::Set)
            .value_parser(ValueParser::bool())
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .hide_possible_values(true)
            .hide_default_value(true)
    })
}

/// The long names among `arguments`. None of the options takes a value that begins with dashes.
fn flags_in(arguments: &[OsString]) -> BTreeSet<String> {
    arguments
        .iter()
        .filter_map(|argument| argument.to_str()?.strip_prefix("--"))
        .filter_map(|flag| flag.split('=').next())
        .map(String::from)
        .collect()
}

/// The value of the last `--config`. Where it has none, the parser says so.
fn config_file(arguments: &[OsString]) -> Option<OsString> {
    let mut file = None;
    for (at, argument) in arguments.iter().enumerate() {
        if argument == "--config" {
            file = arguments.get(at + 1).cloned();
        } else if let Some(path) = argument
            .to_str()
            .and_then(|text| text.strip_prefix("--config="))
        {
            file = Some(path.into());
        }
    }
    file
}

fn assignment(name: &str, value: &OsStr) -> OsString {
    let mut text = OsString::from(format!("--{name}="));
    text.push(value);
    text
}

/// The options in a TOML file, by long name.
fn options_in(text: &str, path: &Path) -> anyhow::Result<BTreeMap<String, Given>> {
    let shown = path.display();
    let line = |offset: usize| {
        1 + text
            .bytes()
            .take(offset)
            .filter(|&byte| byte == b'\n')
            .count()
    };
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line(span.start));
        anyhow::anyhow!("{shown} line {line} is not TOML: {}", error.message())
    })?;
    let mut options = BTreeMap::new();
    for (key, value) in table.get_ref() {
        let name = key.get_ref().as_ref();
        let line = line(key.span().start);
        if FLAGS_ONLY.contains(&name) {
            bail!("{shown} line {line}: '{name}' is for the command line only");
        }
        let values = match value.get_ref() {
            DeValue::Array(several) => several
                .iter()
                .map(|value| scalar(value.get_ref()))
                .collect::<Option<Vec<_>>>()
                .map(|values| vec![values.join(",")]),
            one => scalar(one).map(|value| vec![value]),
        };
        let Some(values) = values else {
            bail!(
                "{shown} line {line}: '{name}' is neither text, number, true, false nor a list of these"
            );
        };
        let given = Given {
            origin: Origin::File {
                path: path.to_owned(),
                line,
            },
            values: values.into_iter().map(OsString::from).collect(),
        };
        options.insert(name.to_owned(), given);
    }
    Ok(options)
}

/// A value as it would be written on the command line.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// `MCDROPOUT_HELLO_INTERVAL` for `hello-interval`.
fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('-', "_").to_uppercase())
}

fn read_environment(
    options: &Command,
    environment: impl Fn(&str) -> Option<OsString>,
) -> BTreeMap<String, Given> {
    options
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .filter(|name| !FLAGS_ONLY.contains(name))
        .filter_map(|name| {
            let variable = variable(name);
            let values = vec![environment(&variable)?];
            let origin = Origin::Environment(variable);
            Some((name.to_owned(), Given { origin, values }))
        })
        .collect()
}

/// An error in one line that names file and line, or variable, if one of these is at fault; else the
/// parser's own.
fn explain(error: clap::Error, origins: &BTreeMap<String, Origin>) -> anyhow::Result<clap::Error> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return Ok(error);
    };
    let name = long_name(argument);
    let Some(origin) = origins.get(name) else {
        return Ok(error);
    };
    if error.kind() == ErrorKind::UnknownArgument {
        let near = match error.get(ContextKind::SuggestedArg) {
            Some(ContextValue::String(near)) => format!("; did you mean '{}'?", long_name(near)),
            _ => format!(": see device {LAYERED} --help"),
        };
        bail!("{origin}: '{name}' is no option{near}");
    }
    // What the parser says goes on until an empty line.
    let said = error.to_string();
    let said: Vec<_> = said
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let said = said.join(" ");
    bail!(
        "{origin}: {}",
        said.strip_prefix("error: ").unwrap_or(&said)
    )
}

/// `passes` of `--passes <PASSES>` or `--passes=10`.
fn long_name(argument: &str) -> &str {
    let name = argument.strip_prefix("--").unwrap_or(argument);
    name.split([' ', '=', '[']).next().unwrap_or(name)
}

/// The values in force and where they come from: a configuration file in its turn.
fn in_force(options: &Command, run: &ArgMatches, origins: &BTreeMap<String, Origin>) -> String {
    let mut text = String::new();
    for arg in options.get_arguments() {
        let Some(name) = arg.get_long().filter(|name| !FLAGS_ONLY.contains(name)) else {
            continue;
        };
        let values: Vec<_> = run
            .get_raw(arg.get_id().as_str())
            .into_iter()
            .flatten()
            .map(|value| value.to_string_lossy())
            .collect();
        let line = if values.is_empty() {
            format!("# {name} is not given\n")
        } else {
            let origin = match origins.get(name) {
                Some(origin) => origin.to_string(),
                None => "default".to_owned(),
            };
            let assignment = format!("{name} = {}", literal(&values.join(",")));
            format!("{assignment:<40} # {origin}\n")
        };
        text.push_str(&line);
    }
    text
}

/// TOML that [`scalar`] reads back as `text`.
fn literal(text: &str) -> String {
    let plain = DeValue::parse(text)
        .ok()
        .and_then(|value| scalar(value.get_ref()));
    if plain.as_deref() == Some(text) {
        text.to_owned()
    } else {
        let escaped = text.chars().map(|symbol| match symbol {
            '\\' | '"' => format!("\\{symbol}"),
            symbol if symbol.is_control() => format!("\\u{:04X}", u32::from(symbol)),
            symbol => symbol.to_string(),
        });
        format!("\"{}\"", escaped.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        _command: Commands,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Commands {
        Run(Box<Run>),
        Info { _file: PathBuf },
    }

    #[derive(Debug, clap::Args)]
    struct Run {
        #[arg(long)]
        config: Option<PathBuf>,
        #[arg(long)]
        print_config: bool,
        #[arg(long)]
        model: PathBuf,
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        passes: u32,
        #[arg(long, value_delimiter = ',')]
        crop: Vec<u32>,
        #[arg(long)]
        fps: Option<f64>,
        #[arg(long, default_value_t = 10)]
        hello_interval: u64,
        #[arg(long, default_value = "device")]
        name: String,
        #[arg(long, value_parser = ["binary", "text"])]
        wire: Option<String>,
        #[arg(long)]
        adaptive: bool,
    }

    fn parsed(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> anyhow::Result<Parsed> {
        let line = ["device", "run", "--config", "config.toml"];
        let line = line.iter().chain(flags).map(OsString::from).collect();
        let environment = |name: &str| {
            let found = environment.iter().find(|(given, _)| *given == name)?;
            Some(found.1.into())
        };
        layered(Cli::command(), line, environment, |_| Ok(file.to_owned()))
    }

    fn print(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> String {
        let flags = [flags, &["--print-config"]].concat();
        match parsed(file, environment, &flags).expect("no error") {
            Parsed::Print(text) => text,
            Parsed::Matches(_) => panic!("it was to print"),
            Parsed::Usage(error) => panic!("{error}"),
        }
    }

    fn refused(file: &str, environment: &[(&str, &str)]) -> String {
        match parsed(file, environment, &["--model", "m.onnx"]) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("it was to be refused"),
        }
    }

    /// The line of an option, without the spaces between.
    fn line(text: &str, name: &str) -> String {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} =")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let text = print(
            "# comment\nmodel = 'a b.onnx'\npasses = 10\nhello-interval = 3\nadaptive = true\nfps = 9_600",
            &[
                ("MCDROPOUT_PASSES", "20"),
                ("MCDROPOUT_HELLO_INTERVAL", "4"),
            ],
            &["--passes", "30", "--adaptive=false"],
        );
        assert!(
            line(&text, "model").starts_with("model = \"a b.onnx\" # "),
            "{text}"
        );
        assert!(
            line(&text, "model").ends_with("config.toml line 2"),
            "{text}"
        );
        assert!(line(&text, "fps").starts_with("fps = 9600 #"), "{text}");
        assert_eq!(line(&text, "passes"), "passes = 30 # command line");
        assert_eq!(
            line(&text, "hello-interval"),
            "hello-interval = 4 # environment MCDROPOUT_HELLO_INTERVAL"
        );
        assert_eq!(line(&text, "adaptive"), "adaptive = false # command line");
        assert_eq!(line(&text, "name"), "name = \"device\" # default");
        assert!(text.contains("# wire is not given"), "{text}");
    }

    #[test]
    fn what_is_printed_is_a_configuration_with_the_same_values() {
        let file = "model = 'm.onnx'\ncrop = [80, 0, 480, 480]\nname = \"say \\\"x\\\\y\\\"\\n\\u0007\"\nfps = 0x10\nadaptive = true";
        let values = |text: &str| -> Vec<String> {
            let values = text.lines().filter(|line| !line.starts_with('#'));
            let value = |line: &str| {
                line.split(" # ")
                    .next()
                    .map(|value| value.trim().to_owned())
            };
            values.filter_map(value).collect()
        };
        let first = print(file, &[], &[]);
        assert_eq!(values(&first), values(&print(&first, &[], &[])));
        assert!(
            line(&first, "crop").starts_with("crop = \"80,0,480,480\""),
            "{first}"
        );
        assert!(line(&first, "fps").starts_with("fps = 16 "), "{first}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (file, words) in [
            (
                "\n\npases = 5",
                &["line 3", "'pases'", "did you mean 'passes'?"][..],
            ),
            ("qqq = 5", &["line 1", "'qqq'", "--help"]),
            ("passes = 0", &["line 1", "'0'", "--passes"]),
            ("a = 1\npasses = = 2", &["line 2", "not TOML"]),
            ("wire = 'morse'", &["line 1", "morse", "binary, text"]),
            ("[thresholds]\nmax-black = 1", &["line 1", "'thresholds'"]),
            ("config = 'x'", &["line 1", "'config'", "command line"]),
            ("adaptive = 'often'", &["line 1", "often", "true, false"]),
            ("help = true", &["line 1", "'help'"]),
        ] {
            let error = refused(file, &[]);
            for word in words {
                assert!(error.contains(word), "{file}: {error}");
            }
            assert!(!error.contains('\n'), "{error}");
        }
        let error = refused("", &[("MCDROPOUT_PASSES", "many")]);
        assert!(
            error.contains("environment MCDROPOUT_PASSES") && error.contains("many"),
            "{error}"
        );
    }

    #[test]
    fn what_flags_replace_is_not_looked_at_and_other_commands_have_no_layers() {
        let kept = parsed("model = 'm.onnx'\npasses = 0", &[], &["--passes=7"]);
        assert!(matches!(kept, Ok(Parsed::Matches(_))));
        let line = ["device", "info", "m.onnx"].map(OsString::from).to_vec();
        let other = layered(
            Cli::command(),
            line,
            |_| panic!("nothing to ask for"),
            |_| panic!("nothing to read"),
        );
        assert!(matches!(other, Ok(Parsed::Matches(_))));
        let wrong = parsed("", &[], &[]).expect("wrong usage is no error");
        assert!(matches!(wrong, Parsed::Usage(error) if error.to_string().contains("--model")));
        let missing = ["device", "run", "--config", "/nowhere.toml"].map(OsString::from);
        let missing = layered(
            Cli::command(),
            missing.to_vec(),
            |_| None,
            |path| std::fs::read_to_string(path),
        )
        .expect_err("refused");
        assert!(missing.to_string().contains("/nowhere.toml"));
    }
}
