"""Clicks whose features are spread unevenly over devices, in the three ways that FSVRG has an answer to.

Every row holds a bias, the words of one topic, which always come together, and two rare words.

- Rare words are on a few devices each. A plain average shrinks what these learn of them by holders / devices: A.
- Every device has every topic, but most of its rows are of its favourite. Where a topic is rare, a device's own rows
  hardly bend the step by the common gradient; where it is common they bend it too much; and words that come together
  make steep directions. The average overshoots unless each device weighs a topic as all devices together do: S.
- Sizes of devices are log-normal.
"""

from __future__ import annotations

import numpy as np

from suggestion_model.sparse import SparseRows

NODES, EXAMPLES, FEATURES = 300, 20_761, 2_001
TOPICS, TOPIC_WORDS = 4, 5
OWN_WORDS, RARE_WORDS = 30, 2
"""Rare words a device uses, and those of a row."""
OTHER_TOPIC = 0.2
"""Share of rows whose topic is drawn evenly."""
SMALLEST = 20
SIZE_SPREAD = 0.6


def sparse_clicks(
    nodes: int = NODES, examples: int = EXAMPLES, features: int = FEATURES, seed: int = 0
) -> list[SparseRows]:
    """Labelled rows of each device; ``examples`` and ``features``, bias included, are those of all together."""
    rng = np.random.default_rng(seed)
    share = rng.lognormal(0.0, SIZE_SPREAD, nodes)
    sizes = SMALLEST + np.floor(share / share.sum() * (examples - nodes * SMALLEST)).astype(int)
    sizes[np.argmax(sizes)] += examples - sizes.sum()
    first_rare = 1 + TOPICS * TOPIC_WORDS
    truth = np.concatenate(
        [[-1.0], 0.4 * rng.standard_normal(first_rare - 1), 0.6 * rng.standard_normal(features - first_rare)]
    )
    devices = []
    for node, n in enumerate(sizes.tolist()):
        own = first_rare + rng.choice(features - first_rare, OWN_WORDS, replace=False)
        topic = np.where(rng.random(n) < OTHER_TOPIC, rng.integers(TOPICS, size=n), node % TOPICS)
        topic[:TOPICS] = np.arange(TOPICS)
        rare = own[np.argsort(rng.random((n, OWN_WORDS)), axis=1)[:, :RARE_WORDS]]
        words = 1 + topic[:, None] * TOPIC_WORDS + np.arange(TOPIC_WORDS)
        ids = np.concatenate([np.zeros((n, 1), int), words, rare], axis=1).astype(np.int32)
        clicked = rng.random(n) < 1 / (1 + np.exp(-truth[ids].sum(axis=1)))
        ones = np.ones(ids.shape, np.float32)
        devices.append(SparseRows(ids, ones, clicked.astype(np.float32), np.ones(n, np.float32)))
    return devices
