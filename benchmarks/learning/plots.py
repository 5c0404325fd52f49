"""Line charts as plain SVG: no library, readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 720, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 190, 40, 52
_COLOURS = ("#3b7dd8", "#d9662b", "#2f9e62", "#a04bc4", "#c9314b", "#7a7a7a", "#b8952b", "#2aa1b3")
_TICKS = 5


def line_chart(title: str, across: str, up: str, lines: Mapping[str, Points]) -> str:
    """One chart; each named line is drawn through its points and named at its end.

    Raises:
        ValueError: no point at all.
    """
    every = [point for points in lines.values() for point in points]
    if not every:
        raise ValueError("a chart needs at least one point")
    (low_x, high_x), (low_y, high_y) = (_range([point[axis] for point in every]) for axis in (0, 1))

    def at(x: float, y: float) -> tuple[float, float]:
        inner_width, inner_height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        return (
            _LEFT + (x - low_x) / (high_x - low_x) * inner_width,
            HEIGHT - _BOTTOM - (y - low_y) / (high_y - low_y) * inner_height,
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="22" font-size="15" fill="#222">{escape(title)}</text>',
    ]
    for step in range(_TICKS + 1):
        x = low_x + (high_x - low_x) * step / _TICKS
        y = low_y + (high_y - low_y) * step / _TICKS
        across_at, up_at = at(x, low_y), at(low_x, y)
        right = WIDTH - _RIGHT
        parts += [
            f'<line x1="{_LEFT}" y1="{up_at[1]:.1f}" x2="{right}" y2="{up_at[1]:.1f}" stroke="#e4e4e4"/>',
            f'<text x="{_LEFT - 8}" y="{up_at[1] + 4:.1f}" text-anchor="end" fill="#555">{y:.3g}</text>',
            f'<text x="{across_at[0]:.1f}" y="{HEIGHT - 32}" text-anchor="middle" fill="#555">{x:.3g}</text>',
        ]
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts += [
        f'<text x="{middle:.1f}" y="{HEIGHT - 10}" text-anchor="middle" fill="#222">{escape(across)}</text>',
        f'<text x="16" y="{HEIGHT / 2:.1f}" fill="#222" text-anchor="middle" '
        f'transform="rotate(-90 16 {HEIGHT / 2:.1f})">{escape(up)}</text>',
    ]
    ends = sorted((at(*points[-1])[1], name) for name, points in lines.items() if points)
    labels = dict(zip((name for _, name in ends), _spread([y for y, _ in ends]), strict=True))
    for number, (name, points) in enumerate(lines.items()):
        if points:
            colour = _COLOURS[number % len(_COLOURS)]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
            parts += [
                f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
                f'<text x="{WIDTH - _RIGHT + 8}" y="{labels[name] + 4:.1f}" fill="{colour}">{escape(name)}</text>',
            ]
    return "\n".join([*parts, "</svg>", ""])


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _spread(places: Sequence[float], gap: float = 15.0) -> list[float]:
    """Ascending places, moved down just enough that none is closer than ``gap`` to the one before."""
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + gap) if found else place)
    return found
