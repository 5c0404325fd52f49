"""The suggestion model, from text to "offer this query".

``catalog`` proposes candidates, ``features`` turns a moment into model inputs, ``runtime`` runs the ranker on LiteRT,
``training`` improves it on the device's own log, ``hashed_features`` and ``algorithms`` are for the sparse trigger,
``bundle`` holds a verified release, ``metrics`` judges scores.
``authoring`` makes releases and is the only place with TensorFlow. Importing this package loads none of them.
"""

from .errors import BundleError, CorpusError, RankerInputError, SuggestionModelError
from .types import Candidate, CandidateSource, Context, Example, RankerInputs

__all__ = [
    "BundleError",
    "Candidate",
    "CandidateSource",
    "Context",
    "CorpusError",
    "Example",
    "RankerInputError",
    "RankerInputs",
    "SuggestionModelError",
]
