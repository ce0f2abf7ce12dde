"""The page: everything is on it, nothing breaks out of it, and it fits the window."""

from __future__ import annotations

import json
import math
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evalsuite.report import style
from evalsuite.report.numbers import number
from evalsuite.report.page import SHOWN_ROWS, build_page, table_view

HOSTILE = """<script>alert(1)</script><img src=x onerror=alert(2)>"'&{{7*7}}</style></details>"""


def estimates(rows: int = 3, **keys: object) -> pd.DataFrame:
    share = np.linspace(0.2, 0.7, rows)
    return pd.DataFrame(
        {
            "quantity": "preferred to the reference",
            "policy": [f"sup{i}" for i in range(rows)],
            "value": share, "se": 0.0494, "low": share - 0.1, "high": share + 0.1,
            "level": 0.95, "n": 1234, "n_clusters": 104, "method": "cluster-robust by post, t(103)",
        }
        | keys
    )  # fmt: skip


def record(name: str, **more: object) -> dict[str, object]:
    return {
        "analysis": name, "title": f"Title of {name}", "source": "Figure 1", "differs": "labels",
        "reading": f"Reading of {name}.", "time_utc": "2026-01-02T03:04:05+00:00",
        "commit": "0123456789abcdef", "dirty": True, "command": "evalsuite analyze all",
        "config": {"level": 0.95, "against": "reference_summary"}, "seed": 7,
        "inputs": [{"name": "batch18.json", "sha256": "ab" * 32, "format": "openai", "rows": 638}],
        "left_out": {"no post": 12}, "versions": {"numpy": "2.0"}, "device": "cpu", "seconds": 1.5,
        **more,
    }  # fmt: skip


@cache
def picture(kind: str) -> bytes:
    with TemporaryDirectory() as home:
        fig, ax = style.figure("double", 2.5)
        ax.plot([0, 1], [0, 1])
        png, pdf = style.save(fig, Path(home) / "figure", dpi=60)
        return (png if kind == "png" else pdf).read_bytes()


def put(folder: Path, name: str, table: pd.DataFrame | None = None, **more: object) -> Path:
    home = folder / name
    home.mkdir(parents=True)
    for kind in ("png", "pdf"):
        (home / f"figure.{kind}").write_bytes(picture(kind))
    (estimates() if table is None else table).to_csv(home / "table.csv", index=False)
    (home / "provenance.json").write_text(json.dumps(record(name, **more)), "utf-8")
    return home


class Reader(HTMLParser):
    """Tags with attributes, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.inside not in {"style", "script"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.tags if found == tag]


def read(path: Path) -> Reader:
    return Reader(path.read_text("utf-8"))


def test_page_holds_every_part_of_an_analysis(tmp_path: Path) -> None:
    put(tmp_path, "preference")
    page = read(build_page(tmp_path, title="What labels say", skipped={"axes": "no ratings"}))
    for part in (
        "What labels say", "Title of preference", "Reading of preference.", "Figure 1", "labels",
        "batch18.json", "638", "ab" * 32, "openai", "0123456789abcdef, with changes not committed",
        "evalsuite analyze all", "level=0.95, against=reference_summary", "no post", "12",
        "numpy 2.0", "1.500 s", "axes", "no ratings", "value [95% interval]", "1,234",
        "Intervals: cluster-robust by post, t(103).", "standard error of the estimate",
    ):  # fmt: skip
        assert part in page.text, part
    assert page.all("img")[0]["alt"] == "Figure: Title of preference. Reading of preference."
    links = {a["href"] for a in page.all("a")}
    assert {"preference/figure.pdf", "preference/table.csv", "#a-preference", "#data"} <= links


def test_order_is_as_asked_then_by_name(tmp_path: Path) -> None:
    for name in ("alpha", "beta", "gamma"):
        put(tmp_path, name)
    (tmp_path / ".half-written").mkdir()
    (tmp_path / ".half-written" / "table.csv").write_text("a\n1\n")
    page = read(build_page(tmp_path, title="t", order=["gamma", "absent"]))
    anchors = [s["id"] for s in page.all("section")]
    assert anchors == ["in-short", "data", "a-gamma", "a-alpha", "a-beta"]


def test_a_variant_stands_after_its_analysis_and_says_what_it_is(tmp_path: Path) -> None:
    for name in ("alpha", "beta", "beta-cnndm", "zeta"):
        put(tmp_path, name, title="Zeta" if name == "zeta" else "Same")
    page = read(build_page(tmp_path, title="t", order=["zeta", "beta"]))
    assert [s["id"] for s in page.all("section")][2:] == [
        "a-zeta", "a-beta", "a-beta-cnndm", "a-alpha",
    ]  # fmt: skip
    assert "Contents In short Data in this report Zeta Same Same: cnndm Same" in page.text


def test_same_folder_gives_the_same_page(tmp_path: Path) -> None:
    put(tmp_path, "preference")
    first = build_page(tmp_path, title="t").read_bytes()
    assert build_page(tmp_path, title="t").read_bytes() == first


def test_hostile_text_is_escaped_in_every_field(tmp_path: Path) -> None:
    table = estimates().rename(columns={"quantity": HOSTILE})
    table[["policy", "method", HOSTILE]] = HOSTILE
    fields = dict.fromkeys(
        ("title", "source", "differs", "reading", "time_utc", "commit", "command", "seed",
         "device", "seconds"),
        HOSTILE,
    )  # fmt: skip
    put(
        tmp_path, HOSTILE.replace("/", "|"), table, **fields, config={HOSTILE: HOSTILE},
        inputs=[dict.fromkeys(("name", "sha256", "format", "rows"), HOSTILE)],
        left_out={HOSTILE: HOSTILE}, versions={HOSTILE: HOSTILE}, columns={"policy": HOSTILE},
    )  # fmt: skip
    path = build_page(tmp_path, title=HOSTILE, intro=HOSTILE, skipped={HOSTILE: HOSTILE})
    page = read(path)
    assert len(page.all("script")) == len(page.all("style")) == len(page.all("img")) == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert HOSTILE in page.text
    assert "{{7*7}}" in page.text  # rendered once, never as a template
    for attributes in page.all("a"):
        assert re.fullmatch(r"[\w#.%/~-]+", attributes["href"] or ""), attributes
    assert len({s["id"] for s in page.all("section")}) == len(page.all("section"))


def test_lone_surrogates_do_not_stop_the_page(tmp_path: Path) -> None:
    put(tmp_path, "preference", reading="\ud800 half a character")
    assert "? half a character" in read(build_page(tmp_path, title="t")).text


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    put(tmp_path, "preference", source="https://example.org/paper")
    html = build_page(tmp_path, title="t").read_text("utf-8")
    page = Reader(html)
    addresses = [
        a[k] or "" for _, a in page.tags for k in ("src", "href", "srcset", "data") if k in a
    ]
    assert addresses
    assert not [a for a in addresses if re.match(r"(https?:)?//", a)]
    assert "url(" not in html
    assert "@import" not in html
    assert not page.all("link")
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")


@pytest.mark.parametrize("file", ["figure.png", "table.csv", "provenance.json"])
def test_a_missing_file_is_named_and_the_rest_is_there(tmp_path: Path, file: str) -> None:
    (put(tmp_path, "preference") / file).unlink()
    page = read(build_page(tmp_path, title="t"))
    assert f"{file} is missing." in page.text
    assert len(page.all("img")) == (file != "figure.png")
    assert len(page.all("td")) > 3


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("provenance.json", b"{", "provenance.json cannot be read: "),
        ("provenance.json", b"[]", "provenance.json is no record."),
        (
            "provenance.json",
            b'{"inputs": [1], "left_out": [], "versions": 3}',
            "No input is on record.",
        ),
        ("table.csv", b"", "table.csv cannot be read: "),
        ("table.csv", b"\xff\xfe", "table.csv cannot be read: "),
        ("table.csv", b"policy,value\n", "0 rows"),
        ("figure.png", b"not a picture", "Reading of preference."),
    ],
)
def test_an_unreadable_file_is_named(tmp_path: Path, file: str, content: bytes, said: str) -> None:
    (put(tmp_path, "preference") / file).write_bytes(content)
    assert said in read(build_page(tmp_path, title="t")).text


def test_a_folder_without_analyses_says_so(tmp_path: Path) -> None:
    page = read(build_page(tmp_path, title="t", skipped={"axes": "no ratings"}))
    assert "This folder holds no analysis yet." in page.text
    assert "No input is on record." in page.text
    assert "no ratings" in page.text


def test_a_result_of_an_earlier_run_is_marked(tmp_path: Path) -> None:
    put(tmp_path, "axes")
    page = read(build_page(tmp_path, title="t", skipped={"axes": "no ratings"}))
    assert "this result is of an earlier one" in page.text


def test_an_input_of_several_analyses_is_listed_once(tmp_path: Path) -> None:
    put(tmp_path, "a")
    put(tmp_path, "b")
    html = build_page(tmp_path, title="t").read_text("utf-8")
    data = html.split('<section id="data">')[1].split("</section>")[0]
    assert data.count("batch18.json") == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.nan, "–"), (math.inf, "∞"), (-math.inf, "−∞"), (0.0, "0"), (98.0, "98"),
        (123456.0, "123,456"), (0.36734, "0.367"), (-0.36734, "−0.367"), (12.3456, "12.35"),
        (234.56, "234.6"), (2345.6, "2,346"), (0.00012345, "1.23e−04"), (1e20, "1.00e+20"),
    ],
)  # fmt: skip
def test_numbers(value: float, shown: str) -> None:
    assert number(value) == shown


def test_estimates_are_rounded_to_two_digits_of_their_error() -> None:
    table = pd.DataFrame(
        {
            "policy": ["a", "b", "c"],
            "value": ["0.873214", "12.3456", "0.3333333"], "se": ["0.0717", "1.23", ""],
            "low": ["0.7311", "9.9", ""], "high": ["1.0142", "14.7", ""],
            "level": ["0.9", "0.95", "0.95"], "n": ["5218", "9", "9"],
        }
    )  # fmt: skip
    view = table_view(table)
    assert [c.title for c in view.columns] == ["policy", "value [interval]", "SE", "level", "n"]
    assert [(row[1].text, row[1].extra) for row in view.rows] == [
        ("0.873", "[0.731, 1.014]"),
        ("12.3", "[9.9, 14.7]"),
        ("0.333", "[–]"),
    ]
    assert [row[2].text for row in view.rows] == ["0.072", "1.2", "–"]
    assert view.rows[0][4].text == "5,218"
    assert view.rows[0][1].sort == "0.873214"
    assert view.short
    assert view.count == "3 rows"


def test_names_that_look_like_missing_values_stay(tmp_path: Path) -> None:
    put(tmp_path, "labelers", estimates(policy=["NA", "null", "None"]))
    html = build_page(tmp_path, title="t").read_text("utf-8")
    assert all(f"<td>{name}</td>" in html for name in ("NA", "null", "None"))


def test_long_tables_are_folded_and_cut(tmp_path: Path) -> None:
    put(tmp_path, "long", estimates(SHOWN_ROWS + 100))
    page = read(build_page(tmp_path, title="t"))
    folded = next(d for d in page.all("details") if d.get("class") == "table")
    assert "open" not in folded
    assert f"Table, {SHOWN_ROWS + 100} rows" in page.text
    assert f"The first {SHOWN_ROWS} of {SHOWN_ROWS + 100} rows" in page.text
    assert page.text.count("sup1 ") == 1
    assert f"sup{SHOWN_ROWS}" not in page.text


@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_the_window_and_sorts(tmp_path: Path, browser: Any, width: int) -> None:
    long = estimates(30, policy=[f"{'very_' * 12}long_policy_name_{i:02d}" for i in range(30)])
    put(tmp_path, "long", long, command="evalsuite " + "x" * 300, title="W" * 200)
    browser.open(build_page(tmp_path, title="T" * 120), width=width)
    browser.js("document.querySelectorAll('details').forEach((box) => { box.open = true; })")
    assert browser.js("innerWidth") == width
    assert browser.js("document.documentElement.scrollWidth") <= width
    assert browser.overflow() == []
    assert browser.js("document.querySelector('img').naturalWidth") > 0
    # The policy's digest lets our own style and script through.
    assert browser.js("getComputedStyle(document.querySelector('.card')).borderRadius") == "8px"
    head = "document.querySelector('table.sortable th:nth-child(3) button')"
    browser.js(f"{head}.click(); {head}.click()")  # by value, largest first
    first = browser.js("document.querySelector('table.sortable td:nth-child(2)').textContent")
    assert first.endswith("name_29")
    assert browser.errors == []
    assert all(url.startswith(("file:", "data:", "about:")) for url in browser.requests)


@pytest.mark.parametrize("width", [390, 1280])
def test_contents_are_a_bar_on_a_narrow_window(tmp_path: Path, browser: Any, width: int) -> None:
    for name in ("alpha", "beta", "gamma"):
        put(tmp_path, name)
    browser.open(build_page(tmp_path, title="t"), width=width)
    contents = "document.getElementById('contents')"
    assert browser.js(f"{contents}.open") == (width == 1280)
    browser.js(f"{contents}.open = true")
    browser.js("document.querySelector('nav a[href=\"#a-gamma\"]').click()")
    assert browser.js("location.hash") == "#a-gamma"
    assert browser.js(f"{contents}.open") == (width == 1280)
    top = browser.js("document.getElementById('a-gamma').getBoundingClientRect().top")
    bar = browser.js("document.querySelector('nav').getBoundingClientRect().bottom")
    assert 0 <= top < 900
    assert width == 1280 or bar <= top  # the bar stays, and does not cover the heading
