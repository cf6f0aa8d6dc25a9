"""`memx export`, as a user types it: what it writes runs without memx and gives the model's masks."""

from __future__ import annotations

import importlib.util
import json
import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import memx
from memx.engine.checkpoint import save_weights
from memx.errors import UserError
from memx.export import Format
from memx.export.check import Tolerance, hold
from memx.export.clip import drawn_clip
from memx.export.torch_file import TorchStep

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "model.image_encoder.width=8",
    "model.value_encoder.width=4",
    "model.key_dim=8",
    "model.value_dim=16",
    "model.pixel_dim=16",
    "model.sensory_dim=8",
    "model.decoder.dim=8",
    "model.refiner={type: object_transformer, blocks: 1, heads: 2, queries: 4, ffn_dim: 16}",
    "model.pixel_pairing=previous",
    "model.identities=2",
    "data.structures={la: [3], lv: [1]}",
    "data.size=[24,40]",
]
STATE = [
    "mask",
    "memory.S",
    "memory.empty",
    "sensory",
    "refiner.summary",
    "refiner.seen",
    "pixel",
    "seen",
]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(command: Run) -> Run:
    return partial(command, columns=300)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow GDKVM of two objects, with the 2025 release's pairing, in one file."""
    torch.manual_seed(0)
    recipe = memx.Recipe.load("gdkvm_phantom", SMALL)
    path = tmp_path_factory.mktemp("export") / "narrow.safetensors"
    save_weights(path, memx.build(recipe).eval(), recipe)
    return path


def block(beginning: str) -> str:
    """The python block of docs/export.md that begins so."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(encoding="utf-8"), re.DOTALL)
    return next(text for text in blocks if text.startswith(beginning))


@torch.no_grad()
def labels_of(model: memx.VideoModel, clip: np.ndarray) -> np.ndarray:
    """Label maps (t b y x) of a clip (t b c y x) by the model itself."""
    logits = model(torch.from_numpy(clip).transpose(0, 1), objects=2).logits
    return logits.argmax(dim=2).transpose(0, 1).numpy()


def test_the_block_in_the_docs_runs_an_onnx_file_without_memx(
    run: Run, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run("export", weights, "--to", "onnx", "--out", "gdkvm.onnx")
    assert status == 0, err
    assert ", ".join(STATE) in out
    assert float(re.search(r"at most (\S+) \(--atol 0\.0001\)", out)[1]) <= 1e-4  # type: ignore[index]
    code = block("import json")
    assert "memx import" not in code
    assert "import memx" not in code
    page: dict[str, object] = {}
    exec(compile(code, "docs/export.md", "exec"), page)
    wanted = labels_of(memx.load(weights), np.asarray(page["clip"]))
    assert (np.stack(page["labels"]) == wanted).mean() > 0.999  # type: ignore[arg-type]
    facts = page["facts"]
    assert isinstance(facts, dict)
    assert [leaf["name"] for leaf in facts["state"]] == STATE == page["names"]
    assert facts["frame"]["shape"] == [1, 1, 24, 40]
    assert list(facts["structures"]) == ["la", "lv"]
    assert facts["recipe_hash"] == memx.Recipe.load("gdkvm_phantom", SMALL).hash
    assert facts["memx"] == memx.__version__
    assert str(ROOT).encode() not in Path("gdkvm.onnx").read_bytes()


def test_a_torch_file_with_an_open_batch_runs_without_memx(run: Run, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "step.pt2"
    status, printed, err = run("export", weights, "--to", "torch", "--dynamic", "--size", "32x16", "--out", out)
    assert status == 0, err
    assert "in a batch of 3 and 1: masks differ" in printed
    extra = {"memx.json": ""}
    step = torch.export.load(out, extra_files=extra).module()
    facts = json.loads(extra["memx.json"])
    assert facts["batch"] is None
    clip = drawn_clip(5, 1, (32, 16))
    state = [
        torch.from_numpy(np.full([5, *leaf["shape"][1:]], leaf["initial"], leaf["dtype"])) for leaf in facts["state"]
    ]
    with torch.no_grad():
        wanted = memx.load(weights)(clip, 2).masks
        for t, frame in enumerate(clip.unbind(1)):
            masks, _, *state = step(frame, *state)
            torch.testing.assert_close(masks, wanted[:, t], atol=1e-5, rtol=0)
    with zipfile.ZipFile(out) as archive:
        assert not [name for name in archive.namelist() if str(ROOT).encode() in archive.read(name)]

    model = memx.load(weights)
    next(model.parameters()).data.mul_(1.5)
    with pytest.raises(UserError, match=r"in frame \d+ of a drawn clip.* above --atol 1e-06"):
        hold(TorchStep(out), model, clip, 2, Tolerance(1e-6))


def test_one_file_of_weights_gives_the_same_masks(run: Run, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy.safetensors"
    status, printed, err = run("export", weights, "--to", "safetensors", "--out", out)
    assert status == 0, err
    assert "at most 0.0e+00 (--atol 0.0001), logits by 0.0e+00 and the state by 0.0e+00 " in printed
    assert "Beware" not in printed
    clip = drawn_clip(1, 1, (24, 40))
    with torch.no_grad():
        assert torch.equal(memx.load(out)(clip, 2).masks, memx.load(weights)(clip, 2).masks)


def test_a_clip_on_which_masks_say_nothing_is_said(run: Run, weights: Path, tmp_path: Path) -> None:
    """The file is right and is written; that its masks were held to a constant is said."""
    model = memx.load(weights)
    with torch.no_grad():
        model.decoder.predict.weight.zero_()  # type: ignore[union-attr, operator]
        model.decoder.predict.bias.fill_(-30)  # type: ignore[union-attr, operator]
    save_weights(tmp_path / "blind.safetensors", model, memx.Recipe.load("gdkvm_phantom", SMALL))
    words = ("--to", "safetensors", "--out", tmp_path / "copy.safetensors")
    status, printed, err = run("export", tmp_path / "blind.safetensors", *words)
    assert status == 0, err
    assert "Beware: over the drawn frames the model's masks vary by 0.0e+00 only" in printed


def test_the_formats_are_those_of_the_command(run: Run) -> None:
    status, printed, _ = run("export", "--help")
    assert status == 0
    assert all(f"{name}:" in printed for name in Format)


def test_what_disagrees_is_not_written(
    run: Run, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that gives other masks, here one whose reading is disturbed, leaves nothing behind."""
    monkeypatch.setattr("memx.export.to_file.load", lambda path: _disturbed(memx.load(path)))
    status, _, err = run("export", weights, "--to", "safetensors", "--out", tmp_path / "new.safetensors")
    assert status == 2
    assert "does not agree with the model" in err
    assert not list(tmp_path.iterdir())


def _disturbed(model: torch.nn.Module) -> torch.nn.Module:
    for parameter in model.parameters():
        parameter.data.mul_(1.1)
    return model


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere", "--to", "onnx"], "no such run folder or checkpoint"),
        (["WEIGHTS", "--to", "onxx"], "did you mean 'onnx'"),
        (["WEIGHTS", "--to", "onnx", "--out", "x.pt"], "writes a .onnx file"),
        (["WEIGHTS", "--to", "onnx", "--out", "there.onnx"], "is there already"),
        (["WEIGHTS", "--to", "onnx", "--size", "big"], "--size big"),
        (["WEIGHTS", "--to", "onnx", "--dynamic", "--batch", "2"], "give one of the two"),
        (["WEIGHTS", "--to", "torch", "--opset", "20"], "--opset is ONNX's"),
        (["WEIGHTS", "--to", "safetensors", "--size", "32"], "--size is fixed in a graph"),
    ],
)
def test_mistakes_get_one_message(
    run: Run, weights: Path, words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.onnx").write_text("mine")
    status, _, err = run("export", *[str(weights) if word == "WEIGHTS" else word for word in words])
    assert status == 2
    assert says in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
    assert Path("there.onnx").read_text() == "mine"


def test_without_onnx_the_extra_is_named(run: Run, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else find(name, *rest))
    status, _, err = run("export", weights, "--to", "onnx")
    assert status == 2
    assert 'needs onnx: pip install "memx-video[export]"' in err
