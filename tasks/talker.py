"""Queue chat: hands each request to one warm engine in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tasks import store
from tasks.embedded_redis import redis_url
from tasks.errors import AdapterMissing, no_such_version
from tasks.jobs import AdapterVersion
from tasks.lease import Lease
from tasks.settings import TaskSettings
from tasks.store import Claim, Store
from training.persona.sheet import find_persona
from training.schema import ChatReply, ChatSpec, Persona, Workspace


class Engine(Protocol):
    """What `training.inference.Engine` looks like."""

    def reply(self, spec: ChatSpec, persona: Persona, adapter_dir: Path | None, version: int | None) -> ChatReply:
        """Answer as the persona, with an adapter or as the base model."""
        ...


def load_engine(workspace: Workspace) -> Engine:
    """The real engine. Torch comes with it: in the worker's own thread, after every fork, when first needed."""
    from training.inference import Engine as Inference

    return Inference(workspace)


class Talker:
    """Answers chats; keeps the base model in memory after the first."""

    def __init__(self, settings: TaskSettings, load: Callable[[Workspace], Engine] = load_engine) -> None:
        self._settings = settings
        self._load = load
        self._engine: Engine | None = None
        self._store: Store | None = None

    def __call__(self, held: Claim, lease: Lease, _: threading.Event) -> ChatReply | None:
        """One reply; None if it was cancelled meanwhile."""
        spec = held.job.spec
        assert isinstance(spec, ChatSpec)
        workspace = self._settings.workspace()
        persona = find_persona(workspace, spec.guild_id, spec.persona)
        voice = self._voice(spec, persona)
        self._engine = self._engine or self._load(workspace)
        reply = self._engine.reply(spec, persona, self._files(voice, persona), voice.version if voice else None)
        return None if lease.cancelled.is_set() else reply

    def _voice(self, spec: ChatSpec, persona: Persona) -> AdapterVersion | None:
        """The version asked for, else the live one, None for the base model; raises NoSuchVersion."""
        if spec.version == 0:
            return None
        self._store = self._store or Store(redis_url(self._settings))
        known = self._store.do(store.versions(spec.guild_id, spec.persona))
        if spec.version is None:
            return next((voice for voice in known if voice.live), None)
        for voice in known:
            if voice.version == spec.version:
                return voice
        raise no_such_version(persona.name, spec.version, [voice.version for voice in known])

    def _files(self, voice: AdapterVersion | None, persona: Persona) -> Path | None:
        if voice is None:
            return None
        folder = self._settings.run_dir(voice.job_id) / "adapter"
        if not folder.is_dir():
            raise AdapterMissing(persona=persona.name, version=voice.version)
        return folder
