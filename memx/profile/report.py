"""What a profile leaves in a folder: JSON, tables, figures and one HTML page."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memx.files import atomic, write_text
from memx.profile.drawing import Drawing
from memx.profile.run import Profile
from memx.profile.sections import profile_sections
from memx.profile.tables import Rows, profile_tables
from memx.profile.verdicts import Scaling
from memx.recipe import Recipe
from memx.report.html import Data, Report, write_report
from memx.report.sections import facts_section, recipe_section

_OURS = re.compile(r"[\w-]+\.(csv|png)")


def profile_data(found: Profile, scalings: Sequence[Scaling] = ()) -> dict[str, Any]:
    """As plain data for JSON: the profile, and by axis the memories' points, the networks' and the sentences."""
    return {
        **found.as_dict(),
        "scaling": {item.axis: [asdict(point) for point in item.memories] for item in scalings},
        "scaling_networks": {item.axis: [asdict(point) for point in item.networks] for item in scalings},
        "verdicts": {item.axis: item.sentences() for item in scalings},
    }


def write_profile(folder: Path, recipe: Recipe, found: Profile, scalings: Sequence[Scaling] = ()) -> Path:
    """`profile.json`, its tables as CSV, its figures as PNG and `report.html`; returns the page's path.

    `profile.json` names the files. Those that an earlier profile has left there and this one does not write go, so that
    what lies in the folder belongs together; nothing else in it is touched.
    """
    before = _earlier(folder)
    parts = list(profile_sections(found, scalings))
    tables = profile_tables(found, scalings)
    pictures = {f"{part.name}.png": part.png() for part in parts if isinstance(part, Drawing)}
    files = sorted([*tables, *pictures, "profile.json", "report.html"])
    data = {**profile_data(found, scalings), "files": files}
    text = json_text(data)
    for name, rows in tables.items():
        write_text(folder / name, _csv(rows))
    for name, picture in pictures.items():
        with atomic(folder / name) as part:
            part.write_bytes(picture)
    for name in set(before) - set(files):
        (folder / name).unlink(missing_ok=True)
    write_text(folder / "profile.json", text)
    sections = [
        *(part.section() if isinstance(part, Drawing) else part for part in parts),
        recipe_section(recipe.to_yaml()),
        facts_section("Environment", data["environment"]),
        Data("profile", data),
    ]
    subtitle = " · ".join(filter(None, [recipe.description.rstrip("."), f"recipe {found.hash}"]))
    return write_report(folder / "report.html", Report(f"{found.recipe}: profile", sections, subtitle))


def json_text(data: dict[str, Any]) -> str:
    """JSON as it is printed and written. Raises ValueError for a figure that is not finite."""
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _earlier(folder: Path) -> list[str]:
    """Tables and figures that an earlier profile left in a folder, as it wrote them down; none without one."""
    try:
        data = json.loads((folder / "profile.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    files = data.get("files") if isinstance(data, dict) else None
    names = files if isinstance(files, list) else []
    return [name for name in names if isinstance(name, str) and _OURS.fullmatch(name)]


def _csv(rows: Rows) -> str:
    """Rows of one set of columns; None is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
