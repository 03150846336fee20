"""Motion: bodies hold together and do not jump while they sign."""

import numpy as np
import pytest

from data.simulation.grammar import GLOSSES
from tests.data.simulation.conftest import performer

PARENTS = [0, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19]


@pytest.mark.parametrize("name", ["signer01", "signer02", "signer03"])
def test_bones_keep_their_length_through_a_sentence(name):
    signs = performer(name)
    body = signs.perform("s", GLOSSES[:8])
    pose, hands, signer = body.pose, body.hands, signs.signer
    for left in (11, 12):
        upper = np.linalg.norm(pose[:, left + 2] - pose[:, left], axis=1)
        fore = np.linalg.norm(pose[:, left + 4] - pose[:, left + 2], axis=1)
        assert np.allclose(upper, signer.upper_arm, atol=1e-4)
        assert np.allclose(fore, signer.forearm, atol=1e-4)
    assert np.allclose(np.linalg.norm(pose[:, 11] - pose[:, 12], axis=1), 1, atol=1e-4)
    bones = np.linalg.norm(hands - hands[:, :, PARENTS], axis=3)
    assert np.ptp(bones, axis=0).max() < 1e-4
    assert np.allclose(bones[:, 0], bones[:, 1], atol=1e-4)  # left and right alike
    assert np.allclose(hands[:, 0, 0], pose[:, 15]) and np.allclose(hands[:, 1, 0], pose[:, 16])


def test_nothing_jumps_from_frame_to_frame():
    body = performer().perform("s", GLOSSES[:8])
    # Steps of the wrists, in shoulder widths per frame
    steps = np.linalg.norm(np.diff(body.hands[:, :, 0], axis=0), axis=2)
    assert steps.max() < 0.6 and np.median(steps) < 0.15


def test_a_left_handed_signer_is_the_mirror_image():
    right, left = performer(left_handed=False), performer(left_handed=True)
    a, b = right.perform("s", GLOSSES[10:15]), left.perform("s", GLOSSES[10:15])
    mirror = np.array([-1, 1, 1])
    assert np.allclose(a.hands[:, 1] * mirror, b.hands[:, 0], atol=1e-5)
    assert np.allclose(a.hands[:, 0] * mirror, b.hands[:, 1], atol=1e-5)
    assert np.allclose(a.pose[:, 12] * mirror, b.pose[:, 11], atol=1e-5)
    assert np.allclose(a.face[:, 10] * mirror, b.face[:, 10], atol=1e-5)
    assert np.allclose(a.face[:, 61] * mirror, b.face[:, 291], atol=1e-5)  # corners of the mouth
    assert np.abs(a.hands[:, 1] - b.hands[:, 1]).max() > 0.3
