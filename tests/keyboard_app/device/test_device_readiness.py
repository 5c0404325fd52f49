"""When a device works for others, who it is, and what it agrees to: conditions, schedule, identity, policy."""

from __future__ import annotations

import random
import stat
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated_protocol import enrolment, signing
from federated_protocol.plan import AggregationSetting, MetricSetting, MetricSlot, Plan, TrainingSetting
from federated_protocol.update_codec import solve_codec
from keyboard_app.device.conditions import (
    ConditionReport,
    FixedConditions,
    SwitchedConditions,
    SystemBus,
    SystemConditions,
)
from keyboard_app.device.history import Ending, History, HistoryEntry
from keyboard_app.device.identity import DeviceIdentity, IdentityError, assign_arm
from keyboard_app.device.policy import DevicePolicy, PlanRefusal, PlanRefusedError
from keyboard_app.device.schedule import Material, Schedule, ScheduleSetting, WaitReason
from tests.plans import plan_with

DIMENSION = 200


def make_plan(**changes: object) -> Plan:
    slots = (MetricSlot("holdback", 0), MetricSlot("treatment", 2))
    plan = plan_with(
        solve_codec(DIMENSION, 1.0, 0.001, bytes(32), 1024, 30),
        training=TrainingSetting(epochs=2, batch_size=16, learning_rate=0.1, weight_cap=50),
        aggregation=AggregationSetting(smallest_aggregate=20, largest_cohort=30),
        metrics=MetricSetting(slots=slots, score_edges=(-1.0, 1.0)),
    )
    return msgspec.structs.replace(plan, **changes)


class TestConditions:
    def test_what_cannot_be_asked_does_not_speak_against_training(self) -> None:
        assert ConditionReport().allow_training
        assert ConditionReport().missing is None

    @pytest.mark.parametrize(
        ("report", "missing"),
        [
            (ConditionReport(charging=False), "not charging"),
            (ConditionReport(unmetered=False), "metered network"),
            (ConditionReport(idle=False), "in use"),
        ],
    )
    def test_a_known_no_is_named(self, report: ConditionReport, missing: str) -> None:
        assert not report.allow_training
        assert report.missing == missing

    def test_news_are_fetched_in_use_but_never_on_a_metered_network(self) -> None:
        assert ConditionReport(idle=False, charging=False).allow_news
        assert not ConditionReport(unmetered=False).allow_news

    def test_switches_lie_over_what_is_beneath_until_cleared(self) -> None:
        switches = SwitchedConditions(FixedConditions(charging=False))
        assert switches.now().missing == "not charging"
        switches.set(charging=True)
        assert switches.now().allow_training
        switches.set(idle=False)
        assert switches.now() == ConditionReport(False, True, True)
        switches.clear()
        assert switches.now().missing == "not charging"

    def test_a_key_press_makes_the_device_busy_at_once_and_idle_again_after_a_while(self) -> None:
        now, pressed = [1000.0], [990.0]
        system = SystemConditions(lambda: pressed[0], idle_after_s=60.0, monotonic=lambda: now[0], use_dbus=False)
        assert system.now().idle is False
        now[0] = 1051.0
        assert system.now().idle is None
        pressed[0] = 1051.0
        assert system.now().idle is False

    def test_a_machine_without_a_system_bus_answers_unknown(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/no-bus")
        assert SystemBus().ask() == (None, None, None)


class TestSchedule:
    setting = ScheduleSetting(
        rest_between_rounds_s=100, news_interval_s=50, conditions_poll_s=10, backoff_first_s=2, backoff_limit_s=30,
        jitter=0.0,
    )  # fmt: skip
    good = ConditionReport(True, True, True)
    plenty = staticmethod(lambda: Material(examples=5, lines_to_report=9))

    def make(self, **changes: float) -> Schedule:
        return Schedule(replace(self.setting, **changes), random.Random(1))

    def test_everything_in_favour_joins_a_round_now(self) -> None:
        decision = self.make().decide(0.0, self.good, self.plenty)
        assert (decision.check_in, decision.wants_round) == (True, True)

    def test_missing_conditions_still_ask_for_news_but_for_no_round(self) -> None:
        decision = self.make().decide(0.0, ConditionReport(charging=False), self.plenty)
        assert (decision.check_in, decision.wants_round, decision.reason) == (True, False, WaitReason.CONDITIONS)

    def test_between_news_a_waiting_device_sleeps(self) -> None:
        schedule = self.make()
        schedule.checked_in(0.0)
        decision = schedule.decide(1.0, ConditionReport(charging=False), self.plenty)
        assert not decision.check_in
        assert decision.wait_s == 10

    def test_the_log_is_left_alone_while_conditions_are_missing(self) -> None:
        def never() -> Material:
            raise AssertionError("looked into the log")

        self.make().decide(0.0, ConditionReport(idle=False), never)

    def test_without_examples_lines_to_report_are_reason_enough(self) -> None:
        assert self.make().decide(0.0, self.good, lambda: Material(0, 3)).wants_round
        nothing = self.make().decide(0.0, self.good, lambda: Material(0, 0))
        assert not nothing.wants_round
        assert nothing.reason is WaitReason.NOTHING_LEARNED

    def test_a_device_rests_after_a_round(self) -> None:
        schedule = self.make()
        schedule.joined(0.0)
        schedule.checked_in(0.0)
        resting = schedule.decide(1.0, self.good, self.plenty)
        assert (resting.reason, resting.wait_s) == (WaitReason.RESTING, 49.0)
        assert schedule.decide(100.0, self.good, self.plenty).wants_round

    def test_hints_of_the_coordinator_are_followed_and_bounded(self) -> None:
        schedule = self.make(longest_hint_s=500)
        schedule.come_back(0.0, 40.0)
        assert schedule.decide(39.0, self.good, self.plenty).wait_s == pytest.approx(1.0)
        assert schedule.decide(40.0, self.good, self.plenty).wants_round
        schedule.come_back(0.0, 1e9)
        assert schedule.decide(500.0, self.good, self.plenty).wants_round

    def test_errors_back_off_exponentially_up_to_a_limit_and_a_success_forgets_them(self) -> None:
        schedule, waits = self.make(), []
        for _ in range(7):
            schedule.failed(0.0)
            waits.append(schedule.decide(0.0, self.good, self.plenty).wait_s)
        assert waits == [2, 4, 8, 16, 30, 30, 30]
        schedule.checked_in(0.0)
        schedule.failed(0.0)
        assert schedule.decide(0.0, self.good, self.plenty).wait_s == 2

    @given(seed=st.integers(0, 2**32), after=st.floats(0.1, 1000))
    def test_jitter_only_ever_makes_a_device_later(self, seed: int, after: float) -> None:
        schedule = Schedule(replace(self.setting, jitter=0.5), random.Random(seed))
        schedule.come_back(0.0, after)
        wait = schedule.decide(0.0, self.good, self.plenty).wait_s
        assert after <= wait <= after * 1.5 + 1e-9


class TestIdentity:
    authority = signing.Identity.generate()

    def certificate(self, key: bytes, until: float = 2_000.0, demo: bool = False) -> bytes:
        return enrolment.issue(
            self.authority, key, authority_name="test", not_before=0.0, not_after=until, insecure_demo=demo
        ).encode()

    def test_the_key_is_made_once_and_only_its_owner_can_read_it(self, tmp_path: Path) -> None:
        first = DeviceIdentity.open(tmp_path)
        assert stat.S_IMODE((tmp_path / "identity.key").stat().st_mode) == 0o600
        assert DeviceIdentity.open(tmp_path).public_key == first.public_key

    def test_a_key_file_open_to_others_is_closed(self, tmp_path: Path) -> None:
        DeviceIdentity.open(tmp_path)
        (tmp_path / "identity.key").chmod(0o644)
        DeviceIdentity.open(tmp_path)
        assert stat.S_IMODE((tmp_path / "identity.key").stat().st_mode) == 0o600

    def test_a_damaged_key_is_not_overwritten(self, tmp_path: Path) -> None:
        (tmp_path / "identity.key").write_bytes(b"short")
        with pytest.raises(IdentityError, match="enrol the device anew"):
            DeviceIdentity.open(tmp_path)
        assert (tmp_path / "identity.key").read_bytes() == b"short"

    def test_a_placed_certificate_is_found_and_its_end_noticed(self, tmp_path: Path) -> None:
        identity = DeviceIdentity.open(tmp_path)
        assert not identity.enrolment(1_000.0).enrolled
        (tmp_path / "certificate").write_bytes(self.certificate(identity.public_key))
        assert identity.look_again()
        assert identity.enrolment(1_000.0).enrolled
        assert "expired" in identity.enrolment(3_000.0).sentence
        assert "clock" in identity.enrolment(-1.0).sentence

    def test_a_demo_certificate_says_so(self, tmp_path: Path) -> None:
        identity = DeviceIdentity.open(tmp_path)
        identity.install(self.certificate(identity.public_key, demo=True))
        assert identity.insecure_demo
        assert "INSECURE DEMO" in identity.enrolment(1.0).sentence

    def test_another_devices_certificate_is_not_taken(self, tmp_path: Path) -> None:
        identity = DeviceIdentity.open(tmp_path)
        with pytest.raises(IdentityError, match="another device"):
            identity.install(self.certificate(bytes(32)))
        (tmp_path / "certificate").write_bytes(b"garbage")
        assert DeviceIdentity.open(tmp_path).certificate is None

    def test_an_authority_that_is_away_is_a_problem_with_advice(self, tmp_path: Path) -> None:
        identity = DeviceIdentity.open(tmp_path)
        with pytest.raises(IdentityError, match="try again later"):
            identity.enrol("http://127.0.0.1:9", "token", 0.0, timeout_s=1.0)
        with pytest.raises(IdentityError, match="address"):
            identity.enrol("nonsense://", "token", 0.0)

    def test_one_device_in_twenty_is_held_back(self) -> None:
        arms = [assign_arm(signing.fingerprint(n.to_bytes(32, "big"))) for n in range(4_000)]
        share = arms.count("holdback") / len(arms)
        assert 0.035 < share < 0.065
        assert assign_arm(bytes(16)) == assign_arm(bytes(16))


class TestPolicy:
    def test_a_fair_plan_is_accepted(self) -> None:
        DevicePolicy().check(make_plan(), DIMENSION)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"aggregation": AggregationSetting(smallest_aggregate=19, largest_cohort=30)}, PlanRefusal.FLOOR),
            ({"aggregation": AggregationSetting(smallest_aggregate=40, largest_cohort=30)}, PlanRefusal.COHORT),
            ({"aggregation": AggregationSetting(smallest_aggregate=20, largest_cohort=99_999)}, PlanRefusal.COHORT),
            ({"protocol_version": 99}, PlanRefusal.PROTOCOL),
            ({"training": TrainingSetting(500, 16, 0.1, 50)}, PlanRefusal.EPOCHS),
            ({"training": TrainingSetting(1, 16, float("nan"), 50)}, PlanRefusal.LEARNING_RATE),
            ({"training": TrainingSetting(1, 16, 0.1, 0)}, PlanRefusal.WEIGHT_CAP),
            ({"codec": solve_codec(7, 1.0, 0.001, bytes(32), 1024, 30)}, PlanRefusal.DIMENSION),
            ({"codec": solve_codec(DIMENSION, 1e4, 1.0, bytes(32), 1024, 30)}, PlanRefusal.CLIP),
            ({"codec": solve_codec(DIMENSION, 1.0, 0.001, bytes(32), 1024, 9)}, PlanRefusal.WIDTH),
            ({"metrics": MetricSetting((MetricSlot("just you", 1),), ())}, PlanRefusal.METRICS),
            ({"metrics": MetricSetting((), (1.0, 0.0))}, PlanRefusal.METRICS),
            ({"metrics": MetricSetting((), (), propensity_scale=10**9)}, PlanRefusal.METRICS),
        ],
    )
    def test_a_plan_that_weakens_a_limit_is_refused_by_name(
        self, changes: dict[str, object], reason: PlanRefusal
    ) -> None:
        with pytest.raises(PlanRefusedError) as refused:
            DevicePolicy().check(make_plan(**changes), DIMENSION)
        assert refused.value.reason is reason

    def test_a_demo_lowers_the_floor_and_says_so_but_never_below_two(self) -> None:
        demo = DevicePolicy().demo(3)
        assert demo.insecure_demo
        demo.check(make_plan(aggregation=AggregationSetting(5, 30)), DIMENSION)
        with pytest.raises(ValueError, match="hides nothing"):
            DevicePolicy().demo(1)


class TestHistory:
    def entry(self, session: str = "s-3-1", when: float = 100.0) -> HistoryEntry:
        return HistoryEntry(when, "suggestions", 3, session, 2, "ab" * 32, examples=7)

    def test_a_second_attempt_of_a_round_is_recognised_even_after_a_restart(self, tmp_path: Path) -> None:
        History(tmp_path / "rounds.json").put(self.entry())
        again = History(tmp_path / "rounds.json")
        assert again.has_contributed(make_plan(attempt=2, session="s-3-2"), now=200.0)
        assert not again.has_contributed(make_plan(round=4, session="s-4-1"), now=200.0)

    def test_a_coordinator_that_started_over_is_not_mistaken_for_a_retry_forever(self, tmp_path: Path) -> None:
        history = History(tmp_path / "rounds.json")
        history.put(self.entry())
        assert not history.has_contributed(make_plan(session="anew"), now=100.0 + 7 * 3600)

    def test_an_ending_replaces_the_entry_of_its_session(self, tmp_path: Path) -> None:
        history = History(tmp_path / "rounds.json")
        history.put(self.entry())
        history.put(msgspec.structs.replace(self.entry(), ending=Ending.FINISHED, participants=42))
        assert history.rounds_joined == 1
        assert [entry.participants for entry in history.entries] == [42]

    def test_only_the_newest_entries_are_kept(self, tmp_path: Path) -> None:
        history = History(tmp_path / "rounds.json", keep=3)
        for number in range(5):
            history.put(self.entry(f"s-{number}"))
        assert [entry.session for entry in history.entries] == ["s-2", "s-3", "s-4"]

    def test_a_damaged_history_is_set_aside(self, tmp_path: Path) -> None:
        (tmp_path / "rounds.json").write_bytes(b"{broken")
        assert History(tmp_path / "rounds.json").entries == ()
        assert (tmp_path / "rounds.json.corrupt-1").read_bytes() == b"{broken"
