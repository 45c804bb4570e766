"""Queue prepare: CPU work that needs tokenizer or data, and the catalogs that the doors offer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tasks import store
from tasks.jobs import Catalog
from tasks.lease import Lease
from tasks.settings import TaskSettings
from tasks.store import SHIPPED, Claim, Store
from training.data.catalog import dataset_names
from training.persona.sheet import load_cast
from training.schema import Plan, TrainSpec, Workspace

CATALOG_SECONDS = 10.0
BaseModel = tuple[str, bool]
"""A base model's id, and whether it is only for rehearsal."""


def plan_with_pipeline(spec: TrainSpec, workspace: Workspace) -> Plan:
    """The real plan; torch comes with it, when first needed."""
    from training.pipeline import plan

    return plan(spec, workspace=workspace)


def choose_base(workspace: Workspace) -> BaseModel:
    """The base model that a job gets when it names none."""
    from training.models import choose

    base = choose(None, workspace)
    return base.id, base.rehearsal


class Planner:
    """Does plan jobs."""

    def __init__(
        self, settings: TaskSettings, plan: Callable[[TrainSpec, Workspace], Plan] = plan_with_pipeline
    ) -> None:
        self._settings = settings
        self._plan = plan

    def __call__(self, held: Claim, lease: Lease, stopping: threading.Event) -> Plan | None:
        """One plan; None if it was cancelled meanwhile."""
        spec = held.job.spec
        assert isinstance(spec, TrainSpec)
        plan = self._plan(spec, self._settings.workspace())
        return None if lease.cancelled.is_set() else plan


class Publisher:
    """Publishes every seen guild's catalog, and the shipped one, again and again, so that an emptied Redis heals."""

    def __init__(self, settings: TaskSettings, choose: Callable[[Workspace], BaseModel] = choose_base) -> None:
        self._settings = settings
        self._choose = choose
        self._base: BaseModel | None = None
        self._read_at: dict[str, float] = {}
        self._catalogs: dict[str, Catalog] = {}

    def __call__(self, connection: Store) -> None:
        """One round."""
        for guild_id in (SHIPPED, *connection.do(store.guilds())):
            connection.do(store.publish(guild_id, self._catalog(guild_id)))

    def _catalog(self, guild_id: str) -> Catalog:
        now = time.monotonic()
        if now - self._read_at.get(guild_id, -CATALOG_SECONDS) >= CATALOG_SECONDS:
            self._catalogs[guild_id] = self._read(guild_id)
            self._read_at[guild_id] = now
        return self._catalogs[guild_id]

    def _read(self, guild_id: str) -> Catalog:
        workspace = self._settings.workspace()
        self._base = self._base or self._choose(workspace)
        return Catalog(
            personas={slug: persona.name for slug, persona in load_cast(workspace, guild_id).items()},
            datasets=dataset_names(workspace, guild_id),
            base_model=self._base[0],
            rehearsal=self._base[1],
        )
