import math

import pytest
import pytorch_lightning as pl
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from interpretable import InterpretableClassifier
from interpretable.errors import ConfigurationError
from interpretable.losses import PartTemplateLoss, equivariance_loss, move_images, random_affine
from interpretable.metrics import LocationInstability
from interpretable.templates import peak


def samples(n=24, classes=3, parts=2, size=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "image": torch.randn(3, size, size, generator=generator),
            "label": torch.tensor(i % classes),
            "landmarks": torch.rand(parts, 2, generator=generator) * size,
            "boxes": torch.full((parts, 4), torch.nan),
            "index": i,
        }
        for i in range(n)
    ]


def trainer(**options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(accelerator="cpu", enable_model_summary=False, **quiet, **options)


@pytest.fixture
def batch():
    return next(iter(DataLoader(samples(), batch_size=12)))


PUBLISHED = {
    "part_layers": 2,
    "first_layer": "backbone",
    "norm": False,
    "head": "backbone",
    "distinctness": 0.0,
    "equivariance": 0.0,
}
"""Two layers and one loss, as in the paper."""


def classifier(**options):
    torch.manual_seed(0)
    return InterpretableClassifier(options.pop("num_classes", 3), **(PUBLISHED | options))


def logged_loss(module, batch):
    """The training loss of a module outside of a trainer, with its terms by name."""
    logged = {}
    module.log_dict = lambda values, **_: logged.update(values)
    module.log = lambda name, value, **_: logged.update({name: value})
    module._trainer = type("Trainer", (), {"world_size": 1, "global_step": 0, "current_epoch": 0})()
    return module.training_step(batch, 0), logged


def test_the_plain_twin_starts_from_the_same_parameters():
    interpretable, plain = classifier(), classifier(mask=False, filter_weight=0.0)
    ours, theirs = interpretable.net.state_dict(), plain.net.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_loss_is_the_task_loss_plus_the_weighted_filter_losses_of_all_layers(batch):
    module = classifier(filter_weight=0.7)
    loss, logged = logged_loss(module, batch)
    twin = classifier(filter_weight=0.7).train()
    maps = twin.net.forward_features(batch["image"])
    task = F.cross_entropy(twin.net.forward_head(maps[-1]), batch["label"])
    filters = [PartTemplateLoss(maps[0].shape[1]).train()(layer) for layer in maps]
    assert loss.item() == pytest.approx((task + 0.7 * sum(filters)).item(), rel=1e-5)
    assert logged["train/task_loss"].item() == pytest.approx(task.item(), rel=1e-5)
    for number, value in enumerate(filters, start=1):
        assert logged[f"train/filter_loss/layer{number}"].item() == pytest.approx(value.item(), rel=1e-5)
        assert logged[f"train/mutual_information/layer{number}"].item() == pytest.approx(-value.item(), rel=1e-5)
        bound = logged[f"train/mutual_information_bound/layer{number}"]
        assert bound == pytest.approx(torch.tensor(12.0).log().item())  # 12 images against 65 templates


def test_the_weight_of_the_filter_loss_rises_and_is_logged():
    module = classifier(filter_weight=0.5, filter_warmup=0.5)
    weights = []
    module.log_dict = lambda values, **_: weights.append(values["train/filter_weight/layer2"].item())
    fit = trainer(max_epochs=4, limit_val_batches=0, num_sanity_val_steps=0)
    fit.fit(module, DataLoader(samples(), batch_size=12), DataLoader(samples(), batch_size=12))
    assert weights == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5])


def test_weight_zero_leaves_the_gradient_of_the_task_alone_and_still_measures(batch):
    module = classifier(filter_weight=0.0)
    loss, logged = logged_loss(module, batch)
    loss.backward()
    twin = classifier(filter_weight=0.0).train()
    F.cross_entropy(twin(batch["image"]), batch["label"]).backward()
    for ours, theirs in zip(module.net.parameters(), twin.net.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)
    assert logged["train/mutual_information/layer2"] > 0


def test_channels_that_are_no_part_filters_have_no_mask_no_filter_loss_and_no_numbers(batch):
    module = classifier(filter_weight=0.7, part_share=0.25).train()
    loss, logged = logged_loss(module, batch)
    twin = classifier(filter_weight=0.7, part_share=0.25).train()
    filters, channels = twin.net.num_filters, twin.net.num_channels
    assert (filters, channels) == (24, 96)
    maps = twin.net.forward_features(batch["image"])
    assert [layer.shape[1] for layer in maps] == [channels, channels]
    task = F.cross_entropy(twin.net.forward_head(maps[-1]), batch["label"])
    own = [PartTemplateLoss(filters).train()(layer[:, :filters]) for layer in maps]
    assert loss.item() == pytest.approx((task + 0.7 * sum(own)).item(), rel=1e-5)
    assert logged["train/filter_loss/layer2"].item() == pytest.approx(own[1].item(), rel=1e-5)
    assert [layer.shape[1] for layer in module.eval().test_step(batch, 0)["maps"]] == [filters, filters]


def test_the_ratio_of_gradients_at_each_layer_is_what_the_filter_weight_asks_for(batch):
    module = classifier(filter_weight=0.5, filter_schedule="gradient_ratio", filter_warmup=0.0)
    _, logged = logged_loss(module, batch)
    twin = classifier().train()
    maps = twin.net.forward_features(batch["image"])
    task = F.cross_entropy(twin.net.forward_head(maps[-1]), batch["label"])
    for number, layer in enumerate(maps, start=1):
        by_task, by_filters = (
            torch.autograd.grad(loss, layer, retain_graph=True)[0].norm()
            for loss in (task, PartTemplateLoss(96).train()(layer))
        )
        weight = logged[f"train/filter_weight/layer{number}"]
        assert (weight * by_filters / by_task).item() == pytest.approx(0.5, rel=1e-4)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_the_overlap_of_filters_counts_as_much_as_the_distinctness_says(batch):
    with_weight, without = (logged_loss(classifier(distinctness=weight), batch) for weight in (3.0, 0.0))
    overlaps = [without[1][f"train/overlap/layer{number}"] for number in (1, 2)]
    assert all(0 < overlap < 1 for overlap in overlaps)
    assert (with_weight[0] - without[0]).item() == pytest.approx(0.25 * 3 * sum(overlaps).item(), rel=1e-3)


def test_without_equivariance_nothing_is_drawn_and_the_network_runs_once(batch):
    for options in ({"equivariance": 0.0}, {"equivariance": 2.0, "filter_weight": 0.0}):
        module = classifier(**options)
        runs = []
        module.net.trunk.register_forward_hook(lambda *_, runs=runs: runs.append(1))
        before = torch.random.get_rng_state()
        loss, logged = logged_loss(module, batch)
        assert torch.equal(torch.random.get_rng_state(), before)
        assert len(runs) == 1
        assert not [name for name in logged if "equivariance" in name]
        assert loss.item() == logged["train/loss"].item()


def test_the_equivariance_of_part_filters_is_logged_weighted_and_moves_the_trunk(batch):
    options = {"filter_weight": 0.5, "part_share": 0.25, "filter_warmup": 0.5}
    with_weight, without = classifier(equivariance=6.0, **options), classifier(**options)
    for module in (with_weight, without):
        module.train().filter_weight.lay_out(steps=8)
    torch.manual_seed(5)
    loss, logged = logged_loss(with_weight, batch)
    plain, _ = logged_loss(without, batch)

    twin = classifier(**options).train()
    torch.manual_seed(5)
    affine = random_affine(batch["image"])
    maps = twin.net.forward_features(batch["image"])
    moved = twin.net.forward_features(move_images(batch["image"], affine))
    field = twin.net.receptive_fields
    filters = twin.net.num_filters
    costs = [
        equivariance_loss(maps[layer][:, :filters], moved[layer][:, :filters], affine, field[layer], (64, 64)).mean()
        for layer in range(2)
    ]
    for number, cost in enumerate(costs, start=1):
        assert cost > 0.01
        assert logged[f"train/equivariance/layer{number}"].item() == pytest.approx(cost.item(), rel=1e-5)
    # The weight is one fifth of the way up in the first of eight steps, of which four rise.
    assert (loss - plain).item() == pytest.approx(6.0 * 0.5 * 0.2 * (costs[0] + costs[1]).item(), rel=1e-3)
    assert logged["train/loss"].item() == loss.item()

    parameters = [list(module.net.trunk.parameters()) for module in (with_weight, without, twin)]
    whole, task = (torch.autograd.grad(part, own) for part, own in zip((loss, plain), parameters[:2], strict=True))
    own = torch.autograd.grad(0.6 * (costs[0] + costs[1]), parameters[2])
    for total, other, gradient in zip(whole, task, own, strict=True):
        torch.testing.assert_close(total - other, gradient, rtol=1e-3, atol=2e-5)
    assert max(gradient.abs().max() for gradient in own) > 1e-3


def test_equivariance_is_trained_and_not_asked_for_in_evaluation():
    module = classifier(equivariance=0.5)
    names = []
    module.log_dict = lambda values, **_: names.extend(values)
    loader = DataLoader(samples(), batch_size=12)
    trainer(max_epochs=1, num_sanity_val_steps=0).fit(module, loader, loader)
    assert {name for name in names if "equivariance" in name} == {
        "train/equivariance/layer1",
        "train/equivariance/layer2",
    }
    assert any(name.startswith("val/") for name in names)


def test_a_network_without_part_layers_has_no_equivariance(batch):
    loss, logged = logged_loss(classifier(part_layers=0, equivariance=0.5), batch)
    assert loss.item() == logged["train/task_loss"].item()


def test_a_negative_equivariance_is_refused():
    with pytest.raises(ConfigurationError, match=r"equivariance must be 0 or more, got -0\.5"):
        classifier(equivariance=-0.5)


def test_what_steers_the_loss_is_logged(batch):
    module = classifier(objective="authors", filter_schedule="gradient_ratio", filter_warmup=0.0, filter_weight=0.3)
    _, logged = logged_loss(module, batch)
    for number, loss in enumerate(module.part_losses, start=1):
        assert logged[f"train/running_peak/layer{number}"] == loss.running_peak.mean()
        assert logged[f"train/slope/layer{number}"] == loss.slope.mean()
        assert logged[f"train/categories/layer{number}"] == len(loss.category.unique())
        ratio = logged[f"train/gradient_ratio/layer{number}"]
        assert logged[f"train/filter_weight/layer{number}"].item() == pytest.approx(0.3 * ratio.item())


def test_a_loss_of_weight_zero_leaves_the_masks_alone(batch):
    module = classifier(objective="authors", filter_weight=0.0)
    logged_loss(module, batch)
    assert all((layer.beta == 4).all() for layer in module.net.part_filters)


def test_the_mask_follows_the_slopes_that_the_authors_objective_learns(batch):
    module = classifier(objective="authors", position="centroid")
    logged_loss(module, batch)
    for layer, loss in zip(module.net.part_filters, module.part_losses, strict=True):
        assert (loss.slope != 4).any()
        assert torch.equal(layer.beta, loss.slope)


@pytest.mark.parametrize(("task", "classes"), [("multiclass", 3), ("binary", 2), ("multilabel", 3)])
@pytest.mark.parametrize("objective", ["mutual_information", "class_aware", "paper", "authors"])
def test_every_task_trains_and_tests(task, classes, objective):
    module = classifier(num_classes=classes, task=task, objective=objective, filter_weight=0.5)
    loader = DataLoader(samples(classes=classes), batch_size=12)
    before = [parameter.clone() for parameter in module.net.parameters()]
    fit = trainer(max_epochs=1)
    fit.fit(module, loader, loader)
    assert any(not torch.equal(old, new) for old, new in zip(before, module.net.parameters(), strict=True))
    (scores,) = fit.test(module, loader, verbose=False)
    assert scores["test/task_loss"] > 0
    assert {f"test/accuracy/{label}" for label in range(classes)} <= scores.keys()
    (predicted, _) = fit.predict(module, loader)
    assert predicted["index"].tolist() == list(range(12))
    assert ((predicted["probabilities"] >= 0) & (predicted["probabilities"] <= 1)).all()


def test_the_tested_numbers_are_those_of_the_functions_on_the_whole_split():
    module = classifier(filter_weight=0.5).eval()
    data = samples()
    test = trainer()
    (found,) = test.test(module, DataLoader(data, batch_size=7), verbose=False)
    whole = next(iter(DataLoader(data, batch_size=len(data))))
    with torch.no_grad():
        maps = module.net.forward_features(whole["image"])
        logits = module.net.forward_head(maps[-1])
    right = logits.argmax(1) == whole["label"]
    assert found["test/accuracy"] == pytest.approx(right.float().mean().item())
    assert found["test/accuracy/1"] == pytest.approx(right[whole["label"] == 1].float().mean().item())
    field = module.net.receptive_fields[-1]
    cell = peak(maps[-1])
    place = torch.stack([cell % 8, cell // 8], -1) * field.stride + field.offset
    metric = LocationInstability(3)
    metric.update(maps[-1].amax((-2, -1)), place, whole["landmarks"], whole["label"], (64, 64))
    for name, value in metric.compute()._asdict().items():
        assert found[f"test/location_instability/{name}"] == pytest.approx(value.item(), rel=1e-4)


def test_several_labels_per_image_train_with_multilabel_alone():
    data = [{**sample, "label": torch.tensor([1.0, float(i % 2), 0.0])} for i, sample in enumerate(samples())]
    loader = DataLoader(data, batch_size=12)
    module = classifier(task="multilabel", objective="class_aware", filter_weight=0.5)
    trainer(max_epochs=1).fit(module, loader, loader)
    (found,) = trainer().test(module, loader, verbose=False)
    with torch.no_grad():
        decided = torch.cat([module.eval()(batch["image"]) > 0 for batch in loader])
    truth = torch.stack([sample["label"] for sample in data]).bool()
    assert found["test/accuracy"] == pytest.approx((decided == truth).float().mean().item())
    with pytest.raises(ConfigurationError, match="task=multiclass needs one class per image"):
        trainer(max_epochs=1).fit(classifier(), loader, loader)


def test_a_class_that_the_split_does_not_show_has_no_accuracy():
    test = trainer()
    (found,) = test.test(classifier(num_classes=4), DataLoader(samples(classes=3), batch_size=12), verbose=False)
    assert [math.isnan(found[f"test/accuracy/{label}"]) for label in range(4)] == [False, False, False, True]


def test_binary_needs_two_classes():
    with pytest.raises(ConfigurationError, match=r"needs num_classes=2, got 3; choose the two with data\.classes"):
        classifier(task="binary")


def test_data_without_parts_has_no_location_instability():
    test = trainer()
    (found,) = test.test(classifier(), DataLoader(samples(parts=0), batch_size=12), verbose=False)
    assert not [name for name in found if "instability" in name]


def test_a_checkpoint_restores_weights_and_statistics_without_unpickling(tmp_path):
    module = classifier(objective="class_aware", filter_weight=0.5)
    fit = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, default_root_dir=tmp_path
    )
    fit.fit(module, DataLoader(samples(), batch_size=12), DataLoader(samples(), batch_size=12))
    fit.save_checkpoint(tmp_path / "kept.ckpt")
    again = InterpretableClassifier.load_from_checkpoint(tmp_path / "kept.ckpt", weights_only=True)
    assert dict(again.hparams) == {**module.hparams, "weights": None}
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in again.state_dict().items())
    assert (again.part_losses[1].running_peak > 0).any()
