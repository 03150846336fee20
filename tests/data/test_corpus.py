"""Opening a corpus folder: it is read back as it was written, and damaged ones are refused."""

import gc
import json
import re
import shlex

import numpy as np
import pytest

import prepare_data
from data.corpus import Corpus
from data.corpus_writer import CorpusWriter
from data.ctc_lengths import required_steps
from data.sentences import CSV_HEADER, check_sentence, many_objects, read_sentences
from errors import DataError
from tests.data.small_corpus import FACTS, as_stored, in_format_1, recording, write_corpus


def test_a_written_corpus_is_read_back_unchanged(tmp_path):
    corpus = Corpus(write_corpus(tmp_path / "tiny"))
    assert (corpus.name, corpus.fps, corpus.aspect_ratio) == ("tiny", 25.0, 4 / 3)
    assert list(corpus.splits) == ["train", "dev"]
    train = corpus.split("train")
    assert len(train) == 2
    assert [(s.id, s.signer, s.frames, s.glosses) for s in train.sentences] == [
        ("s1", "anna", 5, ("HELLO", "WORLD")),
        ("s2", "ben", 3, ("WORLD",)),
    ]
    for index, frames in enumerate((5, 3)):
        landmarks, detected = train.read(index)
        np.testing.assert_array_equal(landmarks, as_stored(recording(frames, index)[0]))
        np.testing.assert_allclose(landmarks, recording(frames, index)[0], rtol=0, atol=1.3e-4)
        assert landmarks.dtype == np.float32
        assert detected.shape == (frames, 4)
        assert detected.all()


def test_a_corpus_of_format_1_is_read_as_it_was_written(tmp_path):
    landmarks, detected = recording(5, 0)
    detected[2, 1] = False
    landmarks[2, 33:501] = 0
    with CorpusWriter(tmp_path / "old", **FACTS) as writer:
        writer.split("train").add("s1", "anna", "HELLO", landmarks, detected)
    in_format_1(tmp_path / "old")
    np.save(tmp_path / "old" / "train.landmarks.npy", landmarks.astype("<f2"))
    read, _ = Corpus(tmp_path / "old").split("train").read(0)
    assert read.dtype == np.float16
    np.testing.assert_array_equal(read, landmarks.astype(np.float16))


def test_the_format_version_decides_how_numbers_are_read(tmp_path):
    """int16 numbers in a folder that claims format 1, and float16 ones in one of format 2."""
    path = write_corpus(tmp_path / "tiny")
    text = (path / "corpus.json").read_text()
    (path / "corpus.json").write_text(text.replace('"format_version": 2', '"format_version": 1'))
    with pytest.raises(DataError, match=r"holds int16 \(8, 543, 3\), expected float16"):
        Corpus(path)
    (path / "corpus.json").write_text(text)
    in_format_1(path)
    (path / "corpus.json").write_text(text)
    with pytest.raises(DataError, match=r"holds float16 \(8, 543, 3\), expected int16"):
        Corpus(path)


def test_a_folder_that_is_not_a_corpus_is_refused(tmp_path):
    with pytest.raises(DataError, match="nothing does not exist: expected a corpus folder"):
        Corpus(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"has no corpus\.json"):
        Corpus(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable corpus description"),
        ("[]", "not a readable corpus description"),
        pytest.param("[" * 100_000, "not a readable corpus description", id="nested too deep"),
        ("\udcff", "not a readable corpus description"),
    ],
)
def test_an_unreadable_corpus_json_is_refused(tmp_path, text, message):
    path = write_corpus(tmp_path / "tiny")
    (path / "corpus.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message):
        Corpus(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"format_version": 3},
            "format 3, layout mediapipe_holistic_543; this program",
        ),
        ({"format_version": [2]}, "format [2]"),
        ({"layout": "openpose_25"}, "layout openpose_25"),
        ({"fps": "fast"}, "not a readable corpus description"),
        ({"fps": 0}, "not plausible"),
        ({"aspect_ratio": float("nan")}, "not plausible"),
        ({"splits": {"../train": {}}}, "'../train' is not a split"),
        ({"splits": {"train": 3}}, "'train' is not a split"),
        ({"splits": {"test": {}}}, "test.landmarks.npy is missing"),
    ],
)
def test_wrong_values_in_corpus_json_are_refused(tmp_path, change, message):
    path = write_corpus(tmp_path / "tiny")
    facts = json.loads((path / "corpus.json").read_text())
    (path / "corpus.json").write_text(json.dumps(facts | change))
    with pytest.raises(DataError, match=re.escape(message)):
        Corpus(path)


def test_counts_must_match_corpus_json(tmp_path):
    path = write_corpus(tmp_path / "tiny")
    text = (path / "train.csv").read_text()
    (path / "train.csv").write_text(text.replace("s2|ben|3", "s2|ben|4"))
    with pytest.raises(DataError, match=r"split 'train' has 9 frames, but corpus\.json lists 8"):
        Corpus(path)
    (path / "train.csv").write_text(text.replace("s2|ben|3|WORLD\n", ""))
    with pytest.raises(DataError, match=r"split 'train' has 1 sentences, but corpus\.json lists 2"):
        Corpus(path)


def test_a_missing_or_empty_split_is_reported_by_name(tmp_path):
    corpus = Corpus(write_corpus(tmp_path / "tiny", {"train": [("s1", "anna", "X", 3)], "dev": []}))
    assert corpus.splits["dev"].landmarks.shape == (0, 543, 3)
    with pytest.raises(DataError, match="split 'dev' is empty"):
        corpus.split("dev")
    with pytest.raises(DataError, match=re.escape("has no split 'test' (it has: train, dev)")):
        corpus.split("test")


def test_a_subset_has_only_the_chosen_sentences(tmp_path):
    subset = Corpus(write_corpus(tmp_path / "tiny")).split("train").subset([1])
    assert [sentence.id for sentence in subset.sentences] == ["s2"]
    np.testing.assert_array_equal(subset.read(0)[0], as_stored(recording(3, 1)[0]))


def test_the_description_tells_the_origin_of_the_corpus(tmp_path):
    with CorpusWriter(tmp_path / "a", **FACTS, simulated=True, composed=True) as writer:
        writer.split("train").add("s1", "anna", "X", *recording(2))
    assert Corpus(tmp_path / "a").describe() == "tiny (simulated signers, composed)"
    assert Corpus(write_corpus(tmp_path / "b")).describe() == "tiny"


def test_the_fingerprint_changes_with_any_value(tmp_path):
    first = Corpus(write_corpus(tmp_path / "a")).fingerprint
    assert Corpus(write_corpus(tmp_path / "b")).fingerprint == first
    with CorpusWriter(tmp_path / "c", **FACTS) as writer:
        writer.split("train").add("s1", "anna", "X", *recording(2))
    assert Corpus(tmp_path / "c").fingerprint != first


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("id|signer|annotation\n", "line 1: expected the header"),
        ("", "line 1: expected the header"),
        (
            "id|signer|frames|annotation\ns1|anna|3\n",
            "line 2: expected id|signer|frames|annotation",
        ),
        ("id|signer|frames|annotation\ns1|anna|3|X\ns2|anna|-1|X\n", "line 3"),
        ("id|signer|frames|annotation\ns1|anna|-3|X\n", "line 2"),
        pytest.param(
            "id|signer|frames|annotation\ns1|anna|" + "9" * 5000 + "|X\n",
            "line 2",
            id="5000 digits",
        ),
        (
            "id|signer|frames|annotation\ns1|anna|3|X\ns1|ben|4|Y\n",
            "line 3: the id 's1' is already in use",
        ),
    ],
)
def test_csv_errors_name_file_and_line(tmp_path, rows, message):
    (tmp_path / "train.csv").write_text(rows)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_sentences(tmp_path / "train.csv")
    assert str(tmp_path / "train.csv") in str(caught.value)


def test_a_csv_that_is_missing_or_not_utf8_is_refused(tmp_path):
    (tmp_path / "train.csv").write_bytes(b"id|signer|frames|annotation\ns1|J\xfcrgen|3|X\n")
    with pytest.raises(DataError, match="cannot be read as UTF-8"):
        read_sentences(tmp_path / "train.csv")
    with pytest.raises(DataError, match=r"dev\.csv is missing"):
        read_sentences(tmp_path / "dev.csv")


def test_a_csv_with_commands_for_the_terminal_is_refused(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("id|signer|frames|annotation\ns1|anna|3|\x1b[2JX\n")
    with pytest.raises(
        DataError, match=r"train\.csv line 2: a tab or another unprintable character"
    ) as refused:
        read_sentences(path)
    assert "\x1b" not in str(refused.value)
    # Beside characters that are usable, and behind good lines
    path.write_text(
        "id|signer|frames|annotation\ns1|anna|3|می\u200cخواهم\ns2|anna|3|X\u2066Y\n",
        encoding="utf-8",
    )
    with pytest.raises(DataError, match=r"line 3: .*LEFT-TO-RIGHT ISOLATE"):
        read_sentences(path)


def test_glosses_have_one_unicode_form_and_ids_stay_as_they_are(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(
        "id|signer|frames|annotation\ns1|anna|3|GR\u00dcN\nu\u0308|anna|3|X GRU\u0308N\n",
        encoding="utf-8",
    )
    first, second = read_sentences(path)
    assert first.glosses == ("GR\u00dcN",) and second.glosses == ("X", "GR\u00dcN")
    assert second.id == "u\u0308"


def test_the_garbage_collector_pauses_while_sentences_are_read(tmp_path, monkeypatch):
    path, during = write_corpus(tmp_path / "c") / "train.csv", []
    monkeypatch.setattr("data.sentences.Sentence", lambda *_: during.append(gc.isenabled()))
    read_sentences(path)
    path.write_text("broken")
    with pytest.raises(DataError):
        read_sentences(path)
    assert during == [False, False] and gc.isenabled()
    gc.disable()  # as the caller had it
    try:
        with many_objects():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_steps_that_ctc_needs_for_each_sentence(tmp_path):
    split = Corpus(write_corpus(tmp_path / "c")).splits["train"]
    assert split.required_steps.tolist() == [required_steps(one.glosses) for one in split.sentences]


@pytest.mark.parametrize(
    ("splits", "name", "advice"),
    [
        (
            {"train": "ab"},
            "dev",
            "python prepare_data.py split '{0}' --output '{0}_split' --by signer",
        ),
        ({"train": "ab", "dev": ""}, "dev", "split '{0}' --output '{0}_split' --by signer"),
        ({"train": "aa"}, "dev", "split '{0}' --output '{0}_split' --by random"),
        ({"train": "ab", "dev": "a"}, "test", "'{0}_split' --by signer --test 0.1"),
    ],
)
def test_a_missing_split_names_the_command_that_makes_it(tmp_path, splits, name, advice):
    """The command runs as it is printed, in a folder whose name has a space."""
    rows = {
        split: [(f"{split}{n}", signer, "A B", 5 + n) for n, signer in enumerate(signers)]
        for split, signers in splits.items()
    }
    path = write_corpus(tmp_path / "my corpus", rows)
    with pytest.raises(DataError) as missing:
        Corpus(path).split(name)
    message = str(missing.value)
    assert message.endswith(advice.format(path)) and "; before you train, split it off" in message
    assert "already has seen those sentences: train again" in message
    command = shlex.split(message.partition("python prepare_data.py ")[2])
    assert prepare_data.main(command) == 0
    assert len(Corpus(tmp_path / "my corpus_split").split(name)) == 1


def test_composed_sentences_of_one_signer_are_composed_again(tmp_path):
    with CorpusWriter(tmp_path / "c", **FACTS, composed=True) as writer:
        writer.split("train").add("s1", "anna", "A", *recording(5))
    with pytest.raises(
        DataError, match=r"no split 'dev'.*; compose it again with --dev_sentences$"
    ):
        Corpus(tmp_path / "c").split("dev")


def test_a_corpus_without_train_has_nothing_to_split_off(tmp_path):
    path = write_corpus(tmp_path / "c", {"test": [("t", "a", "A", 5)], "train": []})
    for name in ("dev", "train", "extra"):
        with pytest.raises(DataError) as missing:
            Corpus(path).split(name)
        assert "prepare_data.py split" not in str(missing.value)


def test_glosses_of_a_corpus_of_an_earlier_version_are_read_in_one_unicode_form(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(
        "id|signer|frames|annotation\nu\u0308|A|1|GRU\u0308N\nb|A|1|GR\u00dcN\n", encoding="utf-8"
    )
    first, second = read_sentences(path)
    assert first.glosses == second.glosses == ("GR\u00dcN",)
    assert first.id == "u\u0308"  # soft targets and hypotheses name it like this


def test_format_characters_of_persian_and_arabic_are_read(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(
        "id|signer|frames|annotation\na|A|1|می\u200cخواهم سوال\u200f\n", encoding="utf-8"
    )
    assert read_sentences(path)[0].glosses == ("می\u200cخواهم", "سوال\u200f")


def test_only_test_sentences_may_have_no_glosses():
    check_sentence("test", "08_0001", "08", "", "here")
    check_sentence("train", "00_0001", "00", "سوال هو", "here")
    for split in ("train", "dev"):
        with pytest.raises(DataError, match="here: annotation '' is empty"):
            check_sentence(split, "08_0001", "08", "", "here")
    with pytest.raises(DataError, match="here: signer '' is empty"):
        check_sentence("test", "08_0001", "", "", "here")
    with pytest.raises(DataError, match=r"annotation 'a\|b' has"):
        check_sentence("test", "08_0001", "08", "a|b", "here")


def test_glosses_and_signers_are_in_memory_once(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(f"{CSV_HEADER}\ns1|eva|8|SUN RAIN\ns2|eva|8|RAIN SUN\n", encoding="utf-8")
    first, second = read_sentences(path)
    assert first.signer is second.signer
    assert first.glosses[0] is second.glosses[1] and first.glosses[1] is second.glosses[0]
