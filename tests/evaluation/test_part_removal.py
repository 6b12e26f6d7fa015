from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from interpretable.activations import ActivationStore, record_activations
from interpretable.evaluation.part_removal import logits_without
from interpretable.models import InterpretableCNN

PARTS = [[0, 5, 7], [2], [2, 3]]
IMAGES = 7


class Noise(TensorDataset):
    def fingerprint(self) -> str:
        return "noise"


def network(mask: bool, head: str) -> InterpretableCNN:
    torch.manual_seed(3)
    net = InterpretableCNN("small", 4, part_layers=1, mask=mask, head=head).eval()
    torch.nn.init.normal_(next(p for name, p in net.head.named_parameters() if p.ndim == 2), std=0.5)
    return net


def store_of(net: InterpretableCNN, folder: Path) -> ActivationStore:
    images = torch.randn(IMAGES, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    data = Noise(images, torch.zeros(IMAGES, dtype=torch.long))
    return record_activations(net, DataLoader(data, batch_size=4), folder, maps=True)


@pytest.fixture(scope="module", params=[(True, "linear"), (False, "backbone")], ids=["masked", "plain"])
def recorded(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[InterpretableCNN, ActivationStore]:
    net = network(*request.param)
    return net, store_of(net, tmp_path_factory.mktemp("store") / "s")


def removed(net: InterpretableCNN, store: ActivationStore, parts: Any = PARTS, **options: int) -> Tensor:
    return logits_without(net.forward_head, store.layer().maps, parts, iter, **options)


def test_all_filters_give_the_networks_logits_to_half_precision(recorded):
    net, store = recorded
    found = removed(net, store)
    assert found.shape == (IMAGES, 1 + len(PARTS), 4)
    assert store.logits[:].abs().max() > 0.1
    torch.testing.assert_close(found[:, 0], store.logits[:], rtol=2e-3, atol=2e-3)


def test_without_a_part_the_head_is_given_maps_of_zero_for_its_filters_image_by_image(recorded):
    net, store = recorded
    found = removed(net, store)
    for image in range(IMAGES):
        seen = net.part_filters[-1].mask(store.layer().maps[image].float()[None])
        for place, filters in enumerate(PARTS):
            without = seen.clone()
            for filter in filters:
                without[0, filter] = 0
            with torch.inference_mode():
                torch.testing.assert_close(found[image, 1 + place], net.head(without)[0], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(found[image, 1], found[image, 0], atol=1e-4)


def test_parts_may_share_filters_and_are_removed_one_at_a_time(recorded):
    net, store = recorded
    found = removed(net, store)
    for place, filters in enumerate(PARTS):
        torch.testing.assert_close(removed(net, store, [filters])[:, 1], found[:, 1 + place])
    assert not torch.allclose(found[:, 2], found[:, 3], atol=1e-5)


def test_without_parts_there_is_the_whole_network_alone_and_an_empty_part_changes_nothing(recorded):
    net, store = recorded
    whole = removed(net, store, [])
    assert whole.shape == (IMAGES, 1, 4)
    empty = removed(net, store, [[], [1]])
    torch.testing.assert_close(empty[:, 0], whole[:, 0])
    assert torch.equal(empty[:, 1], empty[:, 0])


def test_without_any_filter_all_images_are_the_same(recorded):
    net, store = recorded
    found = removed(net, store, [range(net.num_channels)])[:, 1]
    torch.testing.assert_close(found, found[:1].expand(IMAGES, -1))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_the_size_of_the_batches_changes_nothing(recorded, batch_size):
    net, store = recorded
    torch.testing.assert_close(removed(net, store, batch_size=batch_size), removed(net, store), rtol=1e-4, atol=1e-5)
