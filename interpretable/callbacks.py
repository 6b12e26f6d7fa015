"""Small single-purpose callbacks that draw what a person looks at after a run."""

from pathlib import Path
from typing import Any, NamedTuple, cast

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from interpretable.classifier import InterpretableClassifier
from interpretable.figures import TopImageRow, draw_learning_curves, draw_top_images
from interpretable.models import PartFilters
from interpretable.runs import run_dir


def _log_picture(trainer: pl.Trainer, path: Path) -> None:
    """Hands a picture of the run folder to the loggers that take images, as W&B's does; for rank 0 alone."""
    for logger in trainer.loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(key=path.stem, images=[str(path)], step=trainer.global_step)


class LearningCurves(pl.Callback):
    """Keeps what every epoch logged and draws it to ``curves.png`` in the run folder; survives a resumed run."""

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """The history, as plain numbers."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the history of a checkpoint."""
        self.history = list(state_dict["history"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes in the epoch's numbers; its validation has run by now."""
        # Reading the metrics reduces them over ranks: every rank does it, one draws.
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.history.append({"epoch": float(trainer.current_epoch), **metrics})

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the curves."""
        folder = run_dir(trainer) if trainer.is_global_zero else None
        if folder and self.history:
            draw_learning_curves(self.history, folder / "curves.png")
            _log_picture(trainer, folder / "curves.png")


class _Top(NamedTuple):
    """The strongest responses of a layer's filters, k images per filter."""

    peaks: Tensor
    """(k, C), descending."""
    indices: Tensor
    """(k, C), positions of the images in the data set."""
    maps: Tensor
    """(k, C, h, w), masked where the network masks."""

    def strongest(self, images: int) -> "_Top":
        peaks, order = self.peaks.topk(min(images, len(self.peaks)), dim=0)
        grid = order[..., None, None].expand(-1, -1, *self.maps.shape[2:])
        return _Top(peaks, self.indices.gather(0, order), self.maps.gather(0, grid))


class TopImages(pl.Callback):
    """Draws, per part layer, the filters that fire strongest in the test split on their top images.

    Filters are ordered by the mean of their peaks on those images. Pictures are ``filters_layer1.png`` and so on in
    the run folder.

    Args:
        filters: Filters per picture.
        images: Images per filter.
    """

    def __init__(self, filters: int = 8, images: int = 9) -> None:
        self.filters = filters
        self.images = images
        self._layers: list[_Top] = []

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forgets an earlier test."""
        self._layers = []

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Merges the batch into the top images of each layer."""
        layers = []
        part_filters = cast(list[PartFilters], list(cast(InterpretableClassifier, pl_module).net.part_filters))
        for number, (layer, raw) in enumerate(zip(part_filters, outputs["maps"], strict=False)):
            maps = layer.mask(raw)
            new = _Top(maps.amax((-2, -1)), batch["index"][:, None].expand(maps.shape[:2]), maps)
            if self._layers:
                new = _Top(*(torch.cat(pair) for pair in zip(self._layers[number], new, strict=True)))
            layers.append(new.strongest(self.images))
        self._layers = layers

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws one picture per part layer."""
        fields = cast(InterpretableClassifier, pl_module).net.receptive_fields
        loader = cast(DataLoader[Any], trainer.test_dataloaders)
        for number, top in enumerate(self._layers, start=1):
            # With several ranks a leading axis counts them; each holds the top images of its share.
            gathered = (trainer.strategy.all_gather(part).reshape(-1, *part.shape[1:]).cpu() for part in top)
            top = _Top(*gathered).strongest(self.images)
            folder = run_dir(trainer) if trainer.is_global_zero else None
            if folder is None:
                continue
            path = folder / f"filters_layer{number}.png"
            chosen = top.peaks.mean(0).argsort(descending=True)[: self.filters]
            rows = [
                TopImageRow(
                    f"filter {int(c)}",
                    torch.stack([loader.dataset[int(i)]["image"].as_subclass(Tensor) for i in top.indices[:, c]]),
                    top.maps[:, c],
                )
                for c in chosen
            ]
            title = f"layer {number}: top test images of the strongest filters"
            draw_top_images(rows, fields[number - 1], title, path)
            _log_picture(trainer, path)
