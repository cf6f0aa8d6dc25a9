"""Which frames of a clip a model sees."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch

from memx.data.clip import Clip
from memx.errors import DataError

Sampling = Literal["ed_es", "all", "window"]


def frame_indices(clip: Clip, frames: int, mode: Sampling, rng: np.random.Generator | None = None) -> list[int]:
    """The frames that `mode` picks, as 0-based indices into the clip.

    ed_es    `frames` frames spaced evenly from ED to ES, both included:
             index_i = ⌊ED + i (ES − ED) / (frames − 1) + ½⌋.
             Frames repeat where the stretch is shorter, and run backwards in time where ED comes after ES.
    all      every frame
    window   `frames` consecutive frames from a start drawn from `rng`, with a labelled frame among them if the clip has
             one; the last frame repeats where the clip is shorter

    Raises DataError for `ed_es` when the clip's ED or ES is unknown, and ValueError for a `window` without `rng`.
    """
    if mode not in get_args(Sampling):
        raise ValueError(f"mode must be one of {', '.join(get_args(Sampling))}; got {mode!r}")
    if frames < 1:
        raise ValueError(f"frames must be at least 1; got {frames}")
    if mode == "all":
        return list(range(len(clip)))
    if mode == "ed_es":
        if clip.ed is None or clip.es is None:
            raise DataError(
                "ED and ES are unknown, and sampling `ed_es` needs them",
                file=clip.source,
                place="" if clip.source else f"{clip.patient} {clip.view}".strip() or "this clip",
                remedy="use `all` or `window`",
            )
        span, last = clip.es - clip.ed, max(1, frames - 1)
        return [clip.ed + (2 * i * span + last) // (2 * last) for i in range(frames)]
    if rng is None:
        raise ValueError("mode 'window' draws its start: rng must be given")
    starts = np.arange(max(1, len(clip) - frames + 1))
    if clip.labelled is not None and clip.labelled.any():
        labelled = clip.labelled.nonzero()[:, 0].numpy()
        after = np.searchsorted(labelled, starts)
        first = labelled[np.minimum(after, len(labelled) - 1)]
        starts = starts[(after < len(labelled)) & (first < starts + frames)]
    start = int(rng.choice(starts))
    return np.minimum(np.arange(start, start + frames), len(clip) - 1).tolist()


def take_frames(clip: Clip, indices: list[int]) -> Clip:
    """The clip made of these frames, in this order.

    ED and ES move along, or become None when they are not taken; the frame rate is kept where the steps are even.
    `extra["frames"]` says which frames of the whole clip these are.
    """
    taken = clip.extra.get("frames", range(len(clip)))
    extra = {**clip.extra, "frames": [taken[i] for i in indices]}
    if indices == list(range(len(clip))):
        return clip.replace(extra=extra)
    index = torch.tensor(indices, dtype=torch.long)
    steps = {after - before for before, after in pairwise(indices)}
    step = abs(steps.pop()) if len(steps) == 1 else 0
    return clip.replace(
        video=clip.video[index],
        labels=None if clip.labels is None else clip.labels[index],
        labelled=None if clip.labelled is None else clip.labelled[index],
        fps=clip.fps / step if clip.fps and step else None,
        ed=indices.index(clip.ed) if clip.ed in indices else None,
        es=len(indices) - 1 - indices[::-1].index(clip.es) if clip.es in indices else None,
        extra=extra,
    )


def sample_frames(clip: Clip, frames: int, mode: Sampling, rng: np.random.Generator | None = None) -> Clip:
    """The clip of the frames that `mode` picks; see `frame_indices` and `take_frames`."""
    return take_frames(clip, frame_indices(clip, frames, mode, rng))
