"""From candidate to production: the gate, and the way back."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from services.chassis.errors import Conflict, NotFound
from services.training.promotion.gate import Facts, golden_reason, illegal_move, judge, unmet
from services.training.promotion.serving import Served, ServingCheck
from tests.data.made_pictures import picture, sample
from tests.tiny import model as tiny_model
from tests.training_service.a_service import Service
from tests.training_service.test_model_registry import SCORES, a_model, add, evaluation
from vila2.api.training import PromotionIn, Requirement, StageChange
from vila2.model.golden import write_golden
from vila2.weights import folder_digest

GOLDEN = [{"question": "?", "text": "a fox", "logprob": -1.0}] * 4
SAME = [{"text": "a fox", "logprob": -1.01}] * 4


class Answers(ServingCheck):
    """A serving version that gives these answers, whatever the folder."""

    def __init__(self, answers: list[dict[str, Any]], reason: str = "") -> None:
        super().__init__(sys.executable, seconds=60)
        self.answers, self.reason = answers, reason

    def ask(self, folder: Path) -> Served:
        if self.reason:
            return Served({}, self.reason)
        return Served({"transformers": "5", "answers": list(self.answers)})


@pytest.fixture
def gated(service: Service) -> Service:
    """A service whose serving version answers as the trainer did."""
    service.context.promotions._serving = Answers(SAME)
    return service


def golden_model(service: Service, number: int) -> str:
    name = a_model(service, job=f"job-000{number}")
    prefix = service.context.registry.get("local", name).object_prefix
    service.objects.put(f"{prefix}/vila2_golden.json", json.dumps(GOLDEN).encode())
    return name


def promoted(service: Service, model: str, stage: str, **fields: Any) -> StageChange:
    promotions = service.context.promotions
    change = promotions.ask("local", model, PromotionIn(stage=stage, **fields), by="ann")
    promotions.decide_all()
    return promotions.get("local", change.id)


def in_production(service: Service, number: int) -> str:
    name = golden_model(service, number)
    assert [promoted(service, name, s).state for s in ("staging", "production")] == ["done"] * 2
    return name


def stages(service: Service) -> Mapping[str, str]:
    return {model.job: model.stage for model in service.context.registry.of_team("local")}


def facts(**fields: Any) -> Facts:
    given = {"stated": "a" * 64, "stored": "a" * 64, "golden": GOLDEN, "answers": SAME}
    return Facts(**{**given, "served": "", **fields})


def test_a_model_that_answers_alike_passes() -> None:
    reason, evidence = judge(facts(), [], [])
    assert reason == ""
    assert evidence["golden"] == {"items": 4, "same": 4, "drift": 0.01}


@pytest.mark.parametrize(("fields", "words"), [
    ({"stored": "b" * 64}, "not those that were trained"),
    ({"golden": [], "answers": []}, "no golden set"),
    ({"served": "it does not load there", "answers": []}, "serving version: it does not load"),
    ({"answers": [{"text": "a box", "logprob": -1.0}] * 4}, "0 of 4 golden answers"),
    ({"answers": [{"text": "a fox", "logprob": -1.1}] * 4}, "0.100 nats per token"),
])  # fmt: skip
def test_a_model_that_is_not_what_was_trained_does_not_pass(
    fields: dict[str, Any], words: str
) -> None:
    assert words in judge(facts(**fields), [], [])[0]


def test_one_near_tie_in_four_may_flip() -> None:
    answers = [*SAME[:3], {"text": "a wolf", "logprob": -1.0}]
    assert golden_reason(facts(answers=answers))[0] == ""


def test_the_newest_score_must_reach_the_minimum() -> None:
    scores = [evaluation(value=0.3, low=0.2, at=2.0), evaluation(value=0.9, low=0.8, at=1.0)]
    (reason,) = unmet([Requirement(benchmark="scenes", minimum=0.31)], scores)
    assert reason.startswith("scenes: score 0.3000 is below 0.31 (job job-2")
    assert unmet([Requirement(benchmark="scenes", minimum=0.3)], scores) == []


def test_the_low_end_of_the_interval_can_be_required() -> None:
    low = Requirement(benchmark="scenes", minimum=0.45, bound="low")
    assert "low end of the interval 0.4000" in unmet([low], [evaluation()])[0]


def test_a_benchmark_that_was_not_asked_fails_the_gate() -> None:
    assert unmet([Requirement(benchmark="ocr", minimum=0.0)], [evaluation()]) == [
        "ocr: not evaluated"
    ]


@pytest.mark.parametrize(("before", "after", "legal"), [
    ("candidate", "staging", True), ("candidate", "production", False),
    ("staging", "production", True), ("production", "staging", False),
    ("archived", "staging", True),
])  # fmt: skip
def test_models_move_step_by_step(before: Any, after: Any, legal: bool) -> None:
    assert (illegal_move(before, after) == "") is legal


def test_a_promotion_is_kept_with_who_when_and_why(gated: Service) -> None:
    model = golden_model(gated, 1)
    registry = gated.context.registry
    registry.record_evaluations("local", model, job="job-9", version="s@1", scores=SCORES)
    wanted = [Requirement(benchmark="scenes", minimum=0.4)]
    change = promoted(gated, model, "staging", require=wanted, note="looks good")
    assert (change.state, change.by, change.note) == ("done", "ann", "looks good")
    assert change.evidence["golden"]["same"] == 4
    assert change.evidence["serving"] == {"transformers": "5"}
    assert change.evidence["evaluations"][0]["job"] == "job-9"
    assert registry.get("local", model).stage == "staging"
    assert "candidate to staging" in registry.card("local", model)


def test_a_failed_gate_leaves_everything_and_says_why(gated: Service) -> None:
    first, second = in_production(gated, 1), golden_model(gated, 2)
    promoted(gated, second, "staging")
    gated.context.promotions._serving = Answers([], "it does not load there: no such class")
    refused = promoted(gated, second, "production")
    assert (refused.state, "no such class" in refused.reason) == ("refused", True)
    assert list(stages(gated).values()) == ["production", "staging"]
    assert gated.context.promotions.history("local", second)[0].state == "refused"
    assert gated.context.registry.get("local", first).stage == "production"


def test_one_model_of_a_line_is_in_production_and_a_rollback_brings_the_last_back(
    gated: Service,
) -> None:
    """As often as there was one before."""
    models = [in_production(gated, number) for number in (1, 2, 3)]
    promotions = gated.context.promotions
    assert list(stages(gated).values()) == ["archived", "archived", "production"]
    back = promotions.rollback("local", "default", "it repeats itself", by="bob")
    assert (back.model, back.replaced, back.by) == (models[1], models[2], "bob")
    promotions.rollback("local", "default", "so does this", by="bob")
    assert list(stages(gated).values()) == ["production", "archived", "archived"]
    with pytest.raises(Conflict, match="is the first of the line"):
        promotions.rollback("local", "default", "and this", by="bob")


def test_lines_do_not_replace_each_other(gated: Service) -> None:
    first, second = golden_model(gated, 1), golden_model(gated, 2)
    for model, line in ((first, "general"), (second, "ocr")):
        promoted(gated, model, "staging", line=line)
        assert promoted(gated, model, "production", line=line).state == "done"
    assert list(stages(gated).values()) == ["production"] * 2


def test_a_rollback_to_weights_that_changed_is_refused(gated: Service) -> None:
    first = in_production(gated, 1)
    in_production(gated, 2)
    prefix = gated.context.registry.get("local", first).object_prefix
    gated.objects.put(f"{prefix}/model.safetensors", b"other weights")
    with pytest.raises(Conflict, match="not those that were trained"):
        gated.context.promotions.rollback("local", "default", "x", by="bob")
    assert list(stages(gated).values()) == ["archived", "production"]


def test_a_model_is_retired_unless_it_is_in_production(gated: Service) -> None:
    first, second = in_production(gated, 1), golden_model(gated, 2)
    promotions = gated.context.promotions
    assert promotions.retire("local", second, "superseded", by="ann").after == "archived"
    with pytest.raises(Conflict, match="is production"):
        promotions.retire("local", first, "old", by="ann")


def test_models_of_another_team_are_not_there(gated: Service) -> None:
    model = golden_model(gated, 1)
    promotions = gated.context.promotions
    change = promotions.ask("local", model, PromotionIn(stage="staging"), by="ann")
    for look in (
        lambda: promotions.ask("red", model, PromotionIn(stage="staging"), by="eve"),
        lambda: promotions.history("red", model),
        lambda: promotions.get("red", change.id),
        lambda: promotions.retire("red", model, "x", by="eve"),
        lambda: promotions.rollback("red", "default", "x", by="eve"),
    ):
        with pytest.raises(NotFound):
            look()


def test_a_promotion_whose_process_died_is_decided_by_the_next(gated: Service) -> None:
    model = golden_model(gated, 1)
    promotions = gated.context.promotions
    change = promotions.ask("local", model, PromotionIn(stage="staging"), by="ann")
    child = os.fork()
    if child == 0:
        os.environ["VILA2_CRASHPOINT"] = "promotion.checked"
        dying = Service(gated.folder)
        dying.context.promotions._serving = Answers(SAME)
        dying.context.promotions.decide_all()
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert promotions.get("local", change.id).state == "checking"
    promotions.decide_all()
    assert promotions.get("local", change.id).state == "done"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model with its golden set."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    tiny_model().save(folder)
    write_golden(folder, [sample(str(n), image=picture(n)) for n in range(4)])
    return folder


@pytest.mark.slow
def test_a_trained_model_passes_with_plain_transformers(service: Service, trained: Path) -> None:
    """In a process of its own that can import nothing of ours."""
    model = add(service.context.registry, trained, folder_digest(trained))
    change = promoted(service, model, "staging")
    assert (change.state, change.reason) == ("done", "")
    golden, serving = change.evidence["golden"], change.evidence["serving"]
    assert (golden["same"], golden["items"]) == (4, 4)
    assert golden["drift"] < 1e-4
    assert serving["class"] == "InternVLForConditionalGeneration"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "modeling_x.py", "weights.PT"])
def test_a_folder_with_pickles_or_code_is_not_loaded(tmp_path: Path, name: str) -> None:
    """Not even looked into: this Python would fail to start."""
    (tmp_path / name).write_text("x")
    served = ServingCheck("/nowhere/python", seconds=5).ask(tmp_path)
    assert served.reason == f"the folder holds {name}: only safetensors are served"


def test_a_serving_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    served = ServingCheck("/nowhere/python", seconds=5).ask(tmp_path)
    assert "correct VILA2_SERVING_PYTHON" in served.reason


def test_a_model_that_does_not_load_in_time_does_not_pass(trained: Path) -> None:
    served = ServingCheck(sys.executable, seconds=0.05).ask(trained)
    assert "within 0.05 seconds" in served.reason
