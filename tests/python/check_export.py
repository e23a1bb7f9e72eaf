"""Checks an exported model with the official tools: the onnx checker, and stock onnxruntime.

Usage: check_export.py live|masks|split FILE...

Prints one JSON object of what was measured; fails with a message otherwise.
"""

import json
import math
import sys

import numpy
import onnx
import onnxruntime

BATCH = 3
RUNS = 40


def load(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return model


def sites(model):
    entries = {entry.key: entry.value for entry in model.metadata_props}
    found = json.loads(entries["mcdropout.sites"])
    assert found, "no dropout sites in the metadata"
    return found


def session(path):
    # Default options: every optimisation that a user gets is on, EliminateDropout among them.
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def images(shape=(BATCH, 1, 28, 28)):
    return numpy.random.default_rng(1).normal(size=shape).astype(numpy.float32)


def live(path):
    """Dropout is live at every site, with the keep rate that it should have."""
    model = load(path)
    described = sites(model)
    ratios = {node.name: node for node in model.graph.node if node.op_type == "Dropout"}
    assert set(ratios) == {site["name"] for site in described}, (set(ratios), described)
    runtime = session(path)
    assert [entry.name for entry in runtime.get_inputs()] == ["image"]
    masks = [f"keep_mask.{site['name']}" for site in described]
    assert [entry.name for entry in runtime.get_outputs()] == ["logits", *masks]

    feed = {"image": images()}
    # What a user runs: the logits only. Then with the masks, to look into each site.
    plain = [runtime.run(["logits"], feed)[0] for _ in range(4)]
    assert plain[0].shape == (BATCH, 10), plain[0].shape
    assert all(numpy.any(plain[0] != other) for other in plain[1:]), "logits repeat: dropout is off"
    single = runtime.run(["logits"], {"image": feed["image"][:1]})[0]
    assert single.shape == (1, 10), "the batch is not dynamic"

    runs = [runtime.run(masks, feed) for _ in range(RUNS)]
    report = {}
    for index, site in enumerate(described):
        drawn = numpy.stack([run[index] for run in runs])
        assert drawn.shape == (RUNS, BATCH, *site["shape"]), drawn.shape
        assert drawn.dtype == numpy.bool_, drawn.dtype
        assert all(numpy.any(drawn[0] != other) for other in drawn[1:]), f"{site['name']} repeats"
        assert numpy.any(drawn[:, 0] != drawn[:, 1]), f"{site['name']}: images share a mask"
        keep = site["keep_bits"] / 65536
        deviation = math.sqrt(keep * (1 - keep) / drawn.size)
        sigmas = (drawn.mean() - keep) / deviation
        assert abs(sigmas) <= 5, f"{site['name']} keeps {drawn.mean()}, not {keep}: {sigmas} sigma"
        report[site["name"]] = {"keep": keep, "measured": float(drawn.mean()), "sigmas": float(sigmas)}
    return report


def reference(model, image, keep_masks):
    """The logits by the formula, in float64, from the weights in the file and given masks."""
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}

    def conv(x, name):
        kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        windows = numpy.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(2, 3))
        return numpy.einsum("bchwij,ocij->bohw", windows, kernel) + bias[:, None, None]

    def pool(x):
        batch, channels, height, width = x.shape
        return numpy.maximum(x.reshape(batch, channels, height // 2, 2, width // 2, 2).max((3, 5)), 0)

    def drop(x, site):
        return x * keep_masks[site["name"]] / (site["keep_bits"] / 65536)

    first, second, third = sites(model)
    x = pool(drop(conv(image.astype(numpy.float64), "conv1"), first))
    x = pool(drop(conv(x, "conv2"), second))
    x = numpy.maximum(x.reshape(len(x), -1) @ weights["fc1.weight"].T + weights["fc1.bias"], 0)
    return drop(x, third) @ weights["fc2.weight"].T + weights["fc2.bias"]


def drawn_masks(described, passes):
    generator = numpy.random.default_rng(2)
    return {
        site["name"]: (generator.random((passes, *site["shape"])) < site["keep_bits"] / 65536).astype(numpy.float32)
        for site in described
    }


def agree(logits, model, image, keep_masks):
    expected = reference(model, image, keep_masks)
    difference = float(numpy.abs(logits - expected).max())
    assert difference < 1e-4, f"logits differ by {difference}"
    return {"largest_difference": difference}


def masks(path, live_path):
    """With masks as inputs the model computes what the formula says."""
    described = sites(load(path))
    image, keep_masks = images((1, 1, 28, 28)), drawn_masks(described, 5)
    feed = {f"keep_mask.{name}": mask for name, mask in keep_masks.items()}
    logits = session(path).run(["logits"], {"image": image, **feed})[0]
    return agree(logits, onnx.load(live_path), image, keep_masks)


def split(stem_path, head_path, live_path):
    """Stem, then head, is the same."""
    load(stem_path)
    described = sites(load(head_path))
    image, keep_masks = images((1, 1, 28, 28)), drawn_masks(described, 5)
    stem, head = session(stem_path), session(head_path)
    crossing = dict(zip((entry.name for entry in stem.get_outputs()), stem.run(None, {"image": image})))
    feed = {f"keep_mask.{name}": mask for name, mask in keep_masks.items()}
    logits = head.run(["logits"], {**crossing, **feed})[0]
    return agree(logits, onnx.load(live_path), image, keep_masks)


print(json.dumps({"live": live, "masks": masks, "split": split}[sys.argv[1]](*sys.argv[2:])))
