//! Deployment over a real sshd to a board that is this machine with folders of its own laid over the
//! system's: packages are installed by the real dpkg, the program that comes with them runs. Only
//! systemd is played, as no test can have its own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tests::model;
use tests::programs::{Running, command, fail, path, succeed};

/// What plays systemd: a service that is started judges three frames and counts as running if it could.
const SYSTEMCTL: &str = r#"
echo "systemctl $*" >>"$BOARD/calls"
case $1 in
start | restart)
    if mcdropout-device run --config /etc/mcdropout/device.toml --limit 3 2>"$BOARD/log"; then
        echo active >"$BOARD/state"
    else
        echo failed >"$BOARD/state"
        exit 1
    fi ;;
is-active)
    cat "$BOARD/state"
    grep -qx active "$BOARD/state" ;;
*) exec /usr/bin/systemctl "$@" ;;
esac
"#;

/// How the board runs a command that comes by ssh.
const SHELL: &str = r#"
case $SSH_ORIGINAL_COMMAND in
*sftp*) exec /usr/lib/openssh/sftp-server ;;
esac
export BOARD
exec unshare -rm sh -c '
for folder in etc usr var; do
    mount -t overlay overlay -o "userxattr,lowerdir=/$folder,upperdir=$BOARD/$folder,workdir=$BOARD/.$folder" /$folder
done
PATH=$BOARD/bin:$PATH
export PATH
eval "$SSH_ORIGINAL_COMMAND"'
"#;

/// A board behind an sshd of its own.
struct Board {
    folder: tempfile::TempDir,
    _sshd: Running,
}

impl Board {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let at = folder.path();
        for name in ["etc", "usr", "var", ".etc", ".usr", ".var", "bin"] {
            fs::create_dir(at.join(name)).expect("created");
        }
        let here = format!("BOARD={}", at.display());
        for (name, text) in [
            ("bin/systemctl", SYSTEMCTL),
            ("bin/journalctl", "cat \"$BOARD/log\""),
            ("bin/udevadm", "exit 0"),
            ("shell", SHELL),
        ] {
            let file = at.join(name);
            fs::write(&file, format!("#!/bin/sh\n{here}\n{text}\n")).expect("written");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("set");
        }
        for key in ["host-key", "key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(at.join(key))
                .status();
            assert!(made.expect("openssh-client is installed").success());
        }
        // Nobody else takes the port in the moment until sshd does, or the test says so.
        let port = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = port.local_addr().expect("an address").port();
        let settings = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {0}/host-key\nAuthorizedKeysFile {0}/key.pub\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n\
             Subsystem sftp internal-sftp\nForceCommand {0}/shell\n",
            at.display()
        );
        fs::write(at.join("sshd_config"), settings).expect("written");
        let settings = format!(
            "Host board\n HostName 127.0.0.1\n Port {port}\n IdentityFile {0}/key\n IdentitiesOnly yes\n \
             UserKnownHostsFile {0}/known\n StrictHostKeyChecking accept-new\n",
            at.display()
        );
        fs::write(at.join("ssh_config"), settings).expect("written");
        // Root's sshd wants this folder, which a system that has started has.
        let _ = fs::create_dir_all("/run/sshd");
        let sshd = Running::start(
            Command::new("/usr/sbin/sshd")
                .args(["-D", "-e", "-f"])
                .arg(at.join("sshd_config"))
                .stdin(Stdio::null())
                .stderr(fs::File::create(at.join("sshd.log")).expect("created")),
        );
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                Instant::now() < deadline,
                "sshd does not listen: see sshd.log"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            folder,
            _sshd: sshd,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    fn deploy(&self, arguments: &[&str]) -> Output {
        command("host", ["deploy", "board", "--ssh-config"])
            .arg(self.at("ssh_config"))
            .args(arguments)
            .output()
            .expect("the program starts")
    }

    #[track_caller]
    fn deployed(&self, arguments: &[&str]) -> String {
        let output = self.deploy(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("{said}");
        assert!(output.status.success(), "{}", self.text("sshd.log"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.deploy(arguments);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// The package of the program that all tests run.
fn package() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/package");
    let output = Command::new(script)
        .args(["amd64", "--program"])
        .arg(path("device"))
        .output()
        .expect("the script starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    said.lines().last().expect(&why).to_owned()
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn program_model_and_configuration_reach_a_board_and_run_there() {
    let board = Board::new();
    let (package, model) = (package(), model::trained());
    let model = plain(&model);

    // Without a model there is nothing to start.
    let said = board.deployed(&["--package", &package]);
    assert!(said.contains("no model yet"), "{said}");
    assert!(board.at("usr/bin/mcdropout-device").is_file());
    assert!(
        board
            .at("etc/systemd/system/multi-user.target.wants/mcdropout.service")
            .is_symlink()
    );

    let frames = board.at("frames");
    fs::write(&frames, [90; 9 * 28 * 28]).expect("written");
    let source = format!("source=raw:28x28:{}", plain(&frames));
    let serial = format!("serial=file:{}", plain(&board.at("line")));
    let said = board.deployed(&[
        "--no-package",
        "--model",
        model,
        "--set",
        &source,
        "--set",
        &serial,
    ]);
    assert!(said.contains("mcdropout runs on board"), "{said}");
    let installed = board.at("var/lib/mcdropout/model.onnx");
    assert_eq!(fs::read(&installed).ok(), fs::read(model).ok());
    assert!(
        board
            .text("etc/mcdropout/device.toml")
            .contains("raw:28x28:")
    );
    let line = fs::read(board.at("line")).expect("reports");
    assert!(!line.is_empty(), "the service has reported");
    assert!(board.text("calls").contains("systemctl restart mcdropout"));

    // Another model alone restarts nothing: the service takes it by itself.
    fs::remove_file(board.at("calls")).expect("there");
    board.deployed(&["--no-package", "--model", model]);
    let calls = board.text("calls");
    assert!(
        calls.contains("start mcdropout") && !calls.contains("restart"),
        "{calls}"
    );

    // What the device would not understand does not take the place of what it did.
    let before = board.text("etc/mcdropout/device.toml");
    let error = board.refused(&["--no-package", "--set", "pases=7"]);
    assert!(error.contains("did you mean 'passes'?"), "{error}");
    assert_eq!(board.text("etc/mcdropout/device.toml"), before);

    // A service that cannot start: its last words, and no success.
    let error = board.refused(&["--no-package", "--set", "source=raw:28x28:/nowhere/at/all"]);
    assert!(
        error.contains("  | error:") && error.contains("/nowhere/at/all"),
        "{error}"
    );
    assert!(error.contains("error: installing failed"), "{error}");
    let left = fs::read_dir("/tmp").expect("listed").filter_map(Result::ok);
    let left = left.filter(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .starts_with("mcdropout.")
    });
    assert_eq!(left.count(), 0, "nothing is left behind");
}

#[test]
fn what_makes_no_sense_is_refused_before_the_board_is_touched() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let bad = folder.path().join("bad.onnx");
    fs::write(&bad, "no model").expect("written");
    fail(
        "host",
        ["deploy", "board", "--model", plain(&bad)],
        &["bad.onnx cannot be deployed"],
    );
    fail(
        "host",
        ["deploy", "board", "--no-package"],
        &["nothing to deploy"],
    );
    fail(
        "host",
        ["deploy", "--set", "a=b", "--", "-oProxyCommand=x"],
        &["is no board"],
    );
}

#[test]
fn a_board_that_cannot_be_reached_is_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = folder.path().join("ssh_config");
    fs::write(&settings, "Host board\n HostName 127.0.0.1\n Port 9\n").expect("written");
    let settings = ["--ssh-config", plain(&settings)];
    let arguments = ["deploy", "board", "--set", "passes=5"]
        .into_iter()
        .chain(settings);
    fail(
        "host",
        arguments,
        &["cannot log in at board", "without a password"],
    );
}

#[test]
fn an_image_gets_the_same_files() {
    let root = tempfile::tempdir().expect("temporary folder");
    let (package, model) = (package(), model::trained());
    let to = plain(root.path());
    let arguments = [
        "deploy",
        "--to",
        to,
        "--package",
        &package,
        "--model",
        plain(&model),
    ];
    for _ in 0..2 {
        succeed(
            "host",
            arguments
                .into_iter()
                .chain(["--set", "serial=/dev/ttyTHS1"]),
        );
    }
    let place = |name: &str| root.path().join(name);
    assert!(place("usr/bin/mcdropout-device").is_file());
    assert!(place("usr/lib/systemd/system/mcdropout.service").is_file());
    let enabled = place("etc/systemd/system/multi-user.target.wants/mcdropout.service");
    assert_eq!(
        fs::read_link(enabled).expect("enabled"),
        Path::new("/usr/lib/systemd/system/mcdropout.service")
    );
    let text = fs::read_to_string(place("etc/mcdropout/device.toml")).expect("there");
    assert!(text.ends_with("serial = \"/dev/ttyTHS1\"\n"), "{text}");
    assert_eq!(
        fs::read(place("var/lib/mcdropout/model.onnx")).ok(),
        fs::read(&model).ok()
    );
    let arguments = arguments.into_iter().chain(["--arch", "arm64"]);
    fail("host", arguments, &["is for amd64", "arm64"]);
}

#[test]
fn a_dry_run_shows_every_command_and_does_none() {
    let model = model::trained();
    let said = succeed(
        "host",
        [
            "deploy",
            "user@nowhere.invalid",
            "--dry-run",
            "--arch",
            "arm64",
            "--model",
            plain(&model),
        ],
    );
    let lines: Vec<_> = said.lines().collect();
    for (line, words) in [
        (
            0,
            &["ssh ", "BatchMode=yes", "user@nowhere.invalid", "uname -m"][..],
        ),
        (1, &["scripts/package arm64"]),
        (
            3,
            &[
                "scp ",
                "install.sh",
                "mcdropout.deb",
                "model.onnx",
                "user@nowhere.invalid:/tmp/mcdropout.",
            ],
        ),
        (5, &["sudo -n sh /tmp/mcdropout.XXXXXX/install.sh"]),
    ] {
        for word in words {
            assert!(lines[line].contains(word), "{line}: {word} in {said}");
        }
    }
}
