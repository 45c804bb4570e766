"""What a door may ask of a guild's trained voices: which there are, which one speaks, and what was found of each."""

from __future__ import annotations

from tasks import store
from tasks.errors import NothingBefore, NothingToCompare, NothingTrained, no_such_version
from tasks.jobs import AdapterVersion, Job, voiced
from tasks.store import AsyncStore
from training.errors import GeneralAlone
from training.evaluation.schema import CheckReport, CheckSpec, Comparison, Earlier, Suite
from training.schema import WHOLE_CAST, Report, TaskType, TrainSpec


class Registry:
    """The part of a client that knows versions."""

    _store: AsyncStore

    async def versions(self, guild_id: str, persona: str) -> list[AdapterVersion]:
        """The trained voices of a persona in a guild, oldest first."""
        return await self._store.do(store.versions(guild_id, persona))

    async def voices(self, job: Job, report: Report | None) -> list[AdapterVersion]:
        """The versions that a finished job registered, one for each persona that it gave a voice."""
        personas = voiced(job.spec, report) if report else ()
        known = [await self.versions(job.guild_id, persona) for persona in personas]
        return [entry for entries in known for entry in entries if entry.job_id == job.id]

    async def learning_on(self, spec: TrainSpec) -> TrainSpec:
        """A job as it is to be planned: where it learns preferences, on the persona's live version if there is one.

        What the job names itself, a run or a base model other than that version's, stays as it is.
        """
        if spec.task_type is not TaskType.PREFERENCE or spec.start_from or spec.persona in (None, WHOLE_CAST):
            return spec
        live = _live(await self.versions(spec.guild_id, str(spec.persona)))
        if live is None or spec.base_model not in (None, live.base_model):
            return spec
        return spec.model_copy(update={"start_from": live.job_id})

    # --- which one speaks -------------------------------------------------------------------------------------------

    async def make_live(self, guild_id: str, persona: str, version: int) -> bool:
        """Let one version speak for the persona; of several who ask at once one hears True. Raises NoSuchVersion."""
        changed = await self._store.do(store.make_live(guild_id, persona, version))
        if changed is None:
            raise no_such_version(persona, version, _numbers(await self.versions(guild_id, persona)))
        return changed

    async def rollback(self, guild_id: str, persona: str) -> tuple[AdapterVersion, bool]:
        """Let the version speak that was live before the one that is, and tell it; once more goes back further.

        Of several who ask at once one hears True. Raises NothingBefore where no other has been live.
        """
        live = _live(await self.versions(guild_id, persona))
        version, changed = 0, False
        if live:
            version, changed = await self._store.do(store.rollback(guild_id, persona, live.version))
        for entry in await self.versions(guild_id, persona):
            if entry.version == version:
                return entry, changed
        raise NothingBefore(persona=persona)

    # --- checks -----------------------------------------------------------------------------------------------------

    async def check_spec(
        self,
        guild_id: str,
        persona: str,
        version: int | None = None,
        against: int | None = None,
        *,
        suite: Suite = Suite.PERSONA,
        drift: bool = False,
        judge: bool = False,
        samples: int = 3,
    ) -> CheckSpec:
        """A check of one version, by default the newest, against another, by default the live one if it is another.

        against: 0 is the base model; general questions are asked of one version alone. Raises GeneralAlone,
        NoSuchVersion or NothingToCompare.
        """
        general = suite is Suite.GENERAL
        if general and (drift or judge or against is not None):
            raise GeneralAlone
        known = await self.versions(guild_id, persona)
        if not known:
            raise NothingTrained(persona=persona)
        of = known[-1] if version is None else _of(known, persona, version)
        if against == of.version:
            raise NothingToCompare(persona=persona, version=of.version)
        live = None if general else _live(known)
        other = live if against is None else _of(known, persona, against) if against else None
        compared = other if other and other.version != of.version else None
        return CheckSpec(
            guild_id=guild_id,
            persona=persona,
            run_id=of.job_id,
            version=of.version,
            against=compared.job_id if compared else None,
            against_version=compared.version if compared else 0 if against == 0 else None,
            suite=suite,
            drift=drift,
            judge=judge,
            samples=samples,
        )

    async def last_check(self, guild_id: str, persona: str, version: int) -> CheckReport | None:
        """What the newest check of a version found, without its single replies; None: none is known."""
        return (await self.checks(guild_id, persona)).get(version)

    async def checks(self, guild_id: str, persona: str) -> dict[int, CheckReport]:
        """The newest check of each version that was checked, by its number; without their single replies."""
        found = await self._store.do(store.checks(guild_id, persona))
        known = await self.versions(guild_id, persona)
        return {entry.version: found[entry.job_id] for entry in known if entry.job_id in found}

    async def comparison(self, of: AdapterVersion, against: AdapterVersion) -> Comparison | None:
        """What is known of these two versions side by side, whatever other checks there were since.

        Of several comparisons the one by the most replies to each question counts, of those the newest, whichever of
        the two was compared with the other.
        """
        found = await self._store.do(store.comparisons(of.guild_id, of.persona))
        pair = (of.job_id, against.job_id)
        for one in found:
            asked = (one.spec.run_id, one.spec.against)
            if one.comparison and asked in (pair, pair[::-1]):
                return one.comparison if asked == pair else one.comparison.turned()
        return None

    async def before(self, found: CheckReport) -> Earlier | None:
        """What a check compared with, else the last version before its own of which anything was found, if any was."""
        if found.before or found.spec.version is None or found.spec.suite is Suite.GENERAL:
            return found.before
        guild_id, persona = found.spec.guild_id, found.persona
        compared = await self._store.do(store.comparisons(guild_id, persona))
        known: dict[int, Earlier] = {}
        for one in compared:
            if one.before:
                known.setdefault(one.spec.against_version or 0, one.before)
        for version, check in (await self.checks(guild_id, persona)).items():
            known[version] = Earlier(adapter=check.adapter, lines=check.lines)
        earlier = [version for version in known if 0 < version < found.spec.version]
        return known[max(earlier)] if earlier else None


def _live(known: list[AdapterVersion]) -> AdapterVersion | None:
    return next((entry for entry in known if entry.live), None)


def _of(known: list[AdapterVersion], persona: str, version: int) -> AdapterVersion:
    """One of the known versions; raises NoSuchVersion."""
    for entry in known:
        if entry.version == version:
            return entry
    raise no_such_version(persona, version, _numbers(known))


def _numbers(known: list[AdapterVersion]) -> list[int]:
    return [entry.version for entry in known]
