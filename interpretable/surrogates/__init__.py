"""Simple models that say how a network decides: trees of decision modes, trees over filters, and a linear one."""

from interpretable.surrogates.decision_mode_tree import DecisionModeTree
from interpretable.surrogates.filter_tree import FilterTree
from interpretable.surrogates.linear_surrogate import LinearSurrogate

__all__ = ["DecisionModeTree", "FilterTree", "LinearSurrogate"]
