"""The skeleton and the glosses on a video, and the fonts of the letters."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import ImageFont

from data.landmarks import LEFT_SHOULDER, LEFT_WRIST, PART_SLICES, RIGHT_SHOULDER
from data.sources.holistic import missing_library
from errors import DataError
from reports import video_overlay as overlay
from reports.video_overlay import OverlayWriter, draw_skeleton_on_picture


@pytest.fixture(scope="session")
def cv2():
    try:
        import cv2
    except ImportError as error:
        pytest.skip(missing_library(error))
    return cv2


BLACK = np.zeros((120, 160, 3), np.uint8)


def landmarks() -> np.ndarray:
    points = np.full((543, 3), 0.5, np.float16)
    points[LEFT_SHOULDER, :2], points[RIGHT_SHOULDER, :2] = (0.75, 0.25), (0.25, 0.25)
    points[LEFT_WRIST, :2] = 0.9
    return points


def test_lines_are_where_the_landmarks_are(cv2):
    drawn = draw_skeleton_on_picture(BLACK, landmarks(), np.array([True, False, False, False]))
    assert drawn[30, 40:121].any(axis=1).all()  # from shoulder to shoulder
    assert not drawn[:20].any() and not BLACK.any()


@pytest.mark.parametrize(
    ("part", "column"), [("pose", 0), ("face", 1), ("left_hand", 2), ("right_hand", 3)]
)
def test_only_detected_parts_are_drawn(cv2, part, column):
    points = np.zeros((543, 3), np.float16)
    points[PART_SLICES[part], :2] = np.random.default_rng(0).uniform(
        0.2, 0.8, size=points[PART_SLICES[part], :2].shape
    )
    seen = np.zeros(4, bool)
    assert not draw_skeleton_on_picture(BLACK, points, seen).any()
    seen[column] = True
    assert draw_skeleton_on_picture(BLACK, points, seen).any()
    # The points of the other parts are all in the corner
    assert not draw_skeleton_on_picture(BLACK, points, ~seen)[20:, 30:].any()


def read_video(cv2, path) -> tuple[list[np.ndarray], float]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        read, frame = capture.read()
        if not read:
            return frames, capture.get(cv2.CAP_PROP_FPS)
        frames.append(frame)


def test_a_video_of_uneven_frames_plays_at_its_own_speed(cv2, tmp_path):
    path = tmp_path / "new folder" / "a b.mp4"
    with OverlayWriter(path, 10.0) as writer:
        for time, level in ((0.0, 0), (0.1, 60), (0.5, 120), (0.9, 250)):
            writer.write(time, np.full_like(BLACK, level), landmarks(), np.zeros(4, bool), [])
        assert not path.exists()  # the file appears when it is complete
    frames, fps = read_video(cv2, path)
    assert fps == 10 and len(frames) == 10
    np.testing.assert_allclose(
        [frame.mean() for frame in frames], [0, 60, *[120] * 4, *[250] * 4], atol=4
    )
    assert [path.name for path in path.parent.iterdir()] == ["a b.mp4"]


@pytest.mark.parametrize(
    ("fps", "written"),
    [
        (25.0, 25.0),
        (30000 / 1001, 29.97),
        (23.976, 23.976),
        (59.94, 59.94),
        (119.193, 119.19),  # 119193 / 1000 is too large for MPEG-4's 16 bits
        (239.7612, 239.76),
        (99.999, 100.0),
        (999.999, 1000.0),
        (90000.0, 65535.0),
    ],
)
def test_the_rate_of_a_recording_becomes_one_that_can_be_written(cv2, tmp_path, fps, written):
    assert overlay.writable_rate(fps) == written
    with OverlayWriter(tmp_path / "x.mp4", fps) as writer:
        for frame in range(4):
            writer.write(frame / written, BLACK, landmarks(), np.zeros(4, bool), [])
    frames, rate = read_video(cv2, tmp_path / "x.mp4")
    assert rate == pytest.approx(written, abs=1e-3) and len(frames) == 4


def test_a_picture_of_another_size_is_not_left_out(cv2, tmp_path):
    with OverlayWriter(tmp_path / "x.mp4", 10.0) as writer:
        for number, picture in enumerate((BLACK, np.full((60, 200, 3), 200, np.uint8))):
            writer.write(number / 10, picture, landmarks(), np.zeros(4, bool), [])
    frames, _ = read_video(cv2, tmp_path / "x.mp4")
    assert [round(frame.mean(), -1) for frame in frames] == [0, 200]


def test_a_link_stays_and_its_file_is_replaced(cv2, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "real.mp4").write_bytes(b"old")
    (tmp_path / "x.mp4").symlink_to(tmp_path / "disk" / "real.mp4")
    with OverlayWriter(tmp_path / "x.mp4", 10.0) as writer:
        writer.write(0.0, BLACK, landmarks(), np.zeros(4, bool), [])
    assert (tmp_path / "x.mp4").is_symlink() and len(read_video(cv2, tmp_path / "x.mp4")[0]) == 1


def test_a_users_partial_file_is_kept(cv2, tmp_path):
    (tmp_path / "x.partial.mp4").write_bytes(b"mine")
    with OverlayWriter(tmp_path / "x.mp4", 10.0) as writer:
        writer.write(0.0, BLACK, landmarks(), np.zeros(4, bool), [])
    assert (tmp_path / "x.partial.mp4").read_bytes() == b"mine"


def test_a_repeat_replaces_what_a_killed_process_left(cv2, tmp_path):
    with OverlayWriter(tmp_path / "x.mp4", 10.0) as killed:
        killed.begin(BLACK)
        (left,) = tmp_path.iterdir()
    left.write_bytes(b"left by a killed process")
    with OverlayWriter(tmp_path / "x.mp4", 10.0) as writer:
        writer.write(0.0, BLACK, landmarks(), np.zeros(4, bool), [])
    assert [file.name for file in tmp_path.iterdir()] == ["x.mp4"]


def test_a_video_that_cannot_be_opened_tells_the_space_that_is_free(cv2, tmp_path, monkeypatch):
    class NotOpened:
        fourcc = staticmethod(cv2.VideoWriter.fourcc)

        def __init__(self, *_):
            pass

        def isOpened(self) -> bool:  # noqa: N802
            return False

    monkeypatch.setattr(cv2, "VideoWriter", NotOpened)
    free = SimpleNamespace(free=2**19)
    monkeypatch.setattr("reports.video_overlay.shutil.disk_usage", lambda _: free)
    with pytest.raises(DataError, match=r"as a video of 160x120 .*; 0\.5 MiB are free there"):
        OverlayWriter(tmp_path / "x.mp4", 10.0).begin(BLACK)


def test_a_failed_overlay_leaves_no_file(cv2, tmp_path):
    with pytest.raises(RuntimeError), OverlayWriter(tmp_path / "x.mp4", 10.0) as writer:
        writer.write(0.0, BLACK, landmarks(), np.zeros(4, bool), [])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def caption(
    tmp_path, *glosses: tuple[str, bool], note: str = ""
) -> tuple[np.ndarray, OverlayWriter]:
    """The picture of a caption, without video compression."""
    writer = OverlayWriter(tmp_path / "x.mp4", 10.0, note)
    return writer._draw_caption(np.full((360, 480, 3), 128, np.uint8), glosses), writer


def test_the_gloss_that_is_being_signed_has_another_colour(tmp_path):
    drawn, writer = caption(tmp_path, ("HOUSE", False), ("SÜSS", True))
    assert (drawn[:300] == 128).all() and not writer.missing
    white, yellow = (drawn == 255).all(2), (drawn == overlay.SIGNING[::-1]).all(2)
    assert white.any() and yellow.any()
    assert np.flatnonzero(white.any(0)).max() < np.flatnonzero(yellow.any(0)).min()


def test_glosses_of_a_script_that_is_read_from_the_right_begin_there(tmp_path):
    drawn, _ = caption(tmp_path, ("معلم", False), ("هو", True))
    white, yellow = (drawn == 255).all(2), (drawn == overlay.SIGNING[::-1]).all(2)
    assert np.flatnonzero(white.any(0)).min() > np.flatnonzero(yellow.any(0)).max()


def test_the_last_glosses_that_fit_are_shown(tmp_path):
    many = [(f"GLOSS{number}", False) for number in range(40)]
    drawn, _ = caption(tmp_path, *many)
    np.testing.assert_array_equal(drawn, caption(tmp_path, *many[-6:])[0])  # five do not fit
    columns = np.flatnonzero((drawn == 255).all(2).any(0))
    assert columns.min() > 0 and columns.max() < 480


def test_a_note_is_in_the_corner(tmp_path):
    drawn, _ = caption(tmp_path, note="trained on simulated signers")
    changed = np.argwhere((drawn != 128).any(2))
    assert len(changed) and changed[:, 0].max() < 40


def test_letters_that_no_font_has_become_boxes_and_are_reported(tmp_path, monkeypatch):
    overlay._font_file.cache_clear()
    monkeypatch.setattr(overlay, "_installed_fonts", lambda: ())
    drawn, writer = caption(tmp_path, ("你好", False))
    assert writer.missing == {"你", "好"}
    np.testing.assert_array_equal(drawn, caption(tmp_path, ("□□", False))[0])
    overlay._font_file.cache_clear()


def test_an_installed_font_that_has_the_letters_is_used(monkeypatch, tmp_path):
    overlay._font_file.cache_clear()
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    # This font stands in for an installed font: it has letters that DejaVu Sans lacks
    serif = overlay._default_font().replace("DejaVuSans.ttf", "STIXGeneral.ttf")
    letter = next(
        chr(code)
        for code in sorted(overlay._characters(serif))
        if not overlay._lacking(serif, chr(code))
        and overlay._lacking(overlay._default_font(), chr(code))
    )
    monkeypatch.setattr(overlay, "_installed_fonts", lambda: (str(broken), serif))
    assert overlay._font_file(letter) == (serif, frozenset())
    assert overlay._font_file("ÄÖÜß") == (overlay._default_font(), frozenset())
    overlay._font_file.cache_clear()


def test_the_default_font_needs_no_installed_fonts():
    assert ImageFont.truetype(overlay._default_font(), 20).getname()[0] == "DejaVu Sans"


def test_a_file_that_is_not_complete_replaces_nothing(cv2, tmp_path):
    """OpenCV does not tell of a full disk. Here 10 frames are said to be written."""
    (tmp_path / "x.mp4").write_bytes(b"an older overlay")
    message = r"cannot write .*x\.mp4: 1 of 10 frames can be read; is the disk full\?"
    with pytest.raises(DataError, match=message), OverlayWriter(tmp_path / "x.mp4", 10.0) as writer:
        writer.write(0.0, BLACK, landmarks(), np.zeros(4, bool), [])
        writer._written = 10
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]
    assert (tmp_path / "x.mp4").read_bytes() == b"an older overlay"


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_not_utf_8_is_refused(cv2, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    folder = path.parent / os.fsdecode(b"caf\xe9")
    with pytest.raises(DataError, match="needs a path in UTF-8"):
        OverlayWriter(folder / "x.mp4", 10.0).begin(BLACK)
    with OverlayWriter(path, 10.0) as writer:  # the name itself is given at the end
        writer.write(0.0, BLACK, landmarks(), np.zeros(4, bool), [])
    assert path.is_file()
