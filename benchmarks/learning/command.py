"""``python -m benchmarks learning``: options, progress, results."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import BenchmarkError, Value
from benchmarks._workers import add_options, chosen_workers
from benchmarks.learning.cache import default_folder
from benchmarks.learning.laboratory import LaboratorySetting, run_laboratory
from benchmarks.learning.methods import METHODS
from benchmarks.learning.report import report
from benchmarks.learning.studies import STUDIES
from keyboard_app.simulation.people import shipped_replay
from keyboard_app.simulation.replay import ReplayError
from keyboard_app.simulation.typist import TypistError, load_typist_setting
from suggestion_model.catalog import CatalogError


def run(argv: Sequence[str]) -> dict[str, Value]:
    """Run the laboratory.

    Raises:
        BenchmarkError: something cannot be read or used; the message says what to do.
    """
    setting = _setting(argv)
    began = time.monotonic()
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {name: bars.add_task(name, total=None, start=False) for name in ("typing", "training")}

        def progress(what: str, done: int, all_: int) -> None:
            if not bars.tasks[tasks[what]].started:
                bars.start_task(tasks[what])
            bars.update(tasks[what], completed=done, total=all_)

        try:
            found = run_laboratory(setting, progress)
        except (ReplayError, CatalogError) as error:
            raise BenchmarkError(str(error)) from error
        except KeyboardInterrupt:
            raise BenchmarkError("stopped; the same command goes on from here") from None
    return report(setting, found) | {"seconds": round(time.monotonic() - began, 1)}


def _setting(argv: Sequence[str]) -> LaboratorySetting:
    parser = argparse.ArgumentParser(prog="python -m benchmarks learning", description=__doc__)
    parser.add_argument("--replay", type=Path, help="JSON lines (default: the replay that ships with the package)")
    parser.add_argument("--catalog", type=Path, help="its query list (default: the catalog that ships)")
    parser.add_argument("--devices", type=int, default=60, help="devices in a round (default 60)")
    parser.add_argument("--rounds", type=int, default=40, help="of every federated method (default 40)")
    parser.add_argument("--seeds", type=int, default=3, help="of typists, cohorts and orders (default 3)")
    parser.add_argument("--methods", help=f"some of {','.join((*METHODS, *STUDIES))} (default: all that can be run)")
    parser.add_argument("--typist", type=Path, help="JSON that overrides constants of the simulated typist")
    parser.add_argument("--cache", type=Path, default=default_folder(), help="folder for what is kept between runs")
    add_options(parser, min(os.cpu_count() or 1, 8))
    parser.add_argument("--people", type=int, help="only the first so many people, for a quick look")
    options = parser.parse_args(argv)
    workers = chosen_workers(parser, options)
    if min(options.devices, options.rounds, options.seeds) < 1:
        parser.error("--devices, --rounds and --seeds must be at least 1")
    for path in (options.replay, options.catalog, options.typist):
        if path is not None and not path.exists():
            raise BenchmarkError(f"there is no file {path}; give the replay and the query list that belong together")
    try:
        typist = load_typist_setting(options.typist)
    except TypistError as error:
        raise BenchmarkError(str(error)) from error
    chosen = tuple(options.methods.split(",")) if options.methods else None
    if chosen is None:
        listed = options.catalog is not None and ".csv" in options.catalog.name
        chosen = (*(name for name in METHODS if listed or name != "reference"), *STUDIES)
    return LaboratorySetting(
        replay=options.replay or shipped_replay(),
        catalog=options.catalog,
        typist=typist,
        devices=options.devices,
        rounds=options.rounds,
        seeds=options.seeds,
        methods=tuple(name for name in chosen if name not in STUDIES),
        studies=tuple(name for name in chosen if name in STUDIES),
        cache=options.cache,
        workers=workers,
        most_people=options.people,
    )
