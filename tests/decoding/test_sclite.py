import numpy as np

from decoding.sclite import sclite_warning, write_ctm, write_stm
from decoding.scoring import score


def test_the_lines_of_ctm_and_stm(tmp_path):
    write_ctm(tmp_path / "h.ctm", ["s2", "s1"], [["A", "B"], []], [[(0.16, 0.32), (0.4, 1.0)], []])
    assert (
        tmp_path / "h.ctm"
    ).read_text() == "s1 1 0.000 0.000 @\ns2 1 0.160 0.160 A\ns2 1 0.400 0.600 B\n"
    write_stm(tmp_path / "r.stm", ["s2", "s1"], ["eva", "adam"], [2.0, 0.5], [["A"], ["B", "C"]])
    assert (tmp_path / "r.stm").read_text() == "s1 1 adam 0.000 0.500 B C\ns2 1 eva 0.000 2.000 A\n"


def test_ids_and_signers_with_white_space_stay_one_column(tmp_path):
    write_ctm(tmp_path / "h.ctm", ["day 1  a", "day 2"], [["A"], []], [[(0.0, 0.5)], []])
    assert (tmp_path / "h.ctm").read_text() == "day_1_a 1 0.000 0.500 A\nday_2 1 0.000 0.000 @\n"
    write_stm(tmp_path / "r.stm", ["day 1  a"], ["Eva M."], [0.5], [["A"]])
    assert (tmp_path / "r.stm").read_text() == "day_1_a 1 Eva_M. 0.000 0.500 A\n"


def test_begins_sort_as_text_like_numbers(tmp_path):
    """As `sort -k1,1 -k3,3` of the evaluation script of RWTH-PHOENIX-Weather 2014 does."""
    spans = [(0.4, 0.5), (2.4, 2.5), (10.24, 10.4), (100.0, 101.0)]
    write_ctm(tmp_path / "h.ctm", ["s1"], [["A", "B", "C", "D"]], [spans])
    lines = (tmp_path / "h.ctm").read_text().splitlines()
    assert [line.split()[2] for line in lines] == ["000.400", "002.400", "010.240", "100.000"]
    assert sorted(lines) == lines


def test_ids_and_signers_that_differ_only_in_white_space_stay_apart(tmp_path):
    ids = ["a 1", "a_1", "a\u00a01", "a  1", "a_1_2"]
    write_ctm(tmp_path / "h.ctm", ids, [["A"]] * 5, [[(0.0, number)] for number in range(1, 6)])
    write_stm(
        tmp_path / "r.stm",
        ids[::-1],
        ["Eva M", "Eva_M", "Eva  M", "Eva M", "Adam"],
        [5.0, 4.0, 3.0, 2.0, 1.0],
        [["A"]] * 5,
    )
    ctm = [line.split() for line in (tmp_path / "h.ctm").read_text().splitlines()]
    stm = [line.split() for line in (tmp_path / "r.stm").read_text().splitlines()]
    named = {float(row[3]): row[0] for row in ctm}
    assert len(set(named.values())) == 5
    assert {float(row[4]): row[0] for row in stm} == named
    assert (named[2.0], named[5.0]) == ("a_1", "a_1_2")  # names without white space stay
    signers = {float(row[4]): row[2] for row in stm}
    assert signers[5.0] == signers[2.0] != signers[4.0] == "Eva_M"
    assert len({signers[second] for second in (5.0, 4.0, 3.0)}) == 3


def test_glosses_that_sclite_takes_for_its_commands_are_named():
    assert sclite_warning([["A", "IX-(1p)", "A@B", "/"], []]) is None
    commands = ["{", "}", "@", "<ALT>", "<ALT_END>", "ignore_time_segment_in_scoring"]
    warning = sclite_warning([["A"], commands, ["@"]])
    assert "the glosses <ALT>, <ALT_END>, @, ignore_time_segment_in_scoring, {, } for" in warning
    assert "the gloss @ for its own" in sclite_warning([["@"]])


def test_sclite_prints_the_same_wer(tmp_path, sclite):
    random = np.random.default_rng(7)
    words = ["A", "a", "B", "C", "D", "IX", "__ON__", "WIE-AUSSEHEN", "A+B"]
    references = [list(random.choice(words, random.integers(1, 14))) for _ in range(80)]
    hypotheses = [
        [
            str(random.choice(words)) if random.random() < 0.2 else gloss
            for gloss in reference
            if random.random() > 0.15
        ]
        + list(random.choice(words, random.integers(0, 2)))
        for reference in references
    ]
    hypotheses[3], hypotheses[4] = [], list(references[4])
    ids = [f"sentence {number}" for number in range(80)]
    spans = [[(0.2 * n, 0.2 * n + 0.16) for n in range(len(glosses))] for glosses in hypotheses]
    write_ctm(tmp_path / "h.ctm", ids, hypotheses, spans)
    write_stm(tmp_path / "r.stm", ids, ["Eva M."] * 80, [10.0] * 80, references)
    summary = sclite()
    found = score(references, hypotheses)
    assert (int(summary[0]), int(summary[1])) == (80, found.reference_glosses)
    assert summary[6] == f"{found.wer:.1f}"


def test_spans_of_another_unit_become_seconds(tmp_path):
    """Steps of 0.16 s: 5 and 100 begin at 0.8 and 16 s, and the begins have the digits of 16."""
    write_ctm(tmp_path / "h.ctm", ["s1"], [["A", "B"]], [[(5, 6), (100, 102)]], 0.16)
    assert (tmp_path / "h.ctm").read_text(encoding="utf-8").splitlines() == [
        "s1 1 00.800 0.160 A",
        "s1 1 16.000 0.320 B",
    ]
