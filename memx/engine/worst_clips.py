"""The clips of an evaluation that went worst, kept with their frames and masks for the report."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from memx.data.clip import Clip
from memx.engine.segment import label_map
from memx.models.output import Output
from memx.report.shown_clip import ShownClip


@dataclass
class WorstClips:
    """The `limit` clips of the lowest mean Dice among those offered; of equal ones the first.

    structures  name → label values of the truth, in the model's order
    """

    limit: int
    structures: Mapping[str, Sequence[int]]
    _kept: list[tuple[float, int, ShownClip]] = field(default_factory=list)
    _offered: int = 0

    @property
    def clips(self) -> tuple[ShownClip, ...]:
        """The worst first."""
        return tuple(clip for _, _, clip in sorted(self._kept, key=lambda item: item[:2], reverse=True))

    def offer(self, clip: Clip, output: Output, dice: Mapping[int, float]) -> None:
        """Keep a clip if it is among the worst so far; `dice` is that of its scored frames, and may be empty."""
        self._offered += 1
        if not dice or not self.limit:
            return
        place = (-float(np.mean(list(dice.values()))), -self._offered)
        if len(self._kept) == self.limit and place < self._kept[0][:2]:
            return
        heapq.heappush(self._kept, (*place, self._shown(clip, output, dice)))
        if len(self._kept) > self.limit:
            heapq.heappop(self._kept)

    def _shown(self, clip: Clip, output: Output, dice: Mapping[int, float]) -> ShownClip:
        assert clip.labels is not None
        assert clip.labelled is not None
        labels = clip.labels.numpy()
        seen = clip.labelled.numpy()
        truth = np.stack([np.isin(labels, values) & seen[:, None, None] for values in self.structures.values()])
        return ShownClip(
            patient=clip.patient,
            view=clip.view,
            structures=tuple(self.structures),
            frames=(clip.video.clamp(0, 1) * 255).round().to(torch.uint8).numpy(),
            prediction=np.stack([label_map(one[None], clip.size)[0].cpu().numpy() for one in output.logits[0]]).astype(
                np.uint8
            ),
            truth=truth,
            labelled=tuple(np.flatnonzero(seen).tolist()),
            dice=dict(dice),
            clip_frames=tuple(clip.extra["frames"]),
            spacing=clip.spacing,
            fps=clip.fps,
            ed=clip.ed,
            es=clip.es,
        )
