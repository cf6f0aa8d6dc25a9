"""A simulated apical echocardiogram: invented patients, moving anatomy, ultrasound pictures and exact labels."""

from memx.data.phantom.population import Patient, patient
from memx.data.phantom.simulation import Simulation, simulate

__all__ = ["Patient", "Simulation", "patient", "simulate"]
