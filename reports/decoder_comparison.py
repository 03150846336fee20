"""The decoders side by side on the same posteriors: WER, errors and time of each."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from decoding.batches import Decoder, decode_split
from decoding.greedy import greedy_decode
from decoding.length_normalization import filtered_decode
from decoding.scoring import align, rates
from reports.decoded_split import DecodedSplit


class DecoderResult(NamedTuple):
    """One decoder's row of the comparison. `rates`: see `decoding.scoring.rates`."""

    name: str
    settings: str  # in words
    rates: dict[str, Any]
    milliseconds: float  # per sentence


def compare_decoders(
    decoded: DecodedSplit,
    others: Iterable[tuple[str, str, Decoder]],
    used: tuple[str, str, float],
    clean_up: Callable[[list[str]], Sequence[str]] = list,
) -> list[DecoderResult]:
    """Compare greedy, greedy with the confidence filter, `others` and the decoder that was used.

    Args:
        decoded: the split, with the hypotheses of the decoder that was used.
        others: (name, settings in words, decoder) of further decoders.
        used: (name, settings in words, milliseconds per sentence) of the decoder that was used. Its
            row comes last.
        clean_up: applied to each hypothesis before it is scored.
    """
    simple = (
        ("greedy", "the best path", greedy_decode),
        ("filtered", "greedy, without trailing glosses of low confidence", filtered_decode),
    )
    rows = []
    for name, settings, decoder in (*simple, *others):
        if name == used[0]:
            continue
        started = time.perf_counter()
        predictions = decode_split(decoded.posteriors, decoder)
        milliseconds = 1000 * (time.perf_counter() - started) / len(predictions)
        hypotheses = [clean_up(decoded.vocabulary.decode(classes)) for classes in predictions]
        errors = align(decoded.references, hypotheses)
        rows.append(DecoderResult(name, settings, rates(errors), milliseconds))
    name, settings, milliseconds = used
    rows.append(
        DecoderResult(f"{name} (used above)", settings, rates(decoded.aligned), milliseconds)
    )
    return rows
