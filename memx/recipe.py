"""A recipe: one typed, validated, filled and hashed description of an experiment.

YAML → plain data (recipe_source.py) → plug-ins imported → pydantic, whose models are the sections below and the
signatures of the components named → a frozen Recipe. All errors of a recipe are reported together, each with the
place in the file, the options that there are, and the nearest right spelling.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, Field

from memx.errors import RecipeError, nearest
from memx.plugins import load_plugin
from memx.recipe_source import Place, Source, apply_override, find_recipe, load_source, parse_yaml
from memx.registry import Neutral, Part, Slot, neutral_options, refines, registry
from memx.search.section import Search
from memx.section import Section

ModelSlot = Annotated[Callable[..., Any], Slot("model")]
LayoutSlot = Annotated[Callable[..., Any], Slot("layout")]
TransformSlot = Annotated[Callable[..., Any], Slot("transform")]
LossSlot = Annotated[Callable[..., Any], Slot("loss")]


def _text(value: Any) -> Any:
    """A folder called 2024 is no number."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _cache_place(value: Any) -> Any:
    """`memory` is true; a number is no folder."""
    return value if not isinstance(value, str) else True if value == "memory" else Path(value)


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


class Data(Section):
    """Which clips, and how they are cut, resized and augmented."""

    layout: Annotated[LayoutSlot, refines(Part("layout", "camus"))] = Field(
        default=Part("layout", "camus"), description="how the data set lies on disk: a layout"
    )
    root: Annotated[Path | None, pydantic.BeforeValidator(_text)] = Field(
        default=None, description="folder of the data set"
    )
    size: Annotated[
        tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]],
        pydantic.BeforeValidator(_pair, json_schema_input_type=int | tuple[int, int]),
    ] = Field(default=(256, 256), description="height and width that frames are resized to; one number means a square")
    channels: Literal[1, 3] = Field(default=1, description="colour channels of a frame: 1 grey, 3 RGB")
    frames: int = Field(default=10, ge=1, description="frames of a training clip")
    sampling: Literal["ed_es", "window", "all"] = Field(
        default="ed_es", description="frames uniformly from ED to ES | a contiguous window | every frame"
    )
    supervision: Literal["ends", "all"] = Field(
        default="ends", description="labels used: the first and last frame's | every frame's"
    )
    structures: dict[str, Annotated[list[Annotated[int, Field(ge=1, le=255)]], Field(min_length=1)]] = Field(
        default={"lv": [1]},
        min_length=1,
        description="objects to segment, each with the label values that it is made of",
    )
    augment: list[TransformSlot] = Field(
        default_factory=list, description="transforms, drawn once a clip, in this order"
    )
    workers: int = Field(default=0, ge=0, description="processes that load data beside the training process")
    cache: Annotated[bool | Path, pydantic.BeforeValidator(_cache_place, json_schema_input_type=bool | str)] = Field(
        default=True,
        description="where decoded, resized clips are kept: true or `memory`, by each process | `disk` or a folder, "
        "for all processes and runs | false, nowhere",
    )


Tracker = Literal[
    "aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "tensorboard", "trackio", "wandb"
]  # as accelerate spells them


class Train(Section):
    """Optimisation."""

    iterations: int = Field(default=1500, ge=1, description="optimiser steps")
    batch: int = Field(default=10, ge=1, description="clips a step, over all its micro-batches and processes")
    accumulate: Annotated[int, Neutral(1)] = Field(
        default=1, ge=1, description="micro-batches a step, whose gradients are summed: less memory, the same gradient"
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="AdamW's step size")
    encoder_lr_factor: float = Field(
        default=0.1, gt=0, description="learning rate of the encoders, as a factor of learning_rate"
    )
    weight_decay: float = Field(
        default=1e-3, ge=0, description="decoupled weight decay (none on gates' A_log and dt_bias)"
    )
    clip_norm: float | None = Field(default=3.0, gt=0, description="gradient norm is clipped to this; null: not at all")
    warmup: int = Field(default=0, ge=0, description="steps of linear warm-up")
    schedule: Literal["step", "cosine", "poly", "constant"] = Field(
        default="step", description="× 0.1 at 1/3 and at 2/3 of the run | cosine to zero | (1 − i/n)^0.9 | constant"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="arithmetic of forward and backward")
    ema: Annotated[float | None, Neutral(None)] = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of a moving average of the weights, which is then validated and kept; null: none",
    )
    deterministic: Annotated[bool, Neutral(False)] = Field(
        default=False,
        description="on a GPU, only operators whose results are the same each time: slower; a CPU needs no such option",
    )
    validate_every: int = Field(default=250, ge=0, description="steps between validations; 0: only at the end")
    checkpoint_every: int = Field(default=250, ge=1, description="steps between resumable checkpoints")
    trackers: list[Tracker] = Field(
        default=["tensorboard"], description="where the curves go beside history.csv; [] for nowhere"
    )


class Evaluate(Section):
    """How predictions are scored."""

    split: Literal["train", "val", "test"] = Field(default="test", description="the patients that `memx eval` scores")
    protocol: Literal["memx-1", "gdkvm-release-2025"] = Field(
        default="memx-1",
        description="Dice and IoU of each mask whole | of each row of a mask by itself, as GDKVM's 2025 code has them: "
        "only for comparison with its figures",
    )
    frames: Literal["as_trained", "all"] = Field(
        default="as_trained", description="frames of a clip that the model is shown: as data.sampling has them | all"
    )
    masks: Literal["as_trained", "ends", "all"] = Field(
        default="as_trained",
        description="labelled frames that are scored: as data.supervision has them | the first and the last | all",
    )
    bootstrap: int = Field(
        default=1000, ge=0, description="patient-level bootstrap draws of the 95% intervals; 0: none"
    )


class Recipe(Section):
    """An experiment: model, data, loss, optimisation and evaluation."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="what run folders and reports call it")
    description: str = Field(default="", description="one sentence")
    plugins: list[str] = Field(
        default_factory=list,
        description="Python files, relative to the recipe, or entry points of installed packages, with components",
    )
    seed: int = Field(
        default=0, ge=0, le=2**63 - 1, description="seed of weights, data order, augmentation and sampled points"
    )
    model: Annotated[ModelSlot, refines(Part("model", "mask_propagator"))] = Field(
        default=Part("model", "mask_propagator"), description="the network"
    )
    data: Data = Field(default_factory=Data, description="which clips, and how they are prepared")
    loss: Annotated[LossSlot, refines(Part("loss", "segmentation"))] = Field(
        default=Part("loss", "segmentation"), description="what training minimises"
    )
    train: Train = Field(default_factory=Train, description="optimisation")
    evaluate: Evaluate = Field(default_factory=Evaluate, description="scoring")
    search: Search | None = Field(default=None, description="what `memx search` may change, and what it looks for")

    _plugin_digests: dict[str, str] = pydantic.PrivateAttr(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
        """Read a recipe file (or one that travels with memx, by name) and apply `path.to.key=value` overrides.

        Raises RecipeError with every mistake found and where it stands.
        """
        file = find_recipe(path)
        if not file.read_bytes().strip():
            raise RecipeError(f"{file}: is empty; a recipe names at least a model, data or a base")
        return cls._from_source(load_source(file), overrides, str(file), file.parent)

    @classmethod
    def from_yaml(
        cls, text: str, overrides: Sequence[str] = (), *, name: str = "recipe", folder: Path = Path()
    ) -> Recipe:
        """Read a recipe from text. Plug-ins named in it are looked for in `folder`."""
        return cls._from_source(parse_yaml(text, name), overrides, name, folder)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], overrides: Sequence[str] = (), *, folder: Path = Path()) -> Recipe:
        """Read a recipe from plain data."""
        plain = json.loads(json.dumps(data, default=str))
        return cls._from_source(Source(plain, {(): "recipe"}), overrides, "recipe", folder)

    @classmethod
    def _from_source(cls, source: Source, overrides: Sequence[str], name: str, folder: Path) -> Recipe:
        for text in overrides:
            apply_override(source, text)
        plugins = source.data.get("plugins") or []
        digests: dict[str, str] = {}
        if isinstance(plugins, list) and all(isinstance(p, str) for p in plugins):
            said_here = source.origin(("plugins",)).startswith("override")
            source.data["plugins"] = [_plugin_path(p, Path() if said_here else folder) for p in plugins]
            digests = {plugin: load_plugin(plugin) for plugin in source.data["plugins"]}
        if "name" not in source.data:
            source.data["name"] = re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(name).stem).lstrip("_.-") or "recipe"
        try:
            recipe = cls.model_validate(source.data)
        except pydantic.ValidationError as error:
            lines = [_explain(item, source) for item in error.errors()]
            raise RecipeError("\n".join([f"{len(lines)} mistake{'s' * (len(lines) > 1)} in {name}:", *lines])) from None
        recipe._plugin_digests.update(digests)
        return recipe

    def dump(self) -> dict[str, Any]:
        """The filled recipe as plain data: every default is written out."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The filled recipe as YAML, each option with its meaning as a comment."""
        return "\n".join(_write(self.dump(), type(self), 0)) + "\n"

    def decisive(self) -> dict[str, Any]:
        """What decides the trained weights: all but names, scoring, plug-in paths, where the data lies and what a
        search would change.

        An option that was added later and is at the value at which it changes nothing (`Neutral`) is left out.
        """
        data = self.model_dump(mode="json", context={"neutral": False})
        for key in ("name", "description", "evaluate", "plugins", "search"):
            del data[key]
        for key in ("validate_every", "checkpoint_every", "trackers", *neutral_options(self.train)):
            del data["train"][key]
        data["data"] = {k: v for k, v in data["data"].items() if k not in ("root", "workers", "cache")}
        return data

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits of what decides the trained weights, and of the plug-ins' code."""
        parts = {**self.decisive(), "plugins": self.plugin_digests}
        if self.objects > 1:  # whose order is that of the model's identities
            parts["objects"] = list(self.data.structures)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def plugin_digests(self) -> list[str]:
        """SHA-256 of each plug-in as it was when the recipe was loaded."""
        return [self._plugin_digests.get(plugin) or load_plugin(plugin) for plugin in self.plugins]

    @property
    def objects(self) -> int:
        """How many objects the model segments: one a structure."""
        return len(self.data.structures)

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """JSON schema of a recipe file, for editors; it knows every registered component."""
        schema = Recipe.model_json_schema(mode="validation")
        schema["properties"]["base"] = {"type": "string", "description": "one recipe file that this one changes"}
        schema["required"] = []
        return schema


def _plugin_path(name: str, folder: Path) -> str:
    return str((folder / Path(name).expanduser()).resolve()) if name.endswith(".py") else name


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _explain(item: Any, source: Source) -> str:
    """One pydantic error as `file:line: path: what is wrong; what would be right`."""
    place: Place = tuple(item["loc"])
    where = f"  {source.origin(place)}: {'.'.join(map(str, place))}"
    if item["type"] == "extra_forbidden":
        names, owner = _options_at(source.data, place[:-1])
        guess = nearest(str(place[-1]), names)
        hint = f"; did you mean {guess!r}?" if guess else "."
        return f"{where}: unknown option{hint} {owner} has: {', '.join(sorted(names))}"
    if item["type"] == "missing":
        return f"{where}: is missing"
    if item["type"] == "slot":
        return f"{where}: {item['msg']}"
    if item["type"] == "value_error":  # a validator's own words
        return f"{where}: {item['ctx']['error']}"
    shown = repr(item["input"])
    return f"{where}: {item['msg'][0].lower()}{item['msg'][1:]}, not {shown if len(shown) < 80 else shown[:77] + '…'}"


def _options_at(data: Any, place: Place) -> tuple[list[str], str]:
    """The options that may stand at a place, and the name of what has them."""
    model, owner = _walk(data, place)
    first = ["base"] if model is Recipe else [] if issubclass(model, Section) else ["type"]
    return [*first, *model.model_fields], owner


def _walk(data: Any, place: Place) -> tuple[type[BaseModel], str]:
    model: type[BaseModel] = Recipe
    owner, kind, nested = "a recipe", None, None
    default: Any = None
    for key in place:
        data = _part_of(data, key)
        if isinstance(key, str):
            info = model.model_fields[key]
            kind, nested = _target((info.annotation, *info.metadata))
            default = info.default
        if nested is not None:
            model, owner = nested, key if isinstance(key, str) else owner
        elif kind is not None and not isinstance(data, list):
            name = data if isinstance(data, str) else (data or {}).get("type", getattr(default, "type", None))
            entry = registry(kind)[str(name)]
            model, owner = entry.options, f"{kind} {entry.name!r}"
    return model, owner


def _part_of(data: Any, key: str | int) -> Any:
    if isinstance(data, dict):
        return data.get(key)
    return data[key] if isinstance(data, list) and isinstance(key, int) else None


def _target(annotation: Any) -> tuple[str | None, type[BaseModel] | None]:
    """What an annotation leads to: a kind of component, or a section of the recipe."""
    for part in annotation if isinstance(annotation, tuple) else (annotation,):
        if isinstance(part, Slot):
            return part.kind, None
        if isinstance(part, type) and issubclass(part, BaseModel):
            return None, part
        inner = _target(typing.get_args(part)) if typing.get_args(part) else (None, None)
        metadata = _target(tuple(getattr(part, "__metadata__", ())))
        if inner != (None, None) or metadata != (None, None):
            return metadata if metadata != (None, None) else inner
    return None, None


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


_LONG = 80
"""Characters up to which a mapping or list without descriptions of its own stands on one line."""


def _write(data: Mapping[str, Any], model: type[BaseModel] | None, depth: int) -> list[str]:
    lines: list[str] = []
    pad = "  " * depth
    for key, value in data.items():
        info = model.model_fields.get(key) if model else None
        comment = f"  # {info.description}" if info and info.description else ""
        kind, nested = _target((info.annotation, *info.metadata)) if info else (None, None)
        if isinstance(value, dict) and value and (nested or kind or depth == 0):
            inner = nested or (registry(kind)[value["type"]].options if kind else None)
            lines += [f"{pad}{key}:{comment}", *_write(value, inner, depth + 1)]
        elif isinstance(value, list) and value and kind:
            lines.append(f"{pad}{key}:{comment}")
            for item in value:
                inner = registry(kind)[item["type"]].options
                first, *rest = _write(item, inner, depth + 2)
                lines += [f"{pad}  - {first.lstrip()}", *rest]
        elif isinstance(value, dict | list) and len(_scalar(value)) > _LONG:
            block = yaml.safe_dump(value, default_flow_style=None, sort_keys=False, width=100, allow_unicode=True)
            lines += [f"{pad}{key}:{comment}", *(f"{pad}  {line}" for line in block.splitlines())]
        else:
            lines.append(f"{pad}{key}: {_scalar(value)}{comment}")
        if depth == 0 and isinstance(value, dict):
            lines.append("")
    return lines


def _scalar(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
        .removesuffix("\n")
        .removesuffix("\n...")
    )
