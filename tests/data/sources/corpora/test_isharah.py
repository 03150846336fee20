"""Isharah's pickles of 86 points become corpora that models can use."""

import pickle

import numpy as np
import pytest
import torch

import prepare_data
from data.corpus import Corpus
from data.corpus_check import check_corpus
from data.features import compute_features
from data.landmarks import FACE_ROOT, LIPS_OUTER, MIRRORED, NOSE, PART_SLICES
from data.sources.corpora.isharah import LIPS, POINT_INDICES, import_isharah, read_points
from data.sources.corpora.safe_pickle import read_pickle
from errors import DataError, UsageError
from tests.data.isharah_files import SIZE, in_pixels, signer_with_lips, write_lists, write_pickle

SI = {
    "train": ["00_0001|سوال هو", "00_0002|هو معلم لغه اشاره", "03_0001|سوال  هو"],
    "dev": ["02_0001|سوال هو"],
    "test": ["08_0001", "08_0002"],
}
IDS = [row.split("|")[0] for rows in SI.values() for row in rows]


def recordings(size=SIZE, **changes: np.ndarray) -> dict[str, np.ndarray]:
    """A recording for each id of `SI`. changes: other recordings, by id with '_' before it."""
    made = {id: in_pixels(signer_with_lips(20, n), size) for n, id in enumerate(IDS)}
    return made | {name[1:]: points for name, points in changes.items()}


@pytest.fixture
def task(tmp_path):
    """Lists and the pickle of the signer-independent task."""
    write_lists(tmp_path / "SI", SI)
    write_pickle(tmp_path / "pose_SI.pkl", recordings())
    return tmp_path


def one_recording(tmp_path, points: np.ndarray):
    write_pickle(tmp_path / "one.pkl", {"a": points})
    return read_points(read_pickle(tmp_path / "one.pkl")["a"], "one.pkl: a", 30)


def test_the_86_points_are_those_of_the_starter_kit():
    assert (
        *(0, 17, 37, 39, 40, 61, 84, 91, 146, 181, 185, 267, 269, 270, 291, 314, 321, 375, 405),
    ) == LIPS
    assert len(LIPS) == 19 and set(LIPS_OUTER) - set(LIPS) == {409}
    assert POINT_INDICES[:42].tolist() == [*range(522, 543), *range(501, 522)]
    assert POINT_INDICES[42:61].tolist() == [33 + point for point in LIPS]
    assert POINT_INDICES[61:].tolist() == list(range(25)) and len(set(POINT_INDICES)) == 86


def test_a_task_becomes_a_corpus(task):
    import_isharah(task / "pose_SI.pkl", task / "SI", task / "out")
    corpus = Corpus(task / "out")
    assert {name: len(split) for name, split in corpus.splits.items()} == {
        "train": 3,
        "dev": 1,
        "test": 2,
    }
    train = corpus.split("train").sentences
    assert [(one.id, one.signer, one.glosses) for one in train] == [
        ("00_0001", "00", ("سوال", "هو")),
        ("00_0002", "00", ("هو", "معلم", "لغه", "اشاره")),
        ("03_0001", "03", ("سوال", "هو")),
    ]
    assert [one.glosses for one in corpus.split("test").sentences] == [(), ()]
    assert (corpus.fps, corpus.aspect_ratio) == (30, 1)
    assert corpus.facts["made_by"]["format"] == "isharah"
    assert check_corpus(task / "out").problem_count == 0


def test_points_keep_their_shape_in_square_pixels(tmp_path):
    signer = signer_with_lips(6)
    found = one_recording(tmp_path, in_pixels(signer))
    pixels = signer[:, POINT_INDICES, :2] * (1080, 1920)
    made = found.landmarks[:, POINT_INDICES, :2]
    scale = (made[0, 1] - made[0, 0]) / (pixels[0, 1] - pixels[0, 0])
    assert scale[0] == pytest.approx(scale[1], rel=1e-3)
    np.testing.assert_allclose(made, pixels * scale[0], atol=1e-4)
    assert found.detected.all() and (found.landmarks[..., 2] == 0).all()
    assert 0.9 < made[:, :42].max() <= 1


def test_points_that_the_layout_lacks_lie_at_the_nose(tmp_path):
    found = one_recording(tmp_path, in_pixels(signer_with_lips(6)))
    lacking = np.setdiff1d(np.arange(543), POINT_INDICES)
    assert FACE_ROOT in lacking and 33 + 409 in lacking and 27 in lacking
    nose = found.landmarks[:, NOSE]
    np.testing.assert_array_equal(found.landmarks[:, lacking], np.repeat(nose[:, None], 457, 1))


def test_lost_parts_are_undetected_and_other_parts_stay(tmp_path):
    points = in_pixels(signer_with_lips(6))
    points[1, :21] = points[2, 21:42] = points[3, 42:61] = points[4] = 0
    points[5, :21] = np.nan
    found = one_recording(tmp_path, points)
    expected = np.ones((6, 4), bool)
    expected[[1, 5], 3] = expected[2, 2] = expected[3, 1] = False
    expected[4] = False
    np.testing.assert_array_equal(found.detected, expected)
    assert (found.landmarks[3, PART_SLICES["face"]] == 0).all()
    assert (found.landmarks[4] == 0).all()


def test_a_frame_without_a_pose_may_have_zeros_or_nan_there(tmp_path):
    points = in_pixels(signer_with_lips(6))
    points[1, 61:] = 0
    points[2, 61:] = np.nan
    found = one_recording(tmp_path, points)
    assert found.detected[:, 0].tolist() == [True, False, False, True, True, True]
    assert found.detected[:, 1:].all() and np.isfinite(found.landmarks).all()


@pytest.mark.parametrize("nothing", [0, np.nan])
def test_a_recording_in_which_nobody_is_seen_is_kept_as_in_other_formats(task, nothing):
    nobody = np.full((9, 86, 2), nothing, np.float32)
    write_pickle(task / "pose_SI.pkl", recordings(_00_0002=nobody))
    import_isharah(task / "pose_SI.pkl", task / "SI", task / "out")
    landmarks, detected = Corpus(task / "out").split("train").read(1)
    assert len(landmarks) == 9 and not detected.any() and not landmarks.any()


def test_the_test_list_of_mslr_2025_is_found(task, capsys):
    for split in ("train", "dev"):
        (task / f"SI/{split}.csv").rename(task / f"SI/{split}.txt")
    (task / "SI/test.csv").rename(task / "SI/SI_test.txt")
    import_isharah(task / "pose_SI.pkl", task / "SI", task / "out")
    assert len(Corpus(task / "out").split("test")) == 2
    assert f"test: {task / 'SI/SI_test.txt'}" in capsys.readouterr().out


def test_ids_are_compared_in_one_unicode_form_and_printed_safely(task, capsys):
    for split in ("train", "dev", "test"):
        table = task / f"SI/{split}.csv"
        table.write_text(table.read_text("utf-8").replace("02_0001", "02_\u00e9"), "utf-8")
    made = recordings()
    made["02_e\u0301"] = made.pop("02_0001")
    made["x\x1b[31mRED\x07"] = made["08_0001"]
    write_pickle(task / "pose_SI.pkl", made)
    import_isharah(task / "pose_SI.pkl", task / "SI", task / "out")
    assert Corpus(task / "out").split("dev").sentences[0].id == "02_\u00e9"
    assert "(x\\x1b[31mRED\\x07)" in capsys.readouterr().out


def test_features_depend_on_neither_the_picture_nor_the_place(tmp_path):
    """The side of the square is not known exactly, and need not be."""
    signer = signer_with_lips(8)

    def features(points):
        found = one_recording(tmp_path, points)
        return compute_features(
            torch.tensor(found.landmarks)[None],
            torch.tensor(found.detected)[None],
            torch.tensor([8]),
            1.0,
        )

    reference = features(in_pixels(signer))
    moved = in_pixels(signer) + np.array([300, 150])
    np.testing.assert_allclose(features(moved), reference, atol=2e-4)
    np.testing.assert_allclose(features(2 * in_pixels(signer)), reference, atol=2e-4)
    # A point that is missing adds nothing: its position is that of the nose
    position = reference.view(8, 4, 543, 3)[:, 0]
    missing = 33 + 10
    np.testing.assert_allclose(position[:, missing], position[:, NOSE])
    assert MIRRORED[NOSE] == NOSE  # so mirrored sentences keep this


@pytest.mark.parametrize("size", [(1920, 1080), (720, 1280), (2160, 3840), (480, 480)])
def test_phones_of_any_size_are_read(task, size):
    write_pickle(task / "pose_SI.pkl", recordings(size))
    import_isharah(task / "pose_SI.pkl", task / "SI", task / "out")
    assert check_corpus(task / "out").problem_count == 0


def test_a_folder_of_pickles_and_numbers_as_ids(task):
    """The test pickle of 2025 numbers its recordings."""
    (task / "SI/test.csv").write_text("id|gloss\n1| \n2| \n")
    made = recordings()
    write_pickle(task / "pose_SI.pkl", {id: made[id] for id in IDS[:4]})
    content = {1: {"keypoints": made[IDS[4]]}, 2: {"keypoints": made[IDS[5]]}}
    (task / "test.pkl").write_bytes(pickle.dumps(content, 5))
    import_isharah(task, task / "SI", task / "out")
    assert [one.id for one in Corpus(task / "out").split("test").sentences] == ["1", "2"]


def test_recordings_without_a_list_are_left_out_by_name(task, capsys):
    write_pickle(task / "pose_SI.pkl", recordings(_17_0001=in_pixels(signer_with_lips(9))))
    import_isharah(task / "pose_SI.pkl", task / "SI", task / "out")
    assert "1 of 7 recordings (17_0001)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.ones((5, 85, 2), np.float32), r"shape \(5, 85, 2\), expected \(T, 86, 2\)"),
        (np.ones((5, 172), np.float32), r"shape \(5, 172\), expected \(T, 86, 2\)"),
        (np.zeros((0, 86, 2), np.float32), "has no frames"),
        (signer_with_lips(5)[:, POINT_INDICES, :2], "expected pixels: multiply fractions"),
        (None, "has no array 'keypoints'"),
    ],
)
def test_unusable_recordings_are_named(task, points, message, capsys):
    write_pickle(task / "pose_SI.pkl", recordings(_00_0002=points))
    with pytest.raises(DataError, match=f"00_0002 .*{message}"):
        import_isharah(task / "pose_SI.pkl", task / "SI", task / "out")
    assert not (task / "out").exists()
    import_isharah(task / "pose_SI.pkl", task / "SI", task / "out", skip_bad=True)
    assert "bad sentence: train sentence 00_0002" in capsys.readouterr().out
    assert len(Corpus(task / "out").split("train")) == 2


def test_missing_recordings_are_named(task):
    made = recordings()
    del made["02_0001"]
    write_pickle(task / "pose_SI.pkl", made)
    with pytest.raises(DataError, match=r"1 of 1 dev sentences \(02_0001\); dev must be complete"):
        import_isharah(task / "pose_SI.pkl", task / "SI", task / "out", skip_bad=True)


def test_missing_train_recordings_may_be_left_out(task, capsys):
    made = recordings()
    del made["00_0002"]
    write_pickle(task / "pose_SI.pkl", made)
    with pytest.raises(DataError, match=r"1 of 3 train sentences \(00_0002\); --skip_bad leaves"):
        import_isharah(task / "pose_SI.pkl", task / "SI", task / "out")
    import_isharah(task / "pose_SI.pkl", task / "SI", task / "out", skip_bad=True)
    assert "bad sentence: train sentence 00_0002: " in capsys.readouterr().out
    assert len(Corpus(task / "out").split("train")) == 2


def test_a_test_list_without_any_recording_is_left_out(task, capsys):
    """The lists come with the test list, but not everybody has its pickle."""
    made = recordings()
    del made["08_0001"]
    write_pickle(task / "pose_SI.pkl", made)
    with pytest.raises(DataError, match=r"1 of 2 test sentences \(08_0001\); test must be"):
        import_isharah(task / "pose_SI.pkl", task / "SI", task / "out")
    del made["08_0002"]
    write_pickle(task / "pose_SI.pkl", made)
    import_isharah(task / "pose_SI.pkl", task / "SI", task / "out")
    assert list(Corpus(task / "out").splits) == ["train", "dev"]
    assert "test is left out" in capsys.readouterr().out


def test_other_orders_of_the_points_are_refused(task):
    """Lips in the order around the mouth; the pose before the hands."""
    around = [LIPS.index(point) for point in LIPS_OUTER if point in LIPS]
    lips = np.r_[0:42, 42 + np.array(around), 61:86]
    for order in (lips, np.r_[61:86, 0:61]):
        made = {id: points[:, order] for id, points in recordings().items()}
        write_pickle(task / "pose_SI.pkl", made)
        with pytest.raises(DataError, match="the layout is another one"):
            import_isharah(task / "pose_SI.pkl", task / "SI", task / "out")
        assert not (task / "out").exists()


def test_exchanged_hands_are_named(task, capsys):
    """As in every format, they are an error in five recordings and more."""
    exchanged = np.r_[21:42, 0:21, 42:86]
    made = {id: points[:, exchanged] for id, points in recordings().items()}
    write_pickle(task / "pose_SI.pkl", made)
    import_isharah(task / "pose_SI.pkl", task / "SI", task / "out")
    assert "exchange the two hands" in capsys.readouterr().err


def test_a_recording_in_two_files_is_refused(task):
    write_pickle(task / "again.pkl", {"00_0001": in_pixels(signer_with_lips(5))})
    with pytest.raises(DataError, match=r"00_0001 is in .*again\.pkl and in .*pose_SI\.pkl"):
        import_isharah(task, task / "SI", task / "out")


@pytest.mark.parametrize("content", [[1, 2], {}, "text", None])
def test_pickles_of_other_values_are_refused(task, content):
    (task / "pose_SI.pkl").write_bytes(pickle.dumps(content, 4))
    with pytest.raises(DataError, match="holds no recordings: expected a dict"):
        import_isharah(task / "pose_SI.pkl", task / "SI", task / "out")


def test_a_folder_without_pickles_is_named(task):
    with pytest.raises(DataError, match=r"has no \.pkl file"):
        import_isharah(task / "SI", task / "SI", task / "out")


def test_the_command_says_what_it_assumes(task, capsys):
    words = ["import", "--format", "isharah", "--input", str(task / "pose_SI.pkl")]
    words += ["--annotations", str(task / "SI"), "--output", str(task / "out")]
    assert prepare_data.main(words) == 0
    out = capsys.readouterr().out
    assert "assumed: 30 frames/s (--fps)" in out
    assert "test: 2 sentences without glosses: they can be predicted" in out
    for option, value in (("--aspect_ratio", "1.3"), ("--normalize", "phoenix2014")):
        with pytest.raises(UsageError, match=f"{option} has no effect with --format isharah"):
            prepare_data.main([*words, option, value])
    with pytest.raises(UsageError, match="needs --annotations"):
        prepare_data.main([*words[:5], *words[7:]])


def test_another_rate_is_resampled(task):
    import_isharah(task / "pose_SI.pkl", task / "SI", task / "out", fps=60, resample_fps=30)
    corpus = Corpus(task / "out")
    assert corpus.fps == 30 and corpus.split("dev").lengths.tolist() == [10]
