//! Configuration files.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};
use device::config::{Parsed, layered};

/// A configuration file; one that is accepted is printed as one with the same values.
pub(crate) fn config(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if let Some(printed) = print(text) {
        let again = print(&printed).expect("what is printed is a configuration");
        assert_eq!(values(&printed), values(&again));
    }
}

fn print(text: &str) -> Option<String> {
    let line = ["device", "run", "--config=config.toml", "--print-config"];
    let line = line.map(OsString::from).to_vec();
    match layered(command(), line, |_| None, |_| Ok(text.to_owned())) {
        Ok(Parsed::Print(printed)) => Some(printed),
        Ok(Parsed::Matches(_)) => panic!("it was to print"),
        Ok(Parsed::Usage(_)) => None,
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "{error}");
            None
        }
    }
}

fn values(text: &str) -> Vec<String> {
    let table = toml::de::DeTable::parse(text).expect("what is printed is TOML");
    let values = table.get_ref().iter();
    values
        .map(|(key, value)| format!("{} {:?}", key.get_ref(), value.get_ref()))
        .collect()
}

/// Options of every kind that `device run` has.
fn command() -> Command {
    let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let option = |name: &'static str| Arg::new(name).long(name);
    let run = Command::new("run").args([
        option("config"),
        Arg::new("print_config")
            .long("print-config")
            .action(ArgAction::SetTrue),
        switch("adaptive"),
        option("model"),
        option("name").default_value("device"),
        option("passes").value_parser(clap::value_parser!(u32).range(1..)),
        option("fps").value_parser(clap::value_parser!(f64)),
        option("wire").value_parser(["binary", "text"]),
        option("trust")
            .value_delimiter(',')
            .action(ArgAction::Append),
    ]);
    Command::new("device").subcommand(run)
}
