"""Settings are merged in order, checked, and explained when they are wrong."""

from __future__ import annotations

import msgspec
import pytest
from click.testing import CliRunner

from coordinator.cli import coordinator as coordinator_command
from coordinator.errors import CoordinatorError, SettingsError
from coordinator.settings import ReleaseSettings, Settings, load_settings
from coordinator.trust_anchor import TrustAnchor, read_trust_anchor

KEY = "ab" * 32


def test_options_win_over_variables_over_the_file_over_defaults(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(f'authority_public_key = "{KEY}"\n[rounds]\ngoal_count = 61\npause_s = 3\n[training]\nepochs = 7\n')
    settings = load_settings(
        path,
        environment={"COORDINATOR_ROUNDS__PAUSE_S": "4", "COORDINATOR_ROUNDS__SETTLE_S": "6", "PATH": "x"},
        overrides={"rounds.settle_s": 8.5, "rounds.goal_count": None},
    )
    rounds = settings.rounds
    assert (rounds.goal_count, rounds.pause_s, rounds.settle_s) == (61, 4, 8.5)
    assert settings.training.epochs == 7
    assert settings.training.batch_size == 16
    assert settings.most_selected == 80


def test_score_edges_cover_the_range():
    edges = Settings(authority_public_key=KEY).score_edges
    assert (edges[0], edges[-1], len(edges)) == (-8.0, 6.0, 29)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({}, "authority init"),
        ({"authority_public_key": "xyz"}, "64 hexadecimal"),
        ({"authority_public_key": KEY, "rounds.goal_count": "many"}, "goal_count"),
        ({"authority_public_key": KEY, "rounds.gaol_count": 5}, "gaol_count"),
        ({"authority_public_key": KEY, "rounds.goal_count": 5}, "minimum_count"),
        ({"authority_public_key": KEY, "rounds.smallest_aggregate": 1}, "sum of one"),
        ({"authority_public_key": KEY, "rounds.keep_round_messages_s": 4000}, "3600"),
        ({"authority_public_key": KEY, "deadlines.share_s": 0}, "deadline"),
        ({"authority_public_key": KEY, "optimizer.name": "magic"}, "magic"),
        ({"authority_public_key": KEY, "task": "y", "task.name": "x"}, "single value"),
    ],
)
def test_wrong_settings_are_named(overrides, says):
    with pytest.raises(SettingsError, match=says):
        load_settings(overrides=overrides)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(SettingsError, match="check the path"):
        load_settings(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("= nonsense")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings(tmp_path / "bad.toml")


def test_a_trust_anchor_round_trips_with_its_warning(tmp_path):
    for demo in (False, True):
        anchor = TrustAnchor(bytes(range(32)), insecure_demo=demo)
        path = tmp_path / f"{demo}.key"
        path.write_text(anchor.text())
        assert read_trust_anchor(str(path)) == anchor
    assert read_trust_anchor(KEY) == TrustAnchor(bytes.fromhex(KEY), insecure_demo=False)
    with pytest.raises(SettingsError, match="authority init"):
        read_trust_anchor(str(tmp_path / "none"))


def test_init_writes_a_file_that_loads_to_the_defaults_with_the_gate_shut(tmp_path):
    result = CliRunner().invoke(coordinator_command, ["init", str(tmp_path / "c"), "--authority-public-key", KEY])
    assert result.exit_code == 0, result.output
    loaded = load_settings(tmp_path / "c" / "coordinator.toml")
    expected = msgspec.structs.replace(
        Settings(authority_public_key=KEY),
        database_url=loaded.database_url,
        releases=ReleaseSettings(evaluation_gate=True),
    )
    assert loaded == expected
    again = CliRunner().invoke(coordinator_command, ["init", str(tmp_path / "c"), "--authority-public-key", KEY])
    assert isinstance(again.exception, CoordinatorError)
