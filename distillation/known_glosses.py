"""A teacher must know the glosses that its student learns."""

import shlex
from pathlib import Path

from data.ctc_targets import PreparedSplit
from errors import DataError, counted, shown_names


def refuse_unknown_glosses(corpus: Path, train: PreparedSplit, teacher: Path | str) -> None:
    """Raise DataError if the train split of a corpus has glosses that the teacher does not know.

    Args:
        corpus: its folder, for the message.
        train: the split with its targets in the teacher's vocabulary.
        teacher: its checkpoint, for the message.
    """
    if unknown := sorted(set(train.unknown_glosses)):
        raise DataError(
            f"{corpus}: the student's corpus has {counted(len(unknown), 'gloss')} that the teacher "
            f"{teacher} does not know ({shown_names(unknown, 5)}): fine-tune the teacher on "
            f"it first, with train_teacher.py --resume {shlex.quote(str(teacher))} --data_dir "
            f"{shlex.quote(str(corpus))} --extend_vocabulary"
        )
