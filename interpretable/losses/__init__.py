"""The part-template loss: mutual information between images and templates, its variants, and their module."""

from interpretable.losses.authors import authors_loss
from interpretable.losses.fitness import Statistics
from interpretable.losses.information import MutualInformationTerms, decompose, effective_images, mutual_information
from interpretable.losses.paper import paper_information
from interpretable.losses.part_template_loss import Objective, PartTemplateLoss, PartTemplateTerms
from interpretable.losses.running_averages import mean_peak

__all__ = [
    "MutualInformationTerms",
    "Objective",
    "PartTemplateLoss",
    "PartTemplateTerms",
    "Statistics",
    "authors_loss",
    "decompose",
    "effective_images",
    "mean_peak",
    "mutual_information",
    "paper_information",
]
