"""Memory mechanisms. `base.py` is the contract; each other file is one mechanism."""

from memx.memory.base import Cost, Memory, Shape, Tokens
from memx.memory.state import State
from memx.registry import memories
