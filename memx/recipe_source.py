"""From YAML text, a base file and overrides to plain data in which every value still knows where it was written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from memx.errors import RecipeError, unknown

Place = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2's core schema: `1e-4` is a number; `on`, `1:30`, `1_000` and
    `2024-01-01` are text."""

    def construct_yaml_int(self, node: Any) -> int:
        return int(node.value, 0) if node.value[:2] in ("0x", "0o") else int(node.value)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)

SYSTEM_FILE = "system.yaml"
"""What a folder of the zoo says of its system (memx.zoo.system); no recipe."""
REPLACED_WHOLE: frozenset[Place] = frozenset({("data", "structures")})
"""Mappings whose keys are the user's own words: a child file or an override replaces them, keys and all."""


@dataclass
class Source:
    """Plain data and, for every place in it, the file and line or the override that put it there."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Place, str] = field(default_factory=dict)

    def origin(self, place: Place) -> str:
        """Where the value at `place`, or else the nearest thing around it, was written."""
        for end in range(len(place), -1, -1):
            if place[:end] in self.origins:
                return self.origins[place[:end]]
        return "recipe"


def read_yaml(path: Path) -> Source:
    """Read one file. Raises RecipeError naming file and line: bad syntax, a repeated key, a file that is no mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Source:
    """Read YAML text; `name` stands for the file in messages."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Source({}, {(): name})
        if not isinstance(node, yaml.MappingNode):
            found = "a list" if isinstance(node, yaml.SequenceNode) else "one value"
            raise RecipeError(f"{name}: a recipe is a mapping (`key: value` lines), not {found}")
        origins: dict[Place, str] = {}
        _mark(node, (), name, origins)
        return Source(loader.construct_document(node), origins)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise RecipeError(f"{name}:{line}: this is not YAML: {error.problem or error}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{name}: this is not YAML: {error}") from None


def _mark(
    node: yaml.Node, place: Place, name: str, origins: dict[Place, str], seen_nodes: set[int] | None = None
) -> None:
    seen_nodes = set() if seen_nodes is None else seen_nodes
    if id(node) in seen_nodes:
        raise RecipeError(f"{name}:{node.start_mark.line + 1}: aliases (`*name`) are not taken; write the value out")
    seen_nodes.add(id(node))
    origins[place] = f"{name}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise RecipeError(f"{name}:{key.start_mark.line + 1}: a key must be a plain word")
            if key.value in seen:
                raise RecipeError(f"{name}:{key.start_mark.line + 1}: {key.value!r} stands here twice; keep one")
            seen.add(key.value)
            _mark(value, (*place, key.value), name, origins, seen_nodes)
            origins[(*place, key.value)] = f"{name}:{key.start_mark.line + 1}"
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            _mark(value, (*place, i), name, origins, seen_nodes)


def load_source(path: Path) -> Source:
    """Read a recipe file and put it over its `base:`, if it names one: a file beside it, or one of memx's by name."""
    source = read_yaml(path)
    _place_plugins(source, path.parent)
    base_name = source.data.pop("base", None)
    if base_name is None:
        return source
    if not isinstance(base_name, str):
        raise RecipeError(f"{source.origin(('base',))}: base: names one recipe file, e.g. `base: gdkvm_camus.yaml`")
    beside = path.parent / base_name
    base_path = beside if beside.is_file() else find_recipe(base_name)
    base = read_yaml(base_path)
    _place_plugins(base, base_path.parent)
    if "base" in base.data:
        raise RecipeError(
            f"{base.origin(('base',))}: {base_name} is the base of {path.name} and has a base itself; "
            f"a recipe has at most one base, so that it can be read in two files"
        )
    overlay(base, source.data, source)
    return base


def _place_plugins(source: Source, folder: Path) -> None:
    """Plug-in files are named relative to the file that names them."""
    plugins = source.data.get("plugins")
    if isinstance(plugins, list):
        source.data["plugins"] = [
            str((folder / Path(p).expanduser()).resolve()) if isinstance(p, str) and p.endswith(".py") else p
            for p in plugins
        ]


def overlay(target: Source, data: Mapping[str, Any], source: Source, place: Place = ()) -> None:
    """Put `data` over `target` in place: mappings are merged, everything else is replaced.

    A mapping that names another `type` replaces the old component whole, since the options of the one mean nothing
    to the other.
    """
    node = _at(target.data, place)
    for key, value in data.items():
        here = (*place, key)
        old = node.get(key)
        if isinstance(old, str) and isinstance(value, Mapping) and "type" not in value and value:
            old = node[key] = {"type": old}  # a component written by its bare name
        same = (
            isinstance(old, dict)
            and isinstance(value, Mapping)
            and value.get("type", old.get("type")) == old.get("type")
        )
        if same and here not in REPLACED_WHOLE:
            target.origins[here] = source.origin(here)
            overlay(target, value, source, here)
        else:
            node[key] = value
            for stale in [p for p in target.origins if p[: len(here)] == here]:
                del target.origins[stale]
            target.origins.update({p: o for p, o in source.origins.items() if p[: len(here)] == here})


def apply_override(target: Source, text: str) -> None:
    """Apply one `path.to.key=value`. The value is YAML: `3`, `1e-4`, `null`, `[a, b]`, `{type: linear}`, or plain text.

    Everything after the first `=` is the value, so it may contain `=`. A number indexes a list. Setting `….type` to
    another component drops the options of the old one.
    """
    path, equals, raw = text.partition("=")
    if not equals or not path.strip():
        raise RecipeError(
            f"override {text!r}: write it as path.to.key=value, e.g. train.batch=4 or model.memory=linear"
        )
    value = _override_value(raw, f"override {text}")
    keys = path.strip().split(".")
    origin = f"override {text}"
    node: Any = target.data
    place: Place = ()
    for key in keys[:-1]:
        child, step = _child(node, key, origin, place)
        if isinstance(child, str):  # a component written by its bare name
            child = node[step] = {"type": child}
            target.origins[(*place, step, "type")] = target.origin((*place, step))
        if not isinstance(child, dict | list):
            if child is not None:
                raise RecipeError(f"{origin}: {'.'.join(map(str, (*place, step)))} is {child!r}, which has no parts")
            child = node[step] = {}
            target.origins[(*place, step)] = origin
        node, place = child, (*place, step)
    last: Any = keys[-1]
    container: Any = node
    if isinstance(node, list):
        last = _index(node, keys[-1], origin, place)
    elif last == "type" and node.get("type", value) != value:
        node.clear()
    elif isinstance(value, dict) and isinstance(node.get(last), dict | str):
        overlay(target, {last: value}, Source(origins={(*place, last): origin}), place)
        return
    container[last] = value
    here = (*place, last)
    for stale in [p for p in target.origins if p[: len(here)] == here]:
        del target.origins[stale]
    target.origins[here] = origin


def _override_value(raw: str, origin: str) -> Any:
    """YAML, but plain text is taken as it stands, with any `#` or `: ` in it."""
    if raw[:1] in tuple("[{\"'"):
        try:
            return _Loader(raw).get_single_data()
        except yaml.YAMLError as error:
            raise RecipeError(f"{origin}: {raw!r} is not YAML: {getattr(error, 'problem', error)}") from None
    loader = _Loader("")
    return loader.construct_object(yaml.ScalarNode(loader.resolve(yaml.ScalarNode, raw, (True, False)), raw))


def _child(node: Any, key: str, origin: str, place: Place) -> tuple[Any, str | int]:
    if isinstance(node, list):
        i = _index(node, key, origin, place)
        return node[i], i
    return node.get(key), key


def _index(node: list[Any], key: str, origin: str, place: Place) -> int:
    where = ".".join(map(str, place))
    if not re.fullmatch(r"-?\d+", key) or not -len(node) <= int(key) < len(node):
        raise RecipeError(
            f"{origin}: {where} is a list of {len(node)}; {key!r} must be a number from 0 to {len(node) - 1}"
        )
    return int(key) % len(node)


def _at(data: Any, place: Place) -> Any:
    for key in place:
        data = data[key]
    return data


def find_recipe(name: str | Path) -> Path:
    """The file that `name` means: a path, or the name of a recipe that travels with memx (with or without `.yaml`)."""
    path = Path(name)
    try:
        if path.is_file():
            return path
    except OSError as error:
        raise RecipeError(f"{str(name)[:60]!r}: {error.strerror}") from None
    shipped = shipped_recipes()
    stem = path.name.removesuffix(".yaml").removesuffix(".yml")
    # `recipes/gdkvm_camus.yaml` is how the docs write it; it is found from any folder.
    if path.parent in (Path(), Path("recipes")) and stem in shipped:
        return shipped[stem]
    if path.is_dir():
        raise RecipeError(_not_in_folder(path))
    system = next((part for part in path.parts if part != "zoo"), "")
    systems = [file for file in shipped.values() if file.with_name(SYSTEM_FILE).is_file()]
    inside = sorted(file.stem for file in systems if file.parent.name == system)
    if inside:
        right = stem if stem in inside else "one of them"
        raise RecipeError(
            f"no recipe file {str(name)!r} here; {system!r} is a system of the zoo, with the recipes "
            f"{', '.join(inside)}: name {right}, without the system"
        )
    raise RecipeError(f"no recipe file {str(name)!r} here, and {unknown('recipe', stem, shipped)}")


def _not_in_folder(folder: Path) -> str:
    """Why a folder is no recipe, and what in it is."""
    if (folder / "recipe.yaml").is_file():
        return f"{folder}: is a folder; the recipe in it is {folder / 'recipe.yaml'}"
    there = sorted(path.name for path in folder.glob("*.yaml") if path.name != SYSTEM_FILE)
    recipes = f"name a file of it: {', '.join(there[:5])}" if there else "there is no recipe in it"
    return f"{folder}: is a folder, and no run, which has a recipe.yaml and weights in model.safetensors; {recipes}"


def shipped_recipes() -> dict[str, Path]:
    """The recipes that travel with memx, by name: those of `recipes/`, and those of each system in `zoo/`."""
    found: dict[str, Path] = {}
    for folder in shipped_folders():
        for path in sorted(folder.rglob("*.yaml")):
            if path.name != SYSTEM_FILE:
                found.setdefault(path.stem, path)
    return found


def shipped_folders() -> Sequence[Path]:
    """The folders that travel with memx: `recipes` and `zoo`."""
    package = Path(__file__).resolve().parent
    inside = [package / "recipes", package / "zoo"]  # an installed wheel
    checkout = [package.parent / "recipes", package.parent / "zoo"]  # a source checkout
    return [f for f in (inside if inside[0].is_dir() else checkout) if f.is_dir()]
