"""Which coordinates of an update travel: all but those of one block of many rarely moved weights."""

from __future__ import annotations

import functools

from coordinator.settings import CodecTarget
from federated_protocol.plan import SubsetBlock
from suggestion_model.bundle import Bundle
from suggestion_model.hashed_features import RESERVED


def subset_blocks(target: CodecTarget, dimension: int) -> tuple[SubsetBlock, ...]:
    """The blocks of a plan's codec for a model of ``dimension`` weights; empty when everything travels."""
    first, length = target.subset_block or _hashed_features(dimension)
    length = max(0, min(length, dimension - first))
    if not 0 < target.most_sent < length:
        return ()
    rest = dimension - first - length
    blocks = (SubsetBlock(first, first), SubsetBlock(length, target.most_sent), SubsetBlock(rest, rest))
    return tuple(block for block in blocks if block.length)


def coordinates_sent(target: CodecTarget, dimension: int) -> int:
    """How many coordinates travel."""
    return sum(block.chosen for block in subset_blocks(target, dimension)) or dimension


@functools.cache
def _hashed_features(dimension: int) -> tuple[int, int]:
    """First weight and number of the shipped model's hashed features; none in a model of another size."""
    shape = Bundle.shipped().architecture
    return (RESERVED, shape.hash_buckets - RESERVED) if shape.dimension == dimension else (0, 0)
