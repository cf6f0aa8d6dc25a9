"""Which clips each process sees, and when: the draws of a step, dealt out to processes and micro-batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from memx.data.dataset import ClipDataset, collate
from memx.engine import processes
from memx.engine.interruption import leave_to_main
from memx.errors import DataError, UserError
from memx.recipe import Recipe

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Deal:
    """Step i takes the draws i · batch … (i + 1) · batch − 1 of the training set, whoever computes it.

    They are dealt out to the `processes` one by one, and each process takes its own in `accumulate` micro-batches.
    Raises UserError when they do not come out even.
    """

    batch: int
    accumulate: int = 1
    processes: int = 1
    rank: int = 0

    def __post_init__(self) -> None:
        pieces = self.accumulate * self.processes
        if self.batch % pieces:
            said = " and ".join(
                [f"{self.accumulate} micro-batches (train.accumulate)"] * (self.accumulate > 1)
                + [f"{self.processes} processes"] * (self.processes > 1)
            )
            below = self.batch // pieces * pieces
            right = " or ".join(str(number) for number in (below, below + pieces) if number)
            raise UserError(
                f"train.batch={self.batch} cannot be dealt out evenly to {said}: make it a multiple of {pieces}, "
                f"such as {right}"
            )

    def places(self, step: int) -> list[range]:
        """This process's draws in a step (from 0), a range a micro-batch."""
        own = range(step * self.batch + self.rank, (step + 1) * self.batch, self.processes)
        size = len(own) // self.accumulate
        return [own[first : first + size] for first in range(0, len(own), size)]

    def load(self, recipe: Recipe, clips: ClipDataset, first: int, *, pin: bool) -> Iterator[Batch]:
        """This process's micro-batches from step `first` to the end of the run, in their order.

        An error in a worker process is raised as the one it was.
        """
        workers = recipe.data.workers
        steps = range(first, recipe.train.iterations)
        loader: DataLoader[Batch] = DataLoader(
            clips,
            batch_sampler=[list(places) for step in steps for places in self.places(step)],
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin,
            worker_init_fn=leave_to_main,
            generator=torch.Generator(),  # else starting to load would draw from the generator that a resume restores
        )
        try:
            yield from loader
        except DataError as error:
            text = str(error)
            if "Original Traceback" in text:
                raise DataError(text.rsplit(f"{DataError.__name__}: ", 1)[-1].strip()) from None
            raise


def deal_shares(batches: Sequence[Batch], *, one_length: bool) -> list[float]:
    """Each micro-batch's share of the supervised frames of a step: the losses are means over these frames.

    A step without any such frame is shared evenly. With `one_length` raises UserError when the processes have clips of
    several lengths: they would wait for each other without end.
    """
    frames = [int(batch["supervised"].sum()) for batch in batches]
    lengths = [batch["video"].shape[1] for batch in batches]
    everywhere = processes.gather((frames, lengths))
    if one_length and any(there != lengths for _, there in everywhere):
        found = sorted({length for _, there in everywhere for length in there})
        raise UserError(
            f"clips of {', '.join(map(str, found))} frames cannot be dealt out to processes that share a batch "
            "normalisation; use data.sampling=ed_es or window, or encoders with norm=group or frozen"
        )
    total = sum(sum(there) for there, _ in everywhere)
    return [count / total if total else 1 / (len(batches) * len(everywhere)) for count in frames]
