import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

import interpretable.data.sampling as sampling
from interpretable.data.images import make_sample
from interpretable.data.sampling import Draw, EpochSampler, TransformedImages, epoch_order
from interpretable.data.transforms import TrainingTransform
from interpretable.errors import ConfigurationError


class Noise:
    """Images of noise with one part and labels as given."""

    classes = ("a", "b")
    parts = ("head",)

    def __init__(self, labels):
        self.labels = torch.as_tensor(labels)
        self.groups = torch.arange(len(self.labels))

    def fingerprint(self):
        return "noise"

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        pixels = np.random.default_rng(index).integers(0, 256, (3, 24, 20), dtype=np.uint8)
        point = np.array([[10, 12]], dtype=np.float32)
        box = np.array([[10, 12, 6, 4]], dtype=np.float32)
        return make_sample(torch.from_numpy(pixels), self.labels[index], index, point, box)


def draws(count=23, seed=0, epoch=0, **arguments):
    sampler = EpochSampler(Noise(torch.arange(count) % 2), seed, **arguments)
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler)
    return found


def on_rank(monkeypatch, rank, world):
    monkeypatch.setattr(sampling, "rank", lambda: rank)
    monkeypatch.setattr(sampling, "world_size", lambda: world)


def test_an_epoch_draws_every_image_once():
    assert sorted(draw.index for draw in draws()) == list(range(23))
    assert {draw.repeat for draw in draws(epoch=3)} == {0}
    assert {draw.epoch for draw in draws(epoch=3)} == {3}


def test_the_order_depends_on_seed_and_epoch_alone():
    first = draws()
    torch.manual_seed(99)
    np.random.seed(99)
    assert draws() == first
    orders = {tuple(draw.index for draw in draws(seed=seed, epoch=epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_share_the_one_process_order_and_leave_out_what_does_not_divide(monkeypatch, world):
    order = [draw.index for draw in draws(epoch=2)]
    shares = []
    for rank in range(world):
        on_rank(monkeypatch, rank, world)
        shares.append([draw.index for draw in draws(epoch=2)])
    assert all(share == order[: 23 // world * world][rank::world] for rank, share in enumerate(shares))


def test_balanced_draws_expect_every_class_equally_often_and_number_repeats():
    labels = torch.tensor([0] * 180 + [1] * 20)
    sampler = EpochSampler(Noise(labels), 0, balanced=True)
    counts = torch.zeros(2)
    for epoch in range(20):
        sampler.set_epoch(epoch)
        found = list(sampler)
        assert len(found) == 200
        seen: dict[int, int] = {}
        for draw in found:
            assert draw.repeat == seen.get(draw.index, 0)
            seen[draw.index] = draw.repeat + 1
        counts += labels[[draw.index for draw in found]].bincount(minlength=2)
    # 4000 fair draws: four standard deviations are 126.
    assert abs(counts[1].item() - 2000) < 126
    assert max(seen.values()) > 2


def test_balancing_multi_hot_labels_is_refused():
    with pytest.raises(ConfigurationError, match="multi-hot"):
        EpochSampler(Noise(torch.zeros(4, 2)), 0, balanced=True)


def test_draws_follow_their_weights():
    counts = np.bincount(np.concatenate([epoch_order(4, 0, e, torch.tensor([1.0, 0, 2, 1])) for e in range(1000)]))
    np.testing.assert_allclose(counts / 4000, [0.25, 0, 0.5, 0.25], atol=0.03)


AUGMENTATION = [v2.RandomResizedCrop(16, scale=(0.4, 1), antialias=True), v2.ColorJitter(0.4, 0.4)]


def augmented(seed=0):
    data = Noise(torch.arange(12) % 2)
    return TransformedImages(data, TrainingTransform(AUGMENTATION, 0.5, data.parts, (16, 16)), seed)


def epochs(numbers, workers, seed=0):
    """Batches of the epochs, by one loader that lives through all of them."""
    data = augmented(seed)
    sampler = EpochSampler(data, seed)
    loader = DataLoader(data, 4, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)
    found = []
    for number in numbers:
        sampler.set_epoch(number)
        torch.rand(number + 1)  # what a network would draw in between
        found.append(list(loader))
    return found


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            torch.testing.assert_close(batch[name], other[name], rtol=0, atol=0, equal_nan=True)


def test_images_are_the_same_with_workers_and_after_a_resume():
    through = epochs(range(4), workers=0)
    for batches, others in zip(through, epochs(range(4), workers=2), strict=True):
        assert_same(batches, others)
    assert_same(through[3], epochs([3], workers=0)[0])
    assert not torch.equal(through[0][0]["image"], through[1][0]["image"])


def test_batches_hold_plain_tensors():
    (batch,) = epochs([0], workers=0)[0][:1]
    assert {name: type(values) for name, values in batch.items()} == dict.fromkeys(batch, torch.Tensor)
    assert batch["index"].dtype == batch["label"].dtype == torch.int64
    assert batch["landmarks"].shape == (4, 1, 2)


def test_a_draw_fixes_the_augmented_image_and_its_epoch_index_repeat_and_seed_all_change_it():
    data = augmented()
    image = data[Draw(1, 5)]["image"]
    torch.rand(7)
    assert torch.equal(image, data[Draw(1, 5)]["image"])
    assert torch.equal(data[5]["image"], data[Draw(0, 5)]["image"])
    others = [data[Draw(2, 5)], data[Draw(1, 6)], data[Draw(1, 5, 1)], augmented(seed=1)[Draw(1, 5)]]
    assert not any(torch.equal(image, other["image"]) for other in others)
    assert data[Draw(1, 5)]["index"] == 5


def test_the_random_state_of_the_caller_is_left_alone_even_by_a_failing_transform():
    class Failing(nn.Module):
        def forward(self, sample):
            torch.rand(3)
            raise RuntimeError("no")

    before = torch.get_rng_state()
    augmented()[Draw(0, 0)]
    with pytest.raises(RuntimeError, match="no"):
        TransformedImages(Noise([0, 1]), Failing(), 0)[0]
    assert torch.equal(before, torch.get_rng_state())


def test_what_the_data_set_says_of_itself_is_passed_on():
    data, seen = Noise([1, 0, 1]), TransformedImages(Noise([1, 0, 1]), lambda sample: sample)
    assert (seen.classes, seen.parts, len(seen), seen.fingerprint()) == (data.classes, data.parts, 3, "noise")
    assert seen.labels.tolist() == [1, 0, 1]
    assert seen.groups.tolist() == [0, 1, 2]
