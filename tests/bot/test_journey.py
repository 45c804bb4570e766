"""The real bot process in the real sandbox, over a real Redis: what members do with jobs, and what they get to see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import pytest_asyncio

from sandbox.people import Overwrite, Permission
from sandbox.visitor import Refused
from tasks.embedded_redis import EmbeddedRedis
from tasks.jobs import JobState
from tests.bot.house import (
    CATALOG,
    PATIENCE,
    RATES_REFILL,
    House,
    faultless,
    is_private,
    job_of,
    labels,
    on,
    planned,
    started,
    told,
    words,
)
from tests.bot.samples import progress, report
from training.schema import Problem, TrainSpec

pytestmark = pytest.mark.asyncio(loop_scope="module")

EDIT = ("PATCH", "/channels/{channel_id}/messages/{message_id}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with faultless(tmp_path_factory.mktemp("house"), redis_server.url) as running:
        yield running


@pytest.fixture(autouse=True)
def rested(house: House) -> None:
    """No test waits for the rate limits that an earlier one used up."""
    house.sandbox.clock.advance(RATES_REFILL)


# --- a job from start to end ------------------------------------------------------------------------------------------


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
        assert labels(result) == ["Check", "Blind vote"]
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
        assert [labels(result) for result in results] == [["Check", "Blind vote"], ["Make live", "Check", "Blind vote"]]
        assert "v2** is trained, and not live yet" in words(results[1])
        await nell.press(results[1], "Make live")
        await told(nell, "Only members with the role Trainer")
        await mara.press(results[1], "Make live")
        await nell.until(lambda seen: "**Ambassador Questa** now speaks with v2" in words(seen))
        changed = await mara.until(lambda seen: seen["id"] == results[1]["id"] and "Make live" not in labels(seen))
        assert labels(changed) == ["Check", "Blind vote"]
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


# --- who may ----------------------------------------------------------------------------------------------------------


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


# --- looking ----------------------------------------------------------------------------------------------------------


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
