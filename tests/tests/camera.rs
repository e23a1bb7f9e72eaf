//! The device program with a real V4L2 camera, the kernel's virtual one, on machines in QEMU: digits
//! played into the camera are reported over a serial line to the host's monitor outside, and a camera
//! that drops frames, stalls, fails or is unplugged is told and waited for. The flag pin follows, on the
//! machine that has one.

use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::digits::{self, HEIGHT, PASSES, WIDTH};
use tests::guest::{Guest, Processor};
use tests::line::SerialLine;
use tests::model;
use tests::programs::{Running, command};
use tests::vivid;

/// How long anything may take to show on the line: emulated machines are slow, and not alone.
const PATIENCE: Duration = Duration::from_mins(1);
/// What the monitor outside says, line by line.
struct Monitor {
    rows: Receiver<Value>,
    _program: Running,
}

impl Monitor {
    fn start(line: &SerialLine) -> Self {
        let port = line.host();
        let args = ["monitor", port.to_str().expect("a plain path"), "--json"];
        let mut program = Running::start(
            command("host", args)
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        );
        let stdout = program.child().stdout.take().expect("it is piped");
        let (sender, rows) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let row = serde_json::from_str(&line).expect("every line is a JSON object");
                if sender.send(row).is_err() {
                    break;
                }
            }
        });
        Self {
            rows,
            _program: program,
        }
    }

    /// Waits for a row that is `wanted`.
    #[track_caller]
    fn wait(&self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(row) = self.rows.recv_timeout(left) else {
                panic!("no {what}; the last row is {last}");
            };
            if wanted(&row) {
                return row;
            }
            last = row;
        }
    }

    #[track_caller]
    fn notice(&self, code: &str) -> Value {
        self.wait(code, |row| row["notice"]["code"] == code)
    }

    /// Waits for a first report that is `wanted`, and makes sure that those after it are, too.
    #[track_caller]
    fn settle(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        const FRAMES: usize = 5;
        let is_report = |row: &Value| row["frame"].is_u64();
        let first = self.wait(what, |row| is_report(row) && wanted(row));
        let mut frames = vec![first];
        while frames.len() < FRAMES {
            let row = self.wait(what, is_report);
            assert!(wanted(&row), "{what}: {row}");
            frames.push(row);
        }
        frames
    }
}

/// The line of the Arm board's GPIO controller that is the flag pin; the PC has no such controller.
const PIN: &str = "gpiochip0:5";

/// Waits until the flag pin has this level, by the controller's driver.
#[track_caller]
fn wait_for_pin(guest: &mut Guest, processor: Processor, level: &str) {
    if processor == Processor::Aarch64 {
        guest.run(&format!(
            "timeout 10 sh -c \"until grep -q 'mcdropout-flag.* out {level}' /sys/kernel/debug/gpio; do sleep 0.1; done\""
        ));
    }
}

/// The level at which a device that has ended left the flag pin.
#[track_caller]
fn level_left(guest: &mut Guest) -> String {
    guest.run("pin=$(($(cat /sys/class/gpio/gpiochip*/base) + 5)); cd /sys/class/gpio; echo $pin >export; cat gpio$pin/value; echo $pin >unexport")
}

fn camera_on(processor: Processor) {
    let digits = digits::accepted();
    let line = SerialLine::clean();
    let mut files: Vec<(String, Vec<u8>)> = vec![
        ("blank".to_owned(), vec![128; WIDTH * HEIGHT]),
        (
            "model.onnx".to_owned(),
            std::fs::read(model::trained()).expect("the model"),
        ),
    ];
    for (class, picture) in &digits {
        files.push((format!("digit{class}"), picture.clone()));
    }
    for format in FORMATS {
        files.push((format!("digit.{}", format.code), (format.of)(&digits[0].1)));
    }
    let files: Vec<_> = files
        .iter()
        .map(|(name, content)| (name.as_str(), content.clone()))
        .collect();
    let began = Instant::now();
    let mut guest = Guest::boot(processor, &files, &line.device());
    eprintln!("booted in {:.1} s", began.elapsed().as_secs_f64());
    guest.run("mount -t debugfs debug /sys/kernel/debug");
    let classes: Vec<u64> = digits.iter().map(|(class, _)| *class).collect();
    let stages = catch_unwind(AssertUnwindSafe(|| {
        vivid::plug(&mut guest, "");
        refusals(&mut guest);
        run_through_faults(&mut guest, processor, &line, &classes);
        forms(&mut guest, processor, classes[0]);
    }));
    if let Err(panic) = stages {
        // It may be the guest that does not answer: this panics then, with what it said last.
        let (_, state) = guest.try_run("cat /tmp/log; ps | grep -v ' \\['; dmesg | tail -20");
        eprintln!("the guest: {state}");
        resume_unwind(panic);
    }
    eprintln!("done after {:.1} s", began.elapsed().as_secs_f64());
}

/// A run over the serial line in which the camera meets every fault.
fn run_through_faults(guest: &mut Guest, processor: Processor, line: &SerialLine, digits: &[u64]) {
    let pin = match processor {
        Processor::Aarch64 => format!("--flag-pin {PIN}"),
        Processor::X86_64 => String::new(),
    };
    let monitor = Monitor::start(line);
    guest.run(&format!(
        "device run --model /model.onnx --passes {PASSES} --serial {} --hello-interval 2 {pin} \
         --source v4l2:/dev/video0 --camera-format grey --control loop_video=1,osd_text_mode=2 \
         >/tmp/log 2>&1 & echo $! >/tmp/device",
        processor.port()
    ));
    vivid::show(guest, "blank", "GREY");
    monitor.settle("flag of a blank picture", |row| {
        row["verdict"] == "flag" && row["causes"].to_string().contains("low-contrast")
    });
    wait_for_pin(guest, processor, "hi");
    let mut ages = Vec::new();
    for class in digits {
        vivid::show(guest, &format!("digit{class}"), "GREY");
        let frames = monitor.settle(&format!("digit {class}"), |row| row["class"] == *class);
        ages.extend(
            frames
                .iter()
                .map(|row| row["latency_us"].as_u64().expect("a time")),
        );
    }
    wait_for_pin(guest, processor, "lo");
    ages.sort_unstable();
    eprintln!(
        "from capture to verdict: median {:.1} ms",
        ages[ages.len() / 2] as f64 / 1000.0
    );

    // Frames that the driver loses are counted, and those that come are judged.
    vivid::set(guest, "percentage_of_dropped_buffers=50");
    monitor.settle("frames of a camera that drops some", |_| true);
    // No frames at all: the driver stalls.
    vivid::set(guest, "percentage_of_dropped_buffers=100");
    let lost = monitor.notice("camera_lost");
    assert!(
        lost["notice"]["text"].to_string().contains("no frame"),
        "{lost}"
    );
    wait_for_pin(guest, processor, "hi");
    vivid::set(guest, "percentage_of_dropped_buffers=0");
    monitor.notice("camera_back");
    let last = digits.last().expect("three digits");
    monitor.settle("the digit after the stall", |row| row["class"] == *last);
    wait_for_pin(guest, processor, "lo");
    // The driver fails, and with the camera what plays into it.
    vivid::set(guest, "inject_fatal_streaming_error=1");
    monitor.notice("camera_lost");
    monitor.notice("camera_back");
    // The camera is unplugged, its driver unloaded, and it is plugged in again.
    vivid::hide(guest);
    vivid::set(guest, "disconnect=1");
    monitor.notice("camera_lost");
    wait_for_pin(guest, processor, "hi");
    vivid::unload(guest);
    guest.run(vivid::LOAD);
    monitor.notice("camera_back");
    monitor.settle("reports of the camera that came back", |_| true);

    let log = guest.run("kill -INT $(cat /tmp/device); wait $(cat /tmp/device); cat /tmp/log");
    for words in [
        "640x480 grey",
        "no frame from /dev/video0",
        "/dev/video0 is back after",
        "0 failed",
    ] {
        assert!(log.contains(words), "'{words}' is missing in: {log}");
    }
    let counted = |what: &str| -> u64 {
        let line = log
            .lines()
            .find(|line| line.contains(" captured, "))
            .expect("counters");
        let before = line.split(what).next().expect("a part").trim_end();
        let number = before.rsplit(' ').next().expect("a word");
        number.parse().unwrap_or_else(|_| panic!("{what}: {line}"))
    };
    assert!(counted("captured") > 50, "{log}");
    assert!(counted("lost by the driver") > 0, "{log}");
    assert_eq!(counted("times back"), 3, "{log}");
    if processor == Processor::Aarch64 {
        assert_eq!(level_left(guest), "1");
    }
}

/// A form of pictures, and how a grey picture is one.
struct Form {
    name: &'static str,
    code: &'static str,
    of: fn(&[u8]) -> Vec<u8>,
}

const FORMATS: [Form; 4] = [
    Form {
        name: "grey",
        code: "GREY",
        of: <[u8]>::to_vec,
    },
    Form {
        name: "yuyv",
        code: "YUYV",
        of: |luma| {
            (limited(luma).iter())
                .flat_map(|luma| [*luma, 128])
                .collect()
        },
    },
    Form {
        name: "nv12",
        code: "NV12",
        of: with_chroma,
    },
    Form {
        name: "nv12m",
        code: "NM12",
        of: with_chroma,
    },
];

/// Luma as video has it, from 16 to 235: what V4L2 takes it for where nothing else is said.
fn limited(luma: &[u8]) -> Vec<u8> {
    luma.iter()
        .map(|&luma| (16 + (u32::from(luma) * 219 + 127) / 255) as u8)
        .collect()
}

fn with_chroma(luma: &[u8]) -> Vec<u8> {
    [limited(luma), vec![128; luma.len() / 2]].concat()
}

/// Every form of pictures of a camera with the multi-planar interface, and crops.
fn forms(guest: &mut Guest, processor: Processor, digit: u64) {
    vivid::unload(guest);
    vivid::plug(guest, "multiplanar=2");
    let accepted = format!(" verdict=accept causes=none class={digit} ");
    let device = format!(
        "device run --model /model.onnx --passes {PASSES} --source v4l2:/dev/video0 --control loop_video=1,osd_text_mode=2 --limit 2"
    );
    for Form { name, code, .. } in FORMATS {
        vivid::show(guest, &format!("digit.{code}"), code);
        let text = guest.run(&format!("{device} --camera-format {name} 2>&1"));
        assert!(text.contains(&format!("640x480 {name}")), "{text}");
        assert_eq!(text.matches(&accepted).count(), 2, "{name}: {text}");
    }

    let crop = format!("{device} --camera-format grey --camera-crop");
    vivid::show(guest, "digit.GREY", "GREY");
    let pin = match processor {
        Processor::Aarch64 => format!("--flag-pin {PIN}:active-low"),
        Processor::X86_64 => String::new(),
    };
    let text = guest.run(&format!("{crop} 80,0,480,480 {pin} 2>&1"));
    assert!(text.contains("480x480 grey of 80,0,480,480"), "{text}");
    assert_eq!(text.matches(&accepted).count(), 2, "{text}");
    if processor == Processor::Aarch64 {
        assert_eq!(level_left(guest), "0");
    }
    // A corner in which there is nothing.
    let text = guest.run(&format!("{crop} 0,0,64,64 --camera-size 32x32 2>&1"));
    assert!(text.contains("32x32 grey of 0,0,64,64"), "{text}");
    assert_eq!(text.matches("underexposed").count(), 2, "{text}");

    let refused = |guest: &mut Guest, rectangle: &str, words: &str| {
        let (code, text) = guest.try_run(&format!("{crop} {rectangle} 2>&1"));
        assert_eq!(code, 1, "{text}");
        let last = text.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("error: ") && last.contains(words),
            "{last}"
        );
    };
    refused(
        guest,
        "600,0,480,480",
        "has no crop 600,0,480,480; it has 160,0,480,480",
    );
    vivid::set(guest, "enable_capture_cropping=0");
    refused(guest, "80,0,480,480", "cannot crop: use --crop");
}

/// What a camera has not is told in one line that says what it has.
fn refusals(guest: &mut Guest) {
    for (options, words) in [
        (
            "--source v4l2:/dev/video0 --camera-format mjpeg",
            "no pictures in mjpeg; it has YUYV",
        ),
        (
            "--source v4l2:/dev/video0 --camera-size 123x45",
            "no pictures of 123x45; it has grey",
        ),
        (
            "--source v4l2:/dev/video0 --camera-fps 7",
            "at 7 frames/s; it has grey at 59.94",
        ),
        (
            "--source v4l2:/dev/video0 --control nonsense=1",
            "nonsense=1: the camera has brightness",
        ),
        (
            "--source v4l2:/dev/video0 --control brightness=999",
            "it takes 0 to 255",
        ),
        ("--source v4l2:/dev/video1", "takes no pictures"),
        ("--source v4l2:/dev/video7", "device cameras lists"),
    ] {
        let (code, text) = guest.try_run(&format!("device run --model /model.onnx {options}"));
        assert_eq!(code, 1, "{options}: {text}");
        let last = text.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("error: ") && last.contains(words),
            "{options}: {last}"
        );
    }
    let listed = guest.run("device cameras --json");
    let cameras: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(cameras[0]["path"], "/dev/video0");
    assert_eq!(cameras[0]["driver"], "vivid");
    assert_eq!(
        cameras.as_array().map(Vec::len),
        Some(1),
        "the output is no camera"
    );
    let controls = cameras[0]["controls"].to_string();
    assert!(
        controls.contains("percentage_of_dropped_buffers"),
        "{controls}"
    );
}

#[test]
fn a_camera_of_an_emulated_pc() {
    camera_on(Processor::X86_64);
}

#[test]
fn a_camera_of_an_emulated_arm_board() {
    camera_on(Processor::Aarch64);
}
