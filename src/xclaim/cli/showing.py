"""``xclaim dashboard``: the queues in a browser."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from xclaim.cli.database import Database, place_options
from xclaim.cli.options import look_timeout_option
from xclaim.cli.outcomes import RefusedError, say

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from starlette.applications import Starlette

    from xclaim.web import Access, Place

_USER, _PASSWORD = "XCLAIM_DASHBOARD_USER", "XCLAIM_DASHBOARD_PASSWORD"
_PROXY_HEADER = "proxy-header:"
_NEEDED = ("starlette", "jinja2", "uvicorn", "anyio")


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8228,
    show_default=True,
    help="Where it listens; 0 takes a free port.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address it listens at; another than loopback needs --auth.",
)
@click.option("--read-only", is_flag=True, help="Nobody can act, whatever his rights are.")
@click.option("--hide-payloads", is_flag=True, help="No payload is shown to anybody.")
@click.option(
    "--auth",
    help="token (the default: a link that works once), basic (with "
    f"{_USER} and {_PASSWORD}), or proxy-header:NAME.",
)
@click.option(
    "--trusted-proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Whose header is believed: an address or network; may be repeated.",
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="A name it is reached by, besides localhost; may be repeated.",
)
@click.option(
    "--root-path",
    default="",
    metavar="PATH",
    help="The prefix under which a proxy serves it, as /queues.",
)
@click.option(
    "--airflow-url",
    metavar="URL",
    help="Of Airflow's UI: names of runs and task instances are links to it then.",
)
@click.option(
    "--name",
    metavar="TEXT",
    help="What the pages and the log call the database; by default its own name.",
)
@look_timeout_option
@place_options
def dashboard(
    *,
    port: int,
    host: str,
    read_only: bool,
    hide_payloads: bool,
    auth: str | None,
    trusted_proxies: tuple[str, ...],
    allowed_hosts: tuple[str, ...],
    root_path: str,
    airflow_url: str | None,
    name: str | None,
    timeout: timedelta,
    database: Database,
) -> int:
    """Show the queues in a browser, until Ctrl-C.

    On this machine only, unless --host and --auth say otherwise. What it prints is a link that
    works once; when it has been used, the link for another browser is printed.
    """
    _check_packages()
    from xclaim.web.alone.hosts import is_loopback, only_hosts
    from xclaim.web.alone.serving import bound, serve

    if auth is None and not is_loopback(host):
        raise RefusedError(
            f"{host} can be reached from other machines: say with --auth who is let in (basic, or "
            "proxy-header:NAME), or leave --host out and reach it by `ssh -L`"
        )
    prefix = _prefix(root_path)
    _check_airflow_url(airflow_url)
    with bound(host, port) as listener, database.engine() as engine:
        address = _address(host, listener.getsockname()[1], prefix)
        place = _place(engine, database, name, timeout)  # before a link is printed
        access = _access(auth or "token", trusted_proxies, address)
        access = _with_scrapers(access)
        if is_loopback(host) or allowed_hosts:
            access = only_hosts(access, (host, *allowed_hosts))
        app = _app(
            place,
            access,
            read_only=read_only,
            hides_payloads=hide_payloads,
            airflow_url=airflow_url,
        )
        if auth not in (None, "token"):
            say(f"dashboard: {address} (Ctrl-C ends it)")
        try:
            serve(app, listener, root_path=prefix)
        except KeyboardInterrupt:
            return 0  # it is how one ends it
    return 0


def _check_packages() -> None:
    from importlib.util import find_spec

    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise RefusedError(
            f"the dashboard needs packages that are not there ({', '.join(missing)}): run "
            "`pip install 'xclaim[web]'`"
        )


def _access(auth: str, trusted_proxies: tuple[str, ...], address: str) -> Access:
    if trusted_proxies and not auth.startswith(_PROXY_HEADER):
        raise click.UsageError("--trusted-proxies is for --auth proxy-header:NAME")
    if auth == "token":
        return _links(address)
    if auth == "basic":
        return _password()
    if auth.startswith(_PROXY_HEADER):
        from xclaim.web.alone.proxies import ProxyHeader

        proxies = [each for given in trusted_proxies for each in given.split(",")]
        return ProxyHeader(auth.removeprefix(_PROXY_HEADER), proxies)
    raise click.UsageError(f"--auth is {auth!r}: write token, basic or proxy-header:NAME")


def _with_scrapers(access: Access) -> Access:
    from xclaim.web.alone.scrapers import VARIABLE, ScrapersToken

    token = os.environ.get(VARIABLE)
    return access if not token else ScrapersToken(access, token)


def _links(address: str) -> Access:
    from xclaim.web import Person
    from xclaim.web.alone.links import OneTimeLinks

    person = Person(name=_user_name(), may_act=True, may_see_payloads=True)
    port = address.rpartition(":")[2].partition("/")[0]
    # Two servers that `ssh -L` brings to one machine may have the same port where they run.
    cookie = f"xclaim-dashboard-{port}-{secrets.token_hex(4)}"
    links = OneTimeLinks(person, cookie=cookie, told=_teller(address))
    links.begin()
    return links


def _teller(address: str) -> Callable[[str], None]:
    said = iter(("the link works once; Ctrl-C ends the dashboard",))

    def tell(token: str) -> None:
        note = next(said, "the link before has been used; this is for another browser")
        say(f"dashboard: {address}?token={token} ({note})")

    return tell


def _password() -> Access:
    from xclaim.web.alone.passwords import OnePassword

    user, password = os.environ.get(_USER), os.environ.get(_PASSWORD)
    if not user or not password:
        raise RefusedError(f"--auth basic reads {_USER} and {_PASSWORD}: set both")
    return OnePassword(user, password)


def _place(engine: Engine, database: Database, name: str | None, timeout: timedelta) -> Place:
    from xclaim.web import Place

    return Place(
        name=name or _short_name(engine),
        engine=engine,
        schema=database.resolved_schema(engine),
        payloads=database.payloads,
        timeout=timeout,
    )


def _short_name(engine: Engine) -> str:
    """Return the name of the database; of SQLite that of its file."""
    name = engine.url.database or ""
    if engine.url.get_backend_name() == "sqlite":
        name = os.path.basename(name.partition("?")[0])  # noqa: PTH119  (a URI is no path)
    return name or engine.url.get_backend_name()


def _app(place: Place, access: Access, **options: Any) -> Starlette:
    from xclaim.web import OnePlace, create_app

    return create_app(OnePlace(place), access, is_only_process=True, **options)


def _address(host: str, port: int, prefix: str) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}{prefix}/"


def _prefix(root_path: str) -> str:
    prefix = root_path.rstrip("/")
    if prefix and (not prefix.startswith("/") or {*prefix} & {*"?#% "}):
        raise click.UsageError(f"--root-path is {root_path!r}: write it as in --root-path /queues")
    return prefix


def _check_airflow_url(url: str | None) -> None:
    from xclaim.web.airflow_pages import AirflowPages

    if url is None:
        return
    if url.startswith("/"):  # which an application may pass that has both on one server
        raise click.UsageError(
            "--airflow-url is a path: write it as in --airflow-url https://airflow.example"
        )
    AirflowPages(url)


def _user_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name of this user id, as in some containers
        return f"user {os.getuid()}"


COMMANDS = (dashboard,)
