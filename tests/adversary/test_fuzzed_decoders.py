"""Every decoder of bytes that a stranger sent: a value, or one of the package's own errors, and soon."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from federated_protocol import enrolment, messages, wire
from federated_protocol.errors import FederatedProtocolError
from federated_protocol.plan import (
    NO_DP_GUARANTEE,
    AggregationSetting,
    MetricSetting,
    MetricSlot,
    Plan,
    PrivacySetting,
    SubsetBlock,
    TaskKind,
    VarianceReduction,
    number_of_counters,
)
from federated_protocol.privacy import charge, privacy_label
from federated_protocol.renewal import open_renewal
from federated_protocol.secure_aggregation import ClientState, RoundBinding
from federated_protocol.secure_aggregation.bitmap import unpack_set
from federated_protocol.secure_aggregation.merkle import root_from
from federated_protocol.secure_aggregation.shamir import open_secret
from federated_protocol.secure_aggregation.share_box import open_box
from federated_protocol.signing import Identity, open_signed
from federated_protocol.trust import TrustStore
from federated_protocol.update_codec import encode, layout, solve_codec
from federated_protocol.vector_layout import VectorField, VectorLayout, unpack
from keyboard_app.device.identity import IdentityError, _open_certificate
from keyboard_app.device.model_store import ModelRejectedError, ModelStore
from keyboard_app.device.policy import DevicePolicy, PlanRefusedError
from keyboard_app.device.sparse_descent import read_anchor
from suggestion_model.bundle import Bundle, write_manifest
from suggestion_model.errors import BundleError
from tests.plans import plan_with

KEY = Identity.from_private_bytes(b"\x07" * 32).public_key
LAYOUT = VectorLayout((VectorField("a", 9, 13), VectorField("b", 2, 24)))
ON_THE_WIRE = [
    kind
    for kind in vars(messages).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind is not messages.Message
]
DECODERS: dict[str, Callable[[bytes], object]] = {
    **{kind.__name__: lambda data, kind=kind: wire.decode(data, kind) for kind in [*ON_THE_WIRE, Plan]},
    **{f"{kind.__name__} (JSON)": lambda data, kind=kind: wire.decode_json(data, kind) for kind in ON_THE_WIRE},
    "SessionAnswer": lambda data: wire.decode(data, messages.SessionAnswer),
    "CheckInAnswer": lambda data: wire.decode(data, messages.CheckInAnswer),
    "certificate": lambda data: enrolment.verify(data, KEY, 0.0),
    "certificate placed on a device": lambda data: _open_certificate(data, KEY),
    "check-in": lambda data: enrolment.open_check_in(messages.SignedMessage(b"d" * 16, data, data[:64]), KEY, 0.0),
    "trust list": lambda data: TrustStore.pinned(KEY).accept(data, 0.0),
    "renewal": lambda data: open_renewal(data, TrustStore.pinned(KEY), 0.0),
    "kept trust list": TrustStore.restored,
    "signed": lambda data: open_signed(
        messages.SignedMessage(b"d" * 16, data, data[:64]), messages.CheckIn, "check-in", "", KEY
    ),
    "bit map": lambda data: unpack_set(data, 19),
    "proof": lambda data: root_from({3: bytes(32)}, 100, data),
    "packed vector": lambda data: unpack(data, LAYOUT),
    "box": lambda data: open_box(bytes(32), 1, 2, data),
    "share": lambda data: open_secret((1, 2), [data[:32], data[32:]]),
}


REFUSALS = (FederatedProtocolError, PlanRefusedError, ModelRejectedError, BundleError, IdentityError)


@pytest.mark.parametrize("name", DECODERS)
def test_any_bytes_give_a_value_or_a_named_error_in_bounded_time(name: str) -> None:
    decode = DECODERS[name]
    slowest = 0.0

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.binary(max_size=300) | st.binary(min_size=64, max_size=64) | mutations())
    def fuzz(data: bytes) -> None:
        nonlocal slowest
        started = time.process_time()
        with contextlib.suppress(*REFUSALS):
            decode(data)
        slowest = max(slowest, time.process_time() - started)

    fuzz()
    assert slowest < 0.5


def mutations() -> st.SearchStrategy[bytes]:
    """Valid messages with a few bytes changed, cut or repeated."""
    valid = [
        wire.encode(messages.KeyAdvertisement(b"c" * 32, b"m" * 32)),
        wire.encode(messages.EncryptedShares(b"c" * 32, b"x" * 160)),
        wire.encode(messages.Unmasking(b"\1", b"s" * 64)),
        wire.encode(messages.Roster(3, 2, 2, 1, b"r" * 32, (messages.RosterEntry(2, b"", b"", b"", b""),), b"")),
        wire.encode(messages.Confirmations(b"\3", b"s" * 128)),
        wire.encode(messages.Survivors(b"\3", (), b"")),
    ]

    @st.composite
    def mutated(draw: Any) -> bytes:
        data = bytearray(draw(st.sampled_from(valid)))
        for _ in range(draw(st.integers(1, 4))):
            at = draw(st.integers(0, max(len(data) - 1, 0)))
            match draw(st.integers(0, 2)):
                case 0 if data:
                    data[at] ^= draw(st.integers(1, 255))
                case 1:
                    del data[at:]
                case _:
                    data[at:at] = data[at : at + 20]
        return bytes(data)

    return mutated()


def honest_plan(kind: TaskKind) -> dict[str, Any]:
    """A plan with noise that trains on a subset, or estimates usage, as maps and lists."""
    aggregation = AggregationSetting(smallest_aggregate=60, largest_cohort=100)
    noise = PrivacySetting(delta=1e-6, corrupt_fraction=0.05)
    subset = (SubsetBlock(length=10, chosen=10), SubsetBlock(length=40, chosen=4))
    slots: tuple[MetricSlot, ...] = ()
    codec = solve_codec(50, 1.0, 0.02, bytes(32), 64, 100, 24, subset, bytes(32), noise_sixteenths=200)
    if kind is TaskKind.ANALYTICS:
        slots = (MetricSlot("holdback", 0), MetricSlot("treatment", 2))
        codec = solve_codec(6, 32.0, 0.5, bytes(32), 1, 100, noise_sixteenths=200)
    plan = plan_with(
        codec,
        kind=kind,
        aggregation=aggregation,
        metrics=MetricSetting(slots=slots, score_edges=(-1.0, 0.0), exact=False),
        privacy=privacy_label(noise, charge(codec, aggregation, noise)),
        noise=noise,
    )
    if kind in (TaskKind.FEATURE_COUNTS, TaskKind.DESCENT):
        codec = solve_codec(50, 1.0, 0.02, bytes(32), 64, 100)
        reduction = VarianceReduction(5.0, 1e-5, "ab" * 32) if kind is TaskKind.DESCENT else msgspec.UNSET
        exact = {"noise": None, "privacy": NO_DP_GUARANTEE, "metrics": MetricSetting((), ())}
        training = msgspec.structs.replace(plan.training, variance_reduction=reduction)
        plan = msgspec.structs.replace(plan, codec=codec, training=training, **exact)
    DevicePolicy().check(plan, 50)
    found: dict[str, Any] = msgspec.to_builtins(plan, builtin_types=(bytes,))
    return found


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return [path, *(found for key, part in inner for found in leaves(part, (*path, key)))]


HONEST_PLANS = [
    honest_plan(kind) for kind in (TaskKind.TRAINING, TaskKind.ANALYTICS, TaskKind.FEATURE_COUNTS, TaskKind.DESCENT)
]
SHORT = st.binary(max_size=16) | st.just(b"\0" * 12)
ODD_NUMBERS = [0, 1, -1, 2**31, 2**63 - 1, -(2**63), 0.0, -0.0, 5e-324, 1e308, math.inf, math.nan]
ODD_BYTES = [b"", b"x" * 31, b"x" * 999, "", "x", "\0", "f" * 64, "holdback"]
ODD_VALUES = st.sampled_from([*ODD_NUMBERS, *ODD_BYTES, [], [0], {}, None, True])


@settings(max_examples=400, deadline=None, database=None)
@given(data=st.data(), honest=st.sampled_from(HONEST_PLANS))
def test_a_plan_of_odd_values_is_refused_by_name_or_can_be_carried_out(
    data: st.DataObject, honest: dict[str, Any]
) -> None:
    plan = copy.deepcopy(honest)
    changes = data.draw(st.lists(st.tuples(st.sampled_from(leaves(honest)[1:]), ODD_VALUES), min_size=1, max_size=3))
    for path, value in changes:
        holder = plan
        try:
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = value
        except (TypeError, KeyError, IndexError):  # an earlier change took that part away
            continue
    started = time.process_time()
    with contextlib.suppress(*REFUSALS):
        decoded = wire.decode(msgspec.msgpack.encode(plan), Plan)
        DevicePolicy().check(decoded, 50)
        codec = decoded.codec
        shape = layout(codec, number_of_counters(decoded))
        RoundBinding.of(decoded)
        vector = encode(np.ones(codec.dimension), 1.0, np.zeros(number_of_counters(decoded), np.int64), codec)
        shape.check(vector)
    assert time.process_time() - started < 1.0


@settings(max_examples=100, deadline=None, database=None)
@given(
    data=st.binary(max_size=300),
    version=st.integers(-2, 2),
    bundle=st.sampled_from(["b", "", "another"]),
    weights=st.binary(max_size=16) | st.just(b"\0" * 12) | st.just(b"\xff" * 12),
    threshold=st.floats(),
)
def test_a_model_that_was_announced_truthfully_but_is_garbage_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, version: int, bundle: str, weights: bytes, threshold: float
) -> None:
    store = ModelStore(tmp_path_factory.getbasetemp(), "b", np.zeros(3, np.float32), 0.0)
    made = wire.encode(messages.ModelArtifact(version, 0, bundle, weights, threshold))
    for raw in (data, made, made[: len(data)], made + data):
        with contextlib.suppress(ModelRejectedError):
            model = store.verify(raw, 1, hashlib.sha256(raw).hexdigest())
            assert raw == made
            assert np.isfinite(model.weights).all()
            assert math.isfinite(model.threshold)


@settings(max_examples=100, deadline=None, database=None)
@given(
    data=st.binary(max_size=60), gradient=st.binary(max_size=16), share=st.binary(max_size=16), cut=st.integers(0, 40)
)
def test_an_anchor_that_was_announced_truthfully_but_is_garbage_is_refused(
    data: bytes, gradient: bytes, share: bytes, cut: int
) -> None:
    made = wire.encode(messages.Anchor(gradient, share))
    for raw in (data, made, made[:cut], made + data):
        with contextlib.suppress(ModelRejectedError):
            anchor = read_anchor(raw, hashlib.sha256(raw).hexdigest(), 3)
            assert raw == made
            assert np.isfinite(anchor.gradient).all()
            assert ((anchor.feature_share >= 0) & (anchor.feature_share <= 1)).all()


@pytest.mark.parametrize("name", ["manifest.json", "card.json", "weights.npy"])
def test_a_release_bundle_with_a_file_of_garbage_is_refused(tmp_path: Path, name: str) -> None:
    """With a manifest that vouches for the garbage, as if its digests had been made to fit."""
    shipped = Bundle.shipped().path
    for file in shipped.iterdir():
        (tmp_path / file.name).symlink_to(file)
    honest = (shipped / name).read_bytes()
    for changed in ("manifest.json", name):
        (tmp_path / changed).unlink(missing_ok=True)

    @settings(max_examples=60, deadline=None, database=None)
    @given(garbage=st.binary(max_size=300), at=st.integers(0, len(honest) - 1), cut=st.booleans())
    def fuzz(garbage: bytes, at: int, cut: bool) -> None:
        for content in (garbage, honest[:at] + garbage + (b"" if cut else honest[at + len(garbage) :])):
            (tmp_path / name).write_bytes(content)
            if name != "manifest.json":
                write_manifest(tmp_path)
            started = time.process_time()
            with contextlib.suppress(BundleError):
                Bundle.load(tmp_path)
            assert time.process_time() - started < 1.0

    fuzz()


BAD_LENGTHS = st.integers(-(2**40), 2**40) | st.integers(-2, 12)


@settings(max_examples=150, deadline=None)
@given(
    numbers=st.tuples(BAD_LENGTHS, BAD_LENGTHS, BAD_LENGTHS, BAD_LENGTHS),
    root=st.binary(max_size=40),
    proof=st.binary(max_size=100),
)
def test_a_roster_of_absurd_numbers_costs_a_device_nothing(
    kit: Any, numbers: tuple[int, int, int, int], root: bytes, proof: bytes
) -> None:
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(2, shape), shape)
    client = cohort.clients[1]
    started = time.process_time()
    with pytest.raises(FederatedProtocolError):
        client.share(messages.Roster(*numbers, root, (), proof))
    assert time.process_time() - started < 1.0
    assert client.state is ClientState.ABORTED


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=200))
def test_fuzzed_answers_abort_a_client_with_a_named_error(kit: Any, one: bytes, other: bytes) -> None:
    assume(other or len(one) != 1)  # a lone bitmap of one byte may be the honest answer
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(4, shape), shape)
    cohort.share()
    calls = {
        1: lambda c: c.masked_input(messages.Mailbox(one, other), np.zeros(20, np.uint32)),
        2: lambda c: c.share(cohort.roster_of[2]),
    }
    for i, call in calls.items():
        with pytest.raises(FederatedProtocolError):
            call(cohort.clients[i])
        assert cohort.clients[i]._secrets is None
    cohort.leaves |= {1: 0, 2: 0}
    cohort.mailboxes = {i: box for i, box in cohort.mailboxes.items() if i > 2}
    for i in (3, 4):
        client = cohort.clients[i]
        client.masked_input(cohort.mailboxes[i], cohort.vectors[i])
    with pytest.raises(FederatedProtocolError):
        cohort.clients[3].confirm(messages.Survivors(one, (), other))
    cohort.clients[4].confirm(messages.Survivors(b"\x0f", (), b""))
    with pytest.raises(FederatedProtocolError):
        cohort.clients[4].unmask(messages.Confirmations(one, other))
