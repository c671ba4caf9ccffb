"""Carries out deployments: switches an endpoint to a new model without downtime.

Steps: check the weights and evaluations, load the model, certify it, switch the
endpoint in one transaction, drain and unload the old model. Every step is idempotent and driven by
a loop over the rows. A model that fails leaves the endpoint unchanged, with the reason in its row.
"""

from __future__ import annotations

import time

import structlog
from sqlalchemy import select, update

from services.caption.engines.engine import Engines, EngineUnavailable, ModelRefused
from services.caption.serving.certificate import certify
from services.caption.serving.deployment_checks import unmet, wrong_weights
from services.caption.serving.deployments import (
    ACTIVE,
    DEPLOYING,
    DRAINING,
    FAILED,
    RETIRED,
    prefixes_in_use,
)
from services.caption.serving.examination import examine
from services.caption.tables import DeploymentRow, EndpointRow
from services.chassis.crashpoint import crashpoint
from services.chassis.storage.database import Database, exclusively
from services.chassis.storage.objects import ObjectStore
from services.chassis.work.transient_errors import is_passing
from vila2.engine.golden_set import GOLDEN_FILE, read_golden
from vila2.model.digest import folder_digest
from vila2.schemas.rest.caption import Certificate, Requirement
from vila2.schemas.rest.training import Evaluation

_log = structlog.get_logger()


class Rollout:
    """Advances every deployment, and loads and unloads models."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        engines: Engines,
        *,
        drain_seconds: float = 2.0,
    ) -> None:
        self._database, self._objects, self._engines = database, objects, engines
        self._drain_seconds = drain_seconds

    def advance_all(self) -> None:
        """Advance every deployment in progress by one step."""
        with self._database.transaction() as session:
            rows = session.scalars(
                select(DeploymentRow).where(DeploymentRow.state.in_((DEPLOYING, DRAINING)))
            ).all()
            session.expunge_all()
        for row in rows:
            if row.state == DEPLOYING:
                self._bring_up(row)
            elif time.time() - row.changed_at > self._drain_seconds:
                self._take_down(row)

    def _bring_up(self, row: DeploymentRow) -> None:
        certificate = None
        try:
            # Reject before loading: loading could evict another model from memory.
            reasons = self._shortcomings(row)
            if not reasons:
                certificate = self._load_and_ask(row)
                reasons = [certificate.reason] if certificate and certificate.reason else []
        except Exception as error:
            if isinstance(error, EngineUnavailable) or is_passing(error):
                _log.warning("deployment waits", deployment=row.id, reason=str(error)[:300])
                return  # the next tick tries again
            reasons = [_refusal(error)]
        crashpoint("deployment.checked")
        if reasons:
            self._refuse(row, "; ".join(reasons), certificate)
        else:
            self._switch(row, certificate)

    def _shortcomings(self, row: DeploymentRow) -> list[str]:
        """All reasons to reject the model that are known without loading it."""
        wrong = wrong_weights(registered=row.sha256, stored=self._digest(row))
        requirements = [Requirement.model_validate(each) for each in row.require]
        evaluations = [Evaluation.model_validate(each) for each in row.evaluations]
        return [*([wrong] if wrong else []), *unmet(requirements, evaluations)]

    def _digest(self, row: DeploymentRow) -> str:
        """The digest of the stored weights; empty if there are none.

        Cached, because a deployment waiting for the engine is checked every second and reading a
        large model takes minutes.
        """
        if not row.digest:
            try:
                row.digest = folder_digest(self._objects.local(row.model_prefix))
            except (KeyError, FileNotFoundError):
                return ""
            with self._database.transaction() as session:
                session.execute(
                    update(DeploymentRow)
                    .where(DeploymentRow.id == row.id)
                    .values(digest=row.digest)
                )
        return row.digest

    def _load_and_ask(self, row: DeploymentRow) -> Certificate | None:
        """Load the model and certify it; `None` if the check is disabled."""
        if row.skip_golden:
            self._engines.get(row.model_prefix)
            return None
        try:
            items = read_golden(self._objects.get(f"{row.model_prefix}/{GOLDEN_FILE}"))
        except KeyError as error:
            raise ModelRefused(
                f"{row.model} has no golden set; deploy it with golden=false to go without"
            ) from error
        except (TypeError, ValueError) as error:
            raise ModelRefused(f"the golden set of {row.model} cannot be read: {error}") from error
        engine, info = self._engines.get(row.model_prefix), self._engines.info(row.model_prefix)
        return certify(items, examine(engine, items), info)

    def _refuse(self, row: DeploymentRow, reason: str, certificate: Certificate | None) -> None:
        with self._database.transaction() as session:
            held = session.get_one(DeploymentRow, row.id, with_for_update=True)
            if held.state != DEPLOYING:
                return
            held.state, held.error, held.changed_at = FAILED, reason, time.time()
            held.certificate = certificate.model_dump() if certificate else {}
        self._unload(row.model_prefix)
        _log.error("deployment failed", deployment=row.id, reason=reason)

    def _switch(self, row: DeploymentRow, certificate: Certificate | None) -> None:
        with self._database.transaction() as session:
            exclusively(session, f"endpoint:{row.team}:{row.endpoint}")
            held = session.get_one(DeploymentRow, row.id, with_for_update=True)
            if held.state != DEPLOYING:
                return
            endpoint = session.get_one(EndpointRow, (row.team, row.endpoint))
            before = (
                session.get(DeploymentRow, endpoint.deployment) if endpoint.deployment else None
            )
            if before is not None:
                before.state, before.changed_at = DRAINING, time.time()
            endpoint.previous, endpoint.deployment = endpoint.deployment, row.id
            held.state, held.changed_at = ACTIVE, time.time()
            held.certificate = certificate.model_dump() if certificate else {}

    def _take_down(self, row: DeploymentRow) -> None:
        """Retire a replaced model once it has been unloaded."""
        if self._unload(row.model_prefix):
            with self._database.transaction() as session:
                held = session.get_one(DeploymentRow, row.id, with_for_update=True)
                if held.state == DRAINING:
                    held.state, held.changed_at = RETIRED, time.time()

    def _unload(self, prefix: str) -> bool:
        """Unload a model unless something else needs it; `False` while it is still in use."""
        with self._database.transaction() as session:
            needed = prefix in prefixes_in_use(session)
        return needed or self._engines.release(prefix)


def _refusal(error: Exception) -> str:
    if isinstance(error, ModelRefused):
        return str(error)
    _log.error("a model that is deployed does not answer", exc_info=error)
    return f"the engine cannot answer with it: {type(error).__name__}: {error}"[:2000]
