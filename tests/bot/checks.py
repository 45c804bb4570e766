"""Checks in the sandbox: asked for by a member, found by the scripted worker, and seen in the channel."""

from __future__ import annotations

from typing import Any

from tasks.store import Claim
from tests.bot.check_samples import check_report
from tests.bot.house import House, Message, is_private, words
from training.evaluation.schema import CheckReport, CheckSpec

THREAD = "Glordon v2 · answers side by side"


async def checked(house: House, visitor: Any, **options: Any) -> Claim:
    """A check that was asked for and that a worker has claimed."""
    await visitor.slash("workshop", "persona", "check", **{"persona": "Glordon", **options})
    held = await house.worker.claim()
    await visitor.until(lambda seen: f"Job {held.job.id}" in words(seen) and not is_private(seen))
    return held


def found_of(held: Claim, **changes: Any) -> CheckReport:
    """What a check found, as its worker tells it."""
    assert isinstance(held.job.spec, CheckSpec)
    return check_report(held.job.spec, job_id=held.job.id, **changes)


async def result_of(visitor: Any, held: Claim) -> Message:
    found: Message = await visitor.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
    return found


async def samples_under(visitor: Any, result: Message, count: int = 3) -> list[Message]:
    """The messages of the thread under a result, once there are so many."""
    thread = await visitor.until_thread(result["id"])

    def there() -> list[Message]:
        said = [seen for seen in visitor.messages(thread["id"]) if seen["embeds"] or seen["content"]]
        return said if len(said) >= count else []

    await visitor.until_true(there)
    return there()
