"""What a memory shows of itself is what it used, and showing it changes nothing: for every registered memory."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from memx.errors import UserError
from memx.inspect.recording import memory_of, recording
from memx.memory.gate import Gate, watching
from memx.memory.laws import Case
from memx.registry import Part, memories

VARIANTS = {
    "gated_delta": [
        {"heads": 2},
        {"heads": 2, "write": "tokens"},
        {"heads": 2, "decay": "raw", "alpha_layout": "tiled"},
        {"heads": 2, "start": "gate"},
        {"heads": 2, "alpha": False},
        {"heads": 2, "gates": "token"},
        {"heads": 2, "gates": "token", "erase": False},
        {"heads": 2, "gates": "token", "alpha_layout": "tiled"},
        {"heads": 2, "gates": "token", "write": "tokens", "decay": "raw"},
        *({"heads": 2, "gates": "token", "write": "tokens", "decay_per": each} for each in ("frame", "token")),
        {"heads": 2, "gates": "token", "write": "tokens", "decay_per": "token", "erase": False},
    ],
    "delta": [{}, {"beta": 1.5}, {"beta": "token"}, {"beta": "token", "write": "joint"}],
    **{
        name: [{"heads": 2, "decay_per": each} for each in ("frame", "token")]
        for name in ("retention", "gla", "kda", "mlstm", "gated_delta_product")
    },
    "mamba2": [{"heads": 2}],
    "rwkv7": [{"heads": 2}],
    "ttt": [{"heads": 2}, {"heads": 2, "rate": "head"}],
}
EACH = [(name, options) for name in memories.names() for options in VARIANTS.get(name, [{}])]
NO_GATES = {"linear", "none", "softmax"}
LEARNT = [
    (name, options)
    for name, options in EACH
    if name not in NO_GATES | {"retention"} and (name != "delta" or options.get("beta") == "token")
]
CASE = Case(batch=2, frames=3, objects=2, tokens=6, resets=((1, 2),), warm=False)


def named(value: object) -> str:
    """How pytest calls a memory, or its options."""
    return "-".join(map(str, value.values())) if isinstance(value, dict) else str(value)


@pytest.mark.parametrize(("name", "options"), EACH, ids=named)
def test_gates_are_in_their_range_and_recording_changes_nothing(name, options) -> None:
    memory, clip = CASE.memory(Part("memory", name, options)), CASE.clip()
    plain_state = CASE.state(memory)
    plain = []
    state = plain_state
    for frame in clip.frames():
        out, state = memory.step(state, frame)
        plain.append((out, state.tensors()))

    state = plain_state
    with recording(memory) as frames:
        for frame in clip.frames():
            out, state = memory.step(state, frame)
    assert len(frames) == len(plain)
    for seen, (out, tensors) in zip(frames, plain, strict=True):
        assert torch.equal(seen.readout, out)
        for leaf, tensor in seen.state.tensors().items():
            assert torch.equal(tensor, tensors[leaf]), leaf
        assert bool(seen.gates) == (name not in NO_GATES)
        for gate_name, gate in seen.gates.items():
            value = gate.value
            assert not value.isnan().any(), gate_name
            assert value.min() >= gate.low - 1e-12, gate_name
            assert value.max() <= gate.high + 1e-12, gate_name
            sizes = {"b": CASE.batch, "o": CASE.objects, "n": CASE.tokens, "v": CASE.value_dim}
            for letter, size in zip(gate.axes.split(), gate.used.shape, strict=True):
                assert size == sizes.get(letter, size), (gate_name, letter)
    assert memory.watcher is None
    assert "step" not in memory.__dict__


@pytest.mark.parametrize(("name", "options"), LEARNT, ids=named)
def test_the_gradient_to_every_gate_is_that_of_finite_differences(name, options, monkeypatch) -> None:
    """A gate is moved along a direction where it is used, at the second frame; float64, central differences.

    Item 1 is reset there, so that constants are among the gates of the memories that write such a frame plainly.
    """
    memory, clip = CASE.memory(Part("memory", name, options)), CASE.clip()
    clip = clip.replace(reset=torch.tensor([[False, False, False], [False, True, False]]))
    weights = torch.randn(CASE.batch, CASE.frames, CASE.objects, CASE.tokens, CASE.value_dim, dtype=torch.float64)

    def total() -> torch.Tensor:
        return (memory.scan(clip, CASE.state(memory), form="recurrent")[0] * weights).sum()

    with recording(memory) as frames:
        loss = total()
    gates = {key: gate for key, gate in frames[1].gates.items() if gate.used.requires_grad}
    assert gates
    for key, gate in gates.items():
        (slope,) = torch.autograd.grad(loss, gate.used, retain_graph=True, allow_unused=True, materialize_grads=True)
        along = torch.randn_like(gate.value).detach()
        if gate.fixed is not None:
            assert gate.fixed.tolist() == [False, True]
            along[gate.fixed] = 0
            assert not gate.gradient(slope)[gate.fixed].any()
        found = []
        for by in (1e-6, -1e-6):
            met = itertools.count()

            def meet(met_name, used, axes, *, log=False, _by=by, _key=key, _along=along, _met=met, **_):
                if met_name != _key or next(_met) != 1:
                    return used
                value = (used.exp() if log else used) * (1 + _by * _along)
                return value.log() if log else value

            monkeypatch.setattr(memory, "meet", meet)
            with torch.no_grad():
                found.append(float(total()))
            monkeypatch.undo()
        want = (found[0] - found[1]) / 2e-6
        assert want != 0, key
        assert float((gate.gradient(slope) * along * gate.value.detach()).sum()) == pytest.approx(
            want, rel=1e-4, abs=1e-7
        ), key


PLAIN = [options for options in VARIANTS["gated_delta"] if options.get("start") != "gate"]


@pytest.mark.parametrize("options", PLAIN, ids=named)
def test_the_gates_of_a_frame_that_is_written_plainly_are_constants(options) -> None:
    """Those that are named so have one value, whatever the weights are."""
    memory, clip = CASE.memory(Part("memory", "gated_delta", options)), CASE.clip()
    before = memory.gates_met(CASE.state(memory), clip.frame(0))
    with torch.no_grad():
        for parameter in memory.parameters():
            parameter.mul_(3).add_(0.1)
    after = memory.gates_met(CASE.state(memory), clip.frame(0))
    for name, gate in before.items():
        same = torch.equal(gate.value, after[name].value)
        assert same == (gate.fixed is not None and bool(gate.fixed.all())), name
        assert not same or (gate.value == 1).all()
    assert "beta" not in before or before["beta"].fixed is not None


def test_recordings_may_be_nested() -> None:
    memory, clip = CASE.memory(Part("memory", "gated_delta", {"heads": 2})), CASE.clip()
    state = CASE.state(memory)
    with recording(memory) as outer:
        state = memory.step(state, clip.frame(0))[1]
        with recording(memory) as inner:
            state = memory.step(state, clip.frame(1))[1]
        memory.step(state, clip.frame(2))
    assert (len(outer), len(inner)) == (3, 1)
    assert inner[0].gates.keys() == {"alpha", "beta"}
    assert [frame.gates.keys() for frame in outer] == [inner[0].gates.keys()] * 3
    for name, gate in inner[0].gates.items():
        assert torch.equal(gate.value, outer[1].gates[name].value)
    assert "step" not in memory.__dict__
    assert memory.watcher is None


@pytest.mark.parametrize("name", sorted(set(memories.names()) - NO_GATES))
def test_gates_met_are_those_that_the_write_uses(name) -> None:
    memory, clip = CASE.memory(Part("memory", name)), CASE.clip()
    state = memory.step(CASE.state(memory), clip.frame(0))[1]
    asked = memory.gates_met(state, clip.frame(1))
    with recording(memory) as frames:
        memory.step(state, clip.frame(1))
    assert asked.keys() == frames[0].gates.keys()
    for key, gate in asked.items():
        assert torch.equal(gate.value, frames[0].gates[key].value)


def test_alpha_and_beta_of_gdkvm_are_its_equations() -> None:
    """What is met is σ(W_b S) and exp(−exp(A_log) softplus(W_a S + dt_bias)), a number a row and head."""
    memory, clip = CASE.memory(Part("memory", "gated_delta", {"heads": 2})), CASE.clip()
    state = memory.step(CASE.state(memory), clip.frame(0))[1]
    gates = memory.gates_met(state, clip.frame(1))
    rate = torch.nn.functional.softplus(state.S @ memory.a_proj.weight.mT + memory.dt_bias)
    torch.testing.assert_close(gates["alpha"].value, (-memory.A_log.exp() * rate).exp())
    torch.testing.assert_close(gates["beta"].value, (state.S @ memory.b_proj.weight.mT).sigmoid())
    assert gates["alpha"].axes == gates["beta"].axes == "b o k h"
    first = memory.gates_met(memory.init_state(2, 2), clip.frame(0))
    assert (first["beta"].value == 1).all()  # the first frame is written plainly


def test_a_fixed_decay_is_shown_as_it_is() -> None:
    memory, clip = CASE.memory(Part("memory", "retention", {"heads": 2})), CASE.clip()
    alpha = memory.gates_met(CASE.state(memory), clip.frame(0))["alpha"]
    torch.testing.assert_close(alpha.value, torch.tensor([1 - 2**-5, 1 - 2**-6], dtype=torch.float64).expand(2, -1))


def test_mlstm_shows_the_state_of_its_equation() -> None:
    """S ← f_n S + i_n k_n v_nᵀ with keys divided by √k, which is kept divided by exp(m)."""
    memory = CASE.memory(Part("memory", "mlstm", {"heads": 2, "decay_per": "token"}))
    with torch.no_grad():
        memory.i_proj.bias.add_(3.0)  # so that m is not 0
    clip = CASE.clip().replace(reset=None)
    state = CASE.state(memory)
    want = torch.zeros(2, 2, 4, 8, dtype=torch.float64)
    for frame in clip.frames():
        gates = memory.gates_met(state, frame)
        state = memory.write(state, frame)
        for n in range(CASE.tokens):
            f, i = (gates[name].value[..., n].repeat_interleave(4, 1)[:, None, None] for name in ("alpha", "beta"))
            outer = (frame.key[:, n] * 0.5)[:, None, :, None] * frame.value[:, :, n, None]
            want = f * want + i * outer
    assert state.m.max() > 0
    torch.testing.assert_close(memory.matrix(state), want)


def test_a_gate_names_all_its_axes() -> None:
    with pytest.raises(ValueError, match="has 2 axes, not 'b h n'"):
        Gate(torch.ones(2, 3), "b h n")


@pytest.mark.parametrize(("axes", "items"), [("b h", 3), ("h b", 2), ("h n", 2)])
def test_constants_are_named_by_item_of_the_batch(axes, items) -> None:
    with pytest.raises(ValueError, match=f"batch of {items}; the gate is '{axes}'"):
        Gate(torch.ones(2, 3), axes, fixed=torch.ones(items, dtype=torch.bool))


def test_a_logarithm_has_the_gradient_of_its_gate() -> None:
    """d/dα of 3α at α = ½ and at an α that is 0, both kept as logarithms."""
    used = torch.tensor([math.log(0.5), -math.inf], dtype=torch.float64, requires_grad=True)
    gate = Gate(used, "h", log=True)
    (slope,) = torch.autograd.grad((3 * used.exp()).sum(), used)
    assert gate.gradient(slope).tolist() == [3.0, 0.0]


def test_watching_ends_with_its_block_even_after_an_error() -> None:
    memory = CASE.memory(Part("memory", "gla"))

    def fail(name: str, gate: Gate) -> None:
        raise RuntimeError(name)

    state, frame = CASE.state(memory), CASE.clip().frame(0)
    with pytest.raises(RuntimeError, match="alpha"), watching(memory, fail):
        memory.write(state, frame)
    assert memory.watcher is None


def test_a_model_without_a_memory_is_refused() -> None:
    with pytest.raises(UserError, match="Linear has no memory to inspect"):
        memory_of(torch.nn.Linear(1, 1))
