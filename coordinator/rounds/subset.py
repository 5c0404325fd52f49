"""Which coordinates of an update travel: all but those of one block of many rarely moved weights."""

from __future__ import annotations

from coordinator.settings import CodecTarget
from federated_protocol.plan import SubsetBlock


def subset_blocks(target: CodecTarget, dimension: int) -> tuple[SubsetBlock, ...]:
    """The blocks of a plan's codec for a model of ``dimension`` weights; empty when everything travels."""
    first, length = target.subset_block or (0, 0)
    length = max(0, min(length, dimension - first))
    if not 0 < target.most_sent < length:
        return ()
    rest = dimension - first - length
    blocks = (SubsetBlock(first, first), SubsetBlock(length, target.most_sent), SubsetBlock(rest, rest))
    return tuple(block for block in blocks if block.length)


def coordinates_sent(target: CodecTarget, dimension: int) -> int:
    """How many coordinates travel."""
    return sum(block.chosen for block in subset_blocks(target, dimension)) or dimension
