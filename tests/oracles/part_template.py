"""Part templates, their mutual information with the maps, and the part-template loss, term by term.

Source: Zhang, Wu, Zhu, "Interpretable Convolutional Neural Networks", CVPR 2018. Each function names
the quantity of the paper that it writes down. A map x is a list of rows; a filter's maps x_1 ... x_B are a list of
maps; templates are ordered T_μ for μ in row-major order, then T⁻.
"""

import math

Map = list[list[float]]


def positive_template(height: int, width: int, row: int, column: int, beta: float) -> Map:
    """T_μ / τ with μ = (a, b): t_ij = max(1 − β(|i−a|/h + |j−b|/w), −1), for h = w the paper's."""
    template = []
    for i in range(height):
        line = []
        for j in range(width):
            line.append(max(1.0 - beta * (abs(i - row) / height + abs(j - column) / width), -1.0))
        template.append(line)
    return template


def template_set(height: int, width: int, beta: float) -> list[Map]:
    """The paper's set of n² + 1 unit templates: T_μ at every cell, then T⁻ / τ, which is −1 everywhere."""
    templates = []
    for row in range(height):
        for column in range(width):
            templates.append(positive_template(height, width, row, column, beta))
    templates.append([[-1.0] * width for _ in range(height)])
    return templates


def fitness(x: Map, template: Map, scale: float) -> float:
    """s(x, T) = scale · Σ_ij x_ij t_ij, the paper's tr(x · T), exponent of the likelihood."""
    total = 0.0
    for i in range(len(x)):
        for j in range(len(x[0])):
            total += x[i][j] * template[i][j]
    return scale * total


def log_sum_exp(exponents: list[float]) -> float:
    """log Σ exp, shifted by the largest exponent so that no term overflows."""
    largest = max(exponents)
    if largest == -math.inf:
        return -math.inf
    return largest + math.log(math.fsum(math.exp(exponent - largest) for exponent in exponents))


def log_likelihood(maps: list[Map], template: Map, scale: float, support: list[int]) -> list[float]:
    """log p(x_k|T) = s(x_k, T) − log Z_T, Z_T = Σ_x exp s(x, T), for the images in the support, −∞ for the others."""
    log_z = log_sum_exp([fitness(maps[k], template, scale) for k in support])
    return [fitness(maps[k], template, scale) - log_z if k in support else -math.inf for k in range(len(maps))]


def log_evidence(priors: list[float], likelihoods: list[list[float]], k: int) -> float:
    """log p(x_k) with the paper's p(x) = Σ_T p(T) p(x|T)."""
    return log_sum_exp(
        [math.log(prior) + likelihood[k] for prior, likelihood in zip(priors, likelihoods, strict=True) if prior > 0]
    )


def information(priors: list[float], likelihoods: list[list[float]]) -> float:
    """MI = Σ_T p(T) Σ_x p(x|T) log(p(x|T) / p(x)), the filter loss without its sign; 0 · log 0 = 0."""
    terms = []
    for prior, likelihood in zip(priors, likelihoods, strict=True):
        if prior == 0:
            continue
        for k in range(len(likelihood)):
            if likelihood[k] > -math.inf:
                difference = likelihood[k] - log_evidence(priors, likelihoods, k)
                terms.append(prior * math.exp(likelihood[k]) * difference)
    return math.fsum(terms)


def information_gradient(
    maps: list[Map], templates: list[Map], priors: list[float], likelihoods: list[list[float]], scale: float
) -> list[Map]:
    """∂MI/∂x_k,ij = scale · Σ_T p(T) t_ij p_kT (ℓ_kT − KL_T), with Z_T differentiated too (the sign is +MI's).

    ℓ_kT = log p(x_k|T) − log p(x_k), p_kT = p(x_k|T), KL_T = Σ_k p_kT ℓ_kT.
    """
    height, width = len(maps[0]), len(maps[0][0])
    gradient = [[[0.0] * width for _ in range(height)] for _ in maps]
    for template, prior, likelihood in zip(templates, priors, likelihoods, strict=True):
        if prior == 0:
            continue
        support = [k for k in range(len(maps)) if likelihood[k] > -math.inf]
        difference = {k: likelihood[k] - log_evidence(priors, likelihoods, k) for k in support}
        divergence = math.fsum(math.exp(likelihood[k]) * difference[k] for k in support)
        for k in support:
            weight = scale * prior * math.exp(likelihood[k]) * (difference[k] - divergence)
            for i in range(height):
                for j in range(width):
                    gradient[k][i][j] += weight * template[i][j]
    return gradient


def uniform_model(maps: list[Map], beta: float, scale: float) -> tuple[list[Map], list[float], list[list[float]]]:
    """Templates, priors and log-likelihoods of the label-free loss; each prior is 1/(n² + 1), as with the paper's α."""
    templates = template_set(len(maps[0]), len(maps[0][0]), beta)
    priors = [1.0 / len(templates)] * len(templates)
    everyone = list(range(len(maps)))
    return templates, priors, [log_likelihood(maps, template, scale, everyone) for template in templates]


def mutual_information(maps: list[Map], beta: float, scale: float) -> float:
    """Mutual information of one filter in nats: the paper's filter loss without its sign."""
    _, priors, likelihoods = uniform_model(maps, beta, scale)
    return information(priors, likelihoods)


def mutual_information_gradient(maps: list[Map], beta: float, scale: float) -> list[Map]:
    """Its gradient by every activation, in closed form."""
    return information_gradient(maps, *uniform_model(maps, beta, scale), scale)


def mutual_information_differences(maps: list[Map], beta: float, scale: float, step: float = 1e-4) -> list[Map]:
    """Its gradient by central finite differences: knows nothing but the value."""
    gradient = [[[0.0] * len(x[0]) for _ in x] for x in maps]
    for k, x in enumerate(maps):
        for i in range(len(x)):
            for j in range(len(x[0])):
                before = x[i][j]
                x[i][j] = before + step
                above = mutual_information(maps, beta, scale)
                x[i][j] = before - step
                below = mutual_information(maps, beta, scale)
                x[i][j] = before
                gradient[k][i][j] = (above - below) / (2 * step)
    return gradient


def decomposition(maps: list[Map], beta: float, scale: float) -> tuple[float, float, float]:
    """H(T), H({T⁻, T⁺}|X) and Σ_x p(T⁺, x) H(T⁺|X=x): the paper's loss split into entropies."""
    _, priors, likelihoods = uniform_model(maps, beta, scale)
    prior_entropy = -math.fsum(prior * math.log(prior) for prior in priors)
    inter_category, spatial = 0.0, 0.0
    for k in range(len(maps)):
        evidence = log_evidence(priors, likelihoods, k)
        posterior = [
            math.exp(math.log(prior) + likelihood[k] - evidence)
            for prior, likelihood in zip(priors, likelihoods, strict=True)
        ]
        negative = posterior[-1]
        positive = math.fsum(posterior[:-1])
        for probability in (negative, positive):
            if probability > 0:
                inter_category -= math.exp(evidence) * probability * math.log(probability)
        for probability in posterior[:-1]:
            share = probability / positive if positive > 0 else 0.0
            if share > 0:
                spatial -= math.exp(evidence) * positive * share * math.log(share)
    return prior_entropy, inter_category, spatial


def effective_images(maps: list[Map], beta: float, scale: float) -> float:
    """exp H(p(x)) with p(x) = Σ_T p(T) p(x|T)."""
    _, priors, likelihoods = uniform_model(maps, beta, scale)
    entropy = 0.0
    for k in range(len(maps)):
        evidence = log_evidence(priors, likelihoods, k)
        entropy -= math.exp(evidence) * evidence
    return math.exp(entropy)


def class_aware_model(
    maps: list[Map], members: list[int], beta: float, scale: float
) -> tuple[list[Map], list[float], list[list[float]]]:
    """Templates, priors and log-likelihoods where only the category's images are explained by a T_μ.

    p(T⁻) = n⁻/n over all images, p(T_μ) = (n⁺/n) / (h·w) over the members; needs at least one member.
    """
    templates = template_set(len(maps[0]), len(maps[0][0]), beta)
    positives = len(templates) - 1
    priors = [len(members) / len(maps) / positives] * positives + [(len(maps) - len(members)) / len(maps)]
    likelihoods = [log_likelihood(maps, template, scale, members) for template in templates[:-1]]
    likelihoods.append(log_likelihood(maps, templates[-1], scale, list(range(len(maps)))))
    return templates, priors, likelihoods


def mean_peak(maps: list[Map]) -> float | None:
    """Mean over the maps with a positive maximum of that maximum; None where no map has one."""
    peaks = [max(max(row) for row in x) for x in maps]
    positive = [peak for peak in peaks if peak > 0]
    return math.fsum(positive) / len(positive) if positive else None


def moving_average(before: float | None, observed: float | None) -> float | None:
    """0.9 of what was and 0.1 of what is; the first observation as it is; unchanged where nothing is observed."""
    if observed is None:
        return before
    if before is None:
        return observed
    return 0.9 * before + 0.1 * observed


class PartTemplateLoss:
    """The loss of a layer with its state, one filter after the other.

    The fitness is Σ (x / r_c) · T / temperature, with r_c the moving average of the mean peak. Class-aware: a filter's
    category is argmax_c of the mean over I_c of Σ_ij x_ij as in the paper, a moving average too.
    """

    def __init__(self, num_filters: int, num_classes: int = 0, temperature: float = 0.2, beta: float = 4.0) -> None:
        self.temperature = temperature
        self.beta = beta
        self.running_peak: list[float | None] = [None] * num_filters
        self.class_response: list[list[float | None]] = [[None] * num_classes for _ in range(num_filters)]

    def observe(self, filters: list[list[Map]], labels: list[set[int]] | None = None) -> None:
        """One training step's update; filters[c][k] is filter c's map of image k, labels[k] image k's classes."""
        for c, maps in enumerate(filters):
            self.running_peak[c] = moving_average(self.running_peak[c], mean_peak(maps))
            if labels is None:
                continue
            for category in range(len(self.class_response[c])):
                sums = [
                    math.fsum(math.fsum(row) for row in x)
                    for x, own in zip(maps, labels, strict=True)
                    if category in own
                ]
                mean = math.fsum(sums) / len(sums) if sums else None
                self.class_response[c][category] = moving_average(self.class_response[c][category], mean)

    def category(self, c: int) -> int:
        """The class that filter c responds to most, ties to the lowest; a class never seen is no candidate."""
        responses = [-math.inf if response is None else response for response in self.class_response[c]]
        return responses.index(max(responses))

    def value_and_gradient(
        self, filters: list[list[Map]], labels: list[set[int]] | None = None
    ) -> tuple[float, list[list[Map]]]:
        """−MI averaged over filters and its gradient, r_c and categories held constant."""
        values, gradients = [], []
        for c, maps in enumerate(filters):
            nothing = [[[0.0] * len(x[0]) for _ in x] for x in maps]
            members = [k for k in range(len(maps)) if labels is None or self.category(c) in labels[k]]
            peak = self.running_peak[c]
            if peak is None or not members:
                values.append(0.0)
                gradients.append(nothing)
                continue
            scale = 1.0 / (self.temperature * peak)
            if labels is None:
                model = uniform_model(maps, self.beta, scale)
            else:
                model = class_aware_model(maps, members, self.beta, scale)
            values.append(-information(model[1], model[2]) / len(filters))
            gradient = information_gradient(maps, *model, scale)
            gradients.append([[[-value / len(filters) for value in row] for row in x] for x in gradient])
        return math.fsum(values), gradients
