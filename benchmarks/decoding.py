"""Compare beam search with flashlight-text, a C++ decoder, at the same pruning.

    python benchmarks/decoding.py

64 sentences of 50 steps with 1,300 classes; beam width 10, the 20 best classes of each step. The
posteriors are random and mostly blank, once peaky and once less peaky. Prints milliseconds per
sentence (median of 9 runs) and the number of sentences with the same hypothesis. flashlight decodes
the sentences one after another on one thread; its time divided by the number of threads is printed,
too. requirements-dev.txt has flashlight-text.

Then one sentence of 40 steps with 5,001 classes and the default width: milliseconds of the plain
search, with a gloss bonus, and with a language model.
"""

import functools
import importlib
import itertools
import operator
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from benchmarks.results import add_json_option, describe_machine, figure_name, finish
from command_line import Parser
from decoding.beam_search import beam_search
from decoding.language_model import LanguageModel
from errors import UsageError, run_script

CLASSES, STEPS, WIDTH, TOKENS, BATCH = 1300, 50, 10, 20, 64


def make_log_probs(sharpness: float) -> torch.Tensor:
    """Random log-probabilities (B, T, V). At most steps the blank is more likely than any gloss."""
    logits = (
        torch.randn(BATCH, STEPS, CLASSES, generator=torch.Generator().manual_seed(0)) * sharpness
    )
    logits[..., 0] += 3 * sharpness
    return logits.log_softmax(-1)


def decode_with_beam_search(log_probs: torch.Tensor) -> list[list[int]]:
    """The best hypothesis of each sentence; log_probs (B, T, V)."""
    result = beam_search(log_probs, torch.full((BATCH,), STEPS), WIDTH, TOKENS)
    return [result.hypotheses(sentence)[0][0] for sentence in range(BATCH)]


def open_flashlight() -> ModuleType:
    """The decoders of flashlight-text. Raises UsageError where it is not installed."""
    try:
        return importlib.import_module("flashlight.lib.text.decoder")
    except ImportError:
        raise UsageError(
            "decoding.py needs flashlight-text: run it with Python 3.11 or 3.12, after "
            "pip install -r requirements-dev.txt"
        ) from None


def decode_with_flashlight(flashlight: ModuleType, log_probs: list[np.ndarray]) -> list[list[int]]:
    """The best hypothesis of each sentence; log_probs: one array (T, V) per sentence."""
    options = flashlight.LexiconFreeDecoderOptions(
        beam_size=WIDTH,
        beam_size_token=TOKENS,
        beam_threshold=1e9,
        lm_weight=0.0,
        sil_score=0.0,
        log_add=True,
        criterion_type=flashlight.CriterionType.CTC,
    )
    decoder = flashlight.LexiconFreeDecoder(options, flashlight.ZeroLM(), -1, 0, [])
    best = (decoder.decode(array.ctypes.data, STEPS, CLASSES)[0].tokens for array in log_probs)
    return [[index for index, _ in itertools.groupby(tokens) if index > 0] for tokens in best]


def time_large_vocabulary() -> dict[str, float]:
    """Print the milliseconds of a sentence with 5,001 classes, median of 9 searches."""
    classes, steps = 5001, 40
    random = torch.Generator().manual_seed(0)
    log_probs = torch.randn(1, steps, classes, generator=random).mul(3).log_softmax(-1)
    table = torch.randn(classes, classes, generator=random).log_softmax(-1)
    model = LanguageModel(table, table[0], torch.zeros(classes))
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "gloss bonus": {"gloss_bonus": 1.0},
        "language model": {"language_model": model, "lm_weight": 0.5, "gloss_bonus": 1.0},
    }
    figures = {}
    for kind, options in kinds.items():
        times = []
        for _ in range(10):  # the first is a warm-up
            started = time.perf_counter()
            beam_search(log_probs, torch.tensor([steps]), **options)
            times.append(time.perf_counter() - started)
        figures[figure_name("large_vocabulary", kind, "milliseconds")] = median(times[1:]) * 1000
        print(f"{classes:,} classes, {kind}: {median(times[1:]) * 1000:.1f} ms per sentence")
    return figures


def timed(action: Callable[[], list[list[int]]], repeats: int = 9) -> tuple[float, list[list[int]]]:
    """Median milliseconds per sentence after a warm-up call, and the hypotheses."""
    hypotheses, times = action(), []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return 1000 * sorted(times)[repeats // 2] / BATCH, hypotheses


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="decoding.py", description=__doc__)
    add_json_option(parser)
    options = parser.parse_args(argv)
    flashlight = open_flashlight()
    print(describe_machine())
    threads, figures = torch.get_num_threads(), {}
    for name, sharpness in (("peaky", 6.0), ("less peaky", 2.0)):
        log_probs = make_log_probs(sharpness)
        arrays = [np.ascontiguousarray(sentence.numpy()) for sentence in log_probs]
        beam, hypotheses = timed(functools.partial(decode_with_beam_search, log_probs))
        other, other_hypotheses = timed(
            functools.partial(decode_with_flashlight, flashlight, arrays)
        )
        same = sum(map(operator.eq, hypotheses, other_hypotheses))
        print(
            f"{name}: beam search {beam:.2f} ms per sentence, flashlight-text {other:.2f} ms "
            f"({other / threads:.2f} if it used all {threads} threads); "
            f"{same} of {BATCH} hypotheses are the same"
        )
        key = figure_name(name)
        figures |= {
            f"{key}_milliseconds": beam,
            f"{key}_flashlight_milliseconds": other,
            f"{key}_read_alike": same,
        }
        figures[f"beam_search_{key}_times_as_fast"] = other / beam
    figures |= time_large_vocabulary()
    print(f"beam_search_peaky_times_as_fast: {figures['beam_search_peaky_times_as_fast']:.2f}")
    finish(options, figures, "beam_search_less_peaky_times_as_fast")
    return 0


if __name__ == "__main__":
    run_script(main)
