"""The learning status as a page: what runs, when the next chance comes, and which model ranks."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from keyboard_app.window.pages.learning_status import LearningStatus
from keyboard_app.window.pages.page import Page
from keyboard_app.window.pages.rows import Bar, Button, Card, Heading, Item, Paragraph, Row, Switch
from keyboard_app.window.theme import Theme


class LearningStatusPage(Page):
    """What the device is learning.

    Args:
        theme, back: see :class:`Page`.
        learning: what to show.
        toggle_personal: switches the owner's own model on and off.
    """

    title = "Learning"

    def __init__(
        self,
        theme: Theme,
        back: Callable[[], object],
        learning: LearningStatus,
        toggle_personal: Callable[[], object],
        **kwargs: Any,
    ) -> None:
        self._learning = learning
        self._toggle_personal = toggle_personal
        super().__init__(theme, back, **kwargs)

    def rows(self) -> tuple[Row, ...]:
        """Now, conditions, model."""
        learning, status = self._learning, self._learning.status
        progress = learning.runtime.progress
        now: list[Row] = [
            Item("activity", learning.activity(), learning.next_opportunity(), open=True),
            *((Bar(progress.step / max(progress.steps, 1)),) if progress is not None else ()),
            *((Paragraph(f"Last problem: {status.problem}."),) if status.problem else ()),
        ]
        running = progress is not None or status.can_stop
        if running:
            now.append(Button("stop", "Stop", learning.runtime.stop_training, primary=True))
        conditions: list[Row] = []
        for condition in learning.conditions():
            if learning.simulate:
                conditions.append(
                    Switch(
                        condition.name,
                        condition.title,
                        condition.holds is not False,
                        partial(learning.flip, condition.name),
                        condition.detail,
                    )
                )
            else:
                value = {True: "yes", False: "no", None: "unknown"}[condition.holds]
                conditions.append(Item(condition.name, condition.title, condition.detail, value))
        simulated = any(condition.simulated for condition in learning.conditions())
        choices = tuple(
            Item(
                f"use {choice.title}",
                choice.title,
                choice.detail,
                "in use" if choice.in_use else "use",
                None if choice.in_use else partial(learning.choose, choice),
            )
            for choice in learning.choices()
        )
        return (
            Card(tuple(now)),
            Heading("It works only while the device is"),
            Card(tuple(conditions)),
            *((Button("real", "Use the real conditions", learning.back_to_real),) if simulated else ()),
            Heading("The model that suggests searches"),
            Card((Item("model", learning.model_line(), learning.what_changed(), open=True),)),
            Paragraph(learning.joined()),
            Card(
                (
                    Switch(
                        "personal",
                        "A model of my own",
                        learning.runtime.preferences.personalises,
                        self._toggle_personal,
                        learning.personal(),
                    ),
                )
            ),
            *((Heading("Go back to an older model"), Card(choices)) if len(choices) > 1 else ()),
            *((Paragraph(learning.remark),) if learning.remark else ()),
        )
