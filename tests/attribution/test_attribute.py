import inspect
from dataclasses import dataclass, fields

import pytest
import torch
from attribution.awkward_nets import drawn_images, drawn_net
from torch import nn

from interpretable.attribution import METHODS, Method, Saliency, attribute, method_named
from interpretable.attribution.chunks import chunk_size, in_chunks
from interpretable.attribution.network import Network, explained
from interpretable.errors import AttributionError


def test_the_verb_is_the_class_of_the_method():
    net, images = drawn_net("residual"), drawn_images(2)
    torch.testing.assert_close(attribute(net, images, 1, method="saliency"), Saliency()(net, images, 1), rtol=0, atol=0)
    assert inspect.signature(attribute).parameters["method"].default == "integrated_gradients"


def test_unknown_methods_and_options_are_refused_in_a_sentence():
    with pytest.raises(AttributionError, match="got 'integrated_gradient'; the closest are integrated_gradients"):
        method_named("integrated_gradient")
    with pytest.raises(AttributionError, match=r"options of saliency are batch_size, track, got 'steps'"):
        method_named("saliency", steps=3)
    with pytest.raises(AttributionError, match="pattern_net cannot be used without options that it needs"):
        method_named("pattern_net")


@pytest.mark.parametrize("name", METHODS)
def test_every_option_of_a_method_is_a_keyword_that_its_docstring_names(name):
    method = METHODS[name]
    documented = "\n".join(base.__doc__ or "" for base in method.__mro__)
    for field in fields(method):
        assert field.kw_only
        assert f"    {field.name}:" in documented, field.name


@pytest.mark.parametrize("target", ["predicted", [2, 0, 1], torch.tensor([2, 0, 1], dtype=torch.int32)])
def test_a_target_for_each_image_gives_the_shape_of_the_images(target):
    assert Saliency()(drawn_net("dense"), drawn_images(3), target).shape == (3, 3, 9, 11)


def test_the_predicted_class_is_the_largest_logit():
    net, images = drawn_net("functional"), 3 * drawn_images(8)
    predicted = net(images).argmax(1)
    assert len(predicted.unique()) > 1

    found = Saliency()(net, images, "predicted")

    torch.testing.assert_close(found, Saliency()(net, images, predicted), rtol=0, atol=0)


def test_several_classes_are_a_dimension_of_their_own():
    net, images = drawn_net("dense"), drawn_images(2)
    found = Saliency()(net, images, [[0, 2], [1, 1]])
    assert found.shape == (2, 2, 3, 9, 11)
    torch.testing.assert_close(found[:, 1], Saliency()(net, images, [2, 1]), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (3, "from 0 to 2, the network's classes, got 3"),
        (-1, "must be 0 or more, the number of a class, got -1"),
        ([0, 1, 2], "one for each of the 2 images"),
        ([[], []], "of whole numbers"),
        ([0.5, 1.0], "of whole numbers"),
        ([True, False], "of whole numbers"),
        ("dog", "must be \"predicted\", got 'dog'"),
        (torch.zeros(2, 1, 1, dtype=torch.long), r"got shape \(2, 1, 1\)"),
        (torch.zeros(2, 0, dtype=torch.long), r"got shape \(2, 0\)"),
    ],
)
def test_a_target_that_is_none_is_refused_in_a_sentence(target, sentence):
    with pytest.raises(AttributionError, match=sentence):
        Saliency()(drawn_net("dense"), drawn_images(2), target)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (drawn_images(2)[0], "must be a batch"),
        (drawn_images(2).long(), "of real numbers"),
        (drawn_images(2)[:0], "must be a batch"),
        (drawn_images(2) / 0, "must be finite"),
    ],
)
def test_images_that_are_none_are_refused_in_a_sentence(images, sentence):
    with pytest.raises(AttributionError, match=sentence):
        Saliency()(drawn_net("dense"), images, 0)


def test_a_network_that_gives_no_logits_is_refused():
    for module in (nn.Conv2d(3, 2, 1).double(), nn.Sequential(nn.Flatten(0)).double()):
        with pytest.raises(AttributionError, match="must give logits"):
            Saliency()(module, drawn_images(2), 0)


def test_logits_without_gradients_are_refused():
    class Cut(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach().mean((2, 3))

    with pytest.raises(AttributionError, match="must depend on the images"):
        Saliency()(Cut(), drawn_images(2), 0)


def test_a_network_of_halves_is_explained_in_float32():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).half()
    images = drawn_images(2).half()

    found = Saliency()(net, images, 0)

    assert found.dtype == torch.float32
    assert next(net.parameters()).dtype == torch.float16
    torch.testing.assert_close(found, Saliency()(net.float(), images.float(), 0))


def test_chunks_cover_all_examples_and_are_halved_for_good_where_they_do_not_fit():
    seen: list[slice] = []

    def work(chunk: slice) -> slice:
        if chunk.stop - chunk.start > 3:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: not enough memory")
        seen.append(chunk)
        return chunk

    shown = []
    found = in_chunks(work, 10, 8, lambda items, what: [shown.append(item) or item for item in items], "images")

    assert found == seen
    assert [index for chunk in seen for index in range(chunk.start, chunk.stop)] == list(range(10))
    assert max(chunk.stop - chunk.start for chunk in seen) == 2  # 8, 4, 2
    assert shown == list(range(10))


def test_other_errors_of_a_chunk_are_its_own_and_a_single_example_that_does_not_fit_is_said():
    def fail(chunk: slice) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        in_chunks(fail, 3, 2)

    def full(chunk: slice) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(AttributionError, match="One example must fit into memory"):
        in_chunks(full, 3, 2)


def test_a_pass_is_never_larger_than_asked_for():
    sizes: list[int] = []
    net = drawn_net("dense")
    net.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))

    Saliency(batch_size=2)(net, drawn_images(5), 0)

    assert sizes == [2, 2, 1]
    with pytest.raises(AttributionError, match="batch_size must be 1 or more, got 0"):
        chunk_size(0, torch.device("cpu"))


def test_a_method_of_ones_own_is_a_class_with_one_function():
    @dataclass(frozen=True, kw_only=True)
    class Logit(Method):
        def _attributions(self, network: Network, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
            return network(images).gather(1, classes)[..., None, None, None] * images[:, None]

    net, images = drawn_net("dense"), drawn_images(2)
    expected = (net(images)[:, 1, None, None, None] * images).detach()
    torch.testing.assert_close(Logit()(net, images, 1), expected, rtol=1e-12, atol=0)


def test_gradients_flow_to_the_images_alone():
    net = drawn_net("dense")
    with explained(net) as network:
        leaf = drawn_images(2).requires_grad_()
        network(leaf).sum().backward()
    assert leaf.grad is not None
    assert all(parameter.grad is None for parameter in net.parameters())
