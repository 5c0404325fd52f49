"""FSVRG on a synthetic set of sparse clicks, with and without its two scalings, against gradient descent."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from benchmarks import Value
from benchmarks._sparse_clicks import EXAMPLES, FEATURES, NODES, sparse_clicks
from benchmarks.learning.descents import compare

DESCRIPTION = "FSVRG with and without A and S against gradient descent, on synthetic sparse clicks"
STEPS = (4.0, 8.0, 16.0)


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Objective gaps after 12 rounds of FSVRG and 60 of descent, relative to the gap at the start."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fsvrg", description=__doc__)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--examples", type=int, default=EXAMPLES)
    parser.add_argument("--features", type=int, default=FEATURES)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    devices = sparse_clicks(options.nodes, options.examples, options.features, options.seed)
    found = compare(devices, np.zeros(options.features), STEPS)
    return {"features": options.features, "largest_device": max(map(len, devices)), **found}
