"""Ante-hoc interpretable image classifiers on PyTorch Lightning."""
