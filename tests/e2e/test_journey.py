"""From `/finetune start` to a persona that talks, through every process, and through crashes of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from sandbox.journey import custom_id, labels, pictures, play, words
from sandbox.visitor import File, Visitor
from tests.e2e.conftest import House
from tests.e2e.warehouse import TREES
from tests.sandbox.openapi import violations

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
SECONDS = 120
RUN_FILES = {"spec.json", "metrics.jsonl", "report.json", "adapter", "README.md", "loss.png"}


async def started(mara: Visitor, job: str, persona: str, epochs: int) -> tuple[str, dict]:
    """Start a job as a moderator would; returns its id and its progress card once training moves."""
    await mara.slash("workshop", "finetune", "start", job_name=job, persona=persona, epochs=epochs)
    plan = await mara.until(lambda m: job in words(m) and "Start" in labels(m), timeout=60)
    job_id = custom_id(plan, "Start").rsplit(":", 1)[-1]
    await mara.press(plan, "Start")
    card = await mara.until(lambda m: job in words(m) and "Cancel" in labels(m) and "Step" in words(m), timeout=60)
    return job_id, card


def results(mara: Visitor, job_id: str) -> list[dict]:
    return [m for m in mara.messages("workshop") if pictures(m) and job_id in words(m)]


async def test_first_journey(house: House) -> None:
    journey = await play(house.sandbox.page_url, epochs=2, seconds=SECONDS, say=lambda _: None)
    run = house.artifacts / "runs" / journey.job_id
    assert {path.name for path in run.iterdir()} >= RUN_FILES
    report = json.loads((run / "report.json").read_text())
    assert report["eval_loss_after"] < report["eval_loss_before"] - 0.1
    assert report["rehearsal"]
    assert not list(run.rglob("*.bin")) + list(run.rglob("*.pt")) + list(run.rglob("*.pkl"))


async def test_killed_train_worker_goes_on_from_its_checkpoint_and_posts_one_result(house: House) -> None:
    async with Visitor.connect(house.sandbox.page_url, as_user="Mara") as mara:
        job_id, card = await started(mara, "killed_worker", "olga", epochs=5)
        saved = await first_checkpoint(house, job_id)
        await house.kill("train")
        assert not (house.artifacts / "runs" / job_id / "report.json").exists(), "the job was over before the kill"
        await house.start_again("train")
        await mara.until(lambda m: bool(pictures(m)) and job_id in words(m), timeout=SECONDS)
        await settled(mara, card)
        await talked(mara)
        assert len(results(mara, job_id)) == 1
    # Each line tells when its step was taken: those of the first attempt were not taken again.
    lines = [json.loads(line) for line in metrics(house, job_id)]
    assert [line["step"] for line in lines] == list(range(1, lines[-1]["step"] + 1))
    assert saved[-1] in metrics(house, job_id)


async def test_killed_bot_moves_the_same_card_and_posts_one_result(house: House) -> None:
    async with Visitor.connect(house.sandbox.page_url, as_user="Mara") as mara:
        job_id, card = await started(mara, "killed_bot", "caleb", epochs=5)
        await house.kill("bot")
        before = words(mara.message(card["id"]) or {})
        await house.start_again("bot")
        await mara.until(lambda m: m["id"] == card["id"] and words(m) != before, timeout=SECONDS)
        await mara.until(lambda m: bool(pictures(m)) and job_id in words(m), timeout=SECONDS)
        await settled(mara, card)
        await talked(mara)
        assert len(results(mara, job_id)) == 1
        assert [m["id"] for m in mara.messages("workshop") if is_card(m, job_id)] == [card["id"]]


async def first_checkpoint(house: House, job_id: str) -> list[str]:
    """Wait for a checkpoint; returns the metrics of the steps that it covers, as they were first written."""
    folder = house.artifacts / "runs" / job_id / "checkpoints"
    async with asyncio.timeout(SECONDS):
        while not (saved := sorted(folder.glob("step-*"))):
            await asyncio.sleep(0.02)
    return metrics(house, job_id)[: int(saved[-1].name.removeprefix("step-"))]


async def talked(mara: Visitor) -> None:
    """Have one more answer come through the relay, behind which a second result would have been seen."""
    said = len(mara.messages("workshop"))
    await mara.slash("workshop", "persona-chat", persona="glordon", message="Are you there?")
    await mara.until_true(lambda: len(mara.messages("workshop")) >= said + 2, timeout=SECONDS)


def is_card(message: dict, job_id: str) -> bool:
    return not pictures(message) and f"\nJob {job_id}" in words(message) and not message.get("flags", 0) & 64


async def settled(mara: Visitor, card: dict) -> None:
    """Wait until the same card says that the job is over."""
    await mara.until(lambda m: m["id"] == card["id"] and "Cancel" not in labels(m), timeout=30)


def metrics(house: House, job_id: str) -> list[str]:
    return Path(house.artifacts / "runs" / job_id / "metrics.jsonl").read_text().splitlines()


async def test_each_persona_got_a_voice_of_its_own_and_fits_its_held_out_lines(house: House) -> None:
    """On the full rehearsal model, over all that the tests above trained; chance is one in seven."""
    reports = [json.loads(path.read_text()) for path in house.artifacts.glob("runs/*/report.json")]
    assert {report["spec"]["persona"] for report in reports} == {"glordon", "olga", "caleb"}
    for report in reports:
        assert report["eval_loss_after"] < report["eval_loss_before"] - 0.1
        voice = next(line for line in report["lines"] if line["id"] == "voice")
        assert voice["value"] >= 0.5, voice


async def test_what_a_member_uploads_and_what_is_built_can_be_learnt_from(house: House) -> None:
    rows = ({"instruction": f"What is {n} + 1?", "input": "", "output": f"It is {n + 1}."} for n in range(40))
    file = File("sums.json", json.dumps(list(rows)).encode())
    async with Visitor.connect(house.sandbox.page_url, as_user="Mara") as mara:
        await mara.slash("workshop", "dataset", "upload", name="sums", file=file)
        await mara.slash("workshop", "dataset", "build", name="olga-lines", persona="olga")
        for name in ("sums", "olga-lines"):
            await mara.until(lambda m, name=name: f"**{name}** is ready to learn from." in m["content"], timeout=60)
        asked = {"sums": {"task_type": "dialogue"}, "olga-lines": {"persona": "olga"}}
        for name, options in asked.items():
            job = f"on_{name}"
            await mara.slash("workshop", "finetune", "start", job_name=job, dataset=name, **options)
            plan = await mara.until(lambda m, job=job: job in words(m) and "plan" in words(m), timeout=60)
            assert "Start" in labels(plan), words(plan)


async def test_a_dialogue_is_learnt_from_oasst2_in_the_warehouse(house: House) -> None:
    """/finetune start job_name:dialogue_v1 dataset:oasst2 task_type:dialogue epochs:3"""
    job = {"job_name": "dialogue_v1", "dataset": "oasst2", "task_type": "dialogue", "epochs": 3}
    async with Visitor.connect(house.sandbox.page_url, as_user="Mara") as mara:
        await mara.slash("workshop", "finetune", "start", **job)
        plan = await mara.until(lambda m: "dialogue_v1" in words(m) and "Start" in labels(m), timeout=60)
        job_id = custom_id(plan, "Start").rsplit(":", 1)[-1]
        await mara.press(plan, "Start")
        await mara.until(lambda m: bool(pictures(m)) and job_id in words(m), timeout=SECONDS)
    report = json.loads((house.artifacts / "runs" / job_id / "report.json").read_text())
    # Of each tree the best thread, with both splits; a third is held out of so few.
    assert report["examples"] + report["held_out"] == TREES
    assert report["spec"]["dataset"] == "oasst2"
    assert report["eval_loss_after"] < report["eval_loss_before"]


async def test_discord_would_accept_every_request(house: House) -> None:
    assert len(house.sandbox.requests) > 20
    assert violations(house.sandbox.requests) == []
