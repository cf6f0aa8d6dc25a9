"""Our rules against ONNX's standard operator LinearAttention (opset 27), run by onnx's reference evaluator."""

from __future__ import annotations

import pytest
import torch

from memx import ops

onnx = pytest.importorskip("onnx", reason="onnx is in the extra `export`")
if onnx.defs.onnx_opset_version() < 27:
    pytest.skip("LinearAttention is an operator from opset 27 (onnx ≥ 1.23)", allow_module_level=True)

from onnx import helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

B, H = 2, 3


def evaluate(rule, tensors):
    inputs = ["query", "key", "value", "past_state", "decay", "beta"]
    node = helper.make_node(
        "LinearAttention",
        [name if name in tensors else "" for name in inputs],
        ["output", "present_state"],
        update_rule=rule,
        q_num_heads=H,
        kv_num_heads=H,
        scale=0.3,
    )

    def value(name):
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)

    graph = helper.make_graph([node], "rule", [value(n) for n in tensors], [value("output"), value("present_state")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 27)])
    out, state = ReferenceEvaluator(model).run(None, {n: x.numpy() for n, x in tensors.items()})
    return torch.from_numpy(out).unflatten(-1, (H, tensors["past_state"].shape[-1])), torch.from_numpy(state)


@pytest.mark.parametrize("form", ["recurrent", "chunk"])
@pytest.mark.parametrize("channelwise", [False, True])
@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
@pytest.mark.parametrize("width", [(4, 5), (7, 2), (1, 1)], ids="k{0[0]}v{0[1]}".format)
@pytest.mark.parametrize("T", [0, 1, 4, 9, 13])
def test_rules_agree_with_the_standard_operator(T, width, rule, channelwise, form):
    """Empty, of one token, a whole chunk, and odd lengths; values wider and narrower than keys."""
    K, V = width
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(B, T, H, K, generator=generator), torch.randn(B, T, H, K, generator=generator)
    k, v = torch.nn.functional.normalize(k, dim=-1), torch.randn(B, T, H, V, generator=generator)
    S = torch.randn(B, H, K, V, generator=generator)
    options = {"initial_state": S, "scale": 0.3, "form": form, "chunk_size": 4}
    tensors = {"query": q.flatten(2), "key": k.flatten(2), "value": v.flatten(2), "past_state": S}
    if "gated" in rule:
        g = -torch.rand((B, T, H, K) if channelwise else (B, T, H), generator=generator)
        options["log_decay"], tensors["decay"] = g, g.flatten(2)
    if "delta" in rule:
        options["beta"] = tensors["beta"] = torch.rand(B, T, H, generator=generator)
    ours = {"linear": ops.linear_attention, "gated": ops.linear_attention, "delta": ops.delta_rule}
    out, state = ours.get(rule, ops.gated_delta_rule)(q, k, v, **options)
    want, want_state = evaluate(rule, tensors)
    assert torch.allclose(out, want, atol=2e-6)
    assert torch.allclose(state, want_state, atol=2e-6)
