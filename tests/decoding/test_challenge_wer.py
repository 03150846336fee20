"""The WER of Isharah's challenges is the WER counted here."""

import numpy as np
import pytest

from decoding.scoring import align, total


def kit_errors(reference: list[str], hypothesis: list[str]) -> int:
    """The errors by the rule of the starter kit's sample script: the alignment is the one with the
    least weight, where a substitution weighs 4 and an insertion or a deletion 3."""
    best = {(0, 0): (0, 0)}  # (weight, errors) of the beginnings of both
    for i in range(len(reference) + 1):
        for j in range(len(hypothesis) + 1):
            steps = []
            if i and j:
                weight, errors = best[i - 1, j - 1]
                wrong = reference[i - 1] != hypothesis[j - 1]
                steps.append((weight + 4 * wrong, errors + wrong))
            if i:
                weight, errors = best[i - 1, j]
                steps.append((weight + 3, errors + 1))
            if j:
                weight, errors = best[i, j - 1]
                steps.append((weight + 3, errors + 1))
            if steps:
                best[i, j] = min(steps)
    return best[len(reference), len(hypothesis)][1]


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.6])
def test_the_fewest_errors_and_the_kit_s_alignment_agree(rate):
    random = np.random.default_rng(0)
    glosses = [f"gloss{number}" for number in range(140)]
    references, hypotheses = [], []
    for _ in range(550):
        reference = random.choice(glosses, size=random.integers(2, 9)).tolist()
        hypothesis = []
        for gloss in reference:
            what = random.random()
            if what > 0.45 * rate:
                hypothesis.append(random.choice(glosses) if what < 0.9 * rate else gloss)
            if what > 1 - 0.1 * rate:
                hypothesis.append(random.choice(glosses))
        references.append(reference)
        hypotheses.append(hypothesis)
    score = total(align(references, hypotheses))
    by_kit = sum(map(kit_errors, references, hypotheses))
    assert 100 * by_kit / score.reference_glosses == pytest.approx(score.wer, abs=0.1)


def test_an_empty_prediction_costs_every_gloss():
    assert total(align([("سوال", "هو")], [[]])).wer == 100 == 50 * kit_errors(["سوال", "هو"], [])
