"""The privacy centre as pages: what is held, one list for each kind of it, and why an offer was made."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from data_logging import LoggedImpression
from keyboard_app.window.pages.page import Page
from keyboard_app.window.pages.privacy_centre import PrivacyCentre, category, kilobytes
from keyboard_app.window.pages.rows import Button, Buttons, Card, Heading, Item, Paragraph, Row, Switch
from keyboard_app.window.theme import Theme

FIRST_ROWS = 40
"""Rows of a list that are drawn at first; more on request."""
Open = Callable[[Page], object]


class PrivacyCentrePage(Page):
    """Everything the keyboard holds, and what can be done about it.

    Args:
        theme, back: see :class:`Page`.
        centre: what is held.
        show: opens a page on top of this one.
        incognito: whether incognito is on, and a switch for it.
    """

    title = "Privacy"

    def __init__(
        self,
        theme: Theme,
        back: Callable[[], object],
        centre: PrivacyCentre,
        show: Open,
        incognito: tuple[Callable[[], bool], Callable[[], object]],
        **kwargs: Any,
    ) -> None:
        self._centre = centre
        self._open = show
        self._is_incognito, self._toggle_incognito = incognito
        self._asking = False
        centre.remark = ""
        super().__init__(theme, back, **kwargs)

    def rows(self) -> tuple[Row, ...]:
        """What is held, what is sent next, what is decided, and the end of it all."""
        centre, counts = self._centre, self._centre.counts()
        held = Card(
            (
                Item(
                    "suggested searches",
                    "Suggested searches",
                    "what was offered, in which line, and whether you tapped it",
                    f"{counts.offers}",
                    partial(self._list, OffersPage),
                    leads=True,
                ),
                Item(
                    "learned words",
                    "Learned words",
                    "words you use, to complete and predict them",
                    f"{counts.words}",
                    partial(self._list, WordsPage),
                    leads=True,
                ),
                Item(
                    "rounds",
                    "Rounds joined",
                    "when this device helped to improve the shared model",
                    f"{counts.rounds}",
                    partial(self._list, RoundsPage),
                    leads=True,
                ),
                Item(
                    "refusals",
                    "Not wanted",
                    "words and searches you sent away for good",
                    f"{len(centre.unwanted())}",
                    partial(self._list, UnwantedPage),
                    leads=True,
                ),
            )
        )
        decided = Card(
            (
                Switch(
                    "learning",
                    "Learn from what I type",
                    centre.learning,
                    centre.toggle_learning,
                    "Off: nothing new is kept. What is kept already stays until you erase it.",
                ),
                Switch(
                    "sending",
                    "Help to improve the shared model",
                    centre.sending,
                    centre.toggle_sending,
                    "Off: it still learns, for you alone. Nothing is sent.",
                ),
                Switch(
                    "incognito",
                    "Incognito",
                    self._is_incognito(),
                    self._toggle_incognito,
                    "For a while: nothing you type is kept, and the bar turns violet.",
                ),
            )
        )
        return (
            Paragraph("What you type stays on this device. Here is all that is kept of it.", strong=True),
            held,
            *(() if not centre.remark else (Card((Paragraph(centre.remark),)),)),
            self._end(),
            Heading("You decide"),
            decided,
            Heading("What would be sent next"),
            Card(tuple(Paragraph(sentence) for sentence in centre.sent_next())),
            Paragraph(
                f"{counts.lines} sent lines are counted, their text is not kept. Lines with an offer are kept without "
                f"numbers and addresses, for 60 days. The log takes {kilobytes(counts.size_bytes)}."
            ),
        )

    def _end(self) -> Row:
        if not self._asking:
            return Buttons(
                (
                    Button("export", "Export as JSON", self._centre.export),
                    Button("erase everything", "Erase everything…", partial(self._ask, True)),
                )
            )
        return Card(
            (
                Paragraph("Erase everything listed above? This cannot be undone.", strong=True),
                Buttons(
                    (
                        Button("keep", "Keep", partial(self._ask, False)),
                        Button("erase", "Erase", self._erase, primary=True),
                    )
                ),
            )
        )

    def _ask(self, asking: bool) -> None:
        self._asking = asking
        self._centre.remark = ""

    def _erase(self) -> None:
        self._asking = False
        self._centre.erase_everything()

    def _list(self, kind: type[ListPage]) -> None:
        self._open(kind(self.theme, self._centre, self._open))


class ListPage(Page):
    """A list of one kind of thing, the newest first, each of which can be deleted.

    Args:
        theme: colours.
        centre: what is held.
        show: opens a page on top; :attr:`back` is set by whoever opens this one.
    """

    about = ""
    nothing = ""

    def __init__(self, theme: Theme, centre: PrivacyCentre, show: Open, **kwargs: Any) -> None:
        self.centre = centre
        self.open_page = show
        self._most = FIRST_ROWS
        centre.remark = ""
        super().__init__(theme, lambda: None, **kwargs)

    def items(self) -> list[Item]:
        """Everything in the list."""
        return []

    def rows(self) -> tuple[Row, ...]:
        """What the list is about, and its items."""
        items = self.items()
        shown = tuple(items[: self._most])
        left = len(items) - len(shown)
        return (
            Paragraph(self.about if items else self.nothing),
            *(() if not self.centre.remark else (Card((Paragraph(self.centre.remark),)),)),
            *((Card(shown),) if shown else ()),
            *((Button("more", f"Show {min(left, FIRST_ROWS)} more", self._more),) if left > 0 else ()),
        )

    def _more(self) -> None:
        self._most += FIRST_ROWS


class OffersPage(ListPage):
    """Suggested searches."""

    title = "Suggested searches"
    about = "Tap one to see why it came up. The cross deletes it."
    nothing = "Nothing is kept. When a search is suggested while you type, it is listed here."

    def items(self) -> list[Item]:
        """One item for each logged decision."""
        centre = self.centre
        return [
            Item(
                f"offer {offer.id}",
                offer.impression.candidate,
                f"{centre.outcome(offer)} · {centre.when(offer.impression.created_at)}",
                act=partial(self._why, offer),
                remove=partial(centre.delete_offer, offer.id),
            )
            for offer in centre.offers()
        ]

    def _why(self, offer: LoggedImpression) -> None:
        self.open_page(WhyPage(self.theme, self.centre, offer))


class WhyPage(Page):
    """Why one search was suggested, or kept back, and all that is kept about it.

    Args:
        theme: colours.
        centre: explains.
        offer: the row of the log.
    """

    title = "Why this suggestion"

    def __init__(self, theme: Theme, centre: PrivacyCentre, offer: LoggedImpression, **kwargs: Any) -> None:
        self._centre = centre
        self._offer = offer
        super().__init__(theme, lambda: None, **kwargs)

    def rows(self) -> tuple[Row, ...]:
        """The offer, why, what is kept, and a way to delete it."""
        centre, offer, seen = self._centre, self._offer, self._offer.impression
        return (
            Card(
                (
                    Item(
                        "offer",
                        seen.candidate,
                        f"about {category(seen.category)} · {centre.outcome(offer)} · {centre.when(seen.created_at)}",
                        open=True,
                    ),
                )
            ),
            Heading("Why"),
            Card(tuple(Paragraph(sentence) for sentence in centre.why(offer))),
            Heading("The lines it came from, as they are kept"),
            Card(tuple(Paragraph(line) for line in seen.context.split("\n") if line)),
            Paragraph(centre.counted(offer)),
            Button("delete", "Delete this", self._delete),
        )

    def _delete(self) -> None:
        self._centre.delete_offer(self._offer.id)
        self.back()


class WordsPage(ListPage):
    """Learned words."""

    title = "Learned words"
    about = "Words of lines you sent, newest first. The cross unlearns one."
    nothing = "No words are learned yet. Words of lines you send are listed here."

    def items(self) -> list[Item]:
        """One item for each word."""
        centre = self.centre
        return [
            Item(
                f"word {word.word} ({word.language})",
                word.word,
                f"{'once' if word.count == 1 else f'{word.count} times'} · {centre.when(word.last_used)}",
                remove=partial(centre.forget_word, word.word),
            )
            for word in centre.words()
        ]


class UnwantedPage(ListPage):
    """Refusals."""

    title = "Not wanted"
    about = "You sent these away for good. The cross lets one be suggested again."
    nothing = "Nothing. Hold a suggestion for a moment to send it away for good; it is then listed here."

    def items(self) -> list[Item]:
        """One item for each refusal."""
        return [
            Item(f"refusal {one.title}", one.title, one.detail, remove=partial(self.centre.allow, one))
            for one in self.centre.unwanted()
        ]


class RoundsPage(ListPage):
    """Rounds this device took part in."""

    title = "Rounds joined"
    about = "In each, one masked list of numbers was sent. Deleting an entry here takes nothing back."
    nothing = "This device has joined no round: it has sent nothing."

    def rows(self) -> tuple[Row, ...]:
        """The list, and what the rounds together may have told."""
        spent = self.centre.privacy_spent()
        return (*super().rows(), *((Paragraph(f"All rounds together: {spent}."),) if spent else ()))

    def items(self) -> list[Item]:
        """One item for each round."""
        centre = self.centre
        return [
            Item(
                f"round {entry.session}",
                f"Round {entry.round} · {centre.when(entry.when)}",
                centre.round_in_words(entry),
                remove=partial(centre.forget_round, entry.session),
                open=True,
            )
            for entry in centre.rounds()
        ]
