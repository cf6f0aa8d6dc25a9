"""The registry: signature as schema, facts before the `*`, options after it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pydantic
import pytest
import torch
from pydantic import Field

from memx.errors import RecipeError, UserError, nearest, unknown
from memx.plugins import load_plugin
from memx.registry import Part, Registry, Slot, build_part, memories, refines, registries, registry


class Leaf:
    """A leaf. Second sentence.

    More.
    """

    def __init__(self, key_dim: int, *, decay: Annotated[float, Field(gt=0, le=1, description="a frame")] = 0.9):
        if key_dim % 2:
            raise ValueError(f"key_dim={key_dim} must be even")
        self.key_dim, self.decay = key_dim, decay


@pytest.fixture
def kind() -> Registry:
    return Registry("thing", "memx.errors")  # any package: nothing of it registers here


def test_signature_is_schema(kind: Registry) -> None:
    kind.register("leaf")(Leaf)
    entry = kind["leaf"]
    assert entry.facts == ("key_dim",)
    assert list(entry.options.model_fields) == ["decay"]
    assert entry.options.model_fields["decay"].description == "a frame"
    assert entry.summary == "A leaf. Second sentence."
    assert entry.validate({}) == {"decay": 0.9}


@pytest.mark.parametrize("bad", [{"decay": 0}, {"decay": "x"}, {"deccay": 0.5}])
def test_bad_options_are_refused(kind: Registry, bad: dict[str, Any]) -> None:
    kind.register("leaf")(Leaf)
    with pytest.raises(pydantic.ValidationError):
        kind["leaf"].validate(bad)


def test_build_hands_on_only_the_facts_that_are_named(kind: Registry) -> None:
    kind.register("leaf")(Leaf)
    leaf = kind["leaf"].build({"key_dim": 4, "value_dim": 8}, {"decay": 0.5})
    assert (leaf.key_dim, leaf.decay) == (4, 0.5)


def test_a_missing_fact_and_a_misfit_are_the_users_errors(kind: Registry) -> None:
    kind.register("leaf")(Leaf)
    with pytest.raises(RecipeError, match=r"'leaf' needs key_dim.*supplies value_dim"):
        kind["leaf"].build({"value_dim": 8}, {})
    with pytest.raises(RecipeError, match="thing 'leaf': key_dim=3 must be even"):
        kind["leaf"].build({"key_dim": 3}, {})


def test_two_components_of_one_name_are_refused_and_the_same_source_is_not(kind: Registry) -> None:
    kind.register("leaf")(Leaf)
    kind.register("leaf")(Leaf)
    with pytest.raises(RecipeError, match="already registered"):

        @kind.register("leaf")
        def other(*, a: int = 1) -> int:
            return a


def test_open_signatures_are_refused(kind: Registry) -> None:
    with pytest.raises(TypeError, match="spells its options out"):

        @kind.register("loose")
        def loose(**options: Any) -> None: ...


def test_unknown_names_get_the_nearest(kind: Registry) -> None:
    kind.register("leaf")(Leaf)
    with pytest.raises(RecipeError, match=r"unknown thing 'leef'; did you mean 'leaf'\? There are: leaf"):
        kind["leef"]
    with pytest.raises(RecipeError, match="kind of component"):
        registry("memoire")
    assert nearest("sofmax", ["softmax", "linear"]) == "softmax"
    assert nearest("qqq", ["softmax"]) is None
    assert "none" in unknown("x", "y", [])


def test_a_part_is_built_by_its_facts_and_knows_itself_filled() -> None:
    part = Part("memory", "linear", {})
    assert part.dump()["type"] == "linear"
    assert set(part.dump()) == {"type", *memories["linear"].options.model_fields}
    memory = part(key_dim=4, value_dim=6, feature_dim=3)
    assert memory.init_state(2).nbytes > 0
    with pytest.raises(RecipeError, match="linear"):
        Part("memory", "linear", {"nonsense": 1})(key_dim=4, value_dim=6)


def test_slots_take_names_mappings_and_parts() -> None:
    slot = Slot("memory")
    for value in ("linear", {"type": "linear"}, Part("memory", "linear")):
        part = slot.validate(value)
        assert isinstance(part, Part)
        assert part.type == "linear"
    for value in (3, {"heads": 3}, {"type": "nonsense"}, Leaf):
        with pytest.raises(ValueError, match="memory"):
            slot.validate(value)


def test_a_mapping_without_type_refines_the_default() -> None:
    slot = Annotated[Callable[..., Any], Slot("memory"), refines(Part("memory", "linear", {"normalize": True}))]
    adapter = pydantic.TypeAdapter(slot)
    assert adapter.validate_python({"feature_map": "relu"}).options == {
        **memories["linear"].validate({}),
        "normalize": True,
        "feature_map": "relu",
    }


def test_build_part_filters_facts_for_plain_callables() -> None:
    facts = {"key_dim": 4, "value_dim": 8}
    assert build_part(Leaf, **facts).key_dim == 4
    assert build_part(partial(Leaf, decay=0.25), **facts).decay == 0.25
    assert build_part(lambda key_dim: key_dim, **facts) == 4
    assert build_part(lambda: 7, **facts) == 7
    with pytest.raises(RecipeError, match="needs other"):
        build_part(lambda other: other, **facts)


@pytest.mark.parametrize("wrong", ["linear", 3, torch.nn.Identity()])
def test_what_cannot_fill_a_slot_says_what_can(wrong: object) -> None:
    with pytest.raises(TypeError, match="a class, a partial or a lambda"):
        build_part(wrong, key_dim=4)  # type: ignore[arg-type]


@pytest.mark.usefixtures("own_registry")
def test_a_plugin_file_may_be_imported_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (Path(__file__).parent / "fixtures" / "leaky.py").read_text()
    for folder in ("mine", "run"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "leaky_twice.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    importlib.import_module("leaky_twice")
    load_plugin(tmp_path / "run" / "leaky_twice.py")
    assert memories["leaky_test"].factory.__module__.startswith("memx_plugin_")
    bad = tmp_path / "bad.py"
    bad.write_text(source.replace("leaky_test", "linear"))
    with pytest.raises(RecipeError, match="already registered"):
        load_plugin(bad)


@pytest.mark.parametrize("kind_name", sorted(registries()))
def test_every_registered_component_documents_itself(kind_name: str) -> None:
    """Registering is enough to be listed and documented: that needs a docstring and a meaning for every option."""
    entries = list(registry(kind_name))
    assert entries, f"no {kind_name} is registered"
    for entry in entries:
        assert entry.summary.endswith("."), f"{kind_name} {entry.name}: line one of the docstring is a sentence"
        for name, info in entry.options.model_fields.items():
            assert info.description, f"{kind_name} {entry.name}: option {name} has no description"


def test_recipe_errors_are_user_errors() -> None:
    assert issubclass(RecipeError, UserError)


@pytest.mark.usefixtures("own_registry")
def test_an_installed_package_registers_through_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import memx.registry

    (tmp_path / "echo_memories.py").write_text(
        "from memx import registry\n\n\n@registry.fusions.register('from_a_package')\n"
        "def fusion(x_dim: int, y_dim: int, out_dim: int, *, scale: float = 1.0) -> float:\n"
        '    """A fusion of another package."""\n    return scale\n'
    )
    (tmp_path / "echo-1.0.dist-info").mkdir()
    (tmp_path / "echo-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: echo\nVersion: 1.0\n")
    (tmp_path / "echo-1.0.dist-info" / "entry_points.txt").write_text("[memx.components]\necho = echo_memories\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    memx.registry.installed_plugins.cache_clear()
    try:
        assert load_plugin("echo")
        with pytest.raises(RecipeError, match="did you mean 'echo'"):
            load_plugin("ecko")
        assert registry("fusion").build("from_a_package", {"x_dim": 1, "y_dim": 1, "out_dim": 1}, scale=2.5) == 2.5
    finally:
        memx.registry.installed_plugins.cache_clear()
