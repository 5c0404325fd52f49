"""Differential privacy: nothing yet. Every plan carries the label ``no DP guarantee``, which devices and the dashboard
show; the accountant and the noise that would earn another label belong here.
"""
