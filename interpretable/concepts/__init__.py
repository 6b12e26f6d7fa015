"""Images whose pixels are labelled with concepts, for network dissection."""

from interpretable.concepts.broden import BrodenConcepts
from interpretable.concepts.broden_check import BrodenFacts, verify_broden
from interpretable.concepts.catalogue import open_concepts
from interpretable.concepts.creatures import CreatureConcepts
from interpretable.concepts.from_parts import PartConcepts
from interpretable.concepts.samples import ConceptDataset, ConceptSample
from interpretable.concepts.segmentation import PetConcepts, VOCConcepts

__all__ = [
    "BrodenConcepts",
    "BrodenFacts",
    "ConceptDataset",
    "ConceptSample",
    "CreatureConcepts",
    "PartConcepts",
    "PetConcepts",
    "VOCConcepts",
    "open_concepts",
    "verify_broden",
]
