"""The nouns of evaluation: what is asked, what was answered, how it scored, and what people chose."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from training.errors import GeneralAlone
from training.schema import GuildId, Message, Noun, RunId, ScoreLine, Slug, Verdict

# --- what people chose ---------------------------------------------------------------------------------------------


class VoteChoice(StrEnum):
    """What a voter may say of two answers."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"
    BAD = "bad"


class Contender(Noun):
    """One of two answers; version None is the base model without an adapter."""

    version: int | None
    answer: str


class VotePair(Noun):
    """Two answers to one question, put to a channel."""

    id: str = Field(pattern=r"^[a-z0-9]{12}$")
    persona: Slug
    question: str
    first: Contender
    second: Contender
    asked_by: Literal["sheet", "operator", "member"] = Field(
        description="Where the question is from; what members typed is exported with their consent only."
    )
    consented: bool = False


class Vote(Noun):
    """One voter's last choice for one pair; `voter` is a pseudonym."""

    pair: str
    voter: str
    choice: VoteChoice


class Rubric(Noun):
    """What a voter said of one answer on a form, 1 to 5 each."""

    pair: str
    voter: str
    side: Literal["first", "second"]
    in_character: int = Field(ge=1, le=5)
    true_to_facts: int = Field(ge=1, le=5)
    worth_talking_to: int = Field(ge=1, le=5)


class BallotBox(Noun):
    """Closed pairs with their votes, as they are handed on for export."""

    pairs: tuple[VotePair, ...] = Field(max_length=500)
    votes: tuple[Vote, ...] = Field(max_length=20_000)
    rubrics: tuple[Rubric, ...] = Field((), max_length=20_000)


class Separation(Noun):
    """How well several personas' answers to the same question are told apart."""

    right: float = Field(description="The share given to the one who spoke; by chance 1 / `speakers`.")
    distance: float = Field(
        description="Mean over pairs, from 0, the same voice, to 1, voices that nobody would mistake for each other."
    )
    speakers: int


# --- what is asked -------------------------------------------------------------------------------------------------


class Probe(Noun):
    """One question, to one of the cast where there are several.

    Of a fact question, `accept` words show that the reply knows it and `reject` words that not.
    """

    id: str
    kind: Literal["fact", "neutral", "boundary"]
    question: str
    persona: str = ""
    accept: tuple[str, ...] = ()
    reject: tuple[str, ...] = ()


class Suite(StrEnum):
    """Which questions a check asks: those of the persona, or general ones with the adapter on and off."""

    PERSONA = "persona"
    GENERAL = "general"


class CheckSpec(Noun):
    """One check of a persona's voice, as it was asked for."""

    guild_id: GuildId
    persona: Slug
    run_id: RunId | None = Field(None, description="The run whose adapter is checked; None: the base model alone.")
    version: int | None = Field(None, ge=1, description="The number that the registry knows it by.")
    against: RunId | None = Field(None, description="The run whose adapter it is compared with.")
    against_version: int | None = Field(
        None, ge=0, description="The number of what it is compared with; 0: the base model alone, which is no run."
    )
    suite: Suite = Suite.PERSONA
    drift: bool = Field(False, description="Ask again after 1, 8 and 16 rounds of talk.")
    judge: bool = Field(False, description="Also have LLM_BASE_URL judge the replies; advisory.")
    votes: BallotBox | None = Field(None, description="Closed votes that the judge is measured on; in no report.")
    samples: int = Field(3, ge=1, le=8, description="Replies to each question.")
    seed: int = Field(42, ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def _general_alone(self) -> Self:
        if self.suite is Suite.GENERAL and (self.drift or self.judge or self.compares):
            raise ValueError(str(GeneralAlone()))
        return self

    @property
    def compares(self) -> bool:
        """Whether it is compared with another adapter or with the base model."""
        return self.against is not None or self.against_version == 0


# --- what was answered ---------------------------------------------------------------------------------------------


class Score(Noun):
    """What one scorer says of one reply: its value, what it took as the answer, and why."""

    value: float
    answer: str = ""
    explanation: str = ""


class ProbeAnswer(Noun):
    """One reply to one question, drawn by its seed; `scores` by the line of the scorecard that they count towards."""

    probe: str
    kind: Literal["fact", "neutral", "boundary", "general"]
    question: str
    sample: int
    seed: int
    reply: str
    tokens: int
    ended: bool
    scores: dict[str, Score] = Field({})


class SideBySide(Noun):
    """The same question, answered without the adapter, by the version compared with if there is one, and with it."""

    question: str
    base: str
    before: str | None = None
    adapter: str


class Matrix(Noun):
    """Values of adapters (rows) on personas (columns); None: not measured."""

    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    values: tuple[tuple[float | None, ...], ...] = ()


class DriftPoint(Noun):
    """Lines of the scorecard after so many rounds of talk, and what was said.

    Question i was put at the end of talk i modulo the number of talks. Turn n of every talk was drawn by the check's
    seed plus n, counted from 0.
    """

    rounds: int
    lines: tuple[ScoreLine, ...]
    talks: tuple[tuple[Message, ...], ...] = Field((), description="As they stood then, without the system turn.")
    answers: tuple[ProbeAnswer, ...] = ()


class Continued(Noun):
    """What was replied to the turns of a held-out conversation.

    By its id alone, since reports are shown to more people than datasets are: it may be of a server's chat.
    """

    conversation: str
    seed: int
    reply: str


class Rating(Noun):
    """What a judge says of one reply."""

    in_character: int = Field(ge=1, le=5)
    true_to_facts: int = Field(ge=1, le=5)
    worth_talking_to: int = Field(ge=1, le=5)


class JudgeOpinion(Noun):
    """What a language model said of the replies, by a rubric; 1 to 5, the median of several answers."""

    model: str
    scores: dict[str, float]
    replies: int
    agreement: float | None = Field(None, description="Share of people's decisive votes that it agrees with.")
    votes: int = Field(0, description="How many votes that share is of.")
    ratings: dict[str, tuple[Rating, ...]] = Field(
        {}, description="What it said of the first reply to each question, by the probe's id."
    )
    preferred: dict[str, int] = Field(
        {}, description="By question: 1 where it prefers this adapter's reply, -1 the other's, 0 where it cannot say."
    )


class Gate(StrEnum):
    """What a comparison of two versions says."""

    PASS = "pass"
    INCONCLUSIVE = "inconclusive"
    WORSE = "worse"


class Difference(Noun):
    """One line of the newer version minus that of the older one, over the same questions, with its 95 % interval."""

    id: Literal["facts", "voice"]
    value: float
    low: float
    high: float
    floor: float = Field(description="The 5th percentile, which passes above −margin.")
    ceiling: float = Field(
        description="The 95th percentile: the floor as it is the other way round, without its sign.",
        # Reports of before did not tell; whatever lies above makes no version pass that should not.
        default_factory=lambda known: known["high"],
    )
    questions: int

    def turned(self) -> Difference:
        """The older version minus the newer one."""
        told = {"value": -self.value, "low": -self.high, "high": -self.low}
        return self.model_copy(update=told | {"floor": -self.ceiling, "ceiling": -self.floor})


class Comparison(Noun):
    """Two adapters, or an adapter and the base model, on the same questions."""

    of: str
    against: str
    gate: Gate
    margin: float
    differences: tuple[Difference, ...]

    def turned(self) -> Comparison:
        """The same two the other way round."""
        differences = tuple(one.turned() for one in self.differences)
        gate = gate_of(differences, self.margin)
        return Comparison(of=self.against, against=self.of, gate=gate, margin=self.margin, differences=differences)


def gate_of(differences: Sequence[Difference], margin: float) -> Gate:
    """WORSE where the 95 % interval of any difference lies below 0; else PASS where each floor lies above −margin.

    What is surely worse is never called PASS, however little it may be.
    """
    if any(one.high < 0 for one in differences):
        return Gate.WORSE
    passes = bool(differences) and all(one.floor > -margin for one in differences)
    return Gate.PASS if passes else Gate.INCONCLUSIVE


class Earlier(Noun):
    """How an earlier version did, or the base model, for a picture of both."""

    adapter: str = Field(description="What was checked, as people read it.")
    lines: tuple[ScoreLine, ...]


class Advice(StrEnum):
    """The one next action that a weak line calls for, what comes first first; the words are the door's."""

    CLEAN_DATA = "clean_data"
    MORE_FACTS = "more_facts"
    MORE_LINES = "more_lines"
    LOWER_LEARNING_RATE = "lower_learning_rate"
    HIGHER_LEARNING_RATE = "higher_learning_rate"
    FEWER_EPOCHS = "fewer_epochs"
    MORE_EPOCHS = "more_epochs"
    MORE_SAMPLES = "more_samples"
    NOTHING = "nothing"


class CheckReport(Noun):
    """What a check found; `report.json` in its folder, with every prompt, reply, seed and score.

    What was said in held-out conversations is not in it, only their ids.
    """

    job_id: str
    spec: CheckSpec
    persona: Slug
    name: str = Field(description="The persona's, as people read it.")
    adapter: str = Field(description="What was checked, as people read it.")
    base_model: str
    rehearsal: bool
    device: str
    system: str = Field(description="The system turn in front of every question.")
    temperature: float
    max_new_tokens: int
    seconds: float
    verdict: Verdict
    lines: tuple[ScoreLine, ...]
    weakest: str | None = Field(None, description="The line that most wants work; None: none does.")
    advice: Advice = Advice.NOTHING
    samples: tuple[SideBySide, ...] = ()
    answers: tuple[ProbeAnswer, ...] = ()
    losses: dict[str, tuple[float, ...]] = Field(
        {}, description="Nats per token of each held-out conversation with the adapter, by persona."
    )
    base_losses: dict[str, tuple[float, ...]] = Field({}, description="The same without it.")
    general_losses: tuple[float, ...] = Field((), description="The same of each general text, with the adapter.")
    general_base_losses: tuple[float, ...] = Field((), description="The same without it.")
    continued: tuple[Continued, ...] = Field((), description="The replies that BLEU, chrF and ROUGE-L are of.")
    sounds_like: Matrix = Matrix()
    gains: Matrix = Matrix()
    drift: tuple[DriftPoint, ...] = ()
    judge: JudgeOpinion | None = None
    comparison: Comparison | None = None
    before: Earlier | None = Field(None, description="What it was compared with.")
    figures: dict[str, float] = Field({}, description="Perplexity, BLEU, chrF, ROUGE-L and the like; shown only.")
    data_digest: str = Field("", description="Of the conversations that it was held out from.")

    def outline(self) -> CheckReport:
        """All but the single replies, ratings and losses."""
        judge = self.judge and self.judge.model_copy(update={"ratings": {}, "preferred": {}})
        drift = tuple(point.model_copy(update={"talks": (), "answers": ()}) for point in self.drift)
        told: dict[str, object] = {"judge": judge, "drift": drift, "answers": (), "continued": ()}
        told |= {"losses": {}, "base_losses": {}, "general_losses": (), "general_base_losses": ()}
        return self.model_copy(update=told)

    def with_votes(self, line: ScoreLine) -> CheckReport:
        """The report with this line 9, which counts as any other does: in the verdict, and as the weakest where it is.

        Where people prefer the other version, more lines are what to do next; where they cannot tell yet, more votes.
        """
        lines = (*(one for one in self.lines if one.id != line.id), line)
        told = {"lines": lines, "verdict": overall(lines)}
        order, cure = tuple(Advice), Advice.MORE_LINES if line.verdict is Verdict.FAIL else Advice.NOTHING
        worst = line.verdict in (Verdict.FAIL, Verdict.WARN) and line.verdict is told["verdict"]
        if worst and (self.verdict is not line.verdict or order.index(cure) < order.index(self.advice)):
            told |= {"weakest": line.id, "advice": cure}
        return self.model_copy(update=told)


def overall(lines: Sequence[ScoreLine]) -> Verdict:
    """The worst verdict among the lines that apply."""
    verdicts = {line.verdict for line in lines}
    return next((v for v in (Verdict.FAIL, Verdict.WARN, Verdict.PASS) if v in verdicts), Verdict.NOT_APPLICABLE)
