//! `host evaluate`: how good a model's answers and its uncertainty are.

use device::onnx::EndOptions;
use device::preprocessing::PreprocessingOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{bail, ensure};
use shared::stopping::Delta;

use super::engine::EngineArgs;
use super::long::{Threads, interrupted, progress_bar, stop_flag};
use crate::data::DatasetName;
use crate::evaluate::{
    FEWEST_RESAMPLES, Frames, Report, Requirement, Setup, bootstrap, judge_both_phases,
    judge_with_outputs, write_records,
};

/// Measure how good a model's answers are, and its uncertainty.
///
/// Test images go through the device's own frame loop on the engine chosen, so what is measured is
/// what is deployed. Image i is frame i, which selects its masks: every engine, and any number of
/// threads, sees the same ones.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Metrics, as --json and --require name them (T passes; p = mean probabilities, z = mean raw outputs):
  accuracy                        share of frames whose highest p is that of their label
  nll                             mean of -ln p[label], nats
  nll_mean_logits                 mean of -ln softmax(z)[label], nats: the loss that host train tells
  ece                             expected calibration error, 15 bins of equal width (Guo et al. 2017)
  adaptive_ece                    the same with bins of equal mass (Nguyen and O'Connor 2015)
  brier                           sum over classes of (p - truth)², 0 to 2 (Brier 1950)
  aurc                            area under the risk-coverage curve, frames taken in the order of
                                  their predictive entropy (Geifman and El-Yaniv 2017)
  aurc_by_score.SCORE             the same in the order of any score
  e_aurc.SCORE                    how much that is above a perfect order's (Geifman et al. 2019)
  risk_at_coverage.SCORE.LEVEL    error rate among the LEVEL surest: 0.8, 0.9, 0.95 or 0.99 of all
  coverage_at_risk.SCORE.LEVEL    most that can be answered at an error rate of 0.001, 0.005 or 0.01
  auroc_misclassification.SCORE   how well a score tells wrong answers from right ones
  aupr_misclassification.SCORE    the same as average precision, wrong answers being the positives
  fpr95_misclassification.SCORE   share of wrong answers let through by the limit that lets 95 % of
                                  the right ones through
  mean_passes                     passes per frame
  accepted, accuracy_accepted     share of frames the thresholds accept; accuracy among them
  flags.CAUSE                     frames flagged for a cause, such as flags.uncertain
  ood.auroc.SCORE                 with --ood: how well a score tells its frames from the data set's
  ood.aupr.SCORE                  the same as average precision, its frames being the positives
  ood.fpr95.SCORE                 share of its frames let through by the limit that lets 95 % of the
                                  data set's through
  ood.accepted                    share of its frames the thresholds accept
  standard.METRIC                 any of these but nll_mean_logits, accepted, passes and flags, in
                                  the standard test phase: one pass, all units active
  engine, datasets, ood_datasets, seed, passes, adaptive_delta
                                  what was run (adaptive_delta is null without --adaptive)
  frames, frames_per_second, seconds, threads
                                  frames judged in all, and how fast, without loading and without
                                  the standard test phase
SCORE is predictive_entropy, mutual_information, expected_entropy, variation_ratio, 1-confidence,
1-margin or standard_deviation (of the winning class's probability over the passes); without passes
there are predictive_entropy, 1-confidence and 1-margin. Frames with equal scores count in the mean
of their orders.

intervals holds, under the same names, 95 % percentile bootstrap intervals (Efron and Tibshirani
1993): what the metrics might have been had other frames been drawn, the data set's and those of
--ood separately. They say nothing about training the model again.

--records writes a line per frame: frame, set, index in it, label (null if out of distribution),
class, probabilities and logits (means over the passes, at full precision), scores, causes, passes,
and standard: class, probabilities, logits and scores.

Exit codes: 0 done, 1 failed or a --require does not hold, 2 wrong usage, 130 interrupted.

Examples:
  host evaluate --model out/model.onnx
  host evaluate --model out/model.onnx --engine ort --ood fashion-mnist --json
  host evaluate --model out/model.onnx --limit 1000 --require 'accuracy>=0.98' --require 'ece<=0.03'
  host evaluate --model out/model.onnx --adaptive --delta 1e-3
  host evaluate --model out/model.onnx --ood pictures/ --records frames.jsonl
  host evaluate --model out --engine torch          the weights that the model was exported from")]
pub struct Args {
    /// ONNX classifier with live dropout; for torch also a model.safetensors or its folder.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    engine: EngineArgs,
    /// Stochastic passes per frame (T).
    #[arg(long, value_name = "T", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    passes: u32,
    /// Stop sampling a frame when its class and verdict are settled; T is the most, then.
    #[arg(long)]
    adaptive: bool,
    /// With --adaptive: the probability with which a decision may differ from that of all passes.
    #[arg(long, value_name = "PROBABILITY", requires = "adaptive", default_value_t = Delta::DEFAULT)]
    delta: Delta,
    /// mnist, fashion-mnist, gtsrb, cifar10, or a folder with one sub-folder of images per class: its
    /// test images, or all where it is not divided. Classes are found by name.
    #[arg(long, default_value = "mnist")]
    dataset: DatasetName,
    /// A data set that the model does not know, to be told from the other by its uncertainty; also a
    /// folder of images without classes.
    #[arg(long, value_name = "DATASET")]
    ood: Option<DatasetName>,
    /// The first N images only, of each data set.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    threads: Threads,
    /// Seed of the dropout masks; the model's own if not given.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    ends: EndOptions,
    #[command(flatten)]
    preprocessing: PreprocessingOptions,
    /// Passes per batch of the engine; less takes less memory.
    #[arg(long, value_name = "B", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    block: u32,
    /// Bootstrap resamples for the 95 % intervals of the metrics; 0 for no intervals.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = resamples)]
    bootstrap: u32,
    /// Write what the network said about each frame, as JSON lines.
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Fail unless this holds: METRIC>=VALUE or METRIC<=VALUE. May be given several times.
    #[arg(long, value_name = "LIMIT")]
    require: Vec<Requirement>,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Evaluates.
///
/// # Errors
/// The model or a data set cannot be used, a frame cannot be judged, or a requirement does not
/// hold.
pub fn run(args: Args) -> anyhow::Result<()> {
    args.engine.check()?;
    let lonely = args.require.iter().find(|limit| limit.needs_ood());
    if let (Some(limit), None) = (lonely, &args.ood) {
        bail!("--require '{limit}' needs --ood");
    }
    ensure!(
        args.model.exists(),
        "there is no model {}",
        args.model.display()
    );
    let threads = args.threads.count()?;
    let setup = Setup {
        model: args.model,
        engine: args.engine.engine,
        ort: args.engine.ort,
        passes: args.passes,
        adaptive: args.adaptive.then_some(args.delta),
        block: args.block,
        seed: args.seed,
        preprocessing: args.preprocessing.clone(),
        ends: args.ends.clone(),
    };
    let frames = Frames::load(
        &args.dataset,
        args.ood.as_ref(),
        args.limit.map(|limit| limit as usize),
        setup.training().as_ref(),
    )?;
    let stop = stop_flag()?;
    let bar = progress_bar("judging", frames.len() as u64, 0);
    let advance = |frames| bar.inc(frames);
    // Outputs are kept only where they are asked for: classes make them large.
    let judged = match &args.records {
        None => judge_both_phases(&setup, &frames, threads, &stop, &advance)
            .map(|judged| judged.map(|judgements| (judgements, None))),
        Some(path) => judge_with_outputs(&setup, &frames, threads, &stop, &advance)
            .map(|judged| judged.map(|(judgements, outputs)| (judgements, Some((path, outputs))))),
    };
    bar.finish_and_clear();
    let Some((judgements, records)) = judged? else {
        interrupted();
    };
    if let Some((path, outputs)) = records {
        write_records(path, &frames, &judgements.frames, &outputs)?;
    }

    let mut report = Report::new(&judgements);
    if args.bootstrap > 0 {
        let bar = progress_bar("resampling", args.bootstrap.into(), 0);
        let advance = |resamples| bar.inc(resamples);
        let found = bootstrap(&judgements.frames, args.bootstrap, threads, &stop, &advance);
        bar.finish_and_clear();
        report.intervals = Some(match found? {
            Some(intervals) => intervals,
            None => interrupted(),
        });
    }
    let values = serde_json::to_value(&report)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        writeln!(out, "{report}")?;
    }
    let broken: Vec<String> = args
        .require
        .iter()
        .filter_map(|requirement| requirement.check(&values).err())
        .collect();
    ensure!(broken.is_empty(), "{}", broken.join("; "));
    Ok(())
}

/// A number of resamples that intervals can be told from, or none.
pub(super) fn resamples(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if number == 0 || number >= FEWEST_RESAMPLES => Ok(number),
        _ => Err(format!("use 0, or {FEWEST_RESAMPLES} resamples or more")),
    }
}
