"""How interpretable a network's filters are: a pure function and a torchmetrics class for each measure."""

from interpretable.metrics.location_instability import (
    LocationInstability,
    LocationInstabilityResult,
    location_instability,
)

__all__ = ["LocationInstability", "LocationInstabilityResult", "location_instability"]
