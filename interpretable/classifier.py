"""The LightningModule: a network with part filters, its task loss and its part-template losses."""

import math
from typing import Any, Literal, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from interpretable.data.samples import Batch
from interpretable.errors import ConfigurationError
from interpretable.filter_weight import FilterSchedule, FilterWeight
from interpretable.losses import Objective, PartTemplateLoss, equivariance_loss, move_images, random_affine
from interpretable.metrics import LocationInstability
from interpretable.models import InterpretableCNN, PartFilters
from interpretable.models.interpretable_cnn import FirstLayer, Head
from interpretable.optimizers import Schedule, build_optimizer, check_warmup, rate_factor
from interpretable.tasks import (
    Task,
    memberships,
    num_outputs,
    per_class_accuracy,
    probabilities,
    scores,
    task_loss,
    task_metrics,
)
from interpretable.templates import Position, peak

Stage = Literal["train", "val", "test"]


class InterpretableClassifier(pl.LightningModule):
    """An image classifier whose top filters are trained to stand for one object part each.

    Every argument is a plain value, so that configuration files, sweeps and checkpoints hold the same thing. The
    plain twin of a network has the same arguments with ``mask=False`` and ``filter_weight=0``.

    Args:
        num_classes: Number of classes of the data; 2 for ``task="binary"`` (background, category).
        backbone: A key of `interpretable.models.BACKBONES`.
        task: ``"multiclass"`` (softmax), ``"binary"`` (one category against background) or ``"multilabel"``
            (one decision per class; integer labels are taken as one of many).
        part_layers: Layers of part filters.
        part_share: Share of each part layer's channels that are part filters; the others have no mask and no loss.
        mask: Multiply each map by the template at its peak, in training and after.
        filter_weight: Weight of the part-template loss, summed over part layers.
        filter_schedule: How that weight goes on in training, see `interpretable.filter_weight.FilterWeight`:
            ``"constant"``, ``"inverse_epoch"``, ``"mean_peak"``, ``"paper"`` or ``"gradient_ratio"``.
        filter_warmup: Share of the run in which it rises linearly from zero, the task being learned first.
        objective: ``"mutual_information"``, ``"class_aware"``, ``"paper"`` or ``"authors"``, see
            `interpretable.losses.PartTemplateLoss`; the last goes with ``position="centroid"`` and a weight of its own.
        temperature: Temperature of the part-template fitness.
        distinctness: Weight, within the part-template loss, of how often an image's strongest filters share a cell.
        equivariance: Weight, within the part-template loss, of how far filters fail to follow an image that is moved;
            above 0 it takes one more forward pass a step.
        beta: Slope β of the templates.
        position: Where a filter's template sits: ``"argmax"`` or ``"centroid"``.
        weights: Initial weights of the backbone: none, a name of torchvision's, or a local state-dict file.
        cut: Name of the layer on whose output the part layers stand, the backbone's own choice where omitted.
        first_layer: What the first part layer is: the ``"backbone"``'s own map, or a new ``"convolution"`` above it.
        norm: Normalise new part layers over the batch.
        head: The layers of the ``"backbone"`` above the cut, or a ``"linear"`` one on the average of each top map.
        frozen: Name of the layer up to which, itself included, the trunk keeps its initial weights and statistics.
        optimizer: Name of a class of `torch.optim`.
        lr: Learning rate.
        trunk_lr: Factor of the learning rate below the part layers, less than 1 for fine-tuning.
        weight_decay: Weight decay of weight matrices and kernels; biases and norms have none.
        optimizer_options: Further arguments of the optimizer, such as ``{momentum: 0.9}``.
        schedule: ``"cosine"`` to zero over the whole run, or ``"constant"``.
        warmup: Share of the run in which the learning rate rises linearly from zero.

    Raises:
        ConfigurationError: Arguments that contradict one another or the data.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "small",
        task: Task = "multiclass",
        part_layers: int = 1,
        part_share: float = 1.0,
        mask: bool = True,
        filter_weight: float = 0.25,
        filter_schedule: FilterSchedule = "constant",
        filter_warmup: float = 0.5,
        objective: Objective = "mutual_information",
        temperature: float = 0.2,
        distinctness: float = 64.0,
        equivariance: float = 2.0,
        beta: float = 4.0,
        position: Position = "argmax",
        weights: str | None = None,
        cut: str | None = None,
        first_layer: FirstLayer = "convolution",
        norm: bool = True,
        head: Head = "linear",
        frozen: str | None = None,
        optimizer: str = "AdamW",
        lr: float = 1e-3,
        trunk_lr: float = 1.0,
        weight_decay: float = 0.05,
        optimizer_options: dict[str, Any] | None = None,
        schedule: Schedule = "cosine",
        warmup: float = 0.05,
    ) -> None:
        super().__init__()
        if task == "binary" and num_classes != 2:
            raise ConfigurationError(
                f"task=binary tells one category from background and needs num_classes=2, got {num_classes}; "
                "choose the two with data.classes, or use task=multiclass."
            )
        for name, value, least in (
            ("num_classes", num_classes, 1),
            ("lr", lr, 0),
            ("trunk_lr", trunk_lr, 0),
            ("weight_decay", weight_decay, 0),
            ("equivariance", equivariance, 0),
        ):
            if value < least:
                raise ConfigurationError(f"{name} must be {least} or more, got {value}.")
        for name, share in (("warmup", warmup), ("filter_warmup", filter_warmup)):
            check_warmup(share, name)
        self.save_hyperparameters()
        self.task = task
        self.num_classes = num_classes
        outputs = num_outputs(task, num_classes)
        self.net = InterpretableCNN(
            backbone,
            outputs,
            part_layers,
            mask,
            weights,
            cut,
            beta=beta,
            position=position,
            part_share=part_share,
            first_layer=first_layer,
            norm=norm,
            head=head,
            frozen=frozen,
        )
        self.net.to(memory_format=torch.channels_last)  # about a fifth less time per step on a CPU
        self.filter_weight = FilterWeight(filter_weight, filter_schedule, filter_warmup, part_layers)
        self.equivariance = equivariance
        self.part_losses = nn.ModuleList(
            PartTemplateLoss(self.net.num_filters, objective, temperature, beta, outputs, distinctness)
            for _ in range(part_layers)
        )
        self.val_metrics = task_metrics(task, num_classes)
        self.test_metrics = task_metrics(task, num_classes)
        self.class_accuracy = per_class_accuracy(task, num_classes)
        self.location_instability = LocationInstability(num_classes)

    def setup(self, stage: str) -> None:
        """Compares the network's classes with the data's before the first batch."""
        datamodule = getattr(self.trainer, "datamodule", None)
        found = getattr(datamodule, "num_classes", self.num_classes)
        if found != self.num_classes:
            raise ConfigurationError(
                f"The model has num_classes={self.num_classes} but the data has {found} classes: set "
                f"model.num_classes to {found}, or choose classes with data.classes."
            )

    def on_fit_start(self) -> None:
        """Lays out the rise of the filter loss's weight over the steps of the run."""
        self.filter_weight.lay_out(self._total_steps())

    def _total_steps(self) -> int:
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise ConfigurationError(
                "The schedules of the learning rate and of the filter loss need the length of the run, found none: set "
                "trainer.max_epochs or trainer.max_steps."
            )
        return int(steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Forgets the initial weights, which the checkpoint replaces and which need not be there any more."""
        checkpoint["hyper_parameters"] = {**checkpoint["hyper_parameters"], "weights": None}

    def forward(self, images: Tensor) -> Tensor:
        """(B, outputs) logits of images (B, 3, H, W)."""
        logits: Tensor = self.net(images)
        return logits

    def _step(self, batch: Batch, stage: Stage) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The total loss, the logits and the maps of the part filters; logs every term of the loss."""
        all_maps = self.net.forward_features(batch["image"])
        logits = self.net.forward_head(all_maps[-1])
        cost = task_loss(self.task, logits, batch["label"])
        labels = memberships(self.task, batch["label"], logits.shape[1])
        maps = tuple(layer[:, : self.net.num_filters] for layer in all_maps)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.filter_weight.weight > 0):
            terms = [part_loss.terms(layer, labels) for part_loss, layer in zip(self._part_losses, maps, strict=False)]
        total = cost
        logged: dict[str, Tensor | float] = {"task_loss": cost.detach()}
        weights = self._weights(cost, [term.loss for term in terms], all_maps)
        if self.training and self.hparams["objective"] == "authors" and self.filter_weight.weight > 0:
            for layer, part_loss in zip(self.net.part_filters, self._part_losses, strict=True):
                cast(PartFilters, layer).beta.copy_(part_loss.slope)
        bound = math.log(min(maps[-1][0, 0].numel() + 1, len(logits) * self.trainer.world_size))
        for number, (part_loss, term, weight) in enumerate(
            zip(self._part_losses, terms, weights, strict=True), start=1
        ):
            if self.filter_weight.weight > 0:
                total = total + weight * term.loss
            logged |= {
                f"filter_weight/layer{number}": weight,
                f"filter_loss/layer{number}": term.loss.detach(),
                f"mutual_information/layer{number}": term.mutual_information.mean(),
                f"mutual_information_bound/layer{number}": bound,
                # A batch on which every filter is silent rests on no image at all.
                f"effective_images/layer{number}": term.effective_images.nanmean().nan_to_num(0),
                f"dead_filters/layer{number}": term.dead.mean(),
                f"overlap/layer{number}": term.overlap,
            }
            logged |= {f"{name}/layer{number}": value for name, value in part_loss.summary().items()}
            if self.filter_weight.schedule == "gradient_ratio":
                logged[f"gradient_ratio/layer{number}"] = self.filter_weight.gradient_ratio[number - 1]
        if stage == "train" and self.equivariance > 0 and self.filter_weight.weight > 0 and self._part_losses:
            costs = self._equivariance(batch["image"], maps)
            for number, (cost_of_layer, weight) in enumerate(zip(costs, weights, strict=True), start=1):
                total = total + weight * self.equivariance * cost_of_layer
                logged[f"equivariance/layer{number}"] = cost_of_layer.detach()
        logged["loss"] = total.detach()
        self.log_dict(
            {f"{stage}/{name}": value for name, value in logged.items()},
            on_step=False,
            on_epoch=True,
            batch_size=len(logits),
            sync_dist=True,
        )
        return total, logits, maps

    def _weights(self, cost: Tensor, filter_losses: list[Tensor], maps: tuple[Tensor, ...]) -> list[Tensor]:
        """The weight of each part layer's loss at this step."""
        if not filter_losses:
            return []
        if self.filter_weight.measures(self.global_step):
            self.filter_weight.observe(self.global_step, cost, filter_losses, maps, self.net.num_filters)
        mean_peaks = torch.stack([loss.running_peak.mean() for loss in self._part_losses])
        return list(self.filter_weight(self.global_step, self.current_epoch, mean_peaks))

    def _equivariance(self, images: Tensor, maps: tuple[Tensor, ...]) -> list[Tensor]:
        """Each part layer's equivariance loss, the mean over its part filters, under one random move of each image."""
        affine = random_affine(images)
        moved = self.net.forward_features(move_images(images, affine))
        size = (images.shape[-2], images.shape[-1])
        return [
            equivariance_loss(layer, layer_moved[:, : self.net.num_filters], affine, field, size).mean()
            for layer, layer_moved, field in zip(maps, moved, self.net.receptive_fields, strict=True)
        ]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        loss, logits, _ = self._step(batch, "train")
        decisions, target = scores(self.task, logits, batch["label"])["accuracy"]
        accuracy = (decisions == target).float().mean()
        self.log(
            "train/accuracy",
            accuracy,
            prog_bar=True,
            on_step=False,
            on_epoch=True,
            batch_size=len(logits),
            sync_dist=True,
        )
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Scores one batch."""
        _, logits, _ = self._step(batch, "val")
        self._score("val", self.val_metrics, logits, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, tuple[Tensor, ...]]:
        """Scores one batch and hands its raw maps, bottom to top, to callbacks."""
        _, logits, maps = self._step(batch, "test")
        self._score("test", self.test_metrics, logits, batch)
        self.class_accuracy.update(*scores(self.task, logits, batch["label"])["accuracy"])
        if batch["landmarks"].shape[1] and batch["label"].ndim == 1:
            self.location_instability.update(
                maps[-1].float().amax((-2, -1)),
                self.peak_positions(maps)[-1],
                batch["landmarks"],
                batch["label"],
                (batch["image"].shape[-2], batch["image"].shape[-1]),
                batch["index"],
            )
        return {"maps": maps}

    def on_test_epoch_end(self) -> None:
        """Logs what is computed over the whole split."""
        names = getattr(getattr(self.trainer, "datamodule", None), "classes", None)
        names = names or [str(label) for label in range(self.num_classes)]
        accuracies = self.class_accuracy.compute()
        with self.class_accuracy.sync_context():
            shown = cast(Tensor, self.class_accuracy.tp) + cast(Tensor, self.class_accuracy.fn)
        if self.task != "multilabel":  # a class that the split does not show has no accuracy; torchmetrics says 0
            accuracies = accuracies.masked_fill(shown == 0, torch.nan)
        self.class_accuracy.reset()
        per_class = {f"test/accuracy/{name}": value for name, value in zip(names, accuracies, strict=True)}
        self.log_dict(per_class, sync_dist=True)
        if self.location_instability.update_called:
            result = self.location_instability.compute()
            self.location_instability.reset()
            numbers = {f"test/location_instability/{name}": value for name, value in result._asdict().items()}
            self.log_dict(numbers, sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Logits and class probabilities with the index of each image in the data set."""
        logits = self(batch["image"])
        return {"index": batch["index"], "logits": logits, "probabilities": probabilities(self.task, logits)}

    def peak_positions(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Image positions (B, C, 2), x and y in pixels, of the centre of the strongest unit's receptive field."""
        return tuple(
            field.positions(peak(layer), layer.shape[-1])
            for layer, field in zip(maps, self.net.receptive_fields, strict=True)
        )

    @property
    def _part_losses(self) -> list[PartTemplateLoss]:
        return cast(list[PartTemplateLoss], list(self.part_losses))

    def _score(self, stage: Stage, metrics: Any, logits: Tensor, batch: Batch) -> None:
        for name, (predictions, target) in scores(self.task, logits, batch["label"]).items():
            metrics[name].update(predictions, target)
            self.log(f"{stage}/{name}", metrics[name], prog_bar=name == "accuracy")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and the schedule of its rate in steps."""
        options = self.hparams
        optimizer = build_optimizer(
            options["optimizer"],
            self.net,
            lr=options["lr"],
            trunk_lr=options["trunk_lr"],
            weight_decay=options["weight_decay"],
            options=options["optimizer_options"] or {},
        )
        factor = rate_factor(options["schedule"], options["warmup"], self._total_steps())
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
