"""What the gate's reader finds in picture files, in a form to print."""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from drivers.pictures import PictureResult, read_pictures


def picture_rows(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Yield one JSON-able row for each file, whatever the file; folders are walked in the order of names."""
    for result in read_pictures(paths):
        yield _row(result)


def code_text(payload: bytes) -> str:
    """Return a payload as text for people: UTF-8, else GB18030, else with marks for what is neither."""
    for encoding in ("utf-8", "gb18030"):
        try:
            return payload.decode(encoding)
        except UnicodeDecodeError:
            continue
    return payload.decode("utf-8", "replace")


def _row(result: PictureResult) -> dict[str, Any]:
    row: dict[str, Any] = {
        "file": result.file,
        "reads": [
            {
                "text": code_text(code.payload),
                "bytes_base64": base64.b64encode(code.payload).decode("ascii"),
                "decoder": code.decoder,
                "pass": code.pass_name,
            }
            for code in result.reads
        ],
        "outcome": str(result.outcome),
        "ms": round(result.ms, 3),
    }
    return {**row, "detail": result.detail} if result.detail else row
