"""The benchmark of the rules: what does not agree is not timed, and ratios, means and targets are right."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from memx.profile import agreement, ops_bench
from memx.profile.ops_bench import Bench, Cell, Settings
from memx.profile.ops_cases import SHAPES, OpShape, draw
from memx.profile.ops_targets import geometric_means, targets, why_no_targets
from memx.profile.peers import Peer, Rule, peers

TINY = OpShape("tiny", 1, 9, 2, 4, 3)
OURS = {name: peers()[name] for name in ("memx_chunk", "memx_recurrent")}
SETTINGS = Settings(shapes=(TINY,), quantities=("fwd", "bwd", "step", "memory"), rounds=2, step_calls=2)


def other(rule: Rule, **changes: object) -> dict[str, Peer]:
    return OURS | {"other": replace(peers()["memx_recurrent"], name="other", rule=rule, **changes)}


def honest(q, k, v, log_decay, beta, initial_state, scale):
    return peers()["memx_recurrent"].rule(q, k, v, log_decay, beta, initial_state, scale)


def wrong_by_a_percent(*inputs):
    out, state = honest(*inputs)
    return out + 0.01 * out.detach(), state


def wrong_in_one_gradient(q, k, v, log_decay, beta, initial_state, scale):
    return honest(q, k, v, log_decay, 1.01 * beta - 0.01 * beta.detach(), initial_state, scale)


def not_a_number(*inputs):
    out, state = honest(*inputs)
    return out, state * float("nan")


def failing(*inputs):
    raise RuntimeError("no kernel for this\nand a long trace")


def test_whoever_agrees_is_measured_in_everything() -> None:
    bench = ops_bench.run(other(honest), SETTINGS)
    assert not bench.disagreements
    found = {(c.quantity, c.peer): len(c.values) for c in bench.cells}
    names = ("memx_chunk", "memx_recurrent", "other")
    assert found == {(q, n): 1 if q == "memory" else 2 for q in SETTINGS.quantities for n in names}
    assert all(value > 0 for cell in bench.cells for value in cell.values)
    assert {c.shape.t for c in bench.cells if c.quantity == "step"} == {1}


@pytest.mark.parametrize(
    ("rule", "result"), [(wrong_by_a_percent, "out"), (wrong_in_one_gradient, "dbeta"), (not_a_number, "state")]
)
def test_whoever_does_not_agree_is_not_timed(rule: Rule, result: str) -> None:
    bench = ops_bench.run(other(rule), replace(SETTINGS, quantities=("fwd", "bwd", "memory")))
    (check,) = bench.disagreements
    assert check.peer == "other"
    assert check.agreement is not None
    assert check.agreement.worst == result
    assert result in check.refused
    assert "allowed: 0.0002" in check.refused
    assert {c.peer for c in bench.cells} == set(OURS)


def test_the_error_is_told_as_it_is() -> None:
    problem = draw(TINY).to(torch.float32)
    want, oracle = agreement.reference(problem, gradients=True)
    assert oracle.holds
    got = agreement.results(wrong_by_a_percent, problem, gradients=True)
    found = agreement.compare(got, want, 2e-4)
    assert found.errors["out"] == pytest.approx(0.01, rel=1e-3)
    assert found.errors["state"] < 1e-5
    short = agreement.compare({"out": want["out"][:, :-1]}, want, 2e-4)
    assert short.errors == {"out": float("inf")}


def test_whoever_fails_is_refused_with_the_first_line() -> None:
    bench = ops_bench.run(other(failing), replace(SETTINGS, quantities=("fwd",)))
    refused = [c for c in bench.checks if c.refused]
    assert [(c.peer, c.refused) for c in refused] == [("other", "it fails: RuntimeError: no kernel for this")]
    assert not bench.disagreements


def test_ours_must_not_fail() -> None:
    broken = OURS | {"memx_chunk": replace(OURS["memx_chunk"], rule=failing)}
    with pytest.raises(RuntimeError, match="no kernel"):
        ops_bench.run(broken, SETTINGS)


def test_our_forms_are_held_to_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the reference itself is wrong nothing is timed."""
    wrong = OURS | {"memx_chunk": replace(OURS["memx_chunk"], rule=wrong_by_a_percent)}
    monkeypatch.setattr(agreement, "peers", lambda: wrong)
    bench = ops_bench.run(OURS, replace(SETTINGS, quantities=("fwd",)))
    assert not bench.cells
    assert all("memx's own two forms differ in float64: out" in c.refused for c in bench.checks)
    assert len(bench.disagreements) == 2


def test_what_has_no_backward_pass_or_keeps_too_much_is_timed_forward_only(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = ops_bench.run(other(honest, differentiable=False), replace(SETTINGS, quantities=("fwd", "bwd", "memory")))
    skipped = {(c.quantity, c.skipped) for c in bench.cells if c.peer == "other" and not c.values}
    assert skipped == {(q, "it has no backward pass") for q in ("bwd", "memory")}
    monkeypatch.setattr(ops_bench, "STATES_LIMIT", 0)
    bench = ops_bench.run(OURS, replace(SETTINGS, quantities=("bwd",)))
    assert [(c.peer, bool(c.values)) for c in bench.cells] == [("memx_chunk", True), ("memx_recurrent", False)]
    assert "GiB of states" in bench.cells[1].skipped


def test_a_short_budget_skips_with_the_reason() -> None:
    bench = ops_bench.run(OURS, replace(SETTINGS, budget=1e-9, quantities=("fwd", "memory")))
    assert all(not c.values for c in bench.cells)
    assert all("longer than the budget" in c.skipped for c in bench.cells)


def test_progress_is_told_once_a_stage() -> None:
    notes: list[str] = []
    twice = replace(SETTINGS, shapes=(TINY, replace(TINY, name="longer", t=12)), rounds=1)
    ops_bench.run(OURS, twice, progress=notes.append)
    assert len(notes) == ops_bench.stages(twice) == 9, "a step is timed once where only the length differs"


def cells(shape: OpShape, **seconds: list[float]) -> list[Cell]:
    return [Cell("fwd", shape, name, tuple(values)) for name, values in seconds.items()]


def test_ratios_means_and_targets() -> None:
    short, long = OpShape("short", 1, 256, 1, 4, 4), OpShape("long", 1, 2048, 1, 4, 4)
    bench = Bench(replace(SETTINGS, shapes=(short, long), quantities=("fwd",)))
    bench.cells = [
        *cells(short, memx_chunk=[1.0, 2.0, 4.0], transformers_chunk=[2.0, 4.0, 8.0]),
        *cells(long, memx_chunk=[1.0, 1.0, 1.0], transformers_chunk=[8.0, 8.0], transformers_recurrent=[1.4, 1.4, 1.5]),
    ]
    ratios = {(c.shape.name, c.peer): bench.ratio(c) for c in bench.cells}
    first = ratios["short", "transformers_chunk"]
    assert first is not None
    assert (first.p25, first.median, first.p75) == (2.0, 2.0, 2.0), "paired: the machine's noise cancels"
    unequal = ratios["long", "transformers_chunk"]
    assert unequal is not None
    assert unequal.count == 2
    means = geometric_means(bench)
    assert means["transformers_chunk", "fwd"] == (pytest.approx(4.0), 2)
    assert means["transformers_recurrent", "fwd"] == (pytest.approx(1.4), 1)
    found = {t.shape.name: (t.rival, t.wanted, t.met) for t in targets(bench)}
    assert found == {
        "short": ("transformers_chunk", 1.0, True),
        "long": ("transformers_recurrent", 1.5, False),
    }, "the better of the two counts"


def test_targets_say_why_they_do_not_apply() -> None:
    bench = Bench(replace(SETTINGS, dtype=torch.float64), cells=cells(TINY, memx_chunk=[1.0], transformers_chunk=[2.0]))
    assert why_no_targets(bench) == "they are set for float32 on the CPU"
    assert targets(bench) == []
    alone = Bench(SETTINGS, cells=cells(TINY, memx_chunk=[1.0]))
    assert "none of which was measured" in why_no_targets(alone)


def test_shapes_have_names_of_their_own_and_gdkvm_is_among_them() -> None:
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)
    sizes = {(s.b, s.t, s.h, s.k, s.v) for s in SHAPES}
    assert {(1, 10 * 256, 1, 64, 256), (8, 10 * 256, 1, 64, 256)} < sizes


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with ops_bench.threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with ops_bench.threads(None):
        assert torch.get_num_threads() == before
