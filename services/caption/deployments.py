"""Deployments: a new model goes behind an endpoint without a request noticing.

Load, ask the golden set, flip the endpoint in one transaction, let the old model's requests end,
unload it. Every step may be repeated, so a loop that looks at the rows carries them out; a model
that fails leaves the endpoint as it was, and its row says why.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.caption.engine import Engines, EngineUnavailable, ModelRefused
from services.caption.golden import asks_of, judge
from services.caption.tables import DeploymentRow, EndpointRow, LayerJobRow
from services.chassis.database import Database, exclusively
from services.chassis.errors import Conflict, NotFound
from services.chassis.objects import ObjectStore
from services.chassis.rest.paging import WHOLE, Page
from vila2.api import caption as api
from vila2.client import Client
from vila2.model.golden import GOLDEN_FILE, read_golden

_log = structlog.get_logger()
DEPLOYING, ACTIVE, DRAINING, RETIRED, FAILED = (
    "deploying", "active", "draining", "retired", "failed",
)  # fmt: skip


class Deployments:
    """Owns the tables `endpoints` and `deployments`."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        engines: Engines,
        platform: Callable[[str], Client],
        *,
        drain_seconds: float = 2.0,
    ) -> None:
        self._database, self._objects, self._engines = database, objects, engines
        self._platform, self._drain_seconds = platform, drain_seconds

    def deploy(self, team: str, endpoint: str, body: api.DeploymentIn) -> api.Deployment:
        """Begin to put a model behind an endpoint, which is made if there is none."""
        model = self._platform(team).training.model(body.model)
        with self._database.transaction() as session:
            exclusively(session, f"endpoint:{team}:{endpoint}")
            under_way = session.scalar(
                select(DeploymentRow).where(
                    DeploymentRow.team == team,
                    DeploymentRow.endpoint == endpoint,
                    DeploymentRow.state == DEPLOYING,
                )
            )
            if under_way is not None and under_way.model == model.name:
                return _deployment(under_way)
            if under_way is not None:
                raise Conflict(
                    f"{under_way.model} is being deployed to {endpoint}",
                    field="endpoint",
                    fix="wait until it is active or failed",
                )
            if session.get(EndpointRow, (team, endpoint)) is None:
                session.add(EndpointRow(team=team, name=endpoint))
            row = DeploymentRow(
                id=f"deployment-{uuid.uuid4().hex[:12]}",
                team=team,
                endpoint=endpoint,
                model=model.name,
                model_prefix=model.object_prefix,
                state=DEPLOYING,
                golden={},
                error="" if body.golden else "unchecked",
                created_at=time.time(),
                changed_at=time.time(),
            )
            session.add(row)
            session.flush()
            return _deployment(row)

    def rollback(self, team: str, endpoint: str) -> api.Deployment:
        """Put the model before the present one back, by the same way."""
        with self._database.transaction() as session:
            row = _endpoint(session, team, endpoint)
            before = session.get(DeploymentRow, row.previous) if row.previous else None
            if before is None:
                raise Conflict(
                    f"endpoint {endpoint} had no other model", field="endpoint", fix="deploy one"
                )
            model = before.model
        return self.deploy(team, endpoint, api.DeploymentIn(model=model))

    def get(self, team: str, deployment: str) -> api.Deployment:
        """How far a deployment is."""
        with self._database.transaction() as session:
            row = session.get(DeploymentRow, deployment)
            if row is None or row.team != team:
                raise NotFound(f"no deployment {deployment!r}", field="deployment")
            return _deployment(row)

    def endpoints(self, team: str, page: Page = WHOLE) -> list[api.Endpoint]:
        """The team's endpoints by name, with what was deployed to each, newest first."""
        chosen = select(EndpointRow).where(EndpointRow.team == team)
        with self._database.reading() as session:
            rows = page.rows(session, chosen, EndpointRow.name)
            return [_described(session, row) for row in rows]

    def endpoint(self, team: str, name: str) -> api.Endpoint:
        """One endpoint."""
        with self._database.transaction() as session:
            return _described(session, _endpoint(session, team, name))

    def resolve(self, team: str, name: str) -> str:
        """The model behind an endpoint; any other name is returned as it is."""
        with self._database.reading() as session:
            row = session.get(EndpointRow, (team, name))
            if row is None:
                return name
            active = session.get(DeploymentRow, row.deployment) if row.deployment else None
            if active is None:
                raise Conflict(
                    f"endpoint {name} has no model yet", field="model", fix="look at its deployment"
                )
            return active.model

    def advance_all(self) -> None:
        """Take every deployment that is under way one step on."""
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
        try:
            result = self._check(row)
        except EngineUnavailable as error:
            _log.warning("deployment waits", deployment=row.id, reason=str(error)[:300])
            return  # the next tick tries again
        except ModelRefused as error:
            result = api.GoldenResult(items=0, same=0, drift=0.0, reason=str(error))
        if result.reason:
            self._refuse(row, result)
        else:
            self._flip(row, result)

    def _check(self, row: DeploymentRow) -> api.GoldenResult:
        """Load the model and ask it the golden questions."""
        engine = self._engines.get(row.model_prefix)
        if row.error == "unchecked":
            return api.GoldenResult(items=0, same=0, drift=0.0)
        try:
            items = read_golden(self._objects.get(f"{row.model_prefix}/{GOLDEN_FILE}"))
        except KeyError:
            reason = f"{row.model} has no golden set; deploy it with golden=false to go without"
            return api.GoldenResult(items=0, same=0, drift=0.0, reason=reason)
        return judge(items, engine.answer(asks_of(items), progress=lambda _: None))

    def _refuse(self, row: DeploymentRow, result: api.GoldenResult) -> None:
        with self._database.transaction() as session:
            held = session.get_one(DeploymentRow, row.id, with_for_update=True)
            held.state, held.error, held.golden = FAILED, result.reason, result.model_dump()
            held.changed_at = time.time()
        self._engines.release(row.model_prefix)
        _log.error("deployment failed", deployment=row.id, reason=result.reason)

    def _flip(self, row: DeploymentRow, result: api.GoldenResult) -> None:
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
            held.state, held.error, held.golden = ACTIVE, "", result.model_dump()
            held.changed_at = time.time()

    def _take_down(self, row: DeploymentRow) -> None:
        """Unload a model that was replaced, unless something else needs it."""
        with self._database.transaction() as session:
            needed = row.model_prefix in prefixes_in_use(session)
        if needed or self._engines.release(row.model_prefix):
            with self._database.transaction() as session:
                held = session.get_one(DeploymentRow, row.id, with_for_update=True)
                if held.state == DRAINING:
                    held.state, held.changed_at = RETIRED, time.time()


def prefixes_in_use(session: Session) -> set[str]:
    """Models that endpoints answer with and layers in the making ask."""
    deployed = session.scalars(
        select(DeploymentRow.model_prefix).where(DeploymentRow.state.in_((ACTIVE, DEPLOYING)))
    )
    asked = session.scalars(select(LayerJobRow.model_prefix).where(LayerJobRow.state == "running"))
    return {*deployed, *asked}


def _endpoint(session: Session, team: str, name: str) -> EndpointRow:
    row = session.get(EndpointRow, (team, name))
    if row is None:
        raise NotFound(f"no endpoint {name!r}", field="endpoint", fix="deploy a model to it")
    return row


def _described(session: Session, row: EndpointRow) -> api.Endpoint:
    deployments = session.scalars(
        select(DeploymentRow)
        .where(DeploymentRow.team == row.team, DeploymentRow.endpoint == row.name)
        .order_by(DeploymentRow.created_at.desc())
        .limit(20)
    ).all()
    active = session.get(DeploymentRow, row.deployment) if row.deployment else None
    previous = session.get(DeploymentRow, row.previous) if row.previous else None
    return api.Endpoint(
        name=row.name,
        model=active.model if active else "",
        previous=previous.model if previous else "",
        deployments=[_deployment(deployment) for deployment in deployments],
    )


def _deployment(row: DeploymentRow) -> api.Deployment:
    return api.Deployment(
        id=row.id,
        endpoint=row.endpoint,
        model=row.model,
        state=row.state,
        error="" if row.error == "unchecked" else row.error,
        golden=api.GoldenResult.model_validate(row.golden) if row.golden else None,
    )
