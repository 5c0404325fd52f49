"""OpenAPI descriptions of the device and the admin API, generated from the very types that travel.

Bodies on the wire are MessagePack; with ``Content-Type: application/json`` both ends speak the JSON described here
(bytes in base64).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from coordinator import __doc__ as _package_doc
from coordinator.experiments.evaluation import Evaluation
from coordinator.operation.audit import AuditEntry
from coordinator.operation.health import Readiness
from coordinator.operation.model_card import ModelCard
from coordinator.operation.operator_messages import ReleasesState, RolloutChange, SessionState, SignIn
from coordinator.operation.population import CheckInHour
from coordinator.reports import MetricsReport, ModelReport, RoundReport, StatusReport
from coordinator.task_reports import PrivacyReport, TaskReport
from coordinator.web.admin_api import LivePage
from federated_protocol.messages import Anchor, CheckInAnswer, ModelArtifact, Refusal, SessionAnswer, SignedMessage
from federated_protocol.plan import PROTOCOL_VERSION
from federated_protocol.wire import CONTENT_TYPE

JSON = "application/json"
REFUSALS = (400, 401, 403, 404, 409, 413, 426, 503)


@dataclass(frozen=True, slots=True)
class Call:
    """One call: what it takes and what 200 answers."""

    method: str
    path: str
    """With ``{names}``."""
    summary: str
    answer: Any = None
    """A type that travels; None for another content type."""
    body: Any = None
    content_type: str = JSON
    query: tuple[str, ...] = ()


_SESSION = "/v1/sessions/{session}"
_ASKED = ("device", "wait")
DEVICE_CALLS = (
    Call("post", "/v1/check-in", "Willing now?", CheckInAnswer, SignedMessage, CONTENT_TYPE),
    Call("get", f"{_SESSION}/plan", "The plan of a round.", SessionAnswer, None, CONTENT_TYPE, _ASKED),
    Call("post", f"{_SESSION}/{{phase}}", "A phase's message.", SessionAnswer, SignedMessage, CONTENT_TYPE, ("wait",)),
    Call("get", f"{_SESSION}/{{phase}}", "A phase's result.", SessionAnswer, None, CONTENT_TYPE, _ASKED),
    Call("get", "/v1/models/{version}", "A model artifact.", ModelArtifact, None, CONTENT_TYPE),
    Call("get", "/v1/models/{version}/anchor", "What a pass of FSVRG from it needs.", Anchor, None, CONTENT_TYPE),
    Call("get", "/v1/releases/{name}", "Signed metadata of The Update Framework.", dict[str, Any]),
    Call("get", "/v1/health", "The process answers.", dict[str, Any]),
    Call("get", "/v1/ready", "It can do its work; 503 while it drains or has no database.", Readiness),
    Call("get", "/v1/openapi.json", "This description.", dict[str, Any]),
)
ADMIN_CALLS = (
    Call("get", "/admin/status", "Where the coordinator stands.", StatusReport),
    Call("get", "/admin/rounds", "The newest rounds.", tuple[RoundReport, ...], query=("limit",)),
    Call("get", "/admin/models", "Every version and its lineage.", tuple[ModelReport, ...]),
    Call("get", "/admin/models/{version}/card", "The card of a version.", ModelCard),
    Call("get", "/admin/metrics", "Click-through by arm, with intervals.", MetricsReport, query=("limit",)),
    Call("get", "/admin/tasks", "What each task does and where it stands.", tuple[TaskReport, ...]),
    Call("get", "/admin/privacy", "What the sums of each task have cost.", tuple[PrivacyReport, ...]),
    Call("get", "/admin/evaluations", "Versions judged before they went out.", tuple[Evaluation, ...]),
    Call("get", "/admin/population", "Check-ins by hour and app version.", tuple[CheckInHour, ...]),
    Call("get", "/admin/audit", "Who decided what, when.", tuple[AuditEntry, ...], query=("limit",)),
    Call("get", "/admin/releases", "Rollout of every version, and the kill switch.", ReleasesState),
    Call("post", "/admin/models/{version}/rollout", "Tell so many per cent of devices.", ReleasesState, RolloutChange),
    Call("post", "/admin/models/{version}/rollback", "Withdraw a version and what grew on it.", ReleasesState),
    Call("post", "/admin/pause", "Open no further round.", ReleasesState),
    Call("post", "/admin/stop", "Open no further round and end the running ones, unopened.", ReleasesState),
    Call("post", "/admin/resume", "Open rounds again.", ReleasesState),
    Call("get", "/admin/session", "Who is signed in.", SessionState),
    Call("post", "/admin/session", "Sign in.", None, SignIn),
    Call("delete", "/admin/session", "Sign out."),
    Call("get", "/admin/page", "Everything the overview shows.", LivePage),
    Call("get", "/admin/events", "The same, as server-sent events.", None, None, "text/event-stream"),
    Call("get", "/admin/openapi.json", "This description.", dict[str, Any]),
)


def describe(title: str, calls: tuple[Call, ...]) -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    types = [t for call in calls for t in (call.answer, call.body) if t is not None]
    schemas, components = msgspec.json.schema_components([*types, Refusal], ref_template="#/components/schemas/{name}")
    schema_of = iter(schemas)
    paths: dict[str, Any] = {}
    for call in calls:
        operation: dict[str, Any] = {"summary": call.summary, "responses": {}}
        answer = next(schema_of) if call.answer is not None else {"type": "string"}
        operation["responses"]["200"] = {"description": call.summary, "content": _content(call.content_type, answer)}
        if call.body is not None:
            operation["requestBody"] = {"required": True, "content": _content(call.content_type, next(schema_of))}
        names = [piece.strip("{}") for piece in call.path.split("/") if piece.startswith("{")]
        operation["parameters"] = [_parameter(name, "path") for name in names]
        operation["parameters"] += [_parameter(name, "query") for name in call.query]
        paths.setdefault(call.path, {})[call.method] = operation
    refusal = next(schema_of)
    for path in paths.values():
        for operation in path.values():
            operation["responses"]["default"] = {
                "description": "A named reason and what to do.", "content": _content(CONTENT_TYPE, refusal)
            }  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": str(PROTOCOL_VERSION), "description": (_package_doc or "").split("\n")[0]},
        "paths": paths,
        "components": {"schemas": components},
    }


def _content(content_type: str, schema: Any) -> dict[str, Any]:
    kinds = (content_type, JSON) if content_type == CONTENT_TYPE else (content_type,)
    return {kind: {"schema": schema} for kind in kinds}


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path" or name == "device", "schema": {"type": "string"}}
