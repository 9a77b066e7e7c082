"""Prepare MLflow's databases before its server starts: ``python -m selfemo.services.mlflow_admin migrate``.

Both are migrated to the schema of the MLflow that is installed, and two users made to be what the environment says: the
admin, and one for clients, who is no admin. MLflow itself sets the admin's password at the first start only; here a
password that was changed in the Secret is changed in the database, so that it can be rotated.

What a client may do needs no grants: whoever makes an experiment or a registered model may manage it. The server's
default permission is NO_PERMISSIONS, so that one may see nothing that others have made.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selfemo.errors import Exit, UserError

BACKEND, CONFIG = "MLFLOW_BACKEND_STORE_URI", "MLFLOW_AUTH_CONFIG_PATH"
CLIENT, PASSWORD = "MLFLOW_CLIENT_USERNAME", "MLFLOW_CLIENT_PASSWORD"
SECONDS, PAUSE = 900, 10
"""That another pod may take, and a command of MLflow's; and between two looks."""
LOCK = 0x5E1F_E30
"""Key of the advisory lock: any number that nobody else in the database takes."""


def migrate(backend: str, client: tuple[str, str]) -> list[str]:
    """Update both databases, and both users to what is wanted; safe to repeat, and to run twice at once.

    Args:
        backend: URI of the tracking database.
        client: Name and password of the user for clients.

    Returns:
        What was done, a line each.

    Raises:
        UserError: If a database cannot be reached or migrated, or a user is not as MLflow wants it.
    """
    from mlflow.server.auth.config import read_auth_config

    settings = read_auth_config()
    admin = settings.admin_username or "", settings.admin_password or ""
    if not all(admin):
        raise UserError("no admin", where=os.environ[CONFIG], fix="set admin_username and admin_password")
    if admin[0] == client[0]:
        raise UserError("clients would be the admin", where=CLIENT, fix="give clients a user of their own")
    with _alone(backend):
        _run("mlflow", "db", "upgrade", backend)
        _run("mlflow.server.auth", "db", "upgrade", "--url", settings.database_uri)
        return [_user(settings.database_uri, *admin, admin=True), _user(settings.database_uri, *client, admin=False)]


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Hold a lock of the database, so that of several pods one works and the others find it done."""
    import sqlalchemy
    from sqlalchemy import exc, text

    try:
        # No transaction is left open meanwhile: servers may end a session that is idle in one, and its lock with it.
        engine = sqlalchemy.create_engine(uri, isolation_level="AUTOCOMMIT")
        if engine.dialect.name != "postgresql":  # a file, which one server has
            yield
            return
        with engine.connect() as connection:
            deadline = time.monotonic() + SECONDS
            while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK}).scalar():
                if time.monotonic() > deadline:
                    raise UserError(
                        f"another pod has been at it for more than {SECONDS} s",
                        where=BACKEND,
                        fix="see its log; end it, and start this one again",
                    )
                print("waiting: another pod prepares the databases", file=sys.stderr, flush=True)
                time.sleep(PAUSE)
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
    except (exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise UserError(f"no driver: {error}", where=BACKEND, fix="write postgresql+psycopg2://...") from None
    except (exc.ArgumentError, exc.OperationalError) as error:
        # Not the error's own text: it may hold the URI, and so the password.
        kind = type(error).__name__
        raise UserError(f"the database cannot be used ({kind})", where=BACKEND, fix="check URI, network") from None


def _run(module: str, *arguments: str) -> None:
    """A command of MLflow's, in a process of its own: Alembic sets up logging for the whole process."""
    command = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{module} db upgrade did not end in {SECONDS} s", where=BACKEND, fix="see what holds the database"
        ) from None
    if done.returncode:
        print(done.stdout, done.stderr, file=sys.stderr)
        raise UserError(
            f"{module} db upgrade failed", where=f"exit code {done.returncode}", fix="see its output above this line"
        )


def _user(uri: str, name: str, password: str, *, admin: bool) -> str:
    """Make a user, or set password and rights of the one there is."""
    from mlflow.exceptions import MlflowException
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store: Any = SqlAlchemyStore()
    store.init_db(uri)
    try:
        if not store.has_user(name):
            store.create_user(name, password, is_admin=admin)
            return f"{name}: made"
        same = store.authenticate_user(name, password) and store.get_user(name).is_admin == admin
        if same:
            return f"{name}: as it was"
        store.update_user(name, password=password, is_admin=admin)
        return f"{name}: password and rights set"
    except MlflowException as error:
        raise UserError(f"{name}: {error.message}", where="MLflow's users", fix="change it in the Secret") from None
    finally:
        store.engine.dispose()


def main() -> int:
    """Entry point."""
    if sys.argv[1:] != ["migrate"]:
        print(__doc__, file=sys.stderr)
        return Exit.BAD_INPUT
    if missing := [name for name in (BACKEND, CONFIG, CLIENT, PASSWORD) if not os.environ.get(name)]:
        print(f"mlflow_admin: not set: {', '.join(missing)}\n  fix: the Secret `mlflow` has them", file=sys.stderr)
        return Exit.BAD_INPUT
    try:
        print(*migrate(os.environ[BACKEND], (os.environ[CLIENT], os.environ[PASSWORD])), sep="\n")
        return Exit.DONE
    except UserError as error:
        print(f"mlflow_admin: {error}", file=sys.stderr)
        return Exit.BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
