"""The votes of signers on which hand leads their sentences.

A signer of continuous sentences has a dominant hand, and a camera mirrors all of a recording. So
the sentences of a signer are asked together: where they agree, they decide for all of them, also
for a sentence in which both hands move alike. People who record single signs often change hands;
their sentences disagree, and each one decides by itself.
"""

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from data.corpus import Split
from data.features import body_coordinates, frame_mask
from data.handedness.leading_hand import ALWAYS, WITHOUT_EVIDENCE, hand_evidence, hand_totals
from data.landmarks import LandmarkSelection
from data.stored_landmarks import decode_batch

AGREEMENT = 0.9  # share of the sentences with evidence that must agree for a vote
_FEWEST = 10  # sentences with evidence that a signer needs to decide for all
_MOST_PER_SIGNER, _MOST = 40, 2_000  # sentences that are asked: evenly spread over the signer's
_BATCH = 32
_POINTS = LandmarkSelection(())  # shoulders and wrists are in every selection


def signer_votes(split: Split, aspect_ratio: float) -> np.ndarray | None:
    """The vote of the signer of each sentence: int64 (N,), see `left_hand_leads`.

    The votes depend on the split alone, not on the batches. Broken sentences are not asked.

    aspect_ratio: image width / height of the corpus. Returns None if no signer is known.
    """
    of_signer = defaultdict(list)
    for index, sentence in enumerate(split.sentences):
        if sentence.signer_is_known:
            of_signer[sentence.signer].append(index)
    if not of_signer:
        return None
    votes = np.zeros(len(split), dtype=np.int64)
    most = min(_MOST_PER_SIGNER, max(_MOST // len(of_signer), 1))
    asked = {
        signer: [indices[i] for i in np.unique(np.linspace(0, len(indices) - 1, most).astype(int))]
        for signer, indices in of_signer.items()
    }
    evidence = sentence_evidence(
        split, [i for chosen in asked.values() for i in chosen], aspect_ratio
    )
    for signer, indices in of_signer.items():
        votes[indices] = vote([evidence[index] for index in asked[signer]])
    return votes


def vote(evidence: list[int]) -> int:
    """The vote of a signer: positive for the left hand, negative for the right hand; see
    `left_hand_leads`. evidence: 1, -1 or 0 of each sentence."""
    left, right = evidence.count(1), evidence.count(-1)
    if left == right or max(left, right) < AGREEMENT * (left + right):
        return 0
    weight = ALWAYS if left + right >= _FEWEST else WITHOUT_EVIDENCE
    return weight if left > right else -weight


def sentence_evidence(split: Split, indices: list[int], aspect_ratio: float) -> dict[int, int]:
    """The evidence of each sentence by itself, see `hand_evidence`; 0 for a broken one."""
    found = dict.fromkeys(indices, 0)
    for start in range(0, len(indices), _BATCH):
        chosen, recordings = [], []
        for index in indices[start : start + _BATCH]:
            stored, detected = split.stored(index)
            if not len(stored):
                continue
            picked = torch.from_numpy(_POINTS.pick(stored))
            seen = torch.from_numpy(detected.copy())
            points = decode_batch(picked[None], seen[None], _POINTS)[0]
            if points.isfinite().all():
                chosen.append(index)
                recordings.append((points, seen))
        if chosen:
            leads = hand_evidence(_totals(recordings, aspect_ratio))
            found.update(zip(chosen, leads.int().tolist(), strict=True))
    return found


def _totals(recordings: list[tuple[Tensor, Tensor]], aspect_ratio: float) -> Tensor:
    """`hand_totals` of recordings: landmarks (T, K, 3) of `_POINTS` and detected (T, 4)."""
    lengths = torch.tensor([len(landmarks) for landmarks, _ in recordings])
    landmarks, detected = (
        torch.nn.utils.rnn.pad_sequence(list(part), batch_first=True)
        for part in zip(*recordings, strict=True)
    )
    body = body_coordinates(landmarks, detected, lengths, aspect_ratio, False, _POINTS)
    return hand_totals(body, detected, frame_mask(lengths, body.shape[1]), _POINTS)


class RecordingVote:
    """The vote of a recording that is transcribed in windows: from all frames so far.

    A window has too little evidence of its own, and two windows of one recording must not be
    mirrored differently. Frames that come later cannot be asked.
    """

    def __init__(self, aspect_ratio: float):
        self._aspect_ratio = aspect_ratio
        self._totals = torch.zeros(1, 7)

    def add(self, landmarks: np.ndarray, detected: np.ndarray, new: int) -> None:
        """Count the last `new` frames of a window.

        landmarks: float (T, 543, 3); detected: bool (T, 4).
        """
        points = torch.from_numpy(_POINTS.pick(landmarks))[None]
        seen = torch.from_numpy(detected.copy())[None]
        body = body_coordinates(
            points, seen, torch.tensor([len(landmarks)]), self._aspect_ratio, False, _POINTS
        )
        counted = torch.arange(len(landmarks))[None] >= len(landmarks) - new
        self._totals += hand_totals(body, seen, counted, _POINTS)

    @property
    def left(self) -> bool:
        """Whether the left hand leads."""
        return bool(hand_evidence(self._totals) > 0)
