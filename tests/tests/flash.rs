//! Firmware and plan onto a board: into QEMU, through a debug probe, and as a UF2 file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tests::firmware::{announcer, elf, plan};
use tests::line::SerialLine;
use tests::model;
use tests::programs::{Running, command, fail, run, succeed};

/// A folder with what is flashed, and programs that play others.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().expect("temporary folder"));
        bench.file("a.plan", &plan());
        bench
    }

    fn path(&self, name: &str) -> String {
        let path = self.0.path().join(name);
        path.to_str().expect("a plain path").to_owned()
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("written");
        path
    }

    /// A program of this name, found before all others.
    fn program(&self, name: &str, script: &str) -> PathBuf {
        let folder = self.0.path().join("bin");
        fs::create_dir_all(&folder).expect("created");
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        path
    }

    /// `host flash`, with the programs of this folder.
    fn flash(&self, args: &[&str]) -> Command {
        let mut path = OsString::from(self.0.path().join("bin"));
        path.push(":");
        path.push(std::env::var_os("PATH").expect("a path"));
        let mut command = command("host", ["flash"]);
        command.args(args).env("PATH", path);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A debug probe that keeps what it is asked in the file `asked`.
    fn probe(&self, list: &str) {
        let asked = self.path("asked");
        self.program(
            "probe-rs",
            &format!(
                "if [ $1 = list ]; then echo '{list}'; exit; fi\n\
                 echo \"$@\" >>{asked}; echo working >&2"
            ),
        );
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.path("asked")).unwrap_or_default()
    }
}

/// Waits until `done`.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a device says about three frames, from its greeting to its goodbye.
fn three_reports() -> Vec<u8> {
    let model = model::trained();
    let model = model.to_str().expect("a plain path");
    let args = ["run", "--model", model, "--source", "mnist:test"];
    let more = ["--limit", "3", "--passes", "8", "--wire", "binary"];
    run("device", args.into_iter().chain(more)).stdout
}

/// The only child of a process.
fn child_of(parent: u32) -> Pid {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let mut child = None;
    until("it starts a program", || {
        let children = fs::read_to_string(&path).unwrap_or_default();
        child = children
            .split_whitespace()
            .next()
            .and_then(|first| Pid::from_raw(first.parse().ok()?));
        child.is_some()
    });
    child.expect("just found")
}

#[test]
fn qemu_runs_firmware_and_plan_and_the_monitor_shows_what_they_say() {
    let bench = Bench::new();
    // QEMU ends a value at a comma.
    let plan = bench.file("a,b.plan", &plan());
    let firmware = bench.file("firmware.elf", &announcer(&three_reports()));
    for board in ["mps2-an386", "mps2-an500"] {
        let args = [
            "--board", board, "--qemu", "--elf", &firmware, "--plan", &plan,
        ];
        let running = Running::start(&mut bench.flash(&[&args[..], &["--until-last"]].concat()));
        let (code, out, err) = running.end();
        assert_eq!(code, Some(0), "{err}");
        let frames: Vec<u64> = out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a JSON object"))
            .map(|report| report["frame"].as_u64().expect("a number"))
            .collect();
        assert_eq!(frames, [0, 1, 2], "{err}");
    }
}

#[test]
fn an_emulated_board_is_there_until_it_is_interrupted() {
    let bench = Bench::new();
    let firmware = bench.file("firmware.elf", &announcer(b"\0"));
    let args = [
        "--board",
        "mps2-an386",
        "--elf",
        &firmware,
        "--no-monitor",
        "--json",
    ];
    for (signal, code) in [(Signal::INT, Some(0)), (Signal::KILL, None)] {
        let mut running = Running::start(&mut bench.flash(&args));
        let mut line = String::new();
        let out = running.child().stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("read");
        let told: Value = serde_json::from_str(&line).expect("a JSON object");
        assert_eq!(told["board"], "mps2-an386");
        assert!(Path::new(told["port"].as_str().expect("a path")).exists());
        let qemu = child_of(running.child().id());
        kill_process(Pid::from_child(running.child()), signal).expect("it lives");
        assert_eq!(running.end().0, code);
        until("QEMU ends, too", || test_kill_process(qemu).is_err());
    }
}

#[test]
fn the_end_of_qemu_is_told_in_its_own_words() {
    let bench = Bench::new();
    // Its reset handler lies where there is no memory.
    let lost = bench.file("lost.elf", &elf(&[(0, &[0, 0, 0, 0x20, 1, 0, 0, 0xf0])]));
    for more in [&["--no-monitor"][..], &[]] {
        let args = ["--board", "mps2-an386", "--elf", &lost];
        let running = Running::start(&mut bench.flash(&[&args[..], more].concat()));
        let (code, _, err) = running.end();
        assert_eq!(code, Some(1), "{err}");
        let last = err.lines().last().expect("an error");
        assert!(last.starts_with("error: QEMU ended by itself"), "{err}");
        assert!(last.contains("Lockup"), "{err}");
    }
    // It refuses to begin.
    bench.program("qemu-system-arm", "echo no such machine >&2; exit 1");
    let args = ["--board", "mps2-an386", "--elf", &lost];
    let (code, _, err) = Running::start(&mut bench.flash(&args)).end();
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("no such machine"), "{err}");
    let output = bench
        .flash(&args)
        .env("PATH", "")
        .output()
        .expect("started");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("scripts/cross installs it"), "{err}");
}

#[test]
fn a_debug_probe_writes_both_and_starts_the_board() {
    let bench = Bench::new();
    bench.probe("[0]: STLink V2-1 -- 0483:374b:0669 (ST-LINK)");
    let firmware = bench.file("firmware.elf", &elf(&[(0x0800_0000, &[0; 64])]));
    let plan = bench.path("a.plan");
    let line = SerialLine::clean();
    let port = line.host();
    let port = port.to_str().expect("a plain path");
    let args = [
        "--board",
        "nucleo-f446re",
        "--elf",
        &firmware,
        "--plan",
        &plan,
        "--port",
        port,
    ];
    let flashing = Running::start(&mut bench.flash(&[&args[..], &["--until-last"]].concat()));
    until("the board is reset", || bench.asked().contains("reset"));
    fs::write(line.device(), three_reports()).expect("sent");
    let (code, out, err) = flashing.end();
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.lines().count(), 3, "{err}");
    let chip = "--chip STM32F446RETx";
    assert_eq!(
        bench.asked(),
        format!(
            "download {chip} --verify --binary-format bin --base-address 0x8040000 {plan}\n\
             download {chip} --verify --binary-format elf {firmware}\n\
             reset {chip}\n"
        )
    );

    // The other board, by a probe of several, without a plan and without the monitor.
    fs::remove_file(bench.path("asked")).expect("removed");
    bench.probe("[0]: a -- 2e8a:000c:1 (CMSIS-DAP)\n[1]: b -- 2e8a:000c:2 (CMSIS-DAP)");
    let firmware = bench.file("pico.elf", &elf(&[(0x1000_0000, &[0; 64])]));
    let args = [
        "--board",
        "pico2",
        "--elf",
        &firmware,
        "--no-monitor",
        "--probe",
    ];
    let (code, out, err) =
        Running::start(&mut bench.flash(&[&args[..], &["2e8a:000c:2"]].concat())).end();
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    let with = "--chip RP235x --probe 2e8a:000c:2";
    assert_eq!(
        bench.asked(),
        format!("download {with} --verify --binary-format elf {firmware}\nreset {with}\n")
    );
    let (code, _, err) = Running::start(&mut bench.flash(&args)).end();
    assert_eq!(code, Some(1));
    assert!(err.contains("several debug probes"), "{err}");
}

#[test]
fn a_probe_that_is_missing_or_fails_is_told_with_what_to_do() {
    let bench = Bench::new();
    let firmware = bench.file("firmware.elf", &elf(&[(0x0800_0000, &[0; 64])]));
    let args = [
        "--board",
        "nucleo-f446re",
        "--elf",
        &firmware,
        "--no-monitor",
    ];
    let refused = |words: &[&str]| {
        let (code, _, err) = Running::start(&mut bench.flash(&args)).end();
        assert_eq!(code, Some(1), "{err}");
        let last = err.lines().last().expect("an error");
        assert!(last.starts_with("error: "), "{err}");
        for word in words {
            assert!(last.contains(word), "'{word}' is missing in: {err}");
        }
        err
    };
    bench.probe("No debug probes were found.");
    refused(&["ST-LINK", "udev"]);
    bench.probe("[0]: STLink V2-1 -- 0483:374b:0669 (ST-LINK) (inaccessible)");
    refused(&["may not open", "udev"]);
    bench.program(
        "probe-rs",
        "if [ $1 = list ]; then echo '[0]: a -- 0483:374b:1 (ST-LINK)'; exit; fi\n\
         echo 'error: The target is held in reset' >&2; exit 1",
    );
    let err = refused(&["writing the firmware to flash failed"]);
    assert!(
        err.contains("  | error: The target is held in reset"),
        "{err}"
    );
    // Ctrl-C ends what goes on, and says so.
    bench.program(
        "probe-rs",
        "if [ $1 = list ]; then echo '[0]: a -- 0483:374b:1 (ST-LINK)'; exit; fi; sleep 60",
    );
    let mut flashing = Running::start(&mut bench.flash(&args));
    let mut said = String::new();
    let mut err = BufReader::new(flashing.child().stderr.take().expect("piped"));
    while !said.contains("writing the firmware") {
        assert_ne!(err.read_line(&mut said).expect("read"), 0, "{said}");
    }
    kill_process(Pid::from_child(flashing.child()), Signal::INT).expect("it lives");
    assert_eq!(flashing.end().0, Some(130));
    // Not installed at all.
    let output = bench
        .flash(&args)
        .env("PATH", "")
        .output()
        .expect("started");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("cargo install probe-rs-tools"), "{err}");
}

/// What a UF2 file of one family writes, page by page; its first block is not to be written.
fn pages(file: &[u8]) -> BTreeMap<u32, &[u8]> {
    assert_eq!(file.len() % 512, 0);
    let count = file.len() / 512 - 1;
    let mut pages = BTreeMap::new();
    for (index, block) in file.chunks(512).enumerate() {
        let word =
            |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(
            [word(0), word(4), word(508)],
            [0x0a32_4655, 0x9e5d_5157, 0x0ab1_6f30]
        );
        assert_eq!(word(16), 256);
        if index == 0 {
            // As picotool writes it.
            assert_eq!(
                [word(8), word(12), word(20), word(24), word(28)],
                [0xa000, 0x10ff_ff00, 0, 2, 0xe48b_ff57]
            );
            assert_eq!(
                (&block[32..288], word(288)),
                (&[0xef; 256][..], 0x9957_e304)
            );
            continue;
        }
        assert_eq!(
            [word(8), word(20), word(24), word(28)],
            [0x2000, index as u32 - 1, count as u32, 0xe48b_ff59]
        );
        assert!(block[288..508].iter().all(|byte| *byte == 0));
        assert_eq!(word(12) % 256, 0);
        assert!(
            pages.insert(word(12), &block[32..288]).is_none(),
            "a page twice"
        );
    }
    pages
}

#[test]
fn a_uf2_file_holds_firmware_and_plan_and_the_volume_gets_it() {
    let bench = Bench::new();
    let code: Vec<u8> = (0..700).map(|i| (i % 251) as u8).collect();
    // The second segment begins in the page that the first ends in.
    let segments = [(0x1000_0000, &code[..]), (0x1000_02c0, b"data")];
    let firmware = bench.file("firmware.elf", &elf(&segments));
    let (plan_path, file) = (bench.path("a.plan"), bench.path("a.uf2"));
    let args = [
        "flash", "--board", "pico2", "--elf", &firmware, "--plan", &plan_path,
    ];
    let out = succeed("host", args.into_iter().chain(["--uf2", &file]));
    assert_eq!(out.trim(), file);
    let written = fs::read(&file).expect("read");

    let mut expected = BTreeMap::<u32, Vec<u8>>::new();
    let plan = plan();
    let parts = [segments[0], segments[1], (0x1010_0000, &plan[..])];
    for (address, bytes) in parts {
        for (at, byte) in (address..).zip(bytes) {
            let page = expected.entry(at / 256 * 256).or_insert(vec![0; 256]);
            page[at as usize % 256] = *byte;
        }
    }
    let pages = pages(&written);
    assert!(
        pages
            .iter()
            .map(|(at, page)| (at, *page))
            .eq(expected.iter().map(|(at, page)| (at, &page[..])))
    );

    let volume = tempfile::tempdir().expect("temporary folder");
    let folder = volume.path().to_str().expect("a plain path");
    let args: Vec<_> = args
        .into_iter()
        .chain(["--no-monitor", "--volume", folder])
        .collect();
    fail("host", args.clone(), &["INFO_UF2.TXT"]);
    let info = volume.path().join("INFO_UF2.TXT");
    fs::write(&info, "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\n").expect("written");
    fail("host", args.clone(), &["another chip"]);
    fs::write(
        &info,
        "UF2 Bootloader v1.0\r\nModel: Raspberry Pi RP2350\r\n",
    )
    .expect("written");
    succeed("host", args);
    let copied = fs::read_dir(volume.path())
        .expect("listed")
        .filter_map(Result::ok);
    let copied: Vec<_> = copied
        .map(|entry| entry.path())
        .filter(|path| *path != info)
        .collect();
    assert_eq!(copied.len(), 1);
    assert!(fs::read(&copied[0]).expect("read") == written);
}

#[test]
fn what_is_not_for_the_board_is_refused_before_anything_is_written() {
    let bench = Bench::new();
    let firmware = bench.file("firmware.elf", &announcer(b"\0"));
    let mut bytes = plan();
    let refused = |more: &[&str], words: &[&str]| {
        let args = ["flash", "--no-monitor", "--elf", &firmware, "--board"];
        fail("host", args.iter().chain(more), words);
    };
    refused(
        &["nucleo-f446re"],
        &["firmware.elf is not firmware of nucleo-f446re"],
    );
    refused(&["nucleo-f446re", "--qemu"], &["but with --probe"]);
    refused(&["mps2-an386", "--uf2", "x"], &["but with --qemu"]);

    let plan = bench.path("a.plan");
    refused(
        &["mps2-an386", "--plan", &plan, "--format", "int8"],
        &["in f32, not in int8"],
    );
    *bytes.last_mut().expect("a long file") ^= 1;
    let damaged = bench.file("damaged.plan", &bytes);
    refused(
        &["mps2-an386", "--plan", &damaged],
        &["damaged.plan", "checksum"],
    );
    bytes.truncate(bytes.len() / 2);
    let short = bench.file("short.plan", &bytes);
    refused(
        &["mps2-an386", "--plan", &short],
        &["short.plan", "cut off"],
    );
    refused(
        &["mps2-an386", "--plan", &firmware],
        &["firmware.elf", "no plan"],
    );
    refused(
        &["mps2-an386", "--plan", "/does/not/exist"],
        &["/does/not/exist"],
    );
    let mut long = tests::firmware::plan();
    long.resize((2 << 20) + 1, 0);
    let long = bench.file("long.plan", &long);
    refused(
        &["mps2-an386", "--plan", &long],
        &["2097153 bytes", "room for 2097152"],
    );

    let whole = bench.file("whole.elf", &elf(&[(0, &[0; 64]), (0x0020_0000, &[0; 64])]));
    let args = ["flash", "--board", "mps2-an386", "--plan", &plan, "--elf"];
    fail(
        "host",
        args.into_iter().chain([&whole[..]]),
        &["built with a plan in it"],
    );
    for (name, bytes) in [
        ("text", &b"text"[..]),
        ("cut.elf", &announcer(b"\0")[..100]),
    ] {
        let file = bench.file(name, bytes);
        fail(
            "host",
            args[..3].iter().chain(&["--elf", &file]),
            &[name, "not a board's firmware"],
        );
    }
    let nucleo = bench.file("nucleo.elf", &elf(&[(0x0800_0000, &[0; 64])]));
    let args = ["flash", "--board", "nucleo-f446re", "--elf", &nucleo];
    let absent = ["--port", "/dev/does-not-exist"];
    fail("host", args.into_iter().chain(absent), &["does not exist"]);
    let (code, _, err) = {
        let output = run("host", ["flash", "--board", "arduino"]);
        (
            output.status.code(),
            output.stdout,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(code, Some(2));
    assert!(
        err.contains("[possible values: mps2-an386, mps2-an500, pico2, nucleo-f446re]"),
        "{err}"
    );
}

#[test]
fn firmware_is_built_from_its_sources_and_a_failure_shows_the_compiler_s_last_words() {
    let bench = Bench::new();
    let root = bench.0.path();
    let sources = bench.path("device/firmware");
    let asked = bench.path("asked");
    fs::create_dir_all(&sources).expect("created");
    fs::create_dir_all(root.join("scripts")).expect("created");
    let args = [
        "--board",
        "mps2-an386",
        "--no-monitor",
        "--firmware",
        &sources,
        "--wire",
        "text",
    ];
    let (code, _, err) = Running::start(&mut bench.flash(&args)).end();
    assert_eq!(code, Some(1));
    assert!(err.contains("--firmware"), "{err}");

    fs::write(root.join("device/firmware/Cargo.toml"), "").expect("written");
    let build = |script: &str| {
        fs::copy(bench.program("cross", script), root.join("scripts/cross")).expect("copied");
    };
    build(
        "for i in $(seq 30); do echo line $i >&2; done; echo 'error[E0425]: no such thing' >&2; exit 101",
    );
    let (code, _, err) = Running::start(&mut bench.flash(&args)).end();
    assert_eq!(code, Some(1));
    assert!(
        err.contains("  | line 30\n  | error[E0425]: no such thing"),
        "{err}"
    );
    assert!(!err.contains("| line 5\n"), "{err}");

    let firmware = bench.file("firmware.elf", &announcer(b"\0"));
    build(&format!("echo $@ >{asked}; echo {firmware}"));
    bench.program("qemu-system-arm", "echo \"$@\" >&2; exit 1");
    let plan = bench.path("a.plan");
    let running = Running::start(&mut bench.flash(&[&args[..], &["--plan", &plan]].concat()));
    let (_, _, err) = running.end();
    assert_eq!(bench.asked(), "firmware-build mps2-an386 f32 text\n");
    assert!(err.contains(&format!("-kernel {firmware} ")), "{err}");
    assert!(
        err.contains(&format!("loader,file={plan},addr=0x200000,force-raw=on")),
        "{err}"
    );

    // A key for the line is built in, and shown nowhere.
    let digits = "5A".repeat(32);
    let key = bench.file("line.key", digits.as_bytes());
    build(&format!("echo $MCDROPOUT_KEY >{asked}; echo {firmware}"));
    let sealed = |wire: &str| {
        let wire = ["--wire", wire, "--key", &key, "-v"];
        let args = [&args[..5], &wire].concat();
        Running::start(&mut bench.flash(&args)).end().2
    };
    let err = sealed("binary");
    assert_eq!(bench.asked().to_uppercase(), format!("{digits}\n"));
    assert!(err.contains("firmware-build"), "{err}");
    assert!(!err.to_uppercase().contains(&digits), "{err}");
    assert!(sealed("text").contains("text cannot be sealed"));
}
