"""The MP_Data layout: recordings become sentences, and anything outside the layout is named."""

import re
from pathlib import Path

import numpy as np
import pytest

from data.corpus import Corpus
from data.sources.mp_data import find_mp_data_recordings, import_mp_data
from errors import DataError, UsageError
from tests.data.signers import mp_data_vectors, standing_signer


def save_recording(root: Path, gloss: str, repetition: object, vectors, first: int = 0) -> Path:
    folder = root / gloss / str(repetition)
    folder.mkdir(parents=True)
    for number, vector in enumerate(vectors, start=first):
        np.save(folder / f"{number}.npy", vector)
    return folder


def tiny_vectors(frames: int, face: bool = False) -> np.ndarray:
    return mp_data_vectors(standing_signer(frames), face)


def test_visibility_alone_is_no_pose(tmp_path):
    frames = tiny_vectors(2)
    frames[1, :132] = 0
    frames[1, 3:132:4] = 0.9
    save_recording(tmp_path / "in", "hello", 0, frames)
    import_mp_data(tmp_path / "in", tmp_path / "out")
    assert Corpus(tmp_path / "out").split("train").read(0)[1][:, 0].tolist() == [True, False]


def test_recordings_become_sentences_in_numeric_order(tmp_path):
    for repetition in (0, 2, 10, 1):
        frames = tiny_vectors(12) + np.arange(12)[:, None] / 64 + repetition / 16
        save_recording(tmp_path / "in", "thank you", repetition, frames)
    save_recording(tmp_path / "in", "a", 7, tiny_vectors(3), first=1)  # counts from 1
    import_mp_data(tmp_path / "in", tmp_path / "out")
    corpus = Corpus(tmp_path / "out")
    train = corpus.split("train")
    assert [sentence.id for sentence in train.sentences] == [
        "a-7",
        "thank-you-0",
        "thank-you-1",
        "thank-you-2",
        "thank-you-10",
    ]
    assert [sentence.glosses for sentence in train.sentences[:2]] == [("a",), ("thank-you",)]
    assert [sentence.frames for sentence in train.sentences[:2]] == [3, 12]
    landmarks, detected = train.read(4)
    # The frames are in numeric order: 9 comes before 10
    expected = 0.5 + 10 / 16 + np.arange(12) / 64
    np.testing.assert_allclose(landmarks[:, 0, 0], expected, rtol=1 / 8000)
    assert detected.tolist() == [[True, False, True, True]] * 12
    assert (corpus.fps, corpus.aspect_ratio, corpus.composed) == (25.0, 4 / 3, False)


def test_names_of_gloss_folders_that_change_or_look_wrong_are_told(tmp_path, capsys):
    for gloss in ("thank you", "good  day", "sun", "ra\u200bin"):
        save_recording(tmp_path / "in", gloss, 0, tiny_vectors(3))
    import_mp_data(tmp_path / "in", tmp_path / "out")
    told = capsys.readouterr()
    assert told.out == (
        "white space in the names of gloss folders becomes '-': 'good  day' is the gloss "
        "'good-day' (2 folders in all)\n"
    )
    assert "warning: 1 gloss has invisible characters, such as U+200B in 'rain' of" in told.err


def test_recordings_are_resampled_when_asked_for(tmp_path):
    moving = standing_signer(1).repeat(9, axis=0)
    moving[:, 11, 0] = 0.5 + np.arange(9) / 64
    save_recording(tmp_path / "in", "hello", 0, mp_data_vectors(moving))
    import_mp_data(tmp_path / "in", tmp_path / "out", fps=50, resample_fps=25)
    corpus = Corpus(tmp_path / "out")
    assert corpus.fps == 25 and corpus.facts["made_by"]["resample_fps"] == 25
    np.testing.assert_allclose(
        corpus.split("train").read(0)[0][:, 11, 0], 0.5 + np.arange(0, 9, 2) / 64, atol=1e-3
    )


def test_recorders_take_turns_in_blocks(tmp_path):
    for repetition in range(9):
        save_recording(tmp_path / "in", "x", repetition, tiny_vectors(1))
    import_mp_data(
        tmp_path / "in",
        tmp_path / "out",
        repetitions_per_session=2,
        recorders=3,
        fps=30,
        aspect_ratio=1.5,
    )
    corpus = Corpus(tmp_path / "out")
    signers = [sentence.signer[-1] for sentence in corpus.split("train").sentences]
    assert "".join(signers) == "112233112"
    assert corpus.facts["made_by"]["repetitions_per_session"] == 2
    assert corpus.facts["made_by"]["recorders"] == 3
    assert (corpus.fps, corpus.aspect_ratio) == (30.0, 1.5)


def test_hidden_files_are_ignored(tmp_path):
    folder = save_recording(tmp_path / "in", "x", 0, tiny_vectors(2))
    for place in (folder, folder.parent, folder.parent.parent):
        (place / ".DS_Store").write_bytes(b"\0")
        (place / "._0.npy").write_bytes(b"\0")
    import_mp_data(tmp_path / "in", tmp_path / "out")
    assert Corpus(tmp_path / "out").split("train").sentences[0].frames == 2


def test_the_same_bytes_each_time(tmp_path):
    save_recording(tmp_path / "in", "x", 0, tiny_vectors(2))
    for name in ("a", "b"):
        import_mp_data(tmp_path / "in", tmp_path / name / "out")
    for file in ("corpus.json", "train.csv", "train.landmarks.npy", "train.detected.npy"):
        assert (tmp_path / "a/out" / file).read_bytes() == (tmp_path / "b/out" / file).read_bytes()


@pytest.mark.parametrize("first", [0, 1])
def test_a_frame_missing_from_the_numbering_is_named(tmp_path, first):
    folder = save_recording(tmp_path / "in", "x", 0, tiny_vectors(5), first=first)
    (folder / f"{first + 2}.npy").unlink()
    with pytest.raises(DataError, match=re.escape(f"{folder}: frame {first + 2} is missing")):
        import_mp_data(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_recording_that_begins_late_is_refused(tmp_path):
    save_recording(tmp_path / "in", "x", 0, tiny_vectors(3), first=5)
    with pytest.raises(DataError, match="frame 1 is missing"):
        import_mp_data(tmp_path / "in", tmp_path / "out")


def test_the_width_of_most_recordings_counts(tmp_path, capsys):
    """The first recording alone is of another width: it is left out, not all others."""
    save_recording(tmp_path / "in", "a", 0, np.zeros((2, 1662)))
    for repetition in range(1, 6):
        save_recording(tmp_path / "in", "a", repetition, tiny_vectors(2))
    import_mp_data(tmp_path / "in", tmp_path / "out", skip_bad=True)
    found = Corpus(tmp_path / "out").split("train").sentences
    assert [sentence.id for sentence in found] == [f"a-{number}" for number in range(1, 6)]
    assert "has 1662 values, most files have 258" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x: np.save(x / "0/1.npy", np.zeros(1662)),
            "0/1.npy has 1662 values, most files have 258",
        ),
        (
            lambda x: np.save(x / "1/0.npy", np.zeros(1662)),
            "0/0.npy has 258 values, most files have 1662",
        ),
        (lambda x: np.save(x / "0/1.npy", np.zeros(300)), "0/1.npy holds an array of shape (300,)"),
        (
            lambda x: np.save(x / "0/1.npy", np.zeros((1, 258))),
            "0/1.npy holds an array of shape (1, 258)",
        ),
        (
            lambda x: np.save(x / "0/1.npy", np.zeros((258, 1))),
            "0/1.npy holds an array of shape (258, 1)",
        ),
        (
            lambda x: np.save(x / "0/1.npy", np.r_[tiny_vectors(1)[0, :-1], np.nan]),
            "0/1.npy: some points of right_hand are NaN or infinite, expected all or none",
        ),
        (
            lambda x: np.save(x / "0/1.npy", np.r_[tiny_vectors(1)[0, :195], np.full(63, -1.0)]),
            "0/1.npy: all points of right_hand are at (-1, -1)",
        ),
        (
            lambda x: np.save(x / "0/1.npy", np.ones(225)),
            "225 values are probably the pose 33 x (x, y, z) and both hands 2 x 21 x (x, y, z); "
            "add a visibility",
        ),
        (lambda x: np.save(x / "0/1.npy", np.ones((42, 3))), "the pose is missing"),
        (
            lambda x: np.save(x / "0/1.npy", tiny_vectors(1)[0] * 30),
            "train sentence thank-you-0 has x or y far outside the image",
        ),
        (
            lambda x: np.save(x / "0/1.npy", np.zeros(258, int)),
            "0/1.npy holds int64 values, expected float16",
        ),
        (lambda x: np.save(x / "0/1.npy", np.array([None] * 258)), "0/1.npy holds Python objects"),
        (
            lambda x: (x / "0/1.npy").write_bytes(b"\x93NUMPY\x01\x00v"),
            "0/1.npy is not a readable .npy file",
        ),
        (lambda x: (x / "0/1.npy").write_bytes((x / "0/1.npy").read_bytes()[:-1]), "0/1.npy has"),
        (
            lambda x: (x / "0/notes.txt").write_text(""),
            "0/notes.txt: expected only <frame number>.npy",
        ),
        (
            lambda x: (x / "0/first.npy").write_text(""),
            "0/first.npy: expected only <frame number>.npy",
        ),
        (lambda x: (x / "0/01.npy").write_text(""), "are the same frame 1"),
        (lambda x: (x / "2").mkdir(), "2 is empty: expected the recording's frames"),
        (lambda x: (x / "01").mkdir(), "are the same repetition 1"),
        (
            lambda x: (x / "second").mkdir(),
            "expected a repetition number as the folder's name, found 'second'",
        ),
        (lambda x: (x / "video.mp4").write_text(""), "video.mp4 is a file"),
        (lambda x: (x.parent / "labels.npy").write_text(""), "labels.npy is a file"),
        (
            lambda x: (x.parent / "empty").mkdir(),
            "empty is empty: it should hold one folder per repetition",
        ),
        (
            lambda x: (x.parent / "thank  you/0").mkdir(parents=True),
            "would both be the gloss 'thank-you'",
        ),
        (lambda x: x.rename(x.parent / "a|b"), "'a|b-0'"),
    ],
)
def test_anything_outside_the_layout_is_named(tmp_path, change, message):
    for repetition in (0, 1):
        save_recording(tmp_path / "in", "thank you", repetition, tiny_vectors(3))
    change(tmp_path / "in/thank you")
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        import_mp_data(tmp_path / "in", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_missing_empty_and_unsuitable_inputs(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        find_mp_data_recordings(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty is empty: it should hold one folder per gloss"):
        find_mp_data_recordings(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file cannot be read: Not a directory"):
        find_mp_data_recordings(tmp_path / "file")
    save_recording(tmp_path / "in", "x", 0, tiny_vectors(1))
    with pytest.raises(UsageError, match="in is an input of this command"):
        import_mp_data(tmp_path / "in", tmp_path / "in")


def test_gloss_folders_are_compared_in_one_unicode_form(tmp_path):
    """macOS writes GRÜN as a folder name with a letter and a mark."""
    save_recording(tmp_path / "in", "GRU\u0308N", 0, tiny_vectors(2))
    (recording,) = find_mp_data_recordings(tmp_path / "in")
    assert recording.gloss == "GR\u00dcN"
    save_recording(tmp_path / "in", "GR\u00dcN", 0, tiny_vectors(2))
    with pytest.raises(DataError, match="would both be the gloss"):
        find_mp_data_recordings(tmp_path / "in")


@pytest.mark.parametrize("face", [True, False])
def test_a_part_of_nan_was_not_detected(tmp_path, face):
    landmarks = standing_signer(4)
    landmarks[1, 501:522] = landmarks[2, :33] = np.nan
    landmarks[3] = 0
    save_recording(tmp_path / "in", "x", 0, mp_data_vectors(landmarks, face))
    import_mp_data(tmp_path / "in", tmp_path / "out")
    stored, detected = Corpus(tmp_path / "out").split("train").read(0)
    seen = [[True, face, True, True], [True, face, False, True], [False, face, True, True]]
    assert detected.tolist() == [*seen, [False] * 4]
    assert (stored[1, 501:522] == 0).all() and (stored[2, :33] == 0).all()


def pixels(frames: np.ndarray) -> np.ndarray:
    landmarks = frames.copy()
    landmarks[:, :132].reshape(-1, 33, 4)[..., :2] *= (640, 480)
    landmarks[:, 132:].reshape(len(frames), -1, 3)[..., :2] *= (640, 480)
    return landmarks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pixels, "in does not hold image coordinates: in 3 of 3 recordings"),
        (lambda v: np.clip((v - v.mean(0)) / v.std(0), -2.9, 2.9), "does not hold image coordi"),
        (lambda v: np.concatenate([v[:, -126:], v[:, :-126]], axis=1), "does not hold image coord"),
        (lambda v: np.concatenate([v[:, -63:], v[:, :-63]], axis=1), "does not hold image coord"),
        (lambda v: v * 0, "in has no detected pose in any of 3 recordings"),
    ],
    ids=["pixels", "standardised", "hands first", "right hand first", "zeros"],
)
@pytest.mark.parametrize("face", [True, False])
def test_what_is_no_signer_in_an_image_is_refused(tmp_path, change, message, face):
    random = np.random.default_rng(1)
    for repetition in range(3):
        frames = tiny_vectors(30, face) + random.normal(0, 0.02, (30, 1))
        save_recording(tmp_path / "in", "x", repetition, change(frames))
    with pytest.raises(DataError, match=re.escape(message)):
        import_mp_data(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
