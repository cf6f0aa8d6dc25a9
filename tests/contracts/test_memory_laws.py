"""Every registered memory is held to every law as `memx check` does it: options and cases drawn from its own schema."""

from __future__ import annotations

import pytest

from memx.memory.drawing import space_of
from memx.memory.laws import LAWS, extremes_stay_finite, the_future_leaves_the_past
from memx.memory.verify import verify
from memx.registry import memories

EXAMPLES = 12
"""Drawn cases of a law, beside the default options and every value of every option."""

MANY_IN_ONE = {extremes_stay_finite, the_future_leaves_the_past}
"""Laws that hold a case in dozens of variants, each with its gradients: parameters at six levels, or each part of the
later frames changed and poisoned. Half as many cases are drawn of them."""


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", memories.names())
def test_a_memory_keeps_the_law(name, law):
    examples = EXAMPLES // 2 if law in MANY_IN_ONE else EXAMPLES
    verdict = verify(memories[name], law, examples=examples)
    if verdict.outcome == "not applicable":
        pytest.skip(verdict.reason)
    if verdict.broken:
        again = f"{law.__name__}(Part('memory', {name!r}, {verdict.broken.options}), {verdict.broken.case})"
        pytest.fail(f"{verdict.broken.says}\n{again}", pytrace=False)
    assert verdict.cases >= examples


@pytest.mark.parametrize("name", memories.names())
def test_every_value_of_every_option_is_drawn(name):
    space = space_of(memories[name])
    assert not space.left_out
    assert any(key != value for key, value in space.sizes)
