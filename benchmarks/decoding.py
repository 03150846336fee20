"""Beam search against flashlight-text (a C++ decoder, of requirements-dev.txt) at the same pruning,
side by side.

    python benchmarks/decoding.py

1,300 classes, 50 steps, beam 10, the 20 best classes of each step, 64 sentences; posteriors are
random, mostly blank, peaky and less so. Prints milliseconds a sentence (median of 9 runs), and how
many sentences both read alike. flashlight decodes one sentence after another on one thread, so it
is also shown as if it filled every thread.
"""

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import flashlight.lib.text.decoder as flashlight
import numpy as np
import torch

from benchmarks.machine import describe_machine
from benchmarks.results import add_json_option, figure_name, finish
from command_line import Parser
from decoding.beam_search import beam_search
from errors import run_script

CLASSES, STEPS, WIDTH, TOKENS, BATCH = 1300, 50, 10, 20, 64


def make_log_probs(sharpness: float) -> torch.Tensor:
    """Random (B, T, V), blank likelier than any gloss at most steps."""
    logits = (
        torch.randn(BATCH, STEPS, CLASSES, generator=torch.Generator().manual_seed(0)) * sharpness
    )
    logits[..., 0] += 3 * sharpness
    return logits.log_softmax(-1)


def ours(log_probs: torch.Tensor) -> list[list[int]]:
    result = beam_search(log_probs, torch.full((BATCH,), STEPS), WIDTH, TOKENS)
    return [result.hypotheses(sentence)[0][0] for sentence in range(BATCH)]


def theirs(emissions: list[np.ndarray]) -> list[list[int]]:
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
    best = (decoder.decode(one.ctypes.data, STEPS, CLASSES)[0].tokens for one in emissions)
    return [[index for index, _ in itertools.groupby(tokens) if index > 0] for tokens in best]


def timed(action: Callable[[], list[list[int]]], repeats: int = 9) -> tuple[float, list[list[int]]]:
    """Median milliseconds a sentence after a warm-up call, and the readings."""
    readings, times = action(), []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return 1000 * sorted(times)[repeats // 2] / BATCH, readings


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="decoding.py", description=__doc__)
    add_json_option(parser)
    options = parser.parse_args(argv)
    print(describe_machine())
    threads, figures = torch.get_num_threads(), {}
    for name, sharpness in (("peaky", 6.0), ("less peaky", 2.0)):
        log_probs = make_log_probs(sharpness)
        emissions = [np.ascontiguousarray(one.numpy()) for one in log_probs]
        mine, read = timed(lambda log_probs=log_probs: ours(log_probs))
        other, other_read = timed(lambda emissions=emissions: theirs(emissions))
        same = sum(left == right for left, right in zip(read, other_read, strict=True))
        print(
            f"{name}: ours {mine:.2f} ms a sentence, flashlight-text {other:.2f} ms "
            f"({other / threads:.2f} if it filled {threads} threads); {same} of {BATCH} read alike"
        )
        key = figure_name(name)
        figures |= {
            f"{key}_milliseconds": mine,
            f"{key}_flashlight_milliseconds": other,
            f"{key}_read_alike": same,
        }
        figures[f"beam_search_{key}_times_as_fast"] = other / mine
    print(f"beam_search_peaky_times_as_fast: {figures['beam_search_peaky_times_as_fast']:.2f}")
    finish(options, figures, "beam_search_less_peaky_times_as_fast")
    return 0


if __name__ == "__main__":
    run_script(main)
