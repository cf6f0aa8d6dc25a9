"""Cross-entropy and soft Dice on the supervised frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from memx.losses.base import Loss
from memx.losses.points import sample_points, uncertain_points
from memx.models.output import Output
from memx.registry import losses


@losses.register("segmentation")
class SegmentationLoss(Loss):
    """Cross-entropy + soft Dice of the supervised frames, on points where the model is not sure; auxiliary masks too.

    total = w_ce · CE + w_dice · Dice + w_aux · Σ_a (w_ce · CE_a + w_dice · Dice_a), a over the auxiliary logits (the
    sensory state's and every level of the refiner);  Dice = mean over frames and objects of
    1 − (2 Σ p g + 1) / (Σ p + Σ g + 1), the background left out.

    The target is one distribution over background and objects: background = 1 − Σ masks, at least 0, and where masks
    overlap they share the pixel. Logits smaller than the masks are brought to their size (bilinear). Without a
    supervised frame the total is 0 and has zero gradients.

    Returns `total`, `cross_entropy`, `dice` and `auxiliary` (before its weight). Raises ValueError for shapes that do
    not fit.

    Source: GDKVM, ICCV 2025, as in Cutie (CVPR 2024): 12,544 points, equal weights, auxiliary × 0.01.
    """

    def __init__(
        self,
        *,
        points: Annotated[int | None, Field(ge=1, description="points a frame; null: every pixel")] = 12544,
        oversample: Annotated[float, Field(ge=1, description="candidates drawn for each point")] = 3.0,
        importance: Annotated[
            float, Field(ge=0, le=1, description="share of uncertain points; the rest uniform")
        ] = 0.75,
        cross_entropy: Annotated[float, Field(ge=0, description="weight of the cross-entropy")] = 1.0,
        dice: Annotated[float, Field(ge=0, description="weight of the soft Dice loss")] = 1.0,
        auxiliary: Annotated[float, Field(ge=0, description="weight of the auxiliary masks' losses")] = 0.01,
    ):
        super().__init__()
        self.points = points
        self.oversample = oversample
        self.importance = importance
        self.cross_entropy = cross_entropy
        self.dice = dice
        self.auxiliary = auxiliary

    def forward(
        self, output: Output, masks: Float[Tensor, "b t o y x"], supervised: Bool[Tensor, "b t"]
    ) -> dict[str, Float[Tensor, ""]]:
        expected = (*output.logits.shape[:2], output.logits.shape[2] - 1, *output.logits.shape[3:])
        if masks.shape != expected or supervised.shape != expected[:2]:
            raise ValueError(
                f"masks {list(masks.shape)} and supervised {list(supervised.shape)} do not fit an output of masks "
                f"{list(expected)}"
            )
        supervised = supervised.bool()
        if not supervised.any():
            outputs = [output.logits, *(_auxiliary_logits(output) if self.auxiliary else ())]
            zero = sum((logits.sum() * 0 for logits in outputs), torch.zeros((), device=output.logits.device))
            return {"total": zero, "cross_entropy": zero.detach(), "dice": zero.detach(), "auxiliary": zero.detach()}
        logits = output.logits[supervised]
        target = distribution(masks[supervised].to(logits.dtype))
        frames = supervised.sum(dim=1).tolist() if self.points is not None else None
        ce, dice = self._compare(logits, target, frames)
        extra = torch.zeros_like(ce)
        if self.auxiliary:
            for level in _auxiliary_logits(output):
                level_ce, level_dice = self._compare(level[supervised].to(logits.dtype), target, frames)
                extra = extra + self.cross_entropy * level_ce + self.dice * level_dice
        total = self.cross_entropy * ce + self.dice * dice + self.auxiliary * extra
        return {"total": total, "cross_entropy": ce.detach(), "dice": dice.detach(), "auxiliary": extra.detach()}

    def _compare(
        self, logits: Float[Tensor, "n c y x"], target: Float[Tensor, "n c y2 x2"], frames: Sequence[int] | None
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        if self.points is None:
            if logits.shape != target.shape:
                logits = F.interpolate(logits, size=target.shape[-2:], mode="bilinear", align_corners=False)
            given, wanted = logits.flatten(2), target.flatten(2)
        else:
            points = uncertain_points(
                logits, self.points, oversample=self.oversample, importance=self.importance, frames=frames
            )
            given, wanted = sample_points(logits, points), sample_points(target, points)
        return F.cross_entropy(given, wanted), soft_dice(given.softmax(dim=1)[:, 1:], wanted[:, 1:])


def distribution(masks: Float[Tensor, "n o y x"]) -> Float[Tensor, "n o1 y x"]:
    """One distribution over background and objects at each pixel."""
    background = (1 - masks.sum(dim=1, keepdim=True)).clamp(min=0)
    full = torch.cat([background, masks], dim=1)
    return full / full.sum(dim=1, keepdim=True)


def soft_dice(probability: Float[Tensor, "n o p"], target: Float[Tensor, "n o p"]) -> Float[Tensor, ""]:
    """Mean over frames and objects of 1 − (2 Σ p g + 1) / (Σ p + Σ g + 1)."""
    overlap = (probability * target).sum(dim=-1)
    size = probability.sum(dim=-1) + target.sum(dim=-1)
    return (1 - (2 * overlap + 1) / (size + 1)).mean()


def _auxiliary_logits(output: Output) -> list[Float[Tensor, "b t o1 y x"]]:
    """The auxiliary logits of all sources and levels, each as one clip of maps."""
    extra = output.auxiliary
    if extra is None:
        return []
    found = [] if extra.sensory is None else [extra.sensory]
    return found if extra.queries is None else [*found, *extra.queries.unbind(3)]
