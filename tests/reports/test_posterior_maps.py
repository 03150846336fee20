"""Posterior maps: their rows, and the skeletons at the predicted glosses."""

from dataclasses import replace

import pytest
import torch

from decoding.alignment import timed_glosses
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


def test_confidence_is_the_mean_over_the_steps_as_in_transcripts(decoded):
    log_probs = decoded.posteriors_of(1).exp()
    (rain, *_) = decoded.predictions[1]
    log_probs[0, rain], log_probs[0, 0] = 0.6, 0.4
    changed = replace(decoded, posteriors_of=lambda index: log_probs.log())
    vocabulary, step = decoded.vocabulary, 4 / 25
    expected = timed_glosses(log_probs.log(), decoded.predictions[1], vocabulary, step, 99)
    worst = map_sentences(changed)[0]
    assert worst.id == "s2" and worst.moments[0].confidence == "80 %"  # of 0.6, 0.9 and 0.9
    assert [moment.confidence for moment in worst.moments] == [
        f"{100 * gloss.confidence:.0f} %" for gloss in expected
    ]


def test_skeletons_are_drawn_where_the_predicted_glosses_are_signed(page):
    part = page.text.split("The worst sentence: s2")[1]
    # A step is 4 / 25 s. Each gloss lasts three steps, then one step is blank.
    for words in ("1 RAIN0.00–0.48", "2 HOUSE0.64–1.12", "3 SUN1.28–1.76"):
        assert f"{words} sconfidence 90 %" in part
    assert "The best sentence: s4" in page.text and "+ HOUSE" in part
    drawn = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    # The frame is the middle of each gloss: frames 6, 22 and 38 at 25 frames per second
    assert [label for label in drawn if "Skeleton" in label][:3] == [
        "Skeleton at 0.24 s",
        "Skeleton at 0.88 s",
        "Skeleton at 1.52 s",
    ]
    assert sum(label.startswith("Posteriors of") for label in drawn) == 3
