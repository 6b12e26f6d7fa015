"""Errors that say what was expected, what was found and what to do; a terminal user sees the message alone."""


class InterpretableError(Exception):
    """Root of every error this package raises on purpose."""


class DataError(InterpretableError, ValueError):
    """A data set, an annotation file or an image is not what its reader needs."""


class ModelError(InterpretableError, ValueError):
    """A network cannot be built, cut or loaded as asked."""


class ConfigurationError(InterpretableError, ValueError):
    """Arguments that are each valid contradict one another."""


class RunError(InterpretableError, RuntimeError):
    """A run folder is incomplete, or training cannot go on."""


class MetricError(InterpretableError, ValueError):
    """A measure has no meaning on what it was given."""


class StoreError(InterpretableError, RuntimeError):
    """An activation store is incomplete, damaged, or of another network or data set."""


class SurrogateError(InterpretableError, ValueError):
    """A surrogate cannot be fitted to what it was given, or its file is not one that this package wrote."""


class ExemplarError(InterpretableError, ValueError):
    """Prototypes or criticisms cannot be chosen as asked, or their file is not one that this package wrote."""


class AttributionError(InterpretableError, ValueError):
    """A decision cannot be attributed to the pixels of an image as asked."""


class InfluenceError(InterpretableError, ValueError):
    """The influence of training images cannot be computed as asked."""


def sentence_of(error: BaseException) -> str:
    """The last line of an error's message: a loader's worker puts its own traceback before it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip().removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")
