"""How a process authenticates callers, from environment variables.

VILA2_KEY_PEPPER         pepper for stored key secrets: hexadecimal, at least 16 bytes. With
                         several, separated by commas, new keys use the first. Default: the
                         workspace's file `pepper`, created if missing. Required if processes
                         do not share a workspace
VILA2_SERVICE_KEY        key with which this process calls the other services. Default: the
                         workspace's file `service-key`, created if missing
VILA2_BROKER_URL         redis://HOST:PORT/N: rate limits apply to all processes together
VILA2_OIDC_ISSUER        https://...: accept bearer tokens signed by this issuer as well as keys
VILA2_OIDC_AUDIENCE      audience that its tokens must have
VILA2_OIDC_USER_CLAIM    claim with the user's name (default email)
VILA2_OIDC_TEAM_CLAIM    claim with the team's name (default team)
VILA2_OIDC_ROLE_CLAIM    claim with the role: viewer, member or admin. If it is empty or a token
                         lacks the claim, the user's role in the team applies
VILA2_AUDIT_REFUSALS     refused requests a minute that a process records, for each team and for
                         strangers together (default 60)
VILA2_AUDIT_DAYS         days after which audit log entries are deleted; default: never
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.chassis.storage.settings import StorageSettings
from services.identity.audit import REFUSALS_PER_MINUTE, Audit
from services.identity.identity import Identity
from services.identity.limiter import Limiter
from services.identity.migrations import MIGRATIONS
from services.identity.oidc import Claims, SignIn
from services.identity.peppers import Peppers
from services.identity.tables import Base

PEPPER_FILE = "pepper"


class IdentitySettings(BaseSettings):
    """Settings from which a process's `Identity` is built."""

    model_config = SettingsConfigDict(env_prefix="VILA2_")

    key_pepper: SecretStr = SecretStr("")
    service_key: SecretStr = SecretStr("")
    broker_url: SecretStr = SecretStr("")
    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_user_claim: str = "email"
    oidc_team_claim: str = "team"
    oidc_role_claim: str = ""
    audit_refusals: int = Field(REFUSALS_PER_MINUTE, ge=1)
    audit_days: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _an_audience(self) -> IdentitySettings:
        """Require an audience: otherwise tokens issued for other programs would be accepted."""
        if self.oidc_issuer and not self.oidc_audience:
            raise ValueError("VILA2_OIDC_ISSUER needs VILA2_OIDC_AUDIENCE")
        if self.oidc_issuer and find_spec("joserfc") is None:
            raise ValueError("VILA2_OIDC_ISSUER needs `pip install 'vila2[oidc]'`")
        return self

    def open(self, workspace: Path, storage: StorageSettings) -> Identity:
        """Open the tables; creates the pepper of a new workspace."""
        peppers = Peppers.of(workspace / PEPPER_FILE, given=self.key_pepper.get_secret_value())
        database = storage.database(workspace, Base.metadata, MIGRATIONS)
        limiter = Limiter(self.broker_url.get_secret_value())
        audit = Audit(database, days=self.audit_days, refusals=self.audit_refusals)
        return Identity(database, peppers, limiter, self._sign_in(), audit=audit)

    def _sign_in(self) -> SignIn | None:
        if not self.oidc_issuer:
            return None
        claims = Claims(self.oidc_user_claim, self.oidc_team_claim, self.oidc_role_claim)
        return SignIn(self.oidc_issuer, self.oidc_audience, claims)
