"""The weight of the part-template loss of each layer, over the steps of a run."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from interpretable.distributed import sum_over_ranks
from interpretable.errors import ConfigurationError
from interpretable.losses.fitness import at_least_float32
from interpretable.losses.running_averages import update_average
from interpretable.optimizers import rate_factor

FilterSchedule = Literal["constant", "inverse_epoch", "mean_peak", "paper", "gradient_ratio"]

MEASURE_EVERY = 10
"""Steps between two measurements of gradients: each one costs a pass back through the head."""


class FilterWeight(nn.Module):
    """Weights λ of the part layers' losses: a schedule, times a rise from zero at the start of the run.

    - ``"constant"``: the weight itself.
    - ``"inverse_epoch"``: weight / t in epoch t = 1, 2, … (the authors' code).
    - ``"mean_peak"``: weight · mean over filters of r_c, the running mean peak of the layer's maps.
    - ``"paper"``: weight · mean r_c / t (Zhang et al. 2018, §3, whose mean is over silent maps too; r_c's is not).
    - ``"gradient_ratio"``: such that ‖λ ∂filter loss/∂x‖ = weight · ‖∂task loss/∂x‖ on the layer's maps x. The ratio
      of the norms, over the images of all ranks, is measured every tenth step, in its first batch, and averaged (0.9).

    Evaluation has neither the rise nor the 1/t, so that epochs can be compared.

    Args:
        weight: Factor of the schedule.
        schedule: One of the above.
        warmup: Share of the run in which the weight rises linearly from zero.
        layers: Number of part layers.

    Raises:
        ConfigurationError: Unknown schedule, negative weight, or a warm-up that is no share.
    """

    gradient_ratio: Tensor
    """(layers,) running ‖∂task loss/∂x‖ / ‖∂filter loss/∂x‖; 0 until it is measured."""

    def __init__(self, weight: float, schedule: FilterSchedule, warmup: float, layers: int) -> None:
        super().__init__()
        if schedule not in get_args(FilterSchedule):
            known = ", ".join(get_args(FilterSchedule))
            raise ConfigurationError(f"The schedule of the filter weight must be one of {known}, got {schedule!r}.")
        if weight < 0:
            raise ConfigurationError(f"filter_weight must be 0 or more, got {weight}.")
        self.weight = weight
        self.schedule = schedule
        self.warmup = warmup
        self.register_buffer("gradient_ratio", torch.zeros(layers))
        self._measured_at = -1
        self.lay_out(steps=0)

    def lay_out(self, steps: int) -> None:
        """Spreads the rise over a run of as many steps."""
        self._rise = rate_factor("constant", self.warmup, steps)

    def forward(self, step: int, epoch: int, mean_peaks: Tensor) -> Tensor:
        """(layers,) weights at a step of the run.

        Args:
            step: Optimizer steps taken so far.
            epoch: Epochs completed so far.
            mean_peaks: (layers,) mean over filters of r_c.
        """
        if not self.training:
            return self._level(mean_peaks)
        decay = epoch + 1 if self.schedule in ("inverse_epoch", "paper") else 1
        return self._level(mean_peaks) * (self._rise(step) / decay)

    def _level(self, mean_peaks: Tensor) -> Tensor:
        """(layers,) what the weight rises to and decays from."""
        if self.schedule in ("mean_peak", "paper"):
            return self.weight * mean_peaks
        if self.schedule == "gradient_ratio":
            return self.weight * self.gradient_ratio.to(mean_peaks)
        return torch.full_like(mean_peaks, self.weight)

    def measures(self, step: int) -> bool:
        """Whether `observe` is due: once in every tenth step, however many batches accumulate to it."""
        due = self.schedule == "gradient_ratio" and self.weight > 0 and step % MEASURE_EVERY == 0
        return self.training and due and step != self._measured_at

    def observe(
        self, step: int, task_loss: Tensor, filter_losses: Sequence[Tensor], maps: Sequence[Tensor], num_filters: int
    ) -> None:
        """Takes in the gradients of the task loss and of each layer's filter loss by the layer's part filters.

        Args:
            step: Optimizer steps taken so far.
            task_loss: Scalar.
            filter_losses: A scalar per layer.
            maps: Per layer (B, C, h, w), which both depend on.
            num_filters: How many channels, the first ones, are part filters.
        """
        self._measured_at = step
        by_task = torch.autograd.grad(task_loss, maps, retain_graph=True)
        by_filters = [
            torch.autograd.grad(loss, layer, retain_graph=True)[0]
            for loss, layer in zip(filter_losses, maps, strict=True)
        ]
        # On several ranks both are world_size times what one process has, which the ratio is free of.
        squares = torch.stack(
            [at_least_float32(gradient[:, :num_filters]).square().sum() for gradient in (*by_task, *by_filters)]
        )
        task, filters = sum_over_ranks(squares).sqrt().chunk(2)
        ratio = task / filters
        update_average(self.gradient_ratio, ratio, ratio.isfinite(), self.gradient_ratio > 0)
