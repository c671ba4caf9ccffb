"""A run as a state machine: any order of facts, retries and overrulings leads to one legal end.

Hypothesis plays the other services and the people; the planner is asked again after every move, as
after a crash, and twice, as by two controllers.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.controller.rounds.planner import (
    AddRound,
    FailRun,
    FinishRun,
    PauseRun,
    RoundFacts,
    bars_overruling,
    plan,
)
from services.controller.rounds.state import ENDED, is_legal, next_state, retried
from vila2.recipes.recipe import load_recipe

TINY = load_recipe("tiny")
VERDICTS = st.sampled_from(["improved", "no_measurable_change", "worse"])


class RunMachine(RuleBasedStateMachine):
    """Rounds move by themselves, fail, are tried again and overruled, in any order."""

    def __init__(self) -> None:
        super().__init__()
        rounds = TINY.rounds.model_copy(update={"maximum": 3, "patience": 2})
        self.recipe = TINY.model_copy(update={"rounds": rounds})
        self.rounds: dict[str, RoundFacts] = {}
        self.failed_in: dict[str, str] = {}
        self.over = False

    def _plan(self) -> list[object]:
        facts = list(self.rounds.values())
        actions = plan(self.recipe, facts)
        assert actions == plan(self.recipe, facts), "the same facts, the same plan"
        return list(actions)

    def _moving(self) -> list[RoundFacts]:
        return [facts for facts in self.rounds.values() if facts.state not in ENDED]

    @rule()
    def a_controller_acts(self) -> None:
        for action in self._plan():
            if isinstance(action, AddRound) and action.name not in self.rounds:
                self.rounds[action.name] = RoundFacts(
                    action.name, action.kind, action.position, "pending"
                )
            self.over |= isinstance(action, FinishRun)

    @precondition(lambda self: self._moving())
    @rule(data=st.data(), verdict=VERDICTS, stop=st.booleans())
    def a_round_moves(self, data: st.DataObject, verdict: str, stop: bool) -> None:
        facts = data.draw(st.sampled_from(self._moving()))
        after = next_state(facts.kind, facts.state)
        assert is_legal(facts.kind, facts.state, after)
        judged = after == "done" and facts.kind not in ("base", "baseline")
        self.rounds[facts.name] = replace(
            facts,
            state=after,
            has_layer=facts.has_layer or facts.state in ("captioning", "specialising"),
            verdict=verdict if judged else None,  # type: ignore[arg-type]
            stop="too long" if judged and stop else "",
        )

    @precondition(lambda self: self._moving())
    @rule(data=st.data())
    def a_round_fails(self, data: st.DataObject) -> None:
        facts = data.draw(st.sampled_from(self._moving()))
        self.failed_in[facts.name] = facts.state
        self.rounds[facts.name] = replace(facts, state="failed", error="it broke")

    @rule()
    def a_person_retries_and_resumes(self) -> None:
        for facts in list(self.rounds.values()):
            if facts.state == "failed":
                state = retried(facts.kind, self.failed_in[facts.name])
                self.rounds[facts.name] = replace(facts, state=state, error="")
            elif facts.stop:
                self.rounds[facts.name] = replace(facts, stop="")
        self.over = False

    @precondition(lambda self: any(f.verdict for f in self.rounds.values()))
    @rule(data=st.data(), verdict=VERDICTS)
    def a_person_overrules(self, data: st.DataObject, verdict: str) -> None:
        judged = [facts for facts in self.rounds.values() if facts.verdict]
        facts = data.draw(st.sampled_from(judged))
        if not bars_overruling(self.recipe, list(self.rounds.values()), facts):
            self.rounds[facts.name] = replace(facts, verdict=verdict)  # type: ignore[arg-type]
            self.over = False

    @invariant()
    def no_round_of_the_loop_begins_before_the_one_before_it_is_done(self) -> None:
        loop = [f for f in self.rounds.values() if f.kind != "control"]
        for before, after in itertools.pairwise(loop):
            assert before.state == "done", (before, after)

    @invariant()
    def positions_are_the_order_of_being_added(self) -> None:
        assert [f.position for f in self.rounds.values()] == list(range(len(self.rounds)))

    @invariant()
    def a_failed_loop_or_a_warning_begins_nothing(self) -> None:
        troubled = [f for f in self.rounds.values() if f.kind != "control" and f.state == "failed"]
        warned = [f for f in self.rounds.values() if f.stop]
        actions = self._plan()
        if troubled:
            assert [type(action) for action in actions] == [FailRun]
        elif warned:
            assert [type(action) for action in actions] == [PauseRun]

    def teardown(self) -> None:
        """From wherever it was left, a run that is helped along ends, with all that it asks for."""
        for _ in range(200):
            self.a_person_retries_and_resumes()
            self.a_controller_acts()
            if self.over:
                break
            for facts in self._moving():
                after = next_state(facts.kind, facts.state)
                verdict = "no_measurable_change" if after == "done" else None
                self.rounds[facts.name] = replace(
                    facts, state=after, has_layer=True,
                    verdict=verdict if facts.kind not in ("base", "baseline") else None,  # type: ignore[arg-type]
                )  # fmt: skip
        assert self.over, self.rounds
        assert all(facts.state == "done" for facts in self.rounds.values())
        wanted = {"specialists", *(control.name for control in self.recipe.controls)}
        assert wanted <= set(self.rounds)


TestRunMachine = RunMachine.TestCase
TestRunMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
