"""Federated algorithms that are more than local descent: what a device computes, and what its sums are made into.

FedAvg, FedSGD and FedProx are settings of :class:`suggestion_model.training.LocalSetting`; server momentum, Adam and
Yogi are optimisers of the coordinator. Here stands what needs sums of its own: :mod:`.fsvrg`, and
:mod:`.conditioning`, which makes any of them faster on sparse features.
"""
