"""The real bot process in the real sandbox, over a real Redis: what members do, and what they get to see."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio

from bot.limits import CONTENT
from bot.phrases import REHEARSAL
from sandbox.people import Overwrite, Permission
from sandbox.visitor import NoAnswer, Refused
from tasks.embedded_redis import EmbeddedRedis
from tasks.jobs import JobState
from tests.bot.house import CATALOG, PATIENCE, RATES_REFILL, House, Message, housed, is_private, job_of, labels, words
from tests.bot.samples import plan, progress, reply, report
from tests.sandbox.openapi import violations
from training.schema import Problem, TrainSpec

pytestmark = pytest.mark.asyncio(loop_scope="module")

EDIT = ("PATCH", "/channels/{channel_id}/messages/{message_id}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with housed(tmp_path_factory.mktemp("house"), redis_server.url) as running:
        yield running
        assert violations(running.sandbox.requests) == []
        assert [seen for seen in running.sandbox.requests if seen.status in (400, 401, 429)] == []
        log = running.bot.log.read_text()
        assert "Traceback" not in log, log
        assert running.sandbox.token not in log


@pytest.fixture(autouse=True)
def rested(house: House) -> None:
    """No test waits for the rate limits that an earlier one used up."""
    house.sandbox.clock.advance(RATES_REFILL)


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


# --- a job from start to end ---------------------------------------------------------------------------------------


async def test_a_job_from_plan_to_result(house: House) -> None:
    async with house.visitor("Tariq") as tariq, house.visitor("Nell") as nell:
        card = await planned(tariq, "whole_way", epochs=4)
        assert is_private(card)
        assert "48 training conversations" in words(card)
        assert "4 epochs" in words(card)
        await tariq.press(card, "Start")
        await tariq.until(lambda seen: seen["id"] == card["id"] and "is queued ↓" in words(seen) and not labels(seen))

        shown = await nell.until(on("whole_way", "Cancel"))
        assert "queued" in words(shown)
        held = await house.worker.claim()
        assert isinstance(held.job.spec, TrainSpec)
        assert (held.job.id, held.job.spec.hyperparameters.epochs) == (job_of(shown), 4)
        for step in range(1, 40):
            await house.worker.progress(held, progress(step, 40))
        await nell.until(lambda seen: seen["id"] == shown["id"] and "Step 39 of 40" in words(seen))
        await house.worker.finish(held, report(held.job.spec, job_id=held.job.id))

        result = await nell.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
        assert [user["username"] for user in result["mentions"]] == ["tariq"]
        assert "trained and live" in words(result)
        assert labels(result) == []
        picture = await nell.download(result["embeds"][0]["image"]["url"])
        assert picture.startswith(b"\x89PNG")
        final = nell.message(shown["id"])
        assert "🟢 **whole_way** · done" in words(final)
        assert labels(final) == []
        about = [seen for seen in nell.messages("workshop") if held.job.id in words(seen)]
        assert [seen["id"] for seen in about] == [shown["id"], result["id"]]
    edits = [seen for seen in house.requests(*EDIT) if shown["id"] in seen.path]
    assert len(edits) < 10, "forty events are not forty edits"
    assert all(later.at - sooner.at > 0.8 for sooner, later in pairwise(edits[:-1]))


async def test_a_failed_job_says_why_and_calls_its_starter(house: House) -> None:
    async with house.visitor("Mara") as mara:
        await started(mara, "fails_a_lot")
        held = await house.worker.claim()
        await house.worker.finish(held, Problem(code="EmptyDataset", sentence="The data is empty. Add some."))
        result = await mara.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
        assert "🔴 **fails_a_lot** · failed" in words(result)
        assert "The data is empty. Add some." in words(result)
        assert [user["username"] for user in result["mentions"]] == ["mara"]


async def test_a_second_version_is_made_live_by_its_button(house: House) -> None:
    async with house.visitor("Mara") as mara, house.visitor("Nell") as nell:
        results = []
        for name in ("questa_one", "questa_two"):
            await started(mara, name, "tavern", persona="questa")
            held = await house.worker.claim()
            await house.worker.finish(held, report(job_id=held.job.id))
            job_id = held.job.id
            results.append(await mara.until(lambda seen, job_id=job_id: f"Result of job {job_id}" in words(seen)))
        assert [labels(result) for result in results] == [[], ["Make live"]]
        assert "v2** is trained, and not live yet" in words(results[1])
        await nell.press(results[1], "Make live")
        await told(nell, "Only members with the role Trainer")
        await mara.press(results[1], "Make live")
        await nell.until(lambda seen: "**Ambassador Questa** now speaks with v2" in words(seen))
        changed = await mara.until(lambda seen: seen["id"] == results[1]["id"] and not labels(seen))
        assert "v2** is trained and live" in words(changed)
        assert changed["embeds"][0]["title"] == results[1]["embeds"][0]["title"]


async def test_a_job_rests_while_another_runs_and_goes_on(house: House) -> None:
    async with house.visitor("Tariq") as tariq, house.visitor("Mara") as mara, house.visitor("Nell") as nell:
        card = await started(tariq, "sleeper")
        held = await house.worker.claim()
        await house.worker.progress(held, progress(12, 40))
        running = await nell.until(on("sleeper", "Pause", "Cancel"))
        await nell.press(running, "Pause")
        await told(
            nell, "Only the member who started this job or someone with the permission Moderate Members may pause"
        )
        await tariq.press(running, "Pause")
        await told(tariq, "🟠 **sleeper** is being paused")
        await house.worker.until_paused(held, 12)
        rests = await nell.until(on("sleeper", "Resume", "Cancel"))
        rests = await nell.until(lambda seen: seen["id"] == card["id"] and "Paused at step 12 of 40." in words(seen))
        assert "Whoever started it, or a moderator, lets it go on" in words(rests)

        await started(mara, "guest")
        guest = await house.worker.claim()
        assert guest.job.spec.job_name == "guest"  # type: ignore[union-attr]
        await house.worker.finish(guest, None)
        await nell.press(rests, "Resume")
        await told(
            nell, "Only the member who started this job or someone with the permission Moderate Members may resume"
        )
        offered = await mara.autocomplete("workshop", "finetune", "resume", focused="job", options={"job": ""})
        assert [choice["value"] for choice in offered] == [held.job.id]
        await mara.slash("workshop", "finetune", "resume", job=held.job.id)
        await told(mara, "🟡 **sleeper** goes on from where it stopped when its turn comes")
        await tariq.press(rests, "Resume")
        await told(tariq, "The job sleeper is not paused (queued), so there is nothing to resume.")
        again = await house.worker.claim()
        assert (again.job, again.attempts) == (held.job, 1)
        await house.worker.progress(again, progress(39, 40))
        await nell.until(lambda seen: seen["id"] == card["id"] and labels(seen) == ["Pause", "Cancel"])
        await house.worker.finish(again, report(job_id=held.job.id))
        result = await nell.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
        about = [seen for seen in nell.messages("workshop") if held.job.id in words(seen) and not is_private(seen)]
        assert [seen["id"] for seen in about] == [card["id"], result["id"]]
        assert [user["username"] for user in result["mentions"]] == ["tariq"]


async def test_a_waiting_job_is_paused_resumed_and_cancelled_by_command(house: House) -> None:
    async with house.visitor("Tariq") as tariq:
        card = await started(tariq, "by_words")
        await tariq.slash("workshop", "finetune", "pause", job="by_words")
        await told(tariq, "🟠 **by_words** is paused. It keeps its place")
        await tariq.until(on("by_words", "Resume", "Cancel"))
        await tariq.press(tariq.message(card["id"]), "Resume")
        await told(tariq, "🟡 **by_words** goes on")
        await tariq.until(lambda seen: seen["id"] == card["id"] and labels(seen) == ["Cancel"])
        await tariq.slash("workshop", "finetune", "pause", job="by_words")
        rests = await tariq.until(lambda seen: seen["id"] == card["id"] and labels(seen) == ["Resume", "Cancel"])
        await tariq.press(rests, "Cancel")
        await told(tariq, "⚪ **by_words** is cancelled.")
        await tariq.slash("workshop", "finetune", "pause", job="by_words")
        await told(tariq, "The job by_words has already ended (cancelled), so there is nothing to pause.")


async def test_one_run_for_the_whole_cast_is_made_live_for_all(house: House) -> None:
    async with house.visitor("Mara") as mara:
        offered = await mara.autocomplete(
            "workshop", "finetune", "start", focused="persona", options={"job_name": "x", "persona": "all"}
        )
        assert offered[0] == {"name": "Everybody (all)", "value": "all"}
        await started(mara, "everybody", "tavern", persona="all")
        held = await house.worker.claim()
        assert isinstance(held.job.spec, TrainSpec)
        assert held.job.spec.persona == "all"
        await house.worker.finish(held, report(held.job.spec, job_id=held.job.id, personas=("glordon", "questa")))
        result = await mara.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
        assert "**Glordon v" in words(result)
        assert "Ambassador Questa v" in words(result)
        assert "** are trained, and not live yet." in words(result)
        await mara.press(result, "Make live")
        await mara.until(lambda seen: "🎙️ Now speak: **Glordon with v" in words(seen))
        changed = await mara.until(lambda seen: seen["id"] == result["id"] and not labels(seen))
        assert "** are trained and live: try /persona-chat." in words(changed)


async def test_a_preference_job_learns_on_from_the_live_version(house: House) -> None:
    async with house.visitor("Mara") as mara:
        await started(mara, "voter", "tavern", task_type="preference", dataset="/votes.jsonl", persona="questa")
        held = await house.worker.claim()
        await house.worker.finish(held, None)
        spec = held.job.spec
        assert isinstance(spec, TrainSpec)
        live = await house.worker.live(spec.guild_id, "questa")
        assert (spec.task_type, spec.dataset, spec.start_from) == ("preference", "/votes.jsonl", live)
        assert live is not None


# --- plans ---------------------------------------------------------------------------------------------------------


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


# --- who may -------------------------------------------------------------------------------------------------------


async def test_members_without_the_role_may_not_start(house: House) -> None:
    async with house.visitor("Nell") as nell:
        await nell.slash("workshop", "finetune", "start", job_name="mine", persona="glordon")
        answer = await told(nell, "Only members with the role Trainer or the permission Moderate Members")
        assert labels(answer) == []


async def test_a_role_taken_away_counts_at_the_press(house: House) -> None:
    async with house.visitor("Tariq") as tariq:
        card = await planned(tariq, "too_late")
        house.sandbox.world.set_roles("Tariq", [])
        try:
            await tariq.press(card, "Start")
            await told(tariq, "Only members with the role Trainer")
        finally:
            house.sandbox.world.set_roles("Tariq", ["Trainer"])
        assert labels(tariq.message(card["id"])) == ["Start", "Discard"]


async def test_a_channel_where_the_bot_may_not_post_is_refused_at_once(house: House) -> None:
    own = house.sandbox.world.guild.bot.id
    house.sandbox.world.set_overwrite("tavern", own, Overwrite(deny=Permission.ATTACH_FILES | Permission.EMBED_LINKS))
    try:
        async with house.visitor("Mara") as mara:
            await mara.slash("tavern", "finetune", "start", job_name="where", persona="glordon")
            await told(mara, "I cannot post in this channel: I lack Embed Links, Attach Files.")
    finally:
        house.sandbox.world.set_overwrite("tavern", own, Overwrite())


async def test_only_the_starter_or_a_moderator_cancels(house: House) -> None:
    async with house.visitor("Tariq") as tariq, house.visitor("Nell") as nell, house.visitor("Mara") as mara:
        for name, how in (("by_starter", tariq), ("by_moderator", mara)):
            card = await started(tariq, name)
            held = await house.worker.claim()
            seen_by_nell = await nell.until(on(name, "Pause", "Cancel"))
            refusals = len([seen for seen in nell.messages() if "may cancel it" in words(seen)])
            await nell.press(seen_by_nell, "Cancel")
            await nell.slash("workshop", "finetune", "cancel", job=name)
            await nell.until_true(
                lambda refusals=refusals: (
                    len([s for s in nell.messages() if "may cancel it" in words(s)]) == refusals + 2
                )
            )
            await how.press(how.message(card["id"]), "Cancel")
            await told(how, f"**{name}** is being cancelled")
            await how.slash("workshop", "finetune", "status", job=held.job.id)
            other = await how.until(
                lambda seen, name=name, own=card["id"]: f"**{name}** · cancelling" in words(seen) and seen["id"] != own
            )
            assert labels(other) == []
            await house.worker.until_cancelled(held)
            job_id = held.job.id
            result = await tariq.until(lambda seen, job_id=job_id: f"Result of job {job_id}" in words(seen))
            assert "cancelled" in words(result)
            assert "⚪" in words(tariq.message(card["id"]))
            assert labels(tariq.message(card["id"])) == []


async def test_a_queued_job_is_cancelled_by_command(house: House) -> None:
    async with house.visitor("Tariq") as tariq:
        card = await started(tariq, "by_command", "tavern")
        offered = await tariq.autocomplete("workshop", "finetune", "cancel", focused="job", options={"job": "by_comm"})
        assert [choice["value"] for choice in offered] == [job_of(card)]
        await tariq.slash("workshop", "finetune", "cancel", job=offered[0]["value"])
        await told(tariq, "⚪ **by_command** is cancelled.")
        await tariq.until(lambda seen: seen["id"] == card["id"] and not labels(seen))
        await tariq.slash("workshop", "finetune", "cancel", job="by_command")
        await told(tariq, "The job by_command has already ended (cancelled)")


# --- looking -------------------------------------------------------------------------------------------------------


async def test_choices_while_typing(house: House) -> None:
    async with house.visitor("Nell") as nell:
        where = ("workshop", "finetune", "start")
        personas = await nell.autocomplete(*where, focused="persona", options={"job_name": "x", "persona": "AMB"})
        assert personas == [{"name": "Ambassador Questa", "value": "questa"}]
        datasets = await nell.autocomplete(*where, focused="dataset", options={"job_name": "x", "dataset": ""})
        assert [choice["value"] for choice in datasets] == list(CATALOG.datasets)
        with pytest.raises(Refused):
            await nell.slash(*where, job_name="x", persona="glordon", epochs=11)


async def test_status_and_list(house: House) -> None:
    async with house.visitor("Tariq") as tariq, house.visitor("Nell") as nell:
        card = await started(tariq, "looked_at")
        await nell.slash("workshop", "finetune", "status", job="looked_at")
        status = await tariq.until(lambda seen: "looked_at" in words(seen) and seen["id"] > card["id"])
        assert not is_private(status)
        assert "Next in line." in words(status)
        assert labels(status) == ["Cancel"]
        await nell.slash("workshop", "finetune", "list")
        assert "**looked_at** · queued" in words(await told(nell, "Jobs here"))
        await nell.slash("workshop", "finetune", "status", job="nothing")
        await told(nell, "There is no job nothing here.")
        await tariq.press(tariq.message(card["id"]), "Cancel")
        await told(tariq, f"**looked_at** is {JobState.CANCELLED.value.lower()}")
        await nell.slash("workshop", "finetune", "status", job=job_of(card))
        ended = await nell.until(lambda seen: "**looked_at** · cancelled" in words(seen) and seen["id"] > status["id"])
        assert labels(ended) == []


# --- talk ----------------------------------------------------------------------------------------------------------


async def test_a_persona_answers_under_its_own_name(house: House) -> None:
    house.worker.answers.append(reply("Honk, @everyone and <@1200000000000000001>!"))
    async with house.visitor("Nell") as nell:
        await nell.slash("tavern", "persona-chat", persona="glordon", message="Who *are* you, @everyone?")
        answer = await nell.until(lambda seen: seen["author"]["username"] == "Glordon")
        assert answer["content"].endswith(f"-# Glordon · v2 · {REHEARSAL}")
        asked = await nell.until(lambda seen: "-# Nell to Glordon" in words(seen))
        assert "> Who *are* you" in words(asked)
        for seen in (asked, answer):
            assert seen["mentions"] == []
            assert not seen.get("mention_everyone")
    assert [turn.content for turn in house.worker.asked[-1].messages] == ["Who *are* you, @everyone?"]


async def test_a_long_answer_comes_in_parts_and_in_order(house: House) -> None:
    sentences = [f"This is sentence number {number}." for number in range(200)]
    house.worker.answers.append(reply(" ".join(sentences), name="Olga"))
    async with house.visitor("Nell") as nell:
        await nell.slash("tavern", "persona-chat", persona="glordon", message="Tell me a lot")
        await nell.until(lambda seen: seen["author"]["username"] == "Olga" and "-# Olga" in words(seen))
        parts = [seen["content"] for seen in nell.messages("tavern") if seen["author"]["username"] == "Olga"]
    assert len(parts) == 3
    assert all(len(part) <= CONTENT for part in parts)
    assert " ".join(parts).split("\n-#")[0].split(". ") == " ".join(sentences).split(". ")


async def test_a_name_that_webhooks_refuse_is_spoken_by_the_bot(house: House) -> None:
    house.worker.answers.append(reply("Hi.", name="Clyde"))
    async with house.visitor("Nell") as nell:
        await nell.slash("tavern", "persona-chat", persona="glordon", message="Hello Clyde")
        answer = await nell.until(lambda seen: "-# Clyde" in words(seen))
        assert answer["author"]["username"] == "Understudy"
        assert answer["content"] == f"**Clyde:** Hi.\n-# Clyde · v2 · {REHEARSAL}"


async def test_where_webhooks_are_not_allowed_the_bot_speaks(house: House) -> None:
    own = house.sandbox.world.guild.bot.id
    house.sandbox.world.set_overwrite("tavern", own, Overwrite(deny=Permission.MANAGE_WEBHOOKS))
    try:
        async with house.visitor("Nell") as nell:
            house.worker.answers.append(reply("By another mouth."))
            await nell.slash("tavern", "persona-chat", persona="glordon", message="Who speaks?")
            answer = await nell.until(lambda seen: "By another mouth." in words(seen))
            assert answer["author"]["username"] == "Understudy"
            assert answer["content"].startswith("**Glordon:** By another mouth.")
    finally:
        house.sandbox.world.set_overwrite("tavern", own, Overwrite())


async def test_a_webhook_that_was_deleted_is_made_again(house: House) -> None:
    async with house.visitor("Nell") as nell:
        speakers = []
        for number in range(3):
            house.worker.answers.append(reply(f"Take {number}."))
            await nell.slash("tavern", "persona-chat", persona="glordon", message="Again?")
            answer = await nell.until(lambda seen, number=number: f"Take {number}." in words(seen))
            speakers.append(answer["author"]["username"])
            if number == 0:
                house.sandbox.world.webhooks.clear()
        assert speakers == ["Glordon", "Understudy", "Glordon"]


async def test_an_interaction_that_is_seen_too_late_is_let_go(house: House) -> None:
    assert house.bot.process
    async with house.visitor("Nell") as nell:
        house.bot.process.send_signal(signal.SIGSTOP)
        try:
            asked = asyncio.create_task(nell.slash("workshop", "finetune", "list"))
            seen = len(house.sandbox.requests)
            async with asyncio.timeout(PATIENCE):
                while not house.sandbox.interactions.waiting:
                    await asyncio.sleep(0.01)
            house.sandbox.clock.advance(4)
            with pytest.raises(NoAnswer):
                await asked
        finally:
            house.bot.process.send_signal(signal.SIGCONT)
        await nell.slash("workshop", "finetune", "list")
        await told(nell, "Jobs here")
    assert [request.code for request in house.sandbox.requests[seen:] if request.code] == [10062]
    assert "was answered too late" in house.bot.log.read_text()


async def test_talk_that_fails_says_so(house: House) -> None:
    house.worker.answers.append(Problem(code="AdapterMissing", sentence="Its files are gone. Train it again."))
    async with house.visitor("Nell") as nell:
        await nell.slash("tavern", "persona-chat", persona="glordon", message="Are you there?")
        await nell.until(lambda seen: "🔴 Its files are gone. Train it again." in words(seen))
        await nell.slash("tavern", "persona-chat", persona="nobody", message="Hello?")
        await told(nell, "There is no persona called nobody here.")
        await nell.slash("tavern", "persona-chat", persona="glordon", message="   ")
        await told(nell, "There is nothing to answer.")
        assert not any(seen["flags"] & 128 for seen in nell.messages("tavern")), "nothing is left thinking"


async def test_only_results_call_anyone(house: House) -> None:
    async with house.visitor("Nell") as nell:
        await nell.until_true(lambda: nell.messages("workshop"), PATIENCE)
        for seen in nell.messages():
            assert seen["mentions"] == [] or "Result of job" in words(seen), words(seen)
    for sent in house.sandbox.requests:
        if sent.method in ("POST", "PATCH") and isinstance(sent.body, dict) and "content" in sent.body:
            allowed = sent.body.get("allowed_mentions", {})
            assert not allowed.get("parse")
            assert not allowed.get("roles")
