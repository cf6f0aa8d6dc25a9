"""Peaks that makers publish for their devices: what a projection to a device that is not here is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memx.errors import UserError, nearest

TERA, GIGA = 1e12, 1e9


@dataclass(frozen=True)
class Peaks:
    """How much a device can do at most in a second.

    products   FLOP/s of matrix products and convolutions by number format, of fp32, tf32, bf16 and fp16
    vector     FLOP/s of elementwise operations and reductions in float32
    bandwidth  bytes/s to and from its memory
    """

    products: Mapping[str, float]
    vector: float
    bandwidth: float

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "products_flops_per_second": dict(self.products),
            "vector_flops_per_second": self.vector,
            "bytes_per_second": self.bandwidth,
        }


@dataclass(frozen=True)
class Card:
    """A device with published peaks.

    name     as it is asked for
    title    its maker's name for it
    devices  what `torch.cuda.get_device_name` calls it
    source   where the peaks are published; without structured sparsity, half products accumulated in float32
    """

    name: str
    title: str
    devices: tuple[str, ...]
    peaks: Peaks
    source: str


def _card(
    name: str,
    title: str,
    devices: tuple[str, ...],
    fp32: float,
    tf32: float,
    half: float,
    bandwidth: float,
    source: str,
) -> Card:
    """Figures in TFLOP/s and GB/s."""
    products = {"fp32": fp32 * TERA, "tf32": tf32 * TERA, "bf16": half * TERA, "fp16": half * TERA}
    return Card(name, title, devices, Peaks(products, fp32 * TERA, bandwidth * GIGA), source)


_GA102 = "NVIDIA Ampere GA102 GPU architecture, whitepaper V2, appendix A"
_AD102 = "NVIDIA Ada GPU architecture, whitepaper V2, appendix A"
_A100 = "NVIDIA A100 Tensor Core GPU datasheet"
_HOPPER = "NVIDIA {} Tensor Core GPU datasheet, its figures with sparsity halved"

CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        _card(
            "rtx_3090",
            "NVIDIA GeForce RTX 3090",
            ("NVIDIA GeForce RTX 3090", "GeForce RTX 3090"),
            35.6,
            35.6,
            71,
            936,
            _GA102,
        ),
        _card("rtx_4090", "NVIDIA GeForce RTX 4090", ("NVIDIA GeForce RTX 4090",), 82.6, 82.6, 165.2, 1008, _AD102),
        _card(
            "a100_40gb",
            "NVIDIA A100 40 GB",
            ("NVIDIA A100-SXM4-40GB", "A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB", "A100-PCIE-40GB"),
            19.5,
            156,
            312,
            1555,
            _A100,
        ),
        _card("a100_80gb_pcie", "NVIDIA A100 80 GB PCIe", ("NVIDIA A100 80GB PCIe",), 19.5, 156, 312, 1935, _A100),
        _card("a100_80gb_sxm", "NVIDIA A100 80 GB SXM", ("NVIDIA A100-SXM4-80GB",), 19.5, 156, 312, 2039, _A100),
        _card(
            "h100_sxm", "NVIDIA H100 SXM", ("NVIDIA H100 80GB HBM3",), 67, 494.5, 989.5, 3350, _HOPPER.format("H100")
        ),
        _card("h200_sxm", "NVIDIA H200 SXM", ("NVIDIA H200",), 67, 494.5, 989.5, 4800, _HOPPER.format("H200")),
    )
}

LAUNCH_SECONDS = 3e-6
LAUNCH_SOURCE = "an empty kernel on recent hardware, forums.developer.nvidia.com topic 233645"
"""What the launch of a kernel costs at the least on a card that is not here, and who says so."""


def find_card(name: str) -> Card:
    """The card of this name. Raises UserError with the names there are."""
    if name in CARDS:
        return CARDS[name]
    guess = nearest(name, CARDS)
    asked = f"; did you mean {guess}?" if guess else ""
    raise UserError(f"--card {name}: no peaks are known of it; there are {', '.join(CARDS)}{asked}")


def card_of(device: str) -> Card | None:
    """The card that torch calls `device`, if its peaks are known."""
    return next((card for card in CARDS.values() if device in card.devices), None)
