"""The recordings of single signs: gloss, repetition, signer and session of each."""

from dataclasses import dataclass

from data.corpus import Corpus, Split, history
from errors import DataError


@dataclass(frozen=True)
class IsolatedRecording:
    """An isolated recording. index: its row in the source's train split. Signer and session decide
    which recordings can be in one sentence."""

    index: int
    gloss: str
    repetition: int
    signer: str
    session: int


def read_recordings(isolated: Corpus) -> list[IsolatedRecording]:
    """Read the recordings of a corpus made by `import --format mp_data`, or of one that was made
    from it by `resample`, `split` or `align`: these keep the ids, which have the repetitions.

    Raises DataError for any other corpus.
    """
    clips: Split = isolated.split("train")
    found = (made_by.get("repetitions_per_session") for made_by in history(isolated.facts))
    block = next((one for one in found if one is not None), None)
    if isolated.composed or not isinstance(block, int) or block < 1:
        raise DataError(
            f"{isolated.path} is not a corpus of isolated recordings (corpus.json has no "
            "repetitions_per_session): compose needs a corpus made by 'import --format mp_data'"
        )
    recordings = []
    for index, sentence in enumerate(clips.sentences):
        repetition = sentence.id.rpartition("-")[2]
        if len(sentence.glosses) != 1 or not (repetition.isascii() and repetition.isdecimal()):
            raise DataError(
                f"{isolated.path}: {sentence.id!r} with {len(sentence.glosses)} glosses is not an "
                "isolated recording; expected one gloss and an id like hello-12"
            )
        session = int(repetition) // block
        recordings.append(
            IsolatedRecording(index, sentence.glosses[0], int(repetition), sentence.signer, session)
        )
    return recordings
