"""Plans in the channel: what the real bot answers to /finetune start, and what it refuses with one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bot.phrases import REHEARSAL
from tasks.embedded_redis import EmbeddedRedis
from tests.bot.house import RATES_REFILL, House, faultless, is_private, labels, on, planned, started, told, words
from tests.bot.samples import plan
from training.schema import Problem, TrainSpec

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with faultless(tmp_path_factory.mktemp("house"), redis_server.url) as running:
        yield running


@pytest.fixture(autouse=True)
def rested(house: House) -> None:
    """No test waits for the rate limits that an earlier one used up."""
    house.sandbox.clock.advance(RATES_REFILL)


async def test_a_plan_can_be_discarded(house: House) -> None:
    async with house.visitor("Tariq") as tariq:
        card = await planned(tariq, "never_mind")
        await tariq.press(card, "Discard")
        await tariq.until(lambda seen: seen["id"] == card["id"] and "discarded" in words(seen) and not labels(seen))


async def test_start_pressed_twice_starts_once(house: House) -> None:
    async with house.visitor("Tariq") as tariq:
        card = await planned(tariq, "in_a_hurry")
        await asyncio.gather(tariq.press(card, "Start"), tariq.press(card, "Start"))
        await tariq.until(on("in_a_hurry", "Cancel"))
        held = await house.worker.claim()
        await house.worker.finish(held, None)
        await tariq.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
        assert sum("🟡 **in_a_hurry**" in words(seen) or "⚪ **in_a_hurry**" in words(seen)
                   for seen in tariq.messages("workshop")) == 3  # fmt: skip


async def test_what_cannot_start_has_no_start_button(house: House) -> None:
    house.worker.plans["too_big"] = plan(fits=False, peak_gib=17.4)
    house.worker.plans["too_empty"] = Problem(code="EmptyDataset", sentence="It holds 0 conversations. Add some.")
    async with house.visitor("Mara") as mara:
        for name, part in (("too_big", "17.4 of 7.5 GiB ❌ does not fit"), ("too_empty", "It holds 0 conversations.")):
            await mara.slash("workshop", "finetune", "start", job_name=name, persona="glordon")
            card = await told(mara, part)
            assert name in words(card)
            assert labels(card) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"persona": "gandalf"}, "There is no persona called gandalf here. Choose one of: glordon, questa."),
        ({"job_name": "no spaces please"}, "no spaces please cannot be a job's name."),
        ({"persona": None}, "A persona job needs a persona."),
        ({"task_type": "mixed"}, "A mixed job needs a dataset."),
        ({"task_type": "mixed", "dataset": "nonsense"}, "There is no dataset called nonsense here."),
        ({"task_type": "two-stage"}, "A two-stage job needs a dataset."),
        ({"task_type": "preference", "persona": None, "dataset": "lore"}, "A preference job needs a persona."),
        ({"persona": "all", "dataset": "lore"}, "A persona job for everybody learns each persona's own dialogues."),
        ({"base_model": "gpt"}, "The base model gpt is not allowed here. Choose one of: standin, some/other-model,"),
        ({"task_type": "dialogue", "dataset": "general"}, "A dialogue job takes no persona."),
        ({"dataset": "general"}, "general is no dataset of Glordon's own dialogues. Choose one of: lore;"),
        ({"persona": "g" * 4000}, "Choose one of: glordon, questa."),
    ],
)
async def test_bad_input_is_answered_with_one_sentence(house: House, options: dict[str, Any], sentence: str) -> None:
    asked = {"job_name": "fine", "persona": "glordon", **options}
    async with house.visitor("Mara") as mara:
        before = len(mara.messages("workshop"))
        given = {name: value for name, value in asked.items() if value is not None}
        await mara.slash("workshop", "finetune", "start", **given)
        answer = await mara.until(lambda seen: sentence in seen["content"])
        assert is_private(answer)
        assert labels(answer) == []
        await mara.until_true(lambda: len(mara.messages("workshop")) == before + 1)


async def test_a_preset_and_a_base_model_may_be_chosen(house: House) -> None:
    async with house.visitor("Mara") as mara:
        offered = await mara.autocomplete(
            "workshop", "finetune", "start", focused="base_model", options={"job_name": "x", "base_model": "other"}
        )
        assert [choice["value"] for choice in offered] == ["some/other-model"]
        card = await started(mara, "careful", preset="quality", base_model="some/other-model")
        assert "5 epochs" in words(card)
        assert REHEARSAL not in words(card)
        await started(mara, "brief", preset="draft", epochs=2)
        for epochs, rank, base in ((5, 32, "some/other-model"), (2, 8, None)):
            held = await house.worker.claim()
            spec = held.job.spec
            assert isinstance(spec, TrainSpec)
            knobs = spec.hyperparameters
            assert (knobs.epochs, knobs.lora_rank, spec.base_model) == (epochs, rank, base)
            await house.worker.finish(held, None)


async def test_a_persona_may_be_named_as_people_say_it(house: House) -> None:
    async with house.visitor("Mara") as mara:
        card = await planned(mara, "by_its_name", persona="Ambassador Questa")
        assert "Ambassador Questa · persona fine-tuning" in words(card)
