#!/usr/bin/env python3
"""Writes vectors/pictures.txt: what becomes of pictures of several formats, by Pillow.

Pillow 12 resamples (from 13 on it swaps the two passes of some pictures, and other bits come of them);
geometry is that of Pillow's ImageOps.pad, of torchvision's Resize and CenterCrop, and of a centred crop to
the nearest pixel. Area and statistics are taken from make_images.py, over exact fractions.

    python3 tests/golden/make_pictures.py > tests/golden/vectors/pictures.txt
"""

import random
import struct

from make_images import nearest, single, statistics, weights
from PIL import Image, ImageOps

FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "nearest": Image.NEAREST}


def luma(red, green, blue):
    return (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16


def frame(kind, width, height, pick):
    """The bytes of a frame, and the picture that they are."""
    if kind == "grey8":
        data = bytes(pick(x, y) for y in range(height) for x in range(width))
        return data, Image.frombytes("L", (width, height), data)
    if kind == "rgb8":
        data = bytes(pick(x + 5 * c, y) for y in range(height) for x in range(width) for c in range(3))
        return data, Image.frombytes("RGB", (width, height), data)
    words = [pick(x, y) | pick(x + 3, y) << 8 for y in range(height) for x in range(width)]

    def wide(value, bits):
        return value << (8 - bits) | value >> (2 * bits - 8)

    colours = [(wide(w >> 11, 5), wide(w >> 5 & 63, 6), wide(w & 31, 5)) for w in words]
    data = b"".join(struct.pack("<H", word) for word in words)
    return data, Image.frombytes("RGB", (width, height), bytes(sum(map(list, colours), [])))


def area(picture, width, height):
    """Planes of exact values in 0 to 1."""
    planes = []
    for plane in picture.split():
        rows = [[plane.getpixel((x, y)) for x in range(plane.width)] for y in range(plane.height)]
        across = [weights(plane.width, width, x) for x in range(width)]
        down = [weights(plane.height, height, y) for y in range(height)]
        planes.append([[single(float(sum(
            share_y * share_x * rows[y][x] for y, share_y in tall.items() for x, share_x in wide.items()
        ) / 255)) for wide in across] for tall in down])
    return planes


def prepared(picture, channels, geometry, interpolation, width, height):
    """Planes of levels 0 to 255, and the region (x, y, width, height) that shows the picture."""
    picture = picture.convert("L" if channels == "grey" else "RGB")
    name, _, value = geometry.partition(":")
    whole = (0, 0, width, height)
    if name == "letterbox":
        small = ImageOps.contain(picture, (width, height), FILTERS[interpolation])
        fill = int(value)
        colour = fill if picture.mode == "L" else (fill,) * 3
        left, top = round((width - small.width) * 0.5), round((height - small.height) * 0.5)
        out = ImageOps.pad(picture, (width, height), FILTERS[interpolation], color=colour)
        whole = (left, top, small.width, small.height)
    elif name == "short-side":
        short, long = sorted(picture.size)
        to = int(value), int(int(value) * long / short)
        to = to if picture.width <= picture.height else to[::-1]
        out = picture.resize(to, FILTERS[interpolation])
        left, top = round((to[0] - width) / 2.0), round((to[1] - height) / 2.0)
        out = out.crop((left, top, left + width, top + height))
    else:
        if name == "center-crop":
            wide, tall = picture.size
            to_wide = min(wide, max(1, nearest(tall * width, height)))
            to_tall = min(tall, max(1, nearest(wide * height, width)))
            left, top = (wide - to_wide) // 2, (tall - to_tall) // 2
            picture = picture.crop((left, top, left + to_wide, top + to_tall))
        if interpolation == "area":
            planes = area(picture, width, height)
            return [[[int(single(value * 255) + 0.5) for value in row] for row in plane] for plane in planes], whole
        out = picture.resize((width, height), FILTERS[interpolation])
    rows = lambda plane: [[plane.getpixel((x, y)) for x in range(width)] for y in range(height)]
    return [rows(plane) for plane in out.split()], whole


def main():
    dice = random.Random(20261130)
    noise = lambda x, y: dice.randrange(256)
    ramp = lambda x, y: (7 * x + 11 * y) % 256
    cases = [
        ("rgb8", 9, 7, "rgb", "stretch", "bilinear", 5, 4, noise),
        ("rgb8", 9, 7, "bgr", "center-crop", "bicubic", 12, 12, noise),
        ("rgb8", 20, 11, "rgb", "letterbox:114", "bilinear", 12, 12, noise),
        ("rgb8", 11, 20, "rgb", "letterbox:0", "bicubic", 13, 12, ramp),
        ("rgb8", 23, 17, "rgb", "short-side:16", "bilinear", 14, 14, noise),
        ("rgb8", 17, 23, "bgr", "short-side:15", "bicubic", 12, 14, noise),
        ("rgb8", 13, 19, "rgb", "stretch", "nearest", 8, 9, noise),
        ("rgb8", 13, 9, "rgb", "center-crop", "area", 7, 7, noise),
        ("rgb8", 6, 5, "rgb", "stretch", "area", 9, 8, ramp),
        ("rgb8", 8, 8, "rgb", "center-crop", "bilinear", 8, 8, noise),
        ("rgb8", 31, 9, "grey", "stretch", "bilinear", 10, 6, noise),
        ("rgb8", 12, 12, "grey", "center-crop", "area", 5, 5, noise),
        ("grey8", 14, 10, "grey", "letterbox:255", "bicubic", 10, 10, noise),
        ("grey8", 14, 10, "rgb", "stretch", "bilinear", 6, 7, ramp),
        ("grey8", 25, 40, "grey", "short-side:12", "bilinear", 12, 12, noise),
        ("rgb565", 10, 8, "rgb", "stretch", "bilinear", 6, 6, noise),
        ("rgb565", 10, 8, "grey", "center-crop", "area", 4, 4, noise),
        ("rgb565", 6, 6, "bgr", "stretch", "nearest", 6, 6, noise),
    ]
    print("# format width height channels geometry interpolation to-width to-height, the frame, planes of levels,")
    print("# then f32 bits of mean, black, white, contrast, sharpness, saturated and plateau; by make_pictures.py")
    for kind, width, height, channels, geometry, interpolation, to_width, to_height, pick in cases:
        data, picture = frame(kind, width, height, pick)
        planes, (left, top, wide, tall) = prepared(picture, channels, geometry, interpolation, to_width, to_height)
        levels = planes[0] if len(planes) == 1 else [
            [luma(*(plane[y][x] for plane in planes)) for x in range(to_width)] for y in range(to_height)
        ]
        shown = [[single(level / 255) for level in row[left : left + wide]] for row in levels[top : top + tall]]
        bits = [struct.pack(">f", value).hex() for value in statistics(shown)]
        if channels == "bgr":
            planes = planes[::-1]
        hexadecimal = bytes(level for plane in planes for row in plane for level in row).hex()
        print(kind, width, height, channels, geometry, interpolation, to_width, to_height, data.hex(), hexadecimal, *bits)


if __name__ == "__main__":
    main()
