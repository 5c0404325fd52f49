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
from keyboard_app.device.release_client import PinnedRootError
from keyboard_app.suggestions import SEARCH_ADDRESS
from keyboard_app.window.assembly import Keyboard, KeyboardSetting, assemble
from keyboard_app.window.chats import Chat, all_chats
from keyboard_app.window.environment import PHONE_SIZE, SMALLEST_SIZE, has_display, prepare
from keyboard_app.window.layouts import LayoutError, available_layouts, check_targets, load_layout, neighbours
from keyboard_app.window.partner import PartnerError
from keyboard_app.window.theme import ThemeError, load_theme, theme_for_hour
from suggestion_model.catalog import CatalogError
from suggestion_model.errors import BundleError

DEFAULT_LAYOUT = "qwerty"
WORDS_AFTER_S = 1.0
"""Words are read once the window is there."""
MOST_INSTANCES = 8

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


def _side_by_side(size: tuple[int, int], instances: int) -> tuple[int, int]:
    """Size of a window for several keyboards: as it was asked for, or where none was, a phone's width for each."""
    return (340 * instances, size[1]) if size == PHONE_SIZE else size


@click.command()
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Folder for the log, models and identity of this keyboard.",
)
@click.option("--coordinator", "coordinator_url", metavar="URL", help="Where rounds are; without it, a keyboard alone.")
@click.option("--authority", "authority_url", metavar="URL", help="Where to enrol, together with --token.")
@click.option("--token", "tokens", multiple=True, help="One-time token for --authority; with --instances one for each.")
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate made by `authority issue`, instead of --authority.",
)
@click.option(
    "--release-root",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Root metadata to pin: models that it does not vouch for are refused.",
)
@click.option(
    "--catalog",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Query list or knowledge graph instead of the shipped one.",
)
@click.option(
    "--instances",
    type=click.IntRange(1, MOST_INSTANCES),
    default=1,
    show_default=True,
    help="Keyboards side by side in one window, each with a store of its own inside --home.",
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
    "--text-scale",
    type=click.FloatRange(0.8, 2.0),
    default=1.0,
    show_default=True,
    help="All text is this many times as large.",
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
    tokens: tuple[str, ...],
    certificate: Path | None,
    release_root: Path | None,
    catalog: Path | None,
    instances: int,
    size: tuple[int, int],
    theme: str,
    layouts: tuple[str, ...],
    text_scale: float,
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
    if (authority_url is None) != (not tokens):
        raise click.UsageError("--authority and --token belong together.")
    if tokens and len(tokens) != instances:
        raise click.UsageError(f"{instances} keyboards need {instances} tokens, one --token for each.")
    if certificate is not None and instances > 1:
        raise click.UsageError("A certificate belongs to one keyboard: use --authority and a --token for each.")
    if screenshot is not None and exit_after_s is None:
        raise click.UsageError("--screenshot needs --exit-after, it is taken just before the window closes.")
    if not has_display():
        logger.info("no display: drawing off screen")
        if exit_after_s is None:
            raise click.ClickException(
                "There is no display for a window: set DISPLAY, or start under xvfb-run, "
                "or use --exit-after to draw off screen."
            )
    try:
        keys = [load_layout(name) for name in _chosen_layouts(layouts)]
        for layout in keys:
            check_targets(layout)
    except LayoutError as error:
        raise click.ClickException(str(error)) from error
    base = (home or default_home()).expanduser().resolve()
    settings = [
        KeyboardSetting(
            home=base if instances == 1 else base / f"keyboard-{number + 1}",
            coordinator_url=coordinator_url,
            enrolment=Enrolment(authority_url, tokens[number]) if authority_url is not None else None,
            certificate=certificate,
            release_root=release_root,
            catalog=catalog,
            search_address=search_url,
            language=keys[0].language,
            neighbours=neighbours(keys[0]),
            words_after_s=WORDS_AFTER_S,
            demo_floor=policy_floor if insecure_demo else None,
        )
        for number in range(instances)
    ]
    keyboards: list[Keyboard] = []
    try:
        colours = load_theme(theme_for_hour(datetime.now()) if theme == "auto" else theme)
        chats = [all_chats(datetime.now()) for _ in settings]
        for setting in settings:
            keyboards.append(assemble(setting))
    except (
        BundleError, CatalogError, IdentityError, PinnedRootError, LogError, LayoutError, ThemeError, PartnerError,
        OSError, ValueError,
    ) as error:  # fmt: skip
        _close(keyboards)
        raise click.ClickException(str(error)) from error

    try:
        prepare(base, size if instances == 1 else _side_by_side(size, instances), text_scale)
        from keyboard_app.window.app import KeyboardApp
        from keyboard_app.window.instances import Instances
        from keyboard_app.window.screen import KeyboardScreen
        from keyboard_app.window.shell import Shell
    except ImportError as error:
        _close(keyboards)
        raise click.ClickException(
            f"The window needs Kivy ({error}). Install it with: pip install 'federated-keyboard[window]'"
        ) from error

    def make_shell(keyboard: Keyboard, known: list[Chat]) -> Shell:
        screen = KeyboardScreen(
            keyboard.session,
            keyboard.status_line,
            keys,
            colours,
            None,
            on_activity=keyboard.note_activity,
            on_language=lambda language: keyboard.use_language(language, wait=False),
        )
        screen.dialogue.chat, screen.search.results = known[0], keyboard.results
        return Shell(screen, colours, known, keyboard.privacy(), keyboard.learning)

    def make_root() -> Shell | Instances:
        shells = [make_shell(keyboard, known) for keyboard, known in zip(keyboards, chats, strict=True)]
        return shells[0] if instances == 1 else Instances(shells, colours)

    try:
        for keyboard in keyboards:
            keyboard.start()
        KeyboardApp(make_root, exit_after_s, screenshot, type_text).run()
    finally:
        _close(keyboards)


def _close(keyboards: list[Keyboard]) -> None:
    for keyboard in keyboards:
        keyboard.close()
