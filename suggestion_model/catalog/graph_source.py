"""Candidates from the knowledge graph: names and triggers in the context fill the templates of their categories."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from suggestion_model.catalog.graph import Category, Entity, KnowledgeGraph, Slot, segments
from suggestion_model.catalog.language import language
from suggestion_model.catalog.reading import ANSWER_ROLE, CACHED_LINES, SAID, Reader, Reading
from suggestion_model.catalog.recognition import Mention, Recognizer
from suggestion_model.catalog.scoring import CLEAR_ROLE, EARLIER_LINES, TOWARDS, Evidence, fading, score, set_margins
from suggestion_model.catalog.text import fold, words
from suggestion_model.catalog.vocabulary import Vocabulary, sorted_words
from suggestion_model.types import Candidate, Context

KIND_MASS, SLOT_MASS, LITERAL_MASS = 3.0, 4.0, 2.0
"""How much the parts of a query tell; stand in for the idf that a query list has."""
TRIGGERED = 0.8
"""Evidence for a category whose trigger was said, when the template's own word for it was not."""
LINKED = 0.5
"""Evidence for a category from an entity that is linked to it."""
FILLERS = 3
"""Entities of a type that are tried in a slot."""
ACTIVE_CATEGORIES = 10
INSTANCES = 192
"""Queries scored for one context at most."""


@dataclass(frozen=True, slots=True)
class _Template:
    """A template made ready."""

    parts: tuple[str | Slot, ...]
    slots: tuple[Slot, ...]
    kind_terms: tuple[str, ...]
    """Its words that are triggers of its category."""
    literal_terms: tuple[str, ...]
    """Its other content words."""
    prior: float

    @property
    def entity_types(self) -> tuple[str, ...]:
        """Types of what fills it, each once."""
        return tuple(dict.fromkeys(slot.type for slot in self.slots))


@dataclass(frozen=True, slots=True)
class _Line:
    """What one line mentions."""

    reading: Reading
    mentions: tuple[tuple[int, float, float], ...]
    """(entity, strength, role)."""
    triggers: frozenset[int]
    """Categories."""
    parts: int
    """Names and kinds in the line: what a query could explain."""


@dataclass(slots=True)
class _Found:
    """Strength of one piece of evidence over the whole context."""

    now: float = 0.0
    before: float = 0.0
    faded: float = 0.0
    role: float = 0.0

    def add(self, strength: float, weight: float, current: bool) -> None:
        if current:
            self.now = max(self.now, strength)
        else:
            self.before = max(self.before, strength)
            self.faded = max(self.faded, strength * weight)

    @property
    def best(self) -> float:
        return max(self.now, self.faded)


@dataclass(slots=True)
class _Instance:
    """A filled template, before scoring."""

    query: str
    category: int
    parts: list[tuple[float, _Found, bool]]
    """(mass, evidence, is a slot)."""
    order: float
    prior: float
    entity_types: tuple[str, ...]


@dataclass(slots=True)
class _Gathered:
    """Evidence of the whole context."""

    entities: dict[int, _Found] = field(default_factory=dict)
    categories: dict[int, _Found] = field(default_factory=dict)
    terms: dict[str, _Found] = field(default_factory=dict)


class GraphSource:
    """Candidates from a knowledge graph; a :class:`suggestion_model.types.CandidateSource`.

    ``candidates`` is a pure function of its context: what is kept between calls only saves time.
    """

    def __init__(self, graph: KnowledgeGraph) -> None:
        """Index ``graph``; see :func:`suggestion_model.catalog.graph.without_sensitive` for leaving subjects out."""
        self._language = language(graph.language)
        self._reader = Reader(self._language, self._spelt)
        self._categories = graph.categories
        number = {category.name: place for place, category in enumerate(graph.categories)}
        self._entities: list[Entity] = []
        self._type_of: list[int] = []
        self._types = {kind.name: place for place, kind in enumerate(graph.types)}
        self._type_names = tuple(kind.name for kind in graph.types)
        self._links = [tuple(number[link] for link in kind.links) for kind in graph.types]
        self._of_place = self._place_types(graph.categories)
        self._ordinary: set[tuple[int, str]] = set()
        self._recognizer = Recognizer(self._names(graph))
        self._triggers = Recognizer(self._trigger_names(graph.categories))
        self._templates = [self._prepare(category) for category in graph.categories]
        self._users = self._using_categories()
        self._by_literal = self._literals()
        self._words, self._word_prior = self._spellings()
        self._common = self._language.common
        self._line = functools.lru_cache(maxsize=CACHED_LINES)(self._read_line)

    # -- building -------------------------------------------------------------------------------------------------

    def _names(self, graph: KnowledgeGraph) -> Iterator[tuple[str, int]]:
        for place, kind in enumerate(graph.types):
            ordinary = {fold(name) for name in kind.ordinary}
            for entity in kind.entities:
                self._entities.append(entity)
                self._type_of.append(place)
                for said in (entity.name, *entity.aliases):
                    name = " ".join(words(said))
                    if name:
                        if fold(said) in ordinary:
                            self._ordinary.add((len(self._entities) - 1, name))
                        yield name, len(self._entities) - 1

    def _trigger_names(self, categories: Iterable[Category]) -> Iterator[tuple[str, int]]:
        for place, category in enumerate(categories):
            for trigger in (*category.triggers, category.name):
                yield " ".join(self._reader.stem(word) for word in words(trigger)), place

    def _place_types(self, categories: Iterable[Category]) -> frozenset[int]:
        """Types that fill slots with a role: places."""
        return frozenset(
            self._types[part.type]
            for category in categories
            for template in category.templates
            for part in segments(template)
            if isinstance(part, Slot) and part.role
        )

    def _prepare(self, category: Category) -> tuple[_Template, ...]:
        stem, stopwords = self._reader.stem, self._language.stopwords
        kind_terms = {stem(word) for said in (*category.triggers, category.name) for word in words(said)}
        prepared = []
        for place, template in enumerate(category.templates):
            parts = segments(template)
            literal = [w for part in parts if isinstance(part, str) for w in words(part) if w not in stopwords]
            terms = dict.fromkeys(stem(word) for word in literal)
            prepared.append(
                _Template(
                    parts=parts,
                    slots=tuple(part for part in parts if isinstance(part, Slot)),
                    kind_terms=tuple(term for term in terms if term in kind_terms),
                    literal_terms=tuple(term for term in terms if term not in kind_terms),
                    prior=category.prior * (1 - 0.5 * place / len(category.templates)),
                )
            )
        return tuple(prepared)

    def _using_categories(self) -> list[frozenset[int]]:
        """For each type the categories that have a slot for it, or that it is linked to."""
        users: list[set[int]] = [set(links) for links in self._links]
        for place, templates in enumerate(self._templates):
            for template in templates:
                for slot in template.slots:
                    users[self._types[slot.type]].add(place)
        return [frozenset(using) for using in users]

    def _literals(self) -> dict[str, list[tuple[int, _Template]]]:
        """Templates by the words that only they have: saying one brings the template into play."""
        found: dict[str, list[tuple[int, _Template]]] = {}
        light = {self._reader.stem(word) for word in self._language.light}
        for place, templates in enumerate(self._templates):
            for template in templates:
                for term in template.literal_terms:
                    if term not in light:
                        found.setdefault(term, []).append((place, template))
        return found

    def _spellings(self) -> tuple[Vocabulary, list[float]]:
        """Every word of names, triggers and templates, and how likely each is meant."""
        priors: dict[str, float] = {}
        for entity in self._entities:
            for said in (entity.name, *entity.aliases):
                for word in words(said):
                    priors[word] = max(entity.prior, priors.get(word, 0.0))
        for category, templates in zip(self._categories, self._templates, strict=True):
            literal = [part for template in templates for part in template.parts if isinstance(part, str)]
            for said in (*category.triggers, category.name, *literal):
                for word in words(said):
                    priors[word] = 1.0
        vocabulary = Vocabulary(sorted_words(priors))
        return vocabulary, [priors.get(vocabulary.word(number), 0.0) for number in range(len(vocabulary))]

    # -- reading --------------------------------------------------------------------------------------------------

    def _spelt(self, word: str, unfinished: bool) -> str:
        """``word`` as the graph spells it, when it is no known word and a mistake away from one."""
        if word in self._words or (unfinished and len(self._words.beginning_with(word))):
            return word
        nearest = self._words.nearest(word)
        if not nearest or word in self._common or self._reader.stem(word) in self._words:
            return word
        best = min(nearest, key=lambda found: (found[0], -self._word_prior[found[1]], found[1]))
        return self._words.word(best[1])

    def _read_line(self, line: str, current: bool, answers: bool) -> _Line:
        reading = self._reader.read(line)
        typed = reading.words
        stems = tuple(self._reader.stem(word) for word in typed)
        triggered = self._triggers.find(stems)
        triggers = frozenset(category for mention in triggered for category in mention.values)
        found = self._recognizer.find(typed)
        if current and reading.open_word and not any(mention.end == len(typed) for mention in found):
            found += self._completed(typed)
        mentions = []
        named: set[tuple[int, int]] = set()
        for mention in found:
            role = reading.word_roles[mention.start]
            for entity in mention.values:
                if self._is_meant(entity, mention, reading, triggers, answers):
                    mentions.append((entity, SAID if mention.share == 1 else 0.9 * mention.share, role))
                    if self._is_ordinary(entity, mention, typed):
                        named.add((mention.start, mention.end))
        # A word that is taken for a name ("in Reading") does not speak for a category as well.
        triggered = [mention for mention in triggered if (mention.start, mention.end) not in named]
        triggers = frozenset(category for mention in triggered for category in mention.values)
        spans = {(mention.start, mention.end) for mention in found} | {(m.start, m.end) for m in triggered}
        return _Line(reading, tuple(mentions), triggers, len(spans))

    def _completed(self, typed: tuple[str, ...]) -> list[Mention]:
        """Names that the last words may grow into; an everyday word that stands alone is no beginning."""
        grown = self._recognizer.complete(typed)
        return [m for m in grown if m.end - m.start > 1 or typed[-1] not in self._common]

    def _is_meant(
        self, entity: int, mention: Mention, reading: Reading, triggers: frozenset[int], answers: bool
    ) -> bool:
        """Names that are ordinary words need the words around them to say so.

        A place needs a place word before it, or to be all that answers a question for a place; anything else a
        trigger of its categories beside it.
        """
        typed, start, end = reading.words, mention.start, mention.end
        if not self._is_ordinary(entity, mention, typed):
            return True
        kind = self._type_of[entity]
        if kind not in self._of_place:
            return not triggers.isdisjoint(self._users[kind])
        if start > 0 and (typed[start - 1] in self._language.place_cues or reading.word_roles[start] != 0):
            return True
        return answers and self._language.function_words.issuperset((*typed[:start], *typed[end:]))

    def _is_ordinary(self, entity: int, mention: Mention, typed: tuple[str, ...]) -> bool:
        return (entity, " ".join(typed[mention.start : mention.end])) in self._ordinary

    def _gather(self, context: Context) -> tuple[_Gathered, _Line]:
        gathered = _Gathered()
        earlier = context.earlier[-EARLIER_LINES:]
        asked = 0.0
        said = (*earlier, context.composed)
        lines = [
            self._line(text, place == len(earlier), place > 0 and self._reader.read(said[place - 1]).asks_place)
            for place, text in enumerate(said)
        ]
        for place, line in enumerate(lines):
            age = len(lines) - 1 - place
            weight = fading(age)
            for entity, strength, role in line.mentions:
                found = gathered.entities.setdefault(entity, _Found())
                found.add(strength, weight, age == 0)
                found.role = role or ANSWER_ROLE * asked or found.role
            for category in line.triggers:
                gathered.categories.setdefault(category, _Found()).add(SAID, weight, age == 0)
            for term, strength in line.reading.terms.items():
                gathered.terms.setdefault(term, _Found()).add(strength, weight, age == 0)
            asked = line.reading.asks_role
        for entity, found in gathered.entities.items():
            for category in self._links[self._type_of[entity]]:
                linked = gathered.categories.setdefault(category, _Found())
                linked.now = max(linked.now, LINKED * found.now)
                linked.before = max(linked.before, LINKED * found.before)
                linked.faded = max(linked.faded, LINKED * found.faded)
        return gathered, line

    # -- the face -------------------------------------------------------------------------------------------------

    def mentioned(self, text: str) -> list[tuple[str, str]]:
        """Entities that ``text`` names, as (name, type), in the order of their first mention."""
        found = dict.fromkeys(entity for entity, _strength, _role in self._line(text, False, False).mentions)
        return [(self._entities[entity].name, self._type_names[self._type_of[entity]]) for entity in found]

    def holds(self, query: str) -> bool:
        """Whether ``query``, however it is cased, is an instance of a template."""
        return any(pattern.fullmatch(query.casefold()) for pattern in self._patterns)

    @functools.cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        """Every template as a pattern."""
        named: dict[str, list[str]] = {name: [] for name in self._types}
        for entity, kind in zip(self._entities, self._type_of, strict=True):
            named[self._type_names[kind]].append(re.escape(entity.name.casefold()))
        either = {name: f"(?:{'|'.join(sorted(found, key=len, reverse=True))})" for name, found in named.items()}
        return tuple(
            re.compile(
                "".join(re.escape(p.casefold()) if isinstance(p, str) else either[p.type] for p in template.parts)
            )
            for templates in self._templates
            for template in templates
        )

    def candidates(self, context: Context, limit: int = 8) -> list[Candidate]:
        """Queries that the context speaks for, best baseline score first; [] when nothing is being typed."""
        if not self._reader.read(context.composed).words:
            return []
        gathered, line = self._gather(context)
        wanting = line.reading.asking > 0
        instances = list(itertools.islice(self._instances(gathered, wanting), INSTANCES))
        if not instances:
            return []
        evidence = self._evidence(instances, line)
        scores, features = score(evidence)
        # What was said earlier fills a query, but only the line being typed can ask for one.
        scores = np.where(evidence.now.max(axis=1, initial=0.0) > 0, scores, np.float32(0.0))
        best: dict[str, int] = {}
        for place in np.lexsort((np.arange(len(scores)), -scores)).tolist():
            best.setdefault(instances[place].query, place)
            if len(best) == limit:
                break
        order = [place for place in best.values() if scores[place] > 0]
        chosen = features[order]
        set_margins(chosen)
        return [
            self._candidate(instances[place], float(scores[place]), row)
            for place, row in zip(order, chosen.tolist(), strict=True)
        ]

    def _instances(self, gathered: _Gathered, wanting: bool) -> Iterator[_Instance]:
        """Filled templates of the categories in play, the best supported categories first.

        Then templates whose own words were said; with names from earlier lines only if the newest is ``wanting``.
        """
        by_type: dict[int, list[int]] = {}
        for entity in gathered.entities:
            by_type.setdefault(self._type_of[entity], []).append(entity)
        for known in by_type.values():
            known.sort(key=lambda entity: (-gathered.entities[entity].best, -self._entities[entity].prior, entity))
            del known[FILLERS:]
        active = sorted(
            gathered.categories.items(), key=lambda item: (-item[1].best, -self._categories[item[0]].prior, item[0])
        )
        del active[ACTIVE_CATEGORIES:]
        for category, kind in active:
            for template in self._templates[category]:
                yield from self._fill(category, kind, template, by_type, gathered)
        if not wanting:
            by_type = {
                kind: [entity for entity in known if gathered.entities[entity].now > 0]
                for kind, known in by_type.items()
            }
        tried = {category for category, _ in active}
        for term in sorted(gathered.terms.keys() & self._by_literal.keys()):
            hint = gathered.terms[term]
            kind = _Found(LINKED * hint.now, LINKED * hint.before, LINKED * hint.faded)
            for category, template in self._by_literal[term]:
                if category not in tried and template.slots:
                    yield from self._fill(category, kind, template, by_type, gathered)

    def _fill(
        self, category: int, kind: _Found, template: _Template, by_type: dict[int, list[int]], gathered: _Gathered
    ) -> Iterator[_Instance]:
        choices = [by_type.get(self._types[slot.type], []) for slot in template.slots]
        if not all(choices):
            return
        said = [gathered.terms[term] for term in template.kind_terms if term in gathered.terms]
        unsaid = [term for term in template.kind_terms if said and term not in gathered.terms]
        shown = _Found(
            now=max([TRIGGERED * kind.now, *(found.now for found in said)]),
            before=max([TRIGGERED * kind.before, *(found.before for found in said)]),
            faded=max([TRIGGERED * kind.faded, *(found.faded for found in said)]),
        )
        literals = [
            (LITERAL_MASS, gathered.terms.get(term, _Found()), True) for term in (*template.literal_terms, *unsaid)
        ]
        for filling in itertools.product(*choices):
            if len(set(filling)) < len(filling):
                continue
            found = [gathered.entities[entity] for entity in filling]
            order = _order(template.slots, found)
            names = iter(filling)
            query = "".join(p if isinstance(p, str) else self._entities[next(names)].name for p in template.parts)
            priors = [self._entities[entity].prior for entity in filling]
            yield _Instance(
                query=query,
                category=category,
                parts=[(KIND_MASS, shown, False), *literals, *((SLOT_MASS, evidence, True) for evidence in found)],
                order=order,
                prior=(template.prior + sum(priors) / len(priors)) / 2 if priors else template.prior,
                entity_types=template.entity_types,
            )

    def _evidence(self, instances: list[_Instance], line: _Line) -> Evidence:
        n, width = len(instances), max(len(instance.parts) for instance in instances)
        mass, now, before, faded = (np.zeros((n, width), np.float32) for _ in range(4))
        slot, content = np.zeros((n, width), bool), np.zeros((n, width), bool)
        explained = np.zeros(n, np.float32)
        for row, instance in enumerate(instances):
            used = 0
            for place, (weight, found, is_slot) in enumerate(instance.parts):
                mass[row, place], slot[row, place], content[row, place] = weight, is_slot, True
                now[row, place], before[row, place], faded[row, place] = found.now, found.before, found.faded
                used += found.now > 0 and weight != LITERAL_MASS
            explained[row] = min(1.0, used / max(line.parts, 1))
        return Evidence(
            mass=mass,
            now=now,
            before=before,
            faded=faded,
            slot=slot,
            content=content,
            share=np.ones_like(mass),
            explained=explained,
            order=np.array([instance.order for instance in instances], np.float32),
            prior=np.array([instance.prior for instance in instances], np.float32),
            asking=line.reading.asking,
        )

    def _candidate(self, instance: _Instance, value: float, features: list[float]) -> Candidate:
        category = self._categories[instance.category]
        return Candidate(
            instance.query, category.name, value, category.sensitive, tuple(features), instance.entity_types
        )


def _order(slots: tuple[Slot, ...], found: list[_Found]) -> float:
    """How well the roles of what fills the slots agree with theirs, -1..1."""
    wanted = [(slot.role, evidence.role) for slot, evidence in zip(slots, found, strict=True) if slot.role]
    if wanted:
        return sum(role * max(-1.0, min(1.0, said / CLEAR_ROLE)) for role, said in wanted) / len(wanted)
    said = [evidence.role for evidence in found if evidence.role]
    return TOWARDS * sum(said) / len(said) if said else 0.0
