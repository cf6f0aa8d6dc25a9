"""The releases' recipes give the released networks' numbers; see tests/fixtures/gdkvm/README.md."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from memx import MaskPropagator, Recipe, build
from memx.models.gdkvm_names import our_name, released_name

FIXTURES = Path(__file__).parents[1] / "fixtures" / "gdkvm"
RUNS = sorted(path.stem for path in FIXTURES.glob("*.npz"))
RECIPES = {"raw_tiled": "gdkvm_release_2025", "exp_interleaved": "gdkvm_rerelease"}


@pytest.fixture(scope="module")
def weights(rules) -> dict[str, torch.Tensor]:
    return {our_name(name): rules.tensor_by_rule(name, shape) for name, shape in rules.SHAPES.items()}


def described(run: str) -> tuple[str, int, int, int, int, int, int]:
    """Release, clips, frames, objects, height, width and seed of a golden run, from its name."""
    found = re.fullmatch(r"(\w+?)(?:_b(\d+)_t(\d+)_o(\d+)_(\d+)x(\d+)_seed(\d+))?", run)
    assert found is not None
    release, *numbers = found.groups()
    b, t, o, height, width, seed = (int(n) for n in numbers) if numbers[0] else (1, 4, 1, 64, 64, 1)
    return release, b, t, o, height, width, seed


@pytest.mark.parametrize("recipe", ["gdkvm_camus", *RECIPES.values()])
def test_the_recipes_have_the_released_tensors(recipe, rules):
    with torch.device("meta"):
        model = build(Recipe.load(recipe))
    assert sum(p.numel() for p in model.parameters()) == 35_078_282
    ours = {k: list(x.shape) for k, x in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert {our_name(name): shape for name, shape in rules.SHAPES.items()} == ours


def test_every_name_has_a_way_back(rules):
    for name in rules.SHAPES:
        assert released_name(our_name(name)) == name
    with torch.device("meta"):
        own = build(Recipe.load("gdkvm_rerelease")).state_dict()
    for name in own:
        assert our_name(released_name(name)) == name


def test_the_recipes_differ_in_what_they_say_they_differ_in():
    paper = Recipe.load("gdkvm_camus").dump()["model"]
    assert (paper["pixel_pairing"], paper["memory"]["normalize"]) == ("current", "none")
    assert (paper["memory"]["decay"], paper["memory"]["alpha_layout"]) == ("exp", "interleaved")
    assert Recipe.load("gdkvm_rerelease").dump()["model"] == {**paper, "pixel_pairing": "previous"}
    memory = {**paper["memory"], "decay": "raw", "alpha_layout": "tiled"}
    assert Recipe.load("gdkvm_release_2025").dump()["model"] == {**paper, "pixel_pairing": "previous", "memory": memory}


def test_there_are_golden_runs_of_both_releases():
    assert len(RUNS) == 8
    assert {described(run)[0] for run in RUNS} == set(RECIPES)


@pytest.mark.parametrize(
    ("run", "dtype"),
    [(run, torch.float32) for run in RUNS] + [(run, torch.float64) for run in RUNS if "_b2_" in run],
    ids=str,
)
def test_the_golden_run_is_reproduced(run, dtype, weights, rules):
    release, b, t, o, height, width, seed = described(run)
    model, golden = build(Recipe.load(RECIPES[release])), np.load(FIXTURES / f"{run}.npz")
    assert isinstance(model, MaskPropagator)
    missing, surplus = model.load_state_dict(weights, strict=False)
    assert not surplus
    assert all(name.endswith("num_batches_tracked") for name in missing)
    model, video = model.to(dtype).eval(), rules.clips_by_rule(seed, t, height, width, b).to(dtype)

    states, state = [], model.init_state(b, o)
    with torch.no_grad():
        whole = model(video, objects=o, auxiliary=True)
        for frame in video.unbind(1):
            _, state = model.step(frame, state)
            states.append(state.memory.S)
    ours = {
        "masks": whole.masks,
        "states": torch.stack(states, dim=1),
        "states_sampled": torch.stack(states, dim=1)[..., ::3, ::7],
        "logits_last": whole.logits[:, -1],
        "sensory_logits_last": whole.auxiliary.sensory[:, -1],
        "query_logits_last": whole.auxiliary.queries[:, -1],
    }
    assert set(golden.files) in ({*ours} - {"states"}, {*ours} - {"states_sampled"})
    # A logit ℓ of a clamped probability is known in float32 to 6e-8 · exp|ℓ| only, hence the relative part.
    tolerance = {"atol": 1e-4, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 5e-6, "rtol": 0}
    for name in golden.files:
        torch.testing.assert_close(ours[name].float(), torch.from_numpy(golden[name]), **tolerance, msg=name)


@pytest.mark.parametrize(
    "change",
    ["pixel_pairing=current", "memory.decay=raw", "memory.alpha_layout=tiled", "memory.normalize=tokens"],
)
def test_every_difference_shows_in_the_golden_run(change, weights, rules):
    model, golden = (
        build(Recipe.load("gdkvm_rerelease", [f"model.{change}"])).eval(),
        np.load(FIXTURES / "exp_interleaved.npz"),
    )
    model.load_state_dict(weights, strict=False)
    with torch.no_grad():
        masks = model(rules.clips_by_rule(1, 4, 64, 64)).masks
    assert (masks - torch.from_numpy(golden["masks"])).abs().max() > 1e-3
