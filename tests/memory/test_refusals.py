"""What does not fit is refused by name, in every memory and form, before torch or a broadcast meets it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memx.memory import LinearMemory, Shape, memories
from memx.memory.drawing import space_of
from memx.memory.laws.outcome import all_forms

NAMES = memories.names()


def made(name, **changes):
    """A memory and the case that it is used in."""
    space = space_of(memories[name])
    case = replace(space.usual, resets=False, **changes)
    return case.memory(space.part(space.base)), case


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("sizes", "says"), [({"objects": 0}, "no object: o must"), ({"tokens": 0}, "no token: n must")]
)
def test_a_clip_without_objects_or_tokens(name, sizes, says):
    memory, case = made(name)
    clip = case.clip()
    clip = (
        clip.replace(value=clip.value[:, :, :0])
        if "objects" in sizes
        else replace(clip.map(lambda x: x[..., :0, :]), size=None)
    )
    state = memory.init_state(case.batch, clip.value.shape[2])
    for form in all_forms(memory):
        with pytest.raises(ValueError, match=rf"\.scan: there is {says} be at least 1"):
            memory.scan(clip, form=form)
    with pytest.raises(ValueError, match=rf"\.write: there is {says}"):
        memory.write(state, clip.frame(0))


@pytest.mark.parametrize("name", NAMES)
def test_tokens_of_other_channels(name):
    memory, case = made(name)
    state = case.state(memory)
    for fact, axis in (("key_dim", "k"), ("value_dim", "v")):
        size = getattr(case, fact)
        other = replace(case, **{fact: size + 1}).clip()
        says = rf"with {axis} = {size} as in the memory's {fact}, but its shape is"
        for form in all_forms(memory):
            with pytest.raises(ValueError, match=says):
                memory.scan(other, form=form)
        with pytest.raises(ValueError, match=says):
            memory.write(state, other.frame(0))


@pytest.mark.parametrize("name", NAMES)
def test_a_state_of_another_batch_is_not_broadcast(name):
    memory, case = made(name, batch=2)
    clip, state = case.clip(), case.state(memory)[:1]
    for form in all_forms(memory):
        with pytest.raises(ValueError, match="has b = 1, the tokens have b = 2"):
            memory.scan(clip, state, form=form)
    for call in (memory.write, memory.step):
        with pytest.raises(ValueError, match="has b = 1, the tokens have b = 2"):
            call(state, clip.frame(0))


@pytest.mark.parametrize(
    "name", [name for name in NAMES if made(name)[0].matrix(made(name)[0].init_state(1)) is not None]
)
def test_a_state_of_other_objects_is_not_broadcast(name):
    memory, case = made(name, objects=2)
    state = memory.init_state(case.batch, 1)
    with pytest.raises(ValueError, match="state S has o = 1, the tokens have o = 2"):
        memory.scan(case.clip(), state)


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_is_no_frame(name):
    memory, case = made(name)
    state = case.state(memory)
    for call in (memory.write, memory.step):
        with pytest.raises(ValueError, match=r"\.write: key must be \(b, n, k\), but has 4 axes"):
            call(state, case.clip())


def test_an_unknown_feature_map_is_refused_where_it_is_chosen():
    with pytest.raises(ValueError, match="there is no feature map 'gelu'; there are elu, identity, l2"):
        LinearMemory(8, 16, feature_map="gelu")


@pytest.mark.parametrize(("sizes", "says"), [({"frames": -1}, "frames must"), ({"objects": 0}, "objects must")])
def test_a_job_has_no_negative_size(sizes, says):
    with pytest.raises(ValueError, match=f"Shape: {says} be at least"):
        Shape(**sizes)
