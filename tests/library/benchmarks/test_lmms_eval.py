"""The bridge to lmms-eval: what it is told, and what is read of its results.

`lmms_eval_0_7_3/` was written by lmms-eval itself, asked by `vila2 benchmarks lmms-eval` about four
images and a model that was never trained; its `config` and `configs`, which hold paths, are left
out. The other files are written by hand after its source, for what that run did not meet.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vila2.benchmarks.lmms_command import lmms_addresses, lmms_arguments, lmms_environment
from vila2.benchmarks.lmms_results import LmmsRun, read_run
from vila2.data.errors import DataError

MODEL = "round-1-abcdef01-1234"
DATE = "20261126_053000"


def results(**changes: Any) -> dict[str, Any]:
    return {
        "results": {
            "pope": {
                "alias": "pope", " ": " ",
                "pope_accuracy,none": 0.75, "pope_accuracy_stderr,none": "N/A",
                "pope_accuracy_stderr_clt,none": 0.25, "pope_f1_score,none": 0.8,
            },
            "gqa": {"alias": "gqa", "exact_match,none": 0.5, "exact_match_stderr,none": 0.1},
            "mmmu": {"alias": "mmmu", "by_subject,none": {"Art": 0.5}, "score,strict": 0.25},
        },
        "versions": {"pope": 0.0, "gqa": "Yaml", "mmmu": 1},
        "n-samples": {"pope": {"original": 9000, "effective": 4}},
        "model_name": MODEL, "date": "now", **changes,
    }  # fmt: skip


def sample(number: int, answer: str, truth: str, **changes: Any) -> dict[str, Any]:
    scored = {"question_id": str(number), "score": float(answer == truth), "prediction": answer}
    return {
        "doc_id": number, "target": truth, "filtered_resps": answer, "doc_hash": "ab",
        "token_counts": [None], "input": "Is there a dog?", "pope_accuracy": scored,
        "pope_f1_score": scored, **changes,
    }  # fmt: skip


SAMPLES = [sample(0, "yes", "yes"), sample(1, "no", "no"), sample(2, "yes", "no"),
           sample(3, "no", "no")]  # fmt: skip


def written(folder: Path, *, samples: list[Any] = SAMPLES, **changes: Any) -> Path:
    """A run's output folder, as lmms-eval lays it out."""
    inner = folder / MODEL
    inner.mkdir(parents=True, exist_ok=True)
    (inner / f"{DATE}_results.json").write_text(json.dumps(results(**changes)))
    lines = "".join(json.dumps(row) + "\n" for row in samples)
    (inner / f"{DATE}_samples_pope.jsonl").write_text(lines)
    return folder


def scores(run: LmmsRun) -> dict[str, tuple[float, int, bool]]:
    return {f"{s.benchmark}/{s.metric}": (s.value, s.items, s.low is not None) for s in run.scores}


def test_scores_are_read_with_their_tasks_versions_and_counts(tmp_path: Path):
    """A filter other than `none` stays part of the metric's name."""
    run = read_run(written(tmp_path))
    assert scores(run) == {
        "pope/pope_accuracy": (0.75, 4, True),
        "pope/pope_f1_score": (0.8, 4, False),
        "gqa/exact_match": (0.5, 0, True),
        "mmmu/score,strict": (0.25, 0, False),
    }
    assert {s.benchmark: s.version for s in run.scores} == {
        "pope": "0.0", "gqa": "Yaml", "mmmu": "1",
    }  # fmt: skip
    assert run.model == MODEL


def test_what_lmms_eval_itself_wrote_is_read():
    """Its empty figures are no scores, and every question has an outcome."""
    run = read_run(Path(__file__).parent / "lmms_eval_0_7_3")
    assert scores(run) == {
        "tiny_pope/pope_accuracy": (0.0, 4, True),
        "tiny_pope/pope_f1_score": (0, 4, True),
    }
    assert (run.model, run.unread) == ("untrained-01010101-0001", [])
    assert [outcome.expected for outcome in run.outcomes] == ["no", "yes", "no", "yes"]


def test_what_is_no_single_number_is_named(tmp_path: Path):
    """Not dropped without a word."""
    assert read_run(written(tmp_path)).unread == ["mmmu/by_subject"]


def test_an_interval_is_resampled_only_where_the_score_is_the_items_mean(tmp_path: Path):
    """F1 is no mean of its items' scores: without a standard error it has no interval."""
    run = read_run(written(tmp_path))
    found = {s.metric: (s.low, s.high) for s in run.scores}
    low, high = found["pope_accuracy"]
    assert low is not None and high is not None and 0 <= low < 0.75 < high <= 1  # noqa: PT018
    assert found["pope_f1_score"] == (None, None)
    assert found["exact_match"] == (pytest.approx(0.5 - 0.196), pytest.approx(0.5 + 0.196))


def test_outcomes_hold_answer_truth_and_scores(tmp_path: Path):
    """One for each line of the samples."""
    run = read_run(written(tmp_path))
    third = run.outcomes[2]
    assert (third.benchmark, third.item, third.answer, third.expected) == (
        "pope", "2", "yes", "no",
    )  # fmt: skip
    assert third.scores == {"pope_accuracy": 0.0, "pope_f1_score": 0.0}


def test_a_run_in_which_requests_failed_is_refused(tmp_path: Path):
    """lmms-eval goes on and scores its own error message as the answer."""
    failed = sample(4, "[LMMS_EVAL_REQUEST_FAILED after 3 retries] timeout", "yes")
    with pytest.raises(DataError, match="1 of 5 requests failed, and were scored as answers"):
        read_run(written(tmp_path, samples=[*SAMPLES, failed]))


def test_a_run_without_samples_has_scores_and_no_outcomes(tmp_path: Path):
    """`--log_samples` may have been left out."""
    (file,) = written(tmp_path).rglob("*_samples_pope.jsonl")
    file.unlink()
    run = read_run(tmp_path)
    assert not run.outcomes
    assert scores(run)["pope/pope_accuracy"] == (0.75, 4, False)


def test_one_results_file_must_be_meant(tmp_path: Path):
    """Two runs in a folder are named, and none is chosen."""
    folder = written(tmp_path) / MODEL
    (folder / "20261127_000000_results.json").write_text("{}")
    with pytest.raises(DataError, match=f"{DATE}_results.json, .*20261127"):
        read_run(tmp_path)
    assert read_run(folder / f"{DATE}_results.json").scores


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not JSON"),
        ("[]", "has no results"),
        ('{"results": {"pope": 3}}', "field results.pope"),
        ('{"results": {"pope": {"alias": "pope"}}}', "holds no score"),
    ],
)
def test_another_file_is_refused_with_a_reason(tmp_path: Path, text: str, told: str):
    """It names the file and the field."""
    path = tmp_path / "x_results.json"
    path.write_text(text)
    with pytest.raises(DataError, match=told):
        read_run(path)


def test_a_task_name_does_not_lead_out_of_the_folder(tmp_path: Path):
    """The results file is a stranger's."""
    path = tmp_path / "in" / "x_results.json"
    path.parent.mkdir()
    (tmp_path / "x_samples_a.jsonl").write_text("not read")
    path.write_text(json.dumps({"results": {"../../x_samples_a": {"acc,none": 1.0}}}))
    assert not read_run(path).outcomes


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a,none", "results", "score", "b", "doc_id"]), inner)
    ),
    max_leaves=10,
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    held=st.dictionaries(st.sampled_from(["results", "versions", "n-samples"]), _JSON), row=_JSON
)
def test_no_results_file_breaks_the_reader(tmp_path: Path, held: Any, row: Any):
    """Whatever it holds, there is a run or a `DataError`."""
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    (folder / "x_results.json").write_text(json.dumps(held))
    (folder / "x_samples_b.jsonl").write_text(json.dumps(row))
    try:
        run = read_run(folder)
    except DataError:
        return
    assert run.scores


def test_the_command_line_holds_no_key_and_no_address():
    """Any user of the machine can read another's command lines."""
    said = " ".join(lmms_arguments("python", MODEL, ["pope", "mme"], Path("out"), limit=8))
    assert f"model_version={MODEL}," in said
    assert "--tasks pope,mme" in said
    assert "--limit 8" in said
    assert "http" not in said
    assert "key" not in said


def test_no_task_is_left_an_address_of_its_own_to_send_the_key_to():
    """Tasks with a judge take api.openai.com where these are unset."""
    made = lmms_environment(
        {"PATH": "/bin", "VILA2_KEY": "secret", "OPENAI_API_URL": "https://elsewhere"},
        "http://127.0.0.1:8620/",
        "prefix.secret",
    )
    ours = "http://127.0.0.1:8620/caption/v1"
    assert lmms_addresses("http://127.0.0.1:8620") == {
        "OPENAI_API_BASE": ours,
        "OPENAI_BASE_URL": ours,
        "OPENAI_API_URL": f"{ours}/chat/completions",
    }
    assert made == {
        "PATH": "/bin", "OPENAI_API_KEY": "prefix.secret", "OPENAI_API_BASE": ours,
        "OPENAI_BASE_URL": ours, "OPENAI_API_URL": f"{ours}/chat/completions",
        "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }  # fmt: skip


def test_a_platform_elsewhere_may_be_behind_the_shells_proxy():
    """Only loopback is asked directly."""
    made = lmms_environment({"NO_PROXY": "here"}, "https://vila2.example.org", "prefix.secret")
    assert made["NO_PROXY"] == "here"
