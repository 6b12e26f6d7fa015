"""The part-template loss: mutual information of images and templates, its variants, its module; equivariance."""

from interpretable.losses.authors import authors_loss
from interpretable.losses.distinctness import filter_overlap
from interpretable.losses.equivariance import equivariance_loss, move_images, random_affine
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
    "equivariance_loss",
    "filter_overlap",
    "mean_peak",
    "move_images",
    "mutual_information",
    "paper_information",
    "random_affine",
]
