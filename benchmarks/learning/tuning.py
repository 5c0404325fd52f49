"""The best step of a grid that grows until the best lies inside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

HALF_DECADES = tuple(10 ** (exponent / 2) for exponent in range(-3, 4))
"""Steps tried first, 0.03 to 30."""


def tuned(quality: Callable[[float], float], steps: Sequence[float]) -> tuple[float, bool, dict[str, float]]:
    """The step of the highest quality; the grid grows until the best lies inside it, up to twice its size.

    Around the best the two steps half way to its neighbours are tried as well.

    Returns:
        the step, whether it lies inside the grid, and the quality of each step tried.
    """
    tried = {step: quality(step) for step in steps}
    ratio = steps[1] / steps[0]
    while len(tried) < 2 * len(steps):
        best = max(tried, key=lambda step: tried[step])
        if best not in (min(tried), max(tried)):
            break
        further = best * ratio if best == max(tried) else best / ratio
        tried[further] = quality(further)
    for between in (best * ratio**0.5, best / ratio**0.5):
        tried[between] = quality(between)
    best = max(tried, key=lambda step: tried[step])
    inside = min(tried) < best < max(tried)
    return best, inside, {f"{step:.3g}": value for step, value in sorted(tried.items())}
