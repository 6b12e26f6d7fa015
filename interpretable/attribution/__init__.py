"""Post-hoc attribution: which pixels, or parts, decided for a class."""
