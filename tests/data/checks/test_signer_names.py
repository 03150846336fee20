"""Warnings of signers that are probably one person under two names."""

from data.checks.signer_names import alike_names, signer_warning, split_signer_warning


def test_names_that_differ_in_case_or_white_space():
    names = ["Anna B", "ben", "anna b", "AnnaB", "Ben2", "Straße", "STRASSE", "anna b"]
    assert alike_names(names) == [["Anna B", "AnnaB", "anna b"], ["STRASSE", "Straße"]]
    assert signer_warning(["anna", "ben", "anna"]) is None
    assert signer_warning(["unknown", "Unknown"]) is None, "the first one is nobody"
    assert signer_warning(names) == (
        "the signers 'Anna B' and 'AnnaB' and 'anna b' differ only in upper and lower case or "
        "white space (and 1 more); each is a signer of its own: write them alike if they "
        "are one person"
    )


def test_only_signers_of_both_sides_count():
    assert split_signer_warning("dev", ["Anna", "anna"], ["ben"]) is None
    assert split_signer_warning("dev", ["anna"], ["anna", "ben"]) is None
    warning = split_signer_warning("dev", ["Anna", "Ben"], ["anna", "ben", "cem"])
    assert warning == (
        "the signers 'Anna' of dev and 'anna' of train differ only in upper and lower case or "
        "white space (and 1 more): if they are one person, a signer of dev is in train; write "
        "them alike in the annotations"
    )
