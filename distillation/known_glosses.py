"""A teacher must know the glosses that its student learns."""

from pathlib import Path

from data.ctc_targets import PreparedSplit
from errors import DataError, shown_names


def refuse_unknown_glosses(corpus: Path, train: PreparedSplit) -> None:
    """Raise DataError if the train split of a corpus has glosses that the teacher does not know.

    Args:
        corpus: its folder, for the message.
        train: the split with its targets in the teacher's vocabulary.
    """
    if unknown := sorted(set(train.unknown_glosses)):
        raise DataError(
            f"{corpus}: the student's corpus has {len(unknown)} glosses that its teacher does not "
            f"know ({shown_names(unknown, 5)}): fine-tune the teacher on it with train_teacher.py "
            "--extend_vocabulary first"
        )
