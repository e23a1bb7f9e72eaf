"""Pillow's side of `scripts/bench pictures`, and the interleaved run.

Both scale the same picture of 640×480 to 224×224, bilinear with antialiasing, and make it planes of
normalised floats, on one core, in turn. The time of Pillow's resize alone is given, too.
Usage: bench-pictures.py PROGRAM ROUNDS; prints one JSON object of milliseconds, medians.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
from PIL import Image, ImageFilter

MEAN = numpy.array([0.485, 0.456, 0.406], numpy.float32)[:, None, None]
DEVIATION = numpy.array([0.229, 0.224, 0.225], numpy.float32)[:, None, None]


def main(program, rounds):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pixels = numpy.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=numpy.uint8)
    picture = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2))
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        picture.save(file, "PNG")
        file.flush()
        ours = subprocess.Popen([program, file.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        times = {"pillow_resize": [], "pillow": [], "ours": []}
        for number in range(rounds + 3):
            started = time.perf_counter()
            small = picture.resize((224, 224), Image.BILINEAR)
            resized = time.perf_counter()
            planes = numpy.asarray(small).transpose(2, 0, 1).astype(numpy.float32) / 255
            numpy.ascontiguousarray((planes - MEAN) / DEVIATION)
            done = time.perf_counter()
            ours.stdin.write("\n")
            ours.stdin.flush()
            took = float(ours.stdout.readline())
            if number >= 3:
                times["pillow_resize"].append((resized - started) * 1000)
                times["pillow"].append((done - started) * 1000)
                times["ours"].append(took)
        ours.stdin.close()
        ours.wait()
    medians = {name: statistics.median(values) for name, values in times.items()}
    medians["ratio"] = statistics.median(a / b for a, b in zip(times["ours"], times["pillow"]))
    medians["ratio_to_resize_alone"] = statistics.median(a / b for a, b in zip(times["ours"], times["pillow_resize"]))
    medians["rounds"] = rounds
    print(json.dumps(medians))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
