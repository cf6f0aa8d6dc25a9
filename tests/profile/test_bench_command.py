"""`memx bench ops`, as a user types it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from memx.profile import ops_choice
from memx.profile.ops_cases import SHAPES, OpShape

TINY = OpShape("tiny", 1, 9, 2, 4, 3)


@pytest.fixture
def run(command, monkeypatch: pytest.MonkeyPatch):
    """Runs a command for which there is one tiny shape more."""
    monkeypatch.setattr(ops_choice, "SHAPES", (TINY, *SHAPES))
    return partial(command, columns=100)


def test_json_has_machine_settings_checks_samples_and_ratios(run, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is in the extra `hf`")
    file = tmp_path / "ops.json"
    words = ("bench", "ops", "--quick", "--json", "--repeats", "2", "--shape", "tiny", "--out", str(file))
    status, out, err = run(*words, "--peer", "transformers_chunk", "--peer", "transformers_recurrent", "--threads", "1")
    assert status == 0, err
    record = json.loads(out)
    assert json.loads(file.read_text(encoding="utf-8")) == record
    assert record["environment"]["threads"] == 1
    assert record["environment"]["libraries"]["torch"]
    assert record["implementations"]["transformers_chunk"]["version"]
    assert record["settings"]["rounds"] == 2
    assert record["settings"]["shapes"] == [TINY.sizes()]
    names = {"memx_chunk", "memx_recurrent", "transformers_chunk", "transformers_recurrent"}
    checks = {(c["shape"]["t"], c["implementation"]) for c in record["checks"]}
    assert checks == {(t, name) for t in (9, 1) for name in names}
    for check in record["checks"]:
        assert check["agrees"], check
        assert max(check["errors"].values()) <= check["tolerance"]
    assert {(c["quantity"], c["implementation"]) for c in record["cells"]} == {
        (quantity, name) for quantity in ("fwd", "bwd", "step", "memory") for name in names
    }
    for cell in record["cells"]:
        assert len(cell["samples"]) == (1 if cell["quantity"] == "memory" else 2)
        assert cell["unit"] == ("bytes" if cell["quantity"] == "memory" else "s")
        assert cell["quantiles"]["median"] > 0
        if cell["implementation"] == cell["over"]:
            assert cell["ratio"]["median"] == 1
    assert {t["quantity"] for t in record["targets"]} == {"fwd", "bwd", "step", "memory"}
    assert all(t["met"] == (t["ratio"]["median"] >= t["wanted"]) for t in record["targets"])

    status, _, err = run(*words)
    assert status == 2
    assert "is there already" in err


def test_tables_show_every_quantity(run) -> None:
    status, out, err = run(
        *("bench", "ops", "--quick", "--repeats", "1", "--shape", "tiny", "--peer", "memx_chunk", "--budget", "5")
    )
    assert status == 0, err
    for words in ("forward, ms", "forward + backward, ms", "one step (t = 1), µs", "peak memory, fwd + bwd, MiB"):
        assert words in out
    assert "tiny b1 t9 h2 k4 v3" in out
    assert "4 of 4 results agree" in out
    assert "targets: not checked" in out


def test_only_some_quantities(run) -> None:
    words = ("bench", "ops", "--repeats", "1", "--shape", "tiny", "--peer", "memx_chunk", "--only", "memory", "--json")
    status, out, err = run(*words)
    assert status == 0, err
    assert {c["quantity"] for c in json.loads(out)["cells"]} == {"memory"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shape", "shrot"], "unknown shape 'shrot'; did you mean 'short'? There are: batch, gdkvm"),
        (["--peer", "transformer_chunk"], "unknown implementation 'transformer_chunk'; did you mean"),
        (["--device", "nowhere"], "--device nowhere: not available here"),
    ],
)
def test_mistakes_are_told_with_what_there_is(run, words: list[str], message: str) -> None:
    status, out, err = run("bench", "ops", "--quick", *words)
    assert status == 2
    assert message in err
    assert not out


def test_a_peer_that_is_named_must_be_installed(run, monkeypatch: pytest.MonkeyPatch) -> None:
    known = ops_choice.peers()
    gone = {n: _without(p) if n == "transformers_chunk" else p for n, p in known.items()}
    monkeypatch.setattr(ops_choice, "peers", lambda: gone)
    status, _, err = run("bench", "ops", "--shape", "tiny", "--peer", "transformers_chunk")
    assert status == 2
    assert "--peer transformers_chunk: transformers is not installed" in err


def test_what_is_not_installed_is_named_with_the_command_that_brings_it(run, monkeypatch: pytest.MonkeyPatch) -> None:
    known = ops_choice.peers()
    gone = {n: _without(p) if n == "transformers_chunk" else p for n, p in known.items() if not n.startswith("fla")}
    monkeypatch.setattr(ops_choice, "peers", lambda: gone)
    words = ("bench", "ops", "--repeats", "1", "--shape", "tiny", "--only", "fwd")
    status, out, _ = run(*words)
    assert status == 0
    assert 'python -m pip install -c constraints.txt -e ".[hf]"' in " ".join(out.split())


def test_a_named_peer_without_a_figure_gives_exit_status_1(run) -> None:
    words = ("bench", "ops", "--repeats", "1", "--shape", "short", "--only", "memory", "--budget", "0.001")
    status, out, err = run(*words, "--peer", "memx_chunk")
    assert status == 1
    assert "no figure of memx_chunk" in err
    assert "recording its allocations takes about" in " ".join(out.split())
    assert ", 1 round in turns" in out


def test_out_makes_no_folders(run, tmp_path: Path) -> None:
    status, _, err = run("bench", "ops", "--out", str(tmp_path / "new" / "ops.json"))
    assert status == 2
    assert "there is no folder" in err
    assert not (tmp_path / "new").exists()


def test_a_wrong_implementation_gives_exit_status_1(run, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    known = ops_choice.peers()
    chunk = known["memx_chunk"]

    def doubled(*inputs):
        out, state = chunk.rule(*inputs)
        return 2 * out, state

    ours = {"memx_chunk": chunk, "memx_recurrent": known["memx_recurrent"]}
    liar = replace(chunk, name="liar", rule=doubled)
    monkeypatch.setattr(ops_choice, "peers", lambda: ours | {"liar": liar})
    status, out, err = run("bench", "ops", "--repeats", "1", "--shape", "tiny", "--only", "fwd")
    assert status == 1, err
    assert "DISAGREES: liar at tiny" in out
    assert "out is off by 1 of its largest entry" in " ".join(out.split())


def _without(peer):
    from dataclasses import replace

    return replace(peer, missing=lambda: "transformers is not installed")
