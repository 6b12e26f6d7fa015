"""What ``tree.json`` holds, field by field: the fitted surrogates as plain numbers and names."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator

from interpretable.documents import Document, Record, Value
from interpretable.errors import InterpretableError, SurrogateError

FILE_NAME = "tree.json"


def _check_children(children: Sequence[tuple[int, ...]]) -> None:
    """Every node but the root must be below exactly one node, which stands before it."""
    above: dict[int, int] = {}
    for number, below in enumerate(children):
        for child in below:
            if not number < child < len(children) or child in above:
                raise ValueError(f"nodes[{number}].children names node {child}, which is no node of its own below it")
            above[child] = number
    if len(above) != len(children) - 1:
        raise ValueError(f"nodes has {len(children) - 1 - len(above)} that no children name")


def _check_images(nodes: Sequence["ModeRecord"]) -> None:
    """Leaves must hold the images from 0 on, one each, and every other node those below it."""
    leaves, seen = sum(not node.children for node in nodes), set[int]()
    for number, node in enumerate(nodes):
        if not node.children:
            if node.image is None or node.image >= leaves or node.image in seen:
                raise ValueError(f"nodes[{number}].image is {node.image}, not one of {leaves} images of its own")
            seen.add(node.image)
        below = sum(nodes[child].images for child in node.children) if node.children else 1
        if node.images != below or (node.children and node.image is not None):
            raise ValueError(f"nodes[{number}].images is {node.images} with {below} images below it")


class About(Record):
    """Of which network and images the surrogates are; empty for one that was fitted to plain arrays."""

    checkpoint: str = ""
    """Digest of the network's weights."""
    train_data: str = ""
    """Fingerprint of the images that the surrogates are fitted on."""
    test_data: str = ""
    """Fingerprint of the images that they are tested on."""
    layer: str = ""
    classes: tuple[str, ...] = ()
    """Names of the network's classes."""
    score: str = ""
    """What decision modes explain: the ``logit`` of a class, or its ``margin`` over the largest other one."""
    left_out: dict[str, str] = Field(default_factory=dict)
    """Classes without a tree of decision modes, with the reason."""
    filters: tuple[str, ...] = ()
    """What each filter is called: its part, where a reviewer or a measure has named it."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the packages that wrote it."""


class Contribution(Record):
    """A filter's mean contribution to a node's score."""

    filter: NonNegativeInt
    value: FiniteFloat


class ModeRecord(Record):
    """A node of a decision-mode tree; its place in the list is its number, the root's 0."""

    images: PositiveInt
    """Fitted images below it."""
    children: tuple[PositiveInt, ...]
    """Numbers of the nodes below it, none for a leaf."""
    image: NonNegativeInt | None
    """Of a leaf: its image, a position among those that the tree was fitted to."""
    gain: FiniteFloat | None
    """Δ log E of the merge that made it, in nats; of leaves and the root none."""
    intercept: FiniteFloat
    """b of h(x) = w·x + b."""
    rationale: tuple[FiniteFloat, ...]
    """w, one number for each filter."""
    contributions: tuple[Contribution, ...]
    """Of the strongest filters, mean over its images, strongest first."""


class DecisionModeRecord(Record):
    """A fitted `DecisionModeTree`."""

    target: str
    """The class whose score it explains."""
    parameters: dict[str, Value]
    """Of the estimator, by name."""
    fitted_images: tuple[NonNegativeInt, ...] = ()
    """Index in the training data of each image that it was fitted to, which leaves are numbered by; empty where that
    is the number itself."""
    scale: tuple[FiniteFloat, ...]
    """s of each filter, which its sums are divided by."""
    temperature: FiniteFloat
    """γ, the inverse of the mean score."""
    nodes: Annotated[tuple[ModeRecord, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        filters = len(self.scale)
        for number, node in enumerate(self.nodes):
            if len(node.rationale) != filters:
                raise ValueError(f"nodes[{number}].rationale has {len(node.rationale)} numbers, scale {filters}")
            if any(contribution.filter >= filters for contribution in node.contributions):
                raise ValueError(f"nodes[{number}].contributions name a filter beyond the {filters} of scale")
        _check_children([node.children for node in self.nodes])
        _check_images(self.nodes)
        if self.fitted_images and len(self.fitted_images) != self.nodes[0].images:
            raise ValueError(
                f"fitted_images has {len(self.fitted_images)} entries, nodes {self.nodes[0].images} images"
            )
        return self


class SplitRecord(Record):
    """A node of a filter tree; its place in the list is its number, the root's 0."""

    images: PositiveInt
    counts: tuple[FiniteFloat, ...]
    """Fitted images of each decision."""
    impurity: FiniteFloat
    filter: NonNegativeInt | None
    """Of an inner node: the filter that is asked."""
    threshold: FiniteFloat | None
    """Of an inner node: a peak up to this goes to the first child, a higher one to the second."""
    children: tuple[PositiveInt, ...]
    """Two, or none for a leaf."""


class FilterTreeRecord(Record):
    """A fitted `FilterTree`."""

    parameters: dict[str, Value]
    decisions: tuple[int | str, ...]
    """The decisions that it imitates, in ascending order."""
    num_features: PositiveInt
    pruning: FiniteFloat
    """Cost-complexity α that it was pruned with."""
    nodes: Annotated[tuple[SplitRecord, ...], Field(min_length=1)]


class LinearRecord(Record):
    """A fitted `LinearSurrogate`."""

    parameters: dict[str, Value]
    decisions: tuple[int | str, ...]
    """The decisions that it imitates, in ascending order."""
    strength: FiniteFloat
    """Inverse C of the penalty that it was fitted with."""
    weights: tuple[tuple[FiniteFloat, ...], ...]
    """(K, D) log-odds of each decision per unit of each feature; one row where there are two decisions."""
    intercepts: tuple[FiniteFloat, ...]


class DocumentRecord(Document):
    """The whole file."""

    command: ClassVar[str] = "tree"
    error: ClassVar[type[InterpretableError]] = SurrogateError
    schema_version: Literal[1] = 1
    about: About = About()
    decision_modes: tuple[DecisionModeRecord, ...] = ()
    filter_tree: FilterTreeRecord | None = None
    linear: LinearRecord | None = None

    @model_validator(mode="after")
    def _has_a_tree_of_each_class_once(self) -> Self:
        targets = [record.target for record in self.decision_modes]
        for place, target in enumerate(targets):
            if target in targets[:place]:
                raise ValueError(f"decision_modes[{place}] is of the target {target} once more")
        return self
