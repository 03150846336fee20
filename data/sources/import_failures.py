"""The sentences that an import cannot read."""

import contextlib
from collections.abc import Iterator

from errors import DataError


class ImportFailures:
    """Collects the reasons why sentences cannot be read, so that one message lists all of them."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, str], str] = {}

    @contextlib.contextmanager
    def collect(self, split: str, id: str) -> Iterator[None]:
        """Turn a DataError inside the block into a failure of this sentence."""
        try:
            yield
        except DataError as error:
            self._reasons[split, id] = str(error)

    def report(self, skip_bad: bool) -> None:
        """Print all failures, one per line.

        Raises DataError if any sentence failed, except when `skip_bad` is True and only train
        sentences failed: these may be left out.
        """
        for (split, id), reason in self._reasons.items():
            print(f"bad sentence: {split} sentence {id}: {reason}")
        refused = {
            key: reason
            for key, reason in self._reasons.items()
            if not (skip_bad and key[0] == "train")
        }
        if refused:
            (split, _), reason = next(iter(refused.items()))
            more = (
                f" (and {len(refused) - 1} more sentences, listed above)"
                if len(refused) > 1
                else ""
            )
            advice = (
                "--skip_bad leaves such sentences out"
                if split == "train"
                else f"--skip_bad leaves no {split} sentences out: repair the file"
            )
            raise DataError(f"{reason}{more}; {advice}")
