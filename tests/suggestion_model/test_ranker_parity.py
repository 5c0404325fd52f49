"""The model file computes what TensorFlow computes, with builtin ops alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from suggestion_model.authoring import build, calibration, convert, encoder, heads, ranker
from suggestion_model.authoring.frozen_parts import FrozenParts
from suggestion_model.bundle import CATALOG, Bundle
from suggestion_model.features import DENSE_FEATURES
from suggestion_model.head_trainer import HeadRows, HeadTrainer
from suggestion_model.runtime import PAIR_INPUTS, SIGNATURES, Ranker
from suggestion_model.training import make_batch
from suggestion_model.types import Example, RankerInputs

WIDTH = 12
PIECES = 8000


@pytest.fixture(scope="module")
def learned() -> tuple[encoder.Encoder, calibration.Sample]:
    """Learned parts, drawn at random."""
    rng = np.random.default_rng(11)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32) * 0.3

    table = draw(PIECES, WIDTH)
    table[0] = 0.0
    parts = encoder.Encoder(
        table,
        draw(3 * WIDTH, encoder.HIDDEN),
        draw(encoder.HIDDEN),
        draw(encoder.HIDDEN, encoder.OUTPUTS),
        draw(encoder.OUTPUTS),
    )
    inputs = RankerInputs(
        rng.integers(0, PIECES, (300, 64)).astype(np.int32),
        rng.integers(0, PIECES, (300, 16)).astype(np.int32),
        rng.random((300, DENSE_FEATURES)).astype(np.float32),
    )
    return parts, calibration.Sample(inputs, rng.random(400))


@pytest.fixture(scope="module")
def authored(
    learned: tuple[encoder.Encoder, calibration.Sample], shipped: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ranker.RankerModule, Bundle]:
    """The module in TensorFlow, and the bundle converted from it."""
    path: Path = tmp_path_factory.mktemp("bundle") / "v0"
    path.mkdir()
    (path / CATALOG).write_bytes(shipped.catalog_path.read_bytes())
    build.write_bundle(path, shipped.tokenizer, *learned)
    frozen, found = build.freeze(*learned)
    return ranker.RankerModule(frozen, ranker.initial_weights(frozen, found.slope, found.intercept)), Bundle.load(path)


def test_sixty_steps_of_training_equal_tensorflow(
    authored: tuple[ranker.RankerModule, Bundle],
    random_inputs: Callable[[int, int], RankerInputs],
    as_example: Callable[..., Example],
) -> None:
    module, bundle = authored
    device = Ranker(bundle)
    step = tf.function(module.train_step)
    rows = random_inputs(64, 4)
    labels = np.random.default_rng(0).random(64) < 0.2
    examples = [as_example(rows, i, float(labels[i]), 1.0 + i % 3) for i in range(64)]
    rng = np.random.default_rng(1)
    for _ in range(60):
        chosen = rng.choice(64, size=int(rng.integers(1, 17)), replace=False)
        batch = make_batch([examples[int(i)] for i in chosen], 16)
        arrays = {each.name: tf.constant(getattr(batch, each.name)) for each in fields(batch)}
        loss = float(step(**arrays, learning_rate=tf.constant(0.1, tf.float32))["loss"])
        assert device.train_step(batch, 0.1) == pytest.approx(loss, abs=1e-5)
    assert device.weights() == pytest.approx(module.weights.numpy(), abs=1e-5)
    assert np.abs(device.weights() - bundle.weights0).max() > 0.01
    part = rows.take(slice(8))
    expected = module.infer(**{name: tf.constant(getattr(part, name)) for name in PAIR_INPUTS})["logit"]
    assert device.scores(part) == pytest.approx(expected.numpy(), abs=1e-5)


def test_the_step_is_the_gradient_of_the_loss(
    authored: tuple[ranker.RankerModule, Bundle],
    random_inputs: Callable[[int, int], RankerInputs],
    as_example: Callable[..., Example],
) -> None:
    device = Ranker(authored[1])
    rows = random_inputs(16, 8)
    batch = make_batch([as_example(rows, i, float(i % 4 == 0)) for i in range(16)], 16)
    start = device.weights()
    device.train_step(batch, 1.0)
    gradient = start - device.weights()
    for at in (0, 1, 2, 20, len(start) - 1):
        losses = []
        for sign in (1, -1):
            moved = start.copy()
            moved[at] += sign * 0.05
            device.set_weights(moved)
            losses.append(device.evaluate(batch)[0] / 16)
        assert gradient[at] == pytest.approx((losses[0] - losses[1]) / 0.1, abs=2e-3)


def test_authored_twice_is_the_same_weights_and_file(
    learned: tuple[encoder.Encoder, calibration.Sample],
    authored: tuple[ranker.RankerModule, Bundle],
    shipped: Bundle,
    tmp_path: Path,
) -> None:
    (tmp_path / CATALOG).write_bytes(shipped.catalog_path.read_bytes())
    digest = build.write_bundle(tmp_path, shipped.tokenizer, *learned)
    again = Bundle.load(tmp_path)
    assert np.array_equal(again.weights0, authored[1].weights0)
    assert digest == authored[1].digest


def test_what_a_file_holds_frozen_is_read_back_and_builds_the_same_file_again(
    learned: tuple[encoder.Encoder, calibration.Sample],
    authored: tuple[ranker.RankerModule, Bundle],
    shipped: Bundle,
    tmp_path: Path,
) -> None:
    made_from, bundle = learned[0], authored[1]
    frozen, parts = build.freeze(*learned)[0], FrozenParts(bundle)
    assert np.array_equal(parts.embedding, frozen.embedding)
    assert np.array_equal(parts.form_pieces, frozen.form_pieces)
    assert np.array_equal(parts.bin_columns, frozen.bins.columns)
    assert np.array_equal(parts.hidden, made_from.hidden)
    assert np.array_equal(parts.output_bias, made_from.output_bias)
    digests = []
    for _ in range(2):  # the first time the embedding's scale, which nothing sees, is set anew
        (tmp_path / CATALOG).write_bytes(shipped.catalog_path.read_bytes())
        digests.append(build.write_bundle(tmp_path, shipped.tokenizer, build.encoder_of(bundle), learned[1]))
        bundle = Bundle.load(tmp_path)
    assert digests[0] == digests[1]
    assert np.array_equal(bundle.weights0, authored[1].weights0)


@pytest.mark.parametrize("head", [heads.LinearHead(9), heads.DenseHead(6, 4)], ids=["linear", "dense"])
def test_a_head_trains_in_the_file_as_in_tensorflow(head: heads.Head) -> None:
    trainer, rng = HeadTrainer.load(convert.convert_head(head)), np.random.default_rng(2)
    size = heads.dimension(head)
    start = rng.standard_normal(size).astype(np.float32) * 0.5
    rows = HeadRows(
        {"inputs": rng.standard_normal((30, head.width)).astype(np.float32)},  # type: ignore[attr-defined]
        (rng.random(30) < 0.4).astype(np.float32),
        rng.uniform(1, 4, 30).astype(np.float32),
    )
    order = np.full((4, 16), -1, np.int32)
    order[:2].flat[:30], order[2:].flat[:30] = rng.permutation(30), rng.permutation(30)
    weights = tf.Variable(start)
    for step in order:
        chosen = step[step >= 0]
        with tf.GradientTape() as tape:
            parts = heads.split(head, weights)
            logit = head.logits(parts, {"inputs": tf.constant(rows.inputs["inputs"][chosen])})
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=rows.label[chosen], logits=logit)
            loss = tf.reduce_sum(losses * rows.weight[chosen]) / rows.weight[chosen].sum()
        weights.assign_sub(0.3 * tape.gradient(loss, weights))
    trained = trainer.train(start, rows, order, 0.3)
    assert trained == pytest.approx(weights.numpy(), abs=1e-5)
    assert np.abs(trained - start).max() > 0.01
    logit = head.logits(heads.split(head, tf.constant(trained)), {"inputs": tf.constant(rows.inputs["inputs"])})
    assert trainer.logits(trained, rows) == pytest.approx(logit.numpy(), abs=1e-5)


@pytest.mark.parametrize("which", ["shipped", "authored"])
def test_the_file_holds_builtin_ops_only(
    which: str, shipped: Bundle, authored: tuple[ranker.RankerModule, Bundle]
) -> None:
    content = shipped.ranker if which == "shipped" else authored[1].ranker
    model = schema.Model.GetRootAs(content, 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    builtin = [max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes]
    assert schema.BuiltinOperator.CUSTOM not in builtin
    assert all(code.CustomCode() is None for code in codes)
    assert len(builtin) > 5
    found = {model.SignatureDefs(i).SignatureKey().decode() for i in range(model.SignatureDefsLength())}
    assert found == set(SIGNATURES)


def test_the_shipped_file_trains(shipped: Bundle, examples: list[Example]) -> None:
    device = Ranker(shipped)
    batch = make_batch(examples[:16], 16)
    losses = [device.train_step(batch, 0.2) for _ in range(30)]
    assert losses[-1] < losses[0]
