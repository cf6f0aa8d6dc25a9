"""CAMUS's text file of a view: which frames are ED and ES, and what is known of the patient."""

from __future__ import annotations

from pathlib import Path

from memx.data.access import denied
from memx.errors import DataError

_EF = ("EF", "LVef")  # the NIfTI release writes EF, the older one LVef


class Info:
    """`Info_{2CH,4CH}.cfg`: one `Key: value` a line; ED and ES count from 1. `words` has the values as they stand."""

    def __init__(self, file: Path):
        self.file = file
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise DataError("is missing", file=file, remedy="copy the patient again from the data set") from None
        except PermissionError:
            raise denied(file) from None
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot be read ({error})", file=file, remedy="copy it again") from error
        pairs = (line.split(":", 1) for line in lines if ":" in line)
        self.words = {key.strip(): value.strip() for key, value in pairs}

    def phases(self, frames: int) -> tuple[int, int]:
        """0-based frames of ED and ES, checked against the number of frames there are."""
        count = self._whole("NbFrame") if "NbFrame" in self.words else frames
        if count != frames:
            raise DataError(
                f"says NbFrame: {count}, but the sequence has {frames} frames",
                file=self.file,
                remedy="copy the patient again",
            )
        ed, es = (self._whole(key) for key in ("ED", "ES"))
        for key, value in (("ED", ed), ("ES", es)):
            if not 1 <= value <= frames:
                raise DataError(
                    f"{key}: {value} is out of range", file=self.file, remedy=f"the sequence has frames 1..{frames}"
                )
        if ed == es:
            raise DataError(f"ED and ES are both frame {ed}", file=self.file, remedy="they must differ")
        return ed - 1, es - 1

    @property
    def ef(self) -> float | None:
        """The reference ejection fraction in percent, or None."""
        key = next((key for key in _EF if key in self.words), _EF[0])
        return self.number(key, at_least=0, at_most=100)

    def number(self, key: str, *, at_least: float, at_most: float) -> float | None:
        """A number that may be absent."""
        if key not in self.words:
            return None
        try:
            value = float(self.words[key])
        except ValueError:
            raise DataError(
                f"{key}: {self.words[key]!r} is not a number",
                file=self.file,
                remedy=f"want {at_least:g}..{at_most:g}, or no such line",
            ) from None
        if not at_least <= value <= at_most:
            raise DataError(
                f"{key}: {value:g} is out of range", file=self.file, remedy=f"want {at_least:g}..{at_most:g}"
            )
        return value

    def _whole(self, key: str) -> int:
        if key not in self.words:
            raise DataError(
                f"has no {key}",
                file=self.file,
                remedy=f"it has {', '.join(self.words) or 'no keys'}, and ED and ES are wanted",
            )
        try:
            return int(self.words[key])
        except ValueError:
            raise DataError(
                f"{key}: {self.words[key]!r} is not a whole number",
                file=self.file,
                remedy="write it in digits, or copy the patient again",
            ) from None
