"""Commands against a platform over HTTP, whose loops turn only by hand."""

from __future__ import annotations

from dataclasses import dataclass

from typer.testing import CliRunner

from tests.support.runs.stepped_platform import SteppedPlatform
from vila2.cli.main import app

RUN = CliRunner()


@dataclass
class Commands:
    """A platform, and the variables by which commands find it."""

    stepped: SteppedPlatform
    env: dict[str, str]

    def told(self, *arguments: str) -> str:
        """What a command that succeeds prints."""
        result = RUN.invoke(app, [*arguments], env=self.env)
        assert result.exit_code == 0, result.output or result.exception
        return result.stdout

    def error(self, *arguments: str) -> str:
        """The error of a command that fails."""
        result = RUN.invoke(app, [*arguments], env=self.env)
        assert result.exit_code != 0
        return str(result.exception)
