//! `device cameras`: what cameras there are.

use std::io::Write;

use device::source::{CameraInfo, ControlInfo, FormatInfo, cameras};
use serde_json::{Value, json};

/// List this machine's cameras: names that stay, formats, sizes, rates, and controls.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
--source v4l2:PATH takes any of a camera's paths; those below /dev/v4l/by-id stay the same whatever
else is plugged in. --camera-size, --camera-fps, --camera-format and --control of device run set
what is listed here.")]
pub(crate) struct Args {
    /// One JSON array instead of text.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let cameras = cameras();
    let mut out = std::io::stdout().lock();
    if args.json {
        let array: Vec<_> = cameras.iter().map(object).collect();
        writeln!(out, "{}", Value::Array(array))?;
        return Ok(());
    }
    if cameras.is_empty() {
        tracing::warn!("no camera that this user may open (-v tells why each device was left out)");
    }
    for camera in &cameras {
        tell(&mut out, camera)?;
    }
    Ok(())
}

fn object(camera: &CameraInfo) -> Value {
    let formats: Vec<_> = camera
        .formats
        .iter()
        .map(|format| {
            let sizes: Vec<_> = format
                .sizes
                .iter()
                .map(
                    |size| json!({"width": size.width, "height": size.height, "rates": size.rates}),
                )
                .collect();
            json!({
                "code": format.code,
                "name": format.name,
                "description": format.description,
                "is_range": format.is_range,
                "sizes": sizes,
            })
        })
        .collect();
    let controls: Vec<_> = camera
        .controls
        .iter()
        .map(|control| {
            let menu: serde_json::Map<_, _> = control
                .menu
                .iter()
                .map(|(value, name)| (value.to_string(), json!(name)))
                .collect();
            json!({
                "name": control.name,
                "kind": control.kind,
                "minimum": control.minimum,
                "maximum": control.maximum,
                "step": control.step,
                "default": control.default,
                "value": control.value,
                "menu": menu,
                "inactive": control.inactive,
                "read_only": control.read_only,
            })
        })
        .collect();
    json!({
        "path": camera.path,
        "stable": camera.stable,
        "card": camera.card,
        "driver": camera.driver,
        "bus": camera.bus,
        "formats": formats,
        "controls": controls,
    })
}

fn tell(out: &mut impl Write, camera: &CameraInfo) -> std::io::Result<()> {
    let CameraInfo {
        path,
        card,
        driver,
        bus,
        ..
    } = camera;
    writeln!(out, "{}  {card} ({driver}, {bus})", path.display())?;
    for name in &camera.stable {
        writeln!(out, "  {}", name.display())?;
    }
    for format in &camera.formats {
        let name = format.name.unwrap_or("not readable here");
        writeln!(out, "  {:<5} {name}: {}", format.code, sizes(format))?;
    }
    for control in &camera.controls {
        tell_control(out, control)?;
    }
    Ok(())
}

fn sizes(format: &FormatInfo) -> String {
    let sizes: Vec<_> = format
        .sizes
        .iter()
        .map(|size| {
            let rates: Vec<_> = size.rates.iter().map(|rate| format!("{rate:.4}")).collect();
            let rates: Vec<_> = rates
                .iter()
                .map(|rate| rate.trim_end_matches('0').trim_end_matches('.'))
                .collect();
            let rates = match rates.len() {
                0 => String::new(),
                _ => format!(" at {}", rates.join(", ")),
            };
            format!("{}x{}{rates}", size.width, size.height)
        })
        .collect();
    sizes.join(if format.is_range { " to " } else { "; " })
}

fn tell_control(out: &mut impl Write, control: &ControlInfo) -> std::io::Result<()> {
    let ControlInfo {
        name,
        kind,
        minimum,
        maximum,
        step,
        default,
        ..
    } = control;
    write!(out, "  {name} ({kind}) {minimum} to {maximum}")?;
    if *step > 1 {
        write!(out, " in steps of {step}")?;
    }
    write!(out, ", at first {default}")?;
    if let Some(value) = control.value {
        write!(out, ", now {value}")?;
    }
    if control.read_only {
        write!(out, ", can only be read")?;
    }
    if control.inactive {
        write!(out, ", without effect now")?;
    }
    for (value, meaning) in &control.menu {
        write!(out, "; {value} {meaning}")?;
    }
    writeln!(out)
}
