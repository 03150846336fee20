"""No corpus is made from one whose files were changed."""

import re

import pytest

from data.corpus import Corpus
from errors import DataError
from prepare_data import main
from tests.data.small_corpus import rehash

COMMANDS = {
    "resample": ["resample", "SOURCE", "--output", "OUTPUT", "--fps", "12"],
    "split": ["split", "SOURCE", "--output", "OUTPUT", "--by", "random", "--test", "0.3"],
    "align": ["align", "SOURCE", "--output", "OUTPUT", "--checkpoint", "CHECKPOINT"],
    "compose": ["compose", "--input", "SOURCE", "--output", "OUTPUT", "--sentences", "3"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_corpus_that_was_changed_makes_no_other_one(
    make_corpus, tmp_path, capsys, command, split
):
    splits = {"train": ["A B", "B", "A"], "dev": ["A", "B"], "test": ["B"]}
    source = make_corpus(tmp_path / "mine", splits)
    table = source / f"{split}.csv"
    table.write_text(table.read_text().replace("anna", "otto"))
    arguments = [
        {"SOURCE": str(source), "OUTPUT": str(tmp_path / "new")}.get(one, one)
        for one in COMMANDS[command]
    ]
    message = re.escape(f"{table} was changed: its SHA-256 differs from the one in corpus.json; ")
    with pytest.raises(DataError, match=message + "restore the file, or, if you want the change"):
        main(arguments)
    assert not (tmp_path / "new").exists() and capsys.readouterr().out == ""


def test_a_change_that_is_wanted_is_written_into_corpus_json(make_corpus, tmp_path):
    source = make_corpus(tmp_path / "mine", {"train": ["A B", "B"], "dev": ["A"]})
    for table in (source / "train.csv", source / "dev.csv"):
        table.write_text(table.read_text().replace("anna", "otto"))
    arguments = ["resample", str(source), "--output", str(tmp_path / "new"), "--fps", "12"]
    with pytest.raises(DataError, match=r"train\.csv was changed \(and 1 more\)"):
        main(arguments)
    rehash(source)
    assert main(arguments) == 0
    sentences = Corpus(tmp_path / "new").split("train").sentences
    assert {sentence.signer for sentence in sentences} == {"otto"}
