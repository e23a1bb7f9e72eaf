"""Works every metric of `host evaluate` out again, in float64, from the records it wrote.

Usage: check_metrics.py FILE < metrics.json

AUROC, AUPR, log-loss and Brier score are scikit-learn's; the others are written down here from
their definitions, frame by frame. Prints one JSON object: how many figures were compared, and the
largest difference.
"""

import json
import math
import sys

import numpy
from sklearn.metrics import accuracy_score, average_precision_score, brier_score_loss, log_loss, roc_auc_score

BINS = 15
TOLERANCE = 1e-6


def read(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def expected_calibration_error(confidence, correct):
    bins = numpy.clip(numpy.ceil(confidence * BINS).astype(int), 1, BINS)
    gaps = [abs((correct[bins == m] - confidence[bins == m]).sum()) for m in range(1, BINS + 1)]
    return sum(gaps) / len(confidence)


def expected(scores, values):
    """Of each frame in the order of the scores the value to expect where equal scores are shuffled."""
    order = numpy.argsort(scores, kind="stable")
    _, group = numpy.unique(scores[order], return_inverse=True)
    means = numpy.bincount(group, weights=values[order]) / numpy.bincount(group)
    return means[group]


def adaptive_calibration_error(confidence, correct):
    gaps = expected(confidence, correct - confidence)
    n = len(gaps)
    limits = [m * n // BINS for m in range(BINS + 1)]
    return sum(abs(gaps[a:b].sum()) for a, b in zip(limits, limits[1:])) / n


def fpr95(scores, positive):
    """Positives at or below the lowest limit that keeps 95 % of the negatives."""
    negatives, positives = numpy.sort(scores[~positive]), scores[positive]
    limit = negatives[math.ceil(0.95 * len(negatives)) - 1]
    return (positives <= limit).mean()


def told_apart(name, scores, positive):
    both = 0 < positive.sum() < len(positive)
    return {
        name.format("auroc"): float(roc_auc_score(positive, scores)) if both else None,
        name.format("aupr"): float(average_precision_score(positive, scores)) if both else None,
        name.format("fpr95"): float(fpr95(scores, positive)) if both else None,
    }


def selective(score, scores, wrong):
    n, errors = len(wrong), int(wrong.sum())
    covered = numpy.arange(1, n + 1)
    risk = numpy.cumsum(expected(scores, wrong.astype(float))) / covered
    perfect = numpy.cumsum(numpy.sort(wrong)) / covered
    figures = {f"aurc_by_score.{score}": risk.mean(), f"e_aurc.{score}": risk.mean() - perfect.mean()}
    for level in ("0.8", "0.9", "0.95", "0.99"):
        figures[f"risk_at_coverage.{score}.{level}"] = risk[max(math.ceil(float(level) * n - 1e-9), 1) - 1]
    for level in ("0.001", "0.005", "0.01"):
        few = numpy.flatnonzero(risk <= float(level) + 1e-12)
        figures[f"coverage_at_risk.{score}.{level}"] = (few[-1] + 1) / n if len(few) else 0.0
    return figures


def phase(known, foreign):
    """The metrics of one test phase; `known` are its records with labels, and the labels."""
    records, labels = known
    p = numpy.array([record["probabilities"] for record in records])
    correct = p.argmax(1) == labels
    assert numpy.array_equal(p.argmax(1), [record["class"] for record in records])
    confidence, classes = p.max(1), range(p.shape[1])
    figures = {
        "accuracy": accuracy_score(labels, p.argmax(1)),
        # A mean of probabilities adds up to one but for its last digits.
        "nll": log_loss(labels, p / p.sum(1, keepdims=True), labels=classes),
        "brier": brier_score_loss(labels, p / p.sum(1, keepdims=True), labels=classes, scale_by_half=False),
        "ece": expected_calibration_error(confidence, correct),
        "adaptive_ece": adaptive_calibration_error(confidence, correct),
    }
    wrong = ~correct
    for score in records[0]["scores"]:
        values = numpy.array([record["scores"][score] for record in records])
        figures |= told_apart(f"{{}}_misclassification.{score}", values, wrong)
        figures |= selective(score, values, wrong)
        if foreign:
            every = numpy.concatenate([values, [record["scores"][score] for record in foreign]])
            positive = numpy.arange(len(every)) >= len(values)
            figures |= told_apart(f"ood.{{}}.{score}", every, positive)
    figures["aurc"] = figures["aurc_by_score.predictive_entropy"]

    # The scores that follow from the probabilities do.
    with numpy.errstate(divide="ignore", invalid="ignore"):
        entropy = -numpy.nansum(p * numpy.log(p), 1)
    top = numpy.sort(p, 1)
    for name, value in {
        "predictive_entropy": entropy,
        "1-confidence": 1 - top[:, -1],
        "1-margin": 1 - (top[:, -1] - top[:, -2]),
    }.items():
        told = numpy.array([record["scores"][name] for record in records])
        assert numpy.abs(told - value).max() < 1e-9, name
    return figures


def metrics(records):
    known = [record for record in records if record["label"] is not None]
    foreign = [record for record in records if record["label"] is None]
    labels = numpy.array([record["label"] for record in known])
    figures = phase((known, labels), foreign)
    standard = phase(([record["standard"] for record in known], labels), [r["standard"] for r in foreign])
    figures |= {f"standard.{name}": value for name, value in standard.items()}

    logits = numpy.array([record["logits"] for record in known])
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - numpy.log(numpy.exp(shifted).sum(1, keepdims=True))
    figures["nll_mean_logits"] = -log_p[numpy.arange(len(labels)), labels].mean()
    figures["mean_passes"] = numpy.mean([record["passes"] for record in known])
    accepted = [record for record in known if not record["causes"]]
    figures["accepted"] = len(accepted) / len(known)
    right = [record["class"] == record["label"] for record in accepted]
    figures["accuracy_accepted"] = numpy.mean(right) if right else None
    if foreign:
        figures["ood.accepted"] = numpy.mean([not record["causes"] for record in foreign])
    return figures, known


def flatten(value, name=""):
    for key, inner in value.items():
        full = f"{name}.{key}" if name else key
        if isinstance(inner, dict):
            yield from flatten(inner, full)
        else:
            yield full, inner


def main():
    report = json.load(sys.stdin)
    records = read(sys.argv[1])
    assert [record["frame"] for record in records] == list(range(report["frames"]))
    figures, known = metrics(records)

    run = {"engine", "datasets", "ood_datasets", "seed", "passes", "adaptive_delta"}
    run |= {"frames", "frames_per_second", "seconds", "threads", "intervals"}
    told = dict(flatten({key: value for key, value in report.items() if key not in run}))
    for cause in report["flags"]:
        figures[f"flags.{cause}"] = sum(cause in record["causes"] for record in known)
    assert set(told) == set(figures), set(told) ^ set(figures)
    worst, where = 0.0, None
    for name, value in figures.items():
        if value is None or told[name] is None:
            assert value is None and told[name] is None, f"{name}: {told[name]}, not {value}"
            continue
        difference = abs(told[name] - value)
        assert difference <= TOLERANCE, f"{name}: {told[name]}, not {value}"
        if difference > worst:
            worst, where = float(difference), name
    print(json.dumps({"compared": len(figures), "largest_difference": worst, "of": where}))


main()
