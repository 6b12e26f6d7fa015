"""EK-FAC and the exact Gauss-Newton matrix by their definitions: float64, one image, class and position at a time.

Sources: Martens 2020 (for cross-entropy of logits the Gauss-Newton matrix is the Fisher matrix, the expectation over
labels from the network's own probabilities of g gᵀ); George et al. 2018 (eigenvalues corrected to the mean of the
squared gradients in the Kronecker eigenbasis); Grosse et al. 2023 (influence with it). The network is taken as it is:
in evaluation mode, with weights that ask for gradients, and with no in-place operation on what its layers give.
"""

import torch
from torch import nn
from torch.nn import functional as F


def parameters_of(layer) -> list:
    return [layer.weight] if layer.bias is None else [layer.weight, layer.bias]


def weight_gradient(model, layer, image, label) -> torch.Tensor:
    """(groups, outputs of a group, inputs [+ 1 for the bias]) of −log p_label of one image, by autograd."""
    loss = F.cross_entropy(model(image[None]), torch.tensor([label]))
    found = torch.autograd.grad(loss, parameters_of(layer), allow_unused=True)
    weight, *bias = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters_of(layer), found, strict=True)]
    columns = torch.cat([weight.reshape(len(weight), -1), *[b[:, None] for b in bias]], 1)
    groups = getattr(layer, "groups", 1)
    return columns.reshape(groups, len(weight) // groups, -1)


def probabilities(model, image) -> list[float]:
    return model(image[None])[0].softmax(0).tolist()


def fisher(model, layers, images) -> torch.Tensor:
    """The exact Fisher = Gauss-Newton matrix of the mean loss over all weights of the layers, in their order."""
    total = 0
    for image in images:
        for label, probability in enumerate(probabilities(model, image)):
            flat = torch.cat([weight_gradient(model, layer, image, label).flatten() for layer in layers])
            total = total + probability * torch.outer(flat, flat)
    return total / len(images)


def flat_gradients(model, layers, images, labels) -> list[torch.Tensor]:
    """Of each image the gradient over all weights of the layers."""
    return [
        torch.cat([weight_gradient(model, layer, image, int(label)).flatten() for layer in layers])
        for image, label in zip(images, labels, strict=True)
    ]


def blocks_of(layers, matrix) -> torch.Tensor:
    """The matrix without what it has between different layers."""
    sizes = [sum(p.numel() for p in parameters_of(layer)) for layer in layers]
    return matrix * torch.block_diag(*[torch.ones(size, size, dtype=torch.float64) for size in sizes])


def exact_influence(matrix, damping, queries, training, number) -> torch.Tensor:
    """(T, N) g_tᵀ (matrix + damping)⁻¹ g_z / number of gradients."""
    inverse = torch.linalg.inv(matrix + damping * torch.eye(len(matrix), dtype=torch.float64))
    return torch.stack([torch.stack([g_t @ inverse @ g_z / number for g_z in training]) for g_t in queries])


def ek_fac_matrices(model, layer, images) -> list[torch.Tensor]:
    """Per group of a layer its approximate Fisher matrix Q diag(Λ) Qᵀ with Q = Q_S ⊗ Q_A, over flattened gradients."""
    groups = getattr(layer, "groups", 1)
    gradients = []  # with the probability of their label
    for image in images:
        for label, probability in enumerate(probabilities(model, image)):
            gradients.append((probability, weight_gradient(model, layer, image, label)))
    matrices = []
    for group in range(groups):
        a = covariance(model, layer, images, group, of_inputs=True)
        s = covariance(model, layer, images, group, of_inputs=False)
        q_a, q_s = torch.linalg.eigh(a).eigenvectors, torch.linalg.eigh(s).eigenvectors
        eigenvalues = torch.zeros(len(s), len(a), dtype=torch.float64)
        for probability, gradient in gradients:
            eigenvalues += probability * (q_s.T @ gradient[group] @ q_a) ** 2 / len(images)
        q = torch.kron(q_s, q_a)
        matrices.append(q @ torch.diag(eigenvalues.flatten()) @ q.T)
    return matrices


def covariance(model, layer, images, group, of_inputs: bool) -> torch.Tensor:
    """Σ over images, labels with their probability, and positions of a aᵀ or s sᵀ."""
    total = 0
    for image in images:
        seen = []
        hook = layer.register_forward_hook(lambda _, args, output, seen=seen: seen.append((args[0], output)))
        logits = model(image[None])
        hook.remove()
        ((given, output),) = seen
        for label, probability in enumerate(logits[0].softmax(0).tolist()):
            loss = F.cross_entropy(logits, torch.tensor([label]))
            (gradient,) = torch.autograd.grad(loss, output, retain_graph=True)
            for a, s in positions(layer, given[0].detach(), gradient[0], group):
                row = a if of_inputs else s
                total = total + probability * torch.outer(row, row)
    return total


def positions(layer, given, gradient, group):
    """What each position of a layer reads, with a last 1 for a bias, and the gradient at what it gives there."""
    one = [] if layer.bias is None else [torch.ones(1, dtype=torch.float64)]
    if isinstance(layer, nn.Linear):
        for a, s in zip(given.reshape(-1, given.shape[-1]), gradient.reshape(-1, gradient.shape[-1]), strict=True):
            yield torch.cat([a, *one]), s
        return
    (top, left), (down, right), (dy, dx) = layer.padding, layer.stride, layer.dilation
    outputs, inputs = layer.out_channels // layer.groups, layer.in_channels // layer.groups
    padded = F.pad(given, (left, left, top, top))[group * inputs : (group + 1) * inputs]
    for y in range(gradient.shape[1]):
        for x in range(gradient.shape[2]):
            patch = torch.stack(
                [
                    padded[c, y * down + i * dy, x * right + j * dx]
                    for c in range(inputs)
                    for i in range(layer.kernel_size[0])
                    for j in range(layer.kernel_size[1])
                ]
            )
            yield torch.cat([patch, *one]), gradient[group * outputs : (group + 1) * outputs, y, x]
