"""``keyboard-app run``: the window."""

from __future__ import annotations

import logging
import re
from datetime import datetime
from pathlib import Path

import click

from data_logging import LogError
from keyboard_app.cli import default_home
from keyboard_app.device import Enrolment, IdentityError
from keyboard_app.suggestions.session import SEARCH_ADDRESS
from keyboard_app.window.assembly import KeyboardSetting, assemble
from keyboard_app.window.environment import PHONE_SIZE, SMALLEST_SIZE, has_display, prepare
from keyboard_app.window.layouts import LayoutError, available_layouts, check_targets, load_layout
from keyboard_app.window.partner import PartnerError, ScriptedPartner
from keyboard_app.window.theme import ThemeError, load_theme, theme_for_hour
from suggestion_model.catalog import CatalogError
from suggestion_model.errors import BundleError

DEFAULT_LAYOUT = "qwerty"

logger = logging.getLogger(__name__)


def _size(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{2,5})x(\d{2,5})", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a size such as 420x800")
    size = (int(found[1]), int(found[2]))
    if size[0] < SMALLEST_SIZE[0] or size[1] < SMALLEST_SIZE[1]:
        raise click.BadParameter(f"the window needs at least {SMALLEST_SIZE[0]}x{SMALLEST_SIZE[1]} pixels")
    return size


def _chosen_layouts(names: tuple[str, ...]) -> list[str]:
    """The layouts named; of a single one all others follow, and without any all stand behind the first choice."""
    first = names or (DEFAULT_LAYOUT,)
    others = [] if len(first) > 1 else [name for name in available_layouts() if name not in first]
    return [*first, *others]


@click.command()
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Folder for the log, models and identity of this keyboard.",
)
@click.option("--coordinator", "coordinator_url", metavar="URL", help="Where rounds are; without it, a keyboard alone.")
@click.option("--authority", "authority_url", metavar="URL", help="Where to enrol, together with --token.")
@click.option("--token", help="One-time token for --authority.")
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate made by `authority issue`, instead of --authority.",
)
@click.option(
    "--catalog",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Query list or knowledge graph instead of the shipped one.",
)
@click.option("--size", metavar="WxH", callback=_size, default=f"{PHONE_SIZE[0]}x{PHONE_SIZE[1]}", show_default=True)
@click.option(
    "--theme",
    type=click.Choice(["light", "dark", "auto"]),
    default="auto",
    show_default=True,
    help="auto: light from 7 to 19 o'clock.",
)
@click.option(
    "--layout",
    "layouts",
    type=click.Choice(available_layouts()),
    multiple=True,
    help="First layout shown; give it several times for those the language key walks through. Default: all.",
)
@click.option(
    "--search-url", default=SEARCH_ADDRESS, show_default=True, help="Where a query is searched after the second tap."
)
@click.option(
    "--insecure-demo", is_flag=True, help="Accept small sums and follow rounds within seconds. Not for real text."
)
@click.option(
    "--policy-floor",
    type=click.IntRange(min=2),
    default=4,
    show_default=True,
    help="With --insecure-demo: the smallest sum this device joins.",
)
@click.option(
    "--exit-after",
    "exit_after_s",
    type=click.FloatRange(min=0.1),
    metavar="S",
    help="Close the window after S seconds.",
)
@click.option(
    "--screenshot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --exit-after: write a PNG of the window before it closes.",
)
@click.option("--type", "type_text", default="", metavar="TEXT", help="Type TEXT at the start, for pictures.")
def run(
    home: Path | None,
    coordinator_url: str | None,
    authority_url: str | None,
    token: str | None,
    certificate: Path | None,
    catalog: Path | None,
    size: tuple[int, int],
    theme: str,
    layouts: tuple[str, ...],
    search_url: str,
    insecure_demo: bool,
    policy_floor: int,
    exit_after_s: float | None,
    screenshot: Path | None,
    type_text: str,
) -> None:
    """Open the keyboard window.

    It needs no coordinator: without one it suggests with the model it has. Nothing typed leaves this device.
    """
    if (authority_url is None) != (token is None):
        raise click.UsageError("--authority and --token belong together.")
    if screenshot is not None and exit_after_s is None:
        raise click.UsageError("--screenshot needs --exit-after, it is taken just before the window closes.")
    if not has_display():
        logger.info("no display: drawing off screen")
        if exit_after_s is None:
            raise click.ClickException(
                "There is no display for a window: set DISPLAY, or start under xvfb-run, "
                "or use --exit-after to draw off screen."
            )
    setting = KeyboardSetting(
        home=(home or default_home()).expanduser().resolve(),
        coordinator_url=coordinator_url,
        enrolment=Enrolment(authority_url, token) if authority_url is not None and token is not None else None,
        certificate=certificate,
        catalog=catalog,
        search_address=search_url,
        demo_floor=policy_floor if insecure_demo else None,
    )
    try:
        colours = load_theme(theme_for_hour(datetime.now()) if theme == "auto" else theme)
        keys = [load_layout(name) for name in _chosen_layouts(layouts)]
        for layout in keys:
            check_targets(layout)
        partner = ScriptedPartner()
        keyboard = assemble(setting)
    except (
        BundleError, CatalogError, IdentityError, LogError, LayoutError, ThemeError, PartnerError, OSError, ValueError
    ) as error:  # fmt: skip
        raise click.ClickException(str(error)) from error

    try:
        prepare(setting.home, size)
        from keyboard_app.window.app import KeyboardApp
        from keyboard_app.window.screen import KeyboardScreen
    except ImportError as error:
        keyboard.close()
        raise click.ClickException(
            f"The window needs Kivy ({error}). Install it with: pip install 'federated-keyboard[window]'"
        ) from error

    keyboard.session.open_conversation(f"{partner.name} {datetime.now():%Y-%m-%dT%H:%M:%S}")

    def make_screen() -> KeyboardScreen:
        return KeyboardScreen(
            keyboard.session, keyboard.status_line, keys, colours, partner, on_activity=keyboard.note_activity
        )

    try:
        keyboard.start()
        KeyboardApp(make_screen, exit_after_s, screenshot, type_text).run()
    finally:
        keyboard.close()
