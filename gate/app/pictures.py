"""What the gate's reader finds in picture files, in a form to print."""

import base64
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from drivers.pictures import PictureResult, read_pictures


def picture_rows(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Yield one JSON-able row for each file, whatever the file; folders are walked in the order of names."""
    for result in read_pictures(paths):
        yield _row(result)


def code_text(payload: bytes) -> str:
    """Return a payload as text for people: UTF-8, else Shift JIS where it shows, else GB18030.

    Codes do not say how their bytes are to be read; nothing but a display may depend on this guess.
    """
    encodings = ("utf-8", "shift_jis", "gb18030") if _looks_japanese(payload) else ("utf-8", "gb18030")
    for encoding in encodings:
        try:
            return payload.decode(encoding)
        except UnicodeDecodeError:
            continue
    return payload.decode("utf-8", "replace")


def _looks_japanese(payload: bytes) -> bool:
    """Return whether bytes make better Shift JIS than GB18030: kana, and not what hanzi look like in it.

    Chinese read as Shift JIS is full of half-width kana, so these count only if there is nothing else and a
    voiced mark follows one that can take it.
    """
    try:
        text = payload.decode("shift_jis")
    except UnicodeDecodeError:
        return False
    if _HALF_WIDTH_KANA.search(text):
        return all(char.isascii() or _HALF_WIDTH_KANA.match(char) for char in text) and bool(
            _VOICED.search(text)
        )
    return bool(_KANA.search(text))


_KANA: Final = re.compile("[\u3041-\u30fe]")
_HALF_WIDTH_KANA: Final = re.compile("[\uff61-\uff9f]")
_VOICED: Final = re.compile("[\uff76-\uff84\uff8a-\uff8e][\uff9e\uff9f]")


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
