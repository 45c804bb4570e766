"""Queue prepare: CPU work that needs tokenizer or data, and the catalogs that the doors offer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from tasks import store
from tasks.embedded_redis import redis_url
from tasks.jobs import Catalog
from tasks.lease import Lease
from tasks.settings import TaskSettings
from tasks.store import SHIPPED, Claim, Store
from training.data.catalog import dataset_names
from training.errors import UnderstudyError
from training.persona.sheet import load_cast
from training.schema import Machine, Plan, TrainSpec, Workspace

log = logging.getLogger(__name__)
CATALOG_SECONDS = 10.0
BaseModel = tuple[str, bool]
"""A base model's id, and whether it is only for rehearsal."""
MakePlan = Callable[[TrainSpec, Workspace, Machine | None], Plan]
ChooseBase = Callable[[Workspace, Machine | None], BaseModel]


def plan_with_pipeline(spec: TrainSpec, workspace: Workspace, machine: Machine | None) -> Plan:
    """The real plan; torch comes with it, when first needed.

    Before any train worker has told what it trains on, the plan is for this machine without a card, since this process
    must hold no part of a card that it does not use.
    """
    from training.models import without_card
    from training.planning import plan

    return plan(spec, workspace=workspace, machine=machine or without_card())


def choose_base(workspace: Workspace, machine: Machine | None) -> BaseModel:
    """The base model that a job gets when it names none."""
    from training.models import choose, without_card

    base = choose(None, workspace, machine or without_card())
    return base.id, base.rehearsal


class Planner:
    """Does plan jobs, for the machine that the train worker last told of."""

    def __init__(self, settings: TaskSettings, plan: MakePlan = plan_with_pipeline) -> None:
        self._settings = settings
        self._plan = plan
        self._store: Store | None = None

    def __call__(self, held: Claim, lease: Lease, _: threading.Event) -> Plan | None:
        """One plan; None if it was cancelled meanwhile."""
        spec = held.job.spec
        assert isinstance(spec, TrainSpec)
        self._store = self._store or Store(redis_url(self._settings))
        plan = self._plan(spec, self._settings.workspace(), self._store.do(store.machine()))
        return None if lease.cancelled.is_set() else plan


class Publisher:
    """Publishes every seen guild's catalog, and the shipped one, again and again, so that an emptied Redis heals."""

    def __init__(self, settings: TaskSettings, choose: ChooseBase = choose_base) -> None:
        self._workspace = settings.workspace()
        self._choose = choose
        self._base: BaseModel | None = None
        self._machine: Machine | None = None
        self._due: dict[str, float] = {}
        self._refused: dict[str, str] = {}

    def __call__(self, connection: Store) -> None:
        """One round: what is due, a guild seen for the first time, and all when another machine is there to train."""
        machine = connection.do(store.machine())
        if self._base is None or machine != self._machine:
            self._base, self._machine = self._choose(self._workspace, machine), machine
            self._due.clear()
        for guild_id in (SHIPPED, *connection.do(store.guilds())):
            if time.monotonic() >= self._due.get(guild_id, 0):
                self._publish(connection, guild_id, self._base)
                self._due[guild_id] = time.monotonic() + CATALOG_SECONDS

    def _publish(self, connection: Store, guild_id: str, base: BaseModel) -> None:
        try:
            catalog = self._read(guild_id, base)
        except UnderstudyError as error:  # one guild's files must not keep the others from their catalogs
            if self._refused.get(guild_id) != str(error):
                log.warning("The catalog of guild %s stays as it was: %s", guild_id, error)
            self._refused[guild_id] = str(error)
            return
        self._refused.pop(guild_id, None)
        connection.do(store.publish(guild_id, catalog))

    def _read(self, guild_id: str, base: BaseModel) -> Catalog:
        return Catalog(
            personas={slug: persona.name for slug, persona in load_cast(self._workspace, guild_id).items()},
            datasets=dataset_names(),
            base_model=base[0],
            rehearsal=base[1],
        )
