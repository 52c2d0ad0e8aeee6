"""Writes a copy of a model with noise on its weights: a planted difference, to see that a comparison finds it.

    python scripts/perturbed_model.py eval_configs/models/demo-arithmetic TARGET --noise 0.05

Every matrix of the safetensors file (bfloat16 or float32) gets Gaussian noise of `noise` times its own spread;
norms and all other files stay. The same seed gives the same model. Nothing but the standard library.
"""

from __future__ import annotations

import argparse
import json
import shutil
from array import array
from pathlib import Path
from random import Random
from statistics import pstdev
from typing import Any

WIDTH = {"BF16": 2, "F32": 4}
"""Bytes per number of the formats that are understood."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--noise", type=float, default=0.05, help="share of each matrix's own spread")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    shutil.copytree(given.source, given.target)
    perturb(given.target / "model.safetensors", given.noise, Random(given.seed))


def perturb(file: Path, noise: float, random: Random) -> None:
    """Replace the file's matrices by noisy ones."""
    raw = bytearray(file.read_bytes())
    size = int.from_bytes(raw[:8], "little")
    header: dict[str, dict[str, Any]] = json.loads(raw[8 : 8 + size])
    for name in sorted(header.keys() - {"__metadata__"}):
        entry = header[name]
        if len(entry["shape"]) < 2:
            continue
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        values = read(bytes(raw[begin:end]), entry["dtype"])
        spread = noise * pstdev(values)
        raw[begin:end] = written(array("f", (value + random.gauss(0, spread) for value in values)), entry["dtype"])
    file.write_bytes(raw)


def read(data: bytes, dtype: str) -> array[float]:
    """The numbers. A bfloat16 is the upper half of a float32."""
    if WIDTH[dtype] == 2:
        wide = bytearray(2 * len(data))
        wide[2::4], wide[3::4] = data[::2], data[1::2]
        data = bytes(wide)
    values = array("f")
    values.frombytes(data)
    return values


def written(values: array[float], dtype: str) -> bytes:
    """The bytes; a bfloat16 is cut off, not rounded, which no one notices under noise."""
    data = values.tobytes()
    if WIDTH[dtype] == 4:
        return data
    narrow = bytearray(len(data) // 2)
    narrow[::2], narrow[1::2] = data[2::4], data[3::4]
    return bytes(narrow)


if __name__ == "__main__":
    main()
