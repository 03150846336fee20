"""The sentences that an import cannot read."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from errors import DataError, printable


class ImportFailures:
    """Collects the reasons why sentences cannot be read, so that one message lists all of them."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, str], str] = {}
        self._sentences: Counter[str] = Counter()  # of each split, failed ones included

    @contextlib.contextmanager
    def collect(self, split: str, id: str) -> Iterator[None]:
        """Turn a DataError inside the block into a failure of this sentence."""
        self._sentences[split] += 1
        try:
            yield
        except DataError as error:
            self._reasons[split, id] = str(error)

    def report(self, skip_bad: bool) -> None:
        """Print all failures, one per line.

        Raises DataError if any sentence failed, except when `skip_bad` is True and only train
        sentences failed, but not all of them: these may be left out.
        """
        for (split, id), reason in self._reasons.items():
            print(printable(f"bad sentence: {split} sentence {id}: {reason}"))
        failed = Counter(split for split, _ in self._reasons)
        needed = next((split for split in failed if split != "train"), None)
        if failed["train"] and failed["train"] == self._sentences["train"]:
            raise DataError(
                f"none of the {failed['train']} train sentences can be imported, and there is no "
                f"corpus without train; the first: {self._first('train')}"
            )
        if needed is not None:
            raise DataError(
                f"{self._first(needed)}{self._more()}; --skip_bad leaves no {needed} sentences "
                "out: repair the file"
            )
        if failed["train"] and not skip_bad:
            raise DataError(
                f"{self._first('train')}{self._more()}; --skip_bad leaves such sentences out"
            )

    def _first(self, split: str) -> str:
        return next(reason for (name, _), reason in self._reasons.items() if name == split)

    def _more(self) -> str:
        more = len(self._reasons) - 1
        return f" (and {more} more sentences, listed above)" if more else ""
