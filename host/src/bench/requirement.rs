//! Limits that a report has to keep.

use std::str::FromStr;

use anyhow::{Context, ensure};

use super::report::{Report, milliseconds, short};
use super::{EngineName, Setup, USUAL_PASSES};

/// How many times faster than another an engine has to be, at T = 100 on one thread:
/// `engine/other=ratio`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Requirement {
    engine: EngineName,
    other: EngineName,
    ratio: f64,
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || format!("'{text}' is not of the form engine/engine=ratio");
        let (engines, ratio) = text.split_once('=').ok_or_else(form)?;
        let (engine, other) = engines.split_once('/').ok_or_else(form)?;
        let ratio = ratio
            .parse()
            .ok()
            .filter(|r: &f64| r.is_finite() && *r > 0.0);
        Ok(Self {
            engine: engine.parse()?,
            other: other.parse()?,
            ratio: ratio.ok_or_else(form)?,
        })
    }
}

impl Requirement {
    /// # Errors
    /// Its engines are not among `setups`, at T = 100 on one thread.
    pub fn check_measured_by(&self, setups: &[Setup]) -> anyhow::Result<()> {
        for engine in [self.engine, self.other] {
            let wanted = (engine, 1, USUAL_PASSES);
            let mut setups = setups.iter();
            ensure!(
                setups.any(|setup| (setup.engine, setup.threads, setup.passes) == wanted),
                "--require compares at T = {USUAL_PASSES} on one thread, and {engine} is not measured there"
            );
        }
        Ok(())
    }

    /// # Errors
    /// The engine is not that much faster, or one of the two could not be measured.
    pub fn check(&self, report: &Report) -> anyhow::Result<()> {
        let ms = |engine| {
            milliseconds(&report.rows, engine, 1, USUAL_PASSES)
                .with_context(|| format!("--require: {engine} could not be measured"))
        };
        let Self {
            engine,
            other,
            ratio,
        } = *self;
        let found = ms(other)? / ms(engine)?;
        ensure!(
            found >= ratio,
            "{engine} is {} times as fast as {other}, and {ratio} times is required",
            short(found)
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::{report, setup};

    #[test]
    fn requirements_are_read_and_checked() {
        let check = |text: &str| {
            let requirement: Requirement = text.parse().expect("well formed");
            requirement.check(&report()).map_err(|e| e.to_string())
        };
        let setups = [setup(EngineName::Tract, 1), setup(EngineName::OrtLive, 2)];
        let planned = |text: &str| {
            let requirement: Requirement = text.parse().expect("well formed");
            requirement.check_measured_by(&setups).is_ok()
        };
        assert!(planned("tract/tract=1") && !planned("tract/ort-live=1"));
        assert_eq!(check("tract/ort-live=3"), Ok(()));
        let error = check("tract/ort-live=3.1").expect_err("too slow");
        assert!(error.contains("3.00 times as fast"), "{error}");
        let error = check("torch-loop/tract=1").expect_err("not there on one thread");
        assert!(
            error.contains("torch-loop could not be measured"),
            "{error}"
        );
        for text in [
            "tract=3",
            "tract/ort-live",
            "tract/magic=1",
            "tract/tract=-1",
        ] {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
    }
}
