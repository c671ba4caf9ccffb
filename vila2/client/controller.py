"""Typed client of the controller."""

from __future__ import annotations

from typing import Any

from vila2.client.http import Rest, segment
from vila2.schemas.rest import controller as api
from vila2.schemas.rest import estimates as estimates_api


class ControllerClient(Rest):
    """The controller. A run is addressed by its id, or by its name for the newest of that name."""

    def estimate(self, body: estimates_api.EstimateIn) -> estimates_api.Estimate:
        """Estimate a run of a recipe. Captions a sample; starts no run."""
        return self.one(
            estimates_api.Estimate, "POST", "estimates", json=body.model_dump(), timeout=1800.0
        )

    def estimate_of(self, estimate: str) -> estimates_api.Estimate:
        """A stored estimate by its id."""
        return self.one(estimates_api.Estimate, "GET", f"estimates/{segment(estimate)}")

    def costs(self, run: str) -> estimates_api.Costs:
        """What a run has used, with its estimate."""
        return self.one(estimates_api.Costs, "GET", f"runs/{segment(run)}/costs")

    def shipped_recipes(self) -> list[api.ShippedRecipe]:
        """The recipes that ship with the platform."""
        return self.many(api.ShippedRecipe, "recipes")

    def recipe_schema(self) -> dict[str, Any]:
        """The JSON schema of recipes."""
        found: dict[str, Any] = self.send("GET", "recipes/schema").json()
        return found

    def start_run(self, body: api.RunIn, token: str | None = None) -> api.Run:
        """Start a run; the same token returns the existing run."""
        return self.create_one(api.Run, "runs", body, token=token)

    def runs(self) -> list[api.Run]:
        """All runs of the team."""
        return self.many(api.Run, "runs")

    def run(self, run: str) -> api.Run:
        """A run and its rounds."""
        return self.one(api.Run, "GET", f"runs/{segment(run)}")

    def pause_run(self, run: str) -> api.Run:
        """Pause a run: running jobs finish, nothing new starts."""
        return self.one(api.Run, "POST", f"runs/{segment(run)}/pause")

    def resume_run(self, run: str) -> api.Run:
        """Resume a paused run."""
        return self.one(api.Run, "POST", f"runs/{segment(run)}/resume")

    def cancel_run(self, run: str) -> api.Run:
        """Stop a run."""
        return self.one(api.Run, "POST", f"runs/{segment(run)}/cancel")

    def retry_run(self, run: str) -> api.Run:
        """Retry the failed rounds of a run."""
        return self.one(api.Run, "POST", f"runs/{segment(run)}/retry")

    def overrule(self, run: str, round: str, body: api.OverruleIn) -> api.Run:
        """Replace a round's computed verdict by the caller's."""
        path = f"runs/{segment(run)}/rounds/{segment(round)}/verdict"
        return self.one(api.Run, "POST", path, json=body.model_dump())

    def amend(self, run: str, body: api.AmendIn) -> api.Run:
        """Change the recipe of the rounds that have not started."""
        return self.one(api.Run, "POST", f"runs/{segment(run)}/recipe", json=body.model_dump())

    def branch(self, run: str, body: api.BranchIn, token: str | None = None) -> api.Run:
        """Start a run that shares this one's first rounds; the same token returns that run."""
        return self.create_one(api.Run, f"runs/{segment(run)}/branch", body, token=token)

    def compare(self, run: str, other: str) -> api.Comparison:
        """Compare two runs."""
        return self.one(api.Comparison, "GET", f"runs/{segment(run)}/compare/{segment(other)}")

    def recipes(self, run: str) -> list[api.RecipeOfRun]:
        """All versions of a run's recipe."""
        return self.many(api.RecipeOfRun, f"runs/{segment(run)}/recipes")

    def events(self, run: str, *, after: int = 0) -> list[api.Event]:
        """A run's events after number `after`."""
        return self.many(api.Event, f"runs/{segment(run)}/events", params={"after": after})

    def report(self, run: str) -> dict[str, Any]:
        """The data of a run's report."""
        found: dict[str, Any] = self.send("GET", f"runs/{segment(run)}/report").json()
        return found

    def report_html(self, run: str) -> str:
        """A run's report as a page."""
        return self.send("GET", f"runs/{segment(run)}/report.html").text
