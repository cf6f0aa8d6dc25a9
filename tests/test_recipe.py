"""Recipes: typed, filled, hashed; all mistakes at once, each with its place."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pydantic
import pytest
import torch

import memx
from memx import Recipe, build
from memx.engine.run import RunFolder
from memx.errors import CheckpointError, RecipeError
from memx.recipe_source import read_yaml, shipped_recipes

PLUGIN = (Path(__file__).parent / "fixtures" / "leaky.py").read_text()


def test_a_filled_recipe_reads_back_as_itself() -> None:
    for path in shipped_recipes().values():
        recipe = Recipe.load(path)
        again = Recipe.from_yaml(recipe.to_yaml(), folder=path.parent)
        assert again == recipe
        assert again.hash == recipe.hash
        assert Recipe.from_dict(recipe.dump()).hash == recipe.hash


def test_every_default_and_its_meaning_is_written_out() -> None:
    text = Recipe.load("gdkvm_camus").to_yaml()
    for expected in ("clip_norm: 3.0  # gradient norm", "alpha: true  #", "sampling: ed_es  # frames uniformly"):
        assert expected in text


def test_all_mistakes_come_at_once_with_place_options_and_the_nearest_word(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "model:\n"
        "  type: mask_propagator\n"
        "  memory: {type: gated_dleta}\n"
        "  key_dmi: 32\n"
        "data: {layout: camus, frames: 0}\n"
        "trian: {}\n"
    )
    with pytest.raises(RecipeError) as caught:
        Recipe.load(file, ["train.batch=none", "loss.pionts=3"])
    message = str(caught.value)
    assert "6 mistakes" in message
    for expected in (
        f"{file}:3: model.memory: unknown memory 'gated_dleta'; did you mean 'gated_delta'?",
        f"{file}:4: model.key_dmi: unknown option; did you mean 'key_dim'? model 'mask_propagator' has: ",
        f"{file}:5: data.frames: input should be greater than or equal to 1, not 0",
        f"{file}:6: trian: unknown option; did you mean 'train'? a recipe has: base, data,",
        "override train.batch=none: train.batch: input should be a valid integer",
        "override loss.pionts=3: loss.pionts: unknown option; did you mean 'points'? loss 'segmentation' has: ",
    ):
        assert expected in message, message


def test_changing_the_component_drops_the_old_options() -> None:
    recipe = Recipe.load("gdkvm_phantom", ["model.memory.type=linear", "model.memory.normalize=true"])
    assert recipe.dump()["model"]["memory"] == {**recipe.dump()["model"]["memory"], "type": "linear", "normalize": True}
    assert "gates" not in recipe.dump()["model"]["memory"]


def test_a_part_can_be_absent_or_refined_without_its_type() -> None:
    recipe = Recipe.load("gdkvm_phantom", ["model.refiner=null", "model.decoder={}", "data.size=[64, 96]"])
    dump = recipe.dump()
    assert dump["model"]["refiner"] is None
    assert dump["model"]["decoder"]["type"] == "upsample"
    assert recipe.data.size == (64, 96)


def test_the_hash_is_of_what_decides_the_result() -> None:
    base = Recipe.load("gdkvm_phantom")
    same = Recipe.load("gdkvm_phantom", ["name=other", "description=x", "data.root=elsewhere", "data.workers=3"])
    other = Recipe.load("gdkvm_phantom", ["train.learning_rate=0.5"])
    assert base.hash == same.hash != other.hash


def test_an_option_that_came_later_is_not_in_the_hash_where_it_changes_nothing() -> None:
    base = Recipe.load("gdkvm_phantom")
    assert "mask_dropout" in base.dump()["model"]
    assert "mask_dropout" not in base.decisive()["model"]
    turned = Recipe.load("gdkvm_phantom", ["model.mask_dropout=0.3"])
    assert turned.decisive()["model"]["mask_dropout"] == 0.3
    assert turned.hash != base.hash == Recipe.from_dict(base.dump()).hash == "33479bbbaba5"


def test_recipes_are_frozen() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        Recipe.load("gdkvm_phantom").seed = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_misfits_of_dimensions_name_the_component() -> None:
    with pytest.raises(RecipeError, match="gated_delta"):
        build(Recipe.load("gdkvm_phantom", ["model.memory.heads=7"]))


def test_several_structures_need_something_that_tells_them_apart() -> None:
    three = "data.structures={lv: [1], myo: [2], la: [3]}"
    with pytest.raises(RecipeError, match=r"names 3 \(lv, myo, la\).*model\.identities=3"):
        build(Recipe.load("gdkvm_phantom", [three]))
    build(Recipe.load("gdkvm_phantom", [three, "model.identities=3"]))


@pytest.mark.usefixtures("own_registry")
def test_a_local_plugin_is_a_memory_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "leaky.py").write_text(PLUGIN)
    (tmp_path / "mine.yaml").write_text("plugins: [leaky.py]\nmodel:\n  memory: {type: leaky_test, decay: 0.5}\n")
    recipe = Recipe.load(tmp_path / "mine.yaml", ["model.pixel_dim=16", "model.value_dim=16"])
    assert build(recipe).memory.decay == 0.5
    again = Recipe.load(tmp_path / "mine.yaml")
    assert again.plugins == recipe.plugins
    (tmp_path / "leaky.py").write_text(PLUGIN.replace("0.9", "0.8").replace("leaky_test", "leaky_test2"))
    assert Recipe.load(tmp_path / "mine.yaml").hash != again.hash


@pytest.mark.usefixtures("own_registry")
def test_a_plugin_that_is_changed_and_changed_back_is_itself_again(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("plugins: [leaky.py]\nmodel: {memory: leaky_test}\n")
    found = []
    for default in ("0.9", "0.8", "0.9"):
        (tmp_path / "leaky.py").write_text(PLUGIN.replace("0.9", default))
        found.append(Recipe.load(tmp_path / "mine.yaml").dump()["model"]["memory"]["decay"])
    assert found == [0.9, 0.8, 0.9]


@pytest.mark.usefixtures("own_registry")
def test_plugins_are_relative_to_the_file_or_the_folder_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "leaky.py").write_text(PLUGIN)
    (tmp_path / "sub" / "base.yaml").write_text("plugins: [leaky.py]\nmodel: {memory: leaky_test}\n")
    (tmp_path / "child.yaml").write_text("base: sub/base.yaml\n")
    assert Recipe.load(tmp_path / "child.yaml").plugins == [str((tmp_path / "sub" / "leaky.py").resolve())]
    monkeypatch.chdir(tmp_path / "sub")
    assert Recipe.load("gdkvm_phantom", ["plugins=[leaky.py]", "model.memory=leaky_test"]).plugins


@pytest.mark.usefixtures("own_registry")
def test_a_run_keeps_plugins_of_one_name_apart_and_runs_no_code_from_outside(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "leaky.py").write_text(PLUGIN.replace("leaky_test", f"leaky_{name}"))
    recipe = Recipe.load("gdkvm_phantom", [f"plugins=[{tmp_path}/a/leaky.py, {tmp_path}/b/leaky.py]"])
    run = RunFolder.create(recipe, tmp_path / "run")
    assert len(list((tmp_path / "run" / "plugins").iterdir())) == 2
    assert run.recipe.hash == recipe.hash
    file = tmp_path / "run" / "recipe.yaml"
    file.write_text(file.read_text().replace("plugins/leaky.py", "../a/leaky.py"))
    with pytest.raises(CheckpointError, match="lie in its plugins/"):
        memx.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read"), ("x = (", "SyntaxError"), ("import nonsense_module", "ModuleNotFoundError")],
)
def test_a_broken_plugin_is_named(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "broken.py").write_text(content)
    (tmp_path / "mine.yaml").write_text("plugins: [broken.py]\n")
    with pytest.raises(RecipeError, match=rf"plugin .*broken\.py.*{says}"):
        Recipe.load(tmp_path / "mine.yaml")


def test_dotted_paths_are_not_imported(tmp_path: Path) -> None:
    for bad in ("plugins: [os.path]", "model: {type: torch.nn.Linear}", "model: {_target_: os.system}"):
        (tmp_path / "r.yaml").write_text(bad)
        with pytest.raises(RecipeError):
            Recipe.load(tmp_path / "r.yaml")


def test_the_schema_takes_what_memx_takes_and_refuses_what_it_refuses() -> None:
    validator = jsonschema.Draft202012Validator(Recipe.json_schema())
    good = [read_yaml(path).data for path in shipped_recipes().values()]
    good += [
        {"base": "gdkvm_phantom.yaml", "model": {"memory": "linear"}},
        {"model": {"memory": {"heads": 4}}, "loss": {"points": None}, "data": {"size": [64, 96]}},
        {"model": {"refiner": None, "memory": {"type": "softmax", "top_k": 3}}},
    ]
    for data in good:
        assert not list(validator.iter_errors(data)), data
    for bad in (
        {"modell": {}},
        {"model": {"memory": {"type": "gated_dleta"}}},
        {"model": {"memory": {"type": "linear", "heads": 4}}},
        {"data": {"frames": "many"}},
    ):
        assert list(validator.iter_errors(bad)), bad


def test_building_is_deterministic_in_the_seed() -> None:
    recipe = Recipe.load("gdkvm_phantom")
    states = []
    for _ in range(2):
        torch.manual_seed(recipe.seed)
        states.append(build(recipe).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_order_of_structures_is_kept_and_counts() -> None:
    text = "model: {type: mask_propagator, identities: 2}\ndata: {structures: {lv: [1], la: [3]}}\n"
    recipe = Recipe.from_yaml(text)
    turned = Recipe.from_yaml(text.replace("lv: [1], la: [3]", "la: [3], lv: [1]"))
    assert list(recipe.data.structures) == list(Recipe.from_yaml(recipe.to_yaml()).data.structures) == ["lv", "la"]
    assert recipe.hash == Recipe.from_yaml(recipe.to_yaml()).hash != turned.hash
