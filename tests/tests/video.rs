//! Video files, pipelines and network cameras, which GStreamer plays for the device program: what they
//! show is judged, and a network camera that stops is told and waited for.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tests::digits::{self, HEIGHT, PASSES, WIDTH};
use tests::model;
use tests::programs::{Running, command, fail, succeed};

/// How long anything may take to show.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes pictures to a file, each this many times, and gives the part of a pipeline that plays it.
fn frames<'a>(
    path: &Path,
    pictures: impl IntoIterator<Item = &'a Vec<u8>>,
    times: usize,
) -> String {
    let pictures = pictures
        .into_iter()
        .flat_map(|picture| vec![picture; times]);
    let bytes: Vec<u8> = pictures.flatten().copied().collect();
    fs::write(path, bytes).expect("written");
    format!(
        "location={} ! rawvideoparse format=gray8 width={WIDTH} height={HEIGHT} framerate=10/1 ! videoconvert",
        path.display()
    )
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn arguments(source: &str) -> Vec<String> {
    let model = model::trained();
    [
        "run",
        "--model",
        text(&model),
        "--passes",
        PASSES,
        "--source",
        source,
    ]
    .map(String::from)
    .into()
}

/// The class that a line of text reports, if it does.
fn class(line: &str) -> Option<u64> {
    let (_, rest) = line.strip_prefix("REPORT ")?.split_once(" class=")?;
    rest.split(' ').next()?.parse().ok()
}

#[test]
fn video_files_are_judged_to_their_end() {
    const TIMES: usize = 2;
    let digits = digits::accepted();
    let folder = tempfile::tempdir().expect("temporary folder");
    let raw = folder.path().join("raw");
    let played = frames(&raw, digits.iter().map(|(_, picture)| picture), TIMES);
    let expected: Vec<u64> = digits
        .iter()
        .flat_map(|(class, _)| [*class; TIMES])
        .collect();
    for (name, how) in [
        ("motion-jpeg.avi", "jpegenc ! avimux"),
        ("vp8.webm", "vp8enc deadline=1 ! webmmux"),
        ("motion-jpeg.MOV", "jpegenc ! qtmux"),
    ] {
        let file = folder.path().join(name);
        let pipeline = format!(
            "-q filesrc {played} ! {how} ! filesink location={}",
            file.display()
        );
        let made = Command::new("gst-launch-1.0")
            .args(pipeline.split(' '))
            .status();
        assert!(
            made.expect("scripts/setup installs GStreamer").success(),
            "{name}"
        );
        for source in [text(&file).to_owned(), format!("file://{}", file.display())] {
            let reports = succeed("device", arguments(&source));
            let classes: Vec<_> = reports.lines().filter_map(class).collect();
            assert_eq!(classes, expected, "{source}: {reports}");
        }
    }
}

#[test]
fn what_cannot_be_played_is_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let none = folder.path().join("none.mp4");
    fail(
        "device",
        arguments(text(&none)),
        &["none.mp4", "No such file"],
    );
    let broken = folder.path().join("broken.mp4");
    fs::write(&broken, vec![7; 10_000]).expect("written");
    fail("device", arguments(text(&broken)), &["broken.mp4"]);
    fail(
        "device",
        arguments("gst:no-such-element ! identity"),
        &["no-such-element"],
    );
    fail(
        "device",
        arguments("gst:videotestsrc num-buffers=1 ! fakesink"),
        &["GStreamer"],
    );
    // A port of this machine on which nobody listens.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let address = format!("rtsp://me:secret@127.0.0.1:{port}/camera");
    let line = fail(
        "device",
        arguments(&address),
        &["127.0.0.1", "rtspsrc0: Could not open resource"],
    );
    assert!(!line.contains("secret"), "{line}");
}

/// The device program, and what it writes line by line.
struct Device {
    lines: Receiver<String>,
    program: Running,
}

impl Device {
    fn start(source: &str, more: &[&str]) -> Self {
        let mut arguments = arguments(source);
        arguments.extend(more.iter().map(|more| (*more).to_owned()));
        let mut program = Running::start(
            command("device", arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        );
        let stdout = program.child().stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { lines, program }
    }

    /// Waits for a line that is `wanted`.
    #[track_caller]
    fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no {what}; the last line is {last}");
            };
            if wanted(&line) {
                return;
            }
            last = line;
        }
    }

    #[track_caller]
    fn wait_for_class(&self, digit: u64) {
        self.wait(&format!("digit {digit}"), |line| class(line) == Some(digit));
    }

    /// Asks it to end, which it has to do well; gives what it logged.
    #[track_caller]
    fn end(mut self) -> String {
        kill_process(Pid::from_child(self.program.child()), Signal::INT).expect("it runs");
        let (code, _, log) = self.program.end();
        assert_eq!(code, Some(0), "{log}");
        log
    }
}

#[test]
fn a_pipeline_is_a_camera() {
    let digits = digits::accepted();
    let folder = tempfile::tempdir().expect("temporary folder");
    let raw = folder.path().join("a name with spaces");
    let played = frames(&raw, digits.iter().map(|(_, picture)| picture), 5);
    let played = played.replace(text(&raw), &format!("\"{}\"", raw.display()));
    let device = Device::start(
        &format!("gst:multifilesrc loop=true {played} ! identity sync=true"),
        &[],
    );
    for (class, _) in &digits {
        device.wait_for_class(*class);
    }
    let log = device.end();
    assert!(log.contains(" captured, "), "{log}");
}

/// A server that plays pictures as a network camera.
struct Server {
    port: String,
    _program: Running,
}

impl Server {
    fn start(port: &str, pipeline: &str) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python/rtsp_server.py");
        // The system's Python: GStreamer's bindings come with it.
        let mut program = Running::start(
            Command::new("/usr/bin/python3")
                .arg(script)
                .args([port, pipeline])
                .stdin(Stdio::null())
                .stdout(Stdio::piped()),
        );
        let stdout = program.child().stdout.take().expect("it is piped");
        let mut port = String::new();
        BufReader::new(stdout).read_line(&mut port).expect("read");
        assert!(
            !port.is_empty(),
            "scripts/setup installs what the server needs"
        );
        Self {
            port: port.trim().to_owned(),
            _program: program,
        }
    }
}

#[test]
fn a_network_camera_is_judged_and_waited_for() {
    let digits = digits::accepted();
    let folder = tempfile::tempdir().expect("temporary folder");
    let pipeline = |index: usize, source: &str| {
        let (class, picture) = &digits[index];
        let played = frames(&folder.path().join(class.to_string()), [picture], 1);
        format!("( {source} {played} ! video/x-raw,format=I420 ! jpegenc ! rtpjpegpay name=pay0 )")
    };
    // Its stream ends after a second, and begins again for whoever asks.
    let server = Server::start("0", &pipeline(0, "multifilesrc loop=true num-buffers=10"));
    let port = server.port.clone();
    let address = format!("rtsp://127.0.0.1:{port}/camera");
    let device = Device::start(&address, &["--camera-timeout", "3"]);
    for _ in 0..2 {
        device.wait_for_class(digits[0].0);
        device.wait("word of the end", |line| {
            line.contains(" code=camera_lost ") && line.contains("ended%20its%20stream")
        });
        device.wait("word of the return", |line| {
            line.contains(" code=camera_back ")
        });
    }
    // The server is gone, and comes back with another picture.
    drop(server);
    device.wait("word of the loss", |line| {
        line.contains(" code=camera_lost ")
    });
    let _server = Server::start(&port, &pipeline(1, "multifilesrc loop=true"));
    device.wait("word of the return", |line| {
        line.contains(" code=camera_back ")
    });
    device.wait_for_class(digits[1].0);
    let log = device.end();
    assert!(log.contains(&format!("{address} is back after")), "{log}");
    assert!(log.contains(" times back"), "{log}");
}
