"""What product teams read: click-through by arm and version, and the threshold calibrated from score histograms.

All of it comes from exact counters that devices added under masks; there is no row about anybody.
"""

from coordinator.experiments.click_through import ArmUsage, usage_by_arm
from coordinator.experiments.comparison import Comparison, Verdict, compare
from coordinator.experiments.threshold import ScoreHistograms, calibrate_threshold

__all__ = ["ArmUsage", "Comparison", "ScoreHistograms", "Verdict", "calibrate_threshold", "compare", "usage_by_arm"]
