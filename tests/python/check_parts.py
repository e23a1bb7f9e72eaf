"""Checks stem, head and whole graph as device::onnx writes them, with the official tools.

    python check_parts.py FOLDER

FOLDER holds NAME.stem.onnx, NAME.head.onnx and NAME.whole.onnx for any number of names. Each has to
pass the onnx checker with shape inference, run in stock onnxruntime with its default options, and
stem and head together have to give what the whole graph gives.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

PASSES = 40


def session(path):
    onnx.checker.check_model(str(path), full_check=True)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def shape(declared, sizes):
    return [sizes[d] if isinstance(d, str) else d for d in declared.shape]


def check(folder, name):
    stem, head, whole = (session(folder / f"{name}.{part}.onnx") for part in ("stem", "head", "whole"))
    random = np.random.default_rng(1)
    image, *masks = whole.get_inputs()
    assert all(mask.name.startswith("keep_mask.") for mask in masks) and masks, name
    masks = {m.name: random.integers(0, 2, shape(m, {"passes": PASSES})).astype(np.float32) for m in masks}
    one = random.random(shape(image, {"images": 1}), dtype=np.float32)
    crossing = dict(zip([o.name for o in stem.get_outputs()], stem.run(None, {image.name: one})))
    [logits] = head.run(["logits"], crossing | masks)
    assert logits.shape[0] == PASSES and len(np.unique(logits, axis=0)) > 1, name
    # One image for all passes, and one for each.
    for images in (one, np.repeat(one, PASSES, axis=0)):
        [together] = whole.run(["logits"], {image.name: images} | masks)
        np.testing.assert_allclose(together, logits, rtol=1e-4, atol=1e-5, err_msg=name)


def main():
    folder = Path(sys.argv[1])
    names = sorted(path.name.removesuffix(".whole.onnx") for path in folder.glob("*.whole.onnx"))
    for name in names:
        check(folder, name)
    print(len(names))


if __name__ == "__main__":
    main()
