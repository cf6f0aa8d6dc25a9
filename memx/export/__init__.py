"""A trained model for other programs: weights with their recipe, or one step of the model as a graph, checked."""

from memx.export.check import Agreement, Tolerance
from memx.export.to_file import Exported, Format, Options, export
