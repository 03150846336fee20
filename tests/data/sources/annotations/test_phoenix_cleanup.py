"""The official clean-up of RWTH-PHOENIX-Weather 2014: of train transcripts and of hypotheses."""

import pytest

from data.sources.annotations.phoenix_cleanup import (
    normalize_gloss_phoenix2014,
    normalize_phoenix2014,
)


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("", ""),
        ("__ON__ loc-NORD cl-KOMMEN qu-IX poss-SEIN lh-GEBEN", "__ON__ NORD KOMMEN IX SEIN GEBEN"),
        ("NORDRAUM RAUM WEHEN-PLUSPLUS", "NORD RAUM WEHEN"),
        (
            "S0NNE HABEN2 ZEIGEN ZEIGEN-BILDSCHIRM",
            "SONNE HABEN ZEIGEN-BILDSCHIRM ZEIGEN-BILDSCHIRM",
        ),
        ("MORGEN WIE AUSSEHEN", "MORGEN WIE-AUSSEHEN"),
        ("A B C SONNE K SCH+NN", "A+B+C SONNE K+SCH+NN"),
        ("REGEN REGEN REGEN loc-REGEN WIND", "REGEN WIND"),
        # A removed gloss still separates its neighbours
        ("REGEN REGEN __PU__ REGEN", "REGEN REGEN"),
        ("IN-KOMMEND IN-KOMMEND __OFF__ __OFF__", "IN-KOMMEND IN-KOMMEND __OFF__ __OFF__"),
        ("__EMOTION__ __LEFTHAND__", ""),
    ],
)
def test_a_train_transcript(raw, cleaned):
    assert normalize_phoenix2014(raw.split()) == tuple(cleaned.split())


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("REGEN", "REGEN"),
        ("__ON__", "__ON__"),
        ("loc-NORD", "NORD"),
        ("cl-KOMMEN", "KOMMEN"),
        ("qu-IX", "IX"),
        ("poss-SEIN", "SEIN"),
        ("lh-GEBEN", "GEBEN"),
        ("lh-loc-IX", "IX"),
        ("S0NNE", "SONNE"),
        ("loc-HABEN2-PLUSPLUS", "HABEN"),
        ("NORDRAUM", "NORD"),
        ("NORDRAUM-PLUSPLUS", "NORD"),
        ("RAUM", "RAUM"),
        ("TRAUM", "TRAUM"),
        ("ZEIGEN", "ZEIGEN-BILDSCHIRM"),
        ("ANZEIGEN", "ANZEIGEN-BILDSCHIRM"),
        ("ZEIGEN-BILDSCHIRM", "ZEIGEN-BILDSCHIRM"),
        # The suffix is removed after the rule for ZEIGEN
        ("ZEIGEN-PLUSPLUS", "ZEIGEN"),
        ("__EMOTION__", ""),
        ("__PU__", ""),
        ("__LEFTHAND__", ""),
        ("__EPENTHESIS__", ""),
        # The rules for two glosses never see two: a line of a ctm file has one
        ("WIE", "WIE"),
        ("AUSSEHEN", "AUSSEHEN"),
        ("A", "A"),
        ("SCH", "SCH"),
    ],
)
def test_a_gloss_of_a_hypothesis(raw, cleaned):
    assert normalize_gloss_phoenix2014(raw) == cleaned
