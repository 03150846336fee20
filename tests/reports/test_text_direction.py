"""Glosses in scripts from right to left."""

from types import SimpleNamespace

import pytest

from reports.evaluation_report import _confusions
from reports.text_direction import direction, isolated


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["سوال", "هو"], "rtl"),
        (["שלום"], "rtl"),
        ([None, "", "لا_2"], "rtl"),
        (["_2لا"], "rtl"),  # digits and signs have no direction
        (["SUN", "هو"], "ltr"),
        (["你好"], "ltr"),
        (["12", "+"], "ltr"),
        ([], "ltr"),
    ],
)
def test_the_first_letter_decides(texts, expected):
    assert direction(texts) == expected


def test_only_texts_from_right_to_left_are_isolated():
    assert isolated("SUN") == "SUN"
    assert isolated("هو") == "\u2068هو\u2069"


def test_confusions_keep_the_order_of_reference_and_hypothesis():
    """Without isolation a browser shows them the other way round."""
    errors = {"substitutions": [("سوال -> هو", 3), ("SUN -> RAIN", 1)], "deletions": [("هو", 2)]}
    decoded = SimpleNamespace(references=[("سوال", "SUN"), ("سوال", "هو")])
    confused, left_out, _ = _confusions(errors | {"insertions": []}, decoded)
    assert confused[2] == [
        ("\u2068سوال\u2069 → \u2068هو\u2069", "3", "2"),
        ("SUN → RAIN", "1", "1"),
    ]
    assert left_out[2] == [("\u2068هو\u2069", "2", "1")]
