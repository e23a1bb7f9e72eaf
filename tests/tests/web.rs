//! `host monitor --web`: the page in a browser over a live stream, and the server below it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use embedded_io_adapters::std::FromStd;
use serde_json::Value;
use shared::image::{FrameStatistics, Normalisation, PixelFormat, Preprocessing};
use shared::triage::{Cause, Causes, Thresholds};
use shared::wire::delivery::Guarantee;
use shared::wire::link::{Sender, WireFormat};
use shared::wire::message::{Hello, Message, Report, SCHEMA_HASH, Thumbnail, shortened};
use tests::line::SerialLine;
use tests::model;
use tests::programs::{Running, command, fail, succeed};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A monitor that serves the page.
struct Monitor {
    program: Running,
    address: SocketAddr,
    /// What it logged until the page was there.
    log: String,
}

/// Starts `host monitor` on the host's end of a line.
fn monitor(line: &SerialLine, web: &str) -> Monitor {
    let host = line.host();
    let args = ["monitor", text(&host), "--json", "--web", web];
    let mut program = Running::start(
        command("host", args)
            .stdout(Stdio::null())
            .stderr(Stdio::piped()),
    );
    let mut stderr = BufReader::new(program.child().stderr.take().expect("piped"));
    let mut log = String::new();
    let address = loop {
        let before = log.len();
        let count = stderr.read_line(&mut log).expect("read");
        assert!(count > 0, "the monitor ended: {log}");
        let url = log[before..].split("http://").nth(1);
        if let Some(url) = url.and_then(|url| url.split('/').next()) {
            break url.parse().expect("an address");
        }
    };
    // A pipe that nobody reads would fill up.
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    Monitor {
        program,
        address,
        log,
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

fn send(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("set");
    stream.write_all(request.as_bytes()).expect("sent");
    stream
}

fn ask(address: SocketAddr, request: &str) -> Answer {
    let mut bytes = Vec::new();
    send(address, request)
        .read_to_end(&mut bytes)
        .expect("answered");
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n");
    let body = bytes.split_off(end.expect("a head") + 4);
    let head = String::from_utf8(bytes).expect("text").to_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer {
        status: status.expect("a status"),
        head,
        body,
    }
}

fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &request("GET", path, &address.to_string()))
}

fn request(method: &str, path: &str, host: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

fn state(address: SocketAddr) -> Value {
    serde_json::from_slice(&get(address, "/state").body).expect("JSON")
}

/// A device that says what it is given.
struct Speaker(Sender<FromStd<std::fs::File>>);

impl Speaker {
    fn new(line: &SerialLine) -> Self {
        let port = std::fs::File::options().write(true).open(line.device());
        Self(Sender::new(
            FromStd::new(port.expect("opened")),
            WireFormat::Binary,
        ))
    }

    fn say(&mut self, message: &Message) {
        self.0.send(message).expect("sent");
    }

    fn greet(&mut self, name: &str, labels: &[&str]) {
        self.say(&Message::Hello(Hello {
            schema: SCHEMA_HASH,
            device: shortened(name),
            software: shortened("1.2.3"),
            engine: shortened("native"),
            model: 0xBEEF,
            input: [1, 28, 28],
            classes: 10,
            labels: labels.iter().map(|label| shortened(label)).collect(),
            passes: 100,
            seed: u64::MAX,
            thresholds: Thresholds::uncalibrated(10),
            epoch: 0,
            challenge: 0,
            guarantee: Guarantee::Once,
            preprocessing: Preprocessing::grey(Normalisation::MNIST).to_bytes().into(),
        }));
    }

    fn report(&mut self, frame: u32, causes: &[Cause]) {
        self.say(&Message::Report(Report {
            frame,
            captured_us: u64::from(frame) * 10_000,
            age_us: 0,
            latency_us: 1_500 + frame % 100,
            class: (frame % 10) as u16,
            confidence: 0.75,
            predictive_entropy: 0.5,
            expected_entropy: 0.3,
            mutual_information: 0.2,
            variation_ratio: 0.25,
            standard_deviation: 0.1,
            margin: 0.5,
            passes: 100,
            causes: causes.iter().copied().collect::<Causes>(),
            image: FrameStatistics {
                mean: 0.2,
                white: 1.0,
                contrast: 1.0,
                sharpness: 1.0,
                ..FrameStatistics::default()
            },
            ticket: None,
        }));
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn answers_are_few_and_guarded() {
    let line = SerialLine::clean();
    let monitor = monitor(&line, "127.0.0.1:0");
    let address = monitor.address;
    assert!(!monitor.log.contains("authentication"), "{}", monitor.log);
    let local = address.to_string();

    let page = get(address, "/");
    assert_eq!(page.status, 200);
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cross-origin-resource-policy: same-origin",
        "cache-control: no-store",
        "connection: close",
    ] {
        assert!(page.head.contains(header), "{header} in {}", page.head);
    }
    assert!(!page.head.contains("access-control-"), "{}", page.head);
    for (path, kind) in [
        ("/script.js", "text/javascript"),
        ("/timeline.js", "text/javascript"),
        ("/words.js", "text/javascript"),
        ("/style.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
        ("/state", "application/json"),
    ] {
        let answer = get(address, path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(
            answer.head.contains(&format!("content-type: {kind}")),
            "{path}: {}",
            answer.head
        );
        assert!(answer.head.contains("content-security-policy: "), "{path}");
    }
    let head = ask(address, &request("HEAD", "/", &local));
    assert_eq!((head.status, head.body.len()), (200, 0));

    for path in [
        "/nothing",
        "/frames/0.png",
        "/frames/x.png",
        "/../Cargo.toml",
        "/%2e%2e/etc/passwd",
    ] {
        assert_eq!(get(address, path).status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let refused = ask(address, &request(method, "/state", &local));
        assert_eq!(refused.status, 405, "{method}");
        assert!(
            refused.head.contains("allow: get, head"),
            "{}",
            refused.head
        );
    }
    // Names that point here without being this machine's own, as after DNS rebinding.
    let port = address.port();
    for (host, status) in [
        (format!("localhost:{port}"), 200),
        (format!("[::1]:{port}"), 200),
        ("127.0.0.1".into(), 200),
        (format!("example.org:{port}"), 421),
        (format!("127.0.0.1.example.org:{port}"), 421),
        (format!("localhost.example.org:{port}"), 421),
        (String::new(), 421),
    ] {
        for path in ["/", "/state", "/events", "/nothing"] {
            if status == 421 {
                assert_eq!(
                    ask(address, &request("GET", path, &host)).status,
                    421,
                    "{host} {path}"
                );
            }
        }
        assert_eq!(
            ask(address, &request("GET", "/state", &host)).status,
            status,
            "{host}"
        );
    }
    assert_eq!(ask(address, "GET / HTTP/1.1\r\n\r\n").status, 421);
    // What is no HTTP ends that connection and no more.
    assert_eq!(ask(address, "\0\u{1}garbage\r\n\r\n").status, 400);
    let told = state(address);
    assert_eq!(
        (&told["device"], &told["totals"]["frames"]),
        (&Value::Null, &0.into())
    );
}

#[test]
fn addresses_that_cannot_be_served_are_told() {
    let line = SerialLine::clean();
    let host = line.host();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken
        .local_addr()
        .map(|address| (taken, address.to_string()));
    let (_listener, address) = taken.expect("an address");
    let args = ["monitor", text(&host), "--web", &address];
    fail(
        "host",
        args,
        &[&address, "in use", "127.0.0.1:0 for any free one"],
    );
    let args = ["monitor", text(&host), "--web", "192.0.2.1:80"];
    fail("host", args, &["cannot serve the page on 192.0.2.1:80"]);
    let wrong = command("host", ["monitor", text(&host), "--web", "example.org"]).output();
    let wrong = wrong.expect("started");
    assert_eq!(wrong.status.code(), Some(2));
    let words = String::from_utf8_lossy(&wrong.stderr);
    assert!(words.contains("neither an address nor a port"), "{words}");
}

#[test]
fn other_machines_are_let_in_only_when_told_and_with_a_warning() {
    let line = SerialLine::clean();
    let monitor = monitor(&line, "0.0.0.0:0");
    assert!(monitor.log.contains("no authentication"), "{}", monitor.log);
    // Which names this machine has elsewhere is not known here.
    let port = monitor.address.port();
    let here = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(
        ask(here, &request("GET", "/state", "camera.example.org")).status,
        200
    );
    assert_eq!(monitor.address, here);
}

#[test]
fn the_state_holds_what_was_said() {
    let line = SerialLine::clean();
    let monitor = monitor(&line, "127.0.0.1:0");
    let mut device = Speaker::new(&line);
    let name = "<img src=x onerror=x()>";
    device.greet(name, &["<b>zero</b>", "one"]);
    device.report(0, &[]);
    device.report(1, &[Cause::Glare, Cause::Uncertain]);
    until("both frames", || {
        state(monitor.address)["totals"]["frames"] == 2
    });
    let told = state(monitor.address);
    assert_eq!(told["device"]["name"], name);
    assert_eq!(told["device"]["seed"], u64::MAX.to_string());
    let sees = told["device"]["sees"].as_str().expect("words");
    assert!(sees.starts_with("luma (Rec. 601)"), "{sees}");
    assert_eq!(told["frames"][0]["label"], "<b>zero</b>");
    let flags = told["flags"].as_array().expect("a list");
    assert_eq!(flags.len(), 1);
    assert_eq!(
        flags[0]["causes"],
        serde_json::json!(["glare", "uncertain"])
    );
    assert_eq!(flags[0]["index"], 1);
    assert_eq!(told["link"]["lost"], 0);
    assert_eq!(told["source"], text(&line.host()));
    assert_eq!(told["pictures"], serde_json::json!([]));

    let format = PixelFormat::Rgb8;
    let pixels: Vec<u8> = (0..28 * 20 * 3).map(|byte| (byte % 251) as u8).collect();
    let mut offset = 0;
    while let Some(part) = Thumbnail::part(1, (28, 20), format, &pixels, offset) {
        offset += part.pixels.len();
        device.say(&Message::Thumbnail(part));
    }
    until("the picture", || {
        state(monitor.address)["pictures"] == serde_json::json!([1])
    });
    let png = get(monitor.address, "/frames/1.png");
    assert_eq!(png.status, 200);
    assert!(png.head.contains("content-type: image/png"), "{}", png.head);
    let file = tempfile::tempdir().expect("temporary folder");
    let path = file.path().join("1.png");
    std::fs::write(&path, png.body).expect("written");
    let picture = device::source::read_picture(&path, format).expect("a picture");
    assert_eq!(
        (picture.width, picture.height, picture.format),
        (28, 20, format)
    );
    assert_eq!(picture.pixels, pixels);
}

/// The events that have come on a stream: name and data.
fn events(bytes: &[u8]) -> Vec<(String, Value)> {
    let text = String::from_utf8_lossy(bytes);
    // Chunks of the transfer: `\r\n`, a length, `\r\n` may stand anywhere between what was sent.
    let (_, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut plain = String::new();
    let mut rest = body;
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a length");
        let Some(chunk) = after.get(..length) else {
            break;
        };
        plain.push_str(chunk);
        rest = after.get(length + 2..).unwrap_or_default();
    }
    plain
        .split_inclusive("\n\n")
        .filter_map(|event| {
            let (name, data) = event.strip_suffix("\n\n")?.split_once("\ndata: ")?;
            let data = serde_json::from_str(data).expect("JSON");
            Some((name.strip_prefix("event: ")?.to_owned(), data))
        })
        .collect()
}

const REPORTS: u32 = 6000;

/// Most of the clients take nothing while thousands of reports come. The reports are read as if
/// nobody was there; who begins to read again is told the present; who does not is cut off.
#[test]
fn slow_clients_hold_nothing_up() {
    let line = SerialLine::clean();
    let mut monitor = monitor(&line, "127.0.0.1:0");
    let address = monitor.address;
    let stream = || send(address, &request("GET", "/events", &address.to_string()));
    let memory = |monitor: &mut Monitor| {
        let path = format!("/proc/{}/status", monitor.program.child().id());
        let status = std::fs::read_to_string(path).expect("the monitor runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("a number")
    };
    let mut slow: Vec<TcpStream> = (0..8).map(|_| stream()).collect();
    let stalled = Instant::now();
    let mut device = Speaker::new(&line);
    device.greet("gate", &[]);
    for frame in 0..1000 {
        device.report(frame, &[Cause::Ambiguous]);
    }
    until("a thousand frames", || {
        state(address)["totals"]["frames"] == 1000
    });
    let before = memory(&mut monitor);
    let mut reader = stream();
    for frame in 1000..REPORTS {
        device.report(frame, &[Cause::Ambiguous]);
    }
    until("every frame", || {
        state(address)["totals"]["frames"] == REPORTS
    });
    let told = state(address);
    assert_eq!(
        (&told["link"]["lost"], &told["link"]["corrupt"]),
        (&0.into(), &0.into())
    );
    let grown = memory(&mut monitor).saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB more");

    // One begins to read, in time.
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let found = loop {
        let count = reader.read(&mut buffer).expect("alive");
        assert!(count > 0, "the stream ended");
        bytes.extend(&buffer[..count]);
        let found = events(&bytes);
        if found
            .last()
            .is_some_and(|(_, told)| told["totals"]["frames"] == REPORTS)
        {
            break found;
        }
    };
    assert_eq!(found[0].0, "state");
    let again = found
        .iter()
        .skip(1)
        .filter(|(name, _)| name == "state")
        .count();
    assert!(again > 0, "it was told every report, however old");
    for (name, told) in &found {
        let indices: Vec<u64> = told["frames"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|frame| frame["index"].as_u64())
            .collect();
        assert!(
            indices.len() <= 600 && indices.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "{name}"
        );
    }
    // The newest may have come an event or two before the last, which then brings none.
    let newest = found
        .iter()
        .rev()
        .find_map(|(_, told)| told["frames"].as_array()?.last());
    assert_eq!(
        newest.map(|frame| &frame["index"]),
        Some(&(REPORTS - 1).into())
    );

    // The others do not, for longer than the server waits.
    std::thread::sleep(Duration::from_secs(14).saturating_sub(stalled.elapsed()));
    let mut other = slow.pop().expect("eight");
    let ended = loop {
        match other.read(&mut buffer) {
            Ok(0) => break ErrorKind::UnexpectedEof,
            Ok(_) => {}
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(ended, ErrorKind::ConnectionReset);
}

#[test]
fn more_streams_than_pages_are_refused_until_one_closes() {
    let line = SerialLine::clean();
    let monitor = monitor(&line, "127.0.0.1:0");
    let address = monitor.address;
    let events = request("GET", "/events", &address.to_string());
    let status = |stream: &mut TcpStream| {
        let mut line = String::new();
        BufReader::new(stream)
            .read_line(&mut line)
            .expect("answered");
        line
    };
    let mut open: Vec<TcpStream> = (0..32).map(|_| send(address, &events)).collect();
    for stream in &mut open {
        assert!(status(stream).contains("200"));
    }
    assert!(status(&mut send(address, &events)).contains("503"));
    assert_eq!(get(address, "/").status, 200);
    drop(open.pop());
    // The server notices when it next has something to say.
    until("a place", || {
        status(&mut send(address, &events)).contains("200")
    });
}

/// A person's way through the page: `tests/python/check_page.py` in the environment that
/// `scripts/setup` makes.
fn browse(url: &str, extra: &[&str]) -> Child {
    let cache = device::source::cache_folder().expect("a cache folder");
    let python = cache.join("venv/bin/python");
    let axe = std::fs::read_dir(&cache)
        .expect("listed")
        .filter_map(|entry| Some(entry.ok()?.path().join("axe.min.js")))
        .find(|path| path.is_file());
    let Some(axe) = axe.filter(|_| python.is_file()) else {
        panic!("Python's environment or axe-core is missing: run scripts/setup");
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/check_page.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .args([url, "--axe", text(&axe)])
        .args(extra);
    // To look at, where a folder is given.
    if let Some(folder) = std::env::var_os("MCDROPOUT_SCREENSHOTS") {
        command.arg("--screenshots").arg(PathBuf::from(folder));
    }
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    pipes.spawn().expect("Python starts")
}

#[test]
fn the_page_follows_a_live_stream_in_a_browser() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let frames = folder.path().join("frames");
    let mix = "--clean 700 --occluded 300 --glare 200 --dark 100 --fashion 300 --seed 3";
    let args = ["data", "mix", "--out", text(&frames)];
    succeed("host", args.into_iter().chain(mix.split(' ')));
    let line = SerialLine::clean();
    let mut served = monitor(&line, "127.0.0.1:0");
    let address = served.address.to_string();

    // What a page must not take for its own text.
    let name = "<img src=x onerror=x()>";
    let (model, port) = (model::trained(), line.device());
    let given = [
        "run",
        "--model",
        text(&model),
        "--source",
        text(&frames),
        "--serial",
        text(&port),
    ];
    let rest = "--passes 16 --fps 25 --hello-interval 1".split(' ');
    let args = given.into_iter().chain(["--name", name]).chain(rest);
    let mut device = Some(Running::start(
        command("device", args).stderr(Stdio::null()),
    ));

    let url = format!("http://{address}/");
    let mut page = browse(&url, &["--device", name, "--pictures"]);
    let mut answers = page.stdin.take().expect("piped");
    let lines = BufReader::new(page.stdout.take().expect("piped")).lines();
    let mut seen = None;
    for line_told in lines.map_while(Result::ok) {
        match line_told.as_str() {
            "stop" => drop(
                served
                    .program
                    .child()
                    .kill()
                    .and_then(|()| served.program.child().wait()),
            ),
            "start" => served = monitor(&line, &address),
            "silence" => drop(device.take()),
            json => seen = serde_json::from_str::<Value>(json).ok(),
        }
        // A page that complained has gone.
        let _ = answers.write_all(b"done\n");
    }
    let output = page.wait_with_output().expect("waited");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    let seen = seen.expect("one JSON object");
    eprintln!("{seen:#}");
    let link = seen["link"].as_str().expect("text");
    assert!(link.starts_with("no signal for "), "{link}");
}

/// Serves the same page for every address, and an endless stream of nothing.
fn serve(page: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            // The request does not matter, nor does a browser that is gone.
            let _ = stream.read(&mut [0; 4096]);
            let length = page.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
            );
        }
    });
    url
}

#[test]
fn a_page_that_is_broken_is_found_out() {
    let url = serve(
        "<!doctype html><html><head><title></title></head><body><h1 id=device>x</h1><main>\
         <button></button><input><p style='width:3000px;color:#aaa'>wide</p><img src='https://example.org/a.png'>\
         <ul id=feed></ul><div id=figures></div><path id=aleatoric></path></main>\
         <script>console.warn('something')</script></body></html>",
    );
    let page = browse(&url, &["--device", "y", "--patience", "1"]);
    let output = page.wait_with_output().expect("waited");
    assert_eq!(output.status.code(), Some(1));
    let complaints = String::from_utf8_lossy(&output.stderr);
    for complaint in [
        "waited in vain: frames on the time line",
        "waited in vain: flagged frames in the list",
        "the device is called x",
        "390 light: scrolls sideways",
        "1280 dark: scrolls sideways",
        "a broken image",
        "axe button-name",
        "axe label",
        "axe image-alt",
        "axe html-has-lang",
        "axe color-contrast",
        "something",
        "asked for https://example.org/a.png",
    ] {
        assert!(
            complaints.contains(complaint),
            "{complaint} in {complaints}"
        );
    }
}
