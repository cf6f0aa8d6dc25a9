"""Random numbers of clips: each clip of a training batch has a stream of its own.

What is drawn for a clip depends on the seed and on the clip's place in the run, and not on the clips that are beside
it: the same clips give the same numbers however a batch is split into micro-batches or dealt out to processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor

_streams: ContextVar[tuple[torch.Generator, ...] | None] = ContextVar("clip_streams", default=None)


@contextmanager
def clip_streams(seed: int, places: Sequence[int], device: torch.device | str = "cpu") -> Iterator[None]:
    """Within the block, `rand_of_clips` draws for clip i from the stream of (`seed`, `places[i]`), from its beginning.

    places  where each clip of the batch stands in the run: the how-manieth draw of the training set it is
    """
    # The third number keeps these streams apart from those of the data set, which are seeded by [seed, place].
    seeds = [int(np.random.SeedSequence([seed, place, 2]).generate_state(1, np.uint64)[0]) for place in places]
    before = _streams.set(tuple(torch.Generator(device).manual_seed(number) for number in seeds))
    try:
        yield
    finally:
        _streams.reset(before)


def rand_of_clips(
    rows: Sequence[int], *shape: int, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Uniform numbers in [0, 1) of shape (Σ rows, *shape): the first `rows[0]` rows from clip 0's stream, and so on.

    Outside of `clip_streams` all are drawn from torch's global generator. Raises ValueError when `rows` are not as many
    as the clips that have streams.
    """
    streams = _streams.get()
    if streams is None:
        return torch.rand(sum(rows), *shape, device=device, dtype=dtype)
    if len(rows) != len(streams):
        raise ValueError(f"rows of {len(rows)} clips were asked for; {len(streams)} clips have streams")
    drawn = [
        torch.rand(count, *shape, generator=stream, device=device, dtype=dtype)
        for count, stream in zip(rows, streams, strict=True)
    ]
    return torch.cat(drawn)
