"""Every fenced block of the README, CONTRIBUTING and docs is run, page by page, in the reader's order.

A page has a folder of its own with `recipes/` and the files of `PREPARED`. What a block's language means:

python         run, in one namespace a page; with `title="FILE"` it is saved as that file instead, as the reader would
yaml           a recipe: loaded, validated and built; with `title="FILE"` saved first
sh             every line is run for real by `memx.cli.main`, made smaller as `smaller` says, but for those in
               `NOT_RUN`, where any that is no memx command must be. It exits with 0 unless its comment says
               `exit status N`, or its data is at `/path/to/…`: then it must answer with the three lines about that data
text           directly after `python` or `sh`: all that the last command printed (to standard error after a mistake),
               `…` standing for anything; elsewhere it is shown only
bibtex         shown

Any other language fails.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import memx
from memx.cli import main
from memx.engine.datasets import make_layout
from memx.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
PREPARED = {
    "data/phantom": "a phantom of six patients at 64 × 64, unless the page writes one there itself",
    "clip.avi": "the reader's own clip",
    "clip.nii.gz": "the reader's own clip",
}
SMALL_MODEL = [
    "model.image_encoder.width=8",
    "model.value_encoder.width=8",
    "model.key_dim=8",
    "model.value_dim=16",
    "model.pixel_dim=16",
    "model.sensory_dim=16",
    "model.refiner=null",
    "data.size=32",
    "data.frames=3",
    "train.batch=2",
    "train.iterations=2",
    "train.validate_every=0",
    "train.warmup=0",
    "loss.points=64",
]
NOT_RUN = {
    "make demo": "trains for minutes",
    "make test": "runs these very tests",
    "make lint": "installs into an environment of its own",
    "make docs": "installs into an environment of its own",
    "python -m pip install -c constraints.txt .": "needs a package index",
    "memx profile": "takes minutes; tests/profile/test_profile_command.py profiles a small network",
    "memx search": "takes most of an hour; tests/search/ searches a small space",
    "memx search --show searches/which_memory_1f0c2a": "shows what was not run; tests/search/test_search_command.py",
    "optuna-dashboard sqlite:///searches/which_memory_1f0c2a/study.db": "serves until it is stopped",
    "memx train searches/which_memory_1f0c2a/pareto/trial_0012.yaml seed=1": "is of a search that was not run",
    "memx import gdkvm CHECKPOINT.pth --out runs/gdkvm": "needs released weights; tests/models/test_gdkvm_import.py",
    "memx eval runs/gdkvm data.root=/path/to/CAMUS_public": "the same",
    "memx predict runs/gdkvm clip.avi --out predictions": "the same",
    "torchrun --standalone --nproc-per-node=4 -m memx train gdkvm_camus data.root=/data/CAMUS_public "
    "--out runs/camus": "needs four GPUs",
    "torchrun --nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d --rdzv-endpoint=node1:29500 --rdzv-id=camus "
    "-m memx train gdkvm_camus data.root=/data/CAMUS_public --out /shared/runs/camus": "needs two nodes",
    "memx search --workers 2": "takes an hour; tests/search/test_killed_workers.py",
    "export OPTUNA_STORAGE=postgresql+psycopg://memx@db.example.org/memx": "names a data base that is not here",
    "memx search recipes/search_memory.yaml --out /shared/searches/memory --workers 4": (
        "needs that data base; tests/search/test_storages.py"
    ),
    "memx search --show /shared/searches/memory --storage postgresql+psycopg://memx@db.example.org/memx": "the same",
    "optuna-dashboard postgresql+psycopg://memx@db.example.org/memx": "the same; tests/search/test_dashboard.py",
    "torchrun --nproc-per-node 2 -m memx train gdkvm_phantom --out runs/two": "tests/engine/test_processes.py does",
    "torchrun --nproc-per-node 2 -m memx train --resume runs/two": "the same",
}
"""Commands that the tests cannot run, and why. A make target must be in the Makefile."""


@dataclass(frozen=True)
class Block:
    """A fenced block: `line` is that of its first line of text, `follows` says that nothing stands before it but a
    block."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str
    follows: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def read_blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, indented ones too."""
    found: list[Block] = []
    opened: re.Match[str] | None = None
    lines: list[str] = []
    start, after_block, follows = 0, False, False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = FENCE.match(line)
        if opened is None and fence:
            opened, lines, start, follows = fence, [], number + 1, after_block
        elif opened is not None and fence and fence["fence"] == opened["fence"] and not fence["info"].strip():
            language, *rest = (opened["info"].strip() or "none").split(maxsplit=1)
            title = re.search(r'title="([^"]+)"', rest[0]) if rest else None
            text = "\n".join(lines) + "\n"
            found.append(Block(page, start, language, title[1] if title else None, text, follows))
            opened, after_block = None, True
        elif opened is not None:
            lines.append(line.removeprefix(opened["indent"]))
        elif line.strip():
            after_block = False
    assert opened is None, f"{page}:{start - 1}: a block that is never closed"
    return found


def test_blocks_are_found_as_they_stand(tmp_path: Path) -> None:
    """Titles, indentation and what follows what are seen; an open fence is an error."""
    page = tmp_path / "page.md"
    page.write_text('```sh\nmemx\n```\n\n```text\nx\n```\n\n- a\n\n    ```python title="a.py"\n    1\n    ```\n')
    found = [(b.language, b.title, b.text, b.line, b.follows) for b in read_blocks(page)]
    assert found == [
        ("sh", None, "memx\n", 2, False),
        ("text", None, "x\n", 6, True),
        ("python", "a.py", "1\n", 12, False),
    ]
    page.write_text("```sh\nmemx\n")
    with pytest.raises(AssertionError, match="never closed"):
        read_blocks(page)


def commands(block: Block) -> list[str]:
    """The lines of a block, continued lines joined."""
    return [line for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]


def smaller(words: list[str], answer: str = "") -> list[str]:
    """The words of a memx command that do the same in less time: three small patients, a tiny model, two steps, a
    round, two drawn cases of a law unless the answer that the page shows counts them, a plan."""
    if words[0] == "check" and any(word.endswith(".py") for word in words) and not re.search(r"kept in \d", answer):
        return [*without(words, "--examples"), "--examples", "2"]
    if words[:2] == ["bench", "ops"]:
        return [*without(words, "--repeats"), "--repeats", "1"]
    if words[:2] == ["data", "phantom"]:
        return [*without(without(words, "--patients"), "--size"), "--patients", "3", "--size", "64"]
    if words[0] == "train" and ("--resume" not in words or "auto" in words):
        return [*words, *SMALL_MODEL]
    if words[0] == "profile" or (words[0] == "bench" and words[1:2] != ["data"]):
        said = {word.split("=")[0] for word in words}
        others = [word for word in SMALL_MODEL if word.split("=")[0] not in said]
        return [*without(words, "--rounds"), "--rounds", "1", *others]
    if words[0] == "inspect":
        return ["2" if i and words[i - 1] == "--steps" else word for i, word in enumerate(words)]
    if words[0] == "reproduce":
        return [*words, "--plan"]
    return words


def without(words: list[str], option: str) -> list[str]:
    """The words but for an option and its value."""
    return [word for i, word in enumerate(words) if option not in (word, words[i - 1] if i else "")]


@dataclass
class Reader:
    """Someone who does what a page says, block after block."""

    folder: Path
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "page"})
    printed: str = ""

    def follow(self, block: Block, answer: str = "") -> None:
        """Do what a block says; `answer` is what the page says that its last command prints."""
        match block.language:
            case "python":
                self.python(block)
            case "yaml":
                self.recipe(block)
            case "sh":
                for line in commands(block):
                    self.command(block, line, answer)
            case "text" if block.follows:
                assert matches(block.text, self.printed), f"{block}: printed\n{self.printed}\nnot\n{block.text}"
            case "text" | "bibtex":
                pass
            case other:
                raise AssertionError(f"{block}: nothing is known of blocks of language {other!r}")

    def save(self, block: Block) -> Path:
        assert block.title is not None
        path = (self.folder / block.title).resolve()
        assert path.is_relative_to(self.folder.resolve()), f"{block}: {block.title} leads out of the folder"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        return path

    def python(self, block: Block) -> None:
        code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
        if block.title:
            self.save(block)
            return
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, self.namespace)
        self.printed = out.getvalue()

    def recipe(self, block: Block) -> None:
        if block.title:
            recipe = memx.Recipe.load(self.save(block))
        else:
            recipe = memx.Recipe.from_yaml(block.text, name=str(block), folder=self.folder)
        memx.build(recipe)

    def command(self, block: Block, line: str, answer: str) -> None:
        words = shlex.split(line, comments=True)
        if " ".join(words) in NOT_RUN:
            return
        assert words[0] == "memx", f"{block}: {line!r} is no memx command, and not in NOT_RUN"
        status, out, err = run(smaller(words[1:], answer))
        self.printed = err if status == UserError.status else out
        if "/path/to/" in line:
            recipe = memx.Recipe.load(words[2], [w for w in words[3:] if "=" in w])
            source = make_layout(recipe).source
            assert len(source.splitlines()) == 3, f"{block}: {source}"
            assert status == 2, f"{block}: {line!r} exits with {status}:\n{out}{err}"
            assert source in self.printed, f"{block}: {line!r} does not say where its data is from:\n{self.printed}"
            return
        wanted = re.search(r"#.*exit status (\d+)", line)
        assert status == (int(wanted[1]) if wanted else 0), f"{block}: {line!r} exits with {status}:\n{out}{err}"


def run(words: list[str]) -> tuple[int, str, str]:
    """`memx` with these words, in this process: exit status, and what it wrote to both outputs."""
    before, sys.argv = sys.argv, ["memx", *words]
    status: Any = 0
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as stop:
            status = stop.code
        finally:
            sys.argv = before
    return int(status or 0), out.getvalue(), err.getvalue()


def matches(wanted: str, printed: str) -> bool:
    """Whether `wanted` is all that was printed, up to white space; `…` stands for anything."""
    parts = [re.escape(" ".join(part.split())) for part in wanted.split("…")]
    pattern = r"\s*" + r".*?".join(part.replace(r"\ ", r"\s+") for part in parts) + r"\s*"
    return re.fullmatch(pattern, " ".join(printed.split()), re.DOTALL) is not None


def test_what_a_page_says_is_printed_must_be() -> None:
    assert matches("a … c\n", "a  b\nc")
    assert matches("a b", "a\nb\n")
    assert not matches("a b", "a b c")
    assert not matches("a … d", "a b c")


def write_clip(path: Path) -> None:
    """Six frames of a bright disc that shrinks."""
    y, x = np.mgrid[:64, :64] - 32
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for t in range(6):
            grey = np.where(np.hypot(y, x) < 24 - 2 * t, 200, 30).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="gray")))
        container.mux(stream.encode(None))


@pytest.mark.slow
@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_of_a_page_works(
    page: Path, phantom_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = read_blocks(page)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    if not any("memx data phantom data/phantom " in block.text for block in blocks if block.language == "sh"):
        shutil.copytree(phantom_root, tmp_path / "data" / "phantom")
    write_clip(tmp_path / "clip.avi")
    shutil.copy(next(phantom_root.rglob("*_4CH_half_sequence.nii.gz")), tmp_path / "clip.nii.gz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    reader = Reader(tmp_path)
    for block, after in pairwise([*blocks, None]):
        reader.follow(block, after.text if after and after.follows and after.language == "text" else "")


def test_make_targets_exist_and_no_reason_is_stale() -> None:
    """What is not run is still in the docs, and a `make` target is in the Makefile."""
    shown = [block for page in PAGES for block in read_blocks(page) if block.language == "sh"]
    assert NOT_RUN.keys() <= {" ".join(line.split()) for block in shown for line in commands(block)}
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in NOT_RUN:
        if line.startswith("make "):
            assert set(line.split()[1:]) <= targets, line
