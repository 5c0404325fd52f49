"""``keyboard-app device``: a headless device with the very code that runs behind the window."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict, replace
from pathlib import Path

import click

from data_logging import LogError
from keyboard_app.cli import default_home
from keyboard_app.device.conditions import FixedConditions, SystemConditions
from keyboard_app.device.headless import HeadlessDevice, HeadlessSetting, TypingSetting
from keyboard_app.device.identity import IdentityError
from keyboard_app.device.policy import DevicePolicy
from keyboard_app.device.release_client import PinnedRootError
from keyboard_app.device.round_attendance import Enrolment
from keyboard_app.device.schedule import ScheduleSetting
from keyboard_app.device.status import DeviceStatus
from keyboard_app.device.termination import exit_on
from suggestion_model.errors import SuggestionModelError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FLOOR = DevicePolicy().smallest_aggregate
DEMO_FLOOR = 4
"""Smallest sum an INSECURE DEMO device joins unless told otherwise."""


@click.command()
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Folder of this device.")
@click.option("--coordinator", "coordinator_url", metavar="URL", required=True, help="Where rounds are.")
@click.option("--authority", "authority_url", metavar="URL", help="Where to enrol, together with --token.")
@click.option("--token", help="Enrolment token for --authority.")
@click.option("--certificate", type=_FILE, help="Certificate made by `authority issue`, instead of --authority.")
@click.option("--release-root", type=_FILE, help="Root metadata to pin: models that it does not vouch for are refused.")
@click.option("--replay", type=_FILE, help="Type this replay. With --insecure-demo: the shipped one by default.")
@click.option("--user", help="Who of the replay's people this is; by default drawn from the device's key.")
@click.option("--catalog", type=_FILE, help="Query list or knowledge graph instead of the shipped one.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0.0),
    default=2000.0,
    show_default=True,
    help="Replayed seconds per second; 0 types everything at once.",
)
@click.option("--typist", "typist_file", type=_FILE, help="JSON that overrides constants of the simulated typist.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the typist's tastes and taps.")
@click.option(
    "--policy-floor",
    type=click.IntRange(min=2),
    help=f"Smallest sum this device joins; below {_FLOOR} only with --insecure-demo.",
)
@click.option(
    "--insecure-demo", is_flag=True, help="Allow small sums, ignore conditions, follow rounds within seconds."
)
@click.option(
    "--conditions",
    "conditions_name",
    type=click.Choice(["system", "always"]),
    help="Ask the system, or count as idle, charging and unmetered.  [default: system; always with --insecure-demo]",
)
@click.option(
    "--schedule",
    "schedule_name",
    type=click.Choice(["normal", "demo"]),
    help="How eager the device is.  [default: normal; demo with --insecure-demo]",
)
@click.option("--rounds", type=click.IntRange(min=1), help="Stop after so many rounds.")
@click.option("--json", "as_json", is_flag=True, help="Print every status as a JSON object.")
def device(
    home: Path | None,
    coordinator_url: str,
    authority_url: str | None,
    token: str | None,
    certificate: Path | None,
    release_root: Path | None,
    replay: Path | None,
    user: str | None,
    catalog: Path | None,
    speed: float,
    typist_file: Path | None,
    seed: int,
    policy_floor: int | None,
    insecure_demo: bool,
    conditions_name: str | None,
    schedule_name: str | None,
    rounds: int | None,
    as_json: bool,
) -> None:
    """Run one headless device: it takes part in rounds and prints a line whenever its state changes.

    Typed text (of a replay) stays in its home folder; SIGTERM or Ctrl-C leaves a running round and stops at once.
    """
    if (authority_url is None) != (token is None):
        raise click.UsageError("--authority and --token belong together.")
    if policy_floor is not None and policy_floor < _FLOOR and not insecure_demo:
        raise click.UsageError(f"A floor below {_FLOOR} needs --insecure-demo: small sums say much about each device.")
    policy = DevicePolicy() if policy_floor is None else replace(DevicePolicy(), smallest_aggregate=policy_floor)
    if insecure_demo:
        policy = DevicePolicy().demo(policy_floor or DEMO_FLOOR)
        if replay is None:
            from keyboard_app.simulation.people import shipped_replay

            replay = shipped_replay()
    always = (conditions_name or ("always" if insecure_demo else "system")) == "always"
    eager = (schedule_name or ("demo" if insecure_demo else "normal")) == "demo"
    setting = HeadlessSetting(
        home=(home or default_home()).expanduser().resolve(),
        coordinator_url=coordinator_url,
        policy=policy,
        conditions=FixedConditions() if always else SystemConditions(),
        schedule=ScheduleSetting.demo() if eager else ScheduleSetting(),
        enrolment=Enrolment(authority_url, token) if authority_url is not None and token is not None else None,
        certificate=certificate,
        release_root=release_root,
        typing=None if replay is None else TypingSetting(replay, user, catalog, typist_file, seed, speed),
    )
    exit_on((signal.SIGTERM, signal.SIGINT))
    try:
        headless = HeadlessDevice(setting)
    except (IdentityError, PinnedRootError, LogError, SuggestionModelError, OSError, ValueError) as problem:
        raise click.ClickException(str(problem)) from problem
    try:
        headless.run(_report_as_json if as_json else _report, rounds)
    finally:
        headless.close()


def _report(status: DeviceStatus) -> None:
    click.echo(status.line)


def _report_as_json(status: DeviceStatus) -> None:
    click.echo(json.dumps(asdict(status), ensure_ascii=False))
