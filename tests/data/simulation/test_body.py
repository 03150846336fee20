"""The body: hands from joint angles, arms that reach, and a face that moves."""

import numpy as np

from data.landmarks import LIPS_INNER
from data.simulation.body import WEBCAM, draw_signer, face_mesh, hand_joints, reach
from data.simulation.lexicon import HANDSHAPES


def test_an_extended_finger_is_straight_and_a_fist_is_short():
    flat = hand_joints(HANDSHAPES["flat"][None], 1.0)[0]
    fist = hand_joints(HANDSHAPES["S"][None], 1.0)[0]
    for tip in (8, 12, 16, 20):
        assert np.linalg.norm(flat[tip]) > 1.4 > 1.1 > np.linalg.norm(fist[tip])
    assert flat[4, 0] > flat[20, 0]  # the thumb is on the thumb's side


def test_reach_keeps_bone_lengths_and_finds_reachable_wrists():
    shoulder = np.zeros((3, 3), np.float32)
    wish = np.array([[0.3, 0.6, -0.6], [0.0, 9.0, 0.0], [0.05, 0.0, 0.0]], np.float32)
    elbow, wrist = reach(shoulder, wish, 0.85, 0.7, 0.5)
    assert np.allclose(np.linalg.norm(elbow, axis=1), 0.85, atol=1e-5)
    assert np.allclose(np.linalg.norm(wrist - elbow, axis=1), 0.7, atol=1e-5)
    assert np.allclose(wrist[0], wish[0], atol=1e-6)
    assert np.allclose(wrist[1], [0, 0.985 * 1.55, 0], atol=1e-5)


def test_the_mouth_opens_and_the_lids_close():
    mesh, moves = face_mesh((1.0,) * 5)
    upper, lower = LIPS_INNER[15], LIPS_INNER[5]  # 13 and 14
    assert (upper, lower) == (13, 14)
    open_mouth = mesh + moves[0]
    assert open_mouth[lower, 1] - open_mouth[upper, 1] > mesh[lower, 1] - mesh[upper, 1] + 0.08
    shut = mesh + moves[5]
    assert abs(shut[386, 1] - shut[374, 1]) < 0.2 * abs(mesh[386, 1] - mesh[374, 1])
    # The nose is nearest to the camera
    assert mesh[1, 2] == mesh[:, 2].min()
    assert (
        mesh[454, 0] > 0.45 and mesh[234, 0] < -0.45 and mesh[10, 1] < -0.55 and mesh[152, 1] > 0.55
    )


def test_about_one_signer_in_ten_is_left_handed():
    share = np.mean([draw_signer(str(number), 0, WEBCAM).left_handed for number in range(400)])
    assert 0.05 < share < 0.16
