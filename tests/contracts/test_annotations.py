"""The jaxtyping annotations of ops and memories are true: checked here by an import hook, not in shipped code."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from jaxtyping import install_import_hook

# The same packages in every such test: the hook's bytecode is kept under one name whichever packages it was given.
packages = ["ops", "memory", "encoders", "fusion", "decoders", "refiners", "sensory", "models", "losses"]
with install_import_hook([f"memx.{name}" for name in packages], "beartype.beartype"):
    import torch
    from memx import ops
    from memx.memory import memories
    from memx.memory.laws import Case, forms_equal_the_fold, a_reset_starts_afresh
    from memx.registry import Part

q, k, v = torch.rand(2, 5, 3, 4), torch.rand(2, 5, 3, 4), torch.rand(2, 5, 3, 6)
gates = {"beta": torch.rand(2, 5, 3), "reset": torch.rand(2, 5) < 0.5, "initial_state": torch.rand(2, 3, 4, 6)}
for form in ("chunk", "recurrent"):
    for decay in (torch.zeros(2, 5, 3), torch.zeros(2, 5, 3, 4)):
        ops.gated_delta_rule(q, k, v, log_decay=decay, form=form, **gates)
        ops.linear_attention(q, k, v, log_decay=decay, form=form)
    ops.delta_rule(q, k, v, form=form)
    x, A, B = torch.rand(2, 5, 6), -torch.rand(4, 6), torch.rand(2, 5, 4)
    ops.selective_scan(x, x, A, B, B, D=torch.rand(6), form=form)
ops.frame_delta_rule(torch.rand(2, 3, 4, 6), torch.rand(2, 5, 4), torch.rand(2, 3, 5, 6), normalize="spectral")
ops.space_time_attention(torch.rand(2, 5, 4), torch.rand(2, 7, 4), torch.rand(2, 3, 7, 6), top_k=2)
for mask in (torch.rand(2, 5, 7) < 0.5, torch.rand(2, 1, 7) < 0.5):
    ops.space_time_attention(torch.rand(2, 5, 4), torch.rand(2, 7, 4), torch.rand(2, 3, 7, 6), mask=mask)

variants = {
    "gated_delta": [
        {"heads": 2, "gates": "state", "write": "joint", "normalize": "spectral"},
        {"heads": 2, "gates": "state", "write": "tokens"},
        {"heads": 2, "gates": "token", "write": "joint"},
        *({"heads": 2, "gates": "token", "write": "tokens", "decay_per": each} for each in ("frame", "token")),
    ],
    "delta": [{"beta": "token"}, {"write": "joint"}],
    "linear": [{"normalize": True}],
    **{
        name: [{"heads": 2, "decay_per": each} for each in ("frame", "token")]
        for name in ("retention", "gla", "kda", "mlstm")
    },
    "mamba2": [{"heads": 2}],
    "rwkv7": [{"heads": 2}],
    "gated_delta_product": [{"heads": 2, "steps": 2}],
    "softmax": [{"capacity": 2, "keep_first": True, "every": 2, "top_k": 3}],
}
for name in memories.names():
    for options in variants.get(name, [{}]):
        for law in (forms_equal_the_fold, a_reset_starts_afresh):
            law(Part("memory", name, options), Case(resets=True))

try:
    ops.linear_attention(q, k, v[:, :3])
except Exception as error:
    print(type(error).__name__)
"""


def test_annotations_hold_in_every_form():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "TypeCheckError", "the hook does not check anything"
