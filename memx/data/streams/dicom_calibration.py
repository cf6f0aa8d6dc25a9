"""What a DICOM header says about millimetres and seconds, believed only where it can be true."""

from __future__ import annotations

from math import isclose

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

_CENTIMETRES = 3  # Physical Units X/Y Direction
_TWO_DIMENSIONAL = 1  # Region Spatial Format


def pixel_spacing(header: Dataset) -> tuple[tuple[float, float] | None, str]:
    """(row, column) millimetres a pixel and where they come from, or None and why.

    A calibrated ultrasound region (Physical Delta X/Y in cm) is believed when it lies inside the pixel matrix: one
    that reaches outside was drawn on an image of another size, so its scale no longer holds. Pixel Spacing comes next,
    unless it merely repeats the scale of such a region. Source: DICOM PS3.3 C.8.5.5 and C.7.6.3.1.
    """
    rows, columns = int(header.Rows), int(header.Columns)
    calibrated = [region for region in header.get("SequenceOfUltrasoundRegions") or [] if _delta(region)]
    inside = [region for region in calibrated if _fits(region, rows, columns)]
    if inside:
        region = max(inside, key=_area)
        return _delta(region), f"calibrated ultrasound region {_corners(region)}, Physical Delta X/Y in cm"
    spacing = _plain_spacing(header)
    if not calibrated:
        if spacing:
            return spacing, "Pixel Spacing"
        return None, "the DICOM header has neither a calibrated ultrasound region in cm nor a Pixel Spacing"
    stale = (
        f"the calibrated ultrasound region {_corners(calibrated[0])} lies outside the {columns} × {rows} pixel matrix: "
        "the image was resized after calibration"
    )
    if spacing is None:
        return None, f"{stale}, and its scale no longer holds"
    repeated = any(isclose(spacing[0], d[0], rel_tol=1e-3) for d in map(_delta, calibrated) if d)
    if repeated:
        return None, f"{stale}, and Pixel Spacing repeats the scale from before"
    return spacing, f"Pixel Spacing; {stale}"


def frame_rate(header: Dataset) -> float | None:
    """Frames a second from Frame Time, Frame Time Vector, Cine Rate or Recommended Display Frame Rate, or None."""
    if time := _positive(header.get("FrameTime")):
        return 1000.0 / time
    intervals = _numbers(header.get("FrameTimeVector"))[1:]
    if intervals and sum(intervals) > 0:
        return 1000.0 * len(intervals) / sum(intervals)
    return _positive(header.get("CineRate")) or _positive(header.get("RecommendedDisplayFrameRate"))


def _numbers(value: object) -> list[float]:
    """A value of any multiplicity as numbers; no value is an empty list."""
    if value in (None, ""):
        return []
    return [float(str(item)) for item in (value if isinstance(value, MultiValue | list) else [value])]


def _positive(value: object) -> float | None:
    number = next(iter(_numbers(value)), 0.0)
    return number if number > 0 else None


def _delta(region: Dataset) -> tuple[float, float] | None:
    """(row, column) millimetres a pixel of a two-dimensional region measured in cm."""
    if region.get("RegionSpatialFormat") != _TWO_DIMENSIONAL:
        return None
    if {region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")} != {_CENTIMETRES}:
        return None
    row, column = abs(float(region.get("PhysicalDeltaY") or 0)), abs(float(region.get("PhysicalDeltaX") or 0))
    return (10 * row, 10 * column) if row and column else None


def _box(region: Dataset) -> tuple[int, int, int, int]:
    words = ("MinX0", "MinY0", "MaxX1", "MaxY1")
    x0, y0, x1, y1 = (int(region.get(f"RegionLocation{word}") or 0) for word in words)
    return x0, y0, x1, y1


def _fits(region: Dataset, rows: int, columns: int) -> bool:
    """Whether a region lies in the pixel matrix; some machines write its last corner one pixel too far."""
    x0, y0, x1, y1 = _box(region)
    return 0 <= x0 < x1 <= columns and 0 <= y0 < y1 <= rows


def _area(region: Dataset) -> int:
    x0, y0, x1, y1 = _box(region)
    return (x1 - x0) * (y1 - y0)


def _corners(region: Dataset) -> str:
    x0, y0, x1, y1 = _box(region)
    return f"({x0}, {y0})–({x1}, {y1})"


def _plain_spacing(header: Dataset) -> tuple[float, float] | None:
    """Pixel Spacing, of the image or of an enhanced object's shared functional groups."""
    holders = [header]
    for group in header.get("SharedFunctionalGroupsSequence") or []:
        holders.extend(group.get("PixelMeasuresSequence") or [])
    for holder in holders:
        values = _numbers(holder.get("PixelSpacing"))
        if len(values) == 2 and min(values) > 0:
            return values[0], values[1]
    return None
