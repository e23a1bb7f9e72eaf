//! Learning from what a device was unsure of: a digit that its model has never seen is flagged, saved
//! and labelled, and a model trained on it, too, is less unsure of it, and right.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use host::data::{Dataset, DatasetName, Split};
use serde_json::Value;
use shared::image::PixelFormat;
use tests::line::SerialLine;
use tests::programs::{Running, command, succeed};
use tests::terminal::Terminal;

/// The digit that is left out.
const DIGIT: u16 = 9;
/// Images of the data set that the models are trained on; those behind them stand before the camera.
const TRAINED: usize = 6_000;

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Images of `set` from `first` on: so many of the digit, and so many others, in their order.
fn choose(set: &Dataset, first: usize, of_digit: usize, others: usize) -> Vec<usize> {
    let (mut of_digit, mut others) = (of_digit, others);
    (first..set.len())
        .filter(|&image| {
            let left = if set.labels[image] == DIGIT {
                &mut of_digit
            } else {
                &mut others
            };
            let chosen = *left > 0;
            *left -= usize::from(chosen);
            chosen
        })
        .collect()
}

/// Writes images as pictures, one a frame.
fn write_pictures(folder: &Path, set: &Dataset, images: &[usize]) {
    std::fs::create_dir(folder).expect("created");
    for (frame, &image) in images.iter().enumerate() {
        let picture = set.frame(image, PixelFormat::Grey8).expect("in memory");
        let mut bytes = format!("P5 {} {} 255\n", picture.width, picture.height).into_bytes();
        bytes.extend(&picture.pixels);
        std::fs::write(folder.join(format!("{frame:05}.pgm")), bytes).expect("written");
    }
}

fn train(out: &Path, more: &[&str]) {
    let recipe = format!(
        "--without {DIGIT} --limit-train {TRAINED} --epochs 3 --seed 1 --limit-test 300 --passes 20 --calibration-images 1000 --flag-rate 0.2 --device cpu"
    );
    let args = ["train", "--out", text(out)].into_iter();
    succeed(
        "host",
        args.chain(recipe.split(' ')).chain(more.iter().copied()),
    );
}

fn device(model: &Path, pictures: &Path, serial: &str) -> Running {
    let (model, passes) = (model.join("model.onnx"), "50");
    let args = [
        "run",
        "--model",
        text(&model),
        "--passes",
        passes,
        "--source",
        text(pictures),
        "--serial",
        serial,
        "--wire",
        "binary",
    ];
    Running::start(command("device", args).stderr(Stdio::piped()))
}

/// What a model's device says of pictures.
fn reports(model: &Path, pictures: &Path) -> Vec<Value> {
    let capture = model.join("capture");
    let _ = std::fs::remove_file(&capture);
    let (code, _, err) = device(model, pictures, &format!("file:{}", capture.display())).end();
    assert_eq!(code, Some(0), "{err}");
    let lines = succeed("host", ["monitor", text(&capture)]);
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Share of the reports that name their digit.
fn accuracy(reports: &[Value], truth: impl Iterator<Item = u16>) -> f64 {
    let right = reports
        .iter()
        .zip(truth)
        .filter(|(report, digit)| report["label"].as_str() == Some(&digit.to_string()));
    right.count() as f64 / reports.len() as f64
}

/// Labels every picture by the key of its frame's digit.
fn label(folder: &Path, truth: impl Fn(usize) -> u16) -> usize {
    let mut terminal = Terminal::run(&command("host", ["label", text(folder)]), 24, 80);
    let mut labelled = 0;
    loop {
        let counts = format!(", {labelled} done");
        let screen = terminal.wait("next picture", |text| {
            text.contains(&counts)
                && (text.contains("frame ") || text.contains("no picture is left"))
        });
        let Some((_, rest)) = screen
            .split_once('\n')
            .and_then(|it| it.1.split_once("frame "))
        else {
            break;
        };
        let frame = rest.split(' ').next().and_then(|frame| frame.parse().ok());
        let frame = frame.unwrap_or_else(|| panic!("no frame number in\n{screen}"));
        terminal.press(&truth(frame).to_string());
        labelled += 1;
    }
    terminal.press("q");
    assert_eq!(terminal.end().0, Some(0));
    labelled
}

#[test]
fn a_digit_never_seen_is_flagged_labelled_and_learnt() {
    let place = tempfile::tempdir().expect("temporary folder");
    let path = |name: &str| -> PathBuf { place.path().join(name) };
    let (before, after, folder) = (path("before"), path("after"), path("flagged"));
    train(&before, &[]);

    // Before the camera: frames that no model was trained on, half of them of the digit.
    let set = DatasetName::Mnist.load(Split::Train).expect("installed");
    let seen = choose(&set, TRAINED, 150, 150);
    write_pictures(&path("camera"), &set, &seen);
    let line = SerialLine::clean();
    let (host, summary) = (line.host(), path("summary.json"));
    let args = [
        "monitor",
        text(&host),
        "--until-last",
        "--save-flagged",
        text(&folder),
        "--summary",
        text(&summary),
    ];
    let mut monitor = command("host", args);
    let monitor = Running::start(monitor.stdout(Stdio::null()).stderr(Stdio::piped()));
    let (code, _, err) = device(&before, &path("camera"), text(&line.device())).end();
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = monitor.end();
    assert_eq!(code, Some(0), "{err}");
    let summary: Value =
        serde_json::from_slice(&std::fs::read(&summary).expect("written")).expect("JSON");
    let flagged = summary["flagged"].as_u64().expect("a number");
    assert_eq!(summary["pictures"]["saved"], flagged, "{summary}");

    let labelled = label(&folder, |frame| set.labels[seen[frame]]);
    assert_eq!(labelled as u64, flagged);
    let of_digit = std::fs::read_dir(folder.join(DIGIT.to_string()))
        .expect("its folder")
        .count();
    assert!(of_digit > 75, "{of_digit} of 150 flagged");
    train(&after, &["--extra", text(&folder), "--oversample", "5"]);

    // On images that neither model has seen.
    let set = DatasetName::Mnist.load(Split::Test).expect("installed");
    let (digit, others) = (choose(&set, 0, 300, 0), choose(&set, 0, 0, 300));
    write_pictures(&path("digit"), &set, &digit);
    write_pictures(&path("others"), &set, &others);
    let [old, new] = [&before, &after].map(|model| reports(model, &path("digit")));
    let information = |report: &Value| report["mutual_information"].as_f64().expect("nats");
    let falls: Vec<f64> = old
        .iter()
        .zip(&new)
        .map(|(old, new)| information(old) - information(new))
        .collect();
    let count = falls.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
    let fall = mean(&falls);
    let spread: Vec<f64> = falls.iter().map(|it| (it - fall).powi(2)).collect();
    let error = (mean(&spread) / count).sqrt();
    let means =
        [&old, &new].map(|reports| mean(&reports.iter().map(information).collect::<Vec<_>>()));
    let right = [&old, &new].map(|reports| accuracy(reports, digit.iter().map(|_| DIGIT)));
    let [kept, keeps] = [&before, &after].map(|model| {
        let truth = others.iter().map(|&image| set.labels[image]);
        accuracy(&reports(model, &path("others")), truth)
    });
    println!(
        "{labelled} frames labelled, {of_digit} of them {DIGIT}; on {count} others of it: mutual information {:.3} -> {:.3} nats (fall {fall:.3} ± {error:.3}), accuracy {:.1} % -> {:.1} %; on the other digits {:.1} % -> {:.1} %",
        means[0],
        means[1],
        100.0 * right[0],
        100.0 * right[1],
        100.0 * kept,
        100.0 * keeps
    );
    assert!(fall > 5.0 * error && fall > 0.05, "{fall} ± {error}");
    assert!(right[0] == 0.0 && right[1] > 0.7, "{right:?}");
    assert!(keeps > kept - 0.05, "{kept} {keeps}");
}
