#!/usr/bin/env python3
"""Writes vectors/images.txt: model inputs and image statistics by an implementation of their own.

Written from the definitions in shared::image, over exact fractions, and not from the Rust source:
a shrinking axis averages the area each output pixel covers, a growing one interpolates linearly
between pixel centres, and the statistics are taken over the result in single precision.

    python3 tests/golden/make_images.py > tests/golden/vectors/images.txt
"""

import math
import random
import struct
from fractions import Fraction


def single(number):
    """The nearest single-precision number."""
    return struct.unpack("f", struct.pack("f", number))[0]


def weights(source, target, index):
    """{pixel: share} of one output pixel along one axis; the shares add up to 1."""
    scale = Fraction(source, target)
    if target > source:
        centre = min(max((index + Fraction(1, 2)) * scale - Fraction(1, 2), 0), source - 1)
        first = math.floor(centre)
        part = centre - first
        return {first: 1 - part, min(first + 1, source - 1): part} if part else {first: Fraction(1)}
    low, high = index * scale, (index + 1) * scale
    return {
        pixel: (min(high, pixel + 1) - max(low, pixel)) / scale
        for pixel in range(math.floor(low), math.ceil(high))
    }


def nearest(numerator, denominator):
    return (2 * numerator + denominator) // (2 * denominator)


def resized(rows, fit, width, height):
    if fit == "crop":
        tall, wide = len(rows), len(rows[0])
        to_wide = min(wide, max(1, nearest(tall * width, height)))
        to_tall = min(tall, max(1, nearest(wide * height, width)))
        left, top = (wide - to_wide) // 2, (tall - to_tall) // 2
        rows = [row[left : left + to_wide] for row in rows[top : top + to_tall]]
    return [
        [
            single(
                float(
                    sum(
                        share_y * share_x * rows[y][x]
                        for y, share_y in weights(len(rows), height, j).items()
                        for x, share_x in weights(len(rows[0]), width, i).items()
                    )
                    / 255
                )
            )
            for i in range(width)
        ]
        for j in range(height)
    ]


def statistics(image):
    values = [value for row in image for value in row]
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
    squares = [(a - b) ** 2 for row in image for a, b in zip(row, row[1:])]
    squares += [(a - b) ** 2 for upper, lower in zip(image, image[1:]) for a, b in zip(upper, lower)]
    roughness = math.fsum(squares)
    sharpness = math.sqrt(roughness / len(squares) / variance) if roughness > 0 else 0.0
    bright, dark = single(250 / 255), single(5 / 255)
    return [
        mean,
        math.sqrt(variance),
        sharpness,
        sum(value >= bright for value in values) / len(values),
        sum(value <= dark for value in values) / len(values),
    ]


def main():
    pick = random.Random(20170405)
    noise = lambda x, y: pick.randrange(256)
    ramp = lambda x, y: min(255, 3 * x + 5 * y)
    constant = lambda x, y: 137
    sparse = lambda x, y: pick.choice([0, 0, 0, 255, pick.randrange(256)])
    cases = [
        (1, 1, 1, "crop", 1, 1, constant),
        (1, 1, 3, "crop", 5, 3, constant),
        (16, 16, 16, "stretch", 16, 16, noise),
        (28, 28, 31, "crop", 28, 28, sparse),
        (64, 48, 64, "crop", 28, 28, sparse),
        (48, 64, 51, "crop", 28, 28, ramp),
        (64, 48, 64, "stretch", 13, 17, noise),
        (37, 29, 40, "stretch", 10, 10, noise),
        (7, 5, 7, "stretch", 16, 16, noise),
        (5, 40, 9, "stretch", 12, 9, ramp),
        (40, 5, 40, "crop", 9, 12, noise),
        (3, 3, 3, "stretch", 2, 2, sparse),
        (2, 2, 2, "stretch", 3, 3, noise),
        (20, 20, 20, "crop", 8, 8, constant),
    ]
    print("# width height stride fit to-width to-height, pixels, then f32 bits of the model input and its")
    print("# mean, contrast, sharpness, saturated and dark share; written by make_images.py")
    for width, height, stride, fit, to_width, to_height, pixel in cases:
        rows = [[pixel(x, y) for x in range(width)] for y in range(height)]
        padded = b"".join(bytes(row) + b"\xee" * (stride - width) for row in rows)
        image = resized(rows, fit, to_width, to_height)
        values = [value for row in image for value in row]
        values += statistics(image)
        bits = [struct.pack(">f", value).hex() for value in values]
        print(width, height, stride, fit, to_width, to_height, padded.hex(), *bits)


if __name__ == "__main__":
    main()
