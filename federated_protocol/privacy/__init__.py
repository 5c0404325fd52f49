"""Differential privacy of secure sums: exact noise on the device, and what a sum costs, in closed form.

- :mod:`~federated_protocol.privacy.discrete_gaussian`: an exact sampler (arXiv 2004.00010)
- :mod:`~federated_protocol.privacy.zcdp`: sensitivity, the cost rho of one released sum, and epsilon at a delta
- :mod:`~federated_protocol.privacy.calibration`: the noise a target asks for, and the checks of a plan's setting

The unit is the device: two cohorts are neighbours when one device's vector is replaced by zero. Nothing here claims
amplification by sampling. docs/privacy.md says what is charged under which assumptions.
"""

from federated_protocol.privacy.calibration import charge, check_privacy, noise_sixteenths_for, privacy_label
from federated_protocol.privacy.discrete_gaussian import discrete_gaussian
from federated_protocol.privacy.zcdp import epsilon_of, largest_rho, rounded_norm_bound, sum_rho

__all__ = [
    "charge",
    "check_privacy",
    "discrete_gaussian",
    "epsilon_of",
    "largest_rho",
    "noise_sixteenths_for",
    "privacy_label",
    "rounded_norm_bound",
    "sum_rho",
]
