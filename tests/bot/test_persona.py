"""/persona in the channel: the real bot process in the real sandbox, with a worker that checks as the test says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bot.limits import FILE_BYTES
from sandbox.people import GUILD_ID, Overwrite, Permission
from tasks.embedded_redis import EmbeddedRedis
from tests.bot.check_samples import answer, comparison, sheet
from tests.bot.checks import THREAD, checked, found_of, result_of, samples_under
from tests.bot.house import (
    RATES_REFILL,
    House,
    Message,
    faultless,
    is_private,
    labels,
    started,
    told,
    words,
)
from tests.bot.samples import progress, report
from training.evaluation.schema import CheckReport, CheckSpec, Gate
from training.schema import Fact, Phase, Problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with faultless(tmp_path_factory.mktemp("house"), redis_server.url) as running:
        running.worker.sheets["glordon"] = sheet()
        for _ in ("v1", "v2"):
            await running.worker.trained("glordon")
        yield running


@pytest.fixture(autouse=True)
def rested(house: House) -> None:
    """No test waits for the rate limits that an earlier one used up."""
    house.sandbox.clock.advance(RATES_REFILL)


async def trained(house: House, name: str, persona: str = "glordon") -> Message:
    """The result of a job that gave a persona its next version."""
    async with house.visitor("Mara") as mara:
        await started(mara, name, "tavern", persona=persona)
        held = await house.worker.claim()
        await house.worker.finish(held, report(job_id=held.job.id))
        found: Message = await mara.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
        return found


# --- checks --------------------------------------------------------------------------------------------------------


async def test_a_check_from_command_to_card_result_files_and_thread(house: House) -> None:
    async with house.visitor("Tariq") as tariq, house.visitor("Nell") as nell:
        offered = await tariq.autocomplete(
            "workshop", "persona", "check", focused="version", options={"persona": "glordon", "version": ""}
        )
        assert offered == [
            {"name": "v2 · standin", "value": "2"},
            {"name": "v1 · live · standin", "value": "1"},
        ]
        held = await checked(house, tariq, drift=True)
        spec = held.job.spec
        assert isinstance(spec, CheckSpec)
        assert (spec.persona, spec.version, spec.against_version, spec.drift) == ("glordon", 2, 1, True)
        await told(tariq, "🟡 The check of **Glordon v2** is queued ↓")
        await house.worker.progress(held, progress(60, 120, phase=Phase.EVALUATING))
        card = await nell.until(lambda seen: "Step 60 of 120" in words(seen))
        assert "🔵 **Glordon v2** · check asks and judges" in words(card)
        assert "Its own questions · against v1 · again after 1, 8 and 16 rounds" in words(card)
        assert labels(card) == ["Cancel"]
        found = found_of(held)
        await house.worker.finish(held, found)

        result = await result_of(nell, held)
        assert [user["username"] for user in result["mentions"]] == ["tariq"]
        assert "⚠️ **Glordon v2** · passed with a warning" in words(result)
        assert "⚠️ Voice\n0.62 [0.53–0.70], gold 0.71" in words(result)
        assert [file["filename"] for file in result["attachments"]][-1:] == ["report.json"]
        picture = await nell.download(result["embeds"][0]["image"]["url"])
        assert picture.startswith(b"\x89PNG")
        whole = next(file for file in result["attachments"] if file["filename"] == "report.json")
        written = CheckReport.model_validate_json(await nell.download(whole["url"]))
        assert written.lines[-1].explanation == "not enough votes: 0 decisive ones by 0 voters"
        assert written == found.with_votes(written.lines[-1])
        assert "🟢 **Glordon v2** · check done" in words(nell.message(card["id"]))
        assert labels(nell.message(card["id"])) == []

        said = await samples_under(nell, result)
        assert (await nell.until_thread(THREAD))["id"] == result["id"]
        assert [seen["embeds"][0]["footer"]["text"] for seen in said] == [f"Question {n} of 3" for n in (1, 2, 3)]
        assert [(part["name"], part["value"]) for part in said[0]["embeds"][0]["fields"]] == [
            ("base", "“Base 0.”"),
            ("v1", "“Old 0.”"),
            ("v2", "“New 0.”"),
        ]
        public = [seen for seen in nell.messages("workshop") if held.job.id in words(seen)]
        assert [seen["id"] for seen in public] == [card["id"], result["id"]]


async def test_a_version_is_compared_with_the_base_model(house: House) -> None:
    async with house.visitor("Mara") as mara:
        offered = await mara.autocomplete(
            "workshop", "persona", "compare", focused="against", options={"persona": "glordon", "against": "base"}
        )
        assert offered == [{"name": "The base model", "value": "base"}]
        await mara.slash("workshop", "persona", "compare", persona="glordon", version="2", against="base", samples=5)
        held = await house.worker.claim()
        spec = held.job.spec
        assert isinstance(spec, CheckSpec)
        assert (spec.version, spec.against, spec.against_version, spec.samples) == (2, None, 0, 5)
        await mara.until(lambda seen: "against the base model" in words(seen))
        await house.worker.finish(held, found_of(held))
        said = await samples_under(mara, await result_of(mara, held))
        assert [part["name"] for part in said[0]["embeds"][0]["fields"]] == ["base", "v2"]


async def test_a_radar_is_drawn_against_the_version_before_once_that_was_checked(house: House) -> None:
    async with house.visitor("Mara") as mara:
        held = await checked(house, mara, version="1")
        await house.worker.finish(held, found_of(held, samples=(), adapter="Glordon v1"))
        result = await result_of(mara, held)
        assert len(result["embeds"]) == 1
        held = await checked(house, mara, version="v2", against="base")
        await house.worker.finish(held, found_of(held, samples=(), adapter="Glordon v2"))
        result = await result_of(mara, held)
        assert len(result["embeds"]) == 2
        assert result["embeds"][1]["description"] == "Now: Glordon v2 · before: Glordon v1"
        assert (await mara.download(result["embeds"][1]["image"]["url"])).startswith(b"\x89PNG")


async def test_a_check_that_fails_or_is_cancelled_says_so_and_opens_no_thread(house: House) -> None:
    async with house.visitor("Mara") as mara:
        held = await checked(house, mara)
        await house.worker.finish(held, Problem(code="AdapterMissing", sentence="The files are gone. Train again."))
        result = await result_of(mara, held)
        assert "The files are gone. Train again." in words(result)
        assert result["attachments"] == []
        held = await checked(house, mara)
        card = await mara.until(lambda seen: f"Job {held.job.id}" in words(seen))
        await mara.press(card, "Cancel")
        await told(mara, "⚪ **check of glordon v2** is being cancelled")
        await house.worker.until_cancelled(held)
        assert "cancelled" in words(await result_of(mara, held))


async def test_a_report_that_is_too_large_is_packed(house: House) -> None:
    async with house.visitor("Mara") as mara:
        held = await checked(house, mara)
        await house.worker.finish(held, found_of(held, samples=(), answers=(answer(reply="Honk. " * 1_800_000),)))
        result = await result_of(mara, held)
        assert [file["filename"] for file in result["attachments"]][-1:] == ["report.json.gz"]
        assert all(file["size"] <= FILE_BYTES for file in result["attachments"])
        assert "report.json.gz holds every prompt" in words(result)


async def test_a_comparison_is_a_check_with_an_answer(house: House) -> None:
    async with house.visitor("Tariq") as tariq:
        await tariq.slash("workshop", "persona", "compare", persona="glordon", version="2", against="1")
        held = await house.worker.claim()
        assert isinstance(held.job.spec, CheckSpec)
        assert (held.job.spec.version, held.job.spec.against_version) == (2, 1)
        await house.worker.finish(held, found_of(held, samples=(), comparison=comparison(Gate.INCONCLUSIVE, -0.02)))
        result = await result_of(tariq, held)
        assert (
            "Against Glordon v1\n🟡 **INCONCLUSIVE, too close to tell; more samples (8 at most) tell more**"
            in words(result)
        )
        assert "Facts −0.02 [−0.12 to +0.08] over 16 questions" in words(result)


# --- who may -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("check", {"persona": "glordon"}),
        ("compare", {"persona": "glordon", "version": "2", "against": "1"}),
        ("promote", {"persona": "glordon", "version": "2"}),
        ("rollback", {"persona": "glordon"}),
    ],
)
async def test_only_trainers_check_and_decide(house: House, command: str, options: dict[str, str]) -> None:
    async with house.visitor("Nell") as nell:
        asked = len([seen for seen in nell.messages() if "Only members with the role Trainer" in words(seen)])
        await nell.slash("workshop", "persona", command, **options)
        await nell.until_true(
            lambda: (
                len([seen for seen in nell.messages() if "Only members with the role Trainer" in words(seen)])
                == asked + 1
            )
        )


@pytest.mark.parametrize(
    ("command", "options", "sentence"),
    [
        ("check", {"persona": "gandalf"}, "There is no persona called gandalf here."),
        ("check", {"persona": "glordon", "version": "7"}, "glordon has no version 7 here. Choose one of: 1, 2."),
        ("check", {"persona": "glordon", "version": "x" * 500}, "Choose one of: 1, 2."),
        ("check", {"persona": "questa"}, "questa has no trained version here yet."),
        ("check", {"persona": "glordon", "suite": "general", "drift": True}, "General questions go without drift,"),
        ("check", {"persona": "glordon", "suite": "general", "against": "base"}, "Leave those out, or ask the"),
        ("compare", {"persona": "glordon", "version": "2", "against": "0"}, "glordon has no version 0 here."),
        ("compare", {"persona": "glordon", "version": "2", "against": "2"}, "cannot be compared with itself. Name"),
        ("promote", {"persona": "questa", "version": "1"}, "questa has no trained version here yet. Train one first."),
        ("promote", {"persona": "glordon", "version": "1"}, "**Glordon** already speaks with v1."),
        ("rollback", {"persona": "glordon"}, "No other version of glordon was live before"),
    ],
)
async def test_bad_input_is_answered_with_one_sentence(
    house: House, command: str, options: dict[str, str], sentence: str
) -> None:
    async with house.visitor("Mara") as mara:
        await mara.slash("workshop", "persona", command, **options)
        await told(mara, sentence)


async def test_a_channel_where_the_bot_may_not_post_is_refused_at_once(house: House) -> None:
    own = house.sandbox.world.guild.bot.id
    house.sandbox.world.set_overwrite("tavern", own, Overwrite(deny=Permission.ATTACH_FILES))
    try:
        async with house.visitor("Mara") as mara:
            await mara.slash("tavern", "persona", "check", persona="glordon")
            await told(mara, "I cannot post in this channel: I lack Attach Files.")
    finally:
        house.sandbox.world.set_overwrite("tavern", own, Overwrite())


# --- the cast ------------------------------------------------------------------------------------------------------


async def test_the_cast_and_a_persona_are_shown(house: House) -> None:
    async with house.visitor("Nell") as nell:
        await nell.slash("workshop", "persona", "list")
        cast = await told(nell, "The cast")
        assert "**Glordon** · v1 is live · 2 versions · v2 passed with a warning ⚠️" in words(cast)
        assert "**Ambassador Questa** · no version is live · 0 versions · never checked" in words(cast)
        await nell.slash("workshop", "persona", "info", persona="Glordon")
        shown = await told(nell, "The gentle heir of Hylurg.")
        assert "48 lines to learn from · 12 held out" in words(shown)
        assert "**1.** He is a friend of Elio." in words(shown)
        assert labels(shown) == []


async def test_a_trainer_edits_the_words_of_a_fact(house: House) -> None:
    async with house.visitor("Tariq") as tariq:
        await tariq.slash("workshop", "persona", "info", persona="glordon")
        shown = await told(tariq, "The gentle heir of Hylurg.")
        assert labels(shown) == ["Edit or confirm 1", "Edit or confirm 2"]
        assert "Facts · 0 of 2 confirmed" in words(shown)
        await tariq.press(shown, "Edit or confirm 1")
        form = await tariq.until_true(lambda: tariq.modal)
        assert form["title"] == "Glordon · fact 1"
        await house.bot.kill()
        await house.bot.start()
        await tariq.submit(form, {"Words that show it is known": "friend\npal\nbest buddy"})
        answered = await told(tariq, "The next check asks by these words.")
        assert "Shows that it is known: friend, pal, best buddy" in words(answered)
        assert "Shows that it is not: stranger" in words(answered)
        fact = house.worker.sheets["glordon"].facts[0]
        assert (fact.accept, fact.reject) == (("friend", "pal", "best buddy"), ("stranger",))
        assert fact.confirmed
        await tariq.slash("workshop", "persona", "info", persona="glordon")
        again = await told(tariq, "Facts · 1 of 2 confirmed")
        assert f"confirmed on {fact.confirmed}" in words(again)
        house.worker.sheets["glordon"] = sheet(facts=sheet().facts[1:])
        await tariq.press(shown, "Edit or confirm 1")
        await told(tariq, "This fact is no longer in the sheet of Glordon.")
        house.worker.sheets["glordon"] = sheet()


async def test_a_fact_is_confirmed_as_it_is_on_any_page(house: House) -> None:
    many = tuple(Fact(id=f"n{n}", text=f"Number {n}.", accept=(f"word {n}",)) for n in range(1, 31))
    house.worker.sheets["glordon"] = sheet(facts=many)
    async with house.visitor("Tariq") as tariq, house.visitor("Nell") as nell:
        await tariq.slash("workshop", "persona", "info", persona="glordon")
        shown = await told(tariq, "Facts · 0 of 30 confirmed")
        for turned in ("Facts 9–16", "Facts 17–24", "Facts 25–30"):
            await tariq.press(shown, turned)
            shown = await tariq.until(
                lambda seen, own=shown["id"], at=turned: seen["id"] == own and at not in labels(seen)
            )
        assert labels(shown) == [*(f"Edit or confirm {n}" for n in range(25, 31)), "Facts 17–24"]
        assert "**30.** Number 30." in words(shown)
        await tariq.press(shown, "Edit or confirm 30")
        form = await tariq.until_true(lambda: tariq.modal)
        await tariq.submit(form, {})
        await told(tariq, "“Number 30.”")
        facts = house.worker.sheets["glordon"].facts
        assert [fact.id for fact in facts if fact.confirmed] == ["n30"]
        assert facts[-1].accept == ("word 30",)
        await nell.slash("workshop", "persona", "info", persona="glordon")
        seen = await told(nell, "Facts · 1 of 30 confirmed")
        assert labels(seen) == ["Facts 9–16"]
    house.worker.sheets["glordon"] = sheet()


async def test_a_fact_with_more_words_than_a_form_holds_is_not_cut(house: House) -> None:
    house.worker.sheets["glordon"] = sheet(facts=(Fact(id="long", text="Long.", accept=("word",) * 900),))
    async with house.visitor("Tariq") as tariq:
        await tariq.slash("workshop", "persona", "info", persona="glordon")
        shown = await tariq.until(lambda seen: labels(seen) == ["Edit or confirm 1"])
        await tariq.press(shown, "Edit or confirm 1")
        await told(tariq, "The words of this fact of Glordon are more than a form holds (4,000 characters)")
    house.worker.sheets["glordon"] = sheet()


# --- which version speaks ------------------------------------------------------------------------------------------


async def live(house: House) -> int:
    known = await house.worker.versions(GUILD_ID, "glordon")
    return next(entry.version for entry in known if entry.live)


async def test_a_worse_version_takes_a_second_press_and_can_be_rolled_back(house: House) -> None:
    async with house.visitor("Tariq") as tariq, house.visitor("Nell") as nell:
        held = await checked(house, tariq, version="2")
        await house.worker.finish(held, found_of(held, samples=(), comparison=comparison(Gate.WORSE, -0.4)))
        assert "🔴 **WORSE**" in words(await result_of(tariq, held))
        later = await checked(house, tariq, version="2", against="base")
        await house.worker.finish(later, found_of(later, samples=(), comparison=comparison(Gate.PASS)))
        await result_of(tariq, later)
        await tariq.slash("tavern", "persona", "promote", persona="glordon", version="2")
        other = await tariq.until(lambda seen: labels(seen) == ["Make live all the same", "Leave it"])
        for answered in ("Leave it", "Make live all the same"):
            asked = len(tariq.messages())
            await tariq.slash("workshop", "persona", "promote", persona="glordon", version="2")
            question = await tariq.until(
                lambda seen: labels(seen) == ["Make live all the same", "Leave it"] and seen["id"] != other["id"]
            )
            assert len(tariq.messages()) == asked + 1
            assert "**Glordon v2** than v1" in words(question)
            assert await live(house) == 1
            await tariq.press(question, answered)
            await tariq.until(lambda seen, own=question["id"]: seen["id"] == own and not labels(seen))
        assert await live(house) == 2
        await told(tariq, "**Glordon v2** is live. Its last check: passed with a warning ⚠️. Against v1")
        await nell.until(lambda seen: "🎙️ **Glordon** now speaks with v2" in words(seen))
        # Who asked in two places, or pressed twice, is answered each time; the channel hears it once.
        await tariq.press(other, "Make live all the same")
        await tariq.until(lambda seen: seen["id"] == other["id"] and "already speaks with v2" in words(seen))
        assert len([seen for seen in nell.messages() if "now speaks with v2" in words(seen)]) == 1
        await tariq.slash("workshop", "persona", "rollback", persona="glordon")
        await nell.until(lambda seen: "⏪ **Glordon** speaks with v1 again." in words(seen))
        assert await live(house) == 1


async def test_the_result_of_a_training_offers_a_check_and_asks_twice_too(house: House) -> None:
    result = await trained(house, "third")
    async with house.visitor("Mara") as mara:
        assert labels(result) == ["Make live", "Check", "Blind vote"]
        await mara.press(result, "Check")
        held = await house.worker.claim()
        assert isinstance(held.job.spec, CheckSpec)
        assert (held.job.spec.version, held.job.spec.against_version) == (3, 1)
        await told(mara, "🟡 The check of **Glordon v3** is queued ↓")
        await house.worker.finish(held, found_of(held, samples=(), comparison=comparison(Gate.WORSE, -0.4)))
        await result_of(mara, held)
        await mara.press(result, "Make live")
        question = await mara.until(lambda seen: labels(seen) == ["Make live all the same", "Leave it"])
        assert is_private(question)
        assert await live(house) == 1
        await mara.press(question, "Make live all the same")
        await mara.until(lambda seen: "🎙️ **Glordon** now speaks with v3" in words(seen) and not is_private(seen))
        changed = await mara.until(lambda seen: seen["id"] == result["id"] and "Make live" not in labels(seen))
        assert "v3** is trained and live" in words(changed)
        assert labels(changed) == ["Check", "Blind vote"]
        assert await live(house) == 3
        await mara.slash("workshop", "persona", "promote", persona="glordon", version="1")
        await told(mara, "**Glordon v1** is live.")
        result = await trained(house, "fourth")
        await mara.slash("workshop", "persona", "promote", persona="glordon", version="v4")
        await told(mara, "**Glordon v4** is live. No check of it is known; /persona check shows what it is worth.")
