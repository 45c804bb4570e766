"""Queue prepare: CPU work that needs tokenizer or data, and the catalogs that the doors offer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from tasks import store
from tasks.embedded_redis import redis_url
from tasks.errors import RedisAway
from tasks.jobs import Catalog
from tasks.lease import Lease
from tasks.post import GiveBack
from tasks.settings import TaskSettings
from tasks.store import SHIPPED, Claim, Ending, Store
from tasks.uploads import Fetcher
from training.data.catalog import offers
from training.data.schema import DataAction, DataReport, DataSpec, Upload
from training.errors import RunStopped, UnderstudyError
from training.persona.sheet import load_cast
from training.schema import Machine, Plan, Progress, TrainSpec, Workspace

log = logging.getLogger(__name__)
CATALOG_SECONDS = 10.0
CHANGING = frozenset({DataAction.UPLOAD, DataAction.BUILD, DataAction.DELETE, DataAction.FACT, DataAction.VOTES})
MakePlan = Callable[[TrainSpec, Workspace, Machine | None], Plan]


class BaseModels(NamedTuple):
    """Which base model a job gets that names none, whether it is only for rehearsal, and all that jobs may name."""

    own: str
    rehearsal: bool
    choices: tuple[str, ...] = ()


LookUp = Callable[[Workspace, Machine | None], BaseModels]


class Prepare(Protocol):
    """What `training.data.prepare.prepare` looks like."""

    def __call__(
        self,
        spec: DataSpec,
        workspace: Workspace,
        *,
        job_id: str,
        most_rows: int,
        fetch: Callable[[Upload, Path], None],
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> DataReport:
        """Do the work; raises RunStopped when asked to stop, and goes on from there when called again."""
        ...


def plan_with_pipeline(spec: TrainSpec, workspace: Workspace, machine: Machine | None) -> Plan:
    """The real plan; torch comes with it, when first needed.

    Before any train worker has told what it trains on, the plan is for this machine without a card, since this process
    must hold no part of a card that it does not use.
    """
    from training.models import without_card
    from training.planning import plan

    return plan(spec, workspace=workspace, machine=machine or without_card())


def look_up_models(workspace: Workspace, machine: Machine | None) -> BaseModels:
    """The catalog's base models and those that the operator allows, beside the operator's own choice."""
    from training.models import catalog, choose, without_card

    base = choose(None, workspace, machine or without_card())
    choices = dict.fromkeys((base.id, *catalog(), *workspace.allowed_base_models))
    return BaseModels(base.id, base.rehearsal, tuple(choices))


def prepare_data(
    spec: DataSpec,
    workspace: Workspace,
    *,
    job_id: str,
    most_rows: int,
    fetch: Callable[[Upload, Path], None],
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> DataReport:
    """The real work on data; what reads every format comes with it, when first needed."""
    from training.data.prepare import prepare

    return prepare(
        spec,
        workspace,
        job_id=job_id,
        most_rows=most_rows,
        fetch=fetch,
        on_progress=on_progress,
        should_stop=should_stop,
    )


class Preparer:
    """Does plans, for the machine that the train worker last told of, and work on data."""

    def __init__(
        self,
        settings: TaskSettings,
        publisher: Publisher,
        plan: MakePlan = plan_with_pipeline,
        prepare: Prepare = prepare_data,
    ) -> None:
        self._settings = settings
        self._publisher = publisher
        self._plan = plan
        self._prepare = prepare
        self._connected: Store | None = None

    @property
    def _store(self) -> Store:
        if self._connected is None:
            self._connected = Store(redis_url(self._settings))
        return self._connected

    def __call__(self, held: Claim, lease: Lease, stopping: threading.Event) -> Ending | GiveBack:
        """One plan or one report; None if it was cancelled meanwhile."""
        spec = held.job.spec
        if isinstance(spec, DataSpec):
            return self._data(held.job.id, spec, lease, stopping)
        assert isinstance(spec, TrainSpec)
        plan = self._plan(spec, self._settings.workspace(), self._store.do(store.machine()))
        return None if lease.cancelled.is_set() else plan

    def _data(self, job_id: str, spec: DataSpec, lease: Lease, stopping: threading.Event) -> Ending | GiveBack:
        def unwanted() -> bool:
            return lease.cancelled.is_set() or lease.lost.is_set() or stopping.is_set()

        try:
            report = self._prepare(
                spec,
                self._settings.workspace(),
                job_id=job_id,
                most_rows=self._settings.upload_max_rows,
                fetch=Fetcher(self._settings, unwanted),
                on_progress=lease.tell,
                should_stop=unwanted,
            )
        except RunStopped:
            return None if lease.cancelled.is_set() else GiveBack(crashed=False)
        if spec.action in CHANGING:
            self._publisher.refresh(self._store, spec.guild_id)
        return report


class Publisher:
    """Publishes every seen guild's catalog, and the shipped one, again and again, so that an emptied Redis heals."""

    def __init__(self, settings: TaskSettings, look_up: LookUp = look_up_models) -> None:
        self._workspace = settings.workspace()
        self._look_up = look_up
        self._models: BaseModels | None = None
        self._machine: Machine | None = None
        self._due: dict[str, float] = {}
        self._refused: dict[str, str] = {}

    def __call__(self, connection: Store) -> None:
        """One round: what is due, a guild seen for the first time, and all when another machine is there to train."""
        machine = connection.do(store.machine())
        if self._models is None or machine != self._machine:
            self._models, self._machine = self._look_up(self._workspace, machine), machine
            self._due.clear()
        for guild_id in (SHIPPED, *connection.do(store.guilds())):
            if time.monotonic() >= self._due.get(guild_id, 0):
                self._publish(connection, guild_id, self._models)
                self._due[guild_id] = time.monotonic() + CATALOG_SECONDS

    def refresh(self, connection: Store, guild_id: str) -> None:
        """Publish one guild's catalog now, so that whoever hears of a change finds it there."""
        if self._models is None:
            return
        try:
            self._publish(connection, guild_id, self._models)
        except RedisAway as error:  # the next round does it
            log.warning("The catalog of guild %s is published later: %s", guild_id, error)

    def _publish(self, connection: Store, guild_id: str, models: BaseModels) -> None:
        try:
            catalog = self._read(guild_id, models)
        except UnderstudyError as error:  # one guild's files must not keep the others from their catalogs
            if self._refused.get(guild_id) != str(error):
                log.warning("The catalog of guild %s stays as it was: %s", guild_id, error)
            self._refused[guild_id] = str(error)
            return
        self._refused.pop(guild_id, None)
        connection.do(store.publish(guild_id, catalog))

    def _read(self, guild_id: str, models: BaseModels) -> Catalog:
        return Catalog(
            personas={slug: persona.name for slug, persona in load_cast(self._workspace, guild_id).items()},
            datasets=offers(self._workspace, guild_id),
            base_model=models.own,
            rehearsal=models.rehearsal,
            base_models=models.choices,
        )
