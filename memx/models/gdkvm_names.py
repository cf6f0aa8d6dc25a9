"""The names that the released GDKVM networks give to their tensors, and ours for the same tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WHOLES: tuple[tuple[str, str], ...] = (
    # how a released name begins, and how ours does
    ("mask_encoder.fuser.x_transform.", "value_encoder.fusion.y_proj."),
    ("mask_encoder.fuser.y_transform.", "value_encoder.fusion.x_proj."),
    ("mask_encoder.fuser.", "value_encoder.fusion."),
    ("mask_encoder.sensory_updater.transform.", "sensory.value_gru.gates."),
    ("mask_encoder.", "value_encoder.encoder."),
    ("key_projector.layer1.", "key_proj.0."),
    ("key_projector.layer2.", "key_proj.1."),
    ("pix_projector.layer.", "pixel_proj."),
    ("KPFF.gate_layer.", "key_fusion.gate."),
    ("KPFF.layer1.", "key_fusion.local1."),
    ("KPFF.layer2.", "key_fusion.local2."),
    ("mask_decoder.linear_proj_f8.", "decoder.skips.0."),
    ("mask_decoder.linear_proj_f4.", "decoder.skips.1."),
    ("mask_decoder.upsample_16_to_8.", "decoder.ups.0."),
    ("mask_decoder.upsample_8_to_4.", "decoder.ups.1."),
    ("mask_decoder.pred.", "decoder.predict."),
    ("mask_decoder.sensory_updater.g16_conv.", "sensory.decoder_proj.0."),
    ("mask_decoder.sensory_updater.g8_conv.", "sensory.decoder_proj.1."),
    ("mask_decoder.sensory_updater.g4_conv.", "sensory.decoder_proj.2."),
    ("mask_decoder.sensory_updater.transform.", "sensory.decoder_gru.gates."),
    ("pixel_fuser.conv.", "readout_fusion.compress."),
    ("pixel_fuser.fuser.x_transform.", "readout_fusion.fusion.x_proj."),
    ("pixel_fuser.fuser.y_transform.", "readout_fusion.fusion.y_proj."),
    ("pixel_fuser.fuser.", "readout_fusion.fusion."),
    ("object_transformer.query_init.weight", "refiner.query_init"),
    ("object_transformer.query_emb.weight", "refiner.query_position"),
    ("object_summarizer.", "refiner.summary."),
    ("object_transformer.", "refiner."),
    ("aux_computer.sensory_aux.", "sensory_head."),
    ("A_log", "memory.A_log"),
    ("dt_bias", "memory.dt_bias"),
    ("a_proj.", "memory.a_proj."),
    ("b_proj.", "memory.b_proj."),
)
_LEAVES: tuple[tuple[str, str], ...] = (
    # what stands inside a name, in the order in which it is put into ours; {n} is a number
    (".fusion.layer1.", ".fusion.blocks.0."),
    (".fusion.layer2.", ".fusion.blocks.1."),
    (".fusion.blocks.{n}.conv.", ".fusion.blocks.{n}.attention."),
    (".pixel_ffn.conv.", ".pixel_ffn."),
    (".pixel_ffn.conv.", ".pixel_ffn.attention."),
    (".linear_proj.", ".proj."),
    (".summary_to_query_init.", ".summary_to_init."),
    (".summary_to_query_emb.", ".summary_to_position."),
    (".pixel_init_proj.", ".pixel_init."),
    (".pixel_emb_proj.", ".pixel_position."),
    (".read_from_pixel.cross_attn.", ".read_pixels."),
    (".read_from_pixel.norm.", ".read_norm."),
    (".read_from_query.cross_attn.", ".read_queries."),
    (".self_attn.self_attn.", ".self_attention."),
    (".self_attn.norm.", ".self_norm."),
    (".in_proj_weight", ".in_proj.weight"),
    (".in_proj_bias", ".in_proj.bias"),
    (".ffn.linear1.", ".ffn.0."),
    (".ffn.linear2.", ".ffn.2."),
    (".ffn.norm.", ".ffn_norm."),
    (".mask_pred.{n}.1.", ".mask_heads.{n}."),
    (".summary.feature_pred.", ".summary.feature."),
    (".summary.weights_pred.", ".summary.weight."),
)


def our_name(released: str) -> str:
    """What a released tensor is called in a `mask_propagator` of GDKVM's parts; every tensor is taken as it is.

    First the part that the tensor belongs to, then its place in there. A name of neither comes back as it is.
    """
    return _inside(_beginning(released, _WHOLES), _LEAVES)


def released_name(ours: str) -> str:
    """What the releases call one of our tensors: `our_name` the other way round."""
    leaves = [(ours, released) for released, ours in reversed(_LEAVES)]
    return _beginning(_inside(ours, leaves), [(ours, released) for released, ours in _WHOLES])


def _beginning(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _inside(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        pattern = re.escape(old).replace(r"\{n\}", r"(\d+)")
        name = re.sub(pattern, new.replace("{n}", r"\g<1>"), name)
    return name
