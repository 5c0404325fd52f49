"""What a person sees of the demo: live progress, the table of rounds, and where the dashboard is."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from keyboard_app.simulation import progress
from keyboard_app.simulation.demo_state import DemoResult, DemoSetting, DemoState
from keyboard_app.simulation.evaluation import Comparison

BAR_WIDTH = 32


class DemoView:
    """Draws on the terminal; where there is none, writes a line whenever something was achieved.

    Arguments:
        setting: of the demo.
        as_json: print one JSON object at the end, and everything else to standard error.
        console: where to draw; by default the terminal.
    """

    def __init__(self, setting: DemoSetting, *, as_json: bool = False, console: Console | None = None) -> None:
        self._setting = setting
        self._as_json = as_json
        self._console = console or Console(stderr=as_json, highlight=False)
        self._live: Live | None = None
        self._started = time.monotonic()
        self._told: set[str] = set()

    def update(self, state: DemoState) -> None:
        """Show the state."""
        if not self._console.is_terminal:
            self._tell(state)
            return
        if self._live is None:
            self._live = Live(console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        self._live.update(self._draw(state))

    def show(self, result: DemoResult) -> None:
        """Show the outcome."""
        self._close_live()
        if self._as_json:
            print(json.dumps(result_as_json(self._setting, result)), flush=True)
        self._console.print(rounds_table(result))
        for line in summary(result):
            self._console.print(line)

    def keep_serving(self, result: DemoResult) -> None:
        """Say that the demo goes on, and how it ends."""
        self._console.print(f"The coordinator goes on at {result.dashboard} - end with Ctrl-C.")

    def stopped(self) -> None:
        """Say that the demo was ended."""
        self._close_live()
        self._console.print("Stopped; all processes of the demo have ended.")

    def _close_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    # -- live --------------------------------------------------------------------------------------------------------

    def _draw(self, state: DemoState) -> RenderableType:
        rows: list[RenderableType] = [
            Text.assemble(
                ("INSECURE DEMO ", "bold red"),
                (f"{self._setting.devices} keyboards, {self._setting.rounds} rounds", "bold"),
                f"   {time.monotonic() - self._started:4.0f} s",
            ),
            Text(f"{state.doing}"),
        ]
        if state.dashboard:
            rows.append(Text(f"dashboard: {state.dashboard}", style="cyan"))
        grid = Table.grid(padding=(0, 1))
        expected = sum(ready.lines for ready in state.ready.values())
        if expected:
            training = sum(typed.lines for typed in state.typed if typed.slice <= self._setting.rounds)
            grid.add_row("lines typed", _bar(training, expected), f"{state.lines_typed}")
        published = state.status.versions_made if state.status else 0
        grid.add_row("rounds", _bar(published, self._setting.rounds), f"{published}/{self._setting.rounds}")
        for shard, message in sorted(state.newest.items()):
            grid.add_row(f"fleet {shard}", *_shard_progress(message))
        running = state.status.running if state.status else None
        if running is not None:
            for phase in running.phases:
                colour = {"done": "green", "open": "yellow"}.get(phase.status, "dim")
                share = _bar(phase.answered, phase.expected) if phase.status != "waiting" else ""
                grid.add_row(Text(f"  {phase.name}", style=colour), share, f"{phase.answered}/{phase.expected}")
        rows.append(grid)
        if usage := _usage_line(state):
            rows.append(Text(usage))
        return Group(*rows)

    def _tell(self, state: DemoState) -> None:
        """Without a terminal: every new fact once, as a line."""
        facts = [state.doing] if state.doing not in ("typing", "joining a round") else []
        if state.dashboard:
            facts.append(f"dashboard: {state.dashboard}")
        workers = max(len(state.ready), 1)
        for number in range(1, self._setting.rounds + 1):
            over = [message for message in state.rounds_over if message.slice == number]
            if len(over) == workers:
                version = max(max(message.versions, default=0) for message in over)
                took_part = sum(message.took_part for message in over)
                vanished = sum(message.vanished for message in over)
                facts.append(f"night {number}: {took_part} keyboards took part, {vanished} vanished, model {version}")
        facts += [f"fleet {t.shard}, night {t.slice}: {t.reason}" for t in state.troubles]
        for fact in facts:
            if fact not in self._told and not fact.startswith("round "):
                self._told.add(fact)
                self._console.print(f"[{time.monotonic() - self._started:5.1f} s] {fact}", markup=False)


def _bar(done: float, total: float) -> ProgressBar:
    return ProgressBar(total=max(total, 1), completed=min(done, total), width=BAR_WIDTH)


def _shard_progress(message: progress.Progress) -> tuple[RenderableType, str]:
    if isinstance(message, progress.Typing):
        return _bar(message.done, message.devices), "typing"
    if isinstance(message, progress.Joining):
        return _bar(message.done, message.devices), "learning"
    if isinstance(message, progress.FleetDone):
        return _bar(1, 1), "done"
    return "", "has a new model" if isinstance(message, progress.RoundOver) else "ready to learn"


def _usage_line(state: DemoState) -> str:
    parts = [
        f"v{version} {tally.clicks / tally.offers:.3f}" for version, tally in state.usage().items() if tally.offers
    ]
    return "click-through by version: " + "  ".join(parts[-6:]) if parts else ""


# -- the outcome -----------------------------------------------------------------------------------------------------


def rounds_table(result: DemoResult) -> Table:
    """The table of all rounds."""
    table = Table(title="Rounds", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("round", "version", "devices in", "dropouts", "CTR before", "CTR after", "kB up/device", "s"):
        table.add_column(name, justify="right", no_wrap=" " not in name or "/" in name)
    for row in result.rounds:
        table.add_row(
            str(row.round),
            str(row.version) if row.version is not None else f"abandoned: {row.reason}" if row.reason else row.summed,
            str(row.participants),
            str(row.dropouts),
            _rate(row.ctr_before),
            _rate(row.ctr_after),
            f"{row.bytes_up_per_device / 1000:.1f}" if row.bytes_up_per_device is not None else "",
            f"{row.seconds:.1f}" if row.seconds is not None else "",
        )
    return table


def summary(result: DemoResult) -> list[str]:
    """What the table does not say."""
    lines = [
        "CTR is taps drawn over offers examined while typing with that version; the last version's, on days nobody "
        "trained on.",
        f"{result.keyboards_on_last_version} of {result.keyboards} keyboards on version {result.last_version}.",
        f"{result.lines_typed} lines typed in {result.seconds:.0f} s, at most {result.peak_rss_mib:.0f} MiB a process.",
    ]
    if result.evaluation is not None:
        overall = result.evaluation.overall
        lines.append(
            f"Expected CTR on held-out people and days, at the threshold that keeps 90 % of clicks: "
            f"v0 {overall.first.ctr:.3f}, v{result.last_version} {overall.last.ctr:.3f}: {_lift(overall)}."
        )
    lines.append(f"Dashboard: {result.dashboard}")
    if result.folder is not None:
        lines.append(f"Everything is kept in {result.folder}")
    return lines


def _lift(comparison: Comparison) -> str:
    found = comparison.lift
    return f"{100 * found.lift:+.0f} % (95 % interval {100 * found.low:+.0f} % to {100 * found.high:+.0f} %)"


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.3f}"


def result_as_json(setting: DemoSetting, result: DemoResult) -> dict[str, Any]:
    """The outcome as plain values."""
    evaluation = result.evaluation
    return {
        "devices": setting.devices,
        "rounds_asked_for": setting.rounds,
        "seed": setting.seed,
        "dropout": setting.dropout,
        "rounds": [asdict(row) for row in result.rounds],
        "last_version": result.last_version,
        "keyboards": result.keyboards,
        "keyboards_on_last_version": result.keyboards_on_last_version,
        "lines_typed": result.lines_typed,
        "seconds": round(result.seconds, 1),
        "peak_rss_mib": round(result.peak_rss_mib, 1),
        "dashboard": result.dashboard,
        "folder": str(result.folder) if result.folder is not None else None,
        "evaluation": None
        if evaluation is None
        else {
            "overall": asdict(evaluation.overall),
            "new_people": asdict(evaluation.new_people) if evaluation.new_people else None,
            "known_people": asdict(evaluation.known_people) if evaluation.known_people else None,
        },
        "succeeded": result.succeeded,
    }
