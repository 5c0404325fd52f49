"""Commands of operation: keys, releases, accounts, backup, restore, audit, report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from coordinator.command_options import as_url, open_reports, settings_of, settings_options, show
from coordinator.errors import CoordinatorError

_FOLDER = click.Path(file_okay=False, path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


def _folders(command: Callable[..., None]) -> Callable[..., None]:
    for name, text in (
        ("--online", "Folder that goes with the coordinator: setting releases.keys."),
        ("--offline", "Folder of root and targets keys; keep it away from any server."),
    ):
        command = click.option(name, type=_FOLDER, required=True, help=text)(command)
    return command


@click.group()
def keys() -> None:
    """Release keys of The Update Framework: make, list, rotate, revoke, approve."""


@keys.command()
@_folders
@click.option("--root-keys", default=1, show_default=True, type=click.IntRange(1, 20))
@click.option("--root-threshold", default=1, show_default=True, type=click.IntRange(1, 20), help="Keys a root needs.")
@click.option("--insecure-demo", is_flag=True, help="Mark the root: devices pin it in demos only.")
@_JSON
def make(offline: Path, online: Path, root_keys: int, root_threshold: int, insecure_demo: bool, as_json: bool) -> None:
    """Make all keys, approve the shipped bundle, and say which root devices pin."""
    from coordinator.releases import signing_keys

    digest = signing_keys.make_keys(
        offline,
        online,
        time.time(),
        root_keys=root_keys,
        root_threshold=root_threshold,
        targets=_bundle_targets(),
        insecure_demo=insecure_demo,
    )
    if as_json:
        click.echo(msgspec.json.encode({"pin": str(online / "metadata" / "1.root.json"), "sha256": digest}))
        return
    click.echo(f"pin {online / 'metadata' / '1.root.json'} on devices: --release-root (SHA-256 {digest})")
    click.echo(f"serve with --set releases.keys={online}; take {offline} away from this machine")


@keys.command("list")
@click.option("--online", type=_FOLDER, required=True)
@click.option("--offline", type=_FOLDER)
@_JSON
def list_keys(online: Path, offline: Path | None, as_json: bool) -> None:
    """List the keys in force by role."""
    from coordinator.releases import signing_keys

    found = signing_keys.list_keys(offline, online)
    rows = [(key.role, key.key_id, "yes" if key.private_key_here else "") for key in found]
    show(as_json, found, ("role", "key id", "private key here"), rows)


@keys.command()
@_folders
@click.argument("role")
@_JSON
def rotate(offline: Path, online: Path, role: str, as_json: bool) -> None:
    """Replace the keys of ROLE: root, targets, snapshot, timestamp or rounds."""
    from coordinator.releases import signing_keys

    said = signing_keys.rotate(offline, online, role, time.time())
    _say(as_json, {"role": role, "said": said}, said)


@keys.command()
@_folders
@click.argument("key_id")
@_JSON
def revoke(offline: Path, online: Path, key_id: str, as_json: bool) -> None:
    """Take the key KEY_ID (at least 8 digits of it) out of force; its role gets a new one."""
    from coordinator.releases import signing_keys

    role = signing_keys.revoke(offline, online, key_id, time.time())
    line = f"{role} has a new key; copy the online folder to every coordinator"
    _say(as_json, {"role": role, "revoked": key_id}, line)


@keys.command()
@_folders
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--under", default="releases", show_default=True, help="Path of the targets below the repository.")
@_JSON
def approve(offline: Path, online: Path, files: tuple[Path, ...], under: str, as_json: bool) -> None:
    """Sign FILES (a catalog, a tokenizer, a promoted model) offline as a release."""
    from coordinator.releases import signing_keys

    targets = {f"{under.strip('/')}/{path.name}": path.read_bytes() for path in files}
    version = signing_keys.approve(offline, online, targets, time.time())
    line = f"targets version {version} approves {', '.join(sorted(targets))}"
    _say(as_json, {"targets_version": version, "approved": sorted(targets)}, line)


def _bundle_targets() -> dict[str, bytes]:
    from suggestion_model.bundle import FILES, MANIFEST, Bundle

    bundle = Bundle.shipped()
    return {f"bundle/{bundle.digest[:16]}/{name}": (bundle.path / name).read_bytes() for name in (MANIFEST, *FILES)}


@click.group()
def releases() -> None:
    """Roll versions out and back, pause learning, show a version's card."""


@releases.command("list")
@settings_options
@_JSON
def list_releases(config: Path | None, database: str | None, as_json: bool) -> None:
    """List how far each version has come."""
    from coordinator.releases.rollout import all_rollouts, rounds_paused

    opened, settings = _database(config, database)
    with opened.reading() as connection:
        found = sorted(all_rollouts(connection, settings.releases.rollout_stages[0]).values(), key=lambda r: -r.version)
        paused = rounds_paused(connection)
    if paused and not as_json:
        click.echo("rounds are paused")
    rows = [(r.version, r.state, f"{r.percent:g} %", r.arms.value, r.reason) for r in found]
    show(as_json, found, ("version", "state", "devices", "arms", "reason"), rows)


@releases.command()
@settings_options
@click.argument("version", type=int)
@click.argument("percent", type=float)
@click.option(
    "--arms",
    type=click.Choice(["treatment", "all"]),
    help="Who ranks with it: the treatment arm alone, or the holdback as well, which then is what later versions are "
    "compared with. As before when left out; a new version begins with treatment.",
)
@_JSON
def rollout(
    config: Path | None, database: str | None, version: int, percent: float, arms: str | None, as_json: bool
) -> None:
    """Tell PERCENT of the devices of VERSION."""
    from coordinator.operation.audit import COMMAND_LINE
    from coordinator.releases.rollout import RolloutArms, set_percent

    opened, _ = _database(config, database)
    chosen = None if arms is None else RolloutArms(arms)
    with opened.writing() as connection:
        told = set_percent(connection, version, percent, chosen, now=time.time(), actor=COMMAND_LINE, reason="operator")
    whom = "devices" if told.arms is RolloutArms.ALL else "devices, and the treatment arm ranks with it"
    line = f"version {version} is told to {percent:g} % of {whom}"
    _say(as_json, {"version": version, "percent": percent, "arms": told.arms.value}, line)


@releases.command()
@settings_options
@click.argument("version", type=int)
@_JSON
def rollback(config: Path | None, database: str | None, version: int, as_json: bool) -> None:
    """Withdraw VERSION and what was trained on top of it; the version before is published again."""
    from coordinator.operation.audit import COMMAND_LINE
    from coordinator.releases.rollout import roll_back

    opened, _ = _database(config, database)
    with opened.writing() as connection:
        made = roll_back(connection, version, now=time.time(), actor=COMMAND_LINE, reason="operator")
    line = f"version {version} is withdrawn; version {made} is what came before it"
    _say(as_json, {"withdrawn": version, "published": made}, line)


@releases.command()
@settings_options
@click.option("--now", "at_once", is_flag=True, help="End the running rounds too; nothing of them is opened.")
@_JSON
def pause(config: Path | None, database: str | None, at_once: bool, as_json: bool) -> None:
    """Open no further round (the kill switch)."""
    from coordinator.operation.audit import COMMAND_LINE
    from coordinator.releases.rollout import pause_rounds
    from coordinator.rounds.deployment import tasks_of
    from coordinator.rounds.stopping import stop_rounds

    opened, settings = _database(config, database)
    now, stopped = time.time(), 0
    with opened.writing() as connection:
        pause_rounds(connection, True, now=now, actor=COMMAND_LINE)
        if at_once:
            stopped = stop_rounds(connection, tasks_of(settings), now=now, actor=COMMAND_LINE)
    line = "no further round opens" + (f"; running rounds ended: {stopped}" if at_once else "")
    _say(as_json, {"paused": True, "stopped": stopped}, line)


@releases.command()
@settings_options
@_JSON
def resume(config: Path | None, database: str | None, as_json: bool) -> None:
    """Open rounds again."""
    from coordinator.operation.audit import COMMAND_LINE
    from coordinator.releases.rollout import pause_rounds

    opened, _ = _database(config, database)
    with opened.writing() as connection:
        pause_rounds(connection, False, now=time.time(), actor=COMMAND_LINE)
    _say(as_json, {"paused": False}, "rounds open again")


@releases.command()
@settings_options
@click.argument("version", type=int)
@_JSON
def card(config: Path | None, database: str | None, version: int, as_json: bool) -> None:
    """Print the model card of VERSION."""
    from coordinator.operation.model_card import as_markdown, model_card

    found = model_card(*_database(config, database), version)
    click.echo(msgspec.json.encode(found) if as_json else as_markdown(found))


@click.group()
def accounts() -> None:
    """Accounts of people who use the dashboard."""


@accounts.command()
@settings_options
@click.argument("name")
@click.option("--role", type=click.Choice(["viewer", "operator"]), default="viewer", show_default=True)
@click.password_option(help="Asked for when left away; at least 12 characters.")
@_JSON
def add(config: Path | None, database: str | None, name: str, role: str, password: str, as_json: bool) -> None:
    """Make the account NAME, or give it a new password and role."""
    from coordinator.operation.accounts import Accounts, Role

    Accounts(_database(config, database)[0]).add(name, Role(role), password, time.time())
    _say(as_json, {"account": name, "role": role}, f"{name} is {role}")


@accounts.command()
@settings_options
@click.argument("name")
@_JSON
def remove(config: Path | None, database: str | None, name: str, as_json: bool) -> None:
    """Delete the account NAME; who is signed in with it is signed out."""
    from coordinator.operation.accounts import Accounts

    Accounts(_database(config, database)[0]).remove(name, time.time())
    _say(as_json, {"removed": name}, f"{name} is removed")


@accounts.command()
@settings_options
@click.argument("name")
@click.option("--days", default=90.0, show_default=True, type=click.FloatRange(0, min_open=True))
@_JSON
def token(config: Path | None, database: str | None, name: str, days: float, as_json: bool) -> None:
    """Print a token with which a script reads reports as NAME: `Authorization: Bearer TOKEN`. It decides nothing."""
    from coordinator.operation.accounts import Accounts

    made = Accounts(_database(config, database)[0]).issue_token(name, time.time(), days)
    _say(as_json, {"account": name, "token": made, "days": days}, made)


@accounts.command("list")
@settings_options
@_JSON
def list_accounts(config: Path | None, database: str | None, as_json: bool) -> None:
    """List accounts and roles."""
    from coordinator.operation.accounts import Accounts

    found = Accounts(_database(config, database)[0]).all()
    show(as_json, found, ("account", "role"), found)


@click.command()
@settings_options
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@_JSON
def backup(config: Path | None, database: str | None, target: Path, as_json: bool) -> None:
    """Write everything but rounds under way to TARGET; the coordinator may go on running."""
    from coordinator.operation.backup import back_up

    summary = back_up(_database(config, database)[0], target, time.time())
    _say(as_json, summary, f"{sum(summary.rows.values())} rows in {target}")


@click.command()
@settings_options
@click.argument("source", type=click.Path(dir_okay=False, path_type=Path))
@_JSON
def restore(config: Path | None, database: str | None, source: Path, as_json: bool) -> None:
    """Fill a new database from the backup SOURCE; no version is used again, no privacy is given back."""
    from coordinator.operation.backup import restore as fill
    from coordinator.operation.high_water import high_water_path
    from coordinator.storage import Database

    settings = settings_of(config, database)
    where = high_water_path(settings)
    opened = Database(as_url(settings.database_url))
    summary = fill(opened, source, time.time(), where)
    opened.close()
    line = f"restored; the newest model is version {summary.newest_model}"
    _say(as_json, summary, line)
    if where is None and not as_json:
        click.echo("set releases.keys or high_water: without their marks versions and privacy spent may fall")


@click.command()
@settings_options
@_JSON
def audit(config: Path | None, database: str | None, as_json: bool) -> None:
    """List who decided what, when."""
    from coordinator.operation.audit import newest_entries

    with _database(config, database)[0].reading() as connection:
        found = newest_entries(connection)
    rows = [(time.strftime("%Y-%m-%d %H:%M", time.gmtime(e.at)), e.actor, e.action, e.detail) for e in found]
    show(as_json, found, ("UTC", "who", "what", "detail"), rows)


@click.command()
@settings_options
@_JSON
def report(config: Path | None, database: str | None, as_json: bool) -> None:
    """Where things stand: rounds, the model in the field, and each version against the holdback."""
    reports = open_reports(config, database)
    status, comparisons = reports.status(time.time()), reports.comparisons()
    if as_json:
        click.echo(msgspec.json.encode({"status": status, "comparisons": comparisons}))
        return
    click.echo(
        f"{status.task}: model {status.model.version}, {status.published_rounds} rounds published, "
        f"{status.abandoned_rounds} abandoned; {status.privacy}"
    )
    columns = ("version", "devices", "CTR", "difference to holdback", "clicks retained", "offers retained", "verdict")
    rows = [
        (c.version, f"{c.treatment_devices}/{c.holdback_devices}", _bounded(c.ctr), _bounded(c.ctr_difference),
         _bounded(c.clicks_retained), _bounded(c.offers_retained), c.verdict.value.replace("_", " "))
        for c in comparisons
    ]  # fmt: skip
    show(False, None, columns, rows)


@click.command()
@settings_options
@_JSON
def tasks(config: Path | None, database: str | None, as_json: bool) -> None:
    """List the tasks: what each is for, how its rounds ended, what its sums have cost in privacy."""
    from coordinator.task_reports import TaskReports

    reports = TaskReports(*_database(config, database))
    found, privacy = reports.tasks(), {report.task: report for report in reports.privacy()}
    if as_json:
        click.echo(msgspec.json.encode([{"task": task, "privacy": privacy[task.name]} for task in found]))
        return
    rows = [
        (t.name, t.next_sum.replace("_", " "), t.state or ("waits" if t.wanted else "idle"), t.published,
         sum(t.abandoned.values()), t.last_devices, privacy[t.name].smallest_sum)
        for t in found
    ]  # fmt: skip
    show(False, None, ("task", "next sum", "now", "sums", "abandoned", "last sum", "smallest sum"), rows)
    for name, report in privacy.items():
        click.echo(f"{name}: {report.sentence}")


@click.command()
@settings_options
@click.option(
    "--hours", default=24, show_default=True, type=click.IntRange(1, 720), help="So many, up to the newest check-in."
)
@_JSON
def devices(config: Path | None, database: str | None, hours: int, as_json: bool) -> None:
    """Show check-ins by app version and hour; devices themselves are neither listed nor known."""
    from coordinator.operation.population import check_ins_by_hour

    with _database(config, database)[0].reading() as connection:
        found = check_ins_by_hour(connection)
    newest = max((row.hour for row in found), default=0)
    found = [row for row in found if row.hour > newest - hours]
    total = sum(row.count for row in found) or 1
    versions = sorted({row.app_version for row in found})
    counts = {version: sum(row.count for row in found if row.app_version == version) for version in versions}
    rows = [(version, count, f"{count / total:.1%}") for version, count in counts.items()]
    show(as_json, found, ("app version", f"check-ins, {hours} h", "share"), rows)


COMMANDS = (tasks, devices, keys, releases, accounts, backup, restore, audit, report)


def _database(config: Path | None, database: str | None) -> tuple[Any, Any]:
    from coordinator.storage import Database

    settings = settings_of(config, database)
    path = settings.database_url.removeprefix("sqlite:///")
    if path != settings.database_url and not os.path.exists(path):
        raise CoordinatorError(f"there is no database {path}: pass --database or --config of the coordinator")
    return Database(settings.database_url), settings


def _say(as_json: bool, found: object, line: str) -> None:
    click.echo(msgspec.json.encode(found) if as_json else line)


def _bounded(found: Any) -> str | None:
    return None if found is None else f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"
