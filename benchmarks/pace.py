"""A day of check-ins from millions of devices, simulated through the coordinator's own pace steering.

Every device is willing at night (idle, charging), checks in when it may, and comes back when it was told. All devices
of a minute are one vector. What the coordinator knows is what it knows in production: seconds told by hour
(:func:`coordinator.operation.population.willing`), the next selection, its settings. ``fixed`` is the same population
asked back after a constant time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import Value
from coordinator.operation.population import willing
from coordinator.rounds.pace_steering import delay_range, spread_s
from coordinator.settings import PaceSettings

DESCRIPTION = "check-ins a second over a day for small and large populations, through the real pace steering"
HOUR, DAY = 3600.0, 86_400.0
SAMPLE = 200_000
RIGHT = 30
ZONES = ((0, 0.5), (-6, 0.3), (8, 0.2))


@dataclass(frozen=True, slots=True)
class Deployment:
    """Who asks, and what for."""

    devices: int
    places: int
    """Of one selection."""
    interval_s: float
    """From one selection to the next."""
    pace: PaceSettings
    step_s: float


@dataclass(frozen=True, slots=True)
class SimulatedDay:
    """The second of two days; the first one fills the estimates."""

    rate: NDArray[np.float64]
    """Check-ins a second by step."""
    willing: NDArray[np.float64]
    """Devices willing, by step."""
    filled: float
    """Share of selections with at least as many check-ins as places, of those with enough willing devices."""
    step_s: float


def simulate(deployment: Deployment, rng: np.random.Generator, fixed_s: float | None = None) -> SimulatedDay:
    """Two days in steps; devices come back after what pace steering says, or after ``fixed_s``."""
    n, step = deployment.devices, deployment.step_s
    zone = rng.choice([z for z, _ in ZONES], n, p=[p for _, p in ZONES]).astype(np.float32) * HOUR
    bed = ((22.8 + rng.normal(0, 1.2, n)) * HOUR - zone).astype(np.float32) % DAY
    length = (np.clip(rng.normal(8, 1.3, n), 2, 14) * HOUR).astype(np.float32)
    phase = -bed % np.float32(DAY)  # since its window last opened
    due = np.zeros(n, np.float32)
    steps = round(2 * DAY / step)
    rate, there = np.zeros(steps), np.zeros(steps)
    told: dict[int, float] = {}
    for at in range(steps):
        now = at * step
        hour = int(now // HOUR)
        may = phase < length
        asking = np.flatnonzero(may & (due <= now))
        rate[at], there[at] = len(asking) / step, np.count_nonzero(may)
        phase += np.float32(step)
        phase[phase >= DAY] -= np.float32(DAY)
        if not len(asking):
            continue
        if fixed_s is None:
            active = willing(told.get(hour - 1, 0.0), told.get(hour, 0.0), now)
            expected = deployment.interval_s - now % deployment.interval_s
            first, width = delay_range(
                expected, spread_s(active, deployment.places, deployment.interval_s), deployment.pace
            )
            after = first + width * rng.random(len(asking), np.float32)
        else:
            after = np.full(len(asking), fixed_s, np.float32)
        told[hour] = told.get(hour, 0.0) + float(after.sum(dtype=np.float64))
        due[asking] = now + after
    half = steps // 2
    each = max(1, round(deployment.interval_s / step))
    rounds = (rate[half:] * step)[: half // each * each].reshape(-1, each).sum(1)
    enough = there[half:][: half // each * each].reshape(-1, each).min(1) >= deployment.places
    filled = float((rounds[enough] >= deployment.places).mean()) if enough.any() else 0.0
    return SimulatedDay(rate[half:], there[half:], filled, step)


def scaled(day: SimulatedDay, factor: float) -> SimulatedDay:
    """The same day with so many times the devices: where nothing is steered, each is on its own."""
    return replace(day, rate=day.rate * factor, willing=day.willing * factor)


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Simulate a small and a large population, each steered and not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks pace", description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000_000, help="of the large population")
    parser.add_argument("--small", type=int, default=2_000, help="of the small one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help="draw the days into this SVG file")
    options = parser.parse_args(argv)
    begun = time.monotonic()
    rng = np.random.default_rng(options.seed)
    longest = PaceSettings(shortest_s=1.0, longest_s=12 * HOUR)
    large = Deployment(options.devices, 1_300, 300.0, longest, 300.0)
    small = Deployment(options.small, 130, 1_800.0, longest, 60.0)
    sample = replace(large, devices=min(large.devices, SAMPLE), step_s=60.0)
    days = {
        "large": simulate(large, rng),
        "large, fixed": scaled(simulate(sample, rng, fixed_s=600.0), large.devices / sample.devices),
        "small": simulate(small, rng),
        "small, fixed": simulate(small, rng, fixed_s=600.0),
    }
    report: dict[str, Value] = {name: _figures(day) for name, day in days.items()}
    report |= {"large_devices": large.devices, "small_devices": small.devices, "wall_s": time.monotonic() - begun}
    if options.picture is not None:
        options.picture.write_text(_picture(days), "utf-8")
    return report


def _figures(day: SimulatedDay) -> Mapping[str, Value]:
    busy = np.sort(day.rate)
    return {
        "mean_check_ins_s": float(day.rate.mean()),
        "p99_check_ins_s": float(busy[int(0.99 * (len(busy) - 1))]),
        "peak_check_ins_s": float(busy[-1]),
        "lowest_check_ins_s": float(busy[0]),
        "selections_filled": day.filled,
        "fewest_willing": float(day.willing.min()),
        "most_willing": float(day.willing.max()),
    }


def _millions(day: SimulatedDay) -> str:
    return f"{day.willing.max() / 1e6:.1f}"


def _picture(days: Mapping[str, SimulatedDay]) -> str:
    """Check-ins a second over the day, large population; steered and not, on a logarithmic scale."""
    width, height, left, bottom, top = 760, 320, 64, 34, 30
    steered, fixed = days["large"], days["large, fixed"]
    highest = max(1.0, float(fixed.rate.max()))
    decades = max(1, int(np.ceil(np.log10(highest))))

    def path(day: SimulatedDay) -> str:
        per = max(1, len(day.rate) // 288)
        rate = day.rate[: len(day.rate) // per * per].reshape(-1, per).mean(1)
        x = left + np.arange(len(rate)) / max(len(rate) - 1, 1) * (width - left - RIGHT)
        y = height - bottom - np.log10(np.maximum(rate, 1.0)) / decades * (height - bottom - top)
        return "M" + " L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))

    lines = []
    for power in range(decades + 1):
        y = height - bottom - power / decades * (height - bottom - top)
        lines.append(f'<path d="M{left} {y:.1f}H{width - RIGHT}" stroke="#dde1da"/>')
        lines.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{10**power:,}</text>')
    for hour in range(0, 25, 4):
        x = left + hour / 24 * (width - left - RIGHT)
        lines.append(f'<text x="{x:.0f}" y="{height - 12}" text-anchor="middle">{hour:02d}:00</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12" fill="#4c5651" role="img" aria-label="Check-ins a second over a day">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(lines)}'
        f'<path d="{path(fixed)}" fill="none" stroke="#a9541d" stroke-width="2" stroke-dasharray="6 5"/>'
        f'<path d="{path(steered)}" fill="none" stroke="#1f6b5c" stroke-width="2.5"/>'
        f'<text x="{left}" y="16">check-ins a second, {_millions(steered)} million devices willing at most</text>'
        f'<text x="{width / 2}" y="{top + 40}" fill="#a9541d">asked back after ten minutes</text>'
        f'<text x="{width / 2}" y="{height - bottom - 60}" fill="#1f6b5c">pace steering</text>'
        "</svg>\n"
    )
