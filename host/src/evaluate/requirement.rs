//! Limits that an evaluation must keep.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::judged::{Judged, Judgements, Run, Standard};
use super::report::{Report, figures};

/// A figure of the report that must be at least, or at most, a value: `accuracy>=0.99`,
/// `ood.auroc.predictive_entropy>=0.9`.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    metric: String,
    at_least: bool,
    value: f64,
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = match (text.split_once(">="), text.split_once("<=")) {
            (Some((metric, value)), None) => Some((metric, true, value)),
            (None, Some((metric, value))) => Some((metric, false, value)),
            _ => None,
        };
        let (metric, at_least, value) = parts.ok_or("not METRIC>=VALUE or METRIC<=VALUE")?;
        let (metric, value) = (metric.trim().to_owned(), value.trim());
        let number = value.parse().ok().filter(|value: &f64| value.is_finite());
        let requirement = Self {
            at_least,
            value: number.ok_or_else(|| format!("'{value}' is not a number"))?,
            metric,
        };
        // A name that is wrong is told before the work, not after it.
        let names = names();
        if names.contains(&requirement.metric) {
            Ok(requirement)
        } else {
            Err(format!(
                "'{}' is no metric: use one of {}",
                requirement.metric,
                names.join(", ")
            ))
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, value, .. } = self;
        write!(
            f,
            "{metric}{}{value}",
            if self.at_least { ">=" } else { "<=" }
        )
    }
}

impl Requirement {
    /// Whether the metric is one of frames out of distribution.
    #[must_use]
    pub fn needs_ood(&self) -> bool {
        self.metric.split('.').any(|key| key == "ood")
    }

    /// Holds, or says in one line what is not as required; `report` is a [`Report`] in JSON.
    ///
    /// # Errors
    /// If the metric is beyond the value, or is not defined for these frames.
    pub fn check(&self, report: &Value) -> Result<(), String> {
        match find(report, &self.metric).and_then(Value::as_f64) {
            Some(found) if self.at_least && found >= self.value => Ok(()),
            Some(found) if !self.at_least && found <= self.value => Ok(()),
            Some(found) => Err(format!("{self} is required, and it is {found}")),
            None => Err(format!(
                "{self} is required, and it is not defined for these frames"
            )),
        }
    }
}

/// What the report has under a name: keys joined by dots. A key may hold dots itself, as a level
/// does.
fn find<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    report.get(name).or_else(|| {
        name.match_indices('.').find_map(|(dot, _)| {
            let inner = report.get(&name[..dot])?;
            find(inner, &name[dot + 1..])
        })
    })
}

/// Every metric's name, as the report has them.
fn names() -> Vec<String> {
    // A frame out of distribution, so that there is everything a report can have.
    let frame = Judged {
        standard: Some(Standard::default()),
        ..Judged::default()
    };
    let judgements = Judgements {
        frames: vec![frame],
        run: Run::default(),
    };
    let figures = figures(&Report::new(&judgements)).unwrap_or_default();
    figures.into_iter().map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requirements_are_read_and_checked() {
        let report = json!({
            "accuracy": 0.99,
            "frames": 200,
            "accuracy_accepted": null,
            "ood": {"auroc": {"1-margin": 0.97}},
            "risk_at_coverage": {"1-margin": {"0.95": 0.002}},
        });
        let check = |text: &str| text.parse::<Requirement>().expect(text).check(&report);
        assert_eq!(check("accuracy>=0.99"), Ok(()));
        assert_eq!(check("accuracy <= 0.99"), Ok(()));
        assert_eq!(check("frames>=200"), Ok(()));
        assert_eq!(check("ood.auroc.1-margin>=0.9"), Ok(()));
        assert_eq!(check("risk_at_coverage.1-margin.0.95<=0.002"), Ok(()));
        assert_eq!(
            check("ood.auroc.1-margin<=0.9"),
            Err("ood.auroc.1-margin<=0.9 is required, and it is 0.97".into())
        );
        let undefined = check("accuracy_accepted>=0").expect_err("null");
        assert!(undefined.contains("not defined"), "{undefined}");
    }

    #[test]
    fn what_is_no_requirement_is_told() {
        let message = |text: &str| text.parse::<Requirement>().expect_err(text);
        assert!(message("accuracy=1").contains("METRIC>=VALUE"));
        assert!(message("0.5<=accuracy>=1").contains("METRIC>=VALUE"));
        assert!(message("accuracy>=high").contains("'high'"));
        assert!(message("accuracy>=NaN").contains("'NaN'"));
        assert!(message("engine>=1").contains("'engine' is no metric"));
        let named = message("acuracy>=1");
        assert!(named.contains("'acuracy'") && named.contains("ood.fpr95.1-confidence"));
        assert!(
            named.contains("flags.low-contrast") && !named.contains('\n'),
            "{named}"
        );
    }
}
