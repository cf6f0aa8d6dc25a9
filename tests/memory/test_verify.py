"""Cases are drawn as wide as they should be, breaks are shrunk, and a memory from outside is met as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
import torch
from hypothesis import given, settings
from pydantic import Field

from memx.errors import RecipeError
from memx.memory import Memory, State, laws
from memx.memory.base import fold
from memx.memory.drawing import space_of
from memx.memory.from_file import memories_in, memory_in
from memx.memory.laws import BrokenLawError, Case
from memx.memory.verify import verify
from memx.registry import memories

pytestmark = pytest.mark.usefixtures("own_registry")
DRAWS = settings(max_examples=300, database=None, deadline=None)


class Sum(Memory):
    """S ← S + Σ k vᵀ."""

    def __init__(self, key_dim: int, value_dim: int):
        super().__init__()
        self.size = (key_dim, value_dim)

    @property
    def forms(self):
        return ("fast", "recurrent")

    def init_state(self, batch, objects=1, *, device=None, dtype=None):
        return State(S=torch.zeros(batch, objects, *self.size, device=device, dtype=dtype))

    def write(self, state, frame):
        return state.replace(S=self.restart(state, frame).S + frame.key[:, None].mT @ frame.value)

    def read(self, state, frame):
        return frame.query[:, None] @ state.S

    def _scan(self, clip, state, form):
        return fold(self, clip, state)


def registered(memory):
    memories.register(memory.__name__)(memory)
    return memories[memory.__name__]


class DropsALastToken(Sum):
    """The fast form forgets the second token of the third frame."""

    def _scan(self, clip, state, form):
        value = clip.value.clone()
        value[:, 2:3, :, 1:2] = 0
        return fold(self, clip.replace(value=value), state)


class WrongFromTheNinthFrame(Sum):
    def _scan(self, clip, state, form):
        out, state = fold(self, clip, state)
        return torch.cat([out[:, :8], 2 * out[:, 8:]], 1), state


class ForgetsLargeFrames(Sum):
    """The fast form takes no more than 100 tokens of a frame."""

    def _scan(self, clip, state, form):
        taken = torch.arange(clip.key.shape[2]) < 100
        return fold(self, clip.replace(key=clip.key * taken[:, None]), state)


class WrongWithOneOption(Sum):
    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        *,
        gate: Literal["none", "token"] = "none",
        decay: Annotated[float, Field(gt=0, le=1)] = 1.0,
        heads: Annotated[int, Field(ge=1)] = 1,
    ):
        super().__init__(key_dim, value_dim)
        if value_dim % heads:
            raise ValueError(f"heads must divide the value channels: {heads} does not divide {value_dim}")
        self.gate = gate

    def read(self, state, frame):
        out = super().read(state, frame)
        return out.cumsum(1) if self.gate == "token" else out


class Crashes(Sum):
    def write(self, state, frame):
        raise TypeError("a mistake of its author")


class IsRandom(Sum):
    """Wrong at the calls of the fast form that are listed."""

    calls, wrong = 0, (1,)

    def _scan(self, clip, state, form):
        type(self).calls += 1
        out, state = fold(self, clip, state)
        return out + (self.calls in self.wrong), state


class IsRandomLater(IsRandom):
    calls, wrong = 0, (6,)


class WantsWideSquares(Sum):
    def __init__(self, key_dim: int, value_dim: int):
        super().__init__(key_dim, value_dim)
        if key_dim != value_dim or key_dim % 16:
            raise ValueError("keys and values are of one size, a multiple of 16")


class TakesNothing(Sum):
    def __init__(self, key_dim: int, value_dim: int):
        raise ValueError("no size is right")


class HasNamedParts(Sum):
    def __init__(self, key_dim: int, value_dim: int, *, parts: list[str] | None = None, mode: str = "plain"):
        super().__init__(key_dim, value_dim)


class WantsAName(Sum):
    def __init__(self, key_dim: int, value_dim: int, *, mode: str):
        super().__init__(key_dim, value_dim)


class WantsAnOption(Sum):
    def __init__(self, key_dim: int, value_dim: int, *, order: Literal["first", "last"]):
        super().__init__(key_dim, value_dim)


def test_a_break_is_shrunk_to_the_smallest_case_and_comes_again():
    entry = registered(DropsALastToken)
    verdict = verify(entry, laws.forms_equal_the_fold)
    assert verdict.outcome == "broken"
    found = verdict.broken
    assert found.steady
    assert (found.case.batch, found.case.frames, found.case.objects, found.case.tokens) == (1, 3, 1, 2)
    assert (found.case.key_dim, found.case.value_dim, found.case.warm, found.case.resets) == (1, 1, False, False)
    assert found.case.seed == 0
    with pytest.raises(BrokenLawError, match="form fast against the fold: readouts off by") as again:
        laws.forms_equal_the_fold(space_of(entry).part(found.options), found.case)
    assert again.value.says == found.says


@pytest.mark.parametrize(("wrong", "frames", "tokens"), [(WrongFromTheNinthFrame, 9, 1), (ForgetsLargeFrames, 1, 101)])
def test_what_is_wrong_at_length_only_is_found_and_made_smaller(wrong, frames, tokens):
    verdict = verify(registered(wrong), laws.forms_equal_the_fold)
    assert verdict.broken
    case = verdict.broken.case
    assert (case.batch, case.frames, case.tokens, case.warm, case.resets) == (1, frames, tokens, False, False)
    assert verdict.broken.steady
    assert verify(registered(wrong), laws.splits_do_not_matter).broken or wrong is ForgetsLargeFrames


def test_a_verdict_says_how_large_the_cases_were():
    held = verify(registered(Sum), laws.forms_equal_the_fold)
    assert (held.frames, held.tokens) == (33, 300)
    held = verify(registered(Sum), laws.objects_permute)
    assert held.frames <= 5
    assert held.tokens <= 65


def test_a_case_is_written_as_python_that_makes_it():
    case = Case(batch=1, warm=False, resets=((0, 1),))
    assert repr(case) == "Case(batch=1, warm=False, resets=((0, 1),))"
    assert eval(repr(case)) == case


def test_the_option_at_fault_is_the_one_that_is_named():
    verdict = verify(registered(WrongWithOneOption), laws.objects_permute)
    assert verdict.broken
    assert verdict.broken.options == {"gate": "token"}


def test_the_same_seed_draws_the_same_cases_and_another_seed_others():
    def drawn(seed):
        seen = []

        def law(factory, case):
            """Keeps what it is shown."""
            seen.append(case)

        verdict = verify(registered(Sum), law, examples=20, seed=seed)
        assert (verdict.outcome, verdict.cases) == ("kept", 21)
        return seen

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_nothing_is_left_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    verify(registered(DropsALastToken), laws.forms_equal_the_fold)
    assert not list(tmp_path.iterdir())


def test_an_exception_of_the_memory_is_a_break():
    verdict = verify(registered(Crashes), laws.saving_is_exact)
    assert verdict.broken
    assert isinstance(verdict.broken.error, TypeError)
    assert verdict.broken.says == "TypeError: a mistake of its author"


@pytest.mark.parametrize("memory", [IsRandom, IsRandomLater])
def test_a_break_that_does_not_come_again_is_said_to_be_random(memory):
    verdict = verify(registered(memory), laws.forms_equal_the_fold)
    assert verdict.broken
    assert verdict.broken.says.startswith("form fast against the fold: readouts off by 1 ")
    assert not verdict.broken.steady


def test_a_law_that_says_nothing_says_why():
    verdict = verify(registered(Sum), laws.heads_permute)
    assert verdict.outcome == "not applicable"
    assert verdict.reason == "it has no heads over the value channels"
    assert not verdict.cases


def test_a_memory_is_met_at_the_sizes_that_it_takes():
    entry = registered(WantsWideSquares)
    assert space_of(entry).sizes == ((16, 16), (32, 32), (64, 64))
    assert verify(entry, laws.forms_equal_the_fold, examples=5).cases == 8
    with pytest.raises(RecipeError, match=r"none of the sizes .* no size is right"):
        verify(registered(TakesNothing), laws.forms_equal_the_fold)


def test_options_that_cannot_be_drawn_are_named():
    parts, mode = space_of(registered(HasNamedParts)).left_out
    assert parts.startswith("option 'parts' is drawn without its list")
    assert mode.startswith("option 'mode' is held at its default")
    with pytest.raises(RecipeError, match="option 'mode' has no default"):
        verify(registered(WantsAName), laws.saving_is_exact)


def test_options_without_a_default_are_drawn():
    entry = registered(WantsAnOption)
    assert space_of(entry).base == {"order": "first"}
    assert {"order": "last"} in space_of(entry).corners
    assert verify(entry, laws.saving_is_exact, examples=5).outcome == "kept"


def test_drawn_cases_are_as_wide_as_they_should_be():
    seen: list[Case] = []

    @DRAWS
    @given(space_of(registered(Sum)).cases())
    def draw(case):
        seen.append(case)

    draw()
    assert {case.frames for case in seen} == {0, 1, 2, 3, 4, 5}
    assert {case.tokens for case in seen} >= {*range(1, 8), 17, 33, 65}
    assert {case.warm for case in seen} == {True, False}
    assert any(case.key_dim > case.value_dim for case in seen)
    assert any(case.key_dim < case.value_dim for case in seen)
    resets = [case for case in seen if case.resets]
    assert len(resets) < len(seen)
    assert any((0, 0) in case.resets and len(case.resets) < case.batch * case.frames for case in resets)
    assert any(len(case.resets) == case.batch * case.frames > 1 for case in resets)
    for case in resets:
        assert case.clip().reset.sum() == len(case.resets)


@pytest.mark.parametrize("name", memories.names())
def test_drawn_options_are_what_the_schema_allows(name):
    entry = memories[name]
    changed = set()

    @settings(DRAWS, max_examples=100)
    @given(space_of(entry).options())
    def draw(options):
        entry.validate(options)
        changed.update(options)

    draw()
    assert changed == set(entry.options.model_fields)


def test_a_memory_of_a_file_is_a_part(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text((Path(__file__).parents[1] / "fixtures" / "leaky.py").read_text())
    assert [entry.name for entry in memories_in(path)] == ["leaky_test"]
    laws.forms_equal_the_fold(memory_in(path, "leaky_test", {"decay": 0.5}), Case())
    with pytest.raises(RecipeError, match="did you mean 'leaky_test'"):
        memory_in(path, "leaky_tset")
