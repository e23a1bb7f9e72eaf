//! The result: a table for people and JSON for programs.

use std::fmt;

use anyhow::bail;
use serde::Serialize;

use super::growth::{self, Growth};
use super::race::Samples;
use super::statistics::median;
use super::{EngineName, Machine, Setup};

/// What the others are compared with.
const REFERENCE: EngineName = EngineName::OrtLive;

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What it was measured on.
    pub machine: Machine,
    /// A row per engine and setting.
    pub rows: Vec<Row>,
    /// How the cost grows, if that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub growth: Vec<Growth>,
}

/// One engine at one setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The engine.
    pub engine: EngineName,
    /// Processor threads.
    pub threads: usize,
    /// Passes per frame, at most.
    pub passes: u32,
    /// What was measured.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What was measured of a row, or why nothing was.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// Its figures.
    Figures(Figures),
    /// It failed.
    Failed {
        /// Why, in one line.
        error: String,
    },
}

/// The figures of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Median over all frames, in milliseconds.
    pub ms_per_frame: f64,
    /// The fastest frame, in milliseconds.
    pub ms_min: f64,
    /// The slowest frame, in milliseconds.
    pub ms_max: f64,
    /// Passes per frame, on average.
    pub mean_passes: f64,
    /// The most memory the row's process held; that includes this program's own libraries.
    pub peak_rss_mib: Option<f64>,
    /// How many times faster than stock onnxruntime at the same threads and passes.
    pub ratio: Option<f64>,
}

impl Figures {
    /// `None` if there is no frame.
    fn new(samples: &Samples) -> Option<Self> {
        let passes = samples.passes.iter().map(|&passes| f64::from(passes));
        Some(Self {
            ms_per_frame: median(&samples.ms)?,
            ms_min: samples.ms.iter().copied().reduce(f64::min)?,
            ms_max: samples.ms.iter().copied().reduce(f64::max)?,
            mean_passes: passes.sum::<f64>() / samples.passes.len() as f64,
            peak_rss_mib: samples.peak_rss_mib,
            ratio: None,
        })
    }
}

impl Row {
    /// What was measured, if it was.
    #[must_use]
    pub fn figures(&self) -> Option<&Figures> {
        match &self.outcome {
            Outcome::Figures(figures) => Some(figures),
            Outcome::Failed { .. } => None,
        }
    }

    fn new(setup: &Setup, samples: Result<Samples, String>) -> Self {
        let figures = samples.and_then(|samples| {
            Figures::new(&samples).ok_or_else(|| "no frame was timed".to_owned())
        });
        Self {
            engine: setup.engine,
            threads: setup.threads,
            passes: setup.passes,
            outcome: match figures {
                Ok(figures) => Outcome::Figures(figures),
                Err(error) => Outcome::Failed { error },
            },
        }
    }
}

impl Report {
    /// Boils the samples of every setup down to its row.
    #[must_use]
    pub fn new(machine: Machine, setups: &[Setup], samples: Vec<Result<Samples, String>>) -> Self {
        let rows = setups.iter().zip(samples);
        let mut rows: Vec<Row> = rows.map(|(setup, row)| Row::new(setup, row)).collect();
        let references: Vec<Option<f64>> = rows
            .iter()
            .map(|row| milliseconds(&rows, REFERENCE, row.threads, row.passes))
            .collect();
        for (row, reference) in rows.iter_mut().zip(references) {
            if let Outcome::Figures(figures) = &mut row.outcome {
                figures.ratio = reference.map(|reference| reference / figures.ms_per_frame);
            }
        }
        Self {
            machine,
            rows,
            growth: Vec::new(),
        }
    }
}

/// The median of a row, if it was measured.
pub(super) fn milliseconds(
    rows: &[Row],
    engine: EngineName,
    threads: usize,
    passes: u32,
) -> Option<f64> {
    let mut rows = rows.iter();
    let row = rows.find(|row| (row.engine, row.threads, row.passes) == (engine, threads, passes));
    Some(row?.figures()?.ms_per_frame)
}

/// A number with three significant digits, as far as it has a fraction.
pub(super) fn short(value: f64) -> String {
    let digits = (2.0 - value.abs().max(1e-6).log10().floor()).clamp(0.0, 6.0);
    format!("{value:.*}", digits as usize)
}

/// `1 thread`, `2 threads`.
pub(super) fn threads(count: usize) -> String {
    format!("{count} thread{}", if count == 1 { "" } else { "s" })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        let mut before = None;
        for row in &self.rows {
            let group = (row.threads, row.passes);
            if before.replace(group) != Some(group) {
                writeln!(f, "\n{}, T = {}", threads(row.threads), row.passes)?;
                writeln!(
                    f,
                    "{:<16} {:>9} {:>9} {:>9} {:>8} {:>9} {:>11}",
                    "engine", "ms/frame", "least", "most", "passes", "peak MiB", "x ort-live"
                )?;
            }
            write!(f, "{:<16} ", row.engine)?;
            match &row.outcome {
                Outcome::Failed { error } => writeln!(f, "{error}")?,
                Outcome::Figures(figures) => {
                    let maybe = |value: Option<f64>, text: fn(f64) -> String| {
                        value.map_or("-".into(), text)
                    };
                    writeln!(
                        f,
                        "{:>9} {:>9} {:>9} {:>8.1} {:>9} {:>11}",
                        short(figures.ms_per_frame),
                        short(figures.ms_min),
                        short(figures.ms_max),
                        figures.mean_passes,
                        maybe(figures.peak_rss_mib, |mib| format!("{mib:.1}")),
                        maybe(figures.ratio, |ratio| format!("{ratio:.2}")),
                    )?;
                }
            }
        }
        growth::write_table(f, &self.growth)
    }
}

/// Fails if a row of `named` engines failed, or all rows did.
///
/// # Errors
/// The first of them.
pub fn check_rows(rows: &[Row], named: &[EngineName]) -> anyhow::Result<()> {
    let nothing = rows.iter().all(|row| row.figures().is_none());
    for row in rows {
        match &row.outcome {
            Outcome::Failed { error } if nothing || named.contains(&row.engine) => {
                bail!("{} could not be measured: {error}", row.engine)
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::bench) fn machine() -> Machine {
        Machine {
            cpu: Some("A <fast> & wide CPU".into()),
            cores: 2,
            memory_gib: Some(7.75),
            simd: vec!["avx2".into(), "fma".into()],
            os: Some("Some Linux".into()),
            load_average: Some(0.5),
        }
    }

    pub(in crate::bench) fn setup(engine: EngineName, threads: usize) -> Setup {
        Setup {
            model: "model.onnx".into(),
            engine,
            threads,
            passes: 100,
            in_flight: 1,
        }
    }

    /// tract 4 ms and stock onnxruntime 12 ms at T = 100 on one thread, 8 ms on two, where
    /// libtorch failed.
    pub(in crate::bench) fn report() -> Report {
        let samples = |ms: &[f64]| {
            Ok(Samples {
                ms: ms.to_vec(),
                passes: vec![100; ms.len()],
                peak_rss_mib: Some(40.0),
            })
        };
        Report::new(
            machine(),
            &[
                setup(EngineName::Tract, 1),
                setup(EngineName::OrtLive, 1),
                setup(EngineName::OrtLive, 2),
                setup(EngineName::TorchLoop, 2),
            ],
            vec![
                samples(&[5.0, 4.0, 3.5]),
                samples(&[12.0, 10.0, 14.0]),
                samples(&[8.0]),
                Err("it is not here".into()),
            ],
        )
    }

    #[test]
    fn figures_are_medians_and_ratios_are_times_faster() {
        let rows = report().rows;
        let figures = rows[0].figures().expect("measured");
        assert_eq!(
            (figures.ms_per_frame, figures.ms_min, figures.ms_max),
            (4.0, 3.5, 5.0)
        );
        assert_eq!((figures.ratio, figures.mean_passes), (Some(3.0), 100.0));
        let ratio = |row: &Row| row.figures().and_then(|figures| figures.ratio);
        assert_eq!((ratio(&rows[2]), ratio(&rows[3])), (Some(1.0), None));
    }

    #[test]
    fn the_table_has_a_heading_per_setting_and_aligned_columns() {
        let text = report().to_string();
        assert_eq!(text.matches("1 thread, T = 100").count(), 1, "{text}");
        assert_eq!(text.matches("2 threads, T = 100").count(), 1, "{text}");
        assert!(text.contains("torch-loop       it is not here"), "{text}");
        let rows = text.lines().filter(|line| {
            line.starts_with("engine") || line.starts_with("tract") || line.starts_with("ort-live")
        });
        let lengths: Vec<usize> = rows.map(str::len).collect();
        assert_eq!(lengths, [lengths[0]; 5], "{text}");
    }

    #[test]
    fn json_has_a_flat_object_per_row() {
        let json = serde_json::to_value(report()).expect("JSON");
        assert_eq!(json["rows"][0]["engine"], "tract");
        assert_eq!(json["rows"][0]["ms_per_frame"], 4.0);
        assert_eq!(json["rows"][3]["error"], "it is not here");
        assert_eq!(json.get("growth"), None);
    }

    #[test]
    fn failed_rows_matter_if_they_were_asked_for() {
        let rows = report().rows;
        assert!(check_rows(&rows, &[EngineName::Tract]).is_ok());
        assert!(check_rows(&rows, &[EngineName::TorchLoop]).is_err());
        assert!(check_rows(&rows[..3], &[]).is_ok());
        assert!(check_rows(&rows[3..], &[]).is_err());
    }

    #[test]
    fn numbers_have_three_digits() {
        let texts = [0.0123, 0.5, 1.0, 12.34, 123.4, 1234.0].map(short);
        assert_eq!(texts, ["0.0123", "0.500", "1.00", "12.3", "123", "1234"]);
    }
}
