"""The lexicon: no two glosses share their sign, and all of the phonology is used."""

import numpy as np

from data.simulation import lexicon
from data.simulation.body import rotation_matrices
from data.simulation.lexicon import HANDSHAPES, ORIENTATIONS, SIGN_PLACES, build_lexicon


def test_no_two_glosses_share_their_manual_parameters():
    glosses = [f"GLOSS{number}" for number in range(1500)]
    signs = build_lexicon(glosses, 0)
    assert len({sign.manual for sign in signs.values()}) == len(glosses)
    assert build_lexicon(glosses[::-1], 0) == signs
    assert build_lexicon(["GLOSS7"], 0)["GLOSS7"] == signs["GLOSS7"]
    changed = sum(build_lexicon(glosses[:50], 1)[gloss] != signs[gloss] for gloss in glosses[:50])
    assert changed >= 48


def test_the_lexicon_uses_its_whole_phonology():
    signs = build_lexicon([str(number) for number in range(1500)], 0).values()
    assert {sign.handshape for sign in signs} == set(HANDSHAPES)
    assert {sign.place for sign in signs} == {*SIGN_PLACES, "base"}
    shares = [
        np.mean([sign.hands == kind for sign in signs])
        for kind in ("one", "symmetric", "alternating", "base")
    ]
    assert np.allclose(shares, [0.5, 0.22, 0.08, 0.2], atol=0.04)


def test_collisions_are_redrawn(monkeypatch):
    """When both glosses draw the same sign first, the second gloss draws again."""
    first, second = build_lexicon(["A", "B"], 0).values()
    draws = iter([first, first, first, second])
    monkeypatch.setattr(lexicon, "draw_sign", lambda rng: next(draws))
    assert lexicon.build_lexicon(["B", "A"], 0) == {"A": first, "B": second}


def test_orientations_are_rotations_that_point_where_they_say():
    """With the fingers up and the palm to the camera, the thumb of a right hand is on the signer's
    left, at larger x."""
    names = list(ORIENTATIONS)
    matrices = rotation_matrices(np.stack([ORIENTATIONS[name] for name in names]))
    assert np.allclose(matrices @ matrices.transpose(0, 2, 1), np.eye(3), atol=1e-5)
    assert np.allclose(np.linalg.det(matrices), 1, atol=1e-5)
    thumb, fingers, palm = matrices[names.index("up_out")].T
    assert thumb[0] > 0.9 and fingers[1] < -0.9 and palm[2] < -0.9
