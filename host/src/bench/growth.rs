//! How the cost of a frame grows with the passes, the network's width, and the frames in flight.

use std::fmt;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use shared::image::Normalisation;

use super::race::Race;
use super::report::short;
use super::statistics::{exponent, median};
use super::{EngineName, Setup, USUAL_PASSES, machine};
use crate::data::{Purpose, Random};
use crate::lenet::{Architecture, Parameter, SITES, TrainedModel};
use crate::{export, files};

const PASSES: [u32; 7] = [1, 3, 10, 32, 100, 316, 1000];
const WIDTHS: [usize; 4] = [1, 2, 4, 8];

/// What is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// Stochastic passes per frame (T), on one thread.
    Passes,
    /// Width of the LeNet: 10·x and 20·x channels, 50·x hidden units; T = 100, on one thread.
    Width,
    /// Frames judged at the same time, each on one thread; T = 100. The milliseconds are those of
    /// the round, divided by all its frames.
    Frames,
}

impl Axis {
    const ALL: [Self; 3] = [Self::Passes, Self::Width, Self::Frames];

    const fn title(self) -> &'static str {
        match self {
            Self::Passes => "passes a frame, 1 thread",
            Self::Width => "times the LeNet's width, T = 100, 1 thread",
            Self::Frames => "frames in flight, T = 100, 1 thread each",
        }
    }
}

/// One engine along one axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Growth {
    /// What was varied.
    pub axis: Axis,
    /// The engine.
    pub engine: EngineName,
    /// What was measured.
    pub points: Vec<Point>,
    /// b of ms = a·xᵇ through the points; `None` of fewer than two.
    pub exponent: Option<f64>,
    /// Why points are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One place on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Passes, times the width, or frames in flight.
    pub x: usize,
    /// Median, in milliseconds.
    pub ms_per_frame: f64,
}

/// Measures `engines` along every axis; all engines and places of an axis take turns. `model` is
/// what the other two axes than the width are measured with.
///
/// # Errors
/// [`super::Interrupted`], or a model cannot be written to the temporary folder.
pub fn measure_growth(
    race: &Race<'_>,
    model: &Path,
    engines: &[EngineName],
) -> anyhow::Result<Vec<Growth>> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let wide = |width: usize| folder.path().join(format!("lenet-{width}.onnx"));
    for width in WIDTHS {
        files::write(&wide(width), &export::to_onnx(&lenet(width))?)?;
    }
    let mut all = Vec::new();
    for axis in Axis::ALL {
        let usual = |engine| Setup {
            model: model.into(),
            engine,
            threads: 1,
            passes: USUAL_PASSES,
            in_flight: 1,
        };
        let setups = |engine: &EngineName| -> Vec<(usize, Setup)> {
            let usual = usual(*engine);
            let along = |x: usize| match axis {
                Axis::Passes => Setup {
                    passes: x as u32,
                    ..usual.clone()
                },
                Axis::Width => Setup {
                    model: wide(x),
                    ..usual.clone()
                },
                Axis::Frames => Setup {
                    in_flight: x,
                    ..usual.clone()
                },
            };
            let places = match axis {
                Axis::Passes => PASSES.map(|passes| passes as usize).to_vec(),
                Axis::Width => WIDTHS.to_vec(),
                Axis::Frames => frames_in_flight(machine::cores()),
            };
            places.into_iter().map(|x| (x, along(x))).collect()
        };
        // The limit of one frame is computed; of several at the same time there is none to compute.
        let of_frame = |engine: &&EngineName| (axis, **engine) != (Axis::Frames, EngineName::Limit);
        let engines: Vec<EngineName> = engines.iter().filter(of_frame).copied().collect();
        let places: Vec<(usize, Setup)> = engines.iter().flat_map(setups).collect();
        let setups: Vec<Setup> = places.iter().map(|(_, setup)| setup.clone()).collect();
        let mut samples = race.run(axis.title(), &setups)?.into_iter().zip(&places);
        for &engine in &engines {
            let mut growth = Growth {
                axis,
                engine,
                points: Vec::new(),
                exponent: None,
                error: None,
            };
            for (samples, (x, _)) in samples.by_ref().take(places.len() / engines.len()) {
                match samples.map(|samples| median(&samples.ms)) {
                    Ok(Some(ms_per_frame)) => growth.points.push(Point {
                        x: *x,
                        ms_per_frame,
                    }),
                    Ok(None) => {}
                    Err(error) => growth.error = Some(error),
                }
            }
            let points = growth.points.iter().map(|p| (p.x as f64, p.ms_per_frame));
            growth.exponent = exponent(&points.collect::<Vec<_>>());
            all.push(growth);
        }
    }
    Ok(all)
}

/// Powers of two up to the number of cores, and that number.
fn frames_in_flight(cores: usize) -> Vec<usize> {
    let powers = (0..usize::BITS).map(|bit| 1 << bit);
    powers.take_while(|&n| n < cores).chain([cores]).collect()
}

/// A LeNet of random weights, `width` times as wide.
fn lenet(width: usize) -> TrainedModel {
    let architecture = Architecture {
        classes: 10,
        dropout: [0.5; SITES],
    };
    let mut random = Random::new(1, Purpose::Weights, width as u64);
    let mut bound = 0.0;
    let parameters = architecture.parameters().map(|(name, mut shape)| {
        if name.starts_with("fc2") {
            shape[1..].iter_mut().for_each(|inputs| *inputs *= width);
        } else {
            shape[0] *= width;
        }
        if matches!(name, "conv2.weight" | "fc1.weight") {
            shape[1] *= width;
        }
        // As PyTorch draws them: ±1/√(inputs of a unit), the bias like its weight.
        if shape.len() > 1 {
            bound = 1.0 / (shape[1..].iter().product::<usize>() as f64).sqrt();
        }
        let values = 0..shape.iter().product();
        Parameter {
            name: name.into(),
            values: values
                .map(|_| random.between(-bound, bound) as f32)
                .collect(),
            shape,
        }
    });
    TrainedModel {
        architecture,
        parameters: parameters.into(),
        labels: (0..10).map(|digit| digit.to_string()).collect(),
        normalisation: Normalisation::MNIST,
        seed: 1,
        thresholds: None,
        calibration: None,
        training: None,
    }
}

/// The axes' tables: a row per engine, a column per place.
pub(super) fn write_table(f: &mut fmt::Formatter<'_>, all: &[Growth]) -> fmt::Result {
    for axis in Axis::ALL {
        let rows: Vec<&Growth> = all.iter().filter(|growth| growth.axis == axis).collect();
        let mut places: Vec<usize> = rows.iter().flat_map(|g| &g.points).map(|p| p.x).collect();
        places.sort_unstable();
        places.dedup();
        if rows.is_empty() {
            continue;
        }
        write!(f, "\nms/frame by {}\n{:<16}", axis.title(), "engine")?;
        for x in &places {
            write!(f, " {x:>8}")?;
        }
        writeln!(f, " {:>9}", "exponent")?;
        for row in rows {
            write!(f, "{:<16}", row.engine)?;
            for x in &places {
                let point = row.points.iter().find(|point| point.x == *x);
                let text = point.map_or("-".into(), |point| short(point.ms_per_frame));
                write!(f, " {text:>8}")?;
            }
            let exponent = row.exponent.map_or("-".into(), |b| format!("{b:.2}"));
            write!(f, " {exponent:>9}")?;
            match &row.error {
                Some(error) => writeln!(f, "  {error}")?,
                None => writeln!(f)?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use device::onnx::Model;

    use super::*;
    use crate::bench::report::tests::report;

    #[test]
    fn wide_networks_are_models() {
        for width in WIDTHS {
            let bytes = export::to_onnx(&lenet(width)).expect("exported");
            let model = Model::from_bytes(&bytes).expect("read back");
            let shapes: Vec<Vec<usize>> = model.sites().iter().map(|s| s.shape.clone()).collect();
            let expected = [
                vec![10 * width, 24, 24],
                vec![20 * width, 8, 8],
                vec![50 * width],
            ];
            assert_eq!(shapes, expected);
        }
    }

    #[test]
    fn frames_in_flight_end_with_the_cores() {
        assert_eq!(frames_in_flight(1), [1]);
        assert_eq!(frames_in_flight(2), [1, 2]);
        assert_eq!(frames_in_flight(6), [1, 2, 4, 6]);
    }

    #[test]
    fn the_table_has_a_column_per_place() {
        let growth = |engine, places: &[(usize, f64)], error: Option<&str>| Growth {
            axis: Axis::Passes,
            engine,
            points: places
                .iter()
                .map(|&(x, ms_per_frame)| Point { x, ms_per_frame })
                .collect(),
            exponent: (places.len() > 1).then_some(0.5),
            error: error.map(str::to_owned),
        };
        let mut report = report();
        report.growth = vec![
            growth(EngineName::Tract, &[(1, 2.0), (4, 4.0)], None),
            growth(EngineName::OrtLive, &[(4, 5.0)], Some("too large")),
        ];
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().rev().take(4).collect();
        assert_eq!(lines[3], "ms/frame by passes a frame, 1 thread");
        assert_eq!(lines[2], "engine                  1        4  exponent");
        assert_eq!(lines[1], "tract                2.00     4.00      0.50");
        assert_eq!(
            lines[0],
            "ort-live                -     5.00         -  too large"
        );
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["growth"][0]["points"][1]["x"], 4);
        assert_eq!(json["growth"][0]["axis"], "passes");
    }
}
