"""The advice for corpora that are small."""

SMALL = 500  # train sentences


def small_corpus_advice(sentences: int) -> str | None:
    """One line for a corpus with this number of train sentences; None if it is not small."""
    if not 0 < sentences < SMALL:
        return None
    return (
        f"{sentences} train sentences are few: a large model learns them by heart. See "
        "configs/small.yaml and 'Small corpora' in docs/data.md"
    )
