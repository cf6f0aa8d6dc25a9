"""Options under which a state can grow without end get a caution, and options under which it cannot get none."""

from __future__ import annotations

import math

import pytest
import torch

from memx.memory import DeltaMemory, GatedDeltaMemory, Shape, Tokens, memories

FACTS = {"key_dim": 4, "value_dim": 8, "feature_dim": 5}
TOKEN = {"gates": "token", "heads": 2}
UNBOUNDED = [
    ("delta", {"write": "joint"}, "exceeds 2"),
    ("delta", {"write": "joint", "key_norm": "softmax"}, "about 5 for keys that differ"),
    ("delta", {"write": "joint", "key_norm": "none"}, "nothing bounds λ_max(G)"),
    ("delta", {"write": "joint", "normalize": "tokens", "key_norm": "none"}, "key_norm: none bounds none"),
    ("delta", {"key_norm": "none"}, "key_norm: none bounds no |k|"),
    ("gated_delta", TOKEN | {"alpha": False}, "exceeds 2"),
    ("gated_delta", TOKEN | {"alpha": False, "key_norm": "none"}, "nothing bounds λ_max(G)"),
    (
        "gated_delta",
        TOKEN | {"alpha": False, "normalize": "tokens", "key_norm": "none"},
        "normalize: spectral, removes this limit",
    ),
    ("gated_delta", TOKEN | {"alpha": False, "write": "tokens", "key_norm": "none"}, "bounds no |k|"),
    ("gated_delta", TOKEN | {"decay": "raw", "normalize": "spectral"}, "nothing bounds by −1"),
]
BOUNDED = [
    *(
        ("delta", {"write": "joint", "normalize": normalize, "key_norm": key_norm, "beta": beta})
        for normalize, key_norm in (("tokens", "l2"), ("tokens", "softmax"), ("spectral", "l2"), ("spectral", "none"))
        for beta in (2.0, "token")
    ),
    ("delta", {"beta": 2.0}),
    ("delta", {"key_norm": "softmax", "beta": 2.0}),
    ("gated_delta", TOKEN | {"normalize": "spectral", "key_norm": "none"}),
    ("gated_delta", TOKEN | {"normalize": "tokens"}),
    ("gated_delta", TOKEN | {"write": "tokens"}),
    ("gated_delta", TOKEN | {"write": "tokens", "key_norm": "l2", "decay_per": "token"}),
]


def grown(name, options, frames=200, tokens=20):
    """How many times larger the state is after a clip without values: of keys that are large where nothing norms
    them, and gates that are open."""
    torch.manual_seed(0)
    memory = memories.build(name, FACTS, **options).double()
    with torch.no_grad():
        for parameter_name, parameter in memory.named_parameters():
            if parameter_name == "b_proj.weight":
                parameter.fill_(20.0)  # features are 1: β = 1
            elif parameter_name == "b_proj.bias":
                parameter.fill_(20.0)
            elif parameter_name in ("A_log", "dt_bias"):
                parameter.fill_(3.0)
        if options.get("decay") != "raw" and hasattr(memory, "A_log"):
            memory.A_log.fill_(-30.0)  # α = 1
    key = 3 + torch.randn(1, frames, tokens, 4, dtype=torch.float64)
    clip = Tokens(key, key, torch.zeros(1, frames, 1, tokens, 8).double(), torch.ones(1, frames, tokens, 5).double())
    S = torch.randn(1, 1, 4, 8, dtype=torch.float64)
    state = memory.init_state(1, 1, dtype=torch.float64).replace(S=S)
    if "empty" in state:
        state = state.replace(empty=torch.zeros(1, dtype=torch.bool))
    with torch.no_grad():
        for frame in clip.frames():
            state = memory.write(state, frame)
    return (state.S.norm() / S.norm()).nan_to_num(nan=math.inf).item()


@pytest.mark.parametrize(("name", "options", "says"), UNBOUNDED)
def test_what_can_grow_is_cautioned_and_grows(name, options, says):
    (caution,) = memories.build(name, FACTS, **options).cautions(Shape(tokens=20))
    assert says in caution
    assert grown(name, options) > 1e6


@pytest.mark.parametrize(("name", "options"), BOUNDED)
def test_what_cannot_grow_is_not(name, options):
    assert memories.build(name, FACTS, **options).cautions(Shape(tokens=20)) == []
    assert grown(name, options) <= 1 + 1e-9


def test_a_strength_above_2_is_cautioned():
    """A recipe cannot say it; Python can."""
    (caution,) = DeltaMemory(4, 8, beta=3.0).cautions(Shape(tokens=20))
    assert "β is 3. β must stay within 2" in caution
    assert grown("delta", {"beta": 2.0}) <= 1 + 1e-9
    (caution,) = DeltaMemory(4, 8, beta=3.0, write="joint", normalize="spectral").cautions(Shape(tokens=20))
    assert "β is 3" in caution


@pytest.mark.parametrize(
    ("options", "others"),
    [
        ({}, 1),
        ({"normalize": "tokens"}, 0),
        ({"normalize": "spectral", "key_norm": "none"}, 0),
        ({"write": "tokens", "key_norm": "l2"}, 0),
        ({"write": "tokens", "key_norm": "none"}, 1),
        ({"normalize": "spectral", "decay": "raw"}, 1),
    ],
)
def test_strengths_of_rows_are_cautioned_however_normalised(options, others):
    found = GatedDeltaMemory(4, 8, heads=2, **options).cautions(Shape(tokens=20))
    rows = [caution for caution in found if "2/√3" in caution]
    assert len(rows) == 1
    assert ("a token can" if options.get("write") == "tokens" else "a frame can") in rows[0]
    assert len(found) == 1 + others


@pytest.mark.parametrize("options", [{"beta": False}, {"erase": False}])
def test_without_strengths_or_erase_there_are_no_strengths_of_rows(options):
    found = GatedDeltaMemory(4, 8, heads=2, **options).cautions(Shape(tokens=20))
    assert not [caution for caution in found if "2/√3" in caution]


def test_figures_are_those_of_the_frame():
    caution, _ = memories.build("gated_delta", {"key_dim": 64, "value_dim": 256}).cautions(Shape(tokens=256))
    assert "about 4 for keys that differ (β at most 0.5)" in caution
    assert "at most 256 (β at most 0.0078) for keys that agree" in caution
    assert memories.build("delta", FACTS, write="joint").cautions(Shape(tokens=2)) == []
