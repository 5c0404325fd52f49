"""Every table of the coordinator (SQLAlchemy Core). Nothing here names a person; nothing holds an unmasked input.

Kept for good: ``rounds`` and ``phase_times`` (how it went, in counts), ``models``, ``metric_sums``,
``privacy_charges``, ``history``, ``rollouts``, ``release_metadata``, ``audit_log``, ``check_in_hours`` (counts),
``accounts``. Kept at most an hour after a round ended: ``participants``, ``messages``, ``results``. Kept while a replay
could still pass for fresh: ``check_ins``.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    text,
)

SCHEMA_VERSION = 8

metadata = MetaData()

_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite only counts up an INTEGER key

meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", String(256), nullable=False),
)

rounds = Table(
    "rounds",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("task", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("cohort", Integer, nullable=False, server_default="1"),  # 1..cohorts: one secure aggregation of the round
    Column("cohorts", Integer, nullable=False, server_default="1"),  # how many the round was cut into
    Column("protocol_version", Integer),  # what the cohort speaks, once the first device joined
    Column("session", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("reason", String(32)),  # of ABANDONED
    Column("base_version", Integer, nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("state_since", Float, nullable=False),
    Column("deadline", Float, nullable=False),
    Column("last_joined_at", Float),
    Column("still_in", Integer, nullable=False),  # devices whose message is expected in this state
    Column("quorum", Integer, nullable=False),
    Column("threshold", Integer),  # t of the sharing, once U1 is known
    Column("neighbours", Integer),  # k of the graph; advertised - 1 is the complete one
    Column("root", LargeBinary(32)),  # Merkle root of U1's keys
    Column("plan", LargeBinary),
    Column("plan_digest", LargeBinary(32)),
    Column("aggregate", LargeBinary),  # the opened sum, between AGGREGATED and the end
    Column("selected", Integer),
    Column("advertised", Integer),
    Column("shared", Integer),
    Column("inputs", Integer),
    Column("confirmed", Integer),
    Column("unmasked", Integer),
    Column("bytes_up", BigInteger, nullable=False),
    Column("bytes_down", BigInteger, nullable=False),
    Column("ended_at", Float),
    Column("published_version", Integer),
    Column("lease_holder", String(64)),  # who is opening the sum or computing the next model
    Column("lease_until", Float),
    Column("purged", Integer, nullable=False),  # 1 when participants, messages and results are gone
    Index("one_row_a_cohort", "task", "number", "attempt", "cohort", unique=True),
    Index(
        "one_selection_a_task",
        "task",
        unique=True,
        sqlite_where=text("state = 'selecting'"),
        postgresql_where=text("state = 'selecting'"),
    ),
    Index(
        "running_rounds",
        "task",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

phase_times = Table(
    "phase_times",
    metadata,
    Column("round_id", ForeignKey("rounds.id"), primary_key=True),
    Column("phase", String(16), primary_key=True),
    Column("answered", Integer, nullable=False),
    Column("needed_s", Float, nullable=False),  # until nearly all of them had answered
    Column("short", Integer, nullable=False),  # 1 when too few had: the cohort was abandoned
)

participants = Table(
    "participants",
    metadata,
    Column("round_id", ForeignKey("rounds.id"), primary_key=True),
    Column("device", LargeBinary(16), primary_key=True),
    Column("public_key", LargeBinary(32), nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("joined_at", Float, nullable=False),
    Column("position", Integer),  # 1..n in U1, the roster index
    Column("dropped_in", String(16)),  # the phase this device missed
)

messages = Table(
    "messages",
    metadata,
    Column("round_id", ForeignKey("rounds.id"), primary_key=True),
    Column("phase", String(16), primary_key=True),
    Column("device", LargeBinary(16), primary_key=True),
    Column("digest", LargeBinary(32), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("signature", LargeBinary(64), nullable=False),  # of the envelope: peers check it
    Column("answer", LargeBinary, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("received_at", Float, nullable=False),
)

results = Table(
    "results",
    metadata,
    Column("round_id", ForeignKey("rounds.id"), primary_key=True),
    Column("phase", String(16), primary_key=True),
    Column("device", LargeBinary(16), primary_key=True),  # empty: the same answer for everybody still in
    Column("answer", LargeBinary, nullable=False),
)

check_ins = Table(
    "check_ins",
    metadata,
    Column("device", LargeBinary(16), primary_key=True),
    Column("nonce", LargeBinary(32), primary_key=True),
    Column("digest", LargeBinary(32), nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("received_at", Float, nullable=False, index=True),
)

models = Table(
    "models",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("parent", Integer, nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("bundle_digest", String(64), nullable=False),
    Column("artifact", LargeBinary, nullable=False),
    Column("threshold", Float, nullable=False),
    Column("optimizer_state", LargeBinary),
    Column("round_id", ForeignKey("rounds.id"), unique=True),  # NULL for v0; a round publishes once
    Column("participants", Integer, nullable=False),
    Column("examples", BigInteger, nullable=False),
    Column("update_norm", Float),
    Column("created_at", Float, nullable=False),
)

metric_sums = Table(
    "metric_sums",
    metadata,
    Column("round_id", ForeignKey("rounds.id"), primary_key=True),
    Column("name", String(96), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

privacy_charges = Table(
    "privacy_charges",
    metadata,
    Column("round_id", ForeignKey("rounds.id"), primary_key=True),
    Column("task", String(64), nullable=False, index=True),
    Column("rho", Float, nullable=False),  # 0: released without noise
    Column("charged_at", Float, nullable=False),
)

history = Table(
    "history",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("round_id", ForeignKey("rounds.id"), nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("from_state", String(16)),
    Column("to_state", String(16), nullable=False),
    Column("event", String(16)),
    Column("reason", String(32)),
    Column("actor", String(64)),  # a process, or an operator's account
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("version", ForeignKey("models.version"), primary_key=True),
    Column("state", String(16), nullable=False),  # candidate, staged, live, withdrawn or replaced
    Column("percent", Float, nullable=False),  # of devices that are told of it, 0..100
    Column("arms", String(16), nullable=False, server_default="treatment"),  # that rank with it: treatment or all
    Column("reason", String(64), nullable=False),
    Column("changed_at", Float, nullable=False),
)

release_metadata = Table(
    "release_metadata",
    metadata,
    Column("role", String(32), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),  # a signed file of The Update Framework
    Column("signed_at", Float, nullable=False),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False, index=True),
    Column("actor", String(64), nullable=False),  # an operator's account, "command line" or "automatic"
    Column("action", String(32), nullable=False),
    Column("detail", String(200), nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password", LargeBinary, nullable=False),  # scrypt, with its salt in front
    Column("created_at", Float, nullable=False),
    Column("failures", Integer, nullable=False),  # since the last success
    Column("closed_until", Float, nullable=False),
)

account_sessions = Table(
    "account_sessions",
    metadata,
    Column("token", LargeBinary(32), primary_key=True),  # SHA-256 of the cookie
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("expires_at", Float, nullable=False),
)

check_in_hours = Table(
    "check_in_hours",
    metadata,
    Column("hour", Integer, primary_key=True, autoincrement=False),  # Unix time / 3600
    Column("app_version", String(32), primary_key=True),
    Column("count", BigInteger, nullable=False),
)

come_back_hours = Table(
    "come_back_hours",
    metadata,
    Column("hour", Integer, primary_key=True, autoincrement=False),  # Unix time / 3600
    Column("told_s", Float, nullable=False),  # sum of the seconds that devices were told to stay away
)
