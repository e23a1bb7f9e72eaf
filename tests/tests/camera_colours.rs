//! The colours that a camera's pictures have for a network, on machines in QEMU: the kernel's virtual camera
//! shows bars of known colours, in every format and every encoding that it can state, and pictures that are
//! played into it.

use std::time::{Duration, Instant};

use tests::guest::{Guest, Processor};
use tests::line::SerialLine;
use tests::vivid;

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
/// How far a part of a colour may be off, of 255.
const CLOSE: f64 = 2.0;

/// Formats with luma and chroma, and their codes in the kernel.
const YCBCR: [(&str, &str); 5] = [
    ("yuyv", "YUYV"),
    ("uyvy", "UYVY"),
    ("nv12", "NV12"),
    ("nv21", "NV21"),
    ("yu12", "YU12"),
];
const RGB: [(&str, &str); 2] = [("rgb3", "RGB3"), ("bgr3", "BGR3")];
const RGB_NAMES: [&str; 2] = ["rgb3", "bgr3"];
const GREY: [&str; 4] = ["grey", "y10", "y12", "y16"];

type Colours = [[f64; 3]; 8];

/// How a camera says that its numbers mean colours, by the recommendations.
#[derive(Clone, Copy, Debug)]
struct Encoding {
    /// What red and blue count in luma.
    weights: [f64; 2],
    limited: bool,
}

const BT601: [f64; 2] = [0.299, 0.114];
const BT709: [f64; 2] = [0.2126, 0.0722];
const BT2020: [f64; 2] = [0.2627, 0.0593];
const SMPTE240M: [f64; 2] = [0.212, 0.087];

impl Encoding {
    /// Black of luma, and what luma and chroma span.
    fn scale(self) -> (f64, f64, f64) {
        if self.limited {
            (16.0, 219.0, 224.0)
        } else {
            (0.0, 255.0, 255.0)
        }
    }

    /// Luma and chroma of a colour, not rounded.
    fn encode(self, colour: [f64; 3]) -> [f64; 3] {
        let [red, blue] = self.weights;
        let (black, luma, chroma) = self.scale();
        let [r, g, b] = colour.map(|part| part / 255.0);
        let y = red * r + (1.0 - red - blue) * g + blue * b;
        let cb = (b - y) / (2.0 * (1.0 - blue));
        let cr = (r - y) / (2.0 * (1.0 - red));
        [black + luma * y, 128.0 + chroma * cb, 128.0 + chroma * cr]
    }

    /// The colour that luma and chroma mean.
    fn decode(self, codes: [f64; 3]) -> [f64; 3] {
        let [red, blue] = self.weights;
        let (black, luma, chroma) = self.scale();
        let y = (codes[0] - black) / luma;
        let r = y + 2.0 * (1.0 - red) * (codes[2] - 128.0) / chroma;
        let b = y + 2.0 * (1.0 - blue) * (codes[1] - 128.0) / chroma;
        let g = (y - red * r - blue * b) / (1.0 - red - blue);
        [r, g, b].map(|part| (255.0 * part).clamp(0.0, 255.0))
    }
}

/// The luma of colours, by these weights.
fn luma(colours: &Colours, [red, blue]: [f64; 2]) -> Vec<Vec<f64>> {
    let luma = |[r, g, b]: &[f64; 3]| vec![red * r + (1.0 - red - blue) * g + blue * b];
    colours.iter().map(luma).collect()
}

/// What a network of one channel gets.
fn luma_601(colours: &Colours) -> Vec<Vec<f64>> {
    luma(colours, BT601)
}

/// What a network of three channels gets.
fn rgb(colours: &Colours) -> Vec<Vec<f64>> {
    colours.iter().map(|colour| colour.to_vec()).collect()
}

/// What the camera's colours are in these formats, a line each.
fn look(guest: &mut Guest, wanted: &str, formats: &[&str], controls: &str) -> String {
    guest.run(&format!(
        "colours v4l2:/dev/video0 {wanted} {} osd_text_mode=2,{controls}",
        formats.join(",")
    ))
}

/// How far the stripes of a line are off at most.
fn error(line: &str, expected: &[Vec<f64>]) -> f64 {
    let stripes: Vec<_> = line.split(' ').collect();
    assert_eq!(stripes.len(), expected.len(), "{line}");
    let parts = stripes.iter().zip(expected).flat_map(|(stripe, expected)| {
        let parts: Vec<_> = stripe.split(',').collect();
        assert_eq!(parts.len(), expected.len(), "{line}");
        parts.into_iter().zip(expected.clone())
    });
    parts
        .flat_map(|(range, expected)| {
            let (least, largest) = range.split_once('-').expect("a range");
            let off = |end: &str| (end.parse::<f64>().expect("a number") - expected).abs();
            [off(least), off(largest)]
        })
        .fold(0.0, f64::max)
}

/// The bars of the driver's pattern, of 75 %: what takes one range for the other is seen.
fn bars() -> Colours {
    [7, 6, 3, 2, 5, 4, 1, 0]
        .map(|bits: u8| [4, 2, 1].map(|bit| if bits & bit == 0 { 0.0 } else { 191.0 }))
}

/// What the driver sends for its bars, as another program reads it. It cuts off what is behind the point,
/// instead of rounding: up to 4 of 255 of a colour, which no reader can give back.
fn codes(guest: &mut Guest, encoding: Encoding) -> Colours {
    guest.run("v4l2-ctl -d /dev/video0 --set-fmt-video width=640,height=480,pixelformat=YUYV --stream-mmap --stream-count=1 --stream-to=/tmp/raw >/dev/null 2>&1");
    let row = guest.run(&format!("od -A n -v -t u1 -N {} /tmp/raw", 2 * WIDTH));
    let row: Vec<f64> = row
        .split_whitespace()
        .map(|byte| byte.parse().expect("a byte"))
        .collect();
    assert_eq!(row.len(), 2 * WIDTH);
    let mut stripe = 0;
    bars().map(|colour| {
        let at = 2 * (stripe * WIDTH / 8 + WIDTH / 16);
        stripe += 1;
        let codes = [row[at], row[at + 1], row[at + 3]];
        for (code, exact) in codes.into_iter().zip(encoding.encode(colour)) {
            assert!(
                (code - exact).abs() < 2.0,
                "{colour:?}: {codes:?} {encoding:?}"
            );
        }
        codes
    })
}

/// What the driver sends of luma alone: the parts of its weights are 255 of 256.
fn sent(part: f64) -> f64 {
    part * 255.0 / 256.0
}

/// The driver's own bars, of which it says how they are encoded: the program sets its controls when the
/// camera is open, so that what they change is known only then.
fn bars_in(guest: &mut Guest, ycbcr: &[&str], controls: &str, encoding: Encoding) {
    // Of luma alone it sends all of the range, whatever it says.
    let grey: &[&str] = if controls.ends_with("quantization=2") {
        &[]
    } else {
        &GREY
    };
    let controls = format!("loop_video=0,test_pattern=0,{controls}");
    let in_colour = look(guest, "rgb", &[ycbcr, &RGB_NAMES].concat(), &controls);
    let in_grey = [&ycbcr[..1], &RGB_NAMES[..1], grey].concat();
    let in_grey = look(guest, "grey", &in_grey, &controls);
    let known = bars();
    let meant = codes(guest, encoding).map(|codes| encoding.decode(codes));
    let mut worst: f64 = 0.0;
    for (text, wanted) in [
        (in_colour, rgb as fn(&Colours) -> Vec<_>),
        (in_grey, luma_601),
    ] {
        for line in text.lines() {
            let (format, stripes) = line.split_once(' ').expect("a format and stripes");
            let expected = match format {
                _ if GREY.contains(&format) => luma(&known.map(|it| it.map(sent)), BT709),
                _ if RGB_NAMES.contains(&format) => wanted(&known),
                _ => wanted(&meant),
            };
            let error = error(stripes, &expected);
            assert!(error <= CLOSE, "{controls}: {line}: {expected:?}");
            worst = worst.max(error);
        }
    }
    eprintln!("{controls}: off by {worst:.1}");
}

/// A picture of eight stripes in a format by the kernel's code. `parts` are red, green and blue, or luma
/// and chroma.
fn picture(code: &str, parts: [[u8; 3]; 8]) -> Vec<u8> {
    let at = |x: usize| parts[x * 8 / WIDTH];
    let pairs = || (0..WIDTH).step_by(2).map(at);
    let rows = |row: Vec<u8>, count: usize| row.repeat(count);
    let luma = rows((0..WIDTH).map(|x| at(x)[0]).collect(), HEIGHT);
    let chroma = |which: &[usize]| {
        let row = pairs().flat_map(|it| which.iter().map(move |&part| it[part]));
        rows(row.collect(), HEIGHT / 2)
    };
    match code {
        "YUYV" => rows(
            pairs().flat_map(|[y, cb, cr]| [y, cb, y, cr]).collect(),
            HEIGHT,
        ),
        "UYVY" => rows(
            pairs().flat_map(|[y, cb, cr]| [cb, y, cr, y]).collect(),
            HEIGHT,
        ),
        "NV12" | "NM12" => [luma, chroma(&[1, 2])].concat(),
        "NV21" => [luma, chroma(&[2, 1])].concat(),
        "YU12" => [luma, chroma(&[1]), chroma(&[2])].concat(),
        "RGB3" => rows((0..WIDTH).flat_map(at).collect(), HEIGHT),
        "BGR3" => rows(
            (0..WIDTH).flat_map(|x| at(x).into_iter().rev()).collect(),
            HEIGHT,
        ),
        _ => unreachable!("no such format is played"),
    }
}

/// What is played into the camera.
const PLAYED: [[u8; 3]; 8] = [
    [200, 30, 90],
    [255, 0, 0],
    [0, 255, 0],
    [0, 0, 255],
    [17, 99, 60],
    [255; 3],
    [128; 3],
    [240, 200, 16],
];

/// The picture that is played in a format: its luma and chroma are those of a webcam.
fn played(code: &str) -> Vec<u8> {
    let webcam = Encoding {
        weights: BT601,
        limited: true,
    };
    if RGB.iter().any(|(_, rgb)| *rgb == code) {
        picture(code, PLAYED)
    } else {
        let codes = PLAYED.map(|colour| webcam.encode(colour.map(f64::from)));
        picture(
            code,
            codes.map(|parts| parts.map(|part| part.round() as u8)),
        )
    }
}

/// Pictures that are played into the camera.
fn play(guest: &mut Guest, (name, code): (&str, &str)) {
    vivid::show(guest, &format!("played.{code}"), code);
    let known = rgb(&PLAYED.map(|colour| colour.map(f64::from)));
    // Until the player has begun, the camera shows its bars.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let text = look(guest, "rgb", &[name], "loop_video=1");
        let (_, stripes) = text.split_once(' ').expect("a format and stripes");
        let error = error(stripes, &known);
        if error <= CLOSE {
            eprintln!("played in {name}: off by {error:.1}");
            break;
        }
        assert!(Instant::now() < deadline, "off by {error}: {text}");
    }
    vivid::hide(guest);
}

fn colours_on(processor: Processor) {
    let program = std::fs::read(processor.colours()).expect("just built");
    let multiplanar = ("nv12m", "NM12");
    let formats = [&YCBCR[..], &RGB, &[multiplanar]].concat();
    let names: Vec<_> = formats
        .iter()
        .map(|(_, code)| format!("played.{code}"))
        .collect();
    let mut files = vec![("bin/colours", program)];
    for ((_, code), name) in formats.iter().zip(&names) {
        files.push((name, played(code)));
    }
    let line = SerialLine::clean();
    let mut guest = Guest::boot(processor, &files, &line.device());

    vivid::plug(&mut guest, "");
    let ycbcr = YCBCR.map(|(name, _)| name);
    // Colour space, encoding and range, as the driver numbers them; 0 leaves it to the one before.
    for (controls, weights, limited) in [
        ([0, 0, 0], BT601, true),
        ([1, 0, 0], BT709, true),
        ([4, 0, 0], BT2020, true),
        ([6, 0, 0], SMPTE240M, true),
        ([2, 1, 1], BT601, false),
        ([2, 2, 1], BT709, false),
        ([1, 1, 2], BT601, true),
        ([2, 3, 1], BT601, true), // xvYCC has one range only
        ([2, 4, 1], BT709, true),
    ] {
        let [space, encoding, range] = controls;
        let controls =
            format!("colorspace={space},y_cbcr_encoding={encoding},quantization={range}");
        bars_in(&mut guest, &ycbcr, &controls, Encoding { weights, limited });
    }
    for format in [&YCBCR[..], &RGB].concat() {
        play(&mut guest, format);
    }

    // The other interface, in which planes have memory of their own.
    vivid::unload(&mut guest);
    vivid::plug(&mut guest, "multiplanar=2");
    for (controls, weights, limited) in [([1, 0, 0], BT709, true), ([2, 1, 1], BT601, false)] {
        let [space, encoding, range] = controls;
        let controls =
            format!("colorspace={space},y_cbcr_encoding={encoding},quantization={range}");
        let formats = ["nv12m", "nv21"];
        bars_in(
            &mut guest,
            &formats,
            &controls,
            Encoding { weights, limited },
        );
    }
    play(&mut guest, multiplanar);
}

#[test]
fn colours_of_an_emulated_pcs_camera_are_those_that_it_was_shown() {
    colours_on(Processor::X86_64);
}

#[test]
fn colours_of_an_emulated_arm_boards_camera_are_those_that_it_was_shown() {
    colours_on(Processor::Aarch64);
}
