"""How a process checks who asks, from environment variables.

VILA2_KEY_PEPPER         hexadecimal, at least 16 bytes, under which secrets are stored; several
                         with commas, new keys get the first. Without it, the workspace's file
                         `pepper`, which is made at first. Processes without a common folder
                         need it
VILA2_SERVICE_KEY        the key by which this process calls the other services; without it,
                         the workspace's file `service-key`, which is made at first
VILA2_BROKER_URL         redis://HOST:PORT/N: requests are limited over all processes together
VILA2_OIDC_ISSUER        https://...: bearer tokens that it signed are accepted beside keys
VILA2_OIDC_AUDIENCE      whom its tokens must be for
VILA2_OIDC_USER_CLAIM    names the user (default email)
VILA2_OIDC_TEAM_CLAIM    names the team (default team)
VILA2_OIDC_ROLE_CLAIM    names the role: viewer, member or admin; where it is empty or a token
                         has no such claim, the user's role in the team decides
VILA2_AUDIT_DAYS         entries of the audit log older than so many days are removed; without it
                         they are kept for ever
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.chassis.storage.settings import StorageSettings
from services.identity.identity import Identity
from services.identity.limiter import Limiter
from services.identity.migrations import MIGRATIONS
from services.identity.oidc import Claims, SignIn
from services.identity.peppers import Peppers
from services.identity.tables import Base

PEPPER_FILE = "pepper"


class IdentitySettings(BaseSettings):
    """The seams of identity."""

    model_config = SettingsConfigDict(env_prefix="VILA2_")

    key_pepper: SecretStr = SecretStr("")
    service_key: SecretStr = SecretStr("")
    broker_url: SecretStr = SecretStr("")
    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_user_claim: str = "email"
    oidc_team_claim: str = "team"
    oidc_role_claim: str = ""
    audit_days: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _an_audience(self) -> IdentitySettings:
        """Without one, a token that was made for any other program would be good here."""
        if self.oidc_issuer and not self.oidc_audience:
            raise ValueError("VILA2_OIDC_ISSUER needs VILA2_OIDC_AUDIENCE")
        if self.oidc_issuer and find_spec("joserfc") is None:
            raise ValueError("VILA2_OIDC_ISSUER needs `pip install 'vila2[oidc]'`")
        return self

    def open(self, workspace: Path, storage: StorageSettings) -> Identity:
        """Open the tables, and make the pepper of a new workspace."""
        peppers = Peppers.of(workspace / PEPPER_FILE, given=self.key_pepper.get_secret_value())
        database = storage.database(workspace, Base.metadata, MIGRATIONS)
        limiter = Limiter(self.broker_url.get_secret_value())
        return Identity(database, peppers, limiter, self._sign_in(), audit_days=self.audit_days)

    def _sign_in(self) -> SignIn | None:
        if not self.oidc_issuer:
            return None
        claims = Claims(self.oidc_user_claim, self.oidc_team_claim, self.oidc_role_claim)
        return SignIn(self.oidc_issuer, self.oidc_audience, claims)
