"""Influence of training images, image by image: gradients and Hessians by autograd, removals by fitting again.

Sources: Koh and Liang, "Understanding Black-box Predictions via Influence Functions", ICML 2017, eq. 1 and 2;
Pruthi et al., "Estimating Training Data Influence by Tracing Gradient Descent", NeurIPS 2020, §3.2. All parameters of
a head are one matrix (K, D+1), the biases in its last column.
"""

import torch
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn import functional as F


def image_loss(parameters: Tensor, feature: Tensor, label: Tensor, loss: str) -> Tensor:
    """½‖W h + b − y‖² of one image, or the cross-entropy of its logits; y one-hot where the label is a class."""
    logits = parameters[:, :-1] @ feature + parameters[:, -1]
    if loss == "squared":
        target = label if label.ndim else F.one_hot(label, len(logits))
        return ((logits - target) ** 2).sum() / 2
    if len(logits) == 1:
        return F.binary_cross_entropy_with_logits(logits[0], label.to(logits.dtype))
    return F.cross_entropy(logits[None], label[None])


def objective(
    parameters: Tensor, features: Tensor, labels: Tensor, loss: str, decay: float, without: int | None = None
) -> Tensor:
    """Mean loss over the N images plus decay/2 ‖parameters‖²; an image that is taken out takes its share 1/N along."""
    total = decay / 2 * (parameters**2).sum()
    for n in range(len(features)):
        if n != without:
            total = total + image_loss(parameters, features[n], labels[n], loss) / len(features)
    return total


def gradient(parameters: Tensor, feature: Tensor, label: Tensor, loss: str) -> Tensor:
    """Gradient of one image's loss by all parameters, (K·(D+1),)."""
    point = parameters.clone().requires_grad_()
    return torch.autograd.grad(image_loss(point, feature, label, loss), point)[0].flatten()


def hessian(
    parameters: Tensor, features: Tensor, labels: Tensor, loss: str, decay: float, without: int | None = None
) -> Tensor:
    """Hessian of the objective, (K·(D+1), K·(D+1))."""
    size = parameters.numel()
    table = torch.autograd.functional.hessian(
        lambda point: objective(point, features, labels, loss, decay, without), parameters
    )
    return table.reshape(size, size)


def influence(
    parameters: Tensor,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    loss: str,
    ridge: float,
    leave_one_out: bool = False,
) -> Tensor:
    """(T, N) first-order rise of a test image's loss when a training image is taken out.

    By eq. 2 the loss of t changes by ε · (−g_tᵀ H⁻¹ g_z) when z is up-weighted by ε; to take it out is ε = −1/N. With
    leave_one_out H is that of the other images.
    """
    result = torch.empty(len(test[0]), len(train[0]), dtype=parameters.dtype)
    matrix = hessian(parameters, *train, loss, ridge)
    for n in range(len(train[0])):
        if leave_one_out:
            matrix = hessian(parameters, *train, loss, ridge, without=n)
        upweighted = -torch.linalg.solve(matrix, gradient(parameters, train[0][n], train[1][n], loss))
        for t in range(len(test[0])):
            own = gradient(parameters, test[0][t], test[1][t], loss)
            result[t, n] = (-1 / len(train[0])) * (own @ upweighted)
    return result


def fitted_ridge(features: Tensor, targets: Tensor, decay: float, without: int | None = None) -> Tensor:
    """The minimum (K, D+1) of the objective with the squared loss, by its normal equations."""
    width = features.shape[1] + 1
    left = decay * torch.eye(width, dtype=features.dtype)
    right = torch.zeros(width, targets.shape[1], dtype=features.dtype)
    for n in range(len(features)):
        if n != without:
            row = torch.cat([features[n], torch.ones(1, dtype=features.dtype)])
            left = left + torch.outer(row, row) / len(features)
            right = right + torch.outer(row, targets[n]) / len(features)
    return torch.linalg.solve(left, right).T


def fitted_logistic(features: Tensor, labels: Tensor, classes: int, decay: float, without: int | None = None) -> Tensor:
    """The minimum (K, D+1) of the objective with the cross-entropy, to a gradient of 1e-9."""
    kept = [n for n in range(len(features)) if n != without]

    def value_and_slope(point):
        parameters = torch.from_numpy(point).view(classes, -1).requires_grad_()
        logits = features[kept] @ parameters[:, :-1].T + parameters[:, -1]
        total = F.cross_entropy(logits, labels[kept], reduction="sum") / len(features)
        total = total + decay / 2 * (parameters**2).sum()
        total.backward()
        return total.item(), parameters.grad.flatten().numpy()

    start = torch.zeros(classes * (features.shape[1] + 1), dtype=torch.float64).numpy()
    options = {"gtol": 1e-9, "ftol": 0.0, "maxiter": 10_000, "maxfun": 20_000, "maxcor": 50}
    found = minimize(value_and_slope, start, jac=True, method="L-BFGS-B", options=options)
    return torch.from_numpy(found.x).view(classes, -1)


def trac_in(
    networks: list[nn.Module],
    heads: list[nn.Linear],
    rates: list[float],
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
) -> Tensor:
    """(T, N): Σ over checkpoints of rate · g_t · g_z, with gradients through the network by its head's parameters."""
    result = torch.zeros(len(test[0]), len(train[0]), dtype=torch.float64)
    for network, head, rate in zip(networks, heads, rates, strict=True):
        for t in range(len(test[0])):
            for n in range(len(train[0])):
                pair = []
                for image, label in ((test[0][t], test[1][t]), (train[0][n], train[1][n])):
                    loss = F.cross_entropy(network(image[None]), label[None])
                    pair.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(head.parameters()))]))
                result[t, n] += rate * (pair[0] @ pair[1])
    return result


def detection(scores: list[float], wrong: list[bool]) -> list[float]:
    """Share of the wrong ones among the first 1..N by descending score, of equal ones the first."""
    order = sorted(range(len(scores)), key=lambda n: (-scores[n], n))
    return [sum(wrong[n] for n in order[: looked + 1]) / sum(wrong) for looked in range(len(order))]
