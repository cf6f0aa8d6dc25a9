"""Many networks measured in one process: a streamed frame of each in every round, so that noise hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

from memx.engine.manifest import device_words
from memx.errors import UserError, unknown
from memx.memory.state import State
from memx.models.build import build
from memx.profile.components import count
from memx.profile.entries import Entry
from memx.profile.peak import peak_bytes
from memx.profile.speed import Job
from memx.profile.timing import Quantiles, in_turns, paired_ratios

SEEN = 10
"""Frames that a network has seen before the one that is counted and timed: a memory that grows is timed at work."""
PLACES = (SEEN, 100)
"""The frames after which the state's bytes are read."""


@dataclass(frozen=True)
class Settings:
    """How networks are measured.

    rounds     timed frames of each network
    budget     seconds of a network's timed frames, after which it takes part in no further round; and of its stream to
               the last of PLACES
    precision  autocast; None: each recipe's `train.precision`
    size       height and width of every network's frames; None: each recipe's `data.size`
    """

    rounds: int = 50
    budget: float = 20.0
    device: str = "cpu"
    precision: str | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Measured:
    """One network.

    memory       its memory's type; the model's, in parentheses, where it has none
    parameters   numbers that training fits
    macs         multiply-accumulates of the timed frame
    first        seconds of the first timed call, which is in no other figure
    seconds      a value a round
    ratios       of each round: its time over the baseline's
    peak_bytes   the most that tensors held at once beyond weights and input in that frame; None on a device that keeps
                 no record
    state_bytes  frames seen → bytes of the state; a place that was not reached within the budget is left out
    """

    entry: Entry
    memory: str
    parameters: int
    macs: int
    size: tuple[int, int]
    precision: str
    first: float
    seconds: tuple[float, ...]
    ratios: tuple[float, ...]
    peak_bytes: int | None
    state_bytes: dict[int, int]

    @property
    def times(self) -> Quantiles | None:
        """Seconds a frame; None where the first call alone was over the budget."""
        return Quantiles.of(self.seconds) if self.seconds else None

    @property
    def fps(self) -> float | None:
        """Frames a second at the median."""
        return 1 / median(self.seconds) if self.seconds else None

    @property
    def ratio(self) -> float | None:
        """Median over the rounds of its time over the baseline's."""
        return median(self.ratios) if self.ratios else None


@dataclass(frozen=True)
class SideBySide:
    """What was measured, in the order given; `baseline` is a label, `device` its name."""

    rows: tuple[Measured, ...]
    baseline: str
    device: str
    settings: Settings


@dataclass(frozen=True, eq=False)
class _Ready:
    """A network that has seen SEEN frames."""

    entry: Entry
    job: Job
    state: State
    macs: int

    def frame(self) -> State:
        """The next frame, always from the same state."""
        return self.job.step(0, self.state)


def measure(
    entries: Sequence[Entry],
    settings: Settings,
    *,
    baseline: str | None = None,
    progress: Callable[..., object] = lambda note: None,
) -> SideBySide:
    """Measure networks with fresh weights on random frames, batch 1, in evaluation mode: times depend on neither.

    All are built and run first. Then every round times one frame of each, and starts with another network than the
    round before. `baseline` is a label (None: the first). `progress` is called twice for each network.

    Raises UserError naming the recipe that cannot be built or run, or whose arithmetic cannot be counted (nothing is
    timed then), and for a baseline that is not among them.
    """
    if not entries:
        raise ValueError("measure: there is no entry")
    base = find_baseline(entries, baseline)
    ready: list[_Ready] = []
    for entry in entries:
        ready.append(_prepare(entry, settings))
        progress(f"{entry.label} runs")
    calls = {item.entry.label: item.frame for item in ready}
    samples = in_turns(calls, settings.rounds, device=settings.device, budget=settings.budget)
    rows: list[Measured] = []
    for item in ready:
        entry, taken = item.entry, samples[item.entry.label]
        rows.append(
            Measured(
                entry=entry,
                memory=memory_type(entry),
                parameters=sum(parameter.numel() for parameter in item.job.model.parameters()),
                macs=item.macs,
                size=(item.job.video.shape[-2], item.job.video.shape[-1]),
                precision=item.job.precision,
                first=taken.first,
                seconds=taken.seconds,
                ratios=tuple(paired_ratios(taken.seconds, samples[base].seconds)),
                peak_bytes=_peak(item),
                state_bytes=_state_bytes(item, settings.budget),
            )
        )
        progress(f"{entry.label} measured")
    return SideBySide(tuple(rows), base, device_words(settings.device), settings)


def find_baseline(entries: Sequence[Entry], name: str | None) -> str:
    """The label of the entry that `name` means, by label or as the user named it; None: the first."""
    if name is None:
        return entries[0].label
    for entry in entries:
        if name in (entry.label, entry.source):
            return entry.label
    raise UserError(f"--baseline {name}: {unknown('recipe', name, [entry.label for entry in entries])}")


def memory_type(entry: Entry) -> str:
    """The type of the memory in the recipe."""
    model = entry.recipe.dump()["model"]
    memory = model.get("memory")
    return memory["type"] if memory is not None else f"({model['type']})"


def _prepare(entry: Entry, settings: Settings) -> _Ready:
    recipe = entry.recipe
    size = settings.size or recipe.data.size
    with _named(entry, "cannot be built"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = build(recipe).to(settings.device).eval()
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(1, 1, recipe.data.channels, *size, generator=generator).to(settings.device)
    job = Job(model, video, recipe.objects, settings.precision or recipe.train.precision)
    with _named(entry, f"cannot segment frames of {size[0]} × {size[1]}"):
        state = job.start()
        for _ in range(SEEN):
            state = job.step(0, state)
        macs = count(model, partial(model.step, video[:, 0], state)).whole.macs.total()
    return _Ready(entry, job, state, macs)


@contextmanager
def _named(entry: Entry, what: str) -> Iterator[None]:
    """For the block, an error says whose it is. Models may be a user's own, so it may be any."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{entry.label}: {error}") from error
    except Exception as error:
        raise UserError(f"{entry.label}: {what}: {type(error).__name__}: {error}") from error


def _peak(item: _Ready) -> int | None:
    device = item.job.device
    return peak_bytes(item.frame, device, warm=True) if device.type in ("cpu", "cuda") else None


def _state_bytes(item: _Ready, budget: float) -> dict[int, int]:
    """Frames seen → bytes of the state, as far as the budget goes."""
    state, found = item.state, {SEEN: item.state.nbytes}
    started = time.perf_counter()
    for seen in range(SEEN + 1, PLACES[-1] + 1):
        if time.perf_counter() - started > budget:
            break
        state = item.job.step(0, state)
        if seen in PLACES:
            found[seen] = state.nbytes
    return found
