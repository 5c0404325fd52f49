"""Differential privacy of secure sums: exact noise on the device, and what a sum costs, in closed form.

- :mod:`~federated_protocol.privacy.discrete_gaussian`: an exact sampler (arXiv 2004.00010)
- :mod:`~federated_protocol.privacy.zcdp`: sensitivity, the cost rho of one released sum, and epsilon at a delta
- :mod:`~federated_protocol.privacy.calibration`: the noise a target asks for, and the checks of a plan's setting
- :mod:`~federated_protocol.privacy.estimates`: usage as a clipped, noised vector of its own

The unit is the device: two cohorts are neighbours when one device's vector is replaced by zero. Nothing here claims
amplification by sampling. docs/privacy.md says what is charged under which assumptions.
"""

from federated_protocol.privacy.calibration import charge, check_privacy, noise_sixteenths_for, privacy_label
from federated_protocol.privacy.discrete_gaussian import discrete_gaussian
from federated_protocol.privacy.estimates import (
    USAGE_SCALES,
    Estimate,
    estimated_names,
    read_estimates,
    usage_vector,
)
from federated_protocol.privacy.zcdp import epsilon_of, largest_rho, rounded_norm_bound, sum_rho

__all__ = [
    "USAGE_SCALES",
    "Estimate",
    "charge",
    "check_privacy",
    "discrete_gaussian",
    "epsilon_of",
    "estimated_names",
    "largest_rho",
    "noise_sixteenths_for",
    "privacy_label",
    "read_estimates",
    "rounded_norm_bound",
    "sum_rho",
    "usage_vector",
]
