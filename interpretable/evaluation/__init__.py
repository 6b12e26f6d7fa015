"""Evaluation of a run: every measure of its filters, from its stores."""

from interpretable.evaluation.evaluation import Evaluation

__all__ = ["Evaluation"]
