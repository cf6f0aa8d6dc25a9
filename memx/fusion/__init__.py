"""Fusion blocks: two feature maps of one frame become one."""

from memx.fusion.add import Add
from memx.fusion.base import Fusion, FusionSlot
from memx.fusion.concat import Concat
from memx.fusion.gated import Gated
from memx.fusion.kpff import KPFF
from memx.fusion.residual import Residual
