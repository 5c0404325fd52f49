"""Claims about the learning status: what runs, when the next chance comes, which model ranks, and the way back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from federated_protocol import wire
from federated_protocol.messages import ModelArtifact, ModelNotice
from keyboard_app.device import ConditionReport
from keyboard_app.device.schedule import WaitReason
from keyboard_app.window.pages.learning_status import duration
from suggestion_model.bundle import Bundle

pytestmark = pytest.mark.xdist_group("window")

LINES = ("any good thai restaurants in oakland", "how is the weather in berlin", "flights from denver to lisbon")


def admit(rig: Any, version: int, threshold: float = -1.0) -> None:
    """A new model arrives."""
    runtime = rig.keyboard.runtime
    v0 = runtime.store.v0
    weights = v0.weights * np.float32(1 + version / 100)
    digest = Bundle.shipped().digest
    raw = wire.encode(ModelArtifact(version, version - 1, digest, weights.astype("<f4").tobytes(), threshold))
    runtime.store.admit(raw, ModelNotice(version, hashlib.sha256(raw).hexdigest()))
    runtime._arrived(runtime.store.current)


def use_it(rig: Any) -> None:
    """Twelve offers, half of them tapped; then nobody types."""
    engine, session = rig.keyboard.engine, rig.keyboard.session
    engine.use_model(0, rig.keyboard.runtime.store.v0.weights, -50.0)
    for number in range(12):
        session.open_conversation(f"c @ {number}")
        session.enter_line(LINES[number % 3])
        if number % 3 == 0:
            session.tap_query()
        else:
            session.dismiss_query()
        session.send()
    rig.keyboard.last_activity[0] = None


def test_the_status_line_leads_to_the_page(page_rig: Any) -> None:
    page_rig.tap_box(page_rig.screen.header.box("device status"))
    assert page_rig.page.title == "Learning"
    assert "Model 0" in page_rig.page.words
    assert "no coordinator" in page_rig.page.words


def test_conditions_can_be_simulated_where_it_is_a_demo(page_rig: Any) -> None:
    page_rig.shell.open_learning()
    page_rig.tap("charging")
    assert "on battery (simulated)" in page_rig.page.words
    page_rig.keyboard.runtime.step()
    assert page_rig.keyboard.runtime.status.conditions.missing == "not charging"
    page_rig.tap("charging")
    assert "on mains power (simulated)" in page_rig.page.words
    page_rig.tap("real")
    assert "simulated" not in page_rig.page.words
    assert page_rig.keyboard.conditions.switches == {}


def test_real_conditions_are_shown_not_offered(make_page_rig: Callable[..., Any]) -> None:
    rig = make_page_rig(coordinator_url="http://127.0.0.1:9")
    rig.shell.open_learning()
    assert "Charging" in rig.page.words
    with pytest.raises(KeyError):
        rig.page.target("charging")


def test_what_was_learned_of_the_owner_is_said_and_can_be_switched_off(page_rig: Any) -> None:
    use_it(page_rig)
    page_rig.shell.open_learning()
    for _ in range(4):
        page_rig.keyboard.runtime.step()
    page_rig.page.refresh()
    personal = page_rig.keyboard.runtime.personal_model
    assert personal is not None
    if personal.kept:
        assert "fitted to your own taps" in page_rig.page.words
        assert f"learned from {personal.examples} of your offers" in page_rig.page.words
    else:
        assert "did no better than the shared model" in page_rig.page.words
    page_rig.tap("personal")
    assert "the same on every device" in page_rig.page.words


def test_learning_shows_what_it_does_and_the_stop_button_stops_it(page_rig: Any) -> None:
    use_it(page_rig)
    runtime = page_rig.keyboard.runtime
    page_rig.shell.open_learning()
    must_stop, seen = runtime._must_stop, []

    def watched() -> bool:
        page_rig.page.refresh()
        seen.append(runtime.status.line)
        page_rig.tap("stop")
        return bool(must_stop())

    runtime._must_stop = watched
    runtime.step()
    assert "learning for you alone" in seen[0]
    assert len(seen) == 1, "nothing was begun after the tap"
    assert runtime.personal_model is None
    page_rig.page.refresh()
    assert "Nothing runs" in page_rig.page.words
    with pytest.raises(KeyError):
        page_rig.page.target("stop")


def test_going_back_to_an_older_model_ranks_the_next_key(page_rig: Any) -> None:
    page_rig.shell.open_learning()
    with pytest.raises(KeyError):
        page_rig.page.target("use Newest (0)")
    admit(page_rig, 1)
    admit(page_rig, 2, threshold=-2.0)
    page_rig.page.refresh()
    assert "Since model 1 its numbers moved by" in page_rig.page.words
    assert "more readily" in page_rig.page.words
    page_rig.tap("use Model 1")
    assert page_rig.keyboard.engine.model.version == 1
    assert "rolled back" in page_rig.page.words
    page_rig.tap("use Model 0")
    assert page_rig.keyboard.engine.model.version == 0
    page_rig.tap("use Newest (2)")
    assert page_rig.keyboard.engine.model.version == 2
    assert "the same on every device" in page_rig.page.words


def test_the_next_opportunity_is_said_in_words(make_page_rig: Callable[..., Any]) -> None:
    from dataclasses import replace

    rig = make_page_rig(coordinator_url="http://127.0.0.1:9")
    runtime, learning = rig.keyboard.runtime, rig.keyboard.learning()
    now = rig.keyboard.clock()

    def told(**status: Any) -> str:
        runtime._status = replace(runtime.status, **({"reason": None, "next_opportunity_at": None} | status))
        return str(learning.next_opportunity())

    assert told() == "Next round: at the next look."
    assert told(conditions=ConditionReport(charging=False)) == "Next round: as soon as it is charging."
    assert told(conditions=ConditionReport()) == "Next round: at the next look."
    assert "in 2 h (resting)" in told(reason=WaitReason.RESTING, next_opportunity_at=now + 7200)
    assert "in 40 s (you stopped it)" in told(reason=WaitReason.STOPPED, next_opportunity_at=now + 40.3)
    assert "coordinator out of reach" in told(reason=WaitReason.BACKING_OFF, next_opportunity_at=now + 600)
    assert "something new to learn from" in told(reason=WaitReason.NOTHING_LEARNED)
    assert "paused" in told(reason=WaitReason.PAUSED)
    assert "send nothing" in told(reason=WaitReason.NOT_SENDING)
    assert told(phase="training").startswith("Now")


def test_time_spans_read_well() -> None:
    assert [duration(s) for s in (0.2, 40, 600, 7200)] == ["1 s", "40 s", "10 min", "2 h"]


def test_the_holdback_is_told_that_it_keeps_the_shipped_model(page_rig: Any) -> None:
    runtime = page_rig.keyboard.runtime
    runtime._choice.arm = "holdback"
    admit(page_rig, 1)
    runtime.step()
    page_rig.shell.open_learning()
    assert "this device keeps the shipped model" in page_rig.page.words
    assert page_rig.keyboard.engine.model.version == 0
