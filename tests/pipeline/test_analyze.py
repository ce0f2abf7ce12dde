"""A run of analyses as a whole: what it writes, what it leaves alone, what it says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analyses
from evalsuite.datasets import load
from evalsuite.errors import ConfigError, EvalsuiteError
from evalsuite.pipeline.analyze import (
    describe_settings,
    load_analysis,
    of_experiment,
    prepare_folder,
    run_analyses,
)
from evalsuite.simulation import SMALL, WorldConfig, truth, write_release
from evalsuite.simulation.labelers import Crowd
from evalsuite.simulation.world import World
from evalsuite.stats.estimate import Estimate
from evalsuite.stats.length_control import fit_length_control, log_length_ratio
from evalsuite.stats.preference import pairwise_rates
from evalsuite.tables import Tables


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("world")
    write_release(folder, SMALL)
    return load(folder)


OF_LABELS = [name for name in analyses.NAMES if not of_experiment(load_analysis(name))]


@pytest.fixture(scope="session")
def everything(world: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "reports"
    run = run_analyses(["all"], world, out, seed=1)
    assert run.page == out / "index.html"
    return out


def test_the_world_feeds_every_analysis_and_both_domains(everything: Path) -> None:
    folders = {path.name for path in everything.iterdir() if path.is_dir()}
    assert folders - {"simulated_data"} >= set(OF_LABELS)
    assert not folders & (set(analyses.NAMES) - set(OF_LABELS))
    assert {"preference-cnndm", "axes-cnndm", "copying-cnndm"} <= folders
    assert not [name for name in folders if name.startswith(".")]


def test_every_result_is_complete_and_says_where_it_comes_from(everything: Path) -> None:
    for folder in (path for path in everything.iterdir() if path.is_dir()):
        files = sorted(path.name for path in folder.iterdir())
        assert files == ["figure.pdf", "figure.png", "provenance.json", "table.csv"], folder
        record = json.loads((folder / "provenance.json").read_text("utf-8"))
        assert record["seed"] == 1
        assert record["inputs"]
        assert all("/" not in source["name"] for source in record["inputs"])
        assert all(len(source["sha256"]) == 64 for source in record["inputs"])
        assert record["reading"].endswith(".")
        assert "/tmp" not in json.dumps(record)


def test_every_table_holds_estimates(everything: Path) -> None:
    for path in everything.glob("*/table.csv"):
        table = pd.read_csv(path)
        assert {"quantity", *Estimate._fields} <= set(table.columns), path
        known = table[table["low"].notna()]
        assert len(known), path
        assert (known["low"] <= known["value"] + 1e-9).all(), path
        assert (known["value"] <= known["high"] + 1e-9).all(), path
        assert (known["n_clusters"] >= 5).all(), path
        assert table.loc[table["value"].isna(), "method"].str.startswith("undefined").all(), path


def test_same_seed_same_bytes_alone_or_among_others(
    world: Tables, everything: Path, tmp_path: Path
) -> None:
    run_analyses(["agreement"], world, tmp_path / "out", seed=1)
    for name in ("table.csv", "figure.png", "figure.pdf"):
        alone = (tmp_path / "out" / "agreement" / name).read_bytes()
        assert alone == (everything / "agreement" / name).read_bytes(), name


def test_a_figure_can_be_drawn_from_its_table_alone(everything: Path) -> None:
    for name in OF_LABELS:
        figure = load_analysis(name).plot(pd.read_csv(everything / name / "table.csv"))
        assert figure.axes


def test_what_the_data_lacks_is_left_out_with_its_reason(world: Tables, tmp_path: Path) -> None:
    tables = Tables(
        policies=world.policies,
        summaries=world.summaries,
        posts=world.posts,
        comparisons=world.comparisons.iloc[0:0],
        ratings=world.ratings,
    )
    run = run_analyses(["all"], tables, tmp_path / "out")
    assert "axes" in run.written
    assert {"preference", "length_control", "labelers"} <= set(run.skipped)
    assert all(run.skipped.values())
    with pytest.raises(EvalsuiteError, match=r"^preference: "):
        run_analyses(["preference"], tables, tmp_path / "out")


def test_no_data_at_all(tmp_path: Path) -> None:
    with pytest.raises(EvalsuiteError, match=r"^no analysis can run on this data: preference: "):
        run_analyses(["all"], Tables(), tmp_path / "out")


def test_a_failing_run_leaves_the_old_result(
    world: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run_analyses(["decoding"], world, out)
    before = (out / "decoding" / "table.csv").read_bytes()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("evalsuite.pipeline.analyze.style.save", stop)
    with pytest.raises(KeyboardInterrupt):
        run_analyses(["decoding"], world, out)
    assert (out / "decoding" / "table.csv").read_bytes() == before
    assert sorted(path.name for path in out.iterdir()) == ["decoding", "index.html"]


@pytest.mark.parametrize(
    ("names", "overrides", "message"),
    [
        (["preference"], ["levle=0.9"], "unknown key 'levle'; did you mean 'level'?"),
        (["preference", "axes"], ["bins=4"], "--set bins=4: no analysis that is run has the"),
        (["axes"], ["rouge.level=0.9"], "--set rouge.level=0.9: rouge is not run; allowed axes"),
        (["prefrence"], [], "unknown analysis 'prefrence'; did you mean 'preference'?"),
        (["zzz"], [], "unknown analysis 'zzz'; allowed: all, preference, length_control"),
    ],
)
def test_refused_requests(
    world: Tables, tmp_path: Path, names: list[str], overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run_analyses(names, world, tmp_path / "out", overrides=overrides)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_settings_reach_the_analysis_they_name(world: Tables, tmp_path: Path) -> None:
    run_analyses(["preference", "decoding"], world, tmp_path, overrides=["preference.level=0.8"])
    levels = {
        name: pd.read_csv(tmp_path / name / "table.csv")["level"].unique().tolist()
        for name in ("preference", "decoding")
    }
    assert levels == {"preference": [0.8], "decoding": [0.95]}


def test_a_bare_setting_reaches_every_analysis_that_has_it(world: Tables, tmp_path: Path) -> None:
    run_analyses(["agreement", "decoding"], world, tmp_path, overrides=["level=0.8", "minimum=2"])
    for name in ("agreement", "decoding"):
        assert pd.read_csv(tmp_path / name / "table.csv")["level"].unique().tolist() == [0.8]


def test_a_split_of_one_domain_only(world: Tables, tmp_path: Path) -> None:
    tldr = world.comparisons["domain"] == "tldr"
    only = world.comparisons["split"].where(~tldr, "mine")
    tables = dataclasses.replace(world, comparisons=world.comparisons.assign(split=only))
    run = run_analyses(["preference"], tables, tmp_path, overrides=["splits=mine"])
    assert set(run.written) == {"preference"}
    assert "split" in run.skipped["preference-cnndm"]
    with pytest.raises(EvalsuiteError, match=r"^preference: .*split"):
        run_analyses(["preference"], tables, tmp_path, overrides=["splits=nobodys"])


def test_output_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EvalsuiteError, match=r"file is a file; allowed a folder"):
        prepare_folder(tmp_path / "file" / "deeper" / "out")


def test_rates_and_length_control_find_the_truth_of_the_world(tmp_path: Path) -> None:
    """On 12,000 labels, 8 rates and the length coefficient lie within 4 SE of the world's own."""
    config = WorldConfig(seed=5, comparisons=12_000, news_share=0.0, ratings=0, news_ratings=0)
    write_release(tmp_path, config)
    labels = load(tmp_path / "comparisons")
    world, crowd = World(config.seed), Crowd.draw(World(config.seed), config.labelers)
    found = pairwise_rates(labels.comparisons, against="reference_summary")
    for policy, got in found.nlargest(8, "n").set_index("policy").iterrows():
        true = truth.true_rate(world, crowd, str(policy), posts=1024)
        assert abs(got["value"] - true.value) < 4 * np.hypot(got["se"], true.se), policy

    sides = labels.sides(["chars"])
    ratio = log_length_ratio(sides["left_chars"], sides["right_chars"])
    fit = fit_length_control(
        sides["left_policy"],
        sides["right_policy"],
        ratio,
        sides["choice"],
        clusters=sides["item"],
    )
    met = sides[sides["left_policy"] != sides["right_policy"]]
    pairs = met.groupby(["left_policy", "right_policy"]).size().nlargest(40)
    names = {"reference_summary": "ref"}
    menu = [(names.get(a, a), names.get(b, b), n) for (a, b), n in pairs.items()]
    coefficient, _ = truth.true_length_control(world, crowd, menu, posts=256)
    # 0.05: the menu leaves rare pairs out and its draw of 256 posts has an error of its own.
    assert abs(fit.coefficient.value - coefficient) < 4 * fit.coefficient.se + 0.05


@pytest.mark.parametrize("name", analyses.NAMES)
def test_every_setting_says_what_it_means(name: str) -> None:
    settings = describe_settings(load_analysis(name))
    assert "level" in [key for key, _, _ in settings]
    assert all(len(meaning) > 10 for _, _, meaning in settings), settings
