"""The decoders side by side on the same posteriors: WER, errors and time of each."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from decoding.batches import DecodedSentences, Decoder
from decoding.greedy import greedy_decode
from decoding.length_normalization import filtered_decode
from decoding.scoring import align, rates
from reports.decoded_split import DecodedSplit


class ComparedDecoder(NamedTuple):
    """A decoder of the comparison, with its settings in words."""

    name: str
    settings: str
    decode: Decoder


class DecoderResult(NamedTuple):
    """One decoder's row of the comparison. `rates`: see `decoding.scoring.rates`."""

    name: str
    settings: str  # in words
    rates: dict[str, Any]
    milliseconds: float  # per sentence


def compared_decoders(
    used: ComparedDecoder,
    others: Iterable[ComparedDecoder],
    in_words: Callable[[str], str] = str,
) -> dict[str, ComparedDecoder]:
    """The decoders to compare, by name: greedy, greedy with the confidence filter, `others`, and
    last the decoder that is used. A decoder of its name among the others is left out.

    in_words: completes the settings of the two greedy ones; see `Prediction.named_beside`.
    """
    simple = (
        ComparedDecoder("greedy", in_words("the best path"), greedy_decode),
        ComparedDecoder(
            "filtered",
            in_words("greedy, without trailing glosses of low confidence"),
            filtered_decode,
        ),
    )
    compared = [other for other in (*simple, *others) if other.name != used.name]
    return {one.name: one for one in (*compared, used)}


def compare_decoders(
    decoded: DecodedSplit,
    found: DecodedSentences,
    decoders: Iterable[ComparedDecoder],
    clean_up: Callable[[list[str]], Sequence[str]] = list,
) -> list[DecoderResult]:
    """The WER and the time of each decoder.

    Args:
        decoded: the split, with the hypotheses of the decoder that is used.
        found: the predictions of all decoders.
        decoders: the decoder that is used comes last, see `compared_decoders`.
        clean_up: applied to each hypothesis of the others before it is scored.
    """
    *others, used = decoders
    rows = []
    for name, settings, _ in others:
        hypotheses = (
            clean_up(decoded.vocabulary.decode(classes)) for classes in found.predictions[name]
        )
        errors = align(decoded.references, hypotheses)
        rows.append(DecoderResult(name, settings, rates(errors), found.milliseconds(name)))
    rows.append(
        DecoderResult(
            f"{used.name} (used above)",
            used.settings,
            rates(decoded.aligned),
            found.milliseconds(used.name),
        )
    )
    return rows
