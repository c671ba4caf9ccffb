"""Endpoints, and the deployments requested for each.

A deployment promotes a model. `rollout.py` carries it out.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.caption.serving.deployment_checks import deciding
from services.caption.tables import CaptionJobRow, DeploymentRow, EndpointRow
from services.chassis.storage.database import Database, exclusively
from services.chassis.web.errors import Conflict, NotFound
from services.chassis.web.paging import WHOLE, Page
from vila2.client import Client
from vila2.schemas.rest import caption as api
from vila2.schemas.rest.training import Evaluation

DEPLOYING, ACTIVE, DRAINING, RETIRED, FAILED = (
    "deploying", "active", "draining", "retired", "failed",
)  # fmt: skip
_SHOWN = 20  # deployments shown per endpoint


class Deployments:
    """Owns the tables `endpoints` and, with `Rollout`, `deployments`."""

    def __init__(self, database: Database, platform: Callable[[str], Client]) -> None:
        self._database, self._platform = database, platform

    def deploy(
        self, team: str, endpoint: str, body: api.DeploymentIn, *, by: str
    ) -> api.Deployment:
        """Start deploying a model to an endpoint, creating the endpoint if necessary.

        Repeating the request while the deployment is in progress returns that deployment.
        """
        model = self._platform(team).training.model_details(body.model)
        require = [requirement.model_dump() for requirement in body.require]
        # A model from elsewhere has no trainer whose answers could be compared.
        skip_golden = not body.golden or model.origin is not None
        evidence = deciding(body.require, model.evaluations)
        with self._database.transaction() as session:
            exclusively(session, f"endpoint:{team}:{endpoint}")
            under_way = _under_way(session, team, endpoint)
            if under_way is not None:
                same = (under_way.model, under_way.require, under_way.skip_golden)
                if same == (model.name, require, skip_golden):
                    return _deployment(under_way)
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
                sha256=model.sha256,
                state=DEPLOYING,
                asked_by=by,
                note=body.note,
                skip_golden=skip_golden,
                require=require,
                evaluations=[evaluation.model_dump() for evaluation in evidence],
                created_at=time.time(),
                changed_at=time.time(),
            )
            session.add(row)
            session.flush()
            return _deployment(row)

    def rollback(self, team: str, endpoint: str, *, by: str) -> api.Deployment:
        """Redeploy the previous model, without evaluation requirements."""
        with self._database.transaction() as session:
            row = _endpoint(session, team, endpoint)
            before = session.get(DeploymentRow, row.previous) if row.previous else None
            if before is None:
                raise Conflict(
                    f"endpoint {endpoint} had no other model", field="endpoint", fix="deploy one"
                )
            present = session.get_one(DeploymentRow, row.deployment)
            body = api.DeploymentIn(
                model=before.model,
                golden=not before.skip_golden,
                note=f"rollback from {present.model}",
            )
        return self.deploy(team, endpoint, body, by=by)

    def get(self, team: str, deployment: str) -> api.Deployment:
        """A deployment and its progress."""
        with self._database.transaction() as session:
            row = session.get(DeploymentRow, deployment)
            if row is None or row.team != team:
                raise NotFound(f"no deployment {deployment!r}", field="deployment")
            return _deployment(row)

    def endpoints(self, team: str, page: Page = WHOLE) -> list[api.Endpoint]:
        """The team's endpoints by name, each with its deployments, newest first."""
        chosen = select(EndpointRow).where(EndpointRow.team == team)
        with self._database.reading() as session:
            rows = page.rows(session, chosen, EndpointRow.name)
            return [_described(session, row) for row in rows]

    def endpoint(self, team: str, name: str) -> api.Endpoint:
        """One endpoint with its deployments; raises `NotFound`."""
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


def prefixes_in_use(session: Session) -> set[str]:
    """Prefixes of models that endpoints or running caption jobs use."""
    deployed = session.scalars(
        select(DeploymentRow.model_prefix).where(DeploymentRow.state.in_((ACTIVE, DEPLOYING)))
    )
    asked = session.scalars(
        select(CaptionJobRow.model_prefix).where(CaptionJobRow.state == "running")
    )
    return {*deployed, *asked}


def _under_way(session: Session, team: str, endpoint: str) -> DeploymentRow | None:
    return session.scalar(
        select(DeploymentRow).where(
            DeploymentRow.team == team,
            DeploymentRow.endpoint == endpoint,
            DeploymentRow.state == DEPLOYING,
        )
    )


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
        .limit(_SHOWN)
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
        by=row.asked_by,
        note=row.note,
        at=row.created_at,
        error=row.error,
        require=[api.Requirement.model_validate(each) for each in row.require],
        digest=row.digest,
        evaluations=[Evaluation.model_validate(each) for each in row.evaluations],
        certificate=api.Certificate.model_validate(row.certificate) if row.certificate else None,
    )
