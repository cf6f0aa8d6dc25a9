"""From scatterers to a picture: beams, envelope, attenuation, log compression, scan conversion.

In polar coordinates (depth r, angle θ) a frame is

    dB = 10 log₁₀ ( | PSF ∗ ( Σ_p a_p δ(r − r_p, θ − θ_p) + haze + blood ) · loss(r, θ) + noise(r) |² + fog )

with a PSF of fixed angle, so that it widens with depth, and a broader side lobe; part of the near-field haze is a fog
without speckle. The decibels are mapped to grey and
interpolated onto the pixels of the sector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from memx.data.phantom.population import Patient
from memx.data.phantom.scatterers import Scatterers
from memx.data.phantom.solid import ViewName

_BY_QUALITY = {  # haze, noise and blood in dB relative to muscle; number of shadows; drop-out; width of the PSF
    "Good": {"haze": -13.0, "noise": -46.0, "blood": -36.0, "shadows": 0.8, "gaps": 0.6, "blur": 1.0},
    "Medium": {"haze": -8.0, "noise": -40.0, "blood": -31.0, "shadows": 1.8, "gaps": 1.4, "blur": 1.2},
    "Poor": {"haze": -4.0, "noise": -33.0, "blood": -26.0, "shadows": 2.8, "gaps": 2.8, "blur": 1.45},
}
_BEAM_MM = 0.55  # the beam is never narrower than this, so that its angle opens near the probe


@dataclass(frozen=True)
class Grid:
    """The pixels of a picture: their number, size in millimetres, and where the first one's centre lies."""

    rows: int
    cols: int
    row_mm: float
    col_mm: float
    left: float
    top: float

    @classmethod
    def around(cls, depth: float, half_angle: float, rows: int, aspect: float) -> Grid:
        """The grid of `rows` rows that just holds a sector; `aspect` is a pixel's width over its height."""
        row_mm = depth * 1.02 / rows
        half = depth * np.sin(np.deg2rad(half_angle)) * 1.01
        cols = max(8, int(np.ceil(2 * half / (row_mm * aspect))))
        return cls(rows, cols, row_mm, row_mm * aspect, -(cols - 1) / 2 * row_mm * aspect, 0.5 * row_mm - 0.01 * depth)

    @classmethod
    def square(cls, depth: float, half_angle: float, size: int) -> Grid:
        """The grid of size × size square pixels that holds the depth, and most of the width, of a sector."""
        mm = max(depth * 1.02, 2 * depth * np.sin(np.deg2rad(half_angle)) * 0.92) / size
        return cls(size, size, mm, mm, -(size - 1) / 2 * mm, 0.5 * mm - 0.01 * depth)

    def columns_of(self, x: np.ndarray) -> np.ndarray:
        """Millimetres → column coordinates (0 the first column's centre)."""
        return (x - self.left) / self.col_mm

    def rows_of(self, y: np.ndarray) -> np.ndarray:
        """Millimetres → row coordinates (0 the first row's centre)."""
        return (y - self.top) / self.row_mm


@dataclass(frozen=True)
class Scanner:
    """One machine's settings for one view. Levels in decibels relative to muscle, angles in radians."""

    depth: float
    half_angle: float
    samples: int
    lines: int
    axial: float
    lateral: float
    sidelobe: float
    loss: Float[np.ndarray, "r a"]
    haze: Float[np.ndarray, "r a"]
    fog: float
    noise: Float[np.ndarray, " r"]
    blood: float
    smooth: float
    range_db: float
    top_db: float
    gamma: float

    @property
    def step(self) -> tuple[float, float]:
        """Sample distance in millimetres and line distance in radians."""
        return self.depth / (self.samples - 1), 2 * self.half_angle / (self.lines - 1)


def gaps(patient: Patient) -> float:
    """How much of the wall drops out at the patient's image quality."""
    return _BY_QUALITY[patient.quality]["gaps"]


def scanner(patient: Patient, view: ViewName, rows: int) -> Scanner:
    """Draw the machine's settings for a view of a patient; `rows` sets the sampling."""
    rng = patient.rng(40, int(view[0]))
    of = _BY_QUALITY[patient.quality]
    depth, half_angle = patient.views[view].depth, np.deg2rad(patient.views[view].half_angle)
    samples, lines = int(np.clip(rows, 96, 512)), int(np.clip(0.75 * rows, 96, 240))
    r = np.linspace(0, depth, samples)[:, None]
    a = np.linspace(-1, 1, lines)[None, :]

    loss = -rng.uniform(0.02, 0.07) * r - rng.uniform(3, 16) * np.abs(a) ** rng.uniform(2.0, 4.0)
    loss = loss - 30 / (1 + np.exp((r - rng.uniform(1.5, 4.0)) / 0.5))  # the first millimetres lie in the probe
    loss = loss + 2.5 * gaussian_filter1d(rng.normal(size=samples), samples / 14)[:, None] * np.sqrt(samples / 4)
    for _ in range(rng.poisson(of["shadows"])):
        at = np.sign(rng.normal()) * rng.beta(2.5, 1.2)
        wide, deep = rng.uniform(0.08, 0.2), rng.uniform(8, 24)
        begin = rng.uniform(0.0, 0.35) * depth
        loss = loss - deep * np.exp(-0.5 * ((a - at) / wide) ** 2) / (1 + np.exp(-(r - begin) / 5.0))

    reach = rng.uniform(12, 30)
    bands = gaussian_filter1d(rng.normal(size=samples), 2.0 / (depth / samples))[:, None]
    bands = bands / bands.std()
    haze = of["haze"] + rng.uniform(-5, 6) - 20 * np.log10(np.e) * np.maximum(r - 12, 0) / reach / 2 + 1.5 * bands
    haze = np.maximum(haze, of["haze"] - rng.uniform(19, 27)) + 10 * np.exp(-r / 4.0)
    patches = gaussian_filter(rng.normal(size=(samples, lines)), (samples / 12, lines / 8), mode="nearest")
    haze = haze + 3 * np.clip(patches / patches.std(), -1.5, 1.5)
    return Scanner(
        depth=depth,
        half_angle=float(half_angle),
        samples=samples,
        lines=lines,
        axial=rng.uniform(0.5, 0.75) * of["blur"] ** 0.5,
        lateral=np.deg2rad(rng.uniform(0.5, 0.8)) * of["blur"],
        sidelobe=10 ** (rng.uniform(-24, -17) / 20),
        loss=10 ** (loss / 20),
        haze=10 ** (haze / 20),
        fog=rng.uniform(0.2, 0.6),
        noise=10 ** ((of["noise"] + rng.uniform(-3, 3) + 8 * r[:, 0] / depth) / 20),
        blood=10 ** ((of["blood"] + rng.uniform(-4, 3)) / 20),
        smooth=rng.uniform(0.6, 1.1) * max(1.0, samples / 256),
        range_db=rng.uniform(46, 60),
        top_db=rng.uniform(12, 18),
        gamma=rng.uniform(1.1, 1.8),
    )


def film(
    scan: Scanner,
    scatterers: Scatterers,
    frames: range,
    grid: Grid,
    rng: np.random.Generator,
    gain: Float[np.ndarray, "t lines"],
) -> UInt8[np.ndarray, "t y x"]:
    """Image the scatterers in the given frames of their motion; `gain` is the factor of each line's echoes."""
    dr, da = scan.step
    shape = (scan.samples, scan.lines)
    axial = max(float(scan.axial / dr), 0.6)
    focus = np.hypot(scan.lateral, _BEAM_MM / np.maximum(np.linspace(0, scan.depth, scan.samples), 6.0))
    narrow = float(scan.lateral / da)
    near = np.clip((focus - scan.lateral) / (1.5 * scan.lateral), 0, 1)[:, None].astype(np.float32)
    # A Gaussian filter of a white field keeps 1 / √(2 √π σ) of its amplitude a dimension: level everything on muscle.
    unit = math.sqrt(4 * math.pi * axial * narrow)
    cell = _cell_area(scan)
    still, flow = _white(rng, shape), _white(rng, shape)
    pixels = _scan_conversion(scan, grid)
    loss = scan.loss.astype(np.float32)
    veil = (np.sqrt(1 - scan.fog) * scan.haze).astype(np.float32)
    fog = scan.fog * (scan.haze * scan.loss).astype(np.float32) ** 2
    noise = scan.noise.astype(np.float32)[:, None]
    out = np.zeros((len(frames), grid.rows * grid.cols), np.uint8)
    for i, frame in enumerate(frames):
        still = _drift(still, 0.97, rng)
        flow = _drift(flow, 0.55, rng)
        field = _splat(scan, scatterers, frame) / np.sqrt(cell) + veil * still + scan.blood * flow
        field = gaussian_filter1d(field, axial, axis=0, mode="constant", truncate=3.0)
        sharp = gaussian_filter1d(field, narrow, axis=1, mode="constant", truncate=3.0)
        blurred = gaussian_filter1d(field, 2.5 * narrow, axis=1, mode="constant", truncate=3.0) * np.float32(1.6)
        lobes = gaussian_filter1d(field, 6 * narrow, axis=1, mode="constant", truncate=2.5) * np.float32(2.5)
        field = (sharp + near * (blurred - sharp) + scan.sidelobe * lobes) * unit * (loss * np.float32(gain[i]))
        field = field + noise * _white(rng, shape)
        power = gaussian_filter(field.real**2 + field.imag**2, (0.8 * scan.smooth, scan.smooth)) + fog * np.float32(
            gain[i] ** 2
        )
        grey = (10 * np.log10(power + 1e-9) - scan.top_db + scan.range_db) / scan.range_db
        grey = np.clip(grey, 0, 1) ** scan.gamma
        out[i, pixels.inside] = np.clip(255 * pixels.sample(grey) + 0.5, 0, 255).astype(np.uint8)
    return out.reshape(len(frames), grid.rows, grid.cols)


def _white(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Complex white noise of unit power."""
    both = rng.standard_normal((2, *shape), dtype=np.float32) * np.float32(np.sqrt(0.5))
    return both[0] + np.complex64(1j) * both[1]


def _drift(noise: np.ndarray, memory: float, rng: np.random.Generator) -> np.ndarray:
    """The next frame of unit noise that keeps the share `memory` of itself."""
    return memory * noise + math.sqrt(1 - memory**2) * _white(rng, noise.shape)


def _cell_area(scan: Scanner) -> np.ndarray:
    """Expected number of unit-density scatterers behind one polar sample, by which a uniform tissue is levelled."""
    dr, da = scan.step
    r = np.linspace(0, scan.depth, scan.samples)
    return np.maximum(2.0 * r * da * dr, 1e-3)[:, None].astype(np.float32)


def _splat(scan: Scanner, scatterers: Scatterers, frame: int) -> np.ndarray:
    """Sum the scatterers' amplitudes into the four polar samples around each."""
    x, y = scatterers.positions(frame)
    dr, da = scan.step
    r = np.hypot(x, y) / dr
    a = (np.arctan2(x, y) + scan.half_angle) / da
    ok = (r >= 0) & (r < scan.samples - 1) & (a >= 0) & (a < scan.lines - 1)
    r, a, amplitude = r[ok], a[ok], scatterers.amplitude[ok]
    ri, ai = r.astype(np.int32), a.astype(np.int32)
    rf, af = r - ri, a - ai
    corner = ri * scan.lines + ai
    where = np.concatenate((corner, corner + 1, corner + scan.lines, corner + scan.lines + 1))
    share = np.concatenate(((1 - rf) * (1 - af), (1 - rf) * af, rf * (1 - af), rf * af))
    size = scan.samples * scan.lines
    real = np.bincount(where, share * np.tile(np.real(amplitude), 4), size)
    imag = np.bincount(where, share * np.tile(np.imag(amplitude), 4), size)
    return (real + 1j * imag).astype(np.complex64).reshape(scan.samples, scan.lines)


@dataclass(frozen=True)
class _Pixels:
    """Bilinear look-up of the pixels inside the sector in the polar picture."""

    inside: np.ndarray
    corner: np.ndarray
    weights: np.ndarray
    lines: int

    def sample(self, polar: np.ndarray) -> np.ndarray:
        flat, c, w = polar.ravel(), self.corner, self.weights
        return w[0] * flat[c] + w[1] * flat[c + 1] + w[2] * flat[c + self.lines] + w[3] * flat[c + self.lines + 1]


def _scan_conversion(scan: Scanner, grid: Grid) -> _Pixels:
    x = grid.left + grid.col_mm * np.arange(grid.cols)[None, :]
    y = grid.top + grid.row_mm * np.arange(grid.rows)[:, None]
    dr, da = scan.step
    r, a = np.hypot(x, y) / dr, (np.arctan2(x, y) + scan.half_angle) / da
    inside = (r > 1.0) & (r < scan.samples - 1) & (a >= 0) & (a < scan.lines - 1)
    r, a = r[inside], a[inside]
    ri, ai = r.astype(np.int64), a.astype(np.int64)
    rf, af = (r - ri).astype(np.float32), (a - ai).astype(np.float32)
    weights = np.stack(((1 - rf) * (1 - af), (1 - rf) * af, rf * (1 - af), rf * af))
    return _Pixels(np.flatnonzero(inside), ri * scan.lines + ai, weights, scan.lines)
