"""Studies that nobody ran: what a search over memory, fusion, state size and encoder may leave."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from memx.search.rows import Goal, Scalar, Standing, State, Trial

DICE = Goal("dice", "maximize", "", "validation Dice")
LATENCY = Goal("latency_ms", "minimize", "ms", "latency a frame")
SIZE = Goal("parameters", "minimize", "", "parameters")
MEMORIES = ("linear", "gated_delta", "softmax", "mamba2", "none")
_GAIN = dict(zip(MEMORIES, (0.035, 0.06, 0.05, 0.045, 0.0), strict=True))
_SLOW = dict(zip(MEMORIES, (1.0, 1.6, 3.5, 2.2, 0.0), strict=True))


def drawn(random: np.random.Generator) -> dict[str, Scalar]:
    """One draw from the space."""
    memory = str(random.choice(MEMORIES))
    parameters: dict[str, Scalar] = {"model.memory": memory}
    if memory == "gated_delta":
        parameters["model.memory[gated_delta].heads"] = int(random.integers(1, 9))
    if memory == "softmax":
        parameters["model.memory[softmax].capacity"] = int(random.integers(1, 9))
    return {
        **parameters,
        "model.key_fusion": str(random.choice(["kpff", "add", "gated"])),
        "model.value_dim": int(random.choice([32, 64, 128])),
        "model.image_encoder.width": int(random.choice([8, 16, 24])),
        "train.learning_rate": float(10 ** random.uniform(-3.5, -1.5)),
    }


def measured(parameters: dict[str, Scalar], random: np.random.Generator) -> dict[str, float]:
    """What such a recipe might cost and reach."""
    memory, width, value = (str(parameters["model.memory"]), *(_number(parameters[name]) for name in _SIZES))
    rate = abs(math.log10(_number(parameters["train.learning_rate"])) + 2.3)
    dice = 0.80 + _GAIN[memory] + 0.0016 * width + 0.0001 * value - 0.06 * rate**2 + float(random.normal(0, 0.006))
    heads = _number(parameters.get("model.memory[softmax].capacity", 1))
    latency = 2.0 + 0.22 * width + _SLOW[memory] * (value / 64) * (0.5 + heads / 4) + float(random.normal(0, 0.1))
    return {
        "dice": round(min(max(dice, 0.02), 0.97), 6),
        "latency_ms": round(max(latency, 0.5), 4),
        "macs": float(round(2.1e6 * width**2 + 8e5 * value)),
        "parameters": float(round(900 * width**2 + 260 * value)),
        "state_bytes": float(0 if memory == "none" else 4 * 16 * value * heads),
    }


_SIZES = ("model.image_encoder.width", "model.value_dim")


def _number(value: Scalar) -> float:
    assert isinstance(value, int | float)
    return float(value)


def study(
    trials: int = 64,
    *,
    goals: tuple[Goal, ...] = (DICE, LATENCY),
    running: int = 2,
    budget: int | None = 80,
    seed: int = 3,
    runs: Path | None = None,
) -> Standing:
    """A study of which `running` trials are under way; some are pruned, refused, failed and taken over."""
    random = np.random.default_rng(seed)
    rows: list[Trial] = []
    best = 0.0
    for number in range(trials):
        parameters = drawn(random)
        measures = measured(parameters, random)
        run = (runs or Path("runs")) / f"trial-{number:04}"
        curve = tuple(
            (step, round(measures["dice"] * (1 - 0.6 * math.exp(-step / 90)) + float(random.normal(0, 0.006)), 6))
            for step in range(40, 401, 40)
        )
        state: State = "complete"
        seconds, reason, feasible = float(random.uniform(70, 130)), "", measures["latency_ms"] < 12
        chance = float(random.random())
        if number >= trials - running:
            state, curve, seconds, feasible = "running", curve[: 2 + number % 3], 31.0, None
            measures = {name: value for name, value in measures.items() if name != "dice"}
        elif measures["latency_ms"] >= 14:
            state, curve, seconds, reason = "refused", (), 4.0, f"latency_ms {measures['latency_ms']:.2f} is not < 12"
            measures = {name: value for name, value in measures.items() if name != "dice"}
        elif chance < 0.04:
            state, curve, reason, measures = "failed", curve[:1], "the loss is not finite at step 57", {}
        elif chance < 0.06:
            state, curve, reason, measures = "taken_over", curve[:3], f"its worker died; trial {number + 1} went on", {}
        elif chance < 0.4 and measures["dice"] < best - 0.02:
            state, curve, seconds = "pruned", curve[: 2 + int(4 * random.random())], seconds / 3
            measures = {name: value for name, value in measures.items() if name != "dice"}
            feasible = None
        if state == "complete":
            best = max(best, measures["dice"])
        rows.append(Trial(number, state, parameters, measures, curve, seconds, feasible, run, reason))
    return Standing("search_memory", goals, ("latency_ms < 12",), tuple(rows), budget)
