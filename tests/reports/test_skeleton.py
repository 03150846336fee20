"""Where a skeleton is drawn, and in which colours."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from data.landmarks import PART_SLICES
from reports.skeleton import draw_skeleton


def test_left_is_blue_right_is_red_and_y_points_down():
    landmarks = np.zeros((543, 3))
    landmarks[PART_SLICES["left_hand"], :2] = [0.75, 0.25]
    landmarks[PART_SLICES["right_hand"], :2] = [0.25, 0.5]
    axes = Figure().subplots()
    draw_skeleton(axes, landmarks, np.array([False, False, True, True]), aspect_ratio=0.8)
    drawn = {to_rgb(line.get_color()): tuple(line.get_xydata()[0]) for line in axes.lines}
    assert drawn == {to_rgb("tab:blue"): (0.75 * 0.8, 0.25), to_rgb("tab:red"): (0.25 * 0.8, 0.5)}
    assert axes.get_ylim() == (1, 0) and axes.get_xlim() == (0, 0.8)
    draw_skeleton(axes := Figure().subplots(), landmarks, np.zeros(4, bool), aspect_ratio=0.8)
    assert not axes.lines
