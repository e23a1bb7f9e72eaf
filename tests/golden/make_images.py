#!/usr/bin/env python3
"""Writes vectors/images.txt: model inputs and image statistics by an implementation of their own.

Written from the definitions in shared::image, over exact fractions, and not from the Rust source:
a shrinking axis averages the area each output pixel covers, a growing one interpolates linearly
between pixel centres, and the statistics are taken over the result, rounded to 256 levels.

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
    """Those of the levels, 0 to 255, that the luma is rounded to (halves upwards)."""
    rows = [[math.floor(single(single(value * 255) + 0.5)) for value in row] for row in image]
    levels = sorted(level for row in rows for level in row)
    count = len(levels)
    steps = [abs(a - b) for row in rows for a, b in zip(row, row[1:])]
    steps += [abs(a - b) for upper, lower in zip(rows, rows[1:]) for a, b in zip(upper, lower)]
    # At least a twentieth of the pixels is not above black, a fiftieth not below white, and a
    # hundredth of the pairs of neighbours differs by the edge.
    black = levels[math.ceil(Fraction(count, 20)) - 1]
    white = levels[-math.ceil(Fraction(count, 50))]
    edge = sorted(steps)[-math.ceil(Fraction(len(steps), 100))] if steps else 0

    def even(x, y):
        left = rows[y][max(x - 1, 0)]
        above = rows[max(y - 1, 0)][x]
        return max(abs(rows[y][x] - left), abs(rows[y][x] - above)) <= 2

    # Of one grey: no further from each other than a fiftieth of the levels between black and white.
    greys = [
        level
        for y, row in enumerate(rows)
        for x, level in enumerate(row)
        if even(x, y) and black + 12 < level < 250
    ]
    far = (white - black) // 50
    plateau = max((sum(grey <= level <= grey + far for level in greys) for grey in greys), default=0)
    return [
        sum(levels) / (255 * count),
        black / 255,
        white / 255,
        (white - black) / (white + black) if white else 0.0,
        edge / (white - black) if white > black else 0.0,
        sum(level >= 250 for level in levels) / count,
        plateau / count,
    ]


def main():
    pick = random.Random(20170405)
    noise = lambda x, y: pick.randrange(256)
    ramp = lambda x, y: min(255, 3 * x + 5 * y)
    constant = lambda x, y: 137
    # Things in front of a dim ramp: of one grey, nearly of one grey, saturated.
    things = lambda x, y: (
        90 if x < 9 and y < 14 else 120 + (x + y) % 3 if x > 17 and y < 14 else 255 if x > 14 and y > 17 else x // 4
    )
    sparse = lambda x, y: pick.choice([0, 0, 0, 255, pick.randrange(256)])
    cases = [
        (1, 1, 1, "crop", 1, 1, constant),
        (1, 1, 3, "crop", 5, 3, constant),
        (16, 16, 16, "stretch", 16, 16, noise),
        (28, 28, 31, "crop", 28, 28, sparse),
        (28, 28, 28, "crop", 28, 28, things),
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
    print("# mean, black, white, contrast, sharpness, saturated and plateau; written by make_images.py")
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
