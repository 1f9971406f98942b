from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from probe.stand_in import run_plan, write_tones

from emotion2vec.corpora.options import CorpusOptions
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.probe import corpus
from emotion2vec.probe import run as probe_run
from emotion2vec.probe.benchmark import run as benchmark
from emotion2vec.probe.benchmark.loading import heads_of, load_plan
from emotion2vec.probe.benchmark.plan import CorpusPlan, FeaturePlan
from emotion2vec.probe.features import models, names
from emotion2vec.probe.heads import HEADS, LinearHead, WeightedHead
from emotion2vec.probe.run import judge
from emotion2vec.report import page
from emotion2vec.report.exports import Row, to_latex, to_markdown
from emotion2vec.report.options import PlotOptions
from emotion2vec.report.plots import draw_features
from emotion2vec.tasks.significance import Comparison


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_tones(tmp_path, speakers=3, each=2)
    path = tmp_path / "plan.yaml"
    path.write_text(
        f"""
title: Tones <b>& more
data: {tmp_path}
corpora:
  - {{table: absent.csv, title: absent}}
  - {{table: tones.csv, title: tones}}
  - {{table: tones.csv, folds: random, title: tones at random}}
features: [logmel, {{name: mfcc, pooling: mean, title: means}}]
output: {tmp_path / "out"}
"""
    )
    return path


def test_a_benchmark_survives_a_bad_corpus_and_resumes(
    config: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plan = load_plan(config)
    result = run_plan(plan, "emotion2vec benchmark --config plan.yaml")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(set(told)) and any(text.startswith("tones at random: speakers of the") for text in told)
    assert result.exit_code == 1
    assert [failure.corpus for failure in result.failures] == ["absent"]
    pairs = [(done.title, done.feature) for done in result.combinations]
    assert pairs == [(c, f) for c in ("tones", "tones at random") for f in ("logmel", "means")]
    out = Path(plan.output)
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert len(rows) == 4 and float(rows[0]["UA"]) == pytest.approx(result.combinations[0].scores.mean["UA"])
    assert len(json.loads((out / "results.json").read_text())["results"]) == 4
    assert (out / "results.md").read_text().count("\n| tones") == 4
    assert "Means over folds, in %." in (out / "results.md").read_text()
    best, other = sorted(rows[:2], key=lambda row: -float(row["UA"]))
    assert best["difference"] == best["p"] == "" and 0 < float(other["p"]) <= 1
    assert float(other["difference"]) == pytest.approx(float(other["UA"]) - float(best["UA"]))
    assert float(other["difference_low"]) <= float(other["difference"]) <= float(other["difference_high"])
    assert "| p | difference | 95 % |" in (out / "results.md").read_text()
    assert r"\toprule" in (out / "results.tex").read_text()

    def no_more(*_: object, **__: object) -> None:
        raise AssertionError("everything is done")

    for name in ("judge", "prepare_corpus", "embed"):
        monkeypatch.setattr(benchmark, name, no_more)
    again = run_plan(plan)
    documents = [json.dumps([done.to_dict() for done in run.combinations]) for run in (again, result)]
    assert documents[0] == documents[1]


def test_what_combinations_share_is_made_once(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two corpora, a model at two layers and beside a spectrum, three heads that read all kinds of tables."""
    features = "[tiny,{name: tiny, layer: mean, title: mean},tiny+logmel]"
    plan = load_plan(config, [f"features={features}", "heads=[logreg,linear,weighted]"])
    calls: Counter[str] = Counter()

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **settings: Any) -> Any:
            calls[name] += 1
            return real(*args, **settings)

        return call

    for module, name in (
        (models, "load_model"),
        (names, "weights_hash"),
        (corpus, "audit"),
        (benchmark, "embed"),
        (probe_run, "extract_table"),
    ):
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    monkeypatch.setitem(HEADS, "linear", LinearHead(updates=2, validate_every=1))
    monkeypatch.setitem(HEADS, "weighted", WeightedHead(epochs=1))
    result = run_plan(plan)
    assert len(result.combinations) == 2 * (3 + 3 + 2)  # the features that are joined have no layers to weigh
    assert calls == {
        "load_model": 1,
        "weights_hash": 1,
        "audit": 2,  # of each corpus
        "embed": 2 * 3,  # of each corpus and feature
        "extract_table": 2 * (2 + 2 + 2),  # vectors and layers of each feature, also where there turn out to be none
    }
    calls.clear()
    kept = sorted((Path(plan.output) / "results").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    kept[1].unlink()
    run_plan(plan)
    assert calls == {
        "load_model": 1,
        "weights_hash": 1,
        "audit": 2,
        "embed": 1,
        "extract_table": 1 + 2,
    }  # failures again


def test_the_report_follows_a_run_in_a_tenth_of_its_time(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes take 30 s and reports 5 s: one after the first result, and none for 45 s after that."""
    plan = load_plan(config)
    now, told = 0.0, []

    def slow(real: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        def call(*args: Any, **settings: Any) -> Any:
            nonlocal now
            if real is judge:
                path = Path(plan.output) / "results.json"
                told.append(len(json.loads(path.read_text())["results"]) if path.exists() else 0)
            now += seconds
            return real(*args, **settings)

        return call

    monkeypatch.setattr(benchmark, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(benchmark, "judge", slow(judge, 30))
    monkeypatch.setattr(page, "write_report", slow(page.write_report, 5))
    run_plan(plan)
    assert told == [0, 1, 1, 3]

    told.clear()
    results = sorted((Path(plan.output) / "results").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    results[2].unlink()
    (Path(plan.output) / "results.json").unlink()
    run_plan(plan)
    assert told == [2]  # what comes from disk is told before the one that is probed


def test_a_feature_that_lacks_texts_fails_before_anything_is_extracted(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = load_plan(config, ["features=[logmel,text:x,logmel+text:x]"])

    def broken(*_: object) -> None:
        raise ManifestError("hours later")

    monkeypatch.setattr(benchmark, "judge", broken)
    failures = run_plan(plan).failures
    assert [failure.feature for failure in failures[1:4]] == ["text:x", "logmel+text:x", "logmel"]
    assert re.match(r"logmel\+text:x: (\d+) of \1 clips have no text: ", failures[2].reason)


def test_the_page_stands_alone_and_warns(config: Path) -> None:
    plan = load_plan(config, ["features=[logmel]"])
    run_plan(plan, "the command <x>")
    page = (Path(plan.output) / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!#)|url\(|@import', page)
    assert "Tones &lt;b&gt;&amp; more" in page and "the command &lt;x&gt;" in page
    assert "not speaker-independent" in page  # of the random folds
    assert "absent.csv: cannot be opened" in page
    assert page.count("all test clips together</td>") == 2 and page.count("true \\ predicted") == 2
    assert (
        page.count("<svg") == 10
    )  # PCA by emotion, arousal and speaker of two corpora; no UMAP of so few; ROC, reliability
    assert page.count("Expected calibration error: ") == 2 and page.count("Groups of test clips") == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("corpora: []\nfeatures: [logmel]", "corpora is "),
        ("corpora: [{dataset: emodb, rot: x}]\nfeatures: [logmel]", r"unknown key corpora\[0\]\.rot"),
        ("corpora: [{dataset: emodb, folds: loso}]\nfeatures: [{layer: 1}]", r"features\[0\].*folds of emodb.*'loso'"),
        ("corpora: [{dataset: emodb}]\nfeatures: [logmel]\nheads: [svm]\nseed: 1", "unknown key seed.*head is svm"),
        ("corpora: [{dataset: emodb}]\nfeatures: [logmel]\nseeds: [a]", "expected a list of int"),
        (
            "corpora: [{dataset: emodb}, {dataset: emodb}]\nfeatures: [logmel, logmel]",
            r"emodb \(speaker\) is the title of several corpora, .*; logmel is the title of several features",
        ),
        ("- a", "cannot be read|holds a list"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_faulty_plans_are_refused_with_all_faults(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_plan(path)


def test_heads_that_fit_nowhere_are_found_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        """
corpora:
  - {dataset: emodb, root: a, title: classes}
  - {dataset: nemo, root: a, title: others, heads: [ridge, mlp]}
  - {dataset: iemocap, root: a, title: values, targets: [arousal]}
  - {dataset: meld, root: a, title: talk, context: 6, heads: [dialogue]}
features:
  - logmel
  - {name: tiny, layer: all, heads: [mlp, weighted]}
  - {name: mfcc, layer: first, pooling: max}
heads: [logreg, dialogue]
"""
    )
    with pytest.raises(ConfigError) as caught:
        load_plan(path)
    told = str(caught.value)
    for part in (
        "classes: head dialogue predicts no classes of clips: ridge needs targets, dialogue a context",
        "; others: head ridge predicts no classes of clips: ridge needs targets, dialogue a context",
        "; values: head logreg, dialogue predicts no values, expected ridge, linear, mlp, weighted, attention or gru",
        "; tiny, layer all: layer is 'all', which gives no frames, and head mlp reads frames",
        "features[2].layer is 'first', expected last, mean, mean:N, all or a number",
        "features[2].pooling is 'max', expected one of mean, mean+std",
    ):
        assert part in told
    path.write_text("corpora: [{dataset: emodb}]\nfeatures: [{name: tiny, heads: [gru, dialogue]}]")
    with pytest.raises(ConfigError, match=r"yaml: tiny: head dialogue is for none of the corpora$"):
        load_plan(path)


def test_heads_of_a_feature_read_it_where_they_can_learn_what_is_predicted() -> None:
    feature = FeaturePlan(name="tiny", heads=("logreg", "weighted"))
    classes, values = CorpusPlan(dataset="emodb", heads=("mlp",)), CorpusPlan(dataset="iemocap", targets=("arousal",))
    talk = CorpusPlan(dataset="meld", context=6, heads=("dialogue",))
    assert [heads_of(corpus, feature, ("linear",)) for corpus in (classes, values, talk)] == [
        ("logreg", "weighted"),
        ("weighted",),
        ("dialogue",),
    ]
    plain = FeaturePlan(name="logmel")
    assert [heads_of(corpus, plain, ("linear",)) for corpus in (classes, values)] == [("mlp",), ("linear",)]


def test_shipped_plans_load_and_are_shown_as_what_gives_them_again(root: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.yaml"
    plans = sorted((root / "configs" / "benchmark").glob("*.yaml"))
    assert plans
    for path in plans:
        plan = load_plan(path, ["data=x", "seeds=[0,7]"])
        again.write_text(plan.to_yaml())
        assert load_plan(again) == plan and "null" not in plan.to_yaml()


def test_tables_for_papers_survive_any_name() -> None:
    row = Row(
        corpus="[A] R&D_1",
        folds="x|y",
        feature="<b> 100 % ~^\\",
        head="*h*",
        scores={"CCC": -0.25},
        std=0.1,
        interval=(-0.5, 0.125),
        against=Comparison(-0.125, (-0.5, 0.25), 0.0001, 0.0001),
        clips=8,
        complete=False,
        transductive=False,
        task="regression",
        metrics=("CCC",),
        main="CCC",
        unit="",
    )
    assert to_latex([row]).splitlines()[6] == (
        r"{[}A] R\&D\_1 & x\textbar{}y & $<$b$>$ 100 \% \textasciitilde{}\textasciicircum{}\textbackslash{}"
        r" (incomplete) & *h* & $-0.250$ & $-0.500$ to $0.125$ & $<$ 0.001 & $-0.125$ & $-0.500$ to $0.250$ \\"
    )
    assert to_latex([row]).startswith("% Means over folds. 95 %: of the CCC")
    header, rule, cells, *_ = to_markdown([row]).splitlines()
    assert cells == (
        r"| \[A\] R&amp;D\_1 | x\|y | &lt;b> 100 % ~^\\ (incomplete) | \*h\* | -0.250 | -0.500 to 0.125 | &lt; 0.001 |"
        " -0.125 | -0.500 to 0.250 |"
    )
    assert header.count("|") == rule.count("|") == cells.replace(r"\|", "").count("|")
    rows = [row, replace(row, scores={"CCC": 0.5}, against=None), replace(row, corpus="B", scores={"CCC": None})]
    assert r"\usepackage{booktabs}" in to_latex(rows)
    assert [line.count(r"\textbf{0.500}") for line in to_latex(rows).splitlines()[6:9]] == [0, 1, 0]
    assert to_latex(rows).count("textbf") == 1 == to_markdown(rows).count("**0.500**")


def test_plots_of_features_alone(tmp_path: Path) -> None:
    table = write_tones(tmp_path, speakers=2, each=1)
    output = tmp_path / "new" / "plots.html"
    draw_features(PlotOptions(corpus=CorpusOptions(table=table), features=("logmel", "mfcc"), output=output))
    page = output.read_text()
    assert page.count("<svg") == 6 and page.count("<circle") == 6 * 4
    assert "PCA, " in page and "by arousal" in page
