"""A released checkpoint becomes a run folder that computes the released numbers; anything else is refused by name."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

import memx
from memx.engine.foreign import Foreign, read_foreign
from memx.engine.gdkvm_import import fit, import_gdkvm, provenance, recipe_of
from memx.engine.run import RunFolder
from memx.errors import CheckpointError, UserError
from memx.models.base import VideoModel
from memx.recipe import Recipe

FIXTURES = Path(__file__).parents[1] / "fixtures" / "gdkvm"


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Emptied at once: a checkpoint has 140 MB."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="module")
def released(rules) -> dict[str, Tensor]:
    return rules.released_tensors()


@pytest.fixture(scope="module")
def model() -> VideoModel:
    return memx.build(Recipe.load("gdkvm_rerelease"))


@pytest.fixture(scope="module")
def imported(released, tmp_path_factory) -> Iterator[Path]:
    """The run folder of a state dict alone."""
    folder = tmp_path_factory.mktemp("imported")
    torch.save(released, folder / "gdkvm.pth")
    run, _ = import_gdkvm(folder / "gdkvm.pth", Recipe.load("gdkvm_rerelease"), folder / "run")
    yield run.path
    shutil.rmtree(folder)


def assert_golden(run: Path, release: str, rules) -> None:
    golden = np.load(FIXTURES / f"{release}.npz")
    with torch.no_grad():
        out = memx.load(run)(rules.clips_by_rule(1, 4, 64, 64), auxiliary=True)
    assert out.auxiliary is not None
    found = {
        "masks": out.masks,
        "logits_last": out.logits[:, -1],
        "sensory_logits_last": out.auxiliary.sensory[:, -1],
        "query_logits_last": out.auxiliary.queries[:, -1],
    }
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, torch.from_numpy(golden[name]), atol=1e-4, rtol=0, msg=name)


def test_a_state_dict_alone_gives_the_golden_numbers(imported, rules):
    assert_golden(imported, "exp_interleaved", rules)
    assert {p.name for p in imported.iterdir()} == {"recipe.yaml", "manifest.json", "model.safetensors", "report.html"}


def test_the_manifest_says_where_the_weights_are_from(imported):
    source = RunFolder.open(imported).read_json("manifest.json")["imported"]
    content = (imported.parent / "gdkvm.pth").read_bytes()
    assert source["file"] == "gdkvm.pth"
    assert source["sha256"] == hashlib.sha256(content).hexdigest()
    assert "fit both releases" in source["notes"][0]
    assert str(imported.parent) not in json.dumps(source)
    assert source["sha256"] in (imported / "report.html").read_text()


def test_a_training_checkpoint_of_the_2025_release(released, rules, command, tmp_path):
    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.AdamW([weight])
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    weight.sum().backward()
    optimizer.step()
    scheduler.step()
    torch.save(
        {
            "it": 3000,
            "weights": {f"module.{name}": tensor for name, tensor in released.items()},
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
        },
        tmp_path / "ckpt.pth",
    )
    words = [str(tmp_path / "ckpt.pth"), "--out", str(tmp_path / "run")]
    status, out, err = command("import", "gdkvm", *words)
    assert status == 0, err
    assert "`weights`, as the trainer of the 2025 release writes them" in out
    assert "run as gdkvm_release_2025" in out
    assert "num_batches_tracked" in out
    assert_golden(tmp_path / "run", "raw_tiled", rules)
    assert command("import", "gdkvm", *words)[0] == 2  # there is a run here already


@pytest.mark.parametrize(
    ("content", "chosen"),
    [
        (lambda x: {"weights": x, "it": 1}, "gdkvm_release_2025"),
        (lambda x: {"model": x, "scaler": {}}, "gdkvm_rerelease"),
        (lambda x: x, "gdkvm_rerelease"),
    ],
)
def test_without_a_recipe_the_trainer_says_which_and_a_contradiction_is_said(content, chosen, released, tmp_path):
    torch.save(content({"A_log": released["A_log"]}), tmp_path / "x.pth")
    foreign = read_foreign(tmp_path / "x.pth")
    assert recipe_of(foreign) == chosen
    said = {name: provenance(foreign, Recipe.load(name)) for name in ("gdkvm_release_2025", "gdkvm_rerelease")}
    assert not any("Beware" in note for note in said.pop(chosen))
    for notes in said.values():
        assert notes[0].startswith("Beware") == (foreign.container is not None)


@pytest.mark.parametrize(
    ("name", "overrides", "apart"),
    [
        ("gdkvm_camus", [], "from gdkvm_rerelease they differ in model.pixel_pairing"),
        ("gdkvm_rerelease", ["model.memory.normalize=tokens"], "model.memory.normalize"),
        ("gdkvm_release_2025", ["model.memory.alpha_layout=interleaved"], "model.memory.alpha_layout"),
    ],
)
def test_equations_of_no_release_are_warned_of(name, overrides, apart):
    notes = provenance(Foreign({}), Recipe.load(name, overrides))
    assert notes[0].startswith("Beware: these are the equations of no release")
    assert apart in notes[0]


def test_the_equations_say_the_release_and_not_the_recipes_name():
    moved = Recipe.load("gdkvm_camus", ["model.pixel_pairing=previous", "model.image_encoder.weights=null"])
    (note,) = provenance(Foreign({}), moved)
    assert "run as gdkvm_rerelease" in note


@pytest.mark.parametrize(
    ("content", "container", "wrappers"),
    [
        (lambda x: x, None, ()),
        (lambda x: {"model": x, "it": 1, "scaler": {}}, "model", ()),
        (lambda x: {"state_dict": x, "epoch": 2}, "state_dict", ()),
        (lambda x: {"module._orig_mod." + k: v for k, v in x.items()}, None, ("module.", "_orig_mod.")),
    ],
)
def test_state_dicts_are_found_where_pytorch_puts_them(content, container, wrappers, tmp_path):
    tensors = {"A_log": torch.rand(8), "module_b": torch.rand(2)}
    torch.save(content(tensors), tmp_path / "x.pth")
    found = read_foreign(tmp_path / "x.pth")
    assert (found.container, found.wrappers) == (container, wrappers)
    torch.testing.assert_close(found.tensors, tensors)


def test_safetensors_are_read(released, tmp_path):
    some = {name: released[name] for name in list(released)[:3]}
    safetensors.torch.save_file(some, tmp_path / "x.safetensors")
    torch.testing.assert_close(read_foreign(tmp_path / "x.safetensors").tensors, some)


def test_single_object_stems_get_a_channel_of_zeros(released, model, rules):
    """With one object the last channel of both stems meets zeros only, so the numbers stay."""
    narrow = {name: released[name][:, :-1] for name in ("mask_encoder.conv1.weight", "pixel_fuser.conv.weight")}
    found = fit({**released, **narrow}, model, "x")
    assert sum("single-object" in note for note in found.notes) == 2
    video = rules.clips_by_rule(1, 2, 32, 32)
    masks = []
    for tensors in (found.tensors, fit(released, model, "x").tensors):
        model.load_state_dict(tensors)
        with torch.no_grad():
            masks.append(model.eval()(video).masks)
    torch.testing.assert_close(masks[0], masks[1], atol=1e-6, rtol=0)


def test_counters_and_sinusoids_are_known(released, model):
    frequencies = 1.0 / 128 ** (torch.arange(0, 128, 2).float() / 128)
    extra = {
        "object_transformer.spatial_pe.inv_freq": frequencies,
        "object_summarizer.pos_enc.inv_freq": frequencies,
        "image_encoder.bn1.num_batches_tracked": torch.tensor(7),
    }
    found = fit({**released, **extra}, model, "x").tensors
    assert found["image_encoder.bn1.num_batches_tracked"] == 7
    assert found["value_encoder.encoder.bn1.num_batches_tracked"] == 0
    assert not any("inv_freq" in name for name in found)
    with pytest.raises(CheckpointError, match=r"spatial_pe\.inv_freq: other frequencies"):
        fit({**released, "object_transformer.spatial_pe.inv_freq": 2 * frequencies}, model, "x")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_a_checkpoint_of_another_precision_keeps_its_sinusoids(dtype, released, model):
    frequencies = 1.0 / 128 ** (torch.arange(0, 128, 2).float() / 128)
    name = "object_transformer.spatial_pe.inv_freq"
    stored = {key: x.to(dtype) if x.is_floating_point() else x for key, x in {**released, name: frequencies}.items()}
    found = fit(stored, model, "x")
    if dtype != torch.float32:
        assert f"stored in {str(dtype).removeprefix('torch.')}; kept in float32" in found.notes
    for wrong in (1.05 * stored[name], stored[name].long(), stored[name].roll(1)):
        with pytest.raises(CheckpointError, match=r"spatial_pe\.inv_freq: other frequencies"):
            fit({**stored, name: wrong}, model, "x")


def test_what_memx_wrote_itself_is_not_imported(imported, model, command, tmp_path):
    """As a file of weights, a run folder or a state dict: its recipe would be lost."""
    torch.save({"model": model.state_dict(), "scaler": {}}, tmp_path / "x.pth")
    for taken, says in (
        (imported, f"{imported}: a run folder of memx; `memx.load` and memx's commands take it"),
        (imported / "model.safetensors", "model.safetensors: a file of memx, with its recipe inside; `memx.load` and"),
        (tmp_path / "x.pth", "its tensors have memx's names, not the releases': "),
    ):
        status, _, err = command("import", "gdkvm", str(taken), "--out", str(tmp_path / "run"))
        assert status == 2
        assert says in err, err
        assert "memx.load" in err
        assert not (tmp_path / "run").exists()


def test_every_tensor_that_does_not_fit_is_named(released, command, tmp_path):
    bad = {name: tensor for name, tensor in released.items() if name not in ("A_log", "KPFF.layer1.bias")}
    bad["mask_decoder.pred.weight"] = torch.zeros(2, 128, 1, 1)
    bad["image_encoder.layer4.0.conv1.weight"] = torch.zeros(1)
    bad["dt_bias"] = torch.full((8,), torch.nan)
    torch.save({"weights": bad}, tmp_path / "bad.pth")
    status, _, err = command("import", "gdkvm", str(tmp_path / "bad.pth"), "--out", str(tmp_path / "deep" / "run"))
    assert status == 2
    for line in (
        "missing: A_log (ours: memory.A_log) [8]",
        "missing: KPFF.layer1.bias (ours: key_fusion.local1.bias) [256]",
        "shape: mask_decoder.pred.weight (ours: decoder.predict.weight) is [2, 128, 1, 1]",
        "surplus: image_encoder.layer4.0.conv1.weight [1]",
        "not finite: dt_bias (ours: memory.dt_bias)",
    ):
        assert line in err, err
    assert [p.name for p in tmp_path.iterdir()] == ["bad.pth"]


def test_a_checkpoint_of_another_network_is_no_gdkvm(model):
    with pytest.raises(CheckpointError, match=r"no GDKVM checkpoint: it has a\.weight, b\.weight"):
        fit({"a.weight": torch.zeros(1), "b.weight": torch.zeros(1)}, model, "x")


class Planted:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "pickle"])
def test_code_in_a_checkpoint_is_not_run(legacy, command, tmp_path):
    content = {"weights": {"A_log": torch.zeros(8)}, "args": Planted(tmp_path / "planted")}
    if legacy:
        (tmp_path / "x.pth").write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, tmp_path / "x.pth")
    status, _, err = command("import", "gdkvm", str(tmp_path / "x.pth"), "--out", str(tmp_path / "run"))
    assert status == 2
    assert "refused" in err
    assert "weights_only=False" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["x.pth"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a safetensors checkpoint"),
        (b"PK\x03\x04 cut short", "damaged"),
        (b"\x80\x02garbage", "damaged"),
    ],
)
def test_damaged_files_are_refused(content, says, tmp_path):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=says):
        read_foreign(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"it": 3, "optimizer": {}}, r"holds no state dict; .* Its keys: it, optimizer"),
        ({"weights": {"a": torch.zeros(1)}, "model": {"a": torch.zeros(1)}}, r"several state dicts \(weights, model\)"),
        ([torch.zeros(1)], "holds a list"),
        ({}, "Its keys: none"),
    ],
)
def test_files_without_one_state_dict_are_refused(content, says, tmp_path):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=says):
        read_foreign(tmp_path / "x.pth")


def test_a_missing_file_and_a_taken_folder(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint file"):
        read_foreign(tmp_path / "none.pth")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        import_gdkvm(tmp_path / "none.pth", Recipe.load("gdkvm_rerelease"), tmp_path / "taken")


def test_a_failed_write_leaves_nothing(released, tmp_path, monkeypatch):
    def full(*args: object, **kwargs: object) -> None:
        raise UserError("the disk is full")

    torch.save(released, tmp_path / "x.pth")
    monkeypatch.setattr("memx.engine.gdkvm_import.save_weights", full)
    with pytest.raises(UserError, match="full"):
        import_gdkvm(tmp_path / "x.pth", Recipe.load("gdkvm_rerelease"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_imported_run_predicts_and_is_scored(imported, phantom_root, command, tmp_path):
    clip = np.random.default_rng(0).integers(0, 255, (40, 56, 3)).astype(np.uint8)
    nib.save(nib.Nifti1Image(clip, np.eye(4)), tmp_path / "clip.nii.gz")
    words = [str(tmp_path / "clip.nii.gz"), "data.size=64", "--crop", "none", "--out", str(tmp_path / "out")]
    status, out, err = command("predict", str(imported), *words)
    assert status == 0, err
    assert "EF" in out
    masks = nib.load(tmp_path / "out" / "clip" / "masks.nii.gz")
    assert masks.shape == (40, 56, 3)
    data = [f"data.root={phantom_root}", "data.size=32", "evaluate.bootstrap=20"]
    status, out, err = command("eval", str(imported), *data, "--split", "val")
    assert status == 0, err
    assert "Dice" in out


@pytest.mark.slow
def test_an_imported_run_is_exported(imported, rules, command, tmp_path):
    """Each format is held to the model before its file appears; the one that memx reads gives the golden numbers."""
    for kind, name, size in (("safetensors", "x.safetensors", ()), ("onnx", "x.onnx", ("--size", "64"))):
        status, _, err = command("export", str(imported), "--to", kind, "--out", str(tmp_path / name), *size)
        assert status == 0, err
    assert_golden(tmp_path / "x.safetensors", "exp_interleaved", rules)
    assert {p.name for p in tmp_path.iterdir()} == {"x.safetensors", "x.onnx"}
