"""Figures look the same everywhere: policy looks by name alone, labels apart, equal files."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from evalsuite.report import looks, style

RELEASE = [
    "reference_summary", "human_editor", "lead-3", "pretrain_6b_t.7", "sup1", "sup2", "sup3",
    "sup4_t0.7", "sup4_6b", "sup4_6b_t.3", "sup4_6b_t.7", "sup4_6b_t1", "sup4_6b_p.8",
    "sup4_6b_p.95", "sup4_12b", "sup2_bo8_rm1", "sup4_bo128_rm3", "sup4_bo512_rm3",
    "sup4_ppo_rm3", "sup4_ppo_rm3_kl10", "sup4_6b_ppo_rm4_6b_kl14",
]  # fmt: skip


def grey(colour: str) -> float:
    """Luma of a hex colour, 0 to 1 (Rec. 601, as a photocopy would)."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue


# --- one look a policy -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "label"),
    [
        ("reference_summary", "reference"),
        ("human_editor", "human editor"),
        ("sup4_6b_t.7", "6.7B supervised, T=0.7"),
        ("sup4_6b_p.95", "6.7B supervised, top-p 0.95"),
        ("sup4_12b", "13B supervised, T=0"),
        ("sup4_3b_t1", "3B supervised, T=1"),
        ("sup2", "1.3B sup2"),
        ("sup_cnndm_6b", "6.7B supervised on cnndm, T=0"),
        ("pretrain_6b_t.7", "6.7B pretrained, T=0.7"),
        ("sup3_bo63_rm2", "1.3B sup3 best of 63 (rm2)"),
        ("sup4_ppo_rm3_kl10", "1.3B PPO (rm3), KL 9.4"),
        ("sup4_6b_ppo_rm4_6b_kl14", "6.7B PPO (rm4_6b), KL 14"),
        ("lead-3", "lead-3"),
        ("gpt4_turbo", "gpt4_turbo"),
        ("mine_t.3", "mine, T=0.3"),
        ("sup_small", "small supervised, T=0"),
        ("sup_small_t0.7", "small supervised, T=0.7"),
        ("pretrain_large_t0.7", "large pretrained, T=0.7"),
        ("sup_135m_p.95", "135M supervised, top-p 0.95"),
        ("sup_1.4b", "1.4B supervised, T=0"),
        ("sup_cnndm_small", "small supervised on cnndm, T=0"),
        ("sup_small_ppo_rm4800_b0.05_t0.7", "small PPO (rm4800), T=0.7"),
        ("sup_small_ppo_rm4800_b0.2_t0.7", "small PPO (rm4800), β=0.2, T=0.7"),
        ("sup_small_ppo_rouge_b0.05_t0.7", "small PPO (ROUGE), T=0.7"),
        (
            "sup_small_ppo_shared_rm4800_b0.05_t0.7",
            "small PPO (rm4800), shared value network, T=0.7",
        ),
        ("sup_small_bo64_rm4800", "small best of 64 (rm4800)"),
        ("sup_small_ppo_rm2", "small PPO (rm2)"),
        ("", ""),
    ],
)
def test_labels_are_readable(policy: str, label: str) -> None:
    assert style.policy_style(policy).label == label


def test_model_label_leaves_the_decoding_out() -> None:
    assert style.model_label("sup4_6b_t.7") == style.model_label("sup4_6b") == "6.7B supervised"
    assert style.model_label("mine_p.9") == "mine"


def test_policies_of_the_release_differ_in_label_and_in_colour_or_marker() -> None:
    looks = [style.policy_style(policy) for policy in RELEASE]
    assert len({look.label for look in looks}) == len(RELEASE)
    assert len({(look.colour, look.marker) for look in looks}) == len(RELEASE)


OWN = [
    "pretrain_small_t0.7", "sup_small_t0.7", "sup_small_p0.95", "sup_medium_t0.7",
    "sup_large_t0.7", "sup_small_bo16_rouge", "sup_small_bo64_rm4800",
    "sup_small_ppo_rm4800_b0.01_t0.7", "sup_small_ppo_rm4800_b0.05_t0.7",
    "sup_small_ppo_rouge_b0.05_t0.7", "sup_medium_ppo_rm4800_b0.05_t0.7",
    "sup_small_ppo_shared_rm4800_b0.05_t0.7",
]  # fmt: skip


def test_policies_of_own_runs_differ_too() -> None:
    looks = [style.policy_style(policy) for policy in OWN]
    assert len({look.label for look in looks}) == len(OWN)
    assert len({(look.colour, look.marker) for look in looks}) == len(OWN)


def test_sizes_shade_lightness_whether_words_or_numbers() -> None:
    for names in (
        ("sup_large", "sup_medium", "sup_small"),
        ("sup_12b", "sup_1.4b", "sup_135m"),
        ("sup_large_ppo_rm1", "sup_medium_ppo_rm1", "sup_small_ppo_rm1"),
    ):
        levels = [grey(style.policy_style(name).colour) for name in names]
        assert levels == sorted(levels), names
        assert len(set(levels)) == 3


def test_families_differ_by_marker_and_are_dark_enough_on_white() -> None:
    first = {style.family(policy): style.policy_style(policy) for policy in RELEASE}
    assert set(first) == set(style.FAMILIES) - {"other"}
    assert len({look.marker for look in first.values() if look.marker != "p"}) == len(
        {look.marker for look in first.values()} - {"p"}
    )
    for policy in RELEASE:
        assert grey(style.policy_style(policy).colour) < 0.72, policy
    # What most figures show is told apart by a copier.
    levels = [grey(style.policy_style(p).colour) for p in
              ("reference_summary", "sup4_6b", "sup4_ppo_rm3", "pretrain_6b_t.7")]  # fmt: skip
    assert (np.diff(levels) > 0.08).all(), levels


@given(st.text(max_size=30))
def test_any_name_has_a_look_that_depends_on_nothing_else(policy: str) -> None:
    look = style.policy_style(policy)
    looks.policy_style.cache_clear()
    assert style.policy_style(policy) == look
    assert mpl.colors.is_color_like(look.colour)
    assert len(look.colour) == 7


@given(
    st.lists(st.one_of(st.sampled_from(RELEASE), st.text(max_size=8)), max_size=12), st.randoms()
)
def test_order_does_not_depend_on_the_order_given(policies: list[str], random: object) -> None:
    shuffled = list(policies)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert style.policy_order(shuffled) == style.policy_order(policies)
    assert set(style.policy_order(policies)) == set(policies)


def test_order_is_the_paper_s_then_natural() -> None:
    assert style.policy_order(reversed(RELEASE)) == RELEASE
    assert style.policy_order(["M10", "M9", "sup1"]) == ["sup1", "M9", "M10"]


def test_colours_of_oklch() -> None:
    # Ottosson's definition: lightness 1 without chroma is white; OKLCH of sRGB red and blue.
    assert looks._oklch(1.0, 0.0, 0.0) == "#ffffff"
    assert looks._oklch(0.0, 0.0, 0.0) == "#000000"
    assert looks._oklch(0.627955, 0.257683, 29.2339) == "#ff0000"
    assert looks._oklch(0.452014, 0.313214, 264.052) == "#0000ff"


# --- figures and files -----------------------------------------------------------------------


def example() -> Figure:
    fig, (left, right) = style.figure("double", 2.6, cols=2)
    labels = [style.policy_style(policy).label for policy in RELEASE[:4]]
    style.forest(left, labels, [0.5, 0.3, math.nan, 0.2], [0.05, 0.02, math.nan, math.nan],
                 policies=RELEASE[:4], counts=[98, 9, 0, math.nan])  # fmt: skip
    style.rate_axis(left, "x", label="preferred", chance=0.5)
    style.title(left, "A")
    right.plot([0, 1], [0, 1], label="line")
    style.legend(right)
    style.label_directly(right, [1, 1], [1, 0.99], ["one", "two"])
    style.note_errorbars(fig)
    return fig


def test_saved_files_are_equal_and_hold_no_dates(tmp_path: Path) -> None:
    style.save(example(), tmp_path / "a", dpi=60)
    fig = example()
    style.save(fig, tmp_path / "b", dpi=60)
    style.save(fig, tmp_path / "c", dpi=60)
    for kind in ("png", "pdf"):
        first = (tmp_path / f"a.{kind}").read_bytes()
        assert (tmp_path / f"b.{kind}").read_bytes() == first
        assert (tmp_path / f"c.{kind}").read_bytes() == first
        assert b"CreationDate" not in first
        assert b"atplotlib" not in first
    assert b"/FontFile2" in (tmp_path / "a.pdf").read_bytes()  # embedded TrueType
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"{n}.{k}" for n in "abc" for k in ("pdf", "png")
    ]


def test_no_global_setting_is_changed_and_pyplot_stays_out() -> None:
    code = (
        "import sys, matplotlib as mpl;"
        "now = lambda: {k: mpl.rcParams[k] for k in mpl.rcParams if k != 'backend'};"
        "before = now();"
        "from evalsuite.report import style; fig, ax = style.figure();"
        "style.forest(ax, ['a'], [1], [1]); style.note_errorbars(fig); style.title(ax, 'a');"
        "fig.draw_without_rendering();"
        "assert now() == before; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error::DeprecationWarning", "-c", code], check=True)


def test_names_with_dots_keep_them(tmp_path: Path) -> None:
    fig, _ = style.figure(1.0, 1.0)
    png, pdf = style.save(fig, tmp_path / "a.b", dpi=50)
    assert (png.name, pdf.name) == ("a.b.png", "a.b.pdf")


def test_figure_sizes() -> None:
    fig, ax = style.figure("single", 2.0)
    assert tuple(fig.get_size_inches()) == (3.6, 2.0)
    assert not ax.spines["top"].get_visible()
    fig, axes = style.figure(5.0, rows=2, cols=2)
    assert axes.shape == (2, 2)
    assert tuple(fig.get_size_inches()) == (5.0, pytest.approx(5.0 / 2 * 0.72 * 2))


# --- axes and marks --------------------------------------------------------------------------


def test_rate_axis_is_in_per_cent_within_bounds() -> None:
    _, ax = style.figure()
    ax.plot([0, 1], [0.1, 0.999])
    style.rate_axis(ax, "y", label="rate", chance=0.5)
    assert ax.get_ylabel() == "rate"
    assert ax.get_ylim()[1] <= 1.02
    assert ax.yaxis.get_major_formatter()(0.25, 0) == "25%"
    assert ax.yaxis.get_major_formatter()(0.025, 0) == "2.5%"
    assert [line.get_ydata()[0] for line in ax.lines] == [0.1, 0.5]
    style.rate_axis(ax, "x", limits=(0.2, 0.4))
    assert ax.get_xlim() == (0.2, 0.4)


def test_errorbars_draw_the_table_and_leave_undefined_bars_out() -> None:
    fig, ax = style.figure()
    table = pd.DataFrame({"n": [1, 2], "value": [0.5, 0.7], "se": [0.1, math.nan]})
    style.errorbars(ax, table, "n", policy="sup4_6b", line=True)
    (container,) = ax.containers
    line, _, (bars,) = container.lines
    assert line.get_ydata().tolist() == [0.5, 0.7]
    assert line.get_color() == style.policy_style("sup4_6b").colour
    drawn = [s for s in bars.get_segments() if len(s)]
    assert np.allclose(drawn, [[[1, 0.4], [1, 0.6]]])
    fig.draw_without_rendering()


def test_forest_rows_go_down_from_the_first() -> None:
    _, ax = style.figure()
    heights = style.forest(
        ax, ["a", "b"], [0.2, 0.4], [0.1, 0.1], label="raw", colours=["red", "blue"]
    )
    style.forest(
        ax, ["a", "b"], [0.3, 0.5], [0.1, 0.1], offset=0.2, filled=False, label="controlled"
    )
    style.connect(ax, heights, [0.2, 0.4], [0.3, 0.5])
    assert heights.tolist() == [0, -1]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    marks = [c.lines[0] for c in ax.containers]
    assert [m.get_ydata()[0] for m in marks] == [0, -1, -0.2, -1.2]
    assert marks[2].get_markerfacecolor() == "white"
    assert ax.get_legend_handles_labels()[1] == ["raw", "controlled"]
    _, empty = style.figure()
    assert style.forest(empty, [], [], []).size == 0


def test_notes_add_up() -> None:
    fig, ax = style.figure()
    style.note(ax, "hollow: few")
    style.note_errorbars(fig)
    assert fig.get_supxlabel() == "hollow: few; error bars: 1 SE"


def test_long_notes_stay_inside_the_figure() -> None:
    fig, ax = style.figure("single", 2.0)
    style.note(ax, "a long remark about what was left out of this figure and for which reason")
    style.note_errorbars(ax)
    fig.draw_without_rendering()
    (text,) = [t for t in fig.texts if "remark" in t.get_text()]
    box = text.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= fig.bbox.x1
    assert "\n" in text.get_text()


def test_no_word_of_a_note_stands_alone() -> None:
    """Lines of a wrapped note differ by a word's length at most."""
    fig, _ = style.figure("double", 2.0)
    style.note(
        fig,
        "lines: least squares within a policy, half an SD of length each way; dotted: mean length "
        "of the references; open: predicted there",
    )
    style.note_errorbars(fig)
    lines = fig.get_supxlabel().split("\n")
    assert len(lines) == 2
    assert abs(len(lines[0]) - len(lines[1])) < 18
    assert lines[1].endswith("error bars: 1 SE")


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, ""),
        (1, "1 policy of too few clusters for an interval in the table only"),
        (1200, "1,200 policies of too few clusters for an interval in the table only"),
    ],
)
def test_notes_count_what_only_the_table_has(count: int, said: str) -> None:
    fig, _ = style.figure("double")
    style.note_table_only(fig, count, "policy", "policies")
    assert fig.get_supxlabel() == said


def test_rows_of_unknown_families_have_one_marker() -> None:
    """Told apart by their labels; a family's marker stays."""
    _, ax = style.figure()
    style.forest(ax, list("abc"), [1, 2, 3], [0.1] * 3, policies=["M8", "M9", "human_editor"])
    assert [line.get_marker() for line in ax.lines if line.get_marker() != "None"] == [
        "o",
        "o",
        "P",
    ]
