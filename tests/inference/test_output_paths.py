"""No transcript and no overlay replaces a file of the user's, and none replaces another."""

import os
from pathlib import Path

import pytest

from data.sources.video_files import RecordingFile
from errors import DataError, UsageError
from inference import output_paths
from inference.output_paths import check_camera_outputs, choose_output_paths


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recordings(*names: str) -> list[RecordingFile]:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        if Path(name).suffix:
            Path(name).write_bytes(b"a recording")
    return [RecordingFile(Path(name), (Path(name).stem,)) for name in names]


def choose(files, output=None, overlay=None, format="eaf", several=None, **options):
    output, overlay = (None if given is None else Path(given) for given in (output, overlay))
    several = len(files) > 1 if several is None else several
    return choose_output_paths(files, format, output, overlay, several, **options)


@pytest.mark.parametrize("format", ["text", "json", "srt", "vtt", "eaf"])
def test_every_recording_gets_a_file_of_its_own(folder, format):
    suffix = "txt" if format == "text" else format
    chosen = choose(recordings("a.mp4", "b.mp4"), "out", "seen", format)
    assert [[str(path) for path in paths.files] for paths in chosen] == [
        [f"out/{name}.{suffix}", f"seen/{name}.mp4"] for name in "ab"
    ]
    assert not Path("out").exists()


def test_a_folder_is_made_for_a_folder_of_one_recording_and_for_a_slash(folder):
    files = recordings("a.mp4")
    (paths,) = choose(files, "out", "seen", to_folders=True)
    assert paths.files == [Path("out/a.eaf"), Path("seen/a.mp4")]
    (paths,) = choose_output_paths(files, "eaf", "out/", Path("seen.mp4"), several=False)
    assert paths.files == [Path("out/a.eaf"), Path("seen.mp4")]


@pytest.mark.parametrize("format", ["text", "json", "srt", "vtt", "eaf"])
def test_a_name_with_the_ending_of_the_format_is_a_file(folder, format):
    """Also where the command line names a folder, unless a folder has that name."""
    name = f"o.{'txt' if format == 'text' else format}"
    files = recordings("a.mp4", "b.mp4")
    (paths,) = choose(files[:1], name, "seen.MP4", format, to_folders=True)
    assert paths.files == [Path(name), Path("seen.MP4")]
    for chosen, several in ((files, True), (files[:1], True)):  # b.mp4 cannot be read
        for options in ({"output": name}, {"overlay": "seen.mp4"}):
            with pytest.raises(UsageError, match=r"is the name of a file, but several .* without"):
                choose(chosen, format=format, several=several, **{"output": "out"} | options)
    (paths,) = choose_output_paths(files[:1], format, f"{name}/", None, several=False)
    assert paths.transcript.parent == Path(name)
    Path(name).mkdir()
    assert [paths.transcript.parent for paths in choose(files, name, None, format)] == [
        Path(name)
    ] * 2


def test_recordings_whose_files_exist_are_left_out(folder):
    files = recordings("a.mp4", "b.mp4", "c.mp4")
    Path("out").mkdir()
    Path("seen").mkdir()
    for name in ("out/a.eaf", "seen/a.mp4", "out/b.eaf"):
        Path(name).write_text("x")
    with pytest.raises(UsageError, match=r"--overwrite to replace it, or --skip_existing to leave"):
        choose(files, "out")
    with pytest.raises(UsageError, match=r"--overwrite to replace it$"):
        choose(files[:1], "out")
    first, second, third = choose(files, "out", skip_existing=True)
    assert first is None and second is None and third.transcript == Path("out/c.eaf")
    half = r"out/b\.eaf exists and seen/b\.mp4 does not, .* in part: move out/b\.eaf away, or"
    with pytest.raises(UsageError, match=half):
        choose(files, "out", "seen", skip_existing=True)
    Path("out/b.eaf").unlink()
    chosen = choose(files, "out", "seen", skip_existing=True)
    assert [paths is None for paths in chosen] == [True, False, False]
    assert Path("out/a.eaf").read_text() == "x"


def test_two_recordings_of_one_name_are_refused(folder):
    both = r"clip\.mp4 and clip\.mov would both be written to out/clip\.eaf: rename one of them"
    files = recordings("clip.mp4", "clip.mov")
    Path("out").mkdir()
    Path("out/clip.eaf").write_text("of the first one")
    for options in ({"skip_existing": True}, {"overwrite": True}):
        with pytest.raises(UsageError, match=both):
            choose(files, "out", **options)
    with pytest.raises(UsageError, match=r"would both be written to seen/clip\.mp4"):
        choose(files, None, "seen", "text")


def test_names_that_differ_in_case_only_are_one_file_on_some_disks(folder, monkeypatch):
    files = recordings("Clip.mp4", "clip.mov", "caf\u00e9.mp4", "cafe\u0301.mov")
    monkeypatch.setattr(output_paths, "ignores_case", lambda folder: False)
    assert len(choose(files, "out")) == 4
    monkeypatch.setattr(output_paths, "ignores_case", lambda folder: True)
    for pair in (files[:2], files[2:]):
        with pytest.raises(UsageError, match="would both be written to"):
            choose(pair, "out")


def test_a_link_to_a_folder_is_that_folder(folder):
    recordings("a.mp4")
    Path("real").mkdir()
    Path("link").symlink_to("real")
    with pytest.raises(UsageError, match="--output and --overlay would both be written to"):
        choose(recordings("a.mp4"), "real/x.mp4", "link/x.mp4")


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_never_replaced(folder, overwrite):
    files = recordings("a.mp4", "videos/b.mp4", "frames/0001.png")
    frames = RecordingFile(Path("frames"), ("frames",))
    Path("link.mp4").symlink_to("a.mp4")
    model = Path("model.pth")
    model.write_bytes(b"weights")
    cases = [
        (files[:1], {"overlay": "a.mp4"}, "a.mp4"),
        (files[:1], {"overlay": "link.mp4"}, "a.mp4"),
        (files[:2], {"overlay": "videos"}, "videos/b.mp4"),
        ([frames], {"output": "frames/0001.png"}, "frames"),
        (files[:1], {"output": "model.pth"}, "model.pth"),
    ]
    for chosen, options, replaced in cases:
        with pytest.raises(UsageError, match=rf"would replace the input {replaced}: choose"):
            choose(chosen, format="text", overwrite=overwrite, model_files=[model], **options)
    with pytest.raises(UsageError, match=r"model\.pth would replace the input"):
        check_camera_outputs(Path("model.pth"), None, overwrite, [Path("model.pth")])


def test_a_hard_link_to_the_input_is_a_file_that_exists(folder):
    files = recordings("a.mp4")
    os.link("a.mp4", "same.mp4")
    with pytest.raises(UsageError, match=r"same\.mp4 already exists"):
        choose(files, overlay="same.mp4")


def test_an_output_folder_that_is_a_file_is_refused(folder):
    files = recordings("a.mp4", "b.mp4")
    Path("notes").write_text("mine")
    for options in ({}, {"overwrite": True}):
        with pytest.raises(DataError, match=r"cannot write .*notes/a\.eaf: .*notes is not a fold"):
            choose(files, "notes", **options)


def test_a_camera_needs_the_name_of_a_file(folder):
    Path("out").mkdir()
    check_camera_outputs(Path("out/x.txt"), Path("out/x.mp4"), False, [Path("model.pth")])
    with pytest.raises(UsageError, match="out is a folder: expected the name of a file"):
        check_camera_outputs(Path("out"), None, True, [Path("model.pth")])
    with pytest.raises(UsageError, match="--output and --overlay would both be written"):
        check_camera_outputs(Path("x.mp4"), Path("./x.mp4"), False, [Path("model.pth")])
