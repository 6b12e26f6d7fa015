"""What ``prototypes.json`` holds: which images were chosen of which, and what was measured of them."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator

from interpretable.documents import Document, Record, Value
from interpretable.errors import ExemplarError, InterpretableError

FILE_NAME = "prototypes.json"

NonNegative = Annotated[FiniteFloat, Field(ge=0)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


class ExemplarAbout(Record):
    """Of which network and images they were chosen."""

    checkpoint: str = ""
    """Digest of the network's weights."""
    data: str = ""
    """Fingerprint of the images."""
    split: str = ""
    """Which of them: ``train``, ``validation`` or ``test``."""
    features: str
    """What images are compared by: ``filter peaks of LAYER``, or ``pixels``."""
    layer: str = ""
    """Of the peaks; empty where images are compared by something else."""
    classes: tuple[str, ...] = ()
    """Names of the classes of the data."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the packages that wrote it."""


class ChosenRecord(Record):
    """An image that was chosen."""

    index: NonNegativeInt
    """In the data set."""
    label: str
    """Name of its class."""
    group: int
    witness: FiniteFloat
    """f at it: positive where the data are denser than the prototypes."""


class PrototypeRecord(ChosenRecord):
    """A prototype."""

    weight: NonNegative
    """Its weight in the witness function."""


class CriticismRecord(ChosenRecord):
    """A criticism."""

    log_residual: FiniteFloat
    """log r when it was picked: 0 for an image that is like no criticism before it, the lower the more alike."""


class ErrorsRecord(Record):
    """Errors of the nearest of a few reference images on test images."""

    prototypes: tuple[Share, ...]
    """With the first 1..m prototypes."""
    random_mean: tuple[Share, ...]
    """With as many images picked at random."""
    random_deviation: tuple[NonNegative, ...]
    """Standard deviation over the picks."""
    all_rows: Share
    """With every image that was chosen from."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in ("random_mean", "random_deviation"):
            if len(getattr(self, name)) != len(self.prototypes):
                raise ValueError(f"{name} has {len(getattr(self, name))} entries, prototypes {len(self.prototypes)}")
        return self


class SelectionRecord(Record):
    """What was chosen of one set of images."""

    name: str
    """A class, several of them, ``all classes`` or ``filter 17``."""
    filter: NonNegativeInt | None = None
    """Its number, where it is of a filter."""
    layer: str = ""
    """Of the filter."""
    images: PositiveInt
    """How many it was chosen from."""
    gamma: Annotated[FiniteFloat, Field(gt=0)]
    """γ of the kernel exp(-γ ‖x - y‖²)."""
    kernel_mean: NonNegative
    """Mean of the kernel over all pairs of images."""
    off_diagonal_ratio: FiniteFloat
    """Mean over images of the kernel with all others, relative to that with itself."""
    regularizer_weight: NonNegative
    """λ of the criticisms' log determinant."""
    mmd2: tuple[FiniteFloat, ...]
    """MMD² of the first 1..m prototypes."""
    random_mmd2_mean: tuple[FiniteFloat, ...]
    """Of as many images picked at random."""
    random_mmd2_deviation: tuple[NonNegative, ...]
    """Standard deviation over the picks."""
    prototypes: Annotated[tuple[PrototypeRecord, ...], Field(min_length=1)]
    """In the order in which they were picked."""
    criticisms: tuple[CriticismRecord, ...] = ()
    """Likewise."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        curves = {name: getattr(self, name) for name in ("mmd2", "random_mmd2_mean", "random_mmd2_deviation")}
        for name, curve in curves.items():
            if len(curve) != len(self.prototypes):
                raise ValueError(f"{name} has {len(curve)} entries, prototypes {len(self.prototypes)}")
        for name, chosen in (("prototypes", self.prototypes), ("criticisms", self.criticisms)):
            indices = [exemplar.index for exemplar in chosen]
            for place, index in enumerate(indices):
                if index in indices[:place]:
                    raise ValueError(f"{name}[{place}].index is {index} once more")
        found = len(self.prototypes) + len(self.criticisms)
        if self.images < found:
            raise ValueError(f"images is {self.images} with {found} of them chosen")
        return self


class ExemplarsRecord(Document):
    """The whole file."""

    command: ClassVar[str] = "prototypes"
    error: ClassVar[type[InterpretableError]] = ExemplarError
    schema_version: Literal[1] = 1
    about: ExemplarAbout
    parameters: dict[str, Value]
    """Of the estimator, by name."""
    selections: Annotated[tuple[SelectionRecord, ...], Field(min_length=1)]
    """Of classes or all images, then of filters."""
    errors: ErrorsRecord | None = None
    """With the prototypes of the former, those of classes in turn."""

    @model_validator(mode="after")
    def _chooses_of_each_set_once(self) -> Self:
        sets = [(selection.filter, selection.name) for selection in self.selections]
        for place, one in enumerate(sets):
            if one in sets[:place]:
                raise ValueError(f"selections[{place}].name is {one[1]} once more")
        return self
