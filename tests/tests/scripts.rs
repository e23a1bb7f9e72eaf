//! Scripts install and fetch before tests, one at a time on a machine, and never in tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn script(name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../scripts")
        .join(name);
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Writes a program into `folder` that stands in for one of the system's.
fn stand_in(folder: &Path, name: &str, commands: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/bash\n{commands}\n")).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("made a program");
}

#[test]
fn scripts_install_nothing_in_tests_and_name_the_command_to_run_before() {
    let cache = tempfile::tempdir().expect("temporary folder");
    let folder = cache.path().to_str().expect("a plain path");
    let program = std::env::current_exe().expect("a path");
    let program = program.to_str().expect("a plain path");
    let cases: [(&str, &[&str], &str); 6] = [
        ("lib/apt", &["install", "hello"], "scripts/setup"),
        (
            "setup",
            &["--onnxruntime-for", "aarch64"],
            "scripts/cross prepare",
        ),
        ("cross", &["guest", "x86_64"], "scripts/cross prepare"),
        ("cross", &["guest", "aarch64"], "scripts/cross prepare"),
        (
            "package",
            &["try", "amd64", folder],
            "scripts/package setup",
        ),
        (
            "package",
            &["amd64", "--program", program],
            "scripts/package setup",
        ),
    ];
    for (name, arguments, prepare) in cases {
        for variable in ["NEXTEST", "MCDROPOUT_OFFLINE"] {
            let output = script(name)
                .args(arguments)
                .env_remove("NEXTEST")
                .env_remove("MCDROPOUT_OFFLINE")
                .env(variable, "1")
                .env("MCDROPOUT_CACHE", folder)
                .output()
                .expect("the script starts");
            let said = said(&output);
            assert_eq!(output.status.code(), Some(1), "{name}: {said}");
            let last = said.lines().last().expect("a reason");
            assert!(
                last.contains("tests install nothing") && last.contains(prepare),
                "{name}: {said}"
            );
        }
    }
}

/// A folder with stand-ins for apt-get, which runs `commands`, and for sudo.
struct Apt(tempfile::TempDir);

impl Apt {
    fn new(commands: &str) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        stand_in(folder.path(), "apt-get", commands);
        stand_in(
            folder.path(),
            "sudo",
            "[[ $1 != --non-interactive ]] || shift\nexec \"$@\"",
        );
        Self(folder)
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("log")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = std::env::var("PATH").expect("a search path");
        let mut command = script("lib/apt");
        command
            .args(arguments)
            .env_remove("NEXTEST")
            .env_remove("MCDROPOUT_OFFLINE")
            .env("LOG_OF_TEST", self.log())
            .env("PATH", format!("{}:{path}", self.0.path().display()))
            .stderr(Stdio::piped());
        command
    }
}

#[test]
fn two_that_install_at_once_wait_for_each_other() {
    let apt = Apt::new("echo begin >>$LOG_OF_TEST; sleep 0.3; echo end >>$LOG_OF_TEST");
    let running: Vec<_> = (0..3)
        .map(|_| apt.command(&["install", "hello"]).spawn().expect("started"))
        .collect();
    for child in running {
        let output = child.wait_with_output().expect("waited");
        assert!(output.status.success(), "{}", said(&output));
    }
    let log = fs::read_to_string(apt.log()).expect("a log");
    assert_eq!(log, "begin\nend\n".repeat(3));
}

#[test]
fn apt_locks_of_other_programs_are_waited_for() {
    let apt = Apt::new(
        "echo \"${@:3}\" >>$LOG_OF_TEST
         (($(wc -l <$LOG_OF_TEST) > 2)) && exit
         echo 'E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt-get)'
         exit 100",
    );
    let output = apt.command(&["update"]).output().expect("started");
    assert!(output.status.success(), "{}", said(&output));
    let log = fs::read_to_string(apt.log()).expect("a log");
    assert_eq!(log, "update\n".repeat(3));
}

#[test]
fn package_lists_are_brought_up_to_date_where_installing_fails_and_a_lasting_reason_is_told() {
    let apt = Apt::new(
        "echo \"${@:3}\" >>$LOG_OF_TEST
         [[ $3 == update ]] && exit
         echo 'E: Unable to locate package hello'
         exit 100",
    );
    let output = apt
        .command(&["install", "hello"])
        .output()
        .expect("started");
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(
        said.starts_with(
            "apt: error: apt-get could not install 'hello': Unable to locate package hello"
        ),
        "{said}"
    );
    let log = fs::read_to_string(apt.log()).expect("a log");
    let install = "install -y --no-install-recommends hello\n";
    assert_eq!(log, format!("{install}update\n{install}"));
}
