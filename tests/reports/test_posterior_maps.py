"""Posterior maps: their rows, and the skeletons at the predicted glosses."""

import math
from dataclasses import replace

import pytest
import torch

from reports.posterior_maps import map_classes, map_sentences

pytestmark = pytest.mark.figures


def test_rows_of_a_posterior_map():
    log_probs = torch.full((4, 9), 1e-4)
    log_probs[0, 5], log_probs[1, 7], log_probs[2, 8], log_probs[3, 0] = 0.3, 0.2, 0.09, 0.99
    assert map_classes(log_probs.log(), [3, 1, 3], [1, 2]) == [3, 1, 2, 5, 7, 0]
    strong = torch.full((1, 9), 0.11).log()
    assert (
        map_classes(strong, [], []) == [*map_classes(strong, [], [])[:4], 0]
        and len(map_classes(strong, [], [])) == 5
    )


def test_skeletons_are_drawn_where_the_predicted_glosses_are_signed(page):
    part = page.text.split("The worst sentence: s2")[1]
    # A step is 4 / 25 s. Each gloss lasts three steps, then one step is blank.
    for words in ("1 RAIN0.00–0.48 s90 %", "2 HOUSE0.64–1.12 s90 %", "3 SUN1.28–1.76 s90 %"):
        assert words in part
    assert "The best sentence: s4" in page.text and "+ HOUSE" in part
    drawn = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    # The frame is the middle of each gloss: frames 6, 22 and 38 at 25 frames per second
    assert [label for label in drawn if "Skeleton" in label][:3] == [
        "Skeleton at 0.24 s",
        "Skeleton at 0.88 s",
        "Skeleton at 1.52 s",
    ]
    assert sum(label.startswith("Posteriors of") for label in drawn) == 3


def test_the_confidence_is_the_mean_probability_of_the_steps_of_a_gloss(decoded):
    """As in transcripts."""

    def posteriors_of(index: int) -> torch.Tensor:
        log_probs = decoded.posteriors_of(index).clone()
        log_probs[1] += math.log(0.6 / 0.9)  # the second of the three steps of the first gloss
        return log_probs

    worst = map_sentences(replace(decoded, posteriors_of=posteriors_of))[0]
    assert [moment.confidence for moment in worst.moments] == ["80 %", "90 %", "90 %"]
