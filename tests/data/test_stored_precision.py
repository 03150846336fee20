import numpy as np
import torch

from data.features import compute_features
from data.simulation.body import STUDIO
from data.simulation.corpora import SimulatedSigners
from data.simulation.grammar import GLOSSES
from data.sources.transcripts import TranscribedSentence


def test_float16_storage_changes_the_features_of_signers_little():
    """Compare the features of landmarks in float32 and as a corpus stores them, in float16.

    Errors are in shoulder widths, and as a share of the standard deviation of each feature.
    """
    signers = SimulatedSigners(GLOSSES, STUDIO, seed=0)
    errors, features = [], []
    for number in range(4):
        glosses = tuple(list(GLOSSES)[3 * number : 3 * number + 4])
        landmarks, detected = signers.record(
            TranscribedSentence(f"s{number}", f"signer{number}", glosses)
        )
        lengths, detected = torch.tensor([len(landmarks)]), torch.from_numpy(detected)[None]
        exact, stored = (
            compute_features(
                torch.from_numpy(landmarks.astype(kind))[None], detected, lengths, 210 / 260
            )[0]
            for kind in (np.float32, np.float16)
        )
        errors.append(stored - exact)
        features.append(exact)
    error, feature = (
        torch.cat(parts).reshape(-1, 4, 543, 3)[..., :2] for parts in (errors, features)
    )
    # The root of a part, relative to itself, is 0.
    share = (error.square().mean(0).sqrt() / feature.std(0)).nan_to_num(0)
    body_and_hands = [*range(11, 25), *range(501, 543)]
    assert error.abs().max() > 1e-4, "float16 makes a difference"
    #        position, velocity, acceleration, relative position
    largest, typical, worst_face = (
        (0.005, 0.004, 0.012, 0.005),
        (0.004, 0.012, 0.05, 0.008),
        (0.05, 0.15, 0.25, 0.3),
    )
    for block in range(4):
        assert float(error[:, block].abs().max()) < largest[block], "shoulder widths"
        assert float(share[block, body_and_hands].median()) < typical[block], (
            "of the standard deviation"
        )
        assert float(share[block, 33:501].max()) < worst_face[block], "of the standard deviation"
