"""The demo's parts that need no process: progress lines, settings, tables, and children that explain themselves."""

from __future__ import annotations

import io
import os
import sys
import typing
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from keyboard_app.cli import main
from keyboard_app.simulation import progress
from keyboard_app.simulation.demo_programs import coordinator_settings
from keyboard_app.simulation.demo_state import DemoResult, DemoSetting, DemoState, RoundResult
from keyboard_app.simulation.demo_view import DemoView, result_as_json
from keyboard_app.simulation.people import shipped_replay
from keyboard_app.simulation.processes import ChildError, Children, run_to_end, wait_for_file

TYPED = progress.Typed(1, 1, {0: progress.VersionTally(40, 10, 1), 1: progress.VersionTally(20, 5, 2)}, 60, 0.5)
MESSAGES: list[progress.Progress] = [
    progress.FleetReady(1, 4, 100, 80.0),
    progress.Typing(1, 1, 2, 4),
    TYPED,
    progress.Joining(1, 1, 3, 4),
    progress.Vanished(1, 1, "share"),
    progress.RoundOver(1, 1, {1: 4}, 3, 1, 40_000, 2.0),
    progress.Trouble(1, 2, progress.StopReason.TIMEOUT, 1),
    progress.FleetDone(1, {1: 4}, 4, 80_000, 90.0),
]


def test_progress_lines_survive_the_pipe() -> None:
    stream = io.BytesIO()
    report = progress.Reporter(stream)
    for message in MESSAGES:
        report(message)
    assert [progress.decode(line) for line in stream.getvalue().splitlines()] == MESSAGES


def test_no_progress_message_has_room_for_what_was_typed() -> None:
    for kind in typing.get_args(progress.Progress):
        texts = {f.name for f in msgspec.structs.fields(kind) if f.type is str}
        assert texts <= {"phase"}


def test_click_through_is_counted_by_version() -> None:
    state = DemoState()
    for message in [*MESSAGES, msgspec.structs.replace(TYPED, shard=2)]:
        state.note(message)
    assert state.ctr(0) == pytest.approx(0.1)
    assert state.ctr(1) == pytest.approx(0.4)
    assert state.ctr(2) is None
    assert (state.lines_typed, state.vanished, len(state.done)) == (120, 1, 1)


@pytest.mark.parametrize("devices", [4, 8, 24, 60, 61, 200])
def test_everybody_fits_into_the_demos_cohort(devices: int) -> None:
    values = dict(setting.split("=") for setting in coordinator_settings(devices, 6))
    assert float(values["rounds.goal_count"]) * float(values["rounds.overselect"]) >= devices
    assert float(values["rounds.goal_count"]) >= float(values["rounds.minimum_count"])
    assert float(values["rounds.overselect"]) <= 2


def result(**changes: object) -> DemoResult:
    rounds = (
        RoundResult(1, None, "feature counts", None, 8, 0, 0.1, None, 12_345, 3.2),
        RoundResult(2, 1, "descent", None, 8, 2, 0.1, 0.2, 12_345, 3.2),
        RoundResult(3, None, "training", "too_few_inputs", 0, 8, 0.2, None, None, None),
    )
    values: dict[str, object] = {
        "dashboard": "http://127.0.0.1:1/",
        "folder": None,
        "rounds": rounds,
        "last_version": 1,
        "keyboards": 8,
        "keyboards_on_last_version": 8,
        "lines_typed": 600,
        "seconds": 12.0,
        "peak_rss_mib": 99.0,
        "evaluation": None,
        "rounds_asked_for": 1,
    }
    return DemoResult(**(values | changes))  # type: ignore[arg-type]


def test_the_outcome_is_shown_as_a_table_with_where_the_dashboard_is() -> None:
    screen = io.StringIO()
    view = DemoView(DemoSetting(shipped_replay(), None), console=Console(file=screen, width=120))
    view.show(result())
    shown = screen.getvalue()
    for expected in (
        "CTR before",
        "0.100",
        "12.3",
        "feature counts",
        "abandoned: too_few_inputs",
        "8 of 8 keyboards on version 1.",
        "127.0.0.1:1/",
    ):
        assert expected in shown


def test_live_progress_is_drawn_on_a_terminal() -> None:
    screen = io.StringIO()
    view = DemoView(DemoSetting(shipped_replay(), None), console=Console(file=screen, width=100, force_terminal=True))
    state = DemoState(dashboard="http://127.0.0.1:1/")
    for message in MESSAGES:
        state.note(message)
        view.update(state)
    view.stopped()
    assert "INSECURE DEMO" in screen.getvalue()


def test_success_needs_all_rounds_and_all_keyboards() -> None:
    assert result().succeeded
    assert not result(keyboards_on_last_version=7).succeeded
    assert not result(rounds_asked_for=2).succeeded
    assert result_as_json(DemoSetting(shipped_replay(), None), result())["succeeded"]


def test_a_child_that_dies_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    dying = [sys.executable, "-c", "import sys; print('half a reason', file=sys.stderr); sys.exit(3)"]
    with pytest.raises(ChildError, match=r"the helper ended with code 3(.|\n)*half a reason"):
        run_to_end("the helper", dying, tmp_path / "log")
    with Children() as children:
        child = children.start("the helper", dying, tmp_path / "log2")
        with pytest.raises(ChildError, match="half a reason"):
            wait_for_file(tmp_path / "never", child, 20)


def test_a_child_that_will_not_listen_is_ended_all_the_same(tmp_path: Path) -> None:
    stubborn = (
        "import signal, sys, time, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "pathlib.Path(sys.argv[1]).write_text('up'); time.sleep(60)"
    )
    with Children() as children:
        child = children.start("x", [sys.executable, "-c", stubborn, str(tmp_path / "up")], tmp_path / "log")
        wait_for_file(tmp_path / "up", child, 20)
        child.stop(patience_s=0.2)
        assert not child.running
    with pytest.raises(ProcessLookupError):
        os.kill(child.process.pid, 0)


@pytest.mark.parametrize("command", ["fleet", "demo"])
def test_the_commands_explain_themselves(command: str) -> None:
    shown = CliRunner().invoke(main, [command, "--help"])
    assert shown.exit_code == 0
    assert "--replay" in shown.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--shard", "3/2"], "is not a part such as 1/2"),
        (["--replay", "nowhere.jsonl"], "check the path given with --replay"),
        ([], "authority issue"),
    ],
)
def test_a_fleet_that_cannot_begin_says_why(tmp_path: Path, options: list[str], says: str) -> None:
    base = ["fleet", "--coordinator", "http://127.0.0.1:9", "--identities", str(tmp_path), "--devices", "4"]
    ran = CliRunner().invoke(main, [*base, *options])
    assert ran.exit_code != 0
    assert says in " ".join(ran.output.split())
