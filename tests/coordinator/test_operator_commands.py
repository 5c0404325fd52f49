"""The commands of operation, as an operator types them."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from coordinator.cli import coordinator
from coordinator.errors import CoordinatorError
from coordinator.storage import Database


@pytest.fixture
def run(deployment):
    """Run a command on the deployment's database; fails on an exit status."""
    deployment.run_round(deployment.select(6))
    deployment.tick()
    database = deployment.settings.database_url.removeprefix("sqlite:///")

    def call(*arguments, on_database=True):
        command = [*arguments, "--database", database] if on_database else list(arguments)
        result = CliRunner().invoke(coordinator, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return call


def test_a_version_is_rolled_out_and_back_and_everything_is_in_the_audit_log(run):
    assert "25 %" in run("releases", "rollout", "1", "25")
    told = {"version": 1, "percent": 25.0, "arms": "treatment"}
    assert json.loads(run("releases", "rollout", "1", "25", "--json")) == told
    assert json.loads(run("releases", "rollout", "1", "25", "--arms", "all", "--json")) == told | {"arms": "all"}
    assert json.loads(run("releases", "rollout", "1", "25", "--json")) == told | {"arms": "all"}  # as before
    assert json.loads(run("releases", "list", "--json"))[0]["arms"] == "all"
    assert json.loads(run("releases", "list", "--json"))[0]["state"] == "staged"
    assert json.loads(run("releases", "rollback", "1", "--json")) == {"withdrawn": 1, "published": 2}
    assert json.loads(run("releases", "pause", "--json")) == {"paused": True, "stopped": 0}
    assert "paused" in run("releases", "list")
    run("releases", "resume")
    actions = [entry["action"] for entry in json.loads(run("audit", "--json"))]
    assert actions == ["resume", "pause", "rollback", "rollout", "rollout", "rollout", "rollout"]


def test_reports_and_cards_are_tables_or_json(run):
    report = json.loads(run("report", "--json"))
    assert report["status"]["model"]["version"] == 1
    assert report["comparisons"] == []
    assert "model 1" in run("report")
    card = json.loads(run("releases", "card", "1", "--json"))
    assert (card["lineage"], card["rounds"]) == ([1, 0], [1])
    assert "Rounds in it: 1" in run("releases", "card", "1")
    assert "# Query suggestions, version 1" in run("releases", "card", "1")


def test_tasks_and_devices_are_tables_or_json(run):
    (task,) = json.loads(run("tasks", "--json"))
    assert (task["task"]["kind"], task["task"]["published"], task["privacy"]["smallest_sum"]) == ("training", 1, 6)
    assert "no DP guarantee" in run("tasks")
    (hour,) = json.loads(run("devices", "--json"))
    assert (hour["app_version"], hour["count"]) == ("test", 6)
    assert "100.0%" in run("devices", "--hours", "1")


def test_a_token_reads_reports_until_its_account_goes(run, deployment):
    run("accounts", "add", "bob", "--password", "correct horse battery")
    made = json.loads(run("accounts", "token", "bob", "--days", "100000", "--json"))
    client = deployment.app.test_client()
    bearer = {"Authorization": f"Bearer {made['token']}"}
    assert client.get("/admin/status", headers=bearer).status_code == 200
    run("accounts", "remove", "bob")
    assert json.loads(run("audit", "--json"))[0]["detail"] == "bob removed"


@pytest.mark.parametrize(
    "command",
    ["init", "serve", "tasks", "rounds", "models", "metrics", "devices", "report", "audit", "backup", "restore"]
    + [f"keys {name}" for name in ("make", "list", "rotate", "revoke", "approve")]
    + [f"releases {name}" for name in ("list", "rollout", "rollback", "pause", "resume", "card")]
    + [f"accounts {name}" for name in ("add", "remove", "list", "token")],
)
def test_every_command_says_what_it_does_and_what_each_option_is(command):
    text = CliRunner().invoke(coordinator, [*command.split(), "--help"]).output
    assert len(text.splitlines()[2].split()) >= 3
    assert ("--json" in text) == (command != "serve")


def test_accounts_are_made_listed_and_removed(run):
    run("accounts", "add", "ada", "--role", "operator", "--password", "correct horse battery")
    assert json.loads(run("accounts", "list", "--json")) == [["ada", "operator"]]
    run("accounts", "remove", "ada")
    assert json.loads(run("accounts", "list", "--json")) == []


def test_backup_and_restore(run, tmp_path):
    run("backup", str(tmp_path / "backup"))
    target = tmp_path / "new.sqlite"
    out = run("restore", str(tmp_path / "backup"), "--database", str(target), on_database=False)
    assert "version 1" in out
    database = Database(f"sqlite:///{target}")
    database.close()


def test_keys_are_made_rotated_revoked_and_used_offline(run, tmp_path):
    folders = ("--offline", str(tmp_path / "offline"), "--online", str(tmp_path / "online"))
    assert "pin" in run("keys", "make", *folders, on_database=False)
    keys = json.loads(run("keys", "list", "--online", str(tmp_path / "online"), "--json", on_database=False))
    assert [key["role"] for key in keys] == ["root", "targets", "snapshot", "timestamp", "rounds"]
    rotated = json.loads(run("keys", "rotate", "timestamp", *folders, "--json", on_database=False))
    assert rotated["role"] == "timestamp"
    after = json.loads(run("keys", "list", "--online", str(tmp_path / "online"), "--json", on_database=False))
    changed = [old["role"] for old, new in zip(keys, after, strict=True) if old["key_id"] != new["key_id"]]
    assert changed == ["timestamp"]
    assert "rounds" in run("keys", "revoke", keys[-1]["key_id"][:12], *folders, on_database=False)
    release = tmp_path / "catalog.csv"
    release.write_text("query,category\n")
    assert "releases/catalog.csv" in run("keys", "approve", str(release), *folders, on_database=False)


def test_what_cannot_be_done_is_said(run, tmp_path):
    with pytest.raises(CoordinatorError, match="no version 9"):
        run("releases", "rollback", "9")
    with pytest.raises(CoordinatorError, match="no database"):
        run("audit", "--database", str(tmp_path / "none"), on_database=False)
    with pytest.raises(CoordinatorError, match="no backup"):
        run("restore", str(tmp_path / "none"), "--database", str(tmp_path / "x.sqlite"), on_database=False)
    shutil.rmtree(tmp_path, ignore_errors=True)
