"""The loss contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from jaxtyping import Bool, Float
from torch import Tensor, nn

from memx.models.output import Output
from memx.registry import Slot


class Loss(nn.Module):
    """Compare a clip's output with the masks of its supervised frames.

    Constructor: `(*, options…)`.
    """

    auxiliary: float = 1.0
    """Weight of the auxiliary logits in `total`. At 0 training does not ask the model for them: of what several
    processes compute, all must take part in the loss."""

    def forward(
        self, output: Output, masks: Float[Tensor, "b t o y x"], supervised: Bool[Tensor, "b t"]
    ) -> dict[str, Float[Tensor, ""]]:
        """`total`, which is trained on, and its parts. Frames that are not supervised do not count.

        Each is a mean over the supervised frames: where a batch is split into micro-batches or dealt out to processes,
        training weights the pieces by how many of these frames they have, so that they add up to the batch's loss.
        Random numbers come from `rand_of_clips`, so that splitting does not change them.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")


LossSlot = Annotated[Callable[..., Loss], Slot("loss")]
