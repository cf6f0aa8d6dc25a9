"""Make docs/images/overlay.png from what `make demo` left: `python docs/_overlay_picture.py runs/demo`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.examples import get_path

from memx.data.streams import open_stream
from memx.report.overlay import contact_sheet


def main(demo: Path, out: Path) -> None:
    """Frames of the real clip from ED to ES and back, cropped to the ultrasound sector."""
    (folder,) = [path for path in (demo / "predictions").iterdir() if path.is_dir()]
    summary = json.loads((folder / "summary.json").read_text())
    top, bottom, left, right = summary["crop"]
    frames = [frame.numpy()[:, top:bottom, left:right] for frame in open_stream(Path(get_path("ybr_color")))]
    masks = pydicom.dcmread(folder / "masks.dcm").pixel_array[:, top:bottom, left:right].astype(np.uint8)
    ed, es = summary["ed"], summary["es"]
    chosen = {ed: "ED", (ed + es) // 2: "", es: "ES", min(es + 9, len(frames) - 1): ""}
    captions = [f"frame {t + 1}" + (f" · {name}" if name else "") for t, name in chosen.items()]
    sheet = contact_sheet(
        [frames[t] for t in chosen],
        [masks[t] for t in chosen],
        len(chosen),
        structures={"left ventricle": 1},
        captions=captions,
        alpha=0.1,
        min_side=380,
    )
    Image.fromarray(sheet).save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent / "images" / "overlay.png")
