"""The zoo: whole systems, each a folder with a card, recipes and `system.yaml`, the facts that commands read."""

from memx.zoo.find import find_system, systems
from memx.zoo.system import System

__all__ = ["System", "find_system", "systems"]
