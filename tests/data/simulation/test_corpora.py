"""The simulated signer: the same bytes from the same seed, bodies that hold together, detections
like those of recordings."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import data.simulation.corpora as simulated_signer
from data.corpus import Corpus, split_files
from data.ctc_lengths import required_steps
from data.keyed_random import generator
from data.landmarks import LIPS_INNER, PART_SLICES
from data.simulation.body import STUDIO, WEBCAM, draw_signer, face_mesh, hand_joints, reach
from data.simulation.corpora import (
    SimulatedSigners,
    builtin_corpus,
    synthesize,
    synthesize_transcripts,
)
from data.simulation.detection import observe
from data.simulation.grammar import GLOSSES, draw_sentence
from data.simulation.lexicon import HANDSHAPES, ORIENTATIONS, PLACES, build_lexicon
from data.simulation.motion import Performer, smooth
from data.sources.transcripts import TranscribedSentence
from errors import DataError, UsageError

# Of each hand joint
PARENTS = [0, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("simulated") / "small"
    synthesize(folder, sentences=90, dev_sentences=24, seed=3)
    return Corpus(folder)


def performer(name: str = "signer01", seed: int = 0, **changes) -> Performer:
    signer = replace(draw_signer(name, seed, WEBCAM), **changes)
    return Performer(signer, build_lexicon(GLOSSES, seed), seed)


def digests(folder: Path, split: str) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in split_files(split)]


# ---- the same bytes ----


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        synthesize(tmp_path / name, sentences=4, dev_sentences=2, seed=seed)
    for split in ("train", "dev"):
        assert digests(tmp_path / "a", split) == digests(tmp_path / "b", split)
        assert not set(digests(tmp_path / "a", split)) & set(digests(tmp_path / "c", split))


def test_another_process_makes_the_same_landmarks():
    """Python's own hash is salted per process, and a BLAS rounds by its number of threads: nothing
    may depend on them."""
    code = (
        "import hashlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "from data.simulation.corpora import *\n"
        "crew = SimulatedSigners(('A', 'B'), STUDIO, 5)\n"
        "made = crew.record(TranscribedSentence('x', 'Signer01', ('A', 'B'), 120))[0]\n"
        "print(hashlib.sha256(made.tobytes()).hexdigest())"
    )
    root = Path(simulated_signer.__file__).parents[2]
    command = [sys.executable, "-c", code, str(root)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "11"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    crew = SimulatedSigners(("B", "A"), STUDIO, 5)
    landmarks, _ = crew.record(TranscribedSentence("x", "Signer01", ("A", "B"), 120))
    assert run.stdout.strip() == hashlib.sha256(landmarks.tobytes()).hexdigest()


def test_a_sentence_does_not_depend_on_the_others_or_their_order(tmp_path):
    rows = [
        TranscribedSentence("first", "Signer01", ("RAIN", "NORTH"), 40),
        TranscribedSentence("second", "Signer02", ("SUN", "RAIN"), 30),
        TranscribedSentence("third", "Signer01", ("NORTH", "SUN", "SUN"), None),
    ]
    synthesize_transcripts(tmp_path / "a", {"train": rows})
    synthesize_transcripts(tmp_path / "b", {"train": rows[::-1]})
    a, b = Corpus(tmp_path / "a").split("train"), Corpus(tmp_path / "b").split("train")
    for index in range(3):
        for left, right in zip(a.read(index), b.read(2 - index), strict=True):
            assert np.array_equal(left, right)


# ---- lexicon ----


def test_no_two_glosses_share_their_manual_parameters():
    glosses = [f"GLOSS{number}" for number in range(1500)]
    lexicon = build_lexicon(glosses, 0)
    assert len({sign.manual for sign in lexicon.values()}) == len(glosses)
    assert build_lexicon(glosses[::-1], 0) == lexicon
    assert build_lexicon(["GLOSS7"], 0)["GLOSS7"] == lexicon["GLOSS7"]
    changed = sum(build_lexicon(glosses[:50], 1)[gloss] != lexicon[gloss] for gloss in glosses[:50])
    assert changed >= 48


def test_the_lexicon_uses_its_whole_phonology():
    signs = build_lexicon([str(number) for number in range(1500)], 0).values()
    assert {sign.handshape for sign in signs} == set(HANDSHAPES)
    assert {sign.place for sign in signs} == {*PLACES, "base"}
    shares = [
        np.mean([sign.hands == kind for sign in signs])
        for kind in ("one", "symmetric", "alternating", "base")
    ]
    assert np.allclose(shares, [0.5, 0.22, 0.08, 0.2], atol=0.04)


def test_collisions_are_redrawn(monkeypatch):
    """With a phonology that always draws the same first sign, the second gloss must move on to its
    next draw."""
    import data.simulation.lexicon as lexicon

    first, second = build_lexicon(["A", "B"], 0).values()
    draws = iter([first, first, first, second])
    monkeypatch.setattr(lexicon, "draw_sign", lambda rng: next(draws))
    assert lexicon.build_lexicon(["B", "A"], 0) == {"A": first, "B": second}


# ---- body ----


def test_orientations_are_rotations_that_point_where_they_say():
    """Fingers up, palm to the camera: a right hand's thumb is then on the signer's left, at larger
    x."""
    from data.simulation.body import rotation_matrices

    names = list(ORIENTATIONS)
    matrices = rotation_matrices(np.stack([ORIENTATIONS[name] for name in names]))
    assert np.allclose(matrices @ matrices.transpose(0, 2, 1), np.eye(3), atol=1e-5)
    assert np.allclose(np.linalg.det(matrices), 1, atol=1e-5)
    thumb, fingers, palm = matrices[names.index("up_out")].T
    assert thumb[0] > 0.9 and fingers[1] < -0.9 and palm[2] < -0.9


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
    # Wrists, shoulder widths a frame
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


def test_about_one_signer_in_ten_is_left_handed():
    share = np.mean([draw_signer(str(number), 0, WEBCAM).left_handed for number in range(400)])
    assert 0.05 < share < 0.16


def test_the_mouth_opens_and_the_lids_close():
    mesh, moves = face_mesh((1.0,) * 5)
    upper, lower = LIPS_INNER[15], LIPS_INNER[5]  # 13 and 14
    assert (upper, lower) == (13, 14)
    open_mouth = mesh + moves[0]
    assert open_mouth[lower, 1] - open_mouth[upper, 1] > mesh[lower, 1] - mesh[upper, 1] + 0.08
    shut = mesh + moves[5]
    assert abs(shut[386, 1] - shut[374, 1]) < 0.2 * abs(mesh[386, 1] - mesh[374, 1])
    # The nose is nearest to the camera
    assert mesh[1, 2] == mesh[:, 2].min() or mesh[4, 2] == mesh[:, 2].min()
    assert (
        mesh[454, 0] > 0.45 and mesh[234, 0] < -0.45 and mesh[10, 1] < -0.55 and mesh[152, 1] > 0.55
    )


def test_smoothing_keeps_constants_and_the_mean_of_a_pulse():
    pulse = np.zeros((31, 1))
    pulse[15] = 1
    assert np.allclose(smooth(np.full((9, 2), 3.0), 1.2), 3)
    smoothed = smooth(pulse, 1.2)
    assert np.isclose(smoothed.sum(), 1) and smoothed.argmax() == 15 and smoothed[15] < 0.4


# ---- what the camera sees ----


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
            # Hips about the lower edge
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
    landmarks, detected = np.asarray(split.landmarks), np.asarray(split.detected)
    for column, part in enumerate(PART_SLICES):
        found = (landmarks[:, PART_SLICES[part]] != 0).any(axis=(1, 2))
        assert np.array_equal(found, detected[:, column])
    crew = SimulatedSigners(GLOSSES, WEBCAM, 0)
    seen, found = crew.record(TranscribedSentence("x", "signer01", GLOSSES[:5]))
    assert not found[:, 3].all() and (seen[~found[:, 3], 522:] == 0).all()


def test_pose_and_hand_detectors_nearly_agree_on_the_wrist(corpus):
    split = corpus.split("train")
    landmarks, detected = np.asarray(split.landmarks, dtype=np.float32), np.asarray(split.detected)
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
    """Median |second difference| in image fractions; recordings: pose 0.0007-0.003, face
    0.001-0.0022, pose z 0.008-0.04."""
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


# ---- sentences ----


def test_sentences_are_of_the_grammar():
    sentences = [draw_sentence(generator(0, "test", number)) for number in range(2000)]
    lengths = [len(sentence) for sentence in sentences]
    assert set(lengths) <= set(range(3, 9)) and 4.5 < np.mean(lengths) < 5.5
    assert {gloss for sentence in sentences for gloss in sentence} == set(GLOSSES)
    assert 38 <= len(GLOSSES) <= 48


def test_built_in_splits_share_signers_but_no_sentence(corpus):
    train, dev = corpus.split("train").sentences, corpus.split("dev").sentences
    assert (len(train), len(dev)) == (90, 24)
    assert {row.signer for row in dev} <= {row.signer for row in train}
    assert len({row.signer for row in train}) == 6
    assert not {row.glosses for row in dev} & {row.glosses for row in train}
    assert len({row.glosses for row in dev}) == 24
    rows = [*train, *dev]
    assert all(row.frames // 4 >= required_steps(row.glosses) for row in rows)
    pace = sum(row.frames for row in rows) / sum(len(row.glosses) for row in rows)
    assert 11 < pace < 18
    assert corpus.simulated and corpus.fps == 25 and np.isclose(corpus.aspect_ratio, 4 / 3)
    assert corpus.facts["made_by"]["seed"] == 3 and corpus.facts["made_by"]["sentences"] == 90


def test_unseen_dev_signers_are_really_unseen(tmp_path):
    synthesize(tmp_path / "c", sentences=8, dev_sentences=4, test_sentences=3, unseen_dev_signers=2)
    made = Corpus(tmp_path / "c")
    train, dev = ({row.signer for row in made.split(split).sentences} for split in ("train", "dev"))
    assert len(dev) == 2 and not dev & train
    assert len(made.split("test")) == 3
    a, b = (draw_signer(name, 0, WEBCAM) for name in (min(train), min(dev)))
    assert a.upper_arm != b.upper_arm and a.shoulder_width != b.shoulder_width


@pytest.mark.parametrize("frames", [1, 2, 9, 27, 100, 299])
def test_transcripts_have_exactly_their_frames(tmp_path, frames):
    row = TranscribedSentence("s", "Signer04", ("__ON__", "loc-NORD", "REGEN", "REGEN"), frames)
    synthesize_transcripts(tmp_path / "c", {"train": [row]})
    made = Corpus(tmp_path / "c")
    assert made.split("train").sentences[0].frames == frames
    assert made.split("train").sentences[0].glosses == row.glosses
    assert np.isclose(made.aspect_ratio, 210 / 260) and made.simulated


def test_transcripts_without_frames_take_the_signers_own_pace():
    crew = SimulatedSigners(("A", "B", "C"), STUDIO, 0)
    lengths = [
        len(crew.record(TranscribedSentence(str(k), "Signer01", ("A", "B", "C")))[0])
        for k in range(12)
    ]
    assert 25 < np.mean(lengths) < 80 and len(set(lengths)) > 3


def test_what_cannot_be_made_is_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match="--sentences 0"):
        synthesize(tmp_path / "a", sentences=0)
    with pytest.raises(UsageError, match="--unseen_dev_signers -1"):
        synthesize(tmp_path / "a", unseen_dev_signers=-1)
    with pytest.raises(UsageError, match="no sentences"):
        synthesize_transcripts(tmp_path / "a", {"train": []})
    with pytest.raises(DataError, match="dev sentence 'x' has no glosses"):
        synthesize_transcripts(tmp_path / "a", {"dev": [TranscribedSentence("x", "S", ())]})
    twice = [TranscribedSentence("x", "S", ("A",), 9)]
    with pytest.raises(DataError, match="'x' is in train and in dev"):
        synthesize_transcripts(tmp_path / "a", {"train": twice, "dev": twice})
    assert not (tmp_path / "a").exists()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(UsageError, match="already exists"):
        synthesize(tmp_path / "used", sentences=2)


def test_builtin_corpus_is_made_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(simulated_signer, "BUILTIN_CORPUS", tmp_path / "builtin")
    small = synthesize
    monkeypatch.setattr(
        simulated_signer, "synthesize", lambda path: small(path, sentences=2, dev_sentences=1)
    )
    assert builtin_corpus() == tmp_path / "builtin"
    made = (tmp_path / "builtin" / "corpus.json").stat().st_mtime_ns
    assert capsys.readouterr().out.count("\n") == 1
    assert builtin_corpus() == tmp_path / "builtin"
    assert (tmp_path / "builtin" / "corpus.json").stat().st_mtime_ns == made
    assert capsys.readouterr().out == ""


# ---- is there something to learn? ----


def _describe(crew: SimulatedSigners, signer: str, gloss: str, take: int) -> np.ndarray:
    """A sign on its own, as the camera sees it: 8 moments of hands and wrists, in shoulder widths
    from the shoulders."""
    landmarks, _ = crew.record(
        TranscribedSentence(f"{signer}-{gloss}-{take}", signer, (gloss,), 24)
    )
    pixels = landmarks[:, :, :2] / np.array([1, crew.framing.aspect_ratio])
    shoulders = pixels[:, [11, 12]]
    width = np.median(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=1))
    points = (
        np.concatenate([pixels[:, 11:23] - shoulders.mean(axis=1, keepdims=True)], axis=1) / width
    )
    hand = (pixels[:, 522:] - pixels[:, 522:523]) / width
    rows = np.concatenate([points, hand], axis=1)[np.linspace(6, 18, 8).astype(int)]
    return rows.reshape(-1)


def test_a_gloss_looks_like_itself_across_signers_but_is_not_trivial():
    """Nearest neighbour over 20 glosses, from one signer to another: far above chance (5 %),
    clearly below certainty."""
    crew = SimulatedSigners(GLOSSES, WEBCAM, 0)
    glosses = GLOSSES[:20]
    names = [
        name
        for name in (f"signer{k:02d}" for k in range(1, 9))
        if not crew.signer(name).left_handed
    ][:4]
    table = {
        name: np.stack([_describe(crew, name, gloss, 0) for gloss in glosses]) for name in names
    }
    same, different, right = [], [], []
    for probe in names:
        for gallery in names:
            if probe == gallery:
                continue
            distance = np.linalg.norm(table[probe][:, None] - table[gallery][None], axis=2)
            same.append(np.diag(distance).mean())
            different.append(distance[~np.eye(20, dtype=bool)].mean())
            right.append(np.mean(distance.argmin(axis=1) == np.arange(20)))
    assert np.mean(same) < 0.8 * np.mean(different)
    assert 0.4 < np.mean(right) < 0.97
