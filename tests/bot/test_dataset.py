"""`/dataset …` from end to end: the real bot process in the sandbox, a real Redis, and a real prepare worker."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sandbox.people import GUILD_ID
from sandbox.server import Sandbox
from sandbox.visitor import File, Visitor
from tasks.embedded_redis import EmbeddedRedis
from tasks.jobs import JobState
from tasks.settings import TaskSettings
from tests.bot.house import BotProcess, environment, is_private, job_of, labels, until, words
from tests.conftest import settings_in
from tests.house import WorkerProcess, door
from tests.sandbox.openapi import violations
from training.data.folder import write_folder
from training.places import guild_folder
from training.schema import Conversation, Message

pytestmark = pytest.mark.asyncio(loop_scope="module")
MOST_ROWS = 2000


@dataclass
class House:
    """The sandbox, the bot in it, and the worker that prepares data."""

    sandbox: Sandbox
    settings: TaskSettings
    worker: WorkerProcess

    def visitor(self, name: str = "Mara") -> Any:
        return Visitor.connect(self.sandbox.page_url, as_user=name)

    def folder(self, name: str, guild_id: str = GUILD_ID) -> Path:
        return guild_folder(self.settings.workspace(), guild_id) / "datasets" / name

    async def kill_worker(self) -> None:
        self.worker.kill()
        self.worker = WorkerProcess(self.settings, "prepare", "p")


def write_chat(folder: Path) -> None:
    said = (Message(role="user", content="Who goes there?"), Message(role="assistant", content="Only me."))
    write_folder(folder, folder.name, [Conversation(id="1", source="chat", messages=said)], permission="P-1")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("house")
    with EmbeddedRedis(folder / "redis") as redis:
        async with Sandbox(data_dir=folder / "sandbox") as sandbox:
            settings = settings_in(folder, redis.url).model_copy(
                update={
                    "upload_sources": (f"{sandbox.discord_url}/ephemeral-attachments/",),
                    "upload_ca": sandbox.ca_path,
                    "upload_max_mib": 1,
                    "upload_max_rows": MOST_ROWS,
                }
            )
            write_chat(guild_folder(settings.workspace(), GUILD_ID) / "datasets" / "chat")
            env = environment(
                settings,
                DISCORD_TOKEN=sandbox.token,
                DISCORD_GUILD_IDS=GUILD_ID,
                DISCORD_SANDBOX=sandbox.discord_url,
                DISCORD_SANDBOX_CA=str(sandbox.ca_path),
                DISCORD_CARD_SECONDS="1",
            )
            bot = BotProcess(env, folder / "bot.log")
            house = House(sandbox, settings, WorkerProcess(settings, "prepare", "p"))
            await bot.start()
            house.worker.ready()
            try:
                yield house
            finally:
                await bot.stop()
                house.worker.stop()


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def talk(*turns: str) -> dict[str, Any]:
    roles = ("user", "assistant") * len(turns)
    return {"messages": [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)]}


def chat(count: int) -> bytes:
    return lines(*(talk(f"What is {n}?", f"{n} is a number.") for n in range(count)))


LORE = lines(
    talk("你好，你是谁？", "我是灯塔的看守人。"),
    talk("Hello 🐟", "Good evening 🌊✨."),
    talk("Nobody answers this"),
    *(talk(f"What is {n}?", f"{n} is a number.") for n in range(20)),
    talk("What is 3?", "3 is a number."),
)


async def uploaded(mara: Visitor, name: str, file: File) -> dict[str, Any]:
    """The result message of an upload."""
    await mara.slash("workshop", "dataset", "upload", name=name, file=file)
    return await result(mara, name)


async def result(mara: Visitor, name: str) -> dict[str, Any]:
    return await mara.until(lambda m: m["content"].startswith("<@") and f"**{name}**" in m["content"], 30)


async def asked(mara: Visitor, sub: str, **options: Any) -> dict[str, Any]:
    """The private answer to a command."""
    before = {message["id"] for message in mara.messages()}
    await mara.slash("workshop", "dataset", sub, **options)
    return await mara.until(lambda m: m["id"] not in before and not m["flags"] & 128 and bool(words(m).strip()), 30)


async def test_a_file_becomes_a_dataset_of_the_servers_own(house: House) -> None:
    async with house.visitor() as mara, house.visitor("Nell") as nell:
        told = await uploaded(mara, "lore", File("my lore.jsonl", LORE))
        assert "22 conversations" in words(told)
        assert "24 rows read as chat messages: 23 used, 1 left out" in words(told)
        assert "Row 3: no assistant turn" in words(told)
        assert "job_name:lore_v1 task_type:dialogue dataset:lore" in words(told)
        assert sum("**lore** · upload" in words(m) and "Job " in words(m) for m in nell.messages("workshop")) == 1
        rows = [json.loads(line) for line in (house.folder("lore") / "conversations.jsonl").read_text().splitlines()]
        assert rows[0]["messages"][1]["content"] == "我是灯塔的看守人。"
        listed = await asked(nell, "list")
        assert is_private(listed)
        assert "**lore** · 22 conversations" in words(listed)
        info = await asked(nell, "info", name="lore")
        assert "made here · 22 conversations" in words(info)
        shown = await asked(nell, "preview", name="lore")
        assert "**assistant** Good evening 🌊✨." in words(shown)
        plan = ("workshop", "finetune", "start")
        await mara.slash(*plan, job_name="l1", task_type="dialogue", dataset="lore")
        card = await mara.until(lambda m: "**l1** · plan" in words(m))
        assert labels(card) == ["Start", "Discard"]
        taken = await asked(mara, "upload", name="lore", file=File("x.jsonl", LORE))
        assert taken["content"] == "There is a dataset called lore here already. Choose another name."


async def test_a_dataset_is_deleted_by_a_second_press(house: House) -> None:
    async with house.visitor() as mara:
        await uploaded(mara, "brief", File("rows.jsonl", chat(12)))
        question = await asked(mara, "delete", name="brief")
        assert labels(question) == ["Delete", "Keep"]
        await mara.press(question, "Keep")
        await mara.until_true(lambda: "is kept" in (mara.message(question["id"]) or {"content": ""})["content"])
        assert house.folder("brief").is_dir()
        question = await asked(mara, "delete", name="brief")
        await mara.press(question, "Delete")
        await mara.until_true(lambda: "is deleted" in (mara.message(question["id"]) or {"content": ""})["content"])
        assert not house.folder("brief").exists()
        assert "There is no dataset called brief here" in (await asked(mara, "info", name="brief"))["content"]
        assert "was not made here" in (await asked(mara, "delete", name="general"))["content"]


async def test_dialogues_of_a_persona_are_built_and_trained_on(house: House) -> None:
    async with house.visitor() as mara:
        await mara.slash(
            "workshop", "dataset", "build", name="olga-set", persona="olga", general="general", ratio="80:20"
        )
        told = await result(mara, "olga-set")
        assert "mixed 80:20 with general" in words(told)
        assert "task_type:persona persona:olga dataset:olga-set" in words(told)
        plan = {"job_name": "o1", "persona": "olga"}
        await mara.slash("workshop", "finetune", "start", **plan, dataset="olga-set")
        card = await mara.until(lambda m: "**o1** · plan" in words(m))
        assert "olga-set" in words(card)
        await mara.slash("workshop", "finetune", "start", **plan, dataset="general")
        await mara.until(lambda m: "general is no dataset of Ol" in m["content"])


BOMB = gzip.compress(b" " * 300_000_000, 9)
REFUSED = {
    "large.jsonl": (bytes(1024 * 1024 + 1), "it is larger than 1 MiB"),
    "rows.pkl": (pickle.dumps([talk("a", "b")]), "could not be read"),
    "bomb.jsonl.gz": (BOMB, "could not be read"),
    "wrong.jsonl": (lines({"colour": "red", "n": 7}), "is in no format that is known here"),
    "many.jsonl": (lines(*({"messages": []} for _ in range(MOST_ROWS + 1))), f"more than {MOST_ROWS:,} rows"),
    "empty.jsonl": (b"", "could not be read"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_taken_in_is_one_sentence(house: House, name: str) -> None:
    data, sentence = REFUSED[name]
    async with house.visitor() as mara:
        answer = await asked(mara, "validate", file=File(name, data))
        assert sentence in words(answer)
        assert is_private(answer)
        wanted = name.partition(".")[0]
        told = await uploaded(mara, wanted, File(name, data))
        assert sentence in words(told)
        assert words(told).startswith(f"<@{mara.me['id']}> **{wanted}** failed.")
        assert not house.folder(wanted).exists()


async def test_a_file_is_validated_and_nothing_kept(house: House) -> None:
    async with house.visitor() as mara:
        answer = await asked(mara, "validate", file=File("lore.jsonl", LORE))
        assert "24 rows read as chat messages: 23 used, 1 left out" in words(answer)
        assert not any((guild_folder(house.settings.workspace(), GUILD_ID) / "work").glob("*/upload"))


@pytest.mark.parametrize(
    ("sub", "options", "sentence"),
    [
        ("upload", {"name": "../x", "file": File("a.jsonl", b"{}")}, "../x cannot be a dataset's name."),
        ("build", {"name": "b", "persona": "nobody"}, "There is no persona called nobody here."),
        ("build", {"name": "b", "persona": "olga", "ratio": "80:20"}, "A ratio needs something to mix in."),
        ("build", {"name": "b", "persona": "olga", "general": "general", "ratio": "most"}, "most is no ratio."),
        ("preview", {"name": "nothing"}, "There is no dataset called nothing here."),
    ],
)
async def test_bad_input_is_answered_with_one_sentence(
    house: House, sub: str, options: dict[str, Any], sentence: str
) -> None:
    async with house.visitor() as mara:
        assert sentence in (await asked(mara, sub, **options))["content"]


async def test_only_trainers_change_anything(house: House) -> None:
    async with house.visitor("Nell") as nell:
        for sub, options in (
            ("upload", {"name": "n", "file": File("a.jsonl", b"{}")}),
            ("validate", {"file": File("a.jsonl", b"{}")}),
            ("build", {"name": "n", "persona": "olga"}),
            ("delete", {"name": "lore"}),
            ("preview", {"name": "chat"}),
        ):
            assert "Only members with the role Trainer" in (await asked(nell, sub, **options))["content"]


async def test_another_server_sees_nothing_of_it(house: House) -> None:
    async with door(house.settings, "elsewhere") as elsewhere:
        assert "general" in (await elsewhere.catalog("777")).datasets
        assert "lore" not in (await elsewhere.catalog("777")).datasets


async def test_a_build_is_cancelled_by_its_button(house: House) -> None:
    async with house.visitor() as mara, house.visitor("Nell") as nell:
        await mara.slash("workshop", "dataset", "build", name="gate", persona="olga")
        card = await nell.until(lambda m: "**gate** · build" in words(m) and labels(m) == ["Cancel"])
        await nell.press(card, "Cancel")
        await nell.until(lambda m: "Only the member who started this job" in m["content"])
        await mara.press(card, "Cancel")
        assert words(await result(mara, "gate")).startswith(f"<@{mara.me['id']}> **gate** cancelled.")
        await mara.until(lambda m: m["id"] == card["id"] and labels(m) == [] and "Nothing was kept." in words(m))
        assert not house.folder("gate").exists()


async def test_a_killed_worker_leaves_one_result(house: House) -> None:
    async with house.visitor() as mara, door(house.settings, "watch") as watch:
        os.kill(house.worker.process.pid, signal.SIGSTOP)  # so that it is killed in mid-work for sure
        await mara.slash("workshop", "dataset", "build", name="cast", persona="all")
        card = await mara.until(lambda m: "**cast** · build" in words(m))
        os.kill(house.worker.process.pid, signal.SIGCONT)

        async def runs() -> bool:
            return (await watch.show(job_of(card), GUILD_ID)).state is not JobState.QUEUED

        await until(runs)
        await house.kill_worker()
        await result(mara, "cast")
        view = await watch.show(job_of(card), GUILD_ID)
        assert view.data
        assert view.data.card
        assert view.data.card.conversations > 500
        left = [path.name for path in house.folder("cast").parent.iterdir()]
        assert not [name for name in left if name.startswith(".")]
        assert len([m for m in mara.messages("workshop") if "**cast**" in m["content"] and "<@" in m["content"]]) == 1


async def test_discords_own_document_has_nothing_against_it(house: House) -> None:
    assert violations(house.sandbox.requests) == []
