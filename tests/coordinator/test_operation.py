"""Metrics, readiness, the API's description, backup and restore."""

from __future__ import annotations

import re
import time

import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select

from coordinator.aggregation.fsvrg import FsvrgState
from coordinator.errors import StorageError
from coordinator.operation import api_description, backup
from coordinator.operation.api_description import ADMIN_CALLS, DEVICE_CALLS, describe
from coordinator.operation.high_water import HighWater
from coordinator.operation.population import check_ins_by_hour
from coordinator.releases import ModelStore, signing_keys
from coordinator.releases.metadata_publisher import MetadataPublisher
from coordinator.releases.model_store import set_optimizer_state
from coordinator.releases.rollout import roll_back
from coordinator.storage import Database, tables
from federated_protocol.messages import Phase, Refusal
from suggestion_model.algorithms.fsvrg import Spread


def a_round(deployment, devices=6):
    deployment.run_round(deployment.select(devices))
    deployment.tick()


def get(deployment, path):
    return deployment.app.test_client().get(path)


# -- metrics and readiness ---------------------------------------------------------------------------------------


def test_metrics_count_requests_rounds_and_releases(deployment):
    a_round(deployment)
    text = get(deployment, "/metrics").get_data(as_text=True)
    found = {sample.name: sample for family in text_string_to_metric_families(text) for sample in family.samples}
    assert found["coordinator_masked_inputs_total"].value == 6
    assert found["coordinator_model_version"].value == 1
    assert found["coordinator_check_ins_total"].value == 6
    assert 'coordinator_rounds_total{reason="",state="published"} 1.0' in text
    assert re.search(r'coordinator_requests_total\{method="POST",route="/v1/check-in",status="200"\} 6', text)


def test_metrics_hold_nothing_a_request_carried(deployment):
    get(deployment, "/v1/models/31415926?secret=1")
    get(deployment, "/nowhere/31415926")
    deployment.app.test_client().open("/v1/health", method="BREW31415926")
    assert "31415926" not in get(deployment, "/metrics").get_data(as_text=True)


def test_readiness_fails_while_the_process_drains(deployment):
    assert get(deployment, "/v1/ready").status_code == 200
    deployment.coordinator.stopping.set()
    answer = get(deployment, "/v1/ready")
    assert answer.status_code == 503
    assert answer.json["checks"] == {"not_draining": False, "database": True, "releases": True}
    assert get(deployment, "/v1/health").status_code == 200


# -- population --------------------------------------------------------------------------------------------------


def test_check_ins_are_counted_by_hour_and_survive_a_restart(deployment):
    for device in deployment.devices(3):
        device.check_in(wants_round=False)
    deployment.clock.advance(3600)
    strange = deployment.device(9)
    strange.check_in(wants_round=False, app_version="<script>")
    deployment.coordinator.tick(deployment.clock.now)
    deployment.restart()
    with deployment.coordinator.database.reading() as connection:
        found = check_ins_by_hour(connection)
    assert [(row.app_version, row.count) for row in found] == [("test", 3), ("other", 1)]
    assert found[1].hour == found[0].hour + 1


# -- the description ---------------------------------------------------------------------------------------------


def test_every_call_of_the_running_server_is_described_and_every_described_call_exists(deployment):
    served = {
        (method.lower(), re.sub(r"<(?:int:)?(\w+)>", r"{\1}", rule.rule))
        for rule in deployment.app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule.startswith(("/v1/", "/admin/"))
    }
    assert served == {(call.method, call.path) for call in (*DEVICE_CALLS, *ADMIN_CALLS)}


def test_answers_are_of_the_described_types(deployment):
    a_round(deployment)
    known = FsvrgState(Spread(np.ones(2), np.ones(2), 1, 1), np.zeros(2))  # or version 1 had no anchor
    with deployment.coordinator.database.writing() as connection:
        set_optimizer_state(connection, 1, known.stored().encode())
    values = {"version": "1", "name": "timestamp.json"}
    for call in (*DEVICE_CALLS, *ADMIN_CALLS):
        if call.method != "get" or call.answer is None or "{session}" in call.path or "{name}" in call.path:
            continue
        answer = get(deployment, call.path.format(**values))
        assert answer.status_code == 200, call.path
        decode = msgspec.msgpack.decode if answer.mimetype == "application/msgpack" else msgspec.json.decode
        decode(answer.data, type=call.answer)


def test_the_description_names_every_reference_and_is_what_the_server_serves(deployment):
    for path, calls, title in (
        ("/v1/openapi.json", DEVICE_CALLS, "Device API"),
        ("/admin/openapi.json", ADMIN_CALLS, "Admin API"),
    ):
        document = get(deployment, path).json
        assert document == msgspec.json.decode(msgspec.json.encode(describe(title, calls)))
        schemas = document["components"]["schemas"]
        references = re.findall(r'"#/components/schemas/([^"]+)"', msgspec.json.encode(document).decode())
        assert references
        assert set(references) <= set(schemas)


def test_messages_are_described_field_by_field():
    schemas = describe("Device API", DEVICE_CALLS)["components"]["schemas"]
    refusal = schemas["Refusal"]  # messages travel as arrays, the tag first
    assert refusal["maxItems"] == 1 + len(Refusal.__struct_fields__)
    assert refusal["prefixItems"][1] == {"$ref": "#/components/schemas/RefusalReason"}
    assert {"SignedMessage", "Selected", "Roster", "ModelArtifact"} <= set(schemas)
    assert api_description.REFUSALS


# -- backup and restore ------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request, tmp_path):
    url = f"sqlite:///{tmp_path / 'restored.sqlite'}"
    database = Database(url if request.param == "sqlite" else request.getfixturevalue("postgresql_url"))
    yield database
    database.close()


def test_a_backup_holds_everything_but_rounds_under_way(deployment, empty, tmp_path):
    a_round(deployment)
    deployment.select(5)
    target = tmp_path / "backup"
    summary = backup.back_up(deployment.coordinator.database, target, 5.0)
    assert summary.newest_model == 1
    assert not set(summary.rows) & {"participants", "messages", "results", "check_ins", "account_sessions"}
    restored = backup.restore(empty, target, 6.0)
    assert restored.newest_model == 1
    assert ModelStore(empty).artifact(1) == deployment.coordinator.models.artifact(1)
    with empty.reading() as connection:
        states = list(connection.execute(select(tables.rounds.c.state, tables.rounds.c.reason)))
        assert sorted(tuple(row) for row in states) == [("abandoned", "coordinator_restarted"), ("published", None)]
        assert connection.scalar(select(func.count()).select_from(tables.metric_sums)) == summary.rows["metric_sums"]


def test_a_restored_coordinator_goes_on_with_rounds(deploy, deployment, empty, tmp_path):
    a_round(deployment)
    backup.back_up(deployment.coordinator.database, tmp_path / "backup", 5.0)
    backup.restore(empty, tmp_path / "backup", 6.0)
    second = deploy(database_url=empty.engine.url.render_as_string(hide_password=False))
    a_round(second)
    assert second.coordinator.models.current().version == 2


def test_restoring_an_older_backup_uses_no_version_twice(tmp_path, initial_model, deployment):
    online = tmp_path / "online"
    signing_keys.make_keys(tmp_path / "offline", online, time.time(), targets={})
    database = deployment.coordinator.database
    publisher = MetadataPublisher(database, online, time.time)
    publisher.bring_up_to_date()
    backup.back_up(database, tmp_path / "backup", 1.0)
    a_round(deployment)
    with database.writing() as connection:
        roll_back(connection, 1, now=2.0, actor="test", reason="test")
    publisher.bring_up_to_date()
    used = HighWater.read(online)
    assert used.model == 2
    older = Database(f"sqlite:///{tmp_path / 'older.sqlite'}")
    assert backup.restore(older, tmp_path / "backup", 3.0, online).newest_model == 3
    MetadataPublisher(older, online, time.time).bring_up_to_date()
    now = HighWater.read(online)
    assert now.model == 3
    assert all(now.roles[role] > version for role, version in used.roles.items())
    older.close()


def test_only_whole_backups_fill_only_empty_databases(deployment, empty, tmp_path):
    a_round(deployment)
    target = tmp_path / "backup"
    backup.back_up(deployment.coordinator.database, target, 1.0)
    (tmp_path / "cut").write_bytes(target.read_bytes()[:-40])
    (tmp_path / "other").write_bytes(b"no backup at all")
    for name, words in (("cut", "no whole backup"), ("other", "no whole backup"), ("missing", "no backup")):
        with pytest.raises(StorageError, match=words):
            backup.restore(empty, tmp_path / name, 2.0)
    backup.restore(empty, target, 2.0)
    with pytest.raises(StorageError, match="holds models already"):
        backup.restore(empty, target, 2.0)
    with pytest.raises(StorageError, match="cannot be written"):
        backup.back_up(deployment.coordinator.database, tmp_path / "no" / "folder", 1.0)
    assert target.stat().st_mode & 0o077 == 0


def test_a_finished_round_can_still_be_asked_about_after_all_this(deployment):
    devices = deployment.run_round(deployment.select(5))
    deployment.tick()
    assert devices[0].get(Phase.UNMASK.value).participants == 5
