"""A test split without glosses is predicted, and every evaluation writes a submission."""

import csv
import json
import shutil

import numpy as np
import pytest

import evaluate
import prepare_data
from data.corpus import Corpus
from data.corpus_check import check_corpus
from data.corpus_writer import CorpusWriter
from errors import DataError, UsageError
from tests.data.isharah_files import write_lists


@pytest.fixture
def to_predict(tmp_path, tiny_corpus):
    """The tiny corpus with a test split of three sentences without glosses."""
    source = Corpus(tiny_corpus)
    with CorpusWriter(
        tmp_path / "task", name="task", fps=25, aspect_ratio=0.8, made_by={"tool": "tests"}
    ) as writer:
        for name, split in source.splits.items():
            for number, one in enumerate(split.sentences):
                writer.split(name).add(one.id, one.signer, one.glosses, *split.read(number))
        for number in range(3):
            recording = source.split("dev").read(number)
            writer.split("test").add(f"08_000{number}", "08", "", *recording)
    return tmp_path / "task"


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_sentences_without_glosses_are_predicted_as_others(
    to_predict, checkpoint, tmp_path, capsys
):
    options = ["--checkpoint", str(checkpoint), "--data_dir", str(to_predict), "--device", "cpu"]
    folders = {}
    for split in ("dev", "test"):
        folders[split] = tmp_path / split
        words = [*options, "--split", split, "--output_dir", str(folders[split])]
        assert evaluate.main(words) == 0
    submission = rows(folders["test"] / "submission.csv")
    assert b"\r" not in (folders["test"] / "submission.csv").read_bytes()
    assert [row[0] for row in submission] == ["id", "08_0000", "08_0001", "08_0002"]
    assert submission[0][1] == "gloss"
    as_dev = rows(folders["dev"] / "submission.csv")[1:4]
    assert [row[1] for row in submission[1:]] == [row[1] for row in as_dev]
    assert "3 sentences predicted; they have no glosses to score" in capsys.readouterr().out
    assert {path.name for path in folders["test"].iterdir()} == {
        "submission.csv",
        "hypotheses.csv",
        "hypotheses.ctm",
        "environment.json",
    }
    assert json.loads((folders["dev"] / "result.json").read_text())["sentences"] == 4
    shutil.copytree(folders["dev"], tmp_path / "compare_with")
    with pytest.raises(UsageError, match=r"hypotheses\.csv already exists"):
        evaluate.main([*options, "--split", "test", "--output_dir", str(folders["test"])])
    # No result of an evaluation with references stays beside the new predictions
    assert (
        evaluate.main(
            [*options, "--split", "test", "--output_dir", str(folders["dev"]), "--overwrite"]
        )
        == 0
    )
    names = {path.name for path in folders["test"].iterdir()}
    assert {path.name for path in folders["dev"].iterdir()} == names
    words = [*options, "--split", "test", "--output_dir", str(tmp_path / "compared")]
    with pytest.raises(UsageError, match=r"--compare_with: the test split .* has no glosses"):
        evaluate.main([*words, "--compare_with", str(tmp_path / "compare_with")])


def test_check_warns_of_a_test_split_without_glosses(to_predict):
    lines = list(check_corpus(to_predict).lines())
    assert "warning: split 'test' has no glosses: it can be predicted only" in lines
    assert not any("empty annotation" in line for line in lines)


@pytest.mark.parametrize("split", ["train", "dev"])
def test_only_test_may_have_no_glosses(tmp_path, make_sentence, split):
    with (
        pytest.raises(DataError, match="annotation '' is empty"),
        CorpusWriter(
            tmp_path / "c", name="c", fps=25, aspect_ratio=0.8, made_by={"tool": "tests"}
        ) as writer,
    ):
        writer.split(split).add("a", "anna", "", *make_sentence(["SUN"], np.random.default_rng(0)))


def test_a_simulated_signer_acts_no_test_split_without_glosses(tmp_path):
    rows = {"train": ["00_0001|سوال هو"], "dev": ["02_0001|هو"], "test": ["08_0001"]}
    write_lists(tmp_path / "SI", rows)
    words = ["--transcripts", str(tmp_path / "SI"), "--output", str(tmp_path / "out")]
    assert prepare_data.main(["synthesize", *words]) == 0
    assert list(Corpus(tmp_path / "out").splits) == ["train", "dev"]


def test_a_single_test_sentence_without_glosses_is_a_problem(to_predict):
    table = to_predict / "test.csv"
    table.write_text(table.read_text().replace("|\n", "|SUN\n", 1))
    assert any("empty annotation" in line for line in check_corpus(to_predict).lines())
