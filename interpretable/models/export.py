"""A trained network as a program that runs without this package, the mask in its graph."""

import copy
import importlib.util
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.export import Dim, ExportedProgram

from interpretable.errors import ConfigurationError, InterpretableError, ModelError
from interpretable.models.interpretable_cnn import InterpretableCNN

_ONNX_PACKAGES = ("onnx", "onnxscript")


@torch.no_grad()
def export_program(net: InterpretableCNN, image_size: int | tuple[int, int]) -> ExportedProgram:
    """The network in eval mode as a program of torch's, for batches of any size of images of one size.

    `program.module()` maps images (B, 3, H, W), normalised as in training, to logits (B, num_classes). It holds a copy
    of the parameters on the CPU, in the network's own dtype; the network itself is left as it is.

    Args:
        net: The network, on any device; of a run, ``run.model.net``.
        image_size: Height and width of the images in pixels, or the side of square ones.

    Raises:
        ModelError: The images are too small for the network, or it cannot be traced.
    """
    height, width = _height_and_width(image_size)
    own = copy.deepcopy(net).cpu().eval()
    images = next(own.parameters()).new_zeros(2, own.in_channels, height, width)  # torch takes a batch of 1 as fixed
    try:
        program = torch.export.export(own, (images,), dynamic_shapes=({0: Dim("batch")},), strict=False)
    except InterpretableError:
        raise
    except Exception as error:  # whatever tracing raises in a user's layer
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            "The forward of the network must take the same steps for every batch, whatever its size and values, got "
            f"{type(error).__name__} ({reason}) while it was traced; rewrite the layer that looks at either."
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names this machine's folders, in every file written from the program
    return program


def _height_and_width(image_size: int | tuple[int, int]) -> tuple[int, int]:
    match image_size:
        case (int(height), int(width)) | (int(height) as width) if min(height, width) > 0:
            return height, width
    raise ConfigurationError(f"image_size must be a side or (height, width) in whole pixels, got {image_size!r}.")


def export_onnx(net: InterpretableCNN, path: str | Path, image_size: int | tuple[int, int]) -> Path:
    """Writes the network in eval mode as an ONNX model and returns the path.

    Its input ``images`` is (batch, 3, H, W), normalised as in training, its output ``logits`` (batch, num_classes), for
    batches of any size. The network is left as it is, and no reader sees half of the file. Parameters of more than
    2 GB, which one file cannot hold, lie beside it in ``<name>.data``.

    Args:
        net: The network, on any device; of a run, ``run.model.net``.
        path: File to write, usually ``*.onnx``; missing folders are made.
        image_size: Height and width of the images in pixels, or the side of square ones.

    Raises:
        ConfigurationError: A package that writes ONNX is not installed.
        ModelError: The images are too small for the network, or it cannot be traced.
    """
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"Writing ONNX needs {' and '.join(_ONNX_PACKAGES)}, got no {' and no '.join(missing)}; install them with "
            '`pip install "interpretable[onnx]"`.'
        )
    written = torch.onnx.export(
        export_program(net, image_size),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: "batch"},),
        dynamo=True,
        verbose=False,
    )
    assert written is not None  # it is only for the exporter that `dynamo=False` chooses
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        written.save(Path(folder, path.name))
        # The model comes last, when what it refers to is in its place.
        for file in sorted(Path(folder).iterdir(), key=lambda file: file.name == path.name):
            os.replace(file, path.parent / file.name)
    return path
