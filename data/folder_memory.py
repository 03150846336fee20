"""The memory of a folder: facts about the files of a corpus or of soft targets. A later run need
not read the files again.

The facts are in `.remembered.json` in that folder; where that cannot be written, in the
user's cache folder. A fact about a file counts as long as the file has the size and the times of
its last change that it had when it was read. The file can be removed at any time.
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

NAME = ".remembered.json"
_CACHE = "sign_language_teacher"  # folder in the user's cache folder
# A file that changed so short a time before it was read could change again without another time.
_SETTLED_NS = 2_000_000_000
_MAX_BYTES = 16 << 20
_MAX_RESULTS = 8
T = TypeVar("T")


class FolderMemory:
    """The facts that are remembered about one folder."""

    def __init__(self, folder: Path):
        name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
        self._places = [folder / NAME]
        with contextlib.suppress(RuntimeError):  # there is no home folder
            self._places.append(_user_cache() / f"{name}.json")
        self._files, self._results = self._read()

    def knows(self, path: Path, fact: str) -> bool:
        """Whether the memory holds this fact about the file's present content. Raises OSError."""
        return fact in self._facts(path, _state(path))

    def about_file(
        self, path: Path, fact: str, find: Callable[[], T], valid: Callable[[Any], bool]
    ) -> T:
        """A fact about the content of a file.

        Args:
            path: a file of the folder.
            fact: its name, such as 'sha256'.
            find: finds it out by reading the file. The result is stored as JSON.
            valid: whether a stored value can be one. No other value is stored.

        Raises OSError, and what `find` raises.
        """
        state, now = _state(path), time.time_ns()
        facts = self._facts(path, state)
        if fact in facts and valid(facts[fact]):
            known: T = facts[fact]
            return known
        found = find()
        if _state(path) == state and now - max(state[1:]) > _SETTLED_NS and valid(found):
            self._files[path.name] = {**facts, "state": state, fact: found}
            self._write()
        return found

    def result(self, key: str, find: Callable[[], str], valid: Callable[[Any], bool]) -> str:
        """The result of a computation, as text. `key` names all that the result depends on."""
        if key in self._results and valid(self._results[key]):
            known: str = self._results[key]
            return known
        found = find()
        kept = [(old, text) for old, text in self._results.items() if old != key]
        self._results = dict([*kept[-_MAX_RESULTS + 1 :], (key, found)])
        self._write()
        return found

    def _facts(self, path: Path, state: list[int]) -> dict[str, Any]:
        facts = self._files.get(path.name)
        return facts if isinstance(facts, dict) and facts.get("state") == state else {}

    def _read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What all places remember, joined: the folder of another user may have a file that this
        user cannot write, and what was found out since is in the user's cache."""
        files: dict[str, Any] = {}
        results: dict[str, Any] = {}
        for place in reversed(self._places):
            with contextlib.suppress(OSError, ValueError, RecursionError):
                if place.stat().st_size > _MAX_BYTES:
                    continue
                content = json.loads(place.read_text(encoding="utf-8"))
                here, found = (
                    content.get(name) if isinstance(content, dict) else None
                    for name in ("files", "results")
                )
                if isinstance(here, dict) and isinstance(found, dict):
                    results |= found
                    for name, facts in here.items():
                        files[name] = self._joined(name, files.get(name), facts)
        return files, results

    def _joined(self, name: str, known: Any, facts: Any) -> Any:
        """Two places' facts about a file. If they are about two states of it, the current one
        counts."""
        if not isinstance(known, dict) or not isinstance(facts, dict):
            return facts if isinstance(facts, dict) else known
        if known.get("state") == facts.get("state"):
            return known | facts
        with contextlib.suppress(OSError):
            if known.get("state") == _state(self._places[0].parent / name):
                return known
        return facts

    def _write(self) -> None:
        """Write the first place that can be written; none is no error."""
        text = json.dumps({"files": self._files, "results": self._results})
        for number, place in enumerate(self._places):
            partial = place.with_name(f"{place.name}.{os.getpid()}")
            try:
                if number:
                    place.parent.mkdir(parents=True, exist_ok=True)
                partial.write_text(text, encoding="utf-8")
                os.replace(partial, place)
                return
            except OSError:
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)


def _state(path: Path) -> list[int]:
    """Size, and the times at which the content and the file were last changed, in nanoseconds."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _user_cache() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / _CACHE
