"""The registered model's versions and aliases: one version for each policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfemo.errors import UserError
from selfemo.policy import names
from selfemo.registry.mlflow_client import MISSING, Client, MlflowRefused, quoted
from selfemo.store.lock import Lease

CHAMPION, CHALLENGER, CANARY = "champion", "challenger", "canary"
MODEL = "Policies of self-emo, one version for each policy that a round has trained."
"""How the description of a registered model begins that is not somebody's own."""
STARTED, ENDED = "selfemo.canary_started_at", "selfemo.canary_ended"
"""Tags of a version that is canary, or was."""


class Unregistered(UserError):
    """There is no such model, version or alias."""


class Versions:
    """Versions of one registered model.

    Args:
        client: Of the MLflow server.
        model: Name of the registered model.
    """

    def __init__(self, client: Client, model: str) -> None:
        self.client, self.model = client, model

    def register(self, policy: str, run: str, tags: Mapping[str, str], lineage: Mapping[str, str] | None = None) -> str:
        """A version of the registered model for a policy; the same policy again gives the same version, with new tags.

        The scores of a policy that is evaluated anew, and what the gate said of them, replace the old ones. Should
        there be several versions of one policy, the first is meant, whoever asks. Where it comes from is said once: a
        run that begins from another run's policy does not claim it.
        """
        first = {**(lineage or {}), **tags}
        self.ensure()

        def find(mlflow: Any) -> Any | None:
            found = mlflow.search_model_versions(f"name={quoted(self.model)}")
            return min((v for v in found if v.source == policy), key=lambda v: int(v.version), default=None)

        def find_or_make(mlflow: Any) -> Any:
            if known := find(mlflow):
                return known
            made = mlflow.create_model_version(self.model, policy, run_id=run, tags=first, await_creation_for=0)
            # An earlier request whose answer got lost may have made one as well.
            return find(mlflow) or made

        version = self.client.patiently(find_or_make)
        for key, value in first.items():
            if key not in version.tags or (key in tags and version.tags[key] != value):
                self.client.set_model_version_tag(self.model, version.version, key, value)
        return str(version.version)

    def ensure(self) -> None:
        """Make the registered model if there is none.

        Whoever makes it may manage it. Where MLflow has users, a model that is not there is refused with 403 as one
        that is somebody else's: a run makes its own before it first asks for it.
        """
        try:
            self.client.create_registered_model(self.model, description=MODEL)
        except MlflowRefused as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise

    def alias(self, name: str) -> Any | None:
        """The version that an alias names, or None."""
        try:
            return self.client.get_model_version_by_alias(self.model, name)
        except MlflowRefused as error:
            if error.code in MISSING:
                return None
            raise

    def set_alias(self, name: str, version: str, lease: Lease | None = None) -> None:
        """Point an alias at a version.

        Args:
            name: Of the alias.
            version: Number of the version.
            lease: Of the lock; it is renewed right before each try.
        """

        def move(mlflow: Any) -> None:
            if lease is not None:
                lease.renew()
            mlflow.set_registered_model_alias(self.model, name, version)

        self.client.patiently(move)

    def remove_alias(self, name: str, lease: Lease | None = None) -> None:
        """Take an alias away; again does no harm. The arguments are those of :meth:`set_alias`."""

        def remove(mlflow: Any) -> None:
            if lease is not None:
                lease.renew()
            mlflow.delete_registered_model_alias(self.model, name)

        self.client.patiently(remove)

    def get(self, number: str) -> Any:
        """A version of the model.

        Raises:
            UserError: If there is none.
        """
        none = UserError(
            f"model {self.model!r} has no version {number}", where="registry", fix="see its versions with `selfemo ui`"
        )
        if not names.NUMBER.fullmatch(str(number)):
            raise none
        try:
            return self.client.get_model_version(self.model, number)
        except MlflowRefused as error:
            if error.code not in MISSING:
                raise
            raise none from None

    def source(self, name: str) -> str:
        """URI of the weights of ``models:/name@alias`` or ``models:/name/version``; see :meth:`named`."""
        return str(self.named(name).source)

    def named(self, name: str) -> Any:
        """The version that ``models:/name@alias`` or ``models:/name/version`` stands for.

        Raises:
            Unregistered: If there is no such model, version or alias.
            UserError: If the name has another form.
        """
        asked = names.registered(name)
        try:
            if asked.version:
                found = self.client.get_model_version(asked.model, asked.version)
            else:
                found = self.client.get_model_version_by_alias(asked.model, asked.alias)
        except MlflowRefused as error:
            if error.code not in MISSING:
                raise
            fix = "write models:/NAME@champion or models:/NAME/3"
            raise Unregistered(error.message, where=name, fix=fix) from None
        return found
