"""The ``coordinator`` command: begin one, serve it, read what it has done."""

from __future__ import annotations

import os
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from coordinator.command_options import as_url, open_reports, settings_options, show
from coordinator.errors import CoordinatorError
from coordinator.operation.commands import COMMANDS
from coordinator.settings import ReleaseSettings, Settings, as_toml, load_settings, parse_value
from coordinator.trust_anchor import read_trust_anchor

if TYPE_CHECKING:
    from coordinator.storage import Database


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def coordinator() -> None:
    """Coordinate federated learning: select devices, open nothing but sums, publish the next model."""


@coordinator.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--authority-public-key", required=True, help="Hex, or the public.key that `authority init` wrote.")
@click.option(
    "--algorithm",
    type=click.Choice(["fedavg", "fsvrg"]),
    default="fedavg",
    show_default=True,
    help="What the training task does: fedavg trains the ranker, fsvrg the sparse trigger.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def init(directory: Path, authority_public_key: str, algorithm: Literal["fedavg", "fsvrg"], as_json: bool) -> None:
    """Write coordinator.toml with every setting to DIRECTORY: defaults, and new versions judged before they go out."""
    anchor = read_trust_anchor(authority_public_key)
    target = directory / "coordinator.toml"
    if target.exists():
        raise CoordinatorError(f"{target} exists: edit it, or choose another directory")
    directory.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        authority_public_key=anchor.public_key.hex(),
        allow_insecure_demo=anchor.insecure_demo,
        database_url=f"sqlite:///{directory.resolve() / 'coordinator.sqlite'}",
        algorithm=algorithm,
        releases=ReleaseSettings(evaluation_gate=True),
    )
    target.write_text(as_toml(settings), "utf-8")
    line = f"wrote {target}; start with `coordinator serve --config {target}`"
    click.echo(msgspec.json.encode({"config": str(target), "database_url": settings.database_url}) if as_json else line)


@coordinator.command()
@settings_options
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free port.")
@click.option("--port-file", type=click.Path(dir_okay=False, path_type=Path), help="Write the port there.")
@click.option("--authority-public-key", help="Hex, or the public.key that `authority init` wrote.")
@click.option(
    "--former-authority-key",
    "former_keys",
    multiple=True,
    help="A key whose certificates count while devices move to the new one; hex, or its public.key.",
)
@click.option("--allow-insecure-demo", is_flag=True, default=None, help="Accept certificates marked INSECURE DEMO.")
@click.option("--goal-count", type=int, help="Devices wanted in a sum.")
@click.option("--minimum-count", type=int, help="Fewest devices a round begins with.")
@click.option("--smallest-aggregate", type=int, help="Fewest inputs that are ever summed.")
@click.option("--max-rounds", type=int, help="Stop after so many new versions; 0 is endless.")
@click.option(
    "--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Any setting, e.g. --set deadlines.share_s=20."
)
@click.option(
    "--small-demo", is_flag=True, help="Settings for a handful of devices on one machine: short, small rounds."
)
def serve(
    config: Path | None,
    database: str | None,
    host: str,
    port: int,
    port_file: Path | None,
    authority_public_key: str | None,
    former_keys: tuple[str, ...],
    allow_insecure_demo: bool | None,
    assignments: tuple[str, ...],
    small_demo: bool,
    **counts: int | None,
) -> None:
    """Serve devices, operators and the dashboard until SIGTERM.

    Settings come from defaults, --config, COORDINATOR_* variables (COORDINATOR_ROUNDS__GOAL_COUNT=60) and options; the
    last one wins. A public.key marked INSECURE DEMO implies --allow-insecure-demo.
    """
    overrides: dict[str, Any] = dict(SMALL_DEMO) if small_demo else {}
    overrides |= {f"rounds.{name}": value for name, value in counts.items() if value is not None}
    overrides |= dict(_assignment(text) for text in assignments)
    if database is not None:
        overrides["database_url"] = as_url(database)
    if authority_public_key is not None:
        anchor = read_trust_anchor(authority_public_key)
        overrides["authority_public_key"] = anchor.public_key.hex()
        overrides["allow_insecure_demo"] = anchor.insecure_demo or bool(allow_insecure_demo)
    elif allow_insecure_demo:
        overrides["allow_insecure_demo"] = True
    if former_keys:
        overrides["former_authority_keys"] = [read_trust_anchor(text).public_key.hex() for text in former_keys]
    settings = load_settings(config, environment=os.environ, overrides=overrides)

    from coordinator.service import Coordinator

    first = Coordinator(settings)  # a broken database or bundle is explained here, not by a worker that dies
    if small_demo:
        click.echo(f"dashboard: sign in as {DEMO_ACCOUNT} with {demo_account(first.database)} to decide", err=True)
    first.close()
    if settings.allow_insecure_demo:
        click.echo("INSECURE DEMO: certificates that prove nothing are accepted.", err=True)
    _serve(settings, host, port, port_file)


SMALL_DEMO: dict[str, Any] = {
    "rounds.goal_count": 60,
    "rounds.minimum_count": 4,
    "rounds.smallest_aggregate": 4,
    "rounds.pause_s": 2.0,
    "rounds.settle_s": 1.0,
    "deadlines.selecting_s": 8.0,
    "deadlines.advertise_s": 60.0,
    "deadlines.share_s": 15.0,
    "deadlines.masked_input_s": 15.0,
    "deadlines.confirm_s": 15.0,
    "deadlines.unmask_s": 15.0,
    "pace.longest_s": 5.0,
    "releases.evaluation_devices": 4,
    "operators.public_reports": True,
}
"""What ``--small-demo`` sets, below the other options."""


DEMO_ACCOUNT = "demo"


def demo_account(database: Database) -> str:
    """Make the demo's operator account, or give it a new password; returns the password, which is stored nowhere."""
    from coordinator.operation.accounts import Accounts, Role

    password = secrets.token_urlsafe(12)
    Accounts(database).add(DEMO_ACCOUNT, Role.OPERATOR, password, time.time())
    return password


def _serve(settings: Settings, host: str, port: int, port_file: Path | None) -> None:
    from coordinator import serving
    from coordinator.events import Event, configure_logging, log_event

    def make() -> serving.ServedApp:
        from coordinator.aggregation.mask_workers import make_executor
        from coordinator.app import create_app
        from coordinator.service import Coordinator

        configure_logging()
        executor = make_executor(settings.unmasking)
        app = create_app(settings, executor=executor)
        served: Coordinator = app.extensions["coordinator"]

        def start() -> None:
            served.start_ticking()
            log_event(Event.STARTED, version=served.models.current().version)

        def close() -> None:
            served.close()
            executor.shutdown(wait=False, cancel_futures=True)
            log_event(Event.STOPPED)

        return serving.ServedApp(app, start=start, stop=served.stop, close=close)

    serving.serve(make, host=host, port=port, port_file=port_file)


@coordinator.command()
@settings_options
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def rounds(config: Path | None, database: str | None, limit: int, as_json: bool) -> None:
    """List the newest rounds: what they summed, participants, graph, dropouts by phase, bytes."""
    from coordinator.reports import graph_words

    found = open_reports(config, database).rounds(limit)
    columns = ("round", "sum", "state", "reason", "model", "selected", "graph", "in sum", "unmasked", "dropouts",
               "kB up/device", "s")  # fmt: skip
    show(
        as_json,
        found,
        columns,
        [
            (
                r.round if r.cohorts == 1 else f"{r.round}, cohort {r.cohort} of {r.cohorts}",
                r.summed,
                r.state,
                r.reason,
                r.published_version,
                r.selected,
                graph_words(r),
                r.inputs,
                r.unmasked,
                " ".join(f"{phase} {n}" for phase, n in r.dropouts.items() if n) or None,
                None if r.bytes_up_per_device is None else f"{r.bytes_up_per_device / 1000:.1f}",
                None if r.duration_s is None else f"{r.duration_s:.1f}",
            )
            for r in found
        ],
    )


@coordinator.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def models(config: Path | None, database: str | None, as_json: bool) -> None:
    """List the model versions and their lineage."""
    found = open_reports(config, database).models()
    columns = ("version", "parent", "participants", "examples", "threshold", "update norm", "digest")
    show(
        as_json,
        found,
        columns,
        [
            (
                m.version,
                m.parent,
                m.participants,
                m.examples,
                f"{m.threshold:.3f}",
                None if m.update_norm is None else f"{m.update_norm:.4f}",
                m.digest[:12],
            )
            for m in found
        ],
    )


@coordinator.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object, rounds included.")
def metrics(config: Path | None, database: str | None, as_json: bool) -> None:
    """Show offers a line, clicks a line and click-through rate by arm and version."""
    found = open_reports(config, database).metrics()
    columns = ("arm", "version", "lines", "offers", "clicks", "offers/line", "clicks/line", "CTR")
    show(
        as_json,
        found,
        columns,
        [
            (
                u.arm,
                u.version,
                _estimate(u.lines, u.lines_noise),
                _estimate(u.offers, u.offers_noise),
                _estimate(u.clicks, u.clicks_noise),
                _rate(u.offers_per_line),
                _rate(u.clicks_per_line),
                _rate(u.click_through_rate),
            )
            for u in found.by_version
        ],
    )


def _estimate(value: int, noise: float | None) -> int | str:
    return value if noise is None else f"{value} ± {noise:.0f} noise"


def _rate(rate: float | None) -> str | None:
    return None if rate is None else f"{rate:.4f}"


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.UsageError("--set wants NAME=VALUE, e.g. --set rounds.pause_s=2")
    return name, parse_value(value)


for _command in COMMANDS:
    coordinator.add_command(_command)


def main() -> None:
    """Entry point: known errors become one line and exit status 1."""
    try:
        coordinator()
    except Exception as error:
        if not _explained(error):
            raise
        click.echo(f"coordinator: {error}", err=True)
        sys.exit(1)


def _explained(error: Exception) -> bool:
    if isinstance(error, CoordinatorError):
        return True
    from suggestion_model.errors import BundleError

    return isinstance(error, BundleError)


if __name__ == "__main__":
    main()
