"""The documents of the day on disk: what has come once is there again at the next start."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from gate.durable import replace

log = logging.getLogger(__name__)

DOCUMENTS_NAME: Final = "documents"  # of the folder in the state folder
SUFFIX: Final = ".hgd"
BYTES_MAX: Final = 512 * 1024
FILES_MAX: Final = 100


class DocumentFolder:
    """A folder of signed documents, one file each; what is in it is checked by whoever reads it.

    `failed` is told of every file that cannot be read or kept: a gate that has lost its documents must not
    look like one that never had any.
    """

    def __init__(self, path: Path, failed: Callable[[str], None] = lambda _problem: None) -> None:
        self._path = path
        self._failed = failed

    def texts(self) -> Iterator[bytes]:
        """Yield every document that is kept, by name; what cannot be read is said and left.

        Of a file that is too large to be a document just enough is read to say so.
        """
        for file in self._files():
            try:
                with file.open("rb") as opened:
                    yield opened.read(BYTES_MAX + 1).strip()
            except OSError as error:
                self._say(f"document {file} cannot be read: {error}")

    def keep(self, name: str, text: bytes) -> None:
        """Replace the document of this name, whole or not at all; an error is said, and no more.

        `name` is a plain file name without an ending (`gate.core.day` makes it of a kind and an issuer).
        """
        file = self._path / f"{name}{SUFFIX}"
        try:
            self._path.mkdir(exist_ok=True)
            replace(file, text)
        except OSError as error:
            self._say(f"document {file} is used but not kept for the next start: {error}")

    def _say(self, problem: str) -> None:
        log.error("%s", problem)
        self._failed(problem)

    def _files(self) -> list[Path]:
        try:
            named = sorted(file for file in self._path.iterdir() if file.suffix == SUFFIX)
        except FileNotFoundError:
            return []
        except OSError as error:
            self._say(f"documents in {self._path} cannot be read: {error}")
            return []
        # A pipe would be waited on for ever, and rubbish must not keep a gate from its start.
        files = []
        for file in named:
            if file.is_file():
                files.append(file)
            else:
                self._say(f"document {file} is no file that can be read")
        if len(files) > FILES_MAX:
            self._say(f"of the {len(files)} documents in {self._path} only the first {FILES_MAX} are read")
        return files[:FILES_MAX]
