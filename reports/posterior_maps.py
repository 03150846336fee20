"""Posteriors of a few sentences over time, with the signer's skeleton at each predicted gloss."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from torch import Tensor

from data.ctc_lengths import TIME_STRIDE
from data.vocabulary import BLANK
from decoding.alignment import sentence_spans
from reports.decoded_split import DecodedSplit
from reports.evenly_spread import evenly_spread
from reports.figures import posterior_map, signer_box, skeleton
from reports.sentence_ranking import ranked

SENTENCES_MAPPED = 3
SKELETONS_PER_SENTENCE = 16
# Rows of a map for classes that are neither predicted nor in the reference
RIVALS = 4
RIVAL_PROBABILITY = 0.1  # a rival reaches it at some step


@dataclass(frozen=True)
class Moment:
    """The middle of a predicted gloss, with the skeleton of that frame."""

    number: int  # of the gloss in the sentence, from 1
    gloss: str
    times: str  # begin and end in seconds
    confidence: str  # the mean probability of the gloss over its steps
    skeleton: Markup


@dataclass(frozen=True)
class SentenceMap:
    """A sentence with its posteriors as a figure and its predicted glosses as skeletons."""

    title: str
    id: str
    signer: str
    reference: str
    predicted: str
    moments: list[Moment]
    figure: Markup


def map_sentences(decoded: DecodedSplit) -> list[SentenceMap]:
    """Maps of the worst, the middle and the best sentence."""
    order = ranked(decoded.aligned)
    names = {0: "worst", len(order) - 1: "best"}
    return [
        _map(decoded, order[place], f"The {names.get(place, 'middle')} sentence")
        for place in evenly_spread(len(order), SENTENCES_MAPPED)
    ]


def map_classes(log_probs: Tensor, predicted: Sequence[int], reference: Sequence[int]) -> list[int]:
    """The classes that are rows of a posterior map, from top to bottom.

    They are the predicted classes in their order, the classes of the reference that are not
    predicted, the most probable others (at most 4) that reach a probability of 0.1 at some step,
    and the blank. log_probs: (T', V).
    """
    rows = list(dict.fromkeys([*predicted, *reference]))
    highest = log_probs.amax(0).exp()
    rivals = [
        number
        for number in highest.argsort(descending=True).tolist()
        if number not in rows and number != BLANK
    ]
    likely = [number for number in rivals[:RIVALS] if highest[number] >= RIVAL_PROBABILITY]
    return [*rows, *likely, BLANK]


def _map(decoded: DecodedSplit, index: int, title: str) -> SentenceMap:
    sentence = decoded.split.sentences[index]
    log_probs, predicted = decoded.posteriors_of(index), decoded.predictions[index]
    glosses = decoded.vocabulary.decode(predicted)
    spans = sentence_spans(log_probs, predicted)
    step = TIME_STRIDE / decoded.corpus.fps
    known = [gloss for gloss in sentence.glosses if gloss in decoded.vocabulary]
    classes = map_classes(log_probs, predicted, decoded.vocabulary.encode(known) or [])
    figure = posterior_map(
        log_probs[:, classes].exp().T.numpy(),
        [_row_label(decoded, index, number) for number in classes],
        [
            (gloss, begin * step, end * step)
            for gloss, (begin, end) in zip(glosses, spans, strict=True)
        ],
        len(log_probs) * step,
        f"Posteriors of {sentence.id}",
    )
    return SentenceMap(
        title=title,
        id=sentence.id,
        signer=sentence.signer_name,
        reference=" ".join(sentence.glosses),
        predicted=" ".join(glosses),
        moments=_moments(decoded, index, log_probs, glosses, spans),
        figure=figure,
    )


def _row_label(decoded: DecodedSplit, index: int, number: int) -> str:
    """A class's name. It has a * when the class is only in the reference, a + when it is only
    predicted."""
    if number == BLANK:
        return "(blank)"
    (gloss,) = decoded.vocabulary.decode([number])
    in_reference = gloss in decoded.split.sentences[index].glosses
    predicted = number in decoded.predictions[index]
    if in_reference and not predicted:
        return f"* {gloss}"
    return f"+ {gloss}" if predicted and not in_reference else gloss


def _moments(
    decoded: DecodedSplit,
    index: int,
    log_probs: Tensor,
    glosses: Sequence[str],
    spans: Sequence[tuple[int, int]],
) -> list[Moment]:
    landmarks, detected = decoded.split.read(index)
    corpus = decoded.corpus
    numbers = evenly_spread(len(glosses), SKELETONS_PER_SENTENCE)
    frames = [min(TIME_STRIDE * sum(spans[number]) // 2, len(landmarks) - 1) for number in numbers]
    box = signer_box(landmarks[frames], detected[frames], corpus.aspect_ratio)
    moments = []
    for number, frame in zip(numbers, frames, strict=True):
        begin, end = (TIME_STRIDE * step / corpus.fps for step in spans[number])
        predicted = decoded.predictions[index][number]
        # As `decoding.alignment.timed_glosses` computes it
        confidence = float(log_probs[slice(*spans[number]), predicted].exp().mean())
        drawing = skeleton(
            landmarks[frame],
            detected[frame],
            corpus.aspect_ratio,
            box,
            f"Skeleton at {frame / corpus.fps:.2f} s",
        )
        moments.append(
            Moment(
                number=number + 1,
                gloss=glosses[number],
                times=f"{begin:.2f}–{end:.2f}",
                confidence=f"{100 * confidence:.0f} %",
                skeleton=drawing,
            )
        )
    return moments
