"""A small house around the real bot process: the real sandbox, a real Redis, and a worker that follows a script."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis.asyncio
from pydantic import SecretStr

from bot.relay import ended
from sandbox.people import GUILD_ID
from sandbox.server import Sandbox
from sandbox.visitor import Visitor
from tasks import keys, store
from tasks.jobs import AdapterVersion, Catalog, Origin, Queue, new_job
from tasks.settings import TaskSettings
from tasks.store import AsyncStore, Claim
from tests.bot.samples import plan, reply, report
from tests.conftest import settings_in
from tests.sandbox.openapi import violations
from training.data.schema import DataAction, DataReport, DatasetCard, DatasetOffer, DataSpec, Step
from training.data.votes import preference_rows
from training.evaluation.schema import Separation
from training.persona.amend import changed
from training.schema import ChatReply, ChatSpec, Persona, Plan, Problem, Progress, TrainSpec

ROOT = Path(__file__).parents[2]
LEASE_SECONDS = 120.0
PATIENCE = 20.0
RATES_REFILL = 6.0
NONCES_ARE_FORGOTTEN = 900
CATALOG = Catalog(
    personas={"glordon": "Glordon", "questa": "Ambassador Questa"},
    datasets={
        "general": DatasetOffer(name="general", where="shipped", license="MIT", lang="en", conversations=300),
        "lore": DatasetOffer(name="lore", where="guild", license="MIT", lang="en", conversations=40, persona="glordon"),
    },
    base_model="standin",
    rehearsal=True,
    base_models=("standin", "some/other-model"),
)

Message = dict[str, Any]
T = TypeVar("T")


async def until(condition: Callable[[], Awaitable[T]], seconds: float = PATIENCE) -> T:
    """What the condition returns once it holds."""
    deadline = time.monotonic() + seconds
    while not (found := await condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)
    return found


class ScriptedWorker:
    """Serves the three queues over the real store: plans, sheets and chats by itself, others as the test says."""

    def __init__(self, url: SecretStr) -> None:
        self._url = url
        self._store = AsyncStore(url)
        self.plans: dict[str, Plan | Problem] = {}
        self.sheets: dict[str, Persona] = {}
        self.answers: list[ChatReply | Problem] = []
        self.answer_to: Callable[[ChatSpec], ChatReply] = lambda spec: reply()
        self.asked: list[ChatSpec] = []
        self.boxes: list[DataSpec] = []
        self.agreed: set[str] = set()
        self.lost = False
        self.apart: Callable[[dict[str, str]], Separation] | None = None
        self.sheets_read = 0
        self.chat_open = asyncio.Event()
        self.chat_open.set()
        self._serving: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def working(self) -> AsyncIterator[ScriptedWorker]:
        """Publish the catalog and serve plans and chats."""
        await self._store.do(store.publish(store.SHIPPED, CATALOG))
        await self._attend()
        self._serving = [
            asyncio.create_task(self._attend_for_ever()),
            asyncio.create_task(self._serve(Queue.PREPARE, self._prepare)),
            asyncio.create_task(self._serve(Queue.CHAT, self._answer)),
        ]
        try:
            yield self
        finally:
            # redis may lose a cancellation that comes just as it times out.
            await ended(*self._serving)
            await self._store.close()

    async def claim(self, queue: Queue = Queue.TRAIN) -> Claim:
        """The oldest waiting job, once there is one."""
        return await until(lambda: self._claim(queue))

    async def progress(self, held: Claim, look: Progress) -> None:
        """Tell how far a job is."""
        assert await self._store.do(store.progress(held, look))

    async def finish(self, held: Claim, ending: store.Ending) -> None:
        """End a job."""
        assert await self._store.do(store.finish(held, ending))

    async def trained(self, persona: str) -> None:
        """Give a persona its next version, by a job that no channel hears of."""
        spec = TrainSpec(job_name="quiet", guild_id=GUILD_ID, persona=persona)
        job = new_job("train", spec, Origin(door="api", guild_id=GUILD_ID))
        await self._store.do(store.submit(job))
        await self.finish(await self.claim(), report(spec, job_id=job.id))

    async def versions(self, guild_id: str, persona: str) -> list[AdapterVersion]:
        """The versions of a persona, oldest first."""
        return await self._store.do(store.versions(guild_id, persona))

    async def live(self, guild_id: str, persona: str) -> str | None:
        """The job whose adapter speaks for a persona."""
        known = await self.versions(guild_id, persona)
        return next((entry.job_id for entry in known if entry.live), None)

    async def standing(self, held: Claim) -> store.Standing:
        """What a heartbeat hears."""
        return await self._store.do(store.heartbeat(held, LEASE_SECONDS))

    async def until_paused(self, held: Claim, step: int) -> None:
        """Wait for the wish to pause, and give the job back as a worker does, behind a checkpoint of `step`."""

        async def wished() -> bool:
            return await self.standing(held) is store.Standing.PAUSE

        await until(wished)
        assert await self._store.do(store.checkpoint(held, step))
        assert await self._store.do(store.requeue(held, crashed=False, crash_limit=5))

    async def until_cancelled(self, held: Claim) -> None:
        """Wait for the wish to cancel, and end the job as a worker does."""

        async def wished() -> bool:
            return await self.standing(held) is store.Standing.CANCEL

        await until(wished)
        await self.finish(held, None)

    async def _attend(self) -> None:
        for queue in Queue:
            await self._store.do(store.attend(queue, "test"))

    async def _attend_for_ever(self) -> None:
        while True:
            await asyncio.sleep(store.AWAY_SECONDS / 5)
            await self._attend()

    async def _claim(self, queue: Queue) -> Claim | None:
        return await self._store.do(store.claim(queue, node=f"{queue}@test", boot="1", lease=LEASE_SECONDS))

    async def _serve(self, queue: Queue, answer: Callable[[Claim], Awaitable[None]]) -> None:
        while True:
            await answer(await until(lambda: self._claim(queue), seconds=3600))

    async def _prepare(self, held: Claim) -> None:
        spec = held.job.spec
        if isinstance(spec, TrainSpec):
            await self.finish(held, self.plans.get(spec.job_name, plan()))
        elif isinstance(spec, DataSpec) and spec.action is DataAction.AGREED and self.lost:
            async with redis.asyncio.Redis.from_url(self._url.get_secret_value()) as connection:
                assert await connection.delete(keys.record(spec.guild_id, held.job.id))
        elif isinstance(spec, DataSpec) and spec.action is DataAction.AGREED:
            known = tuple(pair for pair, one in spec.typed.items() if one.user in self.agreed)
            await self.finish(held, DataReport(action=spec.action, name=str(spec.persona), agreed=known))
        elif isinstance(spec, DataSpec) and spec.action is DataAction.APART:
            found = self.apart(spec.replies) if self.apart else None
            await self.finish(held, DataReport(action=spec.action, name=spec.guild_id, separation=found))
        elif isinstance(spec, DataSpec) and spec.votes is not None:
            self.boxes.append(spec)
            await self.finish(held, DataReport(action=spec.action, name=str(spec.name), card=_voted(spec)))
        elif isinstance(spec, DataSpec):
            await self.finish(held, self._sheet(spec))

    def _sheet(self, spec: DataSpec) -> DataReport:
        """A sheet as it is, or as it is once the words of one of its facts were changed."""
        slug = str(spec.persona)
        self.sheets_read += 1
        if spec.action is DataAction.FACT:
            assert spec.fact is not None
            facts = [changed(one, spec.fact) if one.id == spec.fact.id else one for one in self.sheets[slug].facts]
            self.sheets[slug] = self.sheets[slug].model_copy(update={"facts": tuple(facts)})
        return DataReport(action=spec.action, name=slug, persona=self.sheets[slug], learnt=48, held_out=12)

    async def _answer(self, held: Claim) -> None:
        assert isinstance(held.job.spec, ChatSpec)
        self.asked.append(held.job.spec)
        await self.chat_open.wait()
        await self.finish(held, self.answers.pop(0) if self.answers else self.answer_to(held.job.spec))


def _voted(spec: DataSpec) -> DatasetCard:
    """The card of a dataset of votes, counted as the worker counts them."""
    assert spec.votes is not None
    assert spec.name is not None
    asked, kept = len(spec.votes.pairs), len(list(preference_rows(spec.votes)))
    removed = {"not decided": asked - kept} if asked > kept else {}
    return DatasetCard(
        name=spec.name,
        made_at="2026-11-29T12:00:00+00:00",
        version="0" * 12,
        sources=(),
        licenses=(),
        steps=(Step(name="votes", before=asked, after=kept, removed=removed),),
        conversations=kept,
        turns=2 * kept,
    )


@dataclass
class BotProcess:
    """`python -m bot` with the settings of a house."""

    env: dict[str, str]
    log: Path
    process: asyncio.subprocess.Process | None = field(default=None)

    async def launch(self) -> None:
        """Start it and do not wait."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot", cwd=ROOT, env=self.env, stdout=asyncio.subprocess.PIPE, stderr=log
            )

    async def start(self) -> None:
        """Start it and wait for READY."""
        await self.launch()
        assert self.process
        assert self.process.stdout
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)
        if line != b'READY {"process":"bot"}\n':
            await self.stop()
            pytest.fail(f"the bot is not ready: {line!r}\n{self.log.read_text()}")

    async def kill(self) -> None:
        """kill -9."""
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), PATIENCE)

    async def ends(self) -> tuple[int, str]:
        """The exit code and what stderr says, of a bot that cannot start."""
        assert self.process
        try:
            code = await asyncio.wait_for(self.process.wait(), PATIENCE)
        except TimeoutError:
            await self.kill()
            raise
        return code, self.log.read_text()


def environment(settings: TaskSettings, **changes: str) -> dict[str, str]:
    """The environment of a bot process: the settings given, and nothing of the tester's own."""
    assert settings.redis_url
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **inherited,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "STATE_DIR": str(settings.state_dir),
        "ARTIFACT_ROOT": str(settings.artifact_root),
        "PYTHONUNBUFFERED": "1",
        **changes,
    }


@dataclass
class House:
    """Everything a journey needs."""

    sandbox: Sandbox
    worker: ScriptedWorker
    bot: BotProcess

    def visitor(self, name: str = "Mara") -> Any:
        """A member of the sandbox."""
        return Visitor.connect(self.sandbox.page_url, as_user=name)

    def requests(self, method: str, template: str) -> list[Any]:
        """The bot's requests of one kind."""
        return [seen for seen in self.sandbox.requests if (seen.method, seen.template) == (method, template)]


@asynccontextmanager
async def housed(folder: Path, redis_url: SecretStr) -> AsyncIterator[House]:
    """A house with its bot running, and nothing left in Redis of an earlier one."""
    settings = settings_in(folder, redis_url)
    async with redis.asyncio.Redis.from_url(redis_url.get_secret_value()) as connection:
        await connection.flushall()
    async with Sandbox(data_dir=folder / "sandbox") as sandbox, ScriptedWorker(redis_url).working() as worker:
        env = environment(
            settings,
            DISCORD_TOKEN=sandbox.token,
            DISCORD_GUILD_IDS=GUILD_ID,
            DISCORD_SANDBOX=sandbox.discord_url,
            DISCORD_SANDBOX_CA=str(sandbox.ca_path),
            DISCORD_CARD_SECONDS="1",
        )
        bot = BotProcess(env, folder / "bot.log")
        await bot.start()
        try:
            yield House(sandbox, worker, bot)
        finally:
            await bot.stop()


@asynccontextmanager
async def faultless(folder: Path, redis_url: SecretStr, *expected: int) -> AsyncIterator[House]:
    """A house whose bot asks Discord for nothing wrong, foresees all that happens and lets no secret out.

    expected: the codes of refusals that a bot must run into, such as that of a thread which it has opened already.
    """
    async with housed(folder, redis_url) as running:
        yield running
        assert violations(running.sandbox.requests) == []
        refused = [seen for seen in running.sandbox.requests if seen.status in (400, 401, 429)]
        assert [seen for seen in refused if seen.code not in expected] == []
        log = running.bot.log.read_text()
        assert "Traceback" not in log, log
        assert running.sandbox.token not in log


def words(message: Message) -> str:
    """Everything a person reads in a message."""
    parts = [message["content"]]
    for embed in message["embeds"]:
        parts += [embed.get("title", ""), embed.get("description", ""), embed.get("footer", {}).get("text", "")]
        parts += [f"{part['name']}\n{part['value']}" for part in embed.get("fields", [])]
    return "\n".join(parts)


def labels(message: Message) -> list[str]:
    """The words on a message's buttons."""
    return [button["label"] for row in message["components"] for button in row["components"]]


def is_private(message: Message) -> bool:
    """Whether only one member sees it."""
    return bool(message["flags"] & 64)


def job_of(message: Message) -> str:
    """The job's id in a card's footer."""
    found = re.search(r"[Jj]ob ([a-z0-9]{12})", words(message))
    assert found, words(message)
    return found.group(1)


def on(name: str, *deeds: str) -> Callable[[Message], bool]:
    """Whether a message is about a job and has these buttons."""
    return lambda message: name in words(message) and labels(message) == list(deeds)


async def planned(visitor: Any, name: str, channel: str = "workshop", **options: Any) -> Message:
    """A plan card."""
    await visitor.slash(channel, "finetune", "start", **{"job_name": name, "persona": "glordon", **options})
    card: Message = await visitor.until(on(name, "Start", "Discard"))
    return card


async def started(visitor: Any, name: str, channel: str = "workshop", **options: Any) -> Message:
    """The progress card of a job that was started."""
    await visitor.press(await planned(visitor, name, channel, **options), "Start")
    card: Message = await visitor.until(on(name, "Cancel"))
    return card


async def told(visitor: Any, part: str) -> Message:
    """What the bot told this member alone."""
    message: Message = await visitor.until(lambda seen: is_private(seen) and part in words(seen))
    return message


class KillAtPost:
    """Watches the sandbox and kills the bot while its POST is answered, before it can note that it was heard.

    part: of what the message says, or of a thread's name.
    """

    def __init__(self, house: House, part: str) -> None:
        self._house, self._part = house, part
        self.done = asyncio.Event()
        house.sandbox.world.watchers.append(self)  # type: ignore[arg-type]

    def message_posted(self, message: Any) -> None:
        self._look(message.content + "".join(embed.get("footer", {}).get("text", "") for embed in message.embeds))

    def thread_opened(self, thread: Any) -> None:
        self._look(thread.name)

    def _look(self, said: str) -> None:
        if self._part in said and not self.done.is_set():
            process = self._house.bot.process
            assert process
            process.kill()
            self.done.set()

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


async def restart_after(house: House, killer: KillAtPost) -> None:
    """Start the bot again once it was killed, so much later that Discord has forgotten the nonces."""
    async with asyncio.timeout(10):
        await killer.done.wait()
    assert house.bot.process
    await house.bot.process.wait()
    house.sandbox.clock.advance(NONCES_ARE_FORGOTTEN)
    await house.bot.start()
