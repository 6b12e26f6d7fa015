"""Slow literal versions of the formulas, in plain Python floats (float64): what the fast code is compared with."""
