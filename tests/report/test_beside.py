"""A run beside the paper: verdicts are read, never made; numbers keep to their columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evalsuite.report.beside import Claim, beside, counted, read_claims, verdict_of
from evalsuite.report.companion import LARGEST, SMALLEST, Number, Section
from evalsuite.report.page import build_page

SECTION = Section(
    "alpha", "Main results", "Figure 1", "Is it so?", "It is so.",
    (
        Number("of the small one", 0.6, "Table 9", (("quantity", "rate"), ("policy", "sup_*"))),
        Number("of the large one", 0.43, "Figure 1", (("kl_coef", "0.05"),), 0.02),
        Number("of the largest one", 0.44, "Figure 1", (("kl_coef", "0.05"),)),
        Number("read off", 4.6, "model card, picture", trust="picture", unit="rating"),
        Number("distance", 19.0, "Table 9", unit="nats"),
        Number("size", 2048, "Figure 7", unit=""),
    ),
    ("up", "far"), "It was small.", "part=1",
)  # fmt: skip
OTHER = SECTION._replace(analysis="beta", part="Past the paper", numbers=(), claims=("absent",))


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "quantity": ["rate", "rate", "count"],
            "policy": ["sup_small_t0.7", "sup_large_t0.7", "sup_small_t0.7"],
            "kl_coef": ["", "0.050", "0.2"],
            "value": ["0.61234", "0.5", "12"], "se": ["0.0123", "", "1.5"],
            "n": ["7", "8", "9"],
        }
    )  # fmt: skip


def put(folder: Path, name: str, rows: pd.DataFrame, reading: str = "It ran.") -> None:
    home = folder / name
    home.mkdir(parents=True)
    rows.to_csv(home / "table.csv", index=False)
    record = {"analysis": name, "title": f"Title {name}", "reading": reading}
    (home / "provenance.json").write_text(json.dumps(record), "utf-8")


def directions(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["key", "claim", "verdict"])


@pytest.mark.parametrize(
    ("verdicts", "kind", "words"),
    [
        ([], "unstated", "No direction stated"),
        (["by construction"], "unstated", "No direction stated"),
        (["shown", "shown"], "yes", "Agrees in direction"),
        (["shown", "by construction"], "yes", "Agrees in direction"),
        (["shown", "not measured"], "yes", "Agrees in direction (1 of 2 measured)"),
        (["shown", "not shown"], "part", "Agrees in part"),
        (["shown", "reversed", "shown"], "mixed", "Mixed: 2 shown, 1 reversed"),
        (["shown", "reversed", "not shown", "not measured"], "mixed",
         "Mixed: 1 shown, 1 reversed (3 of 4 measured)"),
        (["not shown"], "none", "Not shown"),
        (["not shown", "reversed"], "no", "Reversed"), (["reversed"], "no", "Reversed"),
        (["not measured", "by construction"], "unmeasured", "Not measured"),
    ],
)  # fmt: skip
def test_verdicts(verdicts: list[str], kind: str, words: str) -> None:
    assert verdict_of(verdicts) == (kind, words)


def test_rows_of_the_run_stand_beside_the_number_that_they_measure() -> None:
    pairs = beside(SECTION, table(), {}).pairs
    assert [(m.label, m.value) for m in pairs[0].matches] == [
        ("small supervised, T=0.7", "0.612 ± 0.012"),
        ("large supervised, T=0.7", "0.500"),
    ]
    assert [(m.label, m.value) for m in pairs[1].matches] == [("large supervised, T=0.7", "0.500")]
    assert not any(pair.matches for pair in pairs[3:])
    assert [pair.paper for pair in pairs] == [
        "0.60", "0.43 ± 0.02", "0.44", "4.6", "19.0 nats", "2,048",
    ]  # fmt: skip
    assert [pair.approximate for pair in pairs] == [False, False, False, True, False, False]
    # Two numbers share the run's cell; those beside which nothing stands have each their own.
    assert [pair.span for pair in pairs] == [1, 2, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("here", "values"),
    [
        ((("parameters", SMALLEST),), ["1", "2"]), ((("parameters", LARGEST),), ["4"]),
        ((("parameters", SMALLEST), ("labels", LARGEST)), ["2"]),
        ((("quantity", "rate"), ("parameters", LARGEST)), ["3"]), ((("quantity", "!rate"),), ["4"]),
        ((("quantity", "r*"), ("labels", "!0.50e1")), ["2", "3"]), ((("absent", "*"),), []),
        ((("quantity", "none"), ("parameters", LARGEST)), []),
    ],
)  # fmt: skip
def test_rows_are_asked_for_by_patterns_and_ends(
    here: tuple[tuple[str, str], ...], values: list[str]
) -> None:
    rows = pd.DataFrame(
        {
            "quantity": ["rate", "rate", "rate", "count"], "size": ["small", "small", "mid", "big"],
            "parameters": ["1e3", "1000", "2000", "1e6"], "labels": ["5", "60", "100", "60"],
            "value": ["1", "2", "3", "4"],
        }
    )  # fmt: skip
    item = SECTION._replace(numbers=(Number("n", 1.0, "Table 9", here),))
    assert [m.value for m in beside(item, rows, {}).pairs[0].matches] == values


def test_labels_say_in_what_rows_differ() -> None:
    rows = pd.DataFrame(
        {
            "quantity": "rate", "size": ["small", "large"], "parameters": ["1", "2"],
            "labels": ["600", "4800"], "tied": ["1", "2"], "value": ["1", "2"],
        }
    )  # fmt: skip
    item = SECTION._replace(numbers=(Number("n", 1.0, "Table 9", (("quantity", "rate"),)),))
    assert [m.label for m in beside(item, rows, {}).pairs[0].matches] == [
        "small, 600 labels", "large, 4,800 labels",
    ]  # fmt: skip
    assert [m.label for m in beside(item, rows.head(1), {}).pairs[0].matches] == ["small"]


def test_directions_are_counted() -> None:
    claims = [Claim("", verdict, "") for verdict in ("shown", "shown", "reversed", "not shown")]
    told = (
        "Of 4 claims, the paper's and others, that this run measures: 2 shown, 1 not shown, "
        "1 reversed."
    )
    assert counted(claims) == told
    assert counted([*claims, Claim("", "not measured", "")]) == f"{told} Not measured: 1."
    assert counted([*claims, Claim("", "by construction", "")]) == told


def test_many_rows_are_counted_and_those_without_a_value_left_out() -> None:
    many = pd.concat([table().assign(run=str(i)) for i in range(4)])
    many.iloc[0, many.columns.get_loc("value")] = ""
    pair = beside(SECTION, many, {}).pairs[0]
    assert (len(pair.matches), pair.more) == (4, 3)


@pytest.mark.parametrize("rows", [None, pd.DataFrame(), pd.DataFrame({"quantity": ["rate"]})])
def test_without_a_table_of_that_kind_nothing_stands_beside(rows: pd.DataFrame | None) -> None:
    assert not beside(SECTION, rows, {}).compared


def test_a_reason_is_given_where_a_direction_is_not_shown() -> None:
    def why(verdict: str, own: str = "") -> str:
        return beside(SECTION, None, {"up": Claim("c", verdict, "")}, why=own).why

    assert why("not shown") == "It was small."
    assert why("reversed", "It was too short.") == "It was too short."
    assert why("shown", "It was too short.") == ""
    assert why("not measured") == why("by construction") == ""
    assert beside(SECTION, None, {}).why == ""


def test_claims_are_read_by_analysis(tmp_path: Path) -> None:
    assert read_claims(tmp_path) == {}
    put(tmp_path, "directions", directions(("up", "Up", "shown"), ("far", "Far", "reversed")))
    assert read_claims(tmp_path) == {
        "up": Claim("Up", "shown", ""),
        "far": Claim("Far", "reversed", ""),
    }


@pytest.mark.parametrize("text", ["", "claim\nup\n"])
def test_a_table_of_directions_that_says_nothing_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "directions").mkdir()
    (tmp_path / "directions" / "table.csv").write_text(text)
    assert read_claims(tmp_path) == {}


def page(folder: Path, **more: object) -> str:
    return build_page(folder, title="t", companion=(SECTION, OTHER), **more).read_text("utf-8")  # type: ignore[arg-type]


def test_the_page_sets_each_section_beside_the_paper(tmp_path: Path) -> None:
    put(tmp_path, "zeta", table())
    put(tmp_path, "beta", table())
    put(tmp_path, "alpha", table(), "Small beats large.")
    put(tmp_path, "alpha-news", table())
    put(
        tmp_path, "directions",
        directions(("up", "Up <b>", "not shown"), ("far", "Far", "not measured")),
    )  # fmt: skip
    html = page(tmp_path)
    # The tally has one heading a kind; how many were measured stands in the section.
    tally = html[html.index('<dl class="tally">') : html.index("</dl>")]
    assert '<span class="verdict none">Not shown</span>' in tally
    assert '<span class="verdict none">Not shown (1 of 2 measured)</span>' in html
    places = [
        html.index(f'<section id="{name}"')
        for name in (
            "in-short",
            "a-directions",
            "a-alpha",
            "a-alpha-news",
            "a-beta",
            "a-zeta",
            "data",
        )
    ]
    assert places == sorted(places)
    chapters = ["Main results", "Past the paper", "Also in this run"]
    places = [html.index(f'<h2 class="chapter">{name}</h2>') for name in chapters]
    assert places == sorted(places)
    alpha = html[html.index('<section id="a-alpha"') : html.index('<section id="a-alpha-news"')]
    for part in (
        "Is it so?", "It is so.", "Small beats large.", "Not shown", "Up &lt;b&gt;",
        "It was small.", "the paper states the number", "read off a picture",
    ):  # fmt: skip
        assert part in alpha, part
    # The paper's column first, then the run's; a number never changes sides.
    row = alpha[alpha.index("of the large one") :].split("</tr>")[0]
    paper, run = row.split('<td class="run" rowspan="2">')
    assert "0.43 ± 0.02" in paper
    assert "0.500" not in paper
    assert "0.500" in run
    assert "0.43" not in run
    news = html[html.index('<section id="a-alpha-news"') : html.index('<section id="a-beta"')]
    assert "Is it so?" not in news
    assert "No direction stated" in html[html.index('<section id="a-beta"') :]


def test_a_second_domain_may_have_a_section_of_its_own(tmp_path: Path) -> None:
    put(tmp_path, "alpha", table())
    put(tmp_path, "alpha-news", table())
    news = SECTION._replace(analysis="alpha-news", part="A second domain", question="And there?")
    path = build_page(tmp_path, title="t", companion=(SECTION, OTHER, news))
    html = path.read_text("utf-8")
    assert "<h2>Title alpha-news: news</h2>" in html
    assert html.index('<h2 class="chapter">A second domain</h2>') < html.index("And there?")


def test_a_reason_of_the_run_replaces_the_general_one(tmp_path: Path) -> None:
    put(tmp_path, "alpha", table())
    put(tmp_path, "directions", directions(("up", "Up", "reversed")))
    html = page(tmp_path, why={"alpha": "It <i>ran</i> short."})
    assert "It &lt;i&gt;ran&lt;/i&gt; short." in html
    assert "It was small." not in html


def test_the_sample_browser_is_linked_where_it_is(tmp_path: Path) -> None:
    put(tmp_path, "alpha", table())
    put(tmp_path, "beta", table())
    assert "samples.html" not in page(tmp_path)
    (tmp_path / "samples.html").write_text("")
    html = page(tmp_path)
    assert 'href="samples.html"' in html
    assert 'href="samples.html#part=1"' in html


def test_without_a_companion_the_page_says_nothing_of_the_paper(tmp_path: Path) -> None:
    put(tmp_path, "alpha", table())
    put(tmp_path, "beta", table())
    put(tmp_path, "directions", directions(("up", "Up", "shown")))
    html = build_page(tmp_path, title="t").read_text("utf-8")
    for word in (
        "The paper found",
        "No direction stated",
        "Agrees in direction",
        'class="chapter"',
    ):
        assert word not in html
    assert html.count("<section") == 5


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_beside_the_paper_fits_the_window(
    tmp_path: Path, browser: Any, width: int
) -> None:
    put(tmp_path, "alpha", table(), "Small beats large. " * 9)
    put(tmp_path, "beta", table())
    put(tmp_path, "directions", directions(("up", "Up and up " * 12, "not shown")))
    (tmp_path / "samples.html").write_text("")
    path = build_page(tmp_path, title="t", companion=(SECTION, OTHER))
    browser.open(path, width=width)
    assert browser.js("document.documentElement.scrollWidth") <= width
    assert browser.overflow() == []
    assert browser.errors == []
    # Paper and run side by side where there is room, one above the other where there is not.
    tops = browser.js(
        "[...document.querySelectorAll('#a-alpha .found > div')]"
        ".map((e) => e.getBoundingClientRect().top)"
    )
    assert (tops[0] == tops[1]) == (width == 1280)
