"""Times in turns, told by a clock that the test moves: nothing here depends on how fast anything is."""

from __future__ import annotations

import gc

import pytest

from memx.profile.timing import Quantiles, in_turns, paired_ratios


class Machine:
    """A clock and functions that move it; every call is noted."""

    def __init__(self) -> None:
        self.now = 0
        self.calls: list[str] = []
        self.load = 1.0
        """How much slower the machine is than usual."""

    def clock(self) -> int:
        return self.now

    def function(self, name: str, milliseconds: float):
        def call() -> None:
            self.calls.append(name)
            self.now += round(milliseconds * 1e6 * self.load)

        return call


def test_functions_take_turns_and_each_round_starts_with_another() -> None:
    machine = Machine()
    functions = {name: machine.function(name, 1) for name in "abc"}
    in_turns(functions, 3, clock=machine.clock, warm_up=1)
    assert "".join(machine.calls) == "abc" + "abc" + "bca" + "cab"


def test_times_are_per_call_and_warm_up_is_left_out() -> None:
    machine = Machine()
    slow_start = iter([100.0, 50.0])

    def call() -> None:
        machine.now += round(next(slow_start, 2.0) * 1e6)

    samples = in_turns({"a": call}, 4, calls=10, warm_up=2, clock=machine.clock)["a"]
    assert samples.first == pytest.approx(0.1)
    assert samples.seconds == pytest.approx([0.002] * 4)


def test_paired_ratios_do_not_see_the_load_of_the_machine() -> None:
    machine = Machine()
    functions = {"ours": machine.function("ours", 2), "theirs": machine.function("theirs", 3)}

    def loaded(name: str):
        def call() -> None:
            machine.load = 1 + len(machine.calls) // 2  # another load in every round of two calls
            functions[name]()

        return call

    samples = in_turns({name: loaded(name) for name in functions}, 6, clock=machine.clock, warm_up=1)
    ours, theirs = samples["ours"].seconds, samples["theirs"].seconds
    assert max(ours) > 2 * min(ours)
    assert paired_ratios(theirs, ours) == pytest.approx([1.5] * 6)


def test_what_is_too_slow_sits_out_and_rounds_stay_paired() -> None:
    machine = Machine()
    functions = {
        "fast": machine.function("fast", 1),
        "slow": machine.function("slow", 400),
        "hopeless": machine.function("hopeless", 1100),
    }
    samples = in_turns(functions, 5, budget=1.0, clock=machine.clock)
    assert len(samples["fast"].seconds) == 5
    assert len(samples["slow"].seconds) == 3, "the third call reaches the budget of a second"
    assert samples["hopeless"].seconds == ()
    assert samples["hopeless"].first == pytest.approx(1.1)
    assert machine.calls.count("hopeless") == 1, "not even warmed up further"
    assert len(paired_ratios(samples["slow"].seconds, samples["fast"].seconds)) == 3


def test_no_garbage_is_collected_while_timing() -> None:
    seen: list[bool] = []
    in_turns({"a": lambda: seen.append(gc.isenabled())}, 2)
    assert not any(seen)
    assert gc.isenabled()
    with pytest.raises(RuntimeError, match="boom"):
        in_turns({"a": lambda: (_ for _ in ()).throw(RuntimeError("boom")).__next__()}, 2)
    assert gc.isenabled()


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"calls": 0}, {"warm_up": 0}])
def test_fewer_than_one_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least 1, not 0"):
        in_turns({"a": lambda: None}, **{"rounds": 1, **wrong})


def test_quantiles_interpolate() -> None:
    q = Quantiles.of([float(i) for i in range(101)][::-1])
    assert (q.count, q.p10, q.p25, q.median, q.p75, q.p90, q.p95) == (101, 10, 25, 50, 75, 90, 95)
    assert Quantiles.of([1.0, 2.0]).median == 1.5
    with pytest.raises(ValueError, match="no values"):
        Quantiles.of([])
