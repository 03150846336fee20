"""A teacher must know the glosses that its student learns."""

from pathlib import Path

from data.ctc_targets import PreparedSplit
from errors import DataError


def refuse_unknown_glosses(corpus: Path, train: PreparedSplit) -> None:
    """Raise DataError if the train split of a corpus has glosses that the teacher does not know.

    Args:
        corpus: its folder, for the message.
        train: the split with its targets in the teacher's vocabulary.
    """
    if unknown := sorted(set(train.unknown_glosses)):
        examples = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise DataError(
            f"{corpus}: the student's corpus has {len(unknown)} glosses that its teacher does not "
            f"know ({examples}): fine-tune the teacher on it with train_teacher.py "
            "--extend_vocabulary first"
        )
