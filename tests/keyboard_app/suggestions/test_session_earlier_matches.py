"""What a conversation came to before: remembered in its session, logged as served and trained on as logged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suggestion_model.bundle import Bundle
from suggestion_model.earlier_matches import MATCH_HISTORY
from suggestion_model.features import Featurizer
from suggestion_model.runtime import Ranker
from suggestion_model.types import RankerInputs
from tests.keyboard_app.suggestions.desk import THAI, Desk, Seat


class ListeningRanker(Ranker):
    """Keeps what it was asked to score last."""

    heard: RankerInputs

    def scores(self, inputs: RankerInputs) -> NDArray[np.float32]:
        self.heard = inputs
        return super().scores(inputs)


def match_inputs(desk: Desk) -> list[tuple[float, ...]]:
    """What the log says the ranker saw of earlier matches, row by row."""
    return [row.impression.features[-len(MATCH_HISTORY) :] for row in desk.log.impressions()]


def test_a_device_trains_on_exactly_what_its_ranker_was_served(seat: Seat, bundle: Bundle) -> None:
    ranker = ListeningRanker(bundle)
    desk, served = seat(ranker=ranker), list[RankerInputs]()
    for text in ("italian restaurants in oakland", THAI, "weather in paris?", "and thai restaurants in oakland again"):
        desk.keys(text)
        served.append(ranker.heard)
        desk.clock.now += 1.0
        if text == "weather in paris?":
            desk.session.tap_query()
        desk.session.send()
    desk.log.delete(desk.log.impressions()[0].id)  # what is left needs none of what is gone
    examples = Featurizer(bundle).examples(desk.log.impressions())
    for example, inputs in zip(examples, served[1:], strict=True):
        assert np.array_equal(example.context_ids, inputs.context_ids[0])
        assert np.array_equal(example.candidate_ids, inputs.candidate_ids[0])
        assert np.array_equal(example.dense, inputs.dense[0])
    assert len({tuple(example.dense[-len(MATCH_HISTORY) :].tolist()) for example in examples}) == len(examples)


def test_what_was_found_before_belongs_to_its_conversation_and_goes_with_the_persons_deletions(seat: Seat) -> None:
    desk = seat()
    desk.line(THAI)
    desk.line(THAI)
    desk.session.open_conversation("c2")
    desk.line(THAI)
    desk.session.open_conversation("c1")
    desk.line("italian restaurants in oakland")
    first, second, elsewhere, back = (any(seen) for seen in match_inputs(desk))
    assert (first, second, elsewhere, back) == (False, True, False, True)
    desk.log.erase()
    desk.line("weather in paris?")
    assert not any(match_inputs(desk)[0])
