"""What the page says of the paper: numbers with a source, and none that cannot be checked."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

import analyses
from analyses.directions import CLAIMS
from evalsuite.report.companion import COMPANION, TRUST, Number, Section

NUMBERS = [(section, number) for section in COMPANION for number in section.numbers]


def find(analysis: str, start: str) -> Number:
    found = [n for s, n in NUMBERS if s.analysis == analysis and n.label.startswith(start)]
    assert len(found) == 1, (analysis, start, [n.label for n in found])
    return found[0]


def test_every_analysis_has_a_section_of_its_own() -> None:
    names = [section.analysis for section in COMPANION]
    assert len(names) == len(set(names))
    assert set(analyses.NAMES) - {"directions"} <= set(names)
    assert {name.partition("-")[0] for name in names} <= set(analyses.NAMES)


def test_every_direction_stands_in_a_section() -> None:
    named = {key for section in COMPANION for key in section.claims}
    assert named == {claim.key for claim in CLAIMS}


def test_chapters_are_in_one_piece() -> None:
    parts = [section.part for section in COMPANION]
    changes = [part for i, part in enumerate(parts) if not i or parts[i - 1] != part]
    assert len(changes) == len(set(changes))
    assert changes[-1] == "Past the paper"


@pytest.mark.parametrize("section", COMPANION, ids=lambda section: section.analysis)
def test_sections_are_sentences(section: Section) -> None:
    assert section.question.endswith("?")
    assert section.found.endswith(".")
    assert not section.why or section.why.endswith(".")
    assert section.source
    assert len(section.found) < 420  # a finding, not an essay


def test_every_number_says_where_it_stands() -> None:
    for section, number in NUMBERS:
        assert number.source, (section.analysis, number.label)
        assert number.trust in TRUST
        assert math.isfinite(number.value)
        assert re.search(r"section|Table|Figure|Appendix|released|et al\.|picture", number.source)


def test_what_a_picture_shows_is_marked_and_nothing_else_is() -> None:
    for _, number in NUMBERS:
        assert (number.trust == "picture") == ("picture" in number.source)
        assert (number.trust == "labels") == ("released" in number.source)
        assert (number.trust == "later") == ("et al. 20" in number.source)


def test_errors_of_other_papers_that_are_deviations_stand_in_words() -> None:
    """Huang et al. give the SD of 4 seeds, which is twice the error of their mean."""
    theirs = [n for _, n in NUMBERS if n.source.startswith("Huang")]
    assert len(theirs) == 6
    assert all(math.isnan(n.se) and "over 4 seeds" in n.label for n in theirs)


@pytest.mark.parametrize("table", [15, 16, 17, 18, 19, 20, 21, 22, 23])
def test_tables_that_could_not_be_read_lend_no_number(table: int) -> None:
    assert not [n for _, n in NUMBERS if f"Table {table}" in n.source]


@pytest.mark.parametrize(
    ("analysis", "label", "value", "se"),
    [
        ("size_and_method", "human feedback, 1.3B", 0.61, math.nan),
        ("size_and_method", "supervised, 13B", 0.43, math.nan),
        ("axes", "best overall score (7 of 7)", 0.45, math.nan),
        ("axes", "best overall score: supervised", 0.20, math.nan),
        ("axes", "best overall score: references", 0.23, math.nan),
        ("agreement", "labeler and researcher", 0.77, 0.02),
        ("agreement", "researcher and researcher", 0.73, 0.04),
        ("agreement-cnndm", "6.7B reward model", 0.665, math.nan),
        ("edits", "6.7B reward model prefers the edit", 0.828, math.nan),
        ("edits", "people prefer the edit", 0.841, math.nan),
        ("probes", "6.7B, original over swapped roles", 0.972, math.nan),
        ("policies", "KL of sup4_6b ppo rm4_6b", 14.0, math.nan),
        ("policies", "KL of best-of-512", 5.2, math.nan),
        ("length_control", "coefficient", 0.8732, 0.0717),
        ("reward_scaling", "about: gained by twice the labels", 0.011, math.nan),
        ("reward_scaling", "about: gained by twice the parameters", 0.018, math.nan),
        ("ratings_length-cnndm", "lead-3: mean rating", 6.23, math.nan),
        ("ratings_length-cnndm", "lead-3: characters", 475, math.nan),
        ("ratings_length-cnndm", "human feedback on posts, 1.3B: rating gained", 1.28, math.nan),
        ("ratings_length-cnndm", "lead-3 at the references' length", 5.68, math.nan),
    ],
)  # fmt: skip
def test_numbers_are_those_of_the_paper(analysis: str, label: str, value: float, se: float) -> None:
    number = find(analysis, label)
    assert number.value == value
    assert number.se == se or (math.isnan(number.se) and math.isnan(se))


def test_the_kl_of_best_of_n_is_its_formula_to_the_printed_digit() -> None:
    """log N - (N - 1) / N, Table 10."""
    for _, number in NUMBERS:
        if match := re.fullmatch(r"KL of best-of-(\d+)", number.label):
            n = int(match[1])
            assert number.value == pytest.approx(math.log(n) - (n - 1) / n, abs=0.051)


def test_views_of_the_browser_use_what_it_reads() -> None:
    script = Path(analyses.__file__).parents[1] / "evalsuite/report/templates/samples.js"
    known = script.read_text("utf-8")
    names = re.search(r"NAMES = \[(.*?)\]", known)
    assert names
    for section in COMPANION:
        for pair in filter(None, section.browse.split("&")):
            assert f'"{pair.partition("=")[0]}"' in names[1]
