"""The names that the released GDKVM networks give to their tensors, and ours for the same tensors."""

from __future__ import annotations

import re

_RULES: tuple[tuple[str, str], ...] = (
    # wholes: where a part of theirs lies in ours
    (r"^mask_encoder\.fuser\.x_transform\.", "value_encoder.fusion.y_proj."),
    (r"^mask_encoder\.fuser\.y_transform\.", "value_encoder.fusion.x_proj."),
    (r"^mask_encoder\.fuser\.", "value_encoder.fusion."),
    (r"^mask_encoder\.sensory_updater\.transform\.", "sensory.value_gru.gates."),
    (r"^mask_encoder\.", "value_encoder.encoder."),
    (r"^key_projector\.layer1\.", "key_proj.0."),
    (r"^key_projector\.layer2\.", "key_proj.1."),
    (r"^pix_projector\.layer\.", "pixel_proj."),
    (r"^KPFF\.gate_layer\.", "key_fusion.gate."),
    (r"^KPFF\.layer([12])\.", r"key_fusion.local\1."),
    (r"^mask_decoder\.linear_proj_f8\.", "decoder.skips.0."),
    (r"^mask_decoder\.linear_proj_f4\.", "decoder.skips.1."),
    (r"^mask_decoder\.upsample_16_to_8\.", "decoder.ups.0."),
    (r"^mask_decoder\.upsample_8_to_4\.", "decoder.ups.1."),
    (r"^mask_decoder\.pred\.", "decoder.predict."),
    (r"^mask_decoder\.sensory_updater\.g16_conv\.", "sensory.decoder_proj.0."),
    (r"^mask_decoder\.sensory_updater\.g8_conv\.", "sensory.decoder_proj.1."),
    (r"^mask_decoder\.sensory_updater\.g4_conv\.", "sensory.decoder_proj.2."),
    (r"^mask_decoder\.sensory_updater\.transform\.", "sensory.decoder_gru.gates."),
    (r"^pixel_fuser\.conv\.", "readout_fusion.compress."),
    (r"^pixel_fuser\.fuser\.", "readout_fusion.fusion."),
    (r"^object_transformer\.", "refiner."),
    (r"^object_summarizer\.", "refiner.summary."),
    (r"^aux_computer\.sensory_aux\.", "sensory_head."),
    (r"^(?=(?:A_log|dt_bias|a_proj\.weight|b_proj\.weight)$)", "memory."),
    # leaves: within a part
    (r"\.fusion\.x_transform\.", ".fusion.x_proj."),
    (r"\.fusion\.y_transform\.", ".fusion.y_proj."),
    (r"\.fusion\.layer1\.", ".fusion.blocks.0."),
    (r"\.fusion\.layer2\.", ".fusion.blocks.1."),
    (r"\.pixel_ffn\.conv\.", ".pixel_ffn."),
    (r"(\.fusion\.blocks\.\d|\.pixel_ffn)\.conv\.", r"\1.attention."),
    (r"\.linear_proj\.", ".proj."),
    (r"^refiner\.query_init\.weight$", "refiner.query_init"),
    (r"^refiner\.query_emb\.weight$", "refiner.query_position"),
    (r"\.summary_to_query_init\.", ".summary_to_init."),
    (r"\.summary_to_query_emb\.", ".summary_to_position."),
    (r"\.pixel_init_proj\.", ".pixel_init."),
    (r"\.pixel_emb_proj\.", ".pixel_position."),
    (r"\.read_from_pixel\.cross_attn\.", ".read_pixels."),
    (r"\.read_from_pixel\.norm\.", ".read_norm."),
    (r"\.read_from_query\.cross_attn\.", ".read_queries."),
    (r"\.self_attn\.self_attn\.", ".self_attention."),
    (r"\.self_attn\.norm\.", ".self_norm."),
    (r"\.in_proj_(weight|bias)$", r".in_proj.\1"),
    (r"\.ffn\.linear1\.", ".ffn.0."),
    (r"\.ffn\.linear2\.", ".ffn.2."),
    (r"\.ffn\.norm\.", ".ffn_norm."),
    (r"\.mask_pred\.(\d)\.1\.", r".mask_heads.\1."),
    (r"\.summary\.feature_pred\.", ".summary.feature."),
    (r"\.summary\.weights_pred\.", ".summary.weight."),
)


def our_name(released: str) -> str:
    """What a released tensor is called in a `mask_propagator` of GDKVM's parts; every tensor is taken as it is.

    Every rule is tried once, in order: first the part that the tensor belongs to, then its place in there. A name that
    no rule knows comes back as it is.
    """
    name = released
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name
