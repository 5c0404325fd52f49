"""Candidate generation: which queries could be meant by what is being typed.

Two sources with one face (:class:`suggestion_model.types.CandidateSource`): plain query lists, searched by words
(:mod:`.query_list`), and a knowledge graph whose entities fill the query templates of their category (:mod:`.graph`).
Both read the context alike (:mod:`.reading`), weigh evidence alike (:mod:`.scoring`) and describe it by the same
numbers (:data:`MATCH_FEATURES`). ``python -m suggestion_model.catalog.build`` makes the graph that ships.
"""

from suggestion_model.catalog.errors import CatalogError
from suggestion_model.catalog.features import MATCH_FEATURES
from suggestion_model.catalog.loading import load_catalog, shipped_catalog

__all__ = ["MATCH_FEATURES", "CatalogError", "load_catalog", "shipped_catalog"]
