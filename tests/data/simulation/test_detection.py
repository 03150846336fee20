"""Detections of the simulated signer are like those of recordings of real signers."""

from dataclasses import replace

import numpy as np

from data.landmarks import PART_SLICES
from data.simulation.body import WEBCAM, draw_signer
from data.simulation.corpora import SimulatedSigners
from data.simulation.detection import observe
from data.simulation.grammar import GLOSSES
from data.sources.annotations.transcripts import TranscribedSentence
from data.stored_landmarks import decode
from tests.data.simulation.conftest import performer


def test_landmarks_are_where_a_signer_in_front_of_a_webcam_has_them(corpus):
    for split in corpus.splits.values():
        for index, sentence in enumerate(split.sentences):
            landmarks, detected = (np.array(part, np.float32) for part in split.read(index))
            assert landmarks.shape == (sentence.frames, 543, 3)
            shoulders = landmarks[:, [11, 12]]
            # The signer's left is at larger x
            assert (shoulders[:, 0, 0] > shoulders[:, 1, 0]).all()
            width = np.median(shoulders[:, 0, 0] - shoulders[:, 1, 0])
            assert 0.19 < width < 0.36
            middle = np.median(shoulders.mean(axis=1), axis=0)
            assert 0.42 < middle[0] < 0.58 and 0.45 < middle[1] < 0.66
            assert np.median(landmarks[:, 0, 1]) < middle[1] - 0.1  # nose above shoulders
            # The hips are near the lower edge
            assert middle[1] + 0.4 < np.median(landmarks[:, 23:25, 1]) < 1.5
            assert -1.5 < landmarks[:, 0, 2].mean() < -0.3
            face = landmarks[detected[:, 1].astype(bool), PART_SLICES["face"]]
            assert (
                np.abs(face[:, :, 2].mean(axis=1)).max() < 0.0002
                and np.abs(face[:, :, 2]).max() < 0.2
            )
            assert np.abs(landmarks).max() < 4


def test_undetected_parts_are_zeros_and_detected_ones_are_not(corpus):
    split = corpus.split("train")
    landmarks, detected = decode(split.landmarks, split.detected), np.asarray(split.detected)
    for column, part in enumerate(PART_SLICES):
        found = (landmarks[:, PART_SLICES[part]] != 0).any(axis=(1, 2))
        assert np.array_equal(found, detected[:, column])
    signers = SimulatedSigners(GLOSSES, WEBCAM, 0)
    seen, found = signers.record(TranscribedSentence("x", "signer01", GLOSSES[:5]))
    assert not found[:, 3].all() and (seen[~found[:, 3], 522:] == 0).all()


def test_pose_and_hand_detectors_nearly_agree_on_the_wrist(corpus):
    split = corpus.split("train")
    landmarks, detected = decode(split.landmarks, split.detected), np.asarray(split.detected)
    for column, hand, wrist in ((2, 501, 15), (3, 522, 16)):
        seen = landmarks[detected[:, column]]
        apart = np.linalg.norm(seen[:, hand, :2] - seen[:, wrist, :2], axis=1)
        assert 0.003 < np.median(apart) < 0.03
        knuckle = np.linalg.norm(seen[:, hand + 5, :2] - seen[:, wrist + 4, :2], axis=1)
        assert np.median(knuckle) < 0.04


def test_parts_are_found_as_often_as_in_recordings(corpus):
    split = corpus.split("train")
    rates = np.asarray(split.detected).mean(axis=0)
    hands = np.zeros(2)
    for index, sentence in enumerate(split.sentences):
        found = split.read(index)[1].sum(axis=0)[2:]
        left_handed = draw_signer(sentence.signer, 3, WEBCAM).left_handed
        hands += found if left_handed else found[::-1]
    dominant, other = hands / len(split.landmarks)
    assert rates[0] > 0.995 and 0.92 <= rates[1] <= 1.0
    assert 0.64 <= dominant <= 0.95
    assert 0.25 <= other <= 0.52


def test_hands_are_lost_in_runs(corpus):
    detected = np.concatenate([corpus.split("train").read(i)[1][:, 3] for i in range(60)])
    before, now = detected[:-1], detected[1:]
    lost = 1 - detected.mean()
    assert np.mean(~now[~before]) > 2 * lost


def test_jitter_is_that_of_recordings(corpus):
    """Median |second difference| in image fractions; allowed: pose 0.0007-0.003, face
    0.0008-0.003, pose z 0.006-0.04."""
    split = corpus.split("train")
    pose, depth, face = [], [], []
    for index in range(len(split)):
        landmarks, detected = split.read(index)
        bends = np.abs(np.diff(landmarks.astype(np.float32), 2, axis=0))
        pose.append(np.median(bends[:, :33, :2]))
        depth.append(np.median(bends[:, [0, 11, 12], 2]))
        if detected[:, 1].all():
            face.append(np.median(bends[:, PART_SLICES["face"], :2]))
    assert 0.0007 < np.median(pose) < 0.003
    assert 0.006 < np.median(depth) < 0.04
    assert 0.0008 < np.median(face) < 0.003


def test_a_faster_hand_is_lost_more_often():
    signer, body = performer().signer, performer().perform("s", ("BOOK",), 400)
    quick = replace(
        body,
        **{
            part: np.repeat(getattr(body, part)[::16], 16, axis=0)
            for part in ("pose", "face", "hands")
        },
    )
    still = replace(
        body,
        **{
            part: np.repeat(getattr(body, part)[200:201], 400, 0)
            for part in ("pose", "face", "hands")
        },
    )
    rates = []
    for motion in (
        still,
        replace(quick, hands=still.hands + 0.25 * (np.arange(400) % 2)[:, None, None, None]),
    ):
        rates.append(
            np.mean([observe(motion, signer, WEBCAM, 0, str(k))[1][:, 3].mean() for k in range(6)])
        )
    assert rates[1] < rates[0] - 0.05
