"""The queue's expected bad endings; each docstring is the sentence that a person reads."""

from __future__ import annotations

from collections.abc import Sequence

from training.errors import UnderstudyError
from training.schema import Problem


class SettingsWrong(UnderstudyError):
    """These settings need correcting, in the environment or in .env:{problems}"""


class FolderUnusable(UnderstudyError):
    """{folder} cannot be used: {reason}. Mend that, or set {setting} to another folder."""


class RedisAway(UnderstudyError):
    """Redis cannot be reached at {address}. Start it, or correct REDIS_URL."""


class RedisRefused(UnderstudyError):
    """Redis at {address} refused the user name or the password. Correct REDIS_URL."""


class RedisNotStarted(UnderstudyError):
    """REDIS_URL is not set, and no embedded Redis has been started in {folder}.
    Run `understudy up`, or set REDIS_URL."""


class RedisFolderBusy(UnderstudyError):
    """Another Understudy already keeps its Redis in {folder}. Stop that one, or set STATE_DIR to another folder."""


class RedisBinaryMissing(UnderstudyError):
    """No Redis can be embedded on this machine: {reason}. Install redis-server, or set REDIS_URL."""


class RedisBroken(UnderstudyError):
    """The embedded Redis did not start: {reason}. Its log is {log}."""


class WorkersAway(UnderstudyError):
    """No {queue} worker has answered within {seconds:.0f} seconds.
    Start one with `understudy worker {queue}`, or try again in a moment."""


class CatalogMissing(WorkersAway):
    """Nothing can be chosen from yet, since no {queue} worker has published personas and datasets.
    Start one with `understudy worker {queue}`, or try again in a moment."""


class NodeTaken(UnderstudyError):
    """A {queue} worker named {node} already runs on this machine. Stop that one first;
    a worker for another card needs another number in GPU."""


class NoSuchJob(UnderstudyError):
    """There is no job {name} here. Look at the list of jobs and choose one of them."""


class JobEnded(UnderstudyError):
    """The job {name} has already ended ({state}), so there is nothing to {wish}."""


class BeingCancelled(UnderstudyError):
    """The job {name} is being cancelled, so there is nothing to {wish}."""


class NotPaused(UnderstudyError):
    """The job {name} is not paused ({state}), so there is nothing to resume."""


class NotTraining(UnderstudyError):
    """{name} is no training job, and no other can be paused. Cancel it instead."""


class NoSuchVersion(UnderstudyError):
    """{persona} has no version {version} here. Choose one of: {choices}."""


class NothingTrained(NoSuchVersion):
    """{persona} has no trained version here yet. Train one first."""


def no_such_version(persona: str, version: object, known: Sequence[int]) -> NoSuchVersion:
    """What to raise where a persona has these versions, and not the one that was named."""
    if not known:
        return NothingTrained(persona=persona)
    return NoSuchVersion(persona=persona, version=version, choices=", ".join(map(str, known)))


class NothingToCompare(UnderstudyError):
    """Version {version} of {persona} cannot be compared with itself. Name another version, or base."""


class NothingBefore(UnderstudyError):
    """No other version of {persona} was live before, so there is nothing to go back to.
    Name the version that is to speak instead."""


class AdapterMissing(UnderstudyError):
    """The files of {persona}'s version {version} are gone from ARTIFACT_ROOT.
    Restore them, or train {persona} again."""


class Refused(UnderstudyError):
    """{sentence}"""

    def __init__(self, problem: Problem) -> None:
        super().__init__(sentence=problem.sentence)
        self._problem = problem

    @property
    def problem(self) -> Problem:
        """The reason as the worker gave it, under the worker's own code."""
        return self._problem


class PlanRefused(Refused):
    """{sentence}"""


class DataRefused(Refused):
    """{sentence}"""


class ChatRefused(Refused):
    """{sentence}"""


class Poisoned(UnderstudyError):
    """This job brought its worker down {crashes} times without getting any further, so it was given up.
    Ask the operator to look at its log, or try a smaller job."""


class Unexpected(UnderstudyError):
    """Something went wrong that no one foresaw. The operator finds the details in the log under {reference}."""
