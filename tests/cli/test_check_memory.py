"""`memx check FILE.py`: what a method author sees of a memory that is right, wrong, unfinished or not there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from memx.cli import main
from memx.memory.laws import LAWS, BrokenLawError

pytestmark = pytest.mark.usefixtures("own_registry")
LEAKY = (Path(__file__).parents[1] / "fixtures" / "leaky.py").read_text()
RIGHT = (
    LEAKY.replace("dtype=dtype))", "dtype=state_dtype(dtype)))")
    .replace("from memx import", "from memx.memory import no_autocast, state_dtype\nfrom memx import")
    .replace(
        'State(S=self.decay * state.S + torch.einsum("bnk,bonv->bokv", frame.key, frame.value))',
        "state.replace(S=self.decay * state.S + self.product(frame.key[:, None].mT, frame.value, state))",
    )
    .replace(
        'torch.einsum("bnk,bokv->bonv", frame.query, state.S)',
        "self.product(frame.query[:, None].to(state.S.dtype), state.S, state).to(frame.value.dtype)",
    )
    .replace(
        "    def cost(",
        "    def product(self, a, b, state):\n        with no_autocast(state.S.device):\n            return a @ b\n\n"
        "    def cost(",
    )
)
FORGETFUL = RIGHT.replace("        state = self.restart(state, frame)\n", "")
CRASHING = RIGHT.replace("frame.key[:, None].mT, frame", "frame.key[:, None].nT, frame")
COSTLESS = RIGHT[: RIGHT.index("    def cost(")]
QUICK = ("--examples", "3")


@pytest.fixture
def check(capsys, monkeypatch, tmp_path):
    """Runs `memx check` in a folder of its own; gives exit status and both outputs."""

    def run(*words, **files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setattr(sys, "argv", ["memx", "check", *words])
        capsys.readouterr()
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        out, err = capsys.readouterr()
        assert {path.name for path in tmp_path.iterdir()} >= {f"{name}.py" for name in files}
        assert not (tmp_path / ".hypothesis").exists()
        return status, out, err

    return run


def test_a_right_memory_keeps_every_law_that_speaks_of_it(check):
    status, out, err = check("mine.py", *QUICK, mine=RIGHT)
    assert (status, err) == (0, "")
    for law in LAWS:
        assert law.__name__ in out
    assert "extremes_stay_finite        not applicable: it has no parameters" in out
    assert "broken" not in out.replace("0 broken", "")
    assert "64 KiB after 1 frame, 64 KiB after 10" in out
    assert "8.39 M multiply-accumulates, 16.8 MFLOPs and 768 KiB moved a frame" in out
    assert "14 laws kept, 0 broken, 2 not applicable" in out


def test_sizes_are_those_that_were_asked_for(check):
    words = ("--key-dim", "8", "--value-dim", "4", "--tokens", "2")
    out = check("mine.py", "--examples", "1", *words, mine=RIGHT)[1]
    assert "key 8, value 4, 2 tokens a frame" in out
    assert "0.125 KiB after 1 frame" in out


def test_a_break_is_shown_and_its_three_lines_raise_it_again(check):
    status, out, _ = check("mine.py", mine=FORGETFUL)
    assert status == 1
    assert "✗ a_reset_starts_afresh       broken" in out
    found = "form recurrent: gradient to initial state S of 0.392 crosses a reset in frame 0"
    assert found in out
    assert "1 clip of 1 frame, 1 object, 1 token; key 1, value 1; no resets; starts empty; seed 0" in out
    lines = out[out.index("from memx.memory.from_file") :].split("\n\n")[0]
    assert lines.count("import") == 2
    with pytest.raises(BrokenLawError, match=found):
        exec(lines, {})


def test_json_says_the_same(check):
    status, out, err = check("mine.py", "--json", *QUICK, mine=FORGETFUL)
    assert (status, err) == (1, "")
    report = json.loads(out)
    assert report["recipes"] == report["mistakes"] == []
    (memory,) = report["memories"]
    assert (memory["memory"], memory["file"], memory["kept"]) == ("leaky_test", "mine.py", False)
    assert memory["state_bytes"] == {"1": 65536, "10": 65536}
    assert memory["cost"]["macs"] == 2 * 256 * 64 * 256
    assert memory["sizes"] == {"key_dim": 64, "value_dim": 256, "tokens": 256, "objects": 1}
    laws = {law["law"]: law for law in memory["laws"]}
    assert list(laws) == [law.__name__ for law in LAWS]
    assert laws["forms_equal_the_fold"]["outcome"] == "kept"
    assert laws["heads_permute"]["reason"]
    broken = laws["a_reset_starts_afresh"]["break"]
    assert broken["case"]["batch"] == broken["case"]["frames"] == 1
    assert broken["line"] is None
    with pytest.raises(BrokenLawError):
        exec("\n".join(broken["reproduce"]), {})


def test_an_exception_is_shown_with_its_line_once(check):
    status, out, err = check("mine.py", *QUICK, mine=CRASHING)
    assert (status, err) == (1, "")
    line = 1 + CRASHING[: CRASHING.index(".nT")].count("\n")
    found = " ".join(out.split())
    assert f"AttributeError: 'Tensor' object has no attribute 'nT' (line {line} of mine.py, in write)" in found
    assert out.count("AttributeError") == 1
    assert "Traceback" not in out
    assert "0 laws kept, 14 broken" in out


def test_what_is_no_memory_is_said_to_be_none(check):
    text = (
        "import torch\nimport memx\n\n\n@memx.memories.register('layer')\n"
        "def layer(key_dim: int, value_dim: int):\n    return torch.nn.Linear(key_dim, value_dim)\n"
    )
    status, out, _ = check("mine.py", *QUICK, mine=text)
    assert status == 1
    assert "found    TypeError: it builds a Linear, which is no memx.Memory" in out
    assert out.count("  found  ") == 1


def test_a_missing_cost_is_said_to_be_missing(check):
    status, out, _ = check("mine.py", *QUICK, mine=COSTLESS)
    assert status == 1
    assert "Leaky declares no cost: give it `cost(self, shape: memx.Shape) -> memx.Cost`" in out
    assert "not declared: the memory has no `cost`" in out
    assert "13 laws kept, 1 broken" in out


def test_every_memory_of_every_file_is_checked(check):
    second = RIGHT.replace("leaky_test", "second").replace("class Leaky", "class Second")
    both = second + FORGETFUL.replace("leaky_test", "third").replace("class Leaky", "class Third")
    status, out, _ = check("one.py", "two.py", "--examples", "1", one=RIGHT, two=both)
    assert status == 1
    assert [line for line in out.splitlines() if line.startswith("memory ")] == [
        "memory leaky_test  one.py",
        "memory second  two.py",
        "memory third  two.py",
    ]


def test_recipes_and_files_go_into_one_call_and_mistakes_do_not_stop_it(check):
    words = ("gdkvm_phantom", "nonsense", "mine.py", "none.py", "model.memory=linear", "--examples", "1")
    status, out, err = check(*words, mine=RIGHT)
    assert status == 2
    assert "LinearMemory" in out
    assert "14 laws kept" in out
    assert err.count("error:") == 2
    assert "none.py: cannot be read" in err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import memx\n", "mine.py: registers no memory; put `@memx.memories.register"),
        (LEAKY.replace("memories.register", "memories.regster"), "mine.py:11: AttributeError"),
        ("def f(:\n", "mine.py:1: SyntaxError: invalid syntax"),
        ("\nraise ValueError('no')\n", "mine.py:2: ValueError: no"),
        (LEAKY.replace("leaky_test", "linear"), "memory 'linear' is already registered"),
        (
            "import memx\n@memx.fusions.register('mine')\nclass Mine:\n    def __init__(self): ...\n",
            "it registers fusion 'mine'. Put",
        ),
    ],
)
def test_a_file_that_cannot_be_checked_is_a_mistake(check, text, says):
    status, out, err = check("mine.py", mine=text)
    assert status == 2
    assert says in " ".join(err.split())
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mine.py", "train.batch=3"], "overrides change recipes"),
        (["gdkvm_phantom", "--seed", "3"], "--seed is for Python files"),
        (["train.batch=3"], "name at least one recipe or Python file"),
    ],
)
def test_options_that_have_no_effect_are_refused(check, words, says):
    status, _, err = check(*words, mine=RIGHT)
    assert status == 2
    assert says in err


def test_cautions_of_a_recipe_are_shown_and_do_not_fail_it(check, tmp_path):
    cautious = RIGHT + (
        "\n    def cautions(self, shape):\n"
        "        return [f'{shape.tokens} tokens of {shape.objects} object, {shape.frames} frames: beware']\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nbase: gdkvm_phantom\nplugins: [mine.py]\nmodel: {memory: leaky_test}\n"
    )
    status, out, _ = check("mine.yaml", "data.size=100", "data.frames=4", mine=cautious)
    assert status == 0
    assert "caution: recipe mine: 49 tokens of 1 object, 4 frames: beware" in out
    status, out, _ = check("mine.yaml", "--json", mine=cautious)
    assert json.loads(out)["recipes"][0]["cautions"] == ["49 tokens of 1 object, 6 frames: beware"]


def test_help_gives_the_defaults_that_are_used(check):
    from memx.cli.check_memory import Sizes
    from memx.memory.verify import EXAMPLES

    out = " ".join(check("--help")[1].split())
    for text, default in (
        ("each law", EXAMPLES),
        ("are drawn", 0),
        ("given at", Sizes.key_dim),
        ("value channels", Sizes.value_dim),
        ("tokens of a frame", Sizes.tokens),
    ):
        assert f"{text} ({default})" in out
