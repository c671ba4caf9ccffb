"""A model's certificates, out of the deployments of its endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from vila2.schemas.rest.caption import Certificate, Endpoint
from vila2.system.terminal import moment, table


def certificates_of(model: str, endpoints: Iterable[Endpoint]) -> list[Certificate]:
    """The newest certificate of a model for each engine and version."""
    found = (
        deployment.certificate
        for endpoint in endpoints
        for deployment in endpoint.deployments
        if deployment.model == model and deployment.certificate
    )
    newest: dict[tuple[str, str], Certificate] = {}
    for certificate in sorted(found, key=lambda certificate: certificate.at):
        newest[certificate.engine, certificate.version] = certificate
    return list(newest.values())


def certificates_table(certificates: Sequence[Certificate]) -> Table:
    """One row a check: what was found, what was allowed."""
    rows = []
    for certificate in certificates:
        where = f"{certificate.engine} {certificate.version}"
        for check in certificate.checks:
            outcome = {True: "passed", False: "FAILED", None: "not checked"}[check.passed]
            found, allowed = (
                "" if value is None else f"{value:.4g}" for value in (check.value, check.bound)
            )
            rows.append((where, check.name, outcome, found, allowed, moment(certificate.at)))
            where = ""
    columns = ("check", "", "found", "bound", "decided (UTC)")
    return table("certified in", *columns, rows=rows)
