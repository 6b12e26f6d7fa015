"""The calls of layers in passes of a network, with the gradients of each image's loss at its own label."""

from collections.abc import Collection, Iterable, Iterator

from torch import Tensor

from interpretable.errors import InfluenceError
from interpretable.influence.layer_passes import LayerRecorder
from interpretable.influence.layer_positions import LayerCalls
from interpretable.influence.loss_gradients import cross_entropy_gradients


def true_label_calls(
    recorder: LayerRecorder, passes: Iterable[tuple[Tensor, Tensor]], layers: Collection[str]
) -> Iterator[tuple[int, dict[str, LayerCalls]]]:
    """Of each pass how many images it has, and the calls of each layer by name.

    Args:
        recorder: Runs the network.
        passes: Images and labels of each pass.
        layers: Names of the layers, each of which must run for every image.

    Raises:
        InfluenceError: There is no image, or a layer did not run.
    """
    none = True
    for images, labels in passes:
        one = recorder(images)
        missing = [name for name in layers if name not in one.outputs]
        if missing:
            raise InfluenceError(
                f"Every layer fitted must run for all images, {missing[0]!r} did not; leave it out with layers=."
            )
        calls = one.calls(cross_entropy_gradients(one.logits.detach(), labels))
        del one  # its graph, before the next pass
        yield len(images), calls
        none = False
    if none:
        raise InfluenceError("Influence must be of and on images, got none; give batches with images.")
