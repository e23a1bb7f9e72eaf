"""Prepares pictures of odd sizes as Pillow, torchvision and numpy do, for a comparison.

Usage: pillow_inputs.py FOLDER

Writes 20 pictures, cases.jsonl (a picture, what is done to it, and where its values begin) and values.f32
(what comes of it, [channel][row][column], little-endian). Resize and CenterCrop are torchvision's, which
are two calls of Pillow each; area is what each value covers of the picture, by matrices in float64.
"""

import json
import random
import sys
from pathlib import Path

import numpy
from PIL import Image, ImageFilter, ImageOps

FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "nearest": Image.NEAREST}
RANGES = {"unit": (0.0, 1.0), "byte": (0.0, 255.0), "symmetric": (-1.0, 1.0)}
MEAN, DEVIATION = [0.3, 0.4, 0.5], [0.2, 0.25, 0.3]
SIZES = [(1, 1), (1, 37), (41, 3), (7, 5), (16, 16), (29, 31), (31, 29), (33, 97), (101, 20), (64, 48),
         (57, 57), (113, 89), (90, 160), (127, 1), (2, 64), (211, 133), (28, 28), (75, 74), (99, 55), (147, 203)]


def matrix(source, target):
    """Shares of every source pixel in every target value."""
    shares = numpy.zeros((target, source))
    for index in range(target):
        if target > source:
            centre = min(max((index + 0.5) * source / target - 0.5, 0), source - 1)
            first = int(centre)
            shares[index, first] += 1 - (centre - first)
            shares[index, min(first + 1, source - 1)] += centre - first
        else:
            low, high = index * source / target, (index + 1) * source / target
            for pixel in range(source):
                shares[index, pixel] = max(0.0, min(high, pixel + 1) - max(low, pixel)) * target / source
    return shares


def scaled(picture, size, interpolation):
    """As Image.resize, with area as another filter; planes of levels."""
    if interpolation == "area":
        levels = numpy.asarray(picture, dtype=numpy.float64)
        levels = levels.reshape(picture.height, picture.width, -1)
        across, down = matrix(picture.width, size[0]), matrix(picture.height, size[1])
        return numpy.einsum("yj,jic,xi->cyx", down, levels, across)
    levels = numpy.asarray(picture.resize(size, FILTERS[interpolation]), dtype=numpy.float64)
    return levels.reshape(size[1], size[0], -1).transpose(2, 0, 1)


def seen(picture, geometry, interpolation, width, height):
    name, _, value = geometry.partition(":")
    if name == "stretch":
        return scaled(picture, (width, height), interpolation)
    if name == "center-crop":
        wide = min(picture.width, max(1, (2 * picture.height * width + height) // (2 * height)))
        tall = min(picture.height, max(1, (2 * picture.width * height + width) // (2 * width)))
        left, top = (picture.width - wide) // 2, (picture.height - tall) // 2
        return scaled(picture.crop((left, top, left + wide, top + tall)), (width, height), interpolation)
    if name == "letterbox":
        # ImageOps.pad cannot make nothing of a very long picture; a row of it is kept.
        ratio, wanted = picture.width / picture.height, width / height
        wide, tall = width, height
        if ratio > wanted:
            tall = max(1, round(picture.height / picture.width * width))
        elif ratio < wanted:
            wide = max(1, round(picture.width / picture.height * height))
        small = scaled(picture, (wide, tall), interpolation)
        out = numpy.full((small.shape[0], height, width), float(value))
        left, top = round((width - wide) * 0.5), round((height - tall) * 0.5)
        out[:, top : top + tall, left : left + wide] = small
        if interpolation != "area" and min(round(picture.height / picture.width * width), round(picture.width / picture.height * height)) > 0:
            fill = int(value) if picture.mode == "L" else (int(value),) * 3
            pad = ImageOps.pad(picture, (width, height), FILTERS[interpolation], color=fill)
            pad = numpy.asarray(pad, dtype=numpy.float64).reshape(height, width, -1).transpose(2, 0, 1)
            assert (pad == out).all(), "that is not what ImageOps.pad does"
        return out
    short, long = sorted(picture.size)
    to = int(value), int(int(value) * long / short)
    to = to if picture.width <= picture.height else to[::-1]
    left, top = round((to[0] - width) / 2.0), round((to[1] - height) / 2.0)
    return scaled(picture, to, interpolation)[:, top : top + height, left : left + width]


def main(folder):
    dice = random.Random(7)
    generator = numpy.random.default_rng(7)
    values, cases = [], []
    at = 0
    for number, (width, height) in enumerate(SIZES):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=numpy.uint8)
        picture = Image.fromarray(pixels)
        if number % 2:
            # As smooth as photographs are.
            picture = picture.filter(ImageFilter.GaussianBlur(1.5))
        if number % 5 == 4:
            picture = picture.convert("L")
        name = f"{number:02}.png"
        picture.save(folder / name)
        for channels in ("grey", "rgb", "bgr"):
            source = picture.convert("L" if channels == "grey" else "RGB")
            for geometry in ("stretch", "center-crop", "letterbox:114", "short-side:24"):
                for interpolation in ("area", "bilinear", "bicubic", "nearest"):
                    to_width, to_height = dice.randint(1, 24), dice.randint(1, 24)
                    planes = seen(source, geometry, interpolation, to_width, to_height)
                    if channels == "bgr":
                        planes = planes[::-1]
                    for span, (low, high) in RANGES.items():
                        count = planes.shape[0]
                        mean = numpy.array(MEAN[:count])[:, None, None]
                        deviation = numpy.array(DEVIATION[:count])[:, None, None]
                        out = (planes / 255 * (high - low) + low - mean) / deviation
                        values.append(out.astype("<f4").ravel())
                        cases.append({
                            "picture": name, "channels": channels, "geometry": geometry,
                            "interpolation": interpolation, "range": span, "mean": MEAN[:count],
                            "std": DEVIATION[:count], "width": to_width, "height": to_height,
                            "span": high - low, "at": at, "count": out.size,
                        })
                        at += out.size
    numpy.concatenate(values).tofile(folder / "values.f32")
    (folder / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    print(json.dumps({"pictures": len(SIZES), "cases": len(cases), "values": at}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
