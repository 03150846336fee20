"""Files of a corpus that were changed after it was written."""

from collections.abc import Mapping
from pathlib import Path

from data.corpus import Corpus
from errors import DataError

CHECKED_SPLITS = ("train", "dev")  # of a training; their files make its fingerprint


def verify_as_for_training(corpus: Corpus, digests: Mapping[str, str] | None = None) -> list[str]:
    """Compare the files of train and dev with corpus.json, see `Corpus.verify`."""
    return corpus.verify(CHECKED_SPLITS, digests)


def warn_of_changed_files(corpus: Corpus, digests: Mapping[str, str] | None = None) -> list[str]:
    """Print which files differ from their hashes in corpus.json.

    If files of train or dev do, the corpus's fingerprint becomes that of the changed files, as in a
    training. The files of its other splits are named, and leave the fingerprint as it is.

    Args:
        digests: SHA-256 of the files of train and dev, where they are known already; then the other
            splits are not looked at.

    Returns those of train and dev. Raises DataError when a file cannot be read.
    """
    changed, others = verify_as_for_training(corpus, digests), []
    if digests is None:
        fingerprint = corpus.fingerprint
        others = corpus.verify(name for name in corpus.splits if name not in CHECKED_SPLITS)
        corpus.fingerprint = fingerprint
    for file in [*changed, *others]:
        print(
            f"warning: {corpus.path / file} was changed: its SHA-256 differs from the one in "
            "corpus.json"
        )
    return changed


def open_unchanged_corpus(path: Path) -> Corpus:
    """Open a corpus from which another one is made.

    Raises DataError when a file differs from its hash in corpus.json: the new corpus would have
    good hashes, and nothing would show the change any more.
    """
    corpus = Corpus(path)
    changed = corpus.verify(corpus.splits)
    if changed:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise DataError(
            f"{path / changed[0]} was changed{more}: its SHA-256 differs from the one in "
            "corpus.json; restore the file, or, if you want the change, write its SHA-256 (as "
            "sha256sum prints it) into corpus.json"
        )
    return corpus
