"""The nouns of data: what is read, what is made of it, what is offered and what is asked for."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from training.evaluation.schema import BallotBox, Separation
from training.schema import Conversation, GuildId, Noun, Persona, Slug

DATASET_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,39}$"
DatasetName = Annotated[str, Field(pattern=DATASET_PATTERN)]
LEAST_PAIRS = 5
"""A preference run takes as many pairs of answers as one blind vote may decide: four to learn, one to check on."""


# --- what data turned out to be ------------------------------------------------------------------------------------


class RowProblem(Noun):
    """What is wrong with one row of a file; rows count from 1."""

    row: int
    why: str


class Inspection(Noun):
    """What became of the rows of a source: rows = used + all that were dropped."""

    format: str
    rows: int
    used: int = Field(description="Rows that went into at least one conversation.")
    conversations: int
    turns: int
    languages: dict[str, int]
    kinds: dict[str, int] = Field({}, description="Conversations by the kind that their rows name, as Firefly's do.")
    dropped: dict[str, int] = Field({}, description="How many rows each reason cost.")
    lost: dict[str, int] = Field({}, description="Parts of rows that are used, such as replies, by why they are not.")
    splits: dict[str, bool] = Field({}, description="The splits that a folder holds, and whether each was read.")
    problems: tuple[RowProblem, ...] = Field((), description="The first rows dropped or used in part, and why.")


class Source(Noun):
    """Where some of a dataset's conversations come from."""

    name: str
    license: str = ""
    conversations: int
    sha256: str = Field("", description="Of the file as it was read; empty for what was made on the spot.")


class Step(Noun):
    """One step of a dataset's making, in conversations, or in rows where they were read; the removed by reason."""

    name: str
    before: int
    after: int
    removed: dict[str, int] = Field({})


class TokenHistogram(Noun):
    """How long a dataset's conversations are, in tokens of one tokenizer."""

    tokenizer: str
    total: int
    longest: int
    buckets: dict[str, int] = Field({}, description='Conversations by length, keyed "0-127", "128-255", …')


class DatasetCard(Noun):
    """`dataset.json`: what a dataset folder holds, and how it came about."""

    name: DatasetName
    made_at: str = Field(description="UTC, ISO 8601.")
    version: str = Field(description="Digest of exactly these conversations.")
    persona: Slug | None = Field(None, description="Whose dialogues these are, if one persona's.")
    sources: tuple[Source, ...]
    licenses: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    conversations: int
    turns: int
    languages: dict[str, int] = Field({})
    tokens: TokenHistogram | None = None
    files: dict[str, str] = Field({}, description="SHA-256 of each file of the folder.")
    permission: str | None = Field(None, description="Reference of the permission that chat logs were used under.")
    notes: tuple[str, ...] = Field((), description="Stated oversampling and the like, one sentence each.")


class DatasetOffer(Noun):
    """A dataset that a guild may name; `where` tells what loading it would take."""

    name: DatasetName
    where: Literal["shipped", "guild", "warehouse", "hub"]
    license: str
    lang: str
    description: str = ""
    restricted: bool = Field(False, description="Non-commercial, research only, or without a stated licence.")
    conversations: int | None = None
    rows: int | None = Field(None, description="As published, where its conversations were not counted.")
    good_for: str = ""
    persona: Slug | None = None
    from_chat: bool = Field(False, description="Holds messages of a server's channels, which not everyone may see.")


def job_name(dataset: str) -> str:
    """A name for a job that learns from a dataset; a job's may hold no dot."""
    return f"{dataset.replace('.', '_')[:37]}_v1"


# --- what is asked for -----------------------------------------------------------------------------------------------


class DataAction(StrEnum):
    """What can be asked of a guild's datasets and of its personas' sheets."""

    INFO = "info"
    PREVIEW = "preview"
    VALIDATE = "validate"
    UPLOAD = "upload"
    BUILD = "build"
    DELETE = "delete"
    PERSONA = "persona"
    FACT = "fact"
    VOTES = "votes"
    AGREED = "agreed"
    APART = "apart"


class Upload(Noun):
    """A file that a member attached; a worker fetches it."""

    url: str = Field(max_length=2000)
    filename: str = Field(min_length=1, max_length=260)
    size: int = Field(ge=0, description="Bytes, as Discord tells.")


class FactChange(Noun):
    """What is to be written anew of one fact of a persona; None leaves that part as it is, and empty words clear it.

    A change that nobody confirms leaves the fact unconfirmed; one that changes nothing else only confirms it.
    """

    id: str
    text: str | None = None
    question: str | None = None
    accept: tuple[str, ...] | None = None
    reject: tuple[str, ...] | None = None
    confirmed: date | None = None


class Typed(Noun):
    """Who typed a question that was voted on, and in which channel."""

    user: str
    channel: str


class DataSpec(Noun):
    """One piece of work on a guild's datasets, or on the sheet of one of its personas."""

    action: DataAction
    guild_id: GuildId
    name: DatasetName | None = Field(None, description="The dataset it is about, if it is about one.")
    upload: Upload | None = None
    persona: Slug | None = Field(
        None, description="Whose dialogues to build, None: the whole cast's; or whose sheet or votes it is about."
    )
    fact: FactChange | None = None
    votes: BallotBox | None = Field(None, description="Closed votes to make a dataset of.")
    typed: dict[str, Typed] = Field({}, description="The pairs whose question a member typed: it then takes consent.")
    replies: dict[Slug, str] = Field({}, description="Answers of several personas to one question, to be told apart.")
    general: str | None = Field(None, max_length=400, description="Dataset to mix in.")
    persona_share: float = Field(0.8, gt=0, le=1, description="Share of persona conversations in a mix.")
    use_language_model: bool = Field(False, description="Also have LLM_BASE_URL write dialogues.")
    accept_licence: bool = Field(False, description="Use sources that are non-commercial or for research only.")
    seed: int = Field(42, ge=0, le=2**31 - 1)


class DataReport(Noun):
    """What came of a DataSpec; which fields are there depends on its action."""

    action: DataAction
    name: str
    card: DatasetCard | None = None
    inspection: Inspection | None = None
    preview: tuple[Conversation, ...] = ()
    persona: Persona | None = Field(None, description="As its sheet now describes it.")
    learnt: int | None = Field(None, description="Lines of the persona's that a run would learn from.")
    held_out: int | None = Field(None, description="Lines that a run would only be checked on.")
    agreed: tuple[str, ...] = Field((), description="The pairs whose typed question may be learnt from.")
    separation: Separation | None = Field(None, description="How well the replies are told apart.")
