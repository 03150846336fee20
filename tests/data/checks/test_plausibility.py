"""Landmarks of a signer pass however the signer stands; what was made wrongly is refused."""

import itertools

import numpy as np
import pytest

from data.checks.plausibility import ERROR_SHARE, Finding, Plausibility, find_extremes, measure
from data.landmarks import MIRRORED, PART_SLICES, PARTS
from tests.data.signers import standing_signer


def moving_signer(number: int) -> np.ndarray:
    """40 frames of a signer who sways and whose right arm signs."""
    random = np.random.default_rng(number)
    landmarks = standing_signer(40, number)
    sway = np.cumsum(random.normal(0, 0.004, (40, 1, 2)), axis=0)
    arm = 0.1 * np.sin(np.linspace(0, 6, 40) + number)[:, None]
    for points in ([14, 16, 18, 20, 22], range(522, 543)):
        landmarks[:, points, 1] -= arm
    landmarks[..., :2] += sway
    return landmarks


def seen_parts(landmarks: np.ndarray) -> np.ndarray:
    return np.stack([landmarks[:, PART_SLICES[part]].any(axis=(1, 2)) for part in PARTS], axis=1)


def judge(recordings: list[np.ndarray]) -> list[Finding]:
    plausibility = Plausibility()
    for number, landmarks in enumerate(recordings):
        plausibility.add(f"r{number}", landmarks, seen_parts(landmarks))
    return plausibility.findings()


def image(change):
    """Change x and y of detected parts: change(xy (T, 543, 2)) → the new x and y."""

    def apply(landmarks: np.ndarray) -> np.ndarray:
        changed = landmarks.copy()
        changed[..., :2] = change(landmarks[..., :2])
        for part, seen in zip(PARTS, seen_parts(landmarks).T, strict=True):
            changed[~seen, PART_SLICES[part]] = 0
        return changed

    return apply


def turned(degrees: float):
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return image(lambda xy: (xy - 0.5) @ turn + 0.5)


def without(*parts: str):
    def apply(landmarks: np.ndarray) -> np.ndarray:
        changed = landmarks.copy()
        for part in parts:
            changed[:, PART_SLICES[part]] = 0
        return changed

    return apply


def mirrored_camera(landmarks: np.ndarray) -> np.ndarray:
    """What MediaPipe finds in a mirrored image: the signer's left hand is called the right one."""
    changed = landmarks[:, MIRRORED].copy()
    changed[..., 0] = 1 - changed[..., 0]
    return changed


def middle(xy: np.ndarray) -> np.ndarray:
    return xy[:, [11, 12]].mean(axis=1, keepdims=True)


GOOD = {
    "as it is": lambda landmarks: landmarks,
    "mirrored camera": mirrored_camera,
    "tilted to the left": turned(40),
    "tilted to the right": turned(-40),
    "one hand": without("left_hand"),
    "the other hand": without("right_hand"),
    "no hands": without("left_hand", "right_hand"),
    "no face": without("face"),
    "half out to the right": image(lambda xy: xy - [-0.5, 0]),
    "half out to the left": image(lambda xy: xy - [0.5, 0]),
    "head cut off": image(lambda xy: xy - [0, 0.35]),
    "close": image(lambda xy: (xy - [0.5, 0.3]) * 2 + [0.5, 0.5]),
    "far": image(lambda xy: xy * 0.2 + 0.4),
}


@pytest.mark.parametrize("change", GOOD.values(), ids=GOOD)
def test_a_signer_passes(change):
    assert judge([change(moving_signer(number)) for number in range(6)]) == []


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (turned(90), "the signer lies, or the image is turned"),
        (turned(-90), "the signer lies, or the image is turned"),
        (turned(180), "the signer lies, or the image is turned"),
        (image(lambda xy: [1, 0] + xy * [-1, 1]), "left and right are exchanged, or the signer is"),
    ],
    ids=["lying", "lying on the other side", "upside down", "seen from behind"],
)
def test_people_in_odd_positions_are_a_warning(change, message, count):
    (finding,) = judge([change(moving_signer(number)) for number in range(count)])
    assert not finding.is_error
    assert f"is unusual: in {count} of {count} recordings {message}" in finding.text


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("face", [True, False], ids=["face", "no face"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (image(lambda xy: xy * [640, 480]), "divide pixels by the image's width and height"),
        (image(lambda xy: xy * 100), "divide pixels"),
        (image(lambda xy: xy * 4), "divide pixels"),
        (image(lambda xy: xy * 2 - 1), "not inside the image"),
        (image(lambda xy: xy - middle(xy)), "centred features cannot be converted back"),
        (image(lambda xy: (xy - middle(xy)) * 0.3), "centred features cannot be converted back"),
        (image(lambda xy: (xy - middle(xy)) / 0.3), "centred features cannot be converted back"),
        (image(lambda xy: xy - xy[:, :1]), "centred features cannot be converted back"),
        (image(lambda xy: [0, 1] + xy * [1, -1]), "replace y by 1 - y"),
        (image(lambda xy: xy[..., ::-1]), "exchange x and y"),
        (image(lambda xy: (xy - xy.mean(0)) / (xy.std(0) + 1e-6)), "cannot be converted back"),
    ],
    ids=[
        "pixels",
        "percent",
        "times 4",
        "-1 to 1",
        "centred",
        "small",
        "scaled",
        "nose",
        "y up",
        "x and y",
        "z-score",
    ],
)
def test_coordinates_that_are_no_fractions_of_the_image_are_refused(change, message, face, count):
    hidden = (lambda landmarks: landmarks) if face else without("face")
    findings = judge([change(hidden(moving_signer(number))) for number in range(count)])
    assert findings[0].is_error
    assert message in findings[0].text


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[1:])
def test_every_other_order_of_the_parts_is_refused(order):
    points = np.concatenate([np.r_[PART_SLICES[PARTS[part]]] for part in order])
    findings = judge([moving_signer(number)[:, points] for number in range(6)])
    assert findings and findings[0].is_error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, np.r_[0:501, 522:543, 501:522]], "exchange the two hands"),
        (image(lambda xy: np.concatenate([xy[:, :501], xy[:, 501:] - 0.9], axis=1)), "inside"),
    ],
    ids=["exchanged", "coordinates of a crop"],
)
def test_hands_that_do_not_belong_to_the_pose(change, message):
    (finding,) = judge([change(moving_signer(number)) for number in range(6)])
    assert finding.is_error and message in finding.text


def test_one_hand_that_is_off_is_a_warning_in_any_number_of_recordings():
    recordings = [moving_signer(number) for number in range(6)]
    for landmarks in recordings:
        landmarks[:, 501:522, 0] -= 0.45
    (finding,) = judge(recordings)
    assert not finding.is_error and "a hand is far from its wrist" in finding.text


@pytest.mark.parametrize(("odd", "is_error"), [(2, False), (3, True)])
def test_a_quarter_of_odd_recordings_is_a_warning_and_more_an_error(odd, is_error):
    assert ERROR_SHARE == 0.25
    recordings = [moving_signer(number) for number in range(8)]
    for landmarks in recordings[:odd]:
        landmarks[..., :2] *= 300
    (finding,) = judge(recordings)
    assert finding.is_error == is_error
    assert f"in {odd} of 8 recordings" in finding.text and "(r0, r1" in finding.text


def test_a_body_of_one_point_is_refused():
    recordings = [moving_signer(number) for number in range(6)]
    for landmarks in recordings:
        landmarks[..., :2] = landmarks[..., :2] * 0.01 + 0.5
    (finding,) = judge(recordings)
    assert finding.is_error and "not inside the image" in finding.text


def test_single_bad_frames_do_not_count():
    recordings = [moving_signer(number) for number in range(6)]
    for landmarks in recordings:
        landmarks[::3, :, :2] = np.random.default_rng(0).uniform(0, 1, landmarks[::3, :, :2].shape)
    assert judge(recordings) == []


def test_recordings_without_a_pose():
    silent = without("pose")(moving_signer(0))
    (finding,) = judge([silent, silent])
    assert finding.is_error
    assert finding.text.startswith("has no detected pose in any of 2 recordings")
    assert judge([silent, moving_signer(1)]) == []
    assert judge([]) == []


def test_the_measures_of_one_frame_by_hand():
    landmarks = np.zeros((1, 543, 3))
    landmarks[0, [0, 11, 12, 15, 16], :2] = [
        (0.5, 0.2),
        (0.7, 0.6),
        (0.3, 0.6),
        (0.8, 0.9),
        (0.2, 0.8),
    ]
    landmarks[0, 2, :2] = (0.56, 0.12)  # an eye: 0.1 from the nose
    landmarks[0, 33:501, :2] = (0.5, 0.3)
    landmarks[0, 33 + 10, :2], landmarks[0, 33 + 152, :2] = (0.5, 0.1), (0.8, 0.5)
    landmarks[0, 522:543, :2] = (0.2, 0.9)
    measures = measure(landmarks, np.array([[True, True, False, True]]))
    np.testing.assert_allclose(measures.nose, (0.5, 0.2))
    np.testing.assert_allclose(measures.shoulders, (0.5, 0.6))
    np.testing.assert_allclose(measures.visible, [(0.65, 0.3), (np.nan,) * 2, (0.2, 0.9)])
    # Shoulders and nose are both 0.4 apart; the face goes from 0.5 to 0.8 and from 0.1 to 0.5
    np.testing.assert_allclose(
        [measures.body_width, measures.upright, measures.facing, measures.head_size],
        [0.4, 1, 1, 0.25],
    )
    np.testing.assert_allclose(measures.face_size, 0.5 / 0.4)
    np.testing.assert_allclose(measures.face_offset, np.hypot(0.15, 0.1) / 0.5)
    np.testing.assert_allclose(measures.hand_offsets, [np.nan, 0.25])
    np.testing.assert_allclose(measures.crossed_offsets, [np.nan, 0.6 / 0.4])


@pytest.mark.parametrize("value", [-1e4, -3.5, -2.9, 0, 3.9, 4.6, 9, 600, np.inf])
def test_points_that_no_model_reads_have_any_place(value):
    landmarks = standing_signer(3)
    landmarks[1, 25:33, :2] = value
    assert find_extremes(landmarks) is None


def test_depth_has_any_size():
    landmarks = standing_signer(3)
    landmarks[..., 2] = 50
    assert find_extremes(landmarks) is None
