"""The options that every command shares, before its name or after it, and their session.

A command of a `Group` takes one parameter of the type `Session` and none of these options:

    @app.command("list")
    def list_runs(session: Session) -> None:
        with session.client() as client: ...
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import typer
from rich.console import RenderableType

from vila2.cli.connection.workspace import DEFAULT_WORKSPACE, CliError, connected, served, server_of
from vila2.client import Client
from vila2.system import terminal

F = TypeVar("F", bound=Callable[..., None])
# Where a command works: with any platform, only one in this process, or without a platform.
Works = Literal["anywhere", "here", "alone"]

_PANEL = "Shared options, before or after the command"
_OPTIONS: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "workspace": (
        Path | None,
        ("--workspace", "-w"),
        "Folder of all data, models and databases: VILA2_WORKSPACE, else .vila2.",
    ),
    "url": (
        str | None,
        ("--url",),
        "A running platform: VILA2_URL, else that of the workspace, else this process.",
    ),
    "key": (str | None, ("--key",), "API key: VILA2_KEY, else that of the workspace."),
    "json": (bool, ("--json",), "Print JSON for programs."),
}


@dataclass(frozen=True, slots=True)
class Session:
    """The shared options of a command as given: platform, workspace and output format."""

    typed_workspace: Path | None = None
    typed_url: str | None = None
    typed_key: str | None = None
    json: bool = False

    def over(self, outer: Session | None) -> Session:
        """These options, and those of `outer` that were not typed here."""
        if outer is None:
            return self
        return Session(
            self.typed_workspace or outer.typed_workspace,
            outer.typed_url if self.typed_url is None else self.typed_url,
            outer.typed_key if self.typed_key is None else self.typed_key,
            self.json or outer.json,
        )

    @property
    def workspace(self) -> Path:
        """The workspace folder."""
        named = os.environ.get("VILA2_WORKSPACE")
        return self.typed_workspace or (Path(named) if named else DEFAULT_WORKSPACE)

    @property
    def url(self) -> str:
        """The given platform URL; empty to use that of the workspace."""
        return os.environ.get("VILA2_URL", "") if self.typed_url is None else self.typed_url

    @property
    def key(self) -> str:
        """The given key; empty to use that of the workspace."""
        return os.environ.get("VILA2_KEY", "") if self.typed_key is None else self.typed_key

    @property
    def options(self) -> str:
        """The typed workspace and URL, for commands that a message suggests; no key."""
        typed = (("-w", self.typed_workspace), ("--url", self.typed_url))
        return "".join(f" {name} {quote(str(value))}" for name, value in typed if value)

    @property
    def is_served(self) -> bool:
        """Whether the platform runs in another process."""
        return bool(self.url or server_of(self.workspace))

    def client(self) -> AbstractContextManager[Client]:
        """A client of the platform, embedded or remote."""
        return connected(self.workspace, self.url, self.key)

    def served(self) -> tuple[str, str]:
        """Address and key of a platform that runs in another process."""
        return served(self.workspace, self.url, self.key)

    def refuse_unused(self, unused: Set[str], command: str) -> None:
        """Raise `CliError` for an option that would have no effect."""
        if self.json and "json" in unused:
            raise CliError(f"`{command}` prints no JSON: leave --json out")
        if self.typed_url and "url" in unused and "workspace" not in unused:
            raise CliError(f"`{command}` runs a platform in this process: leave --url out")

    def show(self, found: Any, render: Callable[[], RenderableType]) -> None:
        """Print the platform's answer: as JSON with `--json`, otherwise as `render` formats it."""
        if self.json:
            terminal.show_json(found)
            return
        shown = render()
        if isinstance(shown, str):
            terminal.say(shown)
        else:
            terminal.show(shown)


class Group(typer.Typer):
    """Commands that share `Session`'s options."""

    def __init__(self, help: str) -> None:
        super().__init__(no_args_is_help=True, help=help, rich_markup_mode="markdown")
        self.callback()(with_options(_nothing))

    def command(
        self,
        name: str | None = None,
        *,
        works: Works = "anywhere",
        prints_json: bool = True,
        **settings: Any,
    ) -> Callable[[F], F]:
        """Add a command. Its help omits the options that it does not use."""
        unused = {"anywhere": set(), "here": {"url", "key"}, "alone": {"workspace", "url", "key"}}
        hidden = unused[works] | (set() if prints_json else {"json"})
        register = super().command(name, **settings)

        def add(function: F) -> F:
            register(with_options(function, hidden))
            return function

        return add


def with_options(
    function: Callable[..., None], hidden: Set[str] = frozenset()
) -> Callable[..., None]:
    """The function with the shared options in its signature, in place of its `Session`.

    Options given before the command are found in the context of the group.
    """
    hints = get_type_hints(function, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(function).parameters.items()
    ]
    taken = [parameter for parameter in own if parameter.annotation is Session]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        context: typer.Context = given.pop("shared_context")
        typed = Session(*(given.pop(f"shared_{name}") for name in _OPTIONS))
        context.obj = session = typed.over(context.obj)
        session.refuse_unused(hidden, context.command_path)
        function(**given, **{parameter.name: session for parameter in taken})

    shown = [_parameter("shared_context", typer.Context)]
    shown += [parameter.replace(kind=_KEYWORD) for parameter in own if parameter not in taken]
    for name, (kind, flags, help) in _OPTIONS.items():
        option = typer.Option(
            *flags, help=help, rich_help_panel=_PANEL, show_default=False, hidden=name in hidden
        )
        default = False if kind is bool else None
        shown.append(_parameter(f"shared_{name}", Annotated[kind, option], default))
    command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in shown}
    return command


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _parameter(
    name: str, annotation: Any, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    return inspect.Parameter(name, _KEYWORD, annotation=annotation, default=default)


def _nothing(session: Session) -> None:
    """A group only stores the options given before the command."""
