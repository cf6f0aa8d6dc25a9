"""The network's jaxtyping annotations hold while it trains: beartype checks them, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from jaxtyping import install_import_hook
# The same packages in every such test: the hook's bytecode is kept under one name whichever packages it was given.
packages = ["ops", "memory", "encoders", "fusion", "decoders", "refiners", "sensory", "models", "losses"]
with install_import_hook([f"memx.{name}" for name in packages], "beartype.beartype"):
    import memx.losses, memx.models

import torch
from memx.registry import Part, losses

model = Part("model", "mask_propagator", {
    "image_encoder": {"type": "resnet", "depth": 18, "width": 4},
    "value_encoder": {"type": "resnet", "depth": 18, "width": 4, "norm": "frozen"},
    "key_dim": 4, "value_dim": 8, "pixel_dim": 12, "sensory_dim": 4, "identities": 3, "pixel_pairing": "previous",
    "key_fusion": "gated", "pixel_fusion": "concat",
    "refiner": {"type": "object_transformer", "queries": 4, "blocks": 1, "heads": 2, "ffn_dim": 8},
})(in_channels=2)
out = model(torch.rand(2, 3, 2, 40, 24), objects=3)
masks = torch.zeros(2, 3, 3, 40, 24)
for points in (None, 32):
    losses.build("segmentation", points=points)(out, masks, torch.ones(2, 3, dtype=torch.bool))["total"].backward(
        retain_graph=True
    )
try:
    model.readout_fusion(torch.rand(2, 12, 3, 2), torch.rand(2, 3, 8, 3, 2), None, torch.rand(2, 2, 3, 2))
except Exception as error:
    print(type(error).__name__)
"""


def test_annotations_hold_and_are_checked():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "TypeCheckError"
