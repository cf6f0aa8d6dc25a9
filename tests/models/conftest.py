from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from memx.models import MaskPropagator
from memx.registry import Part


@pytest.fixture
def narrow() -> Callable[..., MaskPropagator]:
    """Builds a mask propagator of a few thousand parameters, in evaluation mode, seeded; options override."""

    def build(in_channels: int = 1, *, dtype: torch.dtype = torch.float32, **options) -> MaskPropagator:
        torch.manual_seed(0)
        defaults = {
            "image_encoder": {"type": "resnet", "depth": 18, "width": 8},
            "value_encoder": {"type": "resnet", "depth": 18, "width": 4},
            "key_dim": 8,
            "value_dim": 16,
            "pixel_dim": 16,
            "sensory_dim": 8,
            "decoder": {"type": "upsample", "dim": 8},
            "refiner": {"type": "object_transformer", "queries": 4, "blocks": 2, "heads": 2, "ffn_dim": 16},
        }
        part = Part("model", "mask_propagator", {**defaults, **options})
        model = part(in_channels=in_channels)
        assert isinstance(model, MaskPropagator)
        return model.to(dtype).eval()

    return build


@pytest.fixture(scope="session")
def rules() -> ModuleType:
    """Weights and clips by rule: `gdkvm_rules.py`, which lies beside."""
    spec = importlib.util.spec_from_file_location("gdkvm_rules", Path(__file__).with_name("gdkvm_rules.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
