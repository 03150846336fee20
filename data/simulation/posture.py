"""The columns of a planned posture, an array (T, COLUMN_COUNT) with one row per frame.

First the dominant hand, then the other hand (HAND columns each), then mouth, brows and head. The
slices POINT, CONTACT, TURN and FINGER_ANGLES count from the first column of a hand.
"""

import numpy as np

from data.simulation.lexicon import HAND_ANGLES

POINT = slice(0, 3)  # the place of the contact point
CONTACT = slice(3, 6)  # where on the hand the contact point is
TURN = slice(6, 10)  # orientation of the hand, a quaternion
FINGER_ANGLES = slice(10, 10 + HAND_ANGLES)  # joint angles
HAND = 10 + HAND_ANGLES
OTHER_HAND = slice(HAND, 2 * HAND)
MOUTH = slice(2 * HAND, 2 * HAND + 3)  # opening, width, rounding
BROW = slice(2 * HAND + 3, 2 * HAND + 5)  # raising, knitting
HEAD = slice(2 * HAND + 5, 2 * HAND + 8)  # turn, nod, tilt
COLUMN_COUNT = 2 * HAND + 8
MIRROR = np.array([-1, 1, 1], np.float32)  # a point of one hand's space → the other hand's space
