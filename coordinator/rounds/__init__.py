"""Rounds: the state machine (``states``), who may join (``admission``), what is asked (``planning``), what is accepted
and answered (``intake``), when to come back (``pace_steering``), and what moves a round on (``driver``)."""

from coordinator.rounds.states import TRANSITIONS, RoundEvent, RoundState, mermaid

__all__ = ["TRANSITIONS", "RoundEvent", "RoundState", "mermaid"]
