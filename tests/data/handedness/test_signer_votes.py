"""The votes of signers, and of recordings in windows, on which hand leads."""

import numpy as np
import pytest
import torch

from data.augmentation.config import AugmentationConfig
from data.augmentation.sentence_mixing import MixedSplit
from data.corpus import Split
from data.ctc_targets import prepare_split
from data.features import normalize_landmarks
from data.handedness.leading_hand import ALWAYS, WITHOUT_EVIDENCE
from data.handedness.leading_hand_rules import BY_SENTENCE, BY_SIGNER
from data.handedness.signer_votes import RecordingVote, sentence_evidence, signer_votes, vote
from data.pipeline import FeaturePipeline
from data.sentences import Sentence
from data.vocabulary import Vocabulary

CPU = torch.device("cpu")
# Height of the wrists in the image: 0 is the top. The shoulders are at 0.4, 0.2 apart.
UP, DOWN = 0.2, 0.8


def recording(hand: str, frames: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A signer who raises the hand "left", "right" or "both"."""
    landmarks = np.full((frames, 543, 3), 0.5, dtype=np.float16)
    landmarks[:, 11, :2], landmarks[:, 12, :2] = (0.6, 0.4), (0.4, 0.4)
    landmarks[:, 15, 1] = UP if hand in ("left", "both") else DOWN
    landmarks[:, 16, 1] = UP if hand in ("right", "both") else DOWN
    return landmarks, np.ones((frames, 4), dtype=bool)


def split_of(*sentences: tuple[str, str]) -> Split:
    """A split of sentences (signer, raised hand)."""
    rows = [Sentence(f"s{i}", signer, 4, ("X",)) for i, (signer, _) in enumerate(sentences)]
    parts = [recording(hand) for _, hand in sentences]
    return Split("train", rows, *(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


@pytest.mark.parametrize(
    "left, right, neither, expected",
    [
        (12, 0, 5, ALWAYS),
        (9, 1, 0, ALWAYS),
        (8, 2, 9, 0),  # they disagree: single signs recorded with both hands
        (9, 0, 90, WITHOUT_EVIDENCE),  # too few have evidence to decide for the others
        (1, 0, 3, WITHOUT_EVIDENCE),
        (4, 4, 0, 0),
        (0, 0, 7, 0),
        (3, 30, 0, -ALWAYS),
        (4, 30, 0, 0),
        (0, 2, 9, -WITHOUT_EVIDENCE),
    ],
)
def test_a_vote_counts_the_sentences_with_evidence(left, right, neither, expected):
    assert vote([1] * left + [-1] * right + [0] * neither) == expected


def test_every_signer_votes_for_its_own_sentences():
    split = split_of(
        *[("anna", "left")] * 11,
        ("anna", "both"),
        ("anna", "right"),
        *[("ben", "right")] * 12,
        ("ben", "both"),
        ("cleo", "left"),
        ("cleo", "right"),
        ("unknown", "left"),
    )
    votes = signer_votes(split, 1.0)
    assert votes.tolist() == [ALWAYS] * 13 + [-ALWAYS] * 13 + [0, 0, 0]
    assert signer_votes(split_of(("unknown", "left"), ("", "left")), 1.0) is None


def test_broken_sentences_are_not_asked():
    split = split_of(("anna", "left"), ("anna", "left"), ("anna", "right"))
    split.landmarks[0:2] = np.nan  # half of the first sentence
    assert sentence_evidence(split, [0, 1, 2], 1.0) == {0: 0, 1: 1, 2: -1}
    rows = [*split.sentences, Sentence("empty", "anna", 0, ("X",))]
    split = Split("train", rows, split.landmarks, split.detected)
    assert sentence_evidence(split, [3, 1], 1.0) == {3: 0, 1: 1}


def test_of_many_sentences_some_are_asked(monkeypatch):
    asked = []

    def evidence(split, indices, aspect_ratio):
        asked.extend(indices)
        return dict.fromkeys(indices, 1)

    monkeypatch.setattr("data.handedness.signer_votes.sentence_evidence", evidence)
    split = split_of(*[("anna", "left")] * 400, *[("ben", "left")] * 5)
    assert set(signer_votes(split, 1.0).tolist()) == {ALWAYS, WITHOUT_EVIDENCE}
    assert len(asked) == len(set(asked)) == 45 and {0, 399, *range(400, 405)} <= set(asked)


def wrists(batch) -> list[list[float]]:
    """Height of the left and the right wrist in the first frame of each sentence."""
    points = batch.features[:, 0, :1629].reshape(len(batch.indices), 543, 3)
    return points[:, [15, 16], 1].round().int().tolist()


LEFT_HANDED = [*[("anna", "left")] * 11, ("anna", "both"), ("anna", "right")]


def test_the_features_of_a_signer_s_sentences_are_mirrored_together():
    """Of anna's sentences, 0 raises the left hand, 11 both, and 12 the right hand. She is
    left-handed, so all of them are mirrored."""
    split = split_of(*LEFT_HANDED)
    raised, rests = -1, 2  # height of a wrist, from the shoulders down
    for pipeline in (
        FeaturePipeline(1.0, CPU),
        FeaturePipeline(1.0, CPU, causal=True, leading_hand=BY_SENTENCE).variant(False, BY_SIGNER),
    ):
        for plan in ([np.array([0, 11, 12])], [np.array([index]) for index in (0, 11, 12)]):
            found = [row for batch in pipeline.batches(split, plan) for row in wrists(batch)]
            assert found == [[rests, raised], [raised, raised], [raised, rests]], plan
    # The rule of earlier versions looks at each sentence, and needs movement.
    (batch,) = FeaturePipeline(1.0, CPU, leading_hand=BY_SENTENCE).batches(split, plan[:1])
    assert wrists(batch) == [[raised, rests]]


def augmented(pipeline: FeaturePipeline, split: Split, plan: list[np.ndarray], **ranges) -> list:
    """The batches with an augmentation that changes nothing but `ranges`."""
    off = {"speed": (1, 1), "scale": (1, 1), "aspect": (1, 1), "noise": 0, "frame_drop": 0}
    off |= {"rotation": 0, "shift": 0, "hand_drift": 0, "hand_turn": 0, "mix": 0}
    prepared = prepare_split(split, Vocabulary(["X"]))
    config = AugmentationConfig(**(off | ranges))
    return list(pipeline.augmented_batches(prepared, plan, config, 0, 1))


def test_signers_vote_in_augmented_batches_too():
    split, plan = split_of(*LEFT_HANDED), [np.array([0, 11, 12])]
    (plain,) = FeaturePipeline(1.0, CPU).batches(split, plan)
    (found,) = augmented(FeaturePipeline(1.0, CPU), split, plan)
    assert wrists(found) == wrists(plain)
    torch.testing.assert_close(found.features, plain.features)


def test_a_hand_that_the_augmentation_hides_still_leads():
    """The left hand was detected in 11 of 20 frames, the right one in 2: the left hand leads. With
    fewer than 10 it would not."""
    landmarks, detected = recording("both", 20)
    detected[:, 2], detected[:, 3] = np.arange(20) % 2 == 0, np.arange(20) < 2
    detected[19, 2] = True
    split = Split("train", [Sentence("s0", "", 20, ("X",))], landmarks, detected)
    (found,) = augmented(FeaturePipeline(1.0, CPU), split, [np.array([0])], hand_drop=0.9)
    left, right = found.detected[0, :, 2].sum(), found.detected[0, :, 3].sum()
    assert left <= 2 < right < 10, "mirrored: the hand that leads is the right one"


def test_joined_sentences_do_not_change_the_votes():
    split = split_of(*LEFT_HANDED)
    partners = np.full(13, -1)
    partners[:3] = 12
    mixed = MixedSplit(split, partners, np.full(13, 2) * (partners >= 0), 1.0)
    pipeline = FeaturePipeline(1.0, CPU)
    (batch,) = pipeline.batches(mixed, [np.array([12])])
    (single,) = FeaturePipeline(1.0, CPU).batches(split, [np.array([12])])
    assert torch.equal(batch.features, single.features)


def test_a_decision_for_a_whole_recording_overrules_the_frames():
    split, pipeline = split_of(("", "left")), FeaturePipeline(1.0, CPU)
    found = {}
    for pipeline.left in (None, True, False):
        (batch,) = pipeline.batches(split, [np.array([0])])
        found[pipeline.left] = wrists(batch)[0]
    assert found[True] == found[None] == found[False][::-1] != found[False]


def test_a_recording_votes_with_all_its_frames_so_far():
    """Windows of 8 frames, of which 4 are new each time: the left hand is raised at first, and
    later both rest."""
    vote = RecordingVote(1.0)
    parts = [recording("left", 12), recording("none", 8), recording("right", 40)]
    landmarks, detected = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    decided = []
    for start in range(0, 56, 4):
        window = slice(max(start - 4, 0), start + 4)
        vote.add(landmarks[window], detected[window], 4)
        decided.append(vote.left)
        so_far = (torch.from_numpy(part[None, : start + 4]) for part in (landmarks, detected))
        points, seen = so_far
        lengths = torch.tensor([start + 4])
        whole, _ = normalize_landmarks(points, seen, lengths, 1.0)
        plain, _ = normalize_landmarks(points, seen, lengths, 1.0, votes=torch.tensor([-ALWAYS]))
        assert decided[-1] == (not torch.equal(whole, plain)), "as if transcribed as a whole"
    assert decided[:4] == [True] * 4 and not decided[-1]
    assert decided == sorted(decided, reverse=True), "it changes once, not with every window"
