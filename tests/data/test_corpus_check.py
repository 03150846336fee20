"""Checking a corpus: every kind of damage is found and named, and the table is correct."""

import json

import numpy as np
import pytest

from data.corpus_check import MAX_LINES, check_corpus
from data.corpus_writer import CorpusWriter
from tests.data.signers import standing_signer
from tests.data.small_corpus import in_format_1, rehash

SPLITS = {
    "train": [("s1", "anna", "HELLO WORLD", 12), ("s2", "ben", "WORLD", 8)],
    "dev": [("d1", "anna", "HELLO HELLO", 10)],
}


def recording(frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return standing_signer(frames, seed), np.ones((frames, 4), dtype=bool)


def write(path, splits=SPLITS, same_landmarks=False):
    number = 0
    with CorpusWriter(path, name="tiny", fps=25, aspect_ratio=1.0, made_by={}) as writer:
        for name, rows in splits.items():
            for id, signer, annotation, frames in rows:
                writer.split(name).add(
                    id, signer, annotation, *recording(frames, 0 if same_landmarks else number)
                )
                number += 1
    return path


def problems(path) -> list[str]:
    return [line for lines in check_corpus(path).problems.values() for line in lines]


def warnings(path) -> list[str]:
    return [line for lines in check_corpus(path).warnings.values() for line in lines]


def change(path, array: str, place, value, hashes: bool = True) -> None:
    values = np.load(path / f"{array}.npy")
    values[place] = value
    np.save(path / f"{array}.npy", values)
    if hashes:
        rehash(path)


def test_an_undamaged_corpus_is_ok(tmp_path):
    report = check_corpus(write(tmp_path / "tiny"))
    assert report.problem_count == 0
    assert report.warnings == {}
    assert list(report.lines())[-1] == "ok"


def test_the_table_has_the_numbers_of_each_split(tmp_path):
    path = write(tmp_path / "tiny", SPLITS | {"test": [("t1", "cleo", "HELLO NEW NEW OTHER", 30)]})
    values = np.load(path / "train.detected.npy")
    values[:5, 3] = False
    landmarks = np.load(path / "train.landmarks.npy")
    landmarks[:5, 522:] = 0
    np.save(path / "train.detected.npy", values)
    np.save(path / "train.landmarks.npy", landmarks)
    rehash(path)
    report = check_corpus(path)
    train, test = report.splits["train"], report.splits["test"]
    assert (train.sentences, train.frames, train.lengths) == (2, 20, (8, 10.0, 12))
    assert (train.signers, train.glosses, train.tokens, train.unknown.total()) == (2, 2, 3, 0)
    assert train.detected == (1.0, 1.0, 1.0, 0.75)
    assert (test.signers, test.glosses, test.tokens) == (1, 3, 4)
    assert test.unknown == {"NEW": 2, "OTHER": 1}
    lines = list(report.lines())
    assert lines[0] == "tiny, 25 frames/s"
    assert lines[1].split()[:4] == ["split", "sentences", "frames", "hours"]
    assert (
        " ".join(lines[2].split())
        == "train 2 20 0.00 8 10.0 12 2 2 3 - 100.0 % 100.0 % 100.0 % 75.0 %"
    )
    assert " ".join(lines[4].split()).startswith("test 1 30 0.00 30 30.0 30 1 3 4 3 100.0 %")
    assert lines[-1] == "ok"
    assert warnings(path) == [
        "split 'test' has 2 glosses (3 of 4 tokens) that are not in train; "
        "each token is an error in WER: NEW, OTHER"
    ]


def test_a_changed_file_is_found_by_its_hash(tmp_path):
    path = write(tmp_path / "tiny")
    change(path, "dev.landmarks", (0, 40, 0), 0.123, hashes=False)
    assert problems(path) == ["dev.landmarks.npy was changed: its SHA-256 differs from corpus.json"]
    assert list(check_corpus(path).lines())[-1] == "broken: 1 problem"
    text = (path / "train.csv").read_text()
    (path / "train.csv").write_text(text.replace("HELLO", "HALLO"))
    assert any("train.csv was changed" in line for line in problems(path))


def test_changed_gloss_times_are_found_by_their_hash(tmp_path):
    with CorpusWriter(tmp_path / "tiny", name="tiny", fps=25, aspect_ratio=1.0, made_by={}) as w:
        w.split("train").add("s1", "anna", "HELLO WORLD", *recording(12, 0), [[0, 5], [5, 12]])
    assert check_corpus(tmp_path / "tiny").problem_count == 0
    change(tmp_path / "tiny", "train.times", (1, 0), 6, hashes=False)
    assert check_corpus(tmp_path / "tiny").problems == {
        "hash": ["train.times.npy was changed: its SHA-256 differs from corpus.json"]
    }


def test_missing_hashes_are_a_problem(tmp_path):
    path = write(tmp_path / "tiny")
    facts = json.loads((path / "corpus.json").read_text())
    facts["splits"]["train"]["sha256"] = None
    (path / "corpus.json").write_text(json.dumps(facts))
    assert len(problems(path)) == 3
    assert problems(path)[0] == "corpus.json has no SHA-256 of train.csv"


@pytest.mark.parametrize("file", ["train.landmarks.npy", "dev.detected.npy"])
def test_a_truncated_file_is_one_problem(tmp_path, file):
    path = write(tmp_path / "tiny")
    content = (path / file).read_bytes()
    (path / file).write_bytes(content[:-10])
    (line,) = problems(path)
    assert file in line
    assert "truncated" in line


def test_a_folder_that_cannot_be_opened_is_one_problem(tmp_path):
    (line,) = problems(tmp_path / "nowhere")
    assert "nowhere does not exist" in line
    assert list(check_corpus(tmp_path / "nowhere").lines())[-1] == "broken: 1 problem"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path, value):
    path = in_format_1(write(tmp_path / "tiny"))
    change(path, "train.landmarks", (12 + 3, 100, 2), value)
    assert problems(path) == ["train sentence 's2' has NaN or infinite landmarks in frame 3"]


@pytest.mark.filterwarnings("error")
def test_damaged_landmarks_give_no_warnings_of_numpy(tmp_path):
    """Random bytes have signalling NaN, of which numpy warns with the line of the source."""
    path = in_format_1(write(tmp_path / "tiny"))
    file = path / "train.landmarks.npy"
    stored = np.load(file)
    stored.view(np.uint16)[3:5] = 0x7C01  # such a NaN
    np.save(file, stored)
    rehash(path)
    assert "train sentence 's1' has NaN or infinite landmarks in 2 frames from 3 on" in (
        problems(path)
    )


@pytest.mark.parametrize("landmark", [7, 14, 24, 100, 510])
def test_coordinates_far_outside_the_image(tmp_path, landmark):
    path = in_format_1(write(tmp_path / "tiny"))
    change(path, "train.landmarks", (slice(2, 5), landmark, 1), 4.5)
    text = "train sentence 's1' has x or y far outside the image"
    assert warnings(path) == [f"{text} (4.5, expected -3 to 4) in 3 frames from 2 on"]
    assert problems(path) == []
    change(path, "train.landmarks", (slice(2, 5), landmark, 1), 3.9)
    assert warnings(path) == []
    change(path, "train.landmarks", (2, landmark, 0), -3.1)
    assert warnings(path) == [f"{text} (-3.1, expected -3 to 4) in frame 2"]
    change(path, "train.landmarks", (2, landmark, 0), -11)
    assert problems(path) == [f"{text} (-11, expected -10 to 11) in frame 2"]


@pytest.mark.parametrize("value", [4.6, 500])
def test_guessed_legs_do_not_matter(tmp_path, value):
    """Knees, ankles and feet of a webcam signer. No model reads them."""
    path = in_format_1(write(tmp_path / "tiny"))
    change(path, "train.landmarks", (slice(0, 9), slice(25, 33), slice(0, 2)), value)
    assert (problems(path), warnings(path)) == ([], [])


def test_a_corpus_whose_parts_are_out_of_order(tmp_path):
    with CorpusWriter(tmp_path / "odd", name="odd", fps=25, aspect_ratio=1, made_by={}) as writer:
        for number in range(4):
            landmarks, detected = recording(9, number)
            order = np.r_[501:543, 33:501, 0:33]  # hands, face, pose
            writer.split("train").add(f"s{number}", "anna", "A", landmarks[:, order], detected)
    (line,) = problems(tmp_path / "odd")
    assert line.startswith(
        "split 'train' does not hold image coordinates in MediaPipe's order: in 4 of 4 "
    )
    assert "the order pose, face, left hand, right hand" in line


def test_a_few_odd_sentences_are_a_warning(tmp_path):
    rows = [(f"s{number}", "anna", "A", 8) for number in range(5)]
    path = in_format_1(write(tmp_path / "tiny", {"train": rows}))
    change(path, "train.landmarks", (slice(16, 24), slice(522, 543), 0), 0.9)
    assert problems(path) == []
    (line,) = warnings(path)
    assert "split 'train' is unusual: in 1 of 5 recordings a hand is far from its wrist" in line
    assert "(s2; median nose" in line


def test_landmarks_that_jump_to_another_person(tmp_path):
    path = in_format_1(write(tmp_path / "tiny"))
    values = np.load(path / "train.landmarks.npy")[5:12]
    change(path, "train.landmarks", (slice(5, 12), slice(None), 0), values[..., 0] + 0.5)
    assert warnings(path) == [
        "train sentence 's1': the signer jumps by 1.7 body widths at frame 5; if another person is "
        "in the picture, cut the picture to the signer and extract it again"
    ]


def test_coordinates_far_outside_the_image_in_compressed_landmarks(tmp_path):
    landmarks, detected = recording(12, 0)
    landmarks[2:5, 7, 1], landmarks[:, 8, 2] = 4.5, -6.0
    landmarks[6, 33:501] = 0
    with CorpusWriter(tmp_path / "c", name="c", fps=25, aspect_ratio=1.0, made_by={}) as writer:
        writer.split("train").add("s1", "anna", "HELLO", landmarks, detected)
    assert problems(tmp_path / "c") == [
        "train sentence 's1': face is detected but all zero in frame 6"
    ]
    assert warnings(tmp_path / "c") == [
        "train sentence 's1' has x or y far outside the image (4.5, expected -3 to 4) "
        "in 3 frames from 2 on"
    ]


def test_a_large_depth_is_not_a_problem(tmp_path):
    path = in_format_1(write(tmp_path / "tiny"))
    change(path, "train.landmarks", (2, 7, 2), -6.0)
    assert problems(path) == []


def test_a_hand_with_values_that_was_not_detected(tmp_path):
    path = write(tmp_path / "tiny")
    change(path, "train.detected", (3, 2), False)
    assert problems(path) == [
        "train sentence 's1': left_hand is not detected but not zero in frame 3"
    ]


def test_a_face_of_zeros_that_was_detected(tmp_path):
    path = in_format_1(write(tmp_path / "tiny"))
    change(path, "dev.landmarks", (slice(0, 2), slice(33, 501)), 0)
    assert problems(path) == [
        "dev sentence 'd1': face is detected but all zero in 2 frames from 0 on"
    ]


def test_negative_zeros_count_as_zeros(tmp_path):
    path = in_format_1(write(tmp_path / "tiny"))
    change(path, "dev.landmarks", (0, slice(33, 501)), -0.0)
    change(path, "dev.detected", (0, 1), False)
    assert problems(path) == []


def test_an_empty_annotation(tmp_path):
    path = write(tmp_path / "tiny")
    (path / "train.csv").write_text("id|signer|frames|annotation\ns1|anna|12|HELLO\ns2|ben|8|\n")
    rehash(path)
    assert problems(path) == ["train sentence 's2' has an empty annotation"]


@pytest.mark.parametrize(
    ("annotation", "frames", "possible"),
    [
        ("A B C", 9, True),
        ("A B C", 8, False),
        ("A A", 9, True),
        ("A A", 8, False),
        ("A B A", 9, True),
        ("A", 1, True),
    ],
)
def test_sentences_that_ctc_cannot_align(tmp_path, annotation, frames, possible):
    """9 frames give ceil(9 / 4) = 3 steps; A A needs 3 steps, one of them for the blank."""
    path = write(tmp_path / "tiny", {"train": [("s1", "anna", annotation, frames)]})
    if possible:
        assert problems(path) == []
    else:
        count = len(annotation.split())
        assert problems(path) == [
            "train sentence 's1' cannot be aligned: it has 2 steps (8 frames), "
            f"its {count} glosses need 3"
        ]


def test_a_sentence_in_two_splits(tmp_path):
    path = write(
        tmp_path / "tiny", {"train": [("s1", "anna", "A", 8)], "dev": [("s1", "anna", "A", 8)]}
    )
    report = check_corpus(path)
    assert report.warnings["shared id"] == [
        "dev sentence 's1' is in split 'train' too: other recordings should have other ids"
    ]


def test_signers_whose_names_are_alike(tmp_path):
    rows = {"train": [("s1", "anna", "A", 8)], "dev": [("d1", "Anna", "A", 8)]}
    (warning,) = check_corpus(write(tmp_path / "tiny", rows)).warnings["signer names"]
    assert warning.startswith("the signers 'Anna' and 'anna' differ only in upper and lower case")
    rows["dev"] = [("d1", "anna", "A", 8)]
    assert "signer names" not in check_corpus(write(tmp_path / "fine", rows)).warnings


def test_a_recording_in_two_splits_under_another_id(tmp_path):
    rows = {"train": [("s1", "anna", "A", 8)], "dev": [("d1", "anna", "A", 8)]}
    path = write(tmp_path / "tiny", rows, same_landmarks=True)
    assert problems(path) == ["dev sentence 'd1' has the landmarks of train sentence 's1'"]


def test_a_recording_twice_in_one_split_is_a_warning(tmp_path):
    path = write(
        tmp_path / "tiny",
        {"train": [("s1", "anna", "A", 8), ("s2", "ben", "A", 8)]},
        same_landmarks=True,
    )
    assert problems(path) == []
    assert warnings(path) == ["train sentence 's2' has the landmarks of 's1' in the same split"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "nothing was detected"),
        ([1, 2, 3], "hands or face were detected, but no pose"),
        ([0, 1], "no hand was detected"),
    ],
)
def test_sentences_in_which_parts_were_never_detected(tmp_path, parts, message):
    detected = np.zeros((5, 4), dtype=bool)
    detected[2, parts] = True
    with CorpusWriter(tmp_path / "tiny", name="tiny", fps=25, aspect_ratio=1, made_by={}) as writer:
        writer.split("train").add("s1", "anna", "A", *recording(5, 0))
        writer.split("train").add("s2", "anna", "A", recording(5, 1)[0], detected)
    assert problems(tmp_path / "tiny") == []
    assert warnings(tmp_path / "tiny") == [f"train sentence 's2': {message} in any of its 5 frames"]


@pytest.mark.parametrize("parts", [[], [2, 3]])
def test_a_split_without_any_pose(tmp_path, parts):
    detected = np.zeros((5, 4), dtype=bool)
    detected[:, parts] = True
    with CorpusWriter(tmp_path / "tiny", name="tiny", fps=25, aspect_ratio=1, made_by={}) as writer:
        for number in range(2):
            writer.split("train").add(f"s{number}", "anna", "A", recording(5, number)[0], detected)
    (line,) = problems(tmp_path / "tiny")
    assert line.startswith("split 'train' has no detected pose in any of 2 recordings")


def test_splits_that_are_empty_or_missing(tmp_path):
    with CorpusWriter(
        tmp_path / "tiny", name="tiny", fps=25, aspect_ratio=1.0, made_by={}
    ) as writer:
        writer.split("dev")
    assert problems(tmp_path / "tiny") == [
        "split 'dev' has no sentences",
        "there is no split 'train': a vocabulary cannot be made",
    ]
    assert any(line.startswith("dev") for line in check_corpus(tmp_path / "tiny").lines())


def test_many_problems_of_one_kind_are_counted_and_not_all_listed(tmp_path):
    rows = [(f"s{number}", "anna", "A B C", 4) for number in range(MAX_LINES + 7)]
    report = check_corpus(write(tmp_path / "tiny", {"train": rows}))
    lines = [line for line in report.lines() if line.startswith("problem")]
    assert len(lines) == MAX_LINES + 1
    assert lines[-1] == "problem: ... and 7 more of this kind (alignment)"
    assert list(report.lines())[-1] == f"broken: {MAX_LINES + 7} problems"


def test_the_notes_tell_lengths_and_spare_ctc_steps(make_corpus, tmp_path):
    splits = {
        "train": [
            ("SUN RAIN WIND", 20),
            ("SUN SUN SUN", 24),
            ("SUN RAIN SUN RAIN SUN RAIN WIND", 61),
        ]
    }
    notes = list(check_corpus(make_corpus(tmp_path / "lengths", splits)).notes())
    assert notes == [
        "train: shortest 'train-00' (20), longest 'train-02' (61); "
        "fewest spare CTC steps in 'train-01': 6 steps, 5 needed",
        "train sentences by frames: 20-29: 2, 60-69: 1",
        "3 train sentences are few: a large model learns them by heart. See configs/small.yaml "
        "and 'Small corpora' in docs/data.md",
    ]
