"""The sample browser: right numbers, nothing breaks out of it, every control does its work."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evalsuite.errors import DataError
from evalsuite.experiment import Experiment, coerce
from evalsuite.report.browser import build_browser, standardised

HOSTILE = """</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>"'&{{7*7}}"""
NAN = math.nan

POLICIES = [
    ("sup_small_t0.7", "small supervised", "supervised", "small", "", 0),
    ("ppo_a", "small PPO", "human feedback", "small", "rm-a", 1),
    ("ppo_b", "large PPO", "human feedback", "large", "rm-b", 1),
    ("reference_summary", "reference", "reference", "", "", 0),
]


def experiment(posts: int = 3, seeds: int = 2, text: str = "words of") -> Experiment:
    """Post p0, p1, ...; gold of the references 0, 1, 2, ..., so mean 1 and sd 1 for three."""
    rows = [
        {
            "policy": policy, "seed": seed, "post_id": f"p{post}", "domain": "tldr",
            "text": f" {text} {policy} on p{post} in seed {seed}", "chars": 20 + post,
            # The first PPO policy is liked by its reward model and worth nothing on post 2.
            "gold": -5 if policy == "ppo_a" and post == 2 else 2 + post,
            "gold_reference": post,
            "reward": {"ppo_a": 10 * post, "ppo_b": post}.get(policy, NAN),
            "reward_reference": {"ppo_a": 10 * post - 10, "ppo_b": post}.get(policy, NAN),
            "kl_nats": NAN if policy == "sup_small_t0.7" else 3.25, "expected": 0.75,
        }
        for policy in ("sup_small_t0.7", "ppo_a", "ppo_b")
        for seed in range(seeds)
        for post in range(posts)
    ]  # fmt: skip
    rows.append({"policy": "reference_summary", "seed": 0, "post_id": "p0", "text": "not shown"})
    probes = [
        {"model": "rm-a", "probe": "roles swapped", "post_id": "p1", "prefers": 0.0},
        {"model": "rm-b", "probe": "roles swapped", "post_id": "p1", "prefers": 1.0},
        {"model": "rm-c", "probe": "cut", "post_id": "p1", "prefers": 0.0, "gold_gap": 0.1,
         "member": 0.0},
        {"model": "rm-c", "probe": "cut", "post_id": "p2", "prefers": 0.0, "gold_gap": 0.0},
        {"model": "rm-c", "probe": "cut", "post_id": "p2", "prefers": 0.0, "gold_gap": -1.0},
        {"model": "rm-d", "probe": "cut", "post_id": "p2", "prefers": 0.0, "member": 1.0},
    ]  # fmt: skip
    columns = ["policy", "label", "method", "size", "objective", "main"]
    return Experiment(
        {
            "policies": coerce("policies", pd.DataFrame(POLICIES, columns=columns)),
            "summaries": coerce("summaries", pd.DataFrame(rows)),
            "probes": coerce("probes", pd.DataFrame(probes)),
        },
        "true utility",
    )


def some_posts(count: int = 3, text: str = "A post about") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "post_id": [f"p{i}" for i in range(count)],
            "title": [f"Title {i}" for i in range(count)],
            "section": "advice",
            "text": [f"{text} number {i}.\n" * (1 + 40 * (i == 1)) for i in range(count)],
            "reference": [f"reference {i}" for i in range(count)],
        }
    )


def read(path: Path) -> dict[str, Any]:
    """The data in the file, as a browser would read it."""
    block = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.S
    )
    assert block
    return dict(json.loads(block[1]))


def row(data: dict[str, Any], post: str, policy: str, seed: int) -> dict[str, Any]:
    rows = next(p for p in data["posts"] if p["id"] == post)["rows"]
    named = [dict(zip(data["columns"], cells, strict=True)) for cells in rows]
    place = [p["policy"] for p in data["policies"]].index(policy)
    return next(r for r in named if (r["policy"], r["seed"]) == (place, seed))


def test_proxy_and_truth_are_in_standard_deviations_of_the_references() -> None:
    rows = standardised(experiment()).set_index(["policy", "seed", "post_id"])
    bad = rows.loc[("ppo_a", 0, "p2")]
    # Truth: references 0, 1, 2, mean 1, sd 1: (-5 - 1) / 1. Proxy: the reward model gives the
    # references -10, 0, 10, mean 0, sd 10, and this summary 20: 20 / 10.
    assert (bad["truth"], bad["proxy"], bad["gap"]) == (-6, 2, 8)
    # The other objective has a scale of its own: references 0, 1, 2 and this summary 2.
    good = rows.loc[("ppo_b", 1, "p2")]
    assert (good["truth"], good["proxy"]) == (3, 1)
    assert math.isnan(rows.loc[("sup_small_t0.7", 0, "p2"), "proxy"])
    assert rows.loc[("sup_small_t0.7", 0, "p2"), "truth"] == 3


def test_one_reference_has_no_scale() -> None:
    rows = standardised(experiment(posts=1))
    assert rows[["proxy", "truth", "gap"]].isna().all(axis=None)


def test_domains_have_scales_of_their_own() -> None:
    it = experiment()
    news = it["summaries"].assign(domain="news", gold_reference=lambda t: 100 * t["gold_reference"])
    both = pd.concat([it["summaries"], news])
    rows = standardised(Experiment({**it.tables, "summaries": both}))
    rows = rows[(rows["policy"] == "ppo_b") & (rows["seed"] == 0) & (rows["post_id"] == "p2")]
    assert rows.set_index("domain")["truth"].to_dict() == {"tldr": 3, "news": (4 - 100) / 100}


def test_the_file_holds_what_was_written_and_measured(tmp_path: Path) -> None:
    data = read(build_browser(tmp_path / "samples.html", experiment(), some_posts(), title="t"))
    assert [p["id"] for p in data["posts"]] == ["p0", "p1", "p2"]
    # Policies of Fig. 1 first; the reference stands beside the post, not among them.
    assert [p["label"] for p in data["policies"]] == ["small PPO", "large PPO", "small supervised"]
    first = data["posts"][1]
    assert (first["title"], first["reference"], first["gold"]) == ("Title 1", "reference 1", 1)
    assert first["failed"] == ["cut: rm-c", "roles swapped: rm-a"]
    assert data["posts"][0]["failed"] == []
    # In truth the second side was as good or better; one member speaks for an ensemble.
    assert data["posts"][2]["failed"] == []
    bad = row(data, "p2", "ppo_a", 1)
    assert bad["text"] == " words of ppo_a on p2 in seed 1"
    assert (bad["gold"], bad["reward"], bad["kl_nats"], bad["gap"]) == (-5, 20, 3.25, 8)
    assert row(data, "p2", "sup_small_t0.7", 0)["reward"] is None
    assert data["unit"] == "true utility"


@pytest.mark.parametrize("label", ["", "sup_small_t0.7"])
def test_a_policy_without_a_word_of_its_own_gets_the_one_of_figures(
    tmp_path: Path, label: str
) -> None:
    it = experiment()
    table = it["policies"].replace({"label": {"small supervised": label}})
    it = Experiment({**it.tables, "policies": table})
    data = read(build_browser(tmp_path / "s.html", it, some_posts(), title="t"))
    assert [p["label"] for p in data["policies"]] == [
        "small PPO", "large PPO", "small supervised, T=0.7",
    ]  # fmt: skip


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "samples.html"
    build_browser(path, experiment(9, 1), some_posts(9), title="t", limit=4)
    data = read(path)
    assert len(data["posts"]) == 4
    said = "12 summaries of 4 posts. Left out to keep the file small: 15 summaries of 5 posts"
    assert said in path.read_text("utf-8")
    # A larger limit adds posts and takes none away.
    build_browser(path, experiment(9, 1), some_posts(9), title="t", limit=7)
    assert {p["id"] for p in data["posts"]} < {p["id"] for p in read(path)["posts"]}
    build_browser(path, experiment(9, 1), some_posts(9), title="t")
    assert "27 summaries of 9 posts: all there are." in path.read_text("utf-8")


def test_bytes_are_limited_but_one_post_is_always_there(tmp_path: Path) -> None:
    path = tmp_path / "samples.html"
    build_browser(path, experiment(9), some_posts(9), title="t", max_bytes=4000)
    some = len(read(path)["posts"])
    assert 1 < some < 9
    build_browser(path, experiment(9), some_posts(9), title="t", max_bytes=1)
    assert len(read(path)["posts"]) == 1


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    posts = some_posts().assign(title=HOSTILE, section=HOSTILE, text=HOSTILE, reference=HOSTILE)
    path = build_browser(tmp_path / "samples.html", experiment(text=HOSTILE), posts, title=HOSTILE)
    html = path.read_text("utf-8")
    assert html.count("<script") == html.count("</script") == 2
    assert "<img" not in html
    assert "<!--" not in html
    data = read(path)
    assert data["posts"][0]["text"] == HOSTILE
    assert row(data, "p0", "ppo_a", 0)["text"].startswith(f" {HOSTILE}")


def test_nothing_may_be_loaded_and_only_our_script_may_run(tmp_path: Path) -> None:
    html = build_browser(
        tmp_path / "samples.html", experiment(), some_posts(), title="t"
    ).read_text("utf-8")
    assert "default-src 'none'" in html
    assert re.search(r"script-src 'sha256-[\w+/]+=*';", html)
    assert not re.findall(r'(?:src|href)="(?!index\.html)', html)
    assert "url(" not in html


def test_same_tables_give_the_same_file(tmp_path: Path) -> None:
    one = build_browser(tmp_path / "1.html", experiment(), some_posts(), title="t").read_bytes()
    mixed = experiment()
    shuffled = mixed["summaries"].sample(frac=1, random_state=3)
    again = Experiment({**mixed.tables, "summaries": shuffled}, "true utility")
    two = build_browser(tmp_path / "2.html", again, some_posts(), title="t").read_bytes()
    assert one == two


@pytest.mark.parametrize(
    ("posts", "said"),
    [
        (some_posts().drop(columns="reference"), "posts have no column 'reference'"),
        (some_posts().assign(post_id="p1"), "post 'p1' is there twice"),
        (some_posts().assign(post_id=["x", "y", "z"]), "no post has a summary"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, posts: pd.DataFrame, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        build_browser(tmp_path / "samples.html", experiment(), posts, title="t")


# In a real browser.

SHOWN = "[...document.querySelectorAll('article')].map((a) => a.dataset.post)"
WHO = "[...document.querySelectorAll('.who')].map((w) => w.textContent)"
COUNT = "document.getElementById('count').textContent"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("browser") / "samples.html"
    return build_browser(path, experiment(20, 5), some_posts(20), title="A run")


def set_to(browser: Any, name: str, value: str) -> None:
    """Choose as a user does: the value changes and the form hears of it."""
    browser.js(
        f"""(() => {{ const field = document.forms.filters.elements["{name}"];
        if (field.type === "checkbox") field.click();
        else {{ field.value = "{value}";
          field.dispatchEvent(new Event("input", {{ bubbles: true }})); }} }})()"""
    )


@pytest.mark.parametrize("width", [390, 1280])
def test_browser_fits_the_window(samples: Path, browser: Any, width: int, tmp_path: Path) -> None:
    posts = some_posts().assign(title="T" * 200, text="x" * 900, section="s" * 100)
    wide = experiment(text="w" * 300)
    table = wide["policies"].assign(label=lambda t: t["label"] + "L" * 120)
    long = build_browser(
        tmp_path / "long.html",
        Experiment({**wide.tables, "policies": table}),
        posts,
        title="A" * 90,
    )
    for path in (samples, long):
        browser.open(path, width=width)
        browser.js("document.getElementById('toggle').click()")
        assert browser.js("innerWidth") == width
        assert browser.js("document.documentElement.scrollWidth") <= width
        assert browser.overflow() == []
        assert browser.errors == []
        assert all(url.startswith(("file:", "about:")) for url in browser.requests)
    hidden = "getComputedStyle(document.getElementById('more')).display === 'none'"
    browser.open(samples, width=width)
    assert browser.js(hidden) == (width == 390)  # a narrow window folds the filters away


@pytest.mark.parametrize("width", [390, 1280])
def test_filters_stay_in_sight(samples: Path, browser: Any, width: int) -> None:
    browser.open(samples, width=width)
    browser.js("scrollTo(0, 1500)")
    box = "document.getElementById('filters').getBoundingClientRect()"
    assert browser.js(f"{box}.top") == 0
    assert browser.js(f"{box}.bottom") < 0.25 * 900


def test_hostile_text_is_shown_as_text(tmp_path: Path, browser: Any) -> None:
    posts = some_posts().assign(title=HOSTILE, text=HOSTILE, reference=HOSTILE, section=HOSTILE)
    path = build_browser(tmp_path / "s.html", experiment(text=HOSTILE), posts, title=HOSTILE)
    browser.open(path, width=1280, view="text=script")
    assert HOSTILE in browser.js("document.querySelector('article .body').textContent")
    assert browser.js("document.querySelectorAll('img, script[src]').length") == 0
    assert browser.js("document.querySelectorAll('mark').length") > 0
    assert browser.errors == []


def test_filters(samples: Path, browser: Any) -> None:
    browser.open(samples, width=1280)
    assert browser.js(COUNT) == "300 of 300 summaries, 20 of 20 posts"
    assert len(browser.js(SHOWN)) == 8
    set_to(browser, "policy", "ppo_b")
    assert browser.js(COUNT).startswith("100 of 300 summaries")
    assert {text.split("seed")[0] for text in browser.js(WHO)} == {"large PPO"}
    set_to(browser, "seed", "3")
    assert browser.js(COUNT) == "20 of 300 summaries, 20 of 20 posts"
    set_to(browser, "size", "small")  # no policy is both
    assert browser.js(COUNT).startswith("0 of 300")
    assert "No summary fits" in browser.js("document.getElementById('posts').textContent")
    browser.js("document.getElementById('reset').click()")
    assert browser.js(COUNT).startswith("300 of 300")
    set_to(browser, "method", "supervised")
    assert browser.js(COUNT).startswith("100 of 300")
    assert browser.errors == []


def test_words_are_sought_in_posts_and_summaries(samples: Path, browser: Any) -> None:
    browser.open(samples, width=1280)
    set_to(browser, "text", "TITLE NUMBER p7")  # two of the post, one of its summaries
    assert browser.js(SHOWN) == ["p7"]
    assert browser.js("document.querySelector('.words mark').textContent") == "p7"
    set_to(browser, "text", "ppo_a")
    assert browser.js(COUNT) == "100 of 300 summaries, 20 of 20 posts"
    set_to(browser, "text", "(.*")  # no pattern, plain text
    assert browser.js(COUNT).startswith("0 of 300")


def test_where_proxy_and_truth_part(samples: Path, browser: Any) -> None:
    browser.open(samples, width=1280)
    set_to(browser, "part", "1")
    # Truth: gold 2 + post against references 0 to 19 (mean 9.5, sd 5.92); p2 is worth -5. The
    # proxies: ppo_a 10 post against mean 85, sd 59.2, never 1 sd above with the truth below 0.
    assert browser.js(COUNT).startswith("0 of 300")
    assert browser.js("location.hash") == "#part=1"


def test_parting_summaries_are_found(tmp_path: Path, browser: Any) -> None:
    path = build_browser(tmp_path / "s.html", experiment(), some_posts(), title="t")
    browser.open(path, width=390, view="part=1")
    assert browser.js(COUNT) == "2 of 18 summaries, 1 of 3 posts"  # p2 of ppo_a, both seeds
    assert browser.js(SHOWN) == ["p2"]
    assert browser.js(WHO) == [f"small PPOseed {seed}proxy and truth part" for seed in (0, 1)]
    said = browser.js("document.querySelector('.strip title').textContent")
    assert said == "truth −6.0 SD, proxy 2.0 SD"


@pytest.mark.parametrize(
    ("sort", "first", "last"),
    [("gap", "p2", "p1"), ("worst", "p2", "p1"), ("best", "p2", "p0"), ("long", "p2", "p0")],
)
def test_sorting(tmp_path: Path, browser: Any, sort: str, first: str, last: str) -> None:
    path = build_browser(tmp_path / "s.html", experiment(), some_posts(), title="t")
    browser.open(path, width=1280)
    assert browser.js(SHOWN) == ["p0", "p1", "p2"]
    set_to(browser, "sort", sort)
    shown = browser.js(SHOWN)
    # Gaps: p2 8 (ppo_a), p0 1.. ; gold: p2 of ppo_a is -5, the best of each post is 2 + post.
    assert shown[0] == first
    assert shown[-1] == last
    if sort == "gap":
        assert browser.js(WHO)[0].startswith("small PPO")


def test_a_link_opens_a_view_and_the_view_is_in_the_address(samples: Path, browser: Any) -> None:
    view = "policy=ppo_a&seed=2&sort=long&text=number"
    browser.open(samples, width=1280, view=view)
    assert browser.js(COUNT) == "20 of 300 summaries, 20 of 20 posts"
    assert browser.js("document.forms.filters.elements.sort.value") == "long"
    assert browser.js(SHOWN)[0] == "p19"
    set_to(browser, "seed", "")
    kept = browser.js("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")
    assert kept == {"policy": "ppo_a", "sort": "long", "text": "number"}
    browser.js("location.hash = '#post=p13'")
    assert browser.js(f"new Promise((r) => setTimeout(() => r({SHOWN}), 0))") == ["p13"]
    browser.js("document.getElementById('reset').click()")
    assert browser.js("location.hash") == ""


def test_an_address_of_elsewhere_does_no_harm(samples: Path, browser: Any) -> None:
    browser.open(samples, width=1280, view="policy=nobody&sort=%3Cb%3E&part=2&x=1")
    assert browser.js(COUNT) == "300 of 300 summaries, 20 of 20 posts"
    assert browser.errors == []


def test_keys(samples: Path, browser: Any) -> None:
    browser.open(samples, width=1280)
    here = "document.activeElement.closest('article')?.dataset.post ?? document.activeElement.name"
    for key, place in (("j", "p0"), ("j", "p1"), ("j", "p2"), ("k", "p1"), ("/", "text")):
        browser.press(key)
        assert browser.js(here) == place, key
    browser.write("jk p4")  # letters are letters where one writes
    assert browser.js("document.forms.filters.elements.text.value") == "jk p4"
    browser.press("Escape")
    browser.press("r")
    assert browser.js("document.forms.filters.elements.text.value") == ""
    for _ in range(8):
        browser.press("j")
    assert browser.js(here) == "p7"
    browser.press("j")  # past the last one shown: more are
    assert browser.js(here) == "p8"
    assert len(browser.js(SHOWN)) == 16


def test_every_control_is_reached_by_tab(samples: Path, browser: Any) -> None:
    browser.open(samples, width=1280)
    met = []
    for _ in range(12):
        browser.press("Tab")
        met.append(browser.js("document.activeElement.name || document.activeElement.tagName"))
    wanted = ["text", "policy", "method", "size", "seed", "sort", "part"]
    assert [name for name in met if name in wanted] == wanted
    assert "domain" not in met  # there is but one


def test_more_of_a_post_on_demand(samples: Path, browser: Any) -> None:
    browser.open(samples, width=1280)
    first = "document.querySelector('article')"
    rows = f"{first}.querySelectorAll('.summaries > li').length"
    assert browser.js(rows) == 10
    more = f"{first}.querySelector('.button')"
    assert browser.js(f"{more}.textContent") == "Show 5 more summaries of this post"
    browser.js(f"{more}.click()")
    assert browser.js(rows) == 15
    # The long post p1 is cut and can be opened; the short p0 needs no button.
    whole = "document.querySelector('article[data-post={}] .post > .link')"
    assert browser.js(whole.format("p0") + ".hidden")
    assert not browser.js(whole.format("p1") + ".hidden")
    height = "document.querySelector('article[data-post=p1] .body').clientHeight"
    cut = browser.js(height)
    browser.js(whole.format("p1") + ".click()")
    assert browser.js(height) > 2 * cut
