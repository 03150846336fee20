import numpy as np
import pytest
import torch

from data.features import compute_features
from data.simulation.body import STUDIO
from data.simulation.corpora import SimulatedSigners
from data.simulation.grammar import GLOSSES
from data.sources.annotations.transcripts import TranscribedSentence
from data.stored_landmarks import decode, encode

# position, velocity, acceleration, relative position: the largest error in shoulder widths, and as
# a share of the standard deviation the median of body and hands, and the largest of the face
BOUNDS = {
    "float16": (
        (0.005, 0.004, 0.012, 0.005),
        (0.004, 0.012, 0.05, 0.008),
        (0.05, 0.15, 0.25, 0.3),
    ),
    "int16": (
        (0.0012, 0.0009, 0.003, 0.0012),
        (0.0004, 0.0013, 0.006, 0.001),
        (0.005, 0.012, 0.02, 0.012),
    ),
}


@pytest.mark.parametrize("dtype", ["float16", "int16"])
def test_storage_changes_the_features_of_signers_little(dtype):
    """Compare the features of landmarks in float32 and as a corpus stores them: in float16 of
    format 1, or in int16."""
    signers = SimulatedSigners(GLOSSES, STUDIO, seed=0)
    errors, features = [], []
    for number in range(4):
        glosses = tuple(list(GLOSSES)[3 * number : 3 * number + 4])
        landmarks, detected = signers.record(
            TranscribedSentence(f"s{number}", f"signer{number}", glosses)
        )
        read = decode(encode(landmarks, detected, np.dtype(dtype)), detected)
        lengths, detected = torch.tensor([len(landmarks)]), torch.from_numpy(detected)[None]
        exact, stored = (
            compute_features(torch.from_numpy(values)[None], detected, lengths, 210 / 260)[0]
            for values in (landmarks.astype(np.float32), read)
        )
        errors.append(stored - exact)
        features.append(exact)
    error, feature = (
        torch.cat(parts).reshape(-1, 4, 543, 3)[..., :2] for parts in (errors, features)
    )
    # The root of a part, relative to itself, is 0.
    share = (error.square().mean(0).sqrt() / feature.std(0)).nan_to_num(0)
    body_and_hands = [*range(11, 25), *range(501, 543)]
    assert error.abs().max() > 1e-5, "storage makes a difference"
    largest, typical, worst_face = BOUNDS[dtype]
    for block in range(4):
        assert float(error[:, block].abs().max()) < largest[block], "shoulder widths"
        assert float(share[block, body_and_hands].median()) < typical[block], (
            "of the standard deviation"
        )
        assert float(share[block, 33:501].max()) < worst_face[block], "of the standard deviation"
