#!/usr/bin/env python3
"""Writes vectors/masks.txt: keep bits by an implementation of their own.

Written from the definition (Philox4x32-10 of Salmon et al., SC 2011; the counter layout and the
folding of bit planes as documented in shared::mask), one element and one pass at a time, and not
from the Rust source, so that a mistake there does not repeat itself here.

    python3 tests/golden/make_masks.py > tests/golden/vectors/masks.txt
"""

import random

MASK32 = 0xFFFFFFFF


def philox4x32(counter, key, rounds=10):
    a, b, c, d = counter
    k, l = key
    for _ in range(rounds):
        first, second = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (second >> 32) ^ b ^ k, second & MASK32, (first >> 32) ^ d ^ l, first & MASK32
        k, l = (k + 0x9E3779B9) & MASK32, (l + 0xBB67AE85) & MASK32
    return a, b, c, d


def keep(seed, frame, site, element, t, q):
    """The keep bit; q in 1/65536, its bits folded from the least significant: r = b ? r|w : r&w."""
    if q == 65536:
        return 1
    r = 0
    for i in range(16, 0, -1):
        counter = (element // 4, (t // 32) | ((i - 1) << 24), site, frame)
        word = philox4x32(counter, (seed & MASK32, seed >> 32))[element % 4]
        w = word >> (t % 32) & 1
        r = r | w if q >> (16 - i) & 1 else r & w
    return r


def known_answers():
    for counter, key, output in [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ]:
        numbers = [[int(x, 16) for x in text.split()] for text in (counter, key, output)]
        assert list(philox4x32(numbers[0], numbers[1])) == numbers[2]


def main():
    known_answers()
    pick = random.Random(20160619)
    # Edges of every field first, then numbers at random.
    cases = [
        (0, 0, 0, 0, 0, 32768),
        (1, 0, 0, 0, 0, 32768),
        (1 << 32, 0, 0, 0, 0, 32768),
        (0, 1, 0, 0, 0, 32768),
        (0, 0, 1, 0, 0, 32768),
        (0, 0, 0, 1, 0, 32768),
        (0, 0, 0, 0, 1, 32768),
        (MASK32 << 32 | MASK32, MASK32, MASK32, (1 << 24) - 1, (1 << 30) - 1, 32768),
        (MASK32 << 32 | MASK32, MASK32, MASK32, (1 << 24) - 1, (1 << 30) - 1, 1),
        (42, 7, 2, 3, 12, 65536),
        (42, 7, 2, 3, 12, 65535),
        (42, 7, 2, 3, 12, 1),
        (42, 7, 2, 3, 12, 58982),
        (42, 7, 2, 3, 12, 19661),
        (42, 7, 2, 3, 12, 49152),
        (42, 7, 2, 3, 12, 21845),
    ]
    for _ in range(48):
        cases.append(
            (
                pick.getrandbits(64),
                pick.getrandbits(pick.choice([4, 16, 32])),
                pick.randrange(8),
                pick.choice([0, 0, 1, 3, pick.getrandbits(24)]),
                pick.choice([pick.randrange(16), pick.randrange(1440), pick.getrandbits(30)]),
                pick.choice([32768, 32768, 58982, 19661, pick.randrange(1, 65536)]),
            )
        )
    print("# seed frame site pass/32 element/4 q/65536 -> keep bits of 4 elements x 32 passes (hexadecimal)")
    for seed, frame, site, pass_block, element_block, q in cases:
        words = [
            sum(
                keep(seed, frame, site, 4 * element_block + e, 32 * pass_block + p, q) << p
                for p in range(32)
            )
            for e in range(4)
        ]
        fields = [f"{seed:016x}", *(f"{x:x}" for x in (frame, site, pass_block, element_block, q))]
        print(*fields, *(f"{word:08x}" for word in words))


if __name__ == "__main__":
    main()
