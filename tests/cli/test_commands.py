"""The commands, as a user types them: what they print, write and refuse."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def run(command):
    return command


@pytest.fixture(scope="module")
def small(tiny_words: list[str]) -> list[str]:
    words = ["model.key_dim=32", "model.refiner=null", "loss.points=null", "train.iterations=2"]
    return [*tiny_words, *words, "evaluate.bootstrap=50"]


@pytest.fixture(scope="module")
def trained(small: list[str], phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from memx.cli.training import run_training
    from memx.recipe import Recipe

    out = tmp_path_factory.mktemp("cli") / "run"
    run_training(Recipe.load("gdkvm_phantom", [f"data.root={phantom_root}", *small]), out=out)
    return out


def test_a_runs_report_shows_the_best_weights_on_the_validation_patients(trained: Path) -> None:
    page = (trained / "report.html").read_text(encoding="utf-8")
    for words in (
        "Learning curves",
        "Validation patients",
        "they flatter them",
        "The worst clips first",
        "data:video/mp4",
    ):
        assert words in page
    best = max(float(row["validation_dice"]) for row in read_history(trained) if row["validation_dice"])
    assert f'<dd class="value">{best:.3f}</dd>' in page.split("Scores</h2>")[0].split("at a glance</h2>")[-1]


def read_history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_list_names_everything(run) -> None:
    status, out, _ = run("list")
    assert status == 0
    for word in ("gated_delta", "softmax", "mamba", "kpff", "resnet", "upsample", "camus", "gamma", "gdkvm_camus"):
        assert word in out
    status, out, _ = run("list", "fusion")
    assert "kpff" in out
    assert "gated_delta" not in out


def test_show_says_what_there_is_to_say(run) -> None:
    status, out, _ = run("show", "memory", "gated_delta")
    assert status == 0
    for word in ("S_t", "heads", "default", "state | token", "forms", "recurrent", "bytes after", "arXiv"):
        assert word in out, word
    status, out, _ = run("show", "recipe", "gdkvm_camus")
    assert "clip_norm: 3.0" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show", "memory", "gated_dleta"], "did you mean 'gated_delta'"),
        (["show", "memroy", "linear"], "did you mean 'memory'"),
        (["list", "fusoin"], "did you mean 'fusion'"),
        (["train", "gdkvm_fantom"], "did you mean 'gdkvm_phantom'"),
        (["train"], "name a recipe"),
        (["check", "gdkvm_phantom", "train.bach=3"], "did you mean 'batch'"),
        (["check", "gdkvm_phantom", "model.memory.heads=0"], "greater than or equal to 1"),
        (["eval", "nowhere"], "no such run folder"),
        (["train", "--resume", "nowhere"], "no such run folder"),
        (["predict", "nowhere", "clip.avi", "--out", "x"], "no such run folder or checkpoint"),
        (["train", "gdkvm_phantom", "data.root=nowhere"], "nowhere"),
        (["train", "gdkvm_phantom", "--device", "cuda:7"], "not available here"),
        (["data", "phantom", "x", "--layout", "camsu"], "did you mean 'camus'"),
    ],
)
def test_mistakes_get_one_message_and_status_2(run, words: list[str], says: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run(*words)
    assert status == 2
    assert says in err, err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(run) -> None:
    with pytest.raises(Exception, match="no such run folder"):
        run("eval", "nowhere", "--debug")


def test_camus_without_data_says_where_it_is_in_three_lines(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run("train", "recipes/gdkvm_camus.yaml")
    assert status == 2
    lines = err.strip().splitlines()
    assert len(lines) == 3, err
    assert "creatis" in err
    assert "data.root=" in lines[1]
    assert "memx data phantom" in lines[2]
    assert not (tmp_path / "runs").exists()


def test_check_builds_every_recipe_named(run) -> None:
    status, out, _ = run("check", "gdkvm_camus", "gdkvm_phantom")
    assert status == 0
    assert "35,078,282" in out
    status, out, err = run("check", "gdkvm_phantom", "nonsense", "model.nonsense=1")
    assert status == 2
    assert err.count("error:") == 2


def test_schema_is_json(run, tmp_path: Path) -> None:
    status, out, _ = run("schema")
    assert status == 0
    assert json.loads(out)["properties"]["model"]
    run("schema", "--out", str(tmp_path / "s.json"))
    assert json.loads((tmp_path / "s.json").read_text()) == json.loads(out)


def test_env_names_machine_libraries_and_backends(run) -> None:
    status, out, _ = run("env", "--json")
    assert status == 0
    facts = json.loads(out)
    assert facts["libraries"]["torch"]
    assert "torch" in facts["backends"]
    assert run("env")[1].count("\n") > 10


def test_phantom_is_written_once(run, tmp_path: Path) -> None:
    status, out, _ = run("data", "phantom", str(tmp_path / "p"), "--patients", "1", "--size", "64")
    assert status == 0
    assert "wrote 1 patient" in out
    assert (tmp_path / "p" / "database_nifti" / "patient0001").is_dir()
    status, _, err = run("data", "phantom", str(tmp_path / "p"), "--patients", "1")
    assert status == 2
    assert "p" in err


def test_train_writes_a_run_that_eval_scores(run, trained: Path) -> None:
    assert (trained / "report.html").is_file()
    status, out, _ = run("eval", str(trained), "--split", "val")
    assert status == 0
    for word in ("Dice", "IoU", "HD95", "EF error", "protocol"):
        assert word in out
    assert {p.name for p in (trained / "eval" / "val").iterdir()} == {
        "agreement.csv",
        "clips.csv",
        "ef.csv",
        "scores.csv",
        "scores.json",
        "summaries.csv",
        "manifest.json",
        "worst.png",
        "report.html",
    }
    assert run("eval", str(trained), "--split", "tset")[0] == 2
    for name in ("../elsewhere", "a/b", ".hidden", ""):
        status, _, err = run("eval", str(trained), "--name", name)
        assert (status, "a folder's name has letters" in err) == (2, True), name
    assert sorted(path.name for path in (trained / "eval").iterdir()) == ["val"]


def test_resume_of_a_finished_run_changes_nothing(run, trained: Path) -> None:
    before = (trained / "last" / "model.safetensors").read_bytes()
    status, _, _ = run("train", "--resume", str(trained))
    assert status == 0
    assert (trained / "last" / "model.safetensors").read_bytes() == before


def test_a_changed_recipe_is_not_resumed(run, trained: Path) -> None:
    status, _, err = run("train", "--resume", str(trained), "train.learning_rate=0.5")
    assert status == 2
    assert "was written for recipe" in err


def test_predict_takes_clips_and_folders(run, trained: Path, phantom_root: Path, tmp_path: Path) -> None:
    clips = sorted((phantom_root / "database_nifti" / "patient0001").glob("*half_sequence.nii.gz"))
    folder = tmp_path / "clips"
    folder.mkdir()
    for clip in clips:
        (folder / clip.name).write_bytes(clip.read_bytes())
    status, out, err = run("predict", str(trained), str(folder), "--out", str(tmp_path / "out"))
    assert status == 0, err
    assert "EF" in out
    assert (tmp_path / "out" / "report.html").is_file()
    for clip in clips:
        name = clip.name.removesuffix(".nii.gz")
        assert (tmp_path / "out" / name / "masks.nii.gz").is_file()
    status, _, err = run("predict", str(trained), str(tmp_path / "none.avi"), "--out", str(tmp_path / "out2"))
    assert status == 2
    assert "none.avi" in err
    assert not (tmp_path / "out2").exists()


def test_predict_runs_the_optimised_network(run, trained: Path, phantom_root: Path, tmp_path: Path) -> None:
    clip = phantom_root / "database_nifti" / "patient0001" / "patient0001_2CH_half_sequence.nii.gz"
    masks = []
    for name, options in (("fast", []), ("plain", ["--plain"])):
        status, out, err = run("predict", str(trained), str(clip), "--out", str(tmp_path / name), *options)
        assert status == 0, err
        summary = json.loads(next((tmp_path / name).rglob("summary.json")).read_text(encoding="utf-8"))
        assert ("optimised: " in out) == (name == "fast")
        assert bool(summary["network"]) == (name == "fast")
        masks.append(np.asarray(nib.load(next((tmp_path / name).rglob("masks.nii.gz"))).dataobj))
    assert (masks[0] != masks[1]).mean() < 1e-3


@pytest.mark.usefixtures("own_registry")
def test_a_plugin_travels_in_the_run_folder(run, small: list[str], phantom_root: Path, tmp_path: Path) -> None:
    plugin = Path(__file__).parents[1] / "fixtures" / "leaky.py"
    (tmp_path / "leaky.py").write_bytes(plugin.read_bytes())
    (tmp_path / "mine.yaml").write_text(
        "plugins: [leaky.py]\nmodel: {memory: leaky_test}\ndata: {layout: camus, supervision: all}\n"
    )
    words = ["train", str(tmp_path / "mine.yaml"), f"data.root={phantom_root}", *small, "--out", str(tmp_path / "run")]
    status, _, err = run(*words)
    assert status == 0, err
    (tmp_path / "leaky.py").unlink()
    assert (tmp_path / "run" / "plugins" / "leaky.py").is_file()
    assert run("eval", str(tmp_path / "run"), "--split", "val")[0] == 0
    status, _, err = run("predict", str(tmp_path / "run" / "model.safetensors"), "x.avi", "--out", str(tmp_path / "o"))
    assert status == 2
    assert "run folder" in err


def test_pretrained_weights_that_cannot_be_had_leave_no_run(
    run, small: list[str], phantom_root: Path, tmp_path: Path
) -> None:
    words = [f"data.root={phantom_root}", *small, "model.image_encoder.weights=nowhere.pth"]
    status, _, err = run("train", "gdkvm_phantom", *words, "--out", str(tmp_path / "run"))
    assert status == 2
    assert "nowhere.pth" in err
    assert not (tmp_path / "run").exists()


def test_weights_are_scored_with_their_own_model_only(run, trained: Path, tmp_path: Path) -> None:
    status, _, err = run("eval", str(trained), "model.memory.key_norm=l2", "--split", "val")
    assert status == 2
    assert "differs from the recipe's in model.memory.key_norm" in err
    status, _, err = run("predict", str(trained), "x.avi", "model.memory.key_norm=l2", "--out", str(tmp_path / "o"))
    assert status == 2
    assert "model.memory.key_norm" in err


def test_all_bad_clips_are_reported_before_a_run_begins(
    run, small: list[str], phantom_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "bad"
    shutil.copytree(phantom_root, root)
    bad = sorted(root.rglob("*2CH_half_sequence_gt.nii.gz"))[:2]
    for path in bad:
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.where(np.asarray(image.dataobj) == 1, 255, 0).astype(np.uint8), image.affine), path)
    status, _, err = run("train", "gdkvm_phantom", f"data.root={root}", *small, "--out", str(tmp_path / "run"))
    assert status == 2
    for path in bad:
        if path.name[:11] in err:
            assert "255" in err
    assert any(path.name in err for path in bad)
    assert not (tmp_path / "run").exists()


def test_an_interrupted_start_can_be_repeated(
    run, small: list[str], phantom_root: Path, tmp_path: Path, monkeypatch
) -> None:
    from memx.engine.train import Trainer

    words = ["train", "gdkvm_phantom", f"data.root={phantom_root}", *small, "--out", str(tmp_path / "run")]
    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda *args: (_ for _ in ()).throw(RuntimeError("boom")))
    with pytest.raises(RuntimeError, match="boom"):
        run(*words)
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(Trainer, "_step", step)
    assert run(*words)[0] == 0


def test_the_demo_takes_nobody_elses_folders(run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    status, _, err = run("demo", "--out", str(tmp_path))
    assert status == 2
    assert "not from an earlier demo" in err
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"


def test_names_with_brackets_are_names(run, small: list[str], phantom_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "r[b]"
    status, _, err = run("train", "gdkvm_phantom", f"data.root={phantom_root}", *small, "--out", str(out))
    assert status == 0
    assert "r[b]" in err


def test_components_of_a_file_can_be_listed_and_shown(run, own_registry: None) -> None:
    plugin = str(Path(__file__).parents[1] / "fixtures" / "leaky.py")
    assert "leaky_test" in run("list", "memories", "--plugin", plugin)[1]
    assert "Leaky sum" in run("show", "memory", "leaky_test", "--plugin", plugin)[1]


def test_a_shown_recipe_can_be_piped_into_a_file_and_used(run, tmp_path: Path) -> None:
    status, out, _ = run("show", "recipe", "gdkvm_phantom", "train.batch=3")
    assert status == 0
    (tmp_path / "mine.yaml").write_text(out)
    assert "batch: 3" in out
    assert run("check", str(tmp_path / "mine.yaml"))[0] == 0
    (tmp_path / "on_top.yaml").write_text("base: gdkvm_phantom\ntrain: {batch: 5}\n")
    assert run("check", str(tmp_path / "on_top.yaml"))[0] == 0


def test_check_runs_what_it_builds(run, own_registry: None, tmp_path: Path) -> None:
    source = (Path(__file__).parents[1] / "fixtures" / "leaky.py").read_text()
    (tmp_path / "half.py").write_text(source.replace("def read(", "def reed(").replace("leaky_test", "half_test"))
    (tmp_path / "half.yaml").write_text("base: gdkvm_phantom\nplugins: [half.py]\nmodel: {memory: half_test}\n")
    status, _, err = run("check", str(tmp_path / "half.yaml"))
    assert status == 2
    assert "builds but does not run" in err
    assert "must define read" in err


def test_a_structure_that_no_mask_has_is_refused(run, small: list[str], phantom_root: Path, tmp_path: Path) -> None:
    words = [f"data.root={phantom_root}", *small, "data.structures={aorta: [9]}", "--out", str(tmp_path / "run")]
    status, _, err = run("train", "gdkvm_phantom", *words)
    assert status == 2
    assert "aorta" in err
    assert not (tmp_path / "run").exists()


def test_training_options_have_no_effect_on_a_trained_run(run, trained: Path) -> None:
    status, _, err = run("eval", str(trained), "train.batch=3")
    assert status == 2
    assert "no effect" in err


def test_an_empty_recipe_and_half_a_mapping_are_mistakes(run, tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("\n")
    assert "is empty" in run("check", str(tmp_path / "empty.yaml"))[2]
    message = run("check", "gdkvm_phantom", "model.memory={type: softmax")[2]
    assert "override model.memory={type: softmax" in message
    assert "not YAML" in message
