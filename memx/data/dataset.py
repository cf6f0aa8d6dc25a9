"""The cases of a data set as a stream of training draws, or one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from memx.data.cache import make_cache
from memx.data.channels import with_channels
from memx.data.clip import Case, Clip, Layout
from memx.data.faults import clip_faults
from memx.data.packed import PackedClip
from memx.data.resample import resize_clip
from memx.data.sampling import Sampling, frame_indices, sample_frames
from memx.data.transforms import ClipTransform, augment_clip
from memx.errors import DataError

Supervision = Literal["ends", "all"]


class ClipDataset(Dataset[dict[str, Any]]):
    """Clips of one size, ready for a model.

    With `draws` it is a training set: item i is the i-th draw of an endless stream, a pure function of `seed` and i.
    Cases come in a new permutation each epoch; frames and augmentation are drawn by `default_rng([seed, i])`. A run
    that resumes with item i therefore sees what the unbroken run saw, whatever the number of workers.
    Without `draws` it has one item a case, in their order, not augmented.

    An item is a dict:

        video       (t, c, y, x) float32 in [0, 1]
        masks       (t, o, y, x) float32 of 0 and 1, a channel for each of `structures`, zero where a frame has no label
        labelled    (t,) bool: the frames whose masks are known
        supervised  (t,) bool: the frames that training may look at: with `ends` the first and the last labelled
                    frame of the item, with `all` every labelled one
        index       the case's place in `cases`

    What was read and resized is kept, 3 bytes a pixel and frame: with `cache` True in memory by each process, with a
    folder on disk for all processes and runs (`DiskCache`); with False it is read each time. Resized pixels are rounded
    to 16 bits in each case, so that all three give the same numbers.

    Raises DataError for an empty list of cases, a structure whose label values the layout does not have, a clip without
    any label, and whatever the layout's `load` raises; ValueError for options that make no sense; UserError when the
    cache's folder cannot be made.
    """

    def __init__(
        self,
        layout: Layout,
        cases: Sequence[Case],
        *,
        size: int | tuple[int, int],
        frames: int = 10,
        sampling: Sampling = "ed_es",
        supervision: Supervision = "ends",
        structures: Mapping[str, Sequence[int]],
        augment: Sequence[ClipTransform] = (),
        channels: Literal[1, 3] = 1,
        seed: int = 0,
        draws: int | None = None,
        cache: bool | Path = True,
    ):
        if not cases:
            raise DataError("the data set has no cases; check data.root and the split")
        if not structures:
            raise ValueError("structures must name at least one structure and its label values")
        if supervision not in get_args(Supervision):
            raise ValueError(f"supervision must be one of {', '.join(get_args(Supervision))}; got {supervision!r}")
        if sampling not in get_args(Sampling):
            raise ValueError(f"sampling must be one of {', '.join(get_args(Sampling))}; got {sampling!r}")
        if channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3; got {channels}")
        if augment and draws is None:
            raise ValueError("augment is for training: draws must be given with it")
        if draws is not None and draws < 0:
            raise ValueError(f"draws must not be negative; got {draws}")
        _check_structures(structures, layout)
        self.layout = layout
        self.cases = list(cases)
        self.size = size
        self.frames = frames
        self.sampling: Sampling = sampling
        self.supervision = supervision
        self.structures = {name: tuple(values) for name, values in structures.items()}
        self.augment = tuple(augment)
        self.channels = channels
        self.seed = seed
        self.draws = draws
        settings = {"size": size, "sampling": sampling, "frames": frames if sampling == "ed_es" else None}
        self._cache = make_cache(cache, layout, settings)

    def __len__(self) -> int:
        return len(self.cases) if self.draws is None else self.draws

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = self._rng(index)
        case = self._case(index)
        packed = self._packed(self.cases[case])
        indices = None
        if self.sampling != "ed_es":  # which is chosen before it is packed
            indices = frame_indices(packed.timeline(), self.frames, self.sampling, rng)
        video, labels, labelled = packed.frames(indices)
        video, labels = augment_clip(self.augment, video, labels, rng)
        masks = [_any_of(labels, values) for values in self.structures.values()]
        return {
            "video": with_channels(video, self.channels).contiguous(),
            "masks": torch.stack(masks, dim=1).float(),
            "labelled": labelled,
            "supervised": _ends(labelled) if self.supervision == "ends" else labelled.clone(),
            "index": case,
        }

    def prepare(self, case: int) -> frozenset[int]:
        """Read and check a case as an item of it would be, keep it in the cache, and give its label values.

        `case` is a place in `cases`. Raises DataError when the case cannot be trained on.
        """
        return self._packed(self.cases[case]).values

    def original(self, index: int) -> Clip:
        """The frames of item `index` at the file's own size and spacing, neither augmented nor cached."""
        whole = _checked(self.layout.load(self.cases[self._case(index)]), self.cases[self._case(index)])
        return sample_frames(whole, self.frames, self.sampling, self._rng(index))

    def _rng(self, index: int) -> np.random.Generator:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is out of range; there are {len(self)} items")
        return np.random.default_rng([self.seed, index])

    def _case(self, index: int) -> int:
        if self.draws is None:
            return index
        epoch, place = divmod(index, len(self.cases))
        return int(_permutation(self.seed, epoch, len(self.cases))[place])

    def _packed(self, case: Case) -> PackedClip:
        kept = self._cache.get(case)
        if kept is not None:
            return kept
        clip = _checked(self.layout.load(case), case)
        assert clip.labels is not None
        values = frozenset(value for frame in clip.labels for value in frame.unique().tolist())
        if self.sampling == "ed_es":
            clip = sample_frames(clip, self.frames, "ed_es")
        assert clip.labelled is not None
        if not clip.labelled.any():
            raise DataError(
                f"none of the frames that `{self.sampling}` takes has a label",
                file=clip.source,
                place="" if clip.source else case.id,
                remedy="leave the case out",
            )
        packed = PackedClip.pack(resize_clip(clip, self.size), values)
        self._cache.put(case, packed)
        return packed


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Items as a batch, `b` before every axis. Raises DataError when the clips differ in length."""
    lengths = sorted({len(item["video"]) for item in items})
    if len(lengths) > 1:
        raise DataError(
            f"clips of {', '.join(map(str, lengths))} frames cannot share a batch; "
            "use a batch size of 1, or sampling `ed_es` or `window`"
        )
    return default_collate(list(items))


@lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, cases: int) -> np.ndarray:
    """The order of the cases in one epoch; the third number keeps this stream apart from those of the draws."""
    return np.random.default_rng([seed, epoch, 1]).permutation(cases)


def _check_structures(structures: Mapping[str, Sequence[int]], layout: Layout) -> None:
    for name, values in structures.items():
        if not values:
            raise ValueError(f"structures: {name!r} has no label values")
        unknown = [value for value in values if layout.labels and value not in layout.labels]
        if unknown:
            known = ", ".join(f"{value} {label}" for value, label in layout.labels.items())
            raise DataError(
                f"structures: {name!r} wants label {unknown[0]}, which this layout does not have; it has {known}"
            )


def _checked(clip: Clip, case: Case) -> Clip:
    """The clip, when it is one to train on; raises the first of its faults."""
    for fault in clip_faults(clip, case.id):
        raise fault
    return clip


def _any_of(labels: Tensor, values: Sequence[int]) -> Tensor:
    """Where a label is one of `values`; comparing is much faster than `torch.isin`, which sorts."""
    mask = labels == values[0]
    for value in values[1:]:
        mask |= labels == value
    return mask


def _ends(labelled: Tensor) -> Tensor:
    """True at the first and the last True."""
    ends = torch.zeros_like(labelled)
    places = labelled.nonzero()[:, 0]
    ends[places[[0, -1]]] = True
    return ends
