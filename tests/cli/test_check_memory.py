"""`memx check FILE.py`: what a method author sees of a memory that is right, wrong, unfinished or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memx.memory.laws import LAWS, BrokenLawError

pytestmark = pytest.mark.usefixtures("own_registry")
RIGHT = (Path(__file__).parents[1] / "fixtures" / "leaky.py").read_text()
FORGETFUL = RIGHT.replace("        state = self.restart(state, frame)\n", "")
CRASHING = RIGHT.replace("frame.key[:, None].mT, frame", "frame.key[:, None].nT, frame")
COSTLESS = RIGHT[: RIGHT.index("    def cost(")]
QUICK = ("--examples", "3")


@pytest.fixture
def check(command, monkeypatch, tmp_path):
    """Runs `memx check` in a folder of its own; gives exit status and both outputs."""

    def run(*words, **files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.chdir(tmp_path)
        status, out, err = command("check", *words, columns=100)
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
    assert "15 laws kept, 0 broken, 2 not applicable" in out


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
    assert "0 laws kept, 15 broken, 2 not applicable (seed 0)" in out


def test_a_missing_cost_is_said_to_be_missing(check):
    status, out, _ = check("mine.py", *QUICK, mine=COSTLESS)
    assert status == 1
    assert "Leaky declares no cost: give it `cost(self, shape: memx.Shape) -> memx.Cost`" in out
    assert "not declared: the memory has no `cost`" in out
    assert "14 laws kept, 1 broken" in out


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
    assert " linear " in out
    assert "15 laws kept" in out
    assert err.count("error:") == 2
    assert "none.py: cannot be read" in err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import memx\n", "mine.py: registers no memory; put `@memx.memories.register"),
        (RIGHT.replace("memories.register", "memories.regster"), "mine.py:12: AttributeError"),
        ("def f(:\n", "mine.py:1: SyntaxError: invalid syntax"),
        ("\nraise ValueError('no')\n", "mine.py:2: ValueError: no"),
        (RIGHT.replace("leaky_test", "linear"), "memory 'linear' is already registered"),
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


INIT = RIGHT[RIGHT.index("        return State(") : RIGHT.index("    def write(")]
NOT_A_MEMORY = (
    "import torch\nimport memx\n\n\n@memx.memories.register('layer')\n"
    "def layer(key_dim: int, value_dim: int):\n    return torch.nn.Linear(key_dim, value_dim)\n"
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (NOT_A_MEMORY, "memory 'layer': it builds a Linear, which is no memx.Memory"),
        (RIGHT.replace("class Leaky(Memory)", "class Leaky(torch.nn.Module)"), "Leaky is no memx.Memory: write"),
        (
            RIGHT.replace("    def write(", '    forms = "recurrent"\n\n    def write('),
            '`forms` is the text "recurrent": it must be a tuple of names, `forms = ("recurrent",)`',
        ),
        (RIGHT.replace("    def write(", "    forms = ()\n\n    def write("), "`forms` is empty"),
        (
            RIGHT.replace("    def write(", "    def forms(self):\n        return ()\n\n    def write("),
            "`forms` is a method",
        ),
        (RIGHT.replace(INIT, "        return torch.zeros(batch)\n\n"), "init_state returns a Tensor: it must return"),
        (
            RIGHT.replace(INIT, "        return State(S=torch.zeros(objects + 1, batch))\n\n"),
            "init_state returns S of shape (3, 2) for a batch of 2: the batch must be the first axis",
        ),
        (
            RIGHT.replace("        return state.replace(", "        state.replace("),
            "write returns None: it must return",
        ),
        (
            RIGHT.replace("        return self.product(", "        out = self.product("),
            "read returns None: it must return the readouts, a tensor (b o n v)",
        ),
        (RIGHT.replace(".to(frame.value.dtype)", "[..., :1]"), "it must be (b o n v), here (2, 2, 3, 8)"),
        (
            RIGHT.replace("key_dim: int, value_dim", "dim_k: int, value_dim").replace("= key_dim,", "= dim_k,"),
            "dim_k stands before the `*`, where a memory is given only key_dim, value_dim, feature_dim",
        ),
        ("import sys\nsys.exit(3)\n", "mine.py:2: the file ends the program when it is imported (sys.exit)"),
    ],
)
def test_what_is_no_memory_is_said_in_one_sentence(check, text, says):
    assert text != RIGHT
    status, out, err = check("mine.py", mine=text)
    assert status == 2
    assert says in " ".join(err.split())
    assert err.count("error:") == 1
    assert "broken" not in out


def test_what_a_file_prints_is_no_part_of_the_json(check):
    text = "print('imported')\n" + RIGHT.replace(
        "    def write(self, state, frame):\n", "    def write(self, state, frame):\n        print('written')\n"
    )
    status, out, err = check("mine.py", "--json", "--examples", "1", mine=text)
    assert status == 0
    assert json.loads(out)["memories"][0]["kept"]
    assert "imported" in err
    assert "written" in err


def test_the_report_says_how_large_the_cases_were(check):
    out = " ".join(check("mine.py", *QUICK, mine=RIGHT)[1].split())
    assert "33 frames and 300 tokens a frame: forms_equal_the_fold, splits_do_not_matter" in out
    report = json.loads(check("mine.py", "--json", *QUICK, mine=RIGHT)[1])
    laws = {law["law"]: law for law in report["memories"][0]["laws"]}
    assert laws["splits_do_not_matter"]["up_to"] == {"frames": 33, "tokens": 300}
    assert laws["gradients_are_right"]["up_to"]["frames"] <= 5


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("self.decay * state.S +", "state.S.mul_(self.decay) +", "write and read: state S was changed in place"),
        ("frame.query[:, None]", "frame.query.div_(2)[:, None]", "write and read: query was changed in place"),
    ],
)
def test_a_change_in_place_is_the_first_break(check, old, new, found):
    out = check("mine.py", *QUICK, mine=RIGHT.replace(old, new))[1]
    breaks = out[out.index("no_frames_change_nothing") :]
    assert breaks.index(found) < breaks.index("case ")


def test_a_random_memory_is_first_said_to_be_random(check):
    text = RIGHT.replace("self.decay * state.S", "self.decay * torch.rand(()) * state.S")
    out = check("mine.py", *QUICK, mine=text)[1]
    assert "✗ runs_repeat                 broken" in out
    assert "not deterministic: form recurrent, the second of two identical runs: " in " ".join(out.split())


@pytest.mark.parametrize(
    ("word", "says"),
    [("mine", "mine is no recipe; for the memories of the Python file say `memx check mine.py`"), (".", "is a folder")],
)
def test_what_was_meant_is_said(check, word, says):
    status, _, err = check(word, mine=RIGHT)
    assert status == 2
    assert says in " ".join(err.split())
