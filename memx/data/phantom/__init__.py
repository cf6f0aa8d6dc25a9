"""A simulated apical echocardiogram: invented patients, moving anatomy, ultrasound pictures and exact labels.

`patient` draws who is examined, `simulate` makes one clip with its truth, `write` makes a data set on disk.
"""

from memx.data.phantom.dataset import LayoutName, write
from memx.data.phantom.population import Patient, patient
from memx.data.phantom.simulation import Simulation, simulate
from memx.data.phantom.solid import ViewName

__all__ = ["LayoutName", "Patient", "Simulation", "ViewName", "patient", "simulate", "write"]
