"""A disk without power: which files, with which bytes, a recording may leave behind when it is cut off.

A file's content is sure up to its last flush, the files' names up to the last flush of the folder. What
came after may be lost, kept, kept in part, or torn: a disk writes sectors of 512 bytes whole, in any order.
The names come back as of some moment since the last flush, as from a file system's journal.
"""

import random
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from tests.store.recording import Create, Delete, Flush, FlushNames, Mark, Rename, Step, Truncate, Write

SECTOR = 512
Naming = Create | Delete | Rename


class Fate(Enum):
    """What becomes of everything that was not flushed."""

    DROPPED = "dropped"
    KEPT = "kept"
    SOME = "some writes kept"
    TORN = "some sectors kept"


@dataclass
class File:
    sure: bytearray = field(default_factory=bytearray)
    unsure: list[Write | Truncate] = field(default_factory=list)

    def flush(self) -> None:
        for step in self.unsure:
            _apply(self.sure, step)
        self.unsure.clear()

    def after_a_cut(self, fate: Fate, chance: random.Random) -> bytes:
        content = bytearray(self.sure)
        for step in self.unsure:
            if fate is Fate.KEPT or (fate is Fate.SOME and chance.random() < 0.5):
                _apply(content, step)
            elif fate is Fate.TORN:
                for part in _sectors(step):
                    if chance.random() < 0.5:
                        _apply(content, part)
        return bytes(content)


class Disk:
    """One folder of files, step by step."""

    def __init__(self) -> None:
        self._files: dict[Path, File] = {}
        self._sure: dict[Path, File] = {}
        self._unsure: list[tuple[Naming, File]] = []

    def take(self, step: Step) -> None:
        match step:
            case Write(path) | Truncate(path):
                self._files[path].unsure.append(step)
            case Flush(path):
                self._files[path].flush()
            case FlushNames():
                for naming in self._unsure:
                    _name(self._sure, *naming)
                self._unsure.clear()
            case Create(path) | Delete(path) | Rename(path):
                naming = step, File() if isinstance(step, Create) else self._files[path]
                self._unsure.append(naming)
                _name(self._files, *naming)
            case Mark():
                pass

    def now(self) -> dict[Path, bytes]:
        """Return what everybody sees who asks while there is power."""
        steady = random.Random(0)
        return {path: file.after_a_cut(Fate.KEPT, steady) for path, file in self._files.items()}

    def after_a_cut(self, fate: Fate, chance: random.Random) -> dict[Path, bytes]:
        kept = {Fate.DROPPED: 0, Fate.KEPT: len(self._unsure)}.get(fate)
        names = dict(self._sure)
        for naming in self._unsure[: chance.randint(0, len(self._unsure)) if kept is None else kept]:
            _name(names, *naming)
        return {path: file.after_a_cut(fate, chance) for path, file in names.items()}


def _name(names: dict[Path, File], step: Naming, file: File) -> None:
    if not isinstance(step, Create):
        names.pop(step.path, None)
    if not isinstance(step, Delete):
        names[step.to if isinstance(step, Rename) else step.path] = file


def _apply(content: bytearray, step: Write | Truncate) -> None:
    if isinstance(step, Truncate):
        del content[step.size :]
        return
    content.extend(bytes(max(0, step.offset - len(content))))
    content[step.offset : step.offset + len(step.data)] = step.data


def _sectors(step: Write | Truncate) -> list[Write | Truncate]:
    """Split a write where the disk's sectors begin."""
    if isinstance(step, Truncate):
        return [step]
    end = step.offset + len(step.data)
    starts = [step.offset, *range(step.offset // SECTOR * SECTOR + SECTOR, end, SECTOR)]
    return [
        Write(step.path, start, step.data[start - step.offset : stop - step.offset])
        for start, stop in zip(starts, [*starts[1:], end], strict=True)
    ]
