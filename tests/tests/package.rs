//! The Debian packages, installed and run in clean systems: this machine's processor's, and an emulated
//! one's.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tests::model;
use tests::programs::{path, succeed};

/// Newest version of the C library that the program may ask for: that of Ubuntu 22.04, which a Jetson
/// has.
const LIBC: (u32, u32) = (2, 35);

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/package")
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Builds the package of `arch`, of this machine's processor from the program that all tests run.
fn package(arch: &str) -> PathBuf {
    let mut command = Command::new(script());
    command.arg(arch);
    if arch == "amd64" {
        command.arg("--program").arg(path("device"));
    }
    let said = text(&command.output().expect("the script starts"));
    PathBuf::from(said.lines().last().expect("the package's path"))
}

/// Runs a shell script in a clean system.
fn in_a_clean_system(arch: &str, folder: &Path, commands: &str) -> String {
    let mut child = Command::new(script())
        .args(["try", arch])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the script starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin
        .write_all(commands.as_bytes())
        .expect("the script reads");
    drop(stdin);
    text(&child.wait_with_output().expect("waited"))
}

/// The versions of the C library's symbols that a program asks for.
fn versions(program: &Path) -> Vec<(u32, u32)> {
    let output = Command::new("objdump").arg("-T").arg(program).output();
    let table = text(&output.expect("binutils are installed"));
    table
        .split("GLIBC_")
        .skip(1)
        .filter_map(|rest| {
            let version = rest.split([')', ' ', '\n']).next()?;
            let mut numbers = version.split('.').map(|number| number.parse().ok());
            Some((numbers.next()??, numbers.next()??))
        })
        .collect()
}

/// Class, verdict and causes of every report.
fn decisions(lines: &str) -> Vec<Vec<&str>> {
    let chosen = ["frame=", "verdict=", "causes=", "class=", "passes="];
    lines
        .lines()
        .filter(|line| line.starts_with("REPORT"))
        .map(|line| {
            let fields = line.split(' ');
            fields
                .filter(|field| chosen.iter().any(|name| field.starts_with(name)))
                .collect()
        })
        .collect()
}

fn installed_run_and_removed(arch: &str) {
    let package = package(arch);
    let folder = tempfile::tempdir().expect("temporary folder");
    let shared = folder.path();
    let name = package
        .file_name()
        .expect("a name")
        .to_str()
        .expect("plain");
    assert!(name.ends_with(&format!("_{arch}.deb")), "{name}");
    fs::copy(&package, shared.join("mcdropout.deb")).expect("copied");
    fs::copy(model::trained(), shared.join("model.onnx")).expect("copied");
    fs::write(shared.join("bad.onnx"), "no model").expect("written");
    let frames: Vec<u8> = (0..6 * 28 * 28_u32)
        .map(|at| ((at * at) >> 5) as u8)
        .collect();
    fs::write(shared.join("frames"), frames).expect("written");

    let unpacked = shared.join("unpacked");
    let output = Command::new("dpkg")
        .arg("-x")
        .arg(&package)
        .arg(&unpacked)
        .output();
    text(&output.expect("dpkg is installed"));
    let newest = versions(&unpacked.join("usr/bin/mcdropout-device"))
        .into_iter()
        .max();
    let newest = newest.expect("it asks for the C library");
    println!(
        "{arch}: {} bytes, C library {newest:?}",
        fs::metadata(&package).expect("there").len()
    );
    assert!(
        newest <= LIBC,
        "the program needs a C library of {newest:?}"
    );
    let control = Command::new("dpkg")
        .arg("-I")
        .arg(&package)
        .output()
        .expect("dpkg");
    assert!(text(&control).contains("libc6 (>= 2.35)"));

    let said = in_a_clean_system(
        arch,
        shared,
        "dpkg -i /mnt/mcdropout.deb
         test -L /etc/systemd/system/multi-user.target.wants/mcdropout.service
         test -f /usr/lib/udev/rules.d/70-mcdropout.rules
         mcdropout-device check /mnt/model.onnx
         mkdir /var/lib/mcdropout
         if mcdropout-device swap /mnt/bad.onnx --to /var/lib/mcdropout/model.onnx; then exit 9; fi
         mcdropout-device swap /mnt/model.onnx --to /var/lib/mcdropout/model.onnx
         mcdropout-device run --config /etc/mcdropout/device.toml --adaptive=false --passes 20 \\
             --source raw:28x28:/mnt/frames --serial file:/mnt/line --wire text
         echo '# ours' >>/etc/mcdropout/device.toml
         dpkg -i --force-confold /mnt/mcdropout.deb
         grep -q '# ours' /etc/mcdropout/device.toml
         test -f /var/lib/mcdropout/model.onnx
         dpkg -r mcdropout
         test ! -e /usr/bin/mcdropout-device
         test -f /etc/mcdropout/device.toml
         dpkg -P mcdropout
         test ! -e /etc/mcdropout
         test ! -e /var/lib/mcdropout
         test -z \"$(find /etc/systemd /usr/lib/udev /var/lib/systemd -name '*mcdropout*')\"
         echo all done",
    );
    assert!(said.ends_with("all done\n"), "{said}");
    assert!(said.contains("live  dropout1"), "{said}");

    let here = succeed(
        "device",
        ["run", "--passes", "20", "--wire", "text", "--model"]
            .map(String::from)
            .into_iter()
            .chain([model::trained().display().to_string(), "--source".into()])
            .chain([format!("raw:28x28:{}", shared.join("frames").display())]),
    );
    let there = fs::read_to_string(shared.join("line")).expect("reports");
    assert_eq!(decisions(&here).len(), 6, "{here}");
    assert_eq!(
        decisions(&there),
        decisions(&here),
        "the same decisions on {arch}"
    );
}

#[test]
fn the_package_for_this_processor_is_installed_run_upgraded_and_removed() {
    installed_run_and_removed("amd64");
}

#[test]
fn the_package_for_arm64_is_installed_run_upgraded_and_removed() {
    installed_run_and_removed("arm64");
}

/// Where mmdebstrap breaks off, nothing has the name of a base system; the next run makes it whole, and
/// takes away what was left.
#[test]
fn a_base_system_that_was_not_finished_is_made_again() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let systems = folder.path().join("cache/systems");
    let stand_in = folder.path().join("mmdebstrap");
    let search = std::env::var("PATH").expect("a search path");
    // Fails in the end in any case, because the archive holds no system.
    let attempt = |commands: &str| {
        let text = format!("#!/bin/bash\nfor last; do :; done\n{commands}\n");
        fs::write(&stand_in, text).expect("written");
        fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).expect("made a program");
        let output = Command::new(script())
            .args(["try", "amd64"])
            .arg(folder.path())
            .env_remove("NEXTEST")
            .env_remove("MCDROPOUT_OFFLINE")
            .env("MCDROPOUT_CACHE", folder.path().join("cache"))
            .env("PATH", format!("{}:{search}", folder.path().display()))
            .stdin(Stdio::null())
            .output()
            .expect("the script starts");
        assert!(!output.status.success());
        let mut names: Vec<_> = fs::read_dir(&systems)
            .expect("a folder of base systems")
            .map(|entry| entry.expect("listed"))
            .filter(|entry| !entry.file_name().to_string_lossy().ends_with(".lock"))
            .map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                (name, entry.metadata().expect("it exists").len())
            })
            .collect();
        names.sort();
        names
    };

    let broken = attempt("echo half >$last; mkdir ${last%.partial}.new; exit 1");
    let [(left, _), (partial, _)] = &broken[..] else {
        panic!("{broken:?}");
    };
    assert!(left.ends_with(".tar.new") && partial.ends_with(".tar.partial"));
    let whole = attempt("[[ ! -e $last ]] && tar -c -f $last --files-from /dev/null");
    let [(name, length)] = &whole[..] else {
        panic!("{whole:?}");
    };
    assert!(name.ends_with("-amd64.tar") && *length > 0, "{whole:?}");
}
