"""The command ``keyboard-app``: a group that imports a subcommand's module only when that subcommand runs.

A headless device must not pay for Kivy, and a log inspection for LiteRT.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path

import click

HOME_VARIABLE = "KEYBOARD_APP_HOME"
LOG_FILE = "log.sqlite"
"""Name of the local log inside a device's home folder."""
CATALOG_CACHE = "catalog-cache"
"""Folder in a device's home that keeps the index of its query list."""


def default_home() -> Path:
    """Folder of this person's device: ``$KEYBOARD_APP_HOME``, else the user's data folder."""
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "federated-keyboard"


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a subcommand lives, and what the help says without importing it."""

    module: str
    attribute: str
    help: str
    extra: str | None = None
    """The optional dependencies it needs."""


COMMANDS = {
    "run": LazyCommand("keyboard_app.window.commands", "run", "Open the keyboard window.", "window"),
    "device": LazyCommand("keyboard_app.device.commands", "device", "Run one headless device."),
    "fleet": LazyCommand("keyboard_app.simulation.commands", "fleet", "Run many simulated devices."),
    "demo": LazyCommand("keyboard_app.simulation.commands", "demo", "Coordinator, fleet and keyboard in one.", "demo"),
    "log": LazyCommand("keyboard_app.log_commands", "log", "Inspect, delete, erase or export the local log."),
}


class LazyGroup(click.Group):
    """A click group over :data:`COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the subcommand's module.

        Raises
        ------
        click.ClickException
            When something it needs is not installed, with the line that installs it.
        """
        lazy = COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        try:
            command = getattr(importlib.import_module(lazy.module), lazy.attribute)
        except ModuleNotFoundError as error:
            extra = f"[{lazy.extra}]" if lazy.extra else ""
            raise click.ClickException(
                f"'{cmd_name}' needs {error.name}, which is not installed. "
                f"Install it with: pip install 'federated-keyboard{extra}'"
            ) from None
        if not isinstance(command, click.Command):
            raise TypeError(f"{lazy.module}.{lazy.attribute} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in COMMANDS.items()])


@click.group(cls=LazyGroup)
@click.version_option(package_name="federated-keyboard")
def main() -> None:
    """A keyboard that suggests searches and learns federatedly: what you type stays on the device."""


if __name__ == "__main__":
    main()
