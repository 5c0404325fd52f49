"""What released sums cost: the ledger, the budget that stops rounds, and epsilon by ``dp-accounting``.

- :mod:`~coordinator.privacy.planning`: from settings to the noise and the label of a plan
- :mod:`~coordinator.privacy.ledger`: every released sum is charged; a round that would overspend does not start
- :mod:`~coordinator.privacy.accountant`: epsilon, computed by ``dp-accounting`` in a process that ends right after

docs/privacy.md says what is charged, and under which assumptions.
"""

from coordinator.privacy.accountant import EpsilonReporter, accounted_epsilon
from coordinator.privacy.ledger import (
    Spending,
    affords,
    charge_release,
    overspends,
    privacy_sentence,
    spending,
    spending_of_all,
)
from coordinator.privacy.planning import plan_noise, plan_privacy

__all__ = [
    "EpsilonReporter",
    "Spending",
    "accounted_epsilon",
    "affords",
    "charge_release",
    "overspends",
    "plan_noise",
    "plan_privacy",
    "privacy_sentence",
    "spending",
    "spending_of_all",
]
