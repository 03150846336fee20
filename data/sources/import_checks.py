"""The same checks of landmarks for every import format."""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from data.checks.plausibility import Finding, Plausibility, find_extremes
from data.checks.unseen_sentences import unseen_warnings
from data.corpus import Corpus
from errors import DataError, printable


class ImportChecks:
    """Checks the landmarks of an import, sentence by sentence, and each split as a whole.

    source: the input, for messages.
    """

    def __init__(self, source: Path):
        self._source = source
        self._splits: defaultdict[str, Plausibility] = defaultdict(Plausibility)
        self._warnings: list[str] = []

    def add(self, split: str, id: str, landmarks: np.ndarray, detected: np.ndarray) -> None:
        """Check one sentence. Raises DataError when points that models read are so far outside the
        image that they cannot be image fractions.

        landmarks: float (T, 543, 3). detected: bool (T, 4).
        """
        extreme = find_extremes(landmarks)
        if extreme is not None:
            text = f"{split} sentence {id} {extreme.text}"
            if extreme.is_error:
                raise DataError(f"{text}; expected fractions of the image, not pixels")
            self._warnings.append(text)
        self._splits[split].add(id, landmarks, detected)

    def finish(self) -> None:
        """Print the warnings to stderr. Raises DataError when the landmarks of a split are not
        those of a signer, as MediaPipe gives them."""
        for split, plausibility in self._splits.items():
            for finding in plausibility.findings():
                refuse_error(f"{self._source}, split '{split}',", finding)
                self._warnings.append(f"split '{split}' {finding.text}")
        print_warnings(self._warnings)


def refuse_error(name: str, finding: Finding) -> None:
    """Raise DataError for a finding that is an error. name: of the input, for the message."""
    if finding.is_error:
        raise DataError(f"{name} {finding.text}")


def warn_of_unseen_sentences(output: Path) -> None:
    """Print a warning for each kind of sentence of a new corpus in which parts are missing."""
    corpus = Corpus(output)
    print_warnings([line for split in corpus.splits.values() for line in unseen_warnings(split)])


def print_warnings(lines: list[str]) -> None:
    for line in lines:
        print(printable(f"warning: {line}"), file=sys.stderr)
