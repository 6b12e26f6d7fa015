"""A layer's Fisher matrix in its Kronecker eigenbasis, and products of weight gradients with its damped inverse."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from interpretable.influence.layer_positions import Positions


class EigenFactors(NamedTuple):
    """Fisher matrix of a layer's weights ≈ (Q_S ⊗ Q_A) diag(Λ) (Q_S ⊗ Q_A)ᵀ, group by group (George et al. 2018)."""

    input_basis: Float[Tensor, "group input input"]
    """Q_A, eigenvectors in the columns."""
    output_basis: Float[Tensor, "group output output"]
    """Q_S."""
    eigenvalues: Float[Tensor, "group output input"]
    """Λ, corrected: the mean over images of (Q_Sᵀ G Q_A)²."""
    damping: float
    """What is added to Λ before it is inverted."""


def eigenbasis_gradients(
    positions: Positions,
    input_basis: Float[Tensor, "group input input"],
    output_basis: Float[Tensor, "group output output"],
) -> Float[Tensor, "image group output input"]:
    """Q_Sᵀ G Q_A of each image's weight gradient G = Σ signal · inputᵀ.

    Each side is rotated where it is cheaper, before the sum over positions or after it: Q_A costs positions · input²
    before and output · input² after, Q_S positions · output² before and input · output² after.
    """
    inputs, signals = positions
    number, outputs, width = inputs.shape[3], signals.shape[2], inputs.shape[2]
    inputs_first, signals_first = number < outputs, number < width
    if inputs_first:
        inputs = torch.einsum("gij,ngip->ngjp", input_basis, inputs)
    if signals_first:
        signals = torch.einsum("gok,ngop->ngkp", output_basis, signals)
    gradients = signals @ inputs.mT
    if not inputs_first:
        gradients = torch.einsum("ngoi,gij->ngoj", gradients, input_basis)
    if not signals_first:
        gradients = torch.einsum("gok,ngoi->ngki", output_basis, gradients)
    return gradients


def preconditioned_gradients(positions: Positions, factors: EigenFactors) -> Float[Tensor, "image group output input"]:
    """(F + damping)⁻¹ g of each image: Q_S [(Q_Sᵀ G Q_A) / (Λ + damping)] Q_Aᵀ (Grosse et al. 2023)."""
    gradients = eigenbasis_gradients(positions, factors.input_basis, factors.output_basis)
    gradients = gradients / (factors.eigenvalues + factors.damping)
    gradients = torch.einsum("ngoi,gji->ngoj", gradients, factors.input_basis)
    return torch.einsum("gko,ngoi->ngki", factors.output_basis, gradients)


def gradient_products(
    preconditioned: Float[Tensor, "query group output input"], positions: Positions
) -> Float[Tensor, "query image"]:
    """⟨P_t, G_z⟩ of each query's preconditioned gradient with each image's gradient.

    The images' gradients are formed only where that costs less: per weight, forming and multiplying costs
    positions + queries, Σ signalᵀ P_t input over positions costs positions · queries.
    """
    inputs, signals = positions
    queries, number = len(preconditioned), inputs.shape[3]
    if queries * number <= queries + number:
        answers = torch.einsum("tgoi,ngip->tngop", preconditioned, inputs)
        return torch.einsum("tngop,ngop->tn", answers, signals)
    return preconditioned.flatten(1) @ (signals @ inputs.mT).flatten(1).T


def self_products(positions: Positions, factors: EigenFactors) -> Float[Tensor, " image"]:
    """gᵀ (F + damping)⁻¹ g of each image, 0 or more."""
    gradients = eigenbasis_gradients(positions, factors.input_basis, factors.output_basis)
    return (gradients.square() / (factors.eigenvalues + factors.damping)).sum((1, 2, 3))
