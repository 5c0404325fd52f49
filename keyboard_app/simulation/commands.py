"""``keyboard-app fleet`` and ``keyboard-app demo``."""

from __future__ import annotations

import functools
import re
import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


def _shard(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", value)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise click.BadParameter(f"{value!r} is not a part such as 1/2")
    return int(found[1]), int(found[2])


def _end_orderly_when_terminated() -> None:
    """SIGTERM and Ctrl-C unwind the stack while this command runs, so that children are stopped and logs closed.

    Ctrl-C is asked for explicitly: a process that was started in the background inherits it ignored.
    """

    def terminated(_number: int, _frame: object) -> NoReturn:
        raise SystemExit(143)

    for number, handler in ((signal.SIGTERM, terminated), (signal.SIGINT, signal.default_int_handler)):
        before = signal.signal(number, handler)
        click.get_current_context().call_on_close(functools.partial(signal.signal, number, before))


def _wait_for_a_line() -> None:
    """Wait until whoever started this process says so; end when they are gone."""
    if not sys.stdin.readline():
        raise SystemExit(143)


@click.command()
@click.option("--coordinator", "coordinator_url", metavar="URL", required=True, help="Where rounds are.")
@click.option("--identities", type=_FOLDER, required=True, help="Device homes made by `authority issue --count`.")
@click.option("--replay", type=_FILE, help="Who types what; the shipped replay by default.")
@click.option("--catalog", type=_FILE, help="Query list or knowledge graph instead of the shipped one.")
@click.option("--devices", type=click.IntRange(min=1), default=24, show_default=True, help="In all shards together.")
@click.option("--shard", callback=_shard, default="1/1", show_default=True, metavar="I/N", help="This process's part.")
@click.option("--rounds", type=click.IntRange(min=1), default=6, show_default=True, help="Slices of the training days.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws people, tastes and taps.")
@click.option(
    "--dropout",
    type=click.FloatRange(0, 0.9),
    default=0.0,
    show_default=True,
    help="Share of devices that vanish in a random phase of each round.",
)
@click.option("--typing", "mode", type=click.Choice(["keys", "line"]), default="line", show_default=True)
@click.option("--typist", "typist_file", type=_FILE, help="JSON that overrides constants of the simulated typist.")
@click.option("--policy-floor", type=click.IntRange(min=2), default=4, show_default=True, help="INSECURE DEMO floor.")
@click.option("--round-timeout", "round_timeout_s", type=float, default=120.0, show_default=True, metavar="S")
@click.option("--in-step", is_flag=True, help="Before each night, wait for a line on standard input.")
@click.option("--skip-broken-lines", is_flag=True, help="Pass over broken lines of the replay instead of stopping.")
def fleet(
    coordinator_url: str,
    identities: Path,
    replay: Path | None,
    catalog: Path | None,
    devices: int,
    shard: tuple[int, int],
    rounds: int,
    seed: int,
    dropout: float,
    mode: str,
    typist_file: Path | None,
    policy_floor: int,
    round_timeout_s: float,
    in_step: bool,
    skip_broken_lines: bool,
) -> None:
    """Host many simulated devices in this process: they type, learn and take part in rounds.

    Progress goes to standard output, one JSON object a line; it holds numbers only.
    """
    from data_logging import LogError
    from keyboard_app.device.identity import IdentityError
    from keyboard_app.simulation.fleet import Fleet, FleetError, FleetSetting
    from keyboard_app.simulation.people import shipped_replay
    from keyboard_app.simulation.progress import Reporter
    from keyboard_app.simulation.replay import ReplayError
    from keyboard_app.simulation.typist import TypistError, load_typist_setting
    from suggestion_model.catalog import CatalogError
    from suggestion_model.errors import BundleError

    _end_orderly_when_terminated()
    try:
        setting = FleetSetting(
            coordinator_url=coordinator_url,
            identities=identities,
            replay=replay or shipped_replay(),
            catalog=catalog,
            devices=devices,
            rounds=rounds,
            shard=shard[0],
            shards=shard[1],
            seed=seed,
            dropout=dropout,
            mode="keys" if mode == "keys" else "line",
            typist=load_typist_setting(typist_file, seed),
            smallest_aggregate=policy_floor,
            round_timeout_s=round_timeout_s,
            skip_broken_lines=skip_broken_lines,
        )
        Fleet(setting, Reporter(), _wait_for_a_line if in_step else lambda: None).run()
    except (
        FleetError, ReplayError, TypistError, CatalogError, BundleError, IdentityError, LogError, OSError, ValueError
    ) as error:  # fmt: skip
        raise click.ClickException(str(error)) from error


@click.command()
@click.option("--replay", type=_FILE, help="Who types what; the shipped replay by default.")
@click.option("--catalog", type=_FILE, help="Query list or knowledge graph instead of the shipped one.")
@click.option("--devices", type=click.IntRange(min=4), default=24, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws people, tastes and taps.")
@click.option(
    "--dropout",
    type=click.FloatRange(0, 0.5),
    default=0.1,
    show_default=True,
    help="Share of devices that vanish in a random phase of each round.",
)
@click.option(
    "--typing",
    "mode",
    type=click.Choice(["keys", "line"]),
    default=None,
    help="Key by key, or lines at once with the same result, which is faster; keys for the shipped replay.",
)
@click.option("--typist", "typist_file", type=_FILE, help="JSON that overrides constants of the simulated typist.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Of the dashboard; 0 is any.")
@click.option("--exit", "exit_after", is_flag=True, help="Stop when the rounds are over instead of serving on.")
@click.option("--keep", type=_FOLDER, help="Keep databases, logs and device homes in this new folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end; progress goes to stderr.")
@click.option("--no-window", is_flag=True, help="No keyboard window, even where there is a display.")
@click.option("--no-evaluation", is_flag=True, help="Leave out the evaluation on held-out people.")
@click.option(
    "--set", "assignments", multiple=True, metavar="NAME=VALUE", help="A setting of the coordinator, see its --set."
)
def demo(
    replay: Path | None,
    catalog: Path | None,
    devices: int,
    rounds: int,
    seed: int,
    dropout: float,
    mode: str | None,
    typist_file: Path | None,
    port: int,
    exit_after: bool,
    keep: Path | None,
    as_json: bool,
    no_window: bool,
    no_evaluation: bool,
    assignments: tuple[str, ...],
) -> None:
    """Watch keyboards learn together: a coordinator, a fleet of typing devices, and the keyboard window.

    INSECURE DEMO: everything runs on this machine with an enrolment authority that proves nothing.
    """
    from keyboard_app.simulation.demo import Demo, DemoError
    from keyboard_app.simulation.demo_state import DemoSetting
    from keyboard_app.simulation.people import shipped_replay

    try:
        from keyboard_app.simulation.demo_view import DemoView
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"The demo needs {error.name}: install it with pip install 'federated-keyboard[demo]'"
        ) from None

    _end_orderly_when_terminated()
    setting = DemoSetting(
        replay=replay or shipped_replay(),
        catalog=catalog,
        devices=devices,
        rounds=rounds,
        seed=seed,
        dropout=dropout,
        mode="keys" if (mode or ("line" if replay else "keys")) == "keys" else "line",
        typist=typist_file,
        port=port,
        keep=keep,
        window=not no_window,
        evaluation=not no_evaluation,
        coordinator_settings=assignments,
    )
    view = DemoView(setting, as_json=as_json)
    try:
        with Demo(setting, view) as running:
            result = running.run()
            view.show(result)
            if not exit_after:
                view.keep_serving(result)
                running.serve_on()
    except DemoError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        view.stopped()
        if not exit_after:
            return
        sys.exit(130)
    sys.stdout.flush()
    if not result.succeeded:
        sys.exit(1)
