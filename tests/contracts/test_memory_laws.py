"""Every registered memory is held to every law as `memx check` does it: options and cases drawn from its own schema."""

from __future__ import annotations

import pytest

from memx.memory.drawing import space_of
from memx.memory.laws import LAWS
from memx.memory.verify import verify
from memx.registry import memories

EXAMPLES = 12
"""Drawn cases of a law, beside the default options and every value of every option."""


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", memories.names())
def test_a_memory_keeps_the_law(name, law):
    verdict = verify(memories[name], law, examples=EXAMPLES)
    if verdict.outcome == "not applicable":
        pytest.skip(verdict.reason)
    if verdict.broken:
        again = f"{law.__name__}(Part('memory', {name!r}, {verdict.broken.options}), {verdict.broken.case})"
        pytest.fail(f"{verdict.broken.says}\n{again}", pytrace=False)
    assert verdict.cases >= EXAMPLES


@pytest.mark.parametrize("name", memories.names())
def test_every_value_of_every_option_is_drawn(name):
    space = space_of(memories[name])
    assert not space.left_out
    assert any(key != value for key, value in space.sizes)
