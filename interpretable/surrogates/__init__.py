"""Simple models that say how a network decides: trees of decision modes, trees over filters, a linear one, and a graph.

The explanatory graph says what filters respond to rather than how it decides: part patterns that move together.
"""

from interpretable.surrogates.decision_mode_tree import DecisionModeTree
from interpretable.surrogates.explanatory_graph import ExplanatoryGraph
from interpretable.surrogates.filter_tree import FilterTree
from interpretable.surrogates.linear_surrogate import LinearSurrogate

__all__ = ["DecisionModeTree", "ExplanatoryGraph", "FilterTree", "LinearSurrogate"]
