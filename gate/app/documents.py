"""The documents of the day on disk: what has come once is there again at the next start."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

DOCUMENTS_NAME: Final = "documents"  # of the folder in the state folder
SUFFIX: Final = ".hgd"
BYTES_MAX: Final = 512 * 1024


class DocumentFolder:
    """A folder of signed documents, one file each; what is in it is checked by whoever reads it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def texts(self) -> Iterator[bytes]:
        """Yield every document that is kept, by name; what cannot be read is said and left.

        Of a file that is too large to be a document just enough is read to say so.
        """
        for file in self._files():
            try:
                with file.open("rb") as opened:
                    yield opened.read(BYTES_MAX + 1).strip()
            except OSError as error:
                log.error("document %s cannot be read: %s", file, error)

    def keep(self, name: str, text: bytes) -> None:
        """Replace the document of this name, whole or not at all; an error is said, and no more.

        `name` is a plain file name without an ending (`gate.core.day` makes it of a kind and an issuer).
        """
        file = self._path / f"{name}{SUFFIX}"
        part = file.with_suffix(".part")
        try:
            self._path.mkdir(exist_ok=True)
            with part.open("wb") as opened:
                opened.write(text)
                opened.flush()
                os.fsync(opened.fileno())
            part.replace(file)
        except OSError as error:
            log.error("document %s is used but not kept for the next start: %s", file, error)

    def _files(self) -> list[Path]:
        try:
            return sorted(file for file in self._path.iterdir() if file.suffix == SUFFIX)
        except FileNotFoundError:
            return []
        except OSError as error:
            log.error("documents in %s cannot be read: %s", self._path, error)
            return []
