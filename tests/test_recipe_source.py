"""YAML, base files and overrides: every value knows where it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.errors import RecipeError
from memx.recipe_source import Source, apply_override, find_recipe, load_source, overlay, parse_yaml, shipped_recipes


def overridden(data: dict[str, Any], *texts: str) -> dict[str, Any]:
    source = Source(data)
    for text in texts:
        apply_override(source, text)
    return source.data


def test_places_are_remembered() -> None:
    source = parse_yaml("a: 1\nb:\n  c: [x,\n    y]\n", "f.yaml")
    assert source.data == {"a": 1, "b": {"c": ["x", "y"]}}
    assert source.origin(("b", "c", 1)) == "f.yaml:4"
    assert source.origin(("b", "zzz")) == "f.yaml:2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\na: 2\n", r"f:2: 'a' stands here twice"),
        ("- 1\n", "a recipe is a mapping"),
        ("a: [1\n", "f:2: this is not YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", "not YAML"),
        ("a: \x00", "not YAML"),
        ("a: &x {b: *x}", "aliases"),
    ],
)
def test_bad_yaml_is_refused_with_its_line(text: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        parse_yaml(text, "f")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.5e3", 1500.0),
        ("-2E-1", -0.2),
        ("e4", "e4"),
        ("0x1e3", 0x1E3),
        ("010", 10),
        ("1:30", "1:30"),
        ("on", "on"),
        ("1_0", "1_0"),
        ("2024-01-01", "2024-01-01"),
    ],
)
def test_numbers_are_read_as_yaml_1_2_reads_them(text: str, value: Any) -> None:
    assert parse_yaml(f"a: {text}", "f").data["a"] == value


@pytest.mark.parametrize(
    ("texts", "path", "value"),
    [
        (["data.root=/a/b=c"], ("data", "root"), "/a/b=c"),
        (["data.root=/a/b #1: c"], ("data", "root"), "/a/b #1: c"),
        (["model.fusion={scale: 2}"], ("model", "fusion"), {"type": "kpff", "scale": 2}),
        (["data.structures={la: [3]}"], ("data", "structures"), {"la": [3]}),
        (["model.fusion.type=kpff"], ("model", "fusion"), {"type": "kpff"}),
        (["train.lr=1e-3"], ("train", "lr"), 1e-3),
        (["train.clip=null"], ("train", "clip"), None),
        (["data.views=[2CH, 4CH]"], ("data", "views"), ["2CH", "4CH"]),
        (["data.augment.1=x"], ("data", "augment", 1), "x"),
        (["data.augment.-1.p=0"], ("data", "augment", 1, "p"), 0),
        (["model.memory={type: linear, normalize: true}"], ("model", "memory", "normalize"), True),
        (["model.memory.heads=4"], ("model", "memory"), {"type": "gated_delta", "heads": 4}),
        (["model.memory=linear"], ("model", "memory"), "linear"),
        (
            ["model.memory.type=linear", "model.memory.normalize=true"],
            ("model", "memory"),
            {"type": "linear", "normalize": True},
        ),
        (["model.fusion.type=add"], ("model", "fusion"), {"type": "add"}),
        (["new.part.here=1"], ("new", "part", "here"), 1),
        (["data.note="], ("data", "note"), None),
    ],
)
def test_overrides(texts: list[str], path: tuple[Any, ...], value: Any) -> None:
    data = {
        "model": {"memory": {"type": "gated_delta", "heads": 8}, "fusion": "kpff"},
        "data": {"augment": [{"type": "gamma"}, {"type": "scale", "p": 0.5}], "structures": {"lv": [1]}},
        "train": {"lr": 1e-4},
    }
    if texts == ["model.memory.heads=4"]:
        data["model"]["memory"] = "gated_delta"
    found: Any = overridden(data, *texts)
    for key in path:
        found = found[key]
    assert found == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train.lr", "path.to.key=value"),
        ("=3", "path.to.key=value"),
        ("data.augment.7.p=1", "a list of 1; '7' must be a number from 0 to 0"),
        ("data.augment.x=1", "must be a number"),
        ("seed.x=1", "seed is 0, which has no parts"),
    ],
)
def test_bad_overrides_say_what_is_right(text: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        overridden({"seed": 0, "data": {"augment": ["gamma"]}}, text)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text("abcxyz", min_size=1, max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(plain)
def test_any_plain_value_can_be_an_override(value: Any) -> None:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")
    assert overridden({"a": {"b": 0}}, f"a.b={text}")["a"]["b"] == value


def test_a_base_is_one_file_and_its_values_know_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("seed: 1\nmodel:\n  memory: {type: gated_delta, heads: 8}\n  key_dim: 64\n")
    (tmp_path / "new.yaml").write_text("base: base.yaml\nmodel:\n  memory: {type: linear}\n")
    source = load_source(tmp_path / "new.yaml")
    assert source.data == {"seed": 1, "model": {"memory": {"type": "linear"}, "key_dim": 64}}
    assert source.origin(("seed",)).endswith("base.yaml:1")
    assert source.origin(("model", "memory", "type")).endswith("new.yaml:3")
    (tmp_path / "third.yaml").write_text("base: new.yaml\n")
    with pytest.raises(RecipeError, match="at most one base"):
        load_source(tmp_path / "third.yaml")
    (tmp_path / "fourth.yaml").write_text("base: [a]\n")
    with pytest.raises(RecipeError, match="names one recipe file"):
        load_source(tmp_path / "fourth.yaml")


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.text("ab", min_size=1, max_size=2), plain, max_size=3))
def test_overlaying_nothing_or_itself_changes_nothing(data: dict[str, Any]) -> None:
    for other in ({}, data):
        target = Source(yaml.safe_load(yaml.safe_dump(data)))
        overlay(target, other, Source())
        assert target.data == data


def test_recipes_are_found_by_path_and_by_name_and_misspellings_are_answered() -> None:
    assert "gdkvm_phantom" in shipped_recipes()
    assert find_recipe("gdkvm_phantom").resolve() == find_recipe("recipes/gdkvm_phantom.yaml").resolve()
    with pytest.raises(RecipeError, match="did you mean 'gdkvm_phantom'"):
        find_recipe("gdkvm_fantom")
    with pytest.raises(RecipeError, match="no recipe file"):
        find_recipe("elsewhere/gdkvm_phantom.yaml")


@pytest.mark.parametrize("name", ["gdkvm", "gdkvm/gdkvm_rerelease", "zoo/gdkvm/gdkvm_rerelease.yml", "gdkvm/other"])
def test_a_system_of_the_zoo_is_answered_with_its_recipes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        RecipeError, match="'gdkvm' is a system of the zoo, with the recipes gdkvm_normalised, "
    ) as said:
        find_recipe(name)
    named = "gdkvm_rerelease" if "rerelease" in name else "one of them"
    assert str(said.value).endswith(f": name {named}, without the system")


def test_a_folder_is_no_recipe_and_what_is_in_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no run, which has a recipe\.yaml and weights .*; there is no recipe in it"):
        find_recipe(tmp_path)
    (tmp_path / "mine.yaml").write_text("base: gdkvm_phantom\n")
    with pytest.raises(RecipeError, match=r"no run, which has .*; name a file of it: mine\.yaml"):
        find_recipe(tmp_path)
    (tmp_path / "recipe.yaml").write_text("base: gdkvm_phantom\n")
    with pytest.raises(RecipeError, match=r"is a folder; the recipe in it is .*recipe\.yaml"):
        find_recipe(tmp_path)
