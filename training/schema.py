"""The nouns of training: what is asked for, what is learnt from, what is reported.

Every door (Discord, REST, command line) and every storey speaks in these. They are frozen pydantic models, so they
cross Redis and files as JSON and are checked again at the other end.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from training.warned import Warned

JOB_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$"
SLUG_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,39}$"
GUILD_PATTERN = r"^[A-Za-z0-9_-]{1,40}$"
RUN_PATTERN = r"^[a-z0-9]{12}$"

JobName = Annotated[str, Field(pattern=JOB_NAME_PATTERN)]
Slug = Annotated[str, Field(pattern=SLUG_PATTERN)]
GuildId = Annotated[str, Field(pattern=GUILD_PATTERN)]
RunId = Annotated[str, Field(pattern=RUN_PATTERN)]
WHOLE_CAST = "all"
"""In place of a persona: every persona of the guild, told apart by their system cards."""


class Noun(BaseModel):
    """A frozen value that crosses a border; unknown keys are refused."""

    # What was given may hold a secret, such as the hub's token on its way to a child, and errors end up in logs.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


# --- what is learnt from -------------------------------------------------------------------------------------------


class Message(Noun):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class Conversation(Noun):
    """One training row: an optional system turn, then user and assistant in turn, ending with the assistant."""

    id: str
    source: str
    license: str = ""
    lang: str = "en"
    messages: tuple[Message, ...]
    meta: dict[str, str] = {}

    @model_validator(mode="after")
    def _alternates(self) -> Self:
        turns = [m.role for m in self.messages]
        spoken = turns[1:] if turns[:1] == ["system"] else turns
        if not spoken or len(spoken) % 2 or spoken != ["user", "assistant"] * (len(spoken) // 2):
            raise ValueError(
                f"conversation {self.id!r}: expected an optional system turn, then user and assistant in turn, "
                f"ending with the assistant; got {', '.join(turns) or 'nothing'}"
            )
        return self


class Fact(Noun):
    """Something true of a persona; `accept` words show that a reply knows it, `reject` words that it does not.

    confirmed: the day on which somebody who may edit it said that it and its words are right. Not who: nobody's id lies
    in a sheet, where a wish to be forgotten would have to find it.
    """

    id: str
    text: str
    question: str = ""
    accept: tuple[str, ...] = ()
    reject: tuple[str, ...] = ()
    confirmed: date | None = None


class Persona(Noun):
    """A character as its sheet describes it."""

    name: str = Field(min_length=1, max_length=80)
    slug: Slug
    aliases: tuple[str, ...] = ()
    bio: str
    traits: tuple[str, ...] = ()
    style: str = ""
    facts: tuple[Fact, ...] = ()
    relationships: dict[str, str] = {}
    taboos: tuple[str, ...] = ()
    greeting: str = ""
    examples: tuple[tuple[Message, ...], ...] = ()

    def system_card(self) -> str:
        """The system turn of every conversation with this persona, in training and in chat alike."""
        parts = [f"You are {self.name}. {self.bio}"]
        if self.style:
            parts.append(f"How you speak: {self.style}")
        return "\n".join(parts)


# --- what is asked for ---------------------------------------------------------------------------------------------


class TaskType(StrEnum):
    """What a fine-tuning job learns from."""

    PERSONA = "persona"
    DIALOGUE = "dialogue"
    MIXED = "mixed"
    TWO_STAGE = "two-stage"
    PREFERENCE = "preference"


class Quantisation(StrEnum):
    """How the frozen weights are kept; auto takes nf4 where the card is too small for them in 16 bits."""

    AUTO = "auto"
    NONE = "none"
    NF4 = "nf4"


class Optimiser(StrEnum):
    """AdamW with states of 32 or of 8 bits, the paged one in memory that a card may lend; auto takes 8 bits on CUDA."""

    AUTO = "auto"
    ADAMW = "adamw"
    ADAMW_8BIT = "adamw-8bit"
    PAGED_ADAMW_8BIT = "paged-adamw-8bit"


class Choice(StrEnum):
    """Yes, no, or as memory has it."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Preset(StrEnum):
    """Sets of knobs for a first look, for every day, and for a voice that may take its time."""

    DRAFT = "draft"
    BALANCED = "balanced"
    QUALITY = "quality"


class Hyperparameters(Noun):
    """The knobs of one run; each default and each sentence is written here only, and the defaults are `balanced`.

    None means: the value that `catalog/models.toml` recommends for the base model, or that memory allows.
    """

    epochs: int = Field(3, ge=1, le=10, description="Passes over the training conversations.")
    learning_rate: float | None = Field(None, gt=0, le=0.1, description="Peak learning rate.")
    batch_size: int | None = Field(None, ge=1, le=512, description="Conversations in one optimiser step.")
    max_length: int = Field(1024, ge=64, le=32768, description="Tokens a training window may hold.")
    lora_rank: int = Field(16, ge=1, le=256, description="Rank of the LoRA matrices.")
    lora_alpha: int = Field(32, ge=1, le=512, description="LoRA scale; the update is multiplied by alpha / rank.")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="Dropout in front of the LoRA matrices.")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    mix_general: float = Field(0.2, ge=0, lt=1, description="Share of general conversations in a mixed run.")
    seed: int = Field(42, ge=0, le=2**31 - 1, description="Seed of order, initialisation and sampling.")
    seeds: int = Field(1, ge=1, le=5, description="Runs with seeds of their own, of which the best is kept.")
    early_stopping: int = Field(
        0, ge=0, le=20, description="Checks in a row without a better held-out loss that end a run; 0: none do."
    )
    neftune_alpha: float = Field(0.0, ge=0, le=50, description="Noise on the embeddings (NEFTune); 5 is usual, 0 none.")
    rslora: bool = Field(False, description="Multiply the update by alpha / √rank instead (rsLoRA).")
    dora: bool = Field(False, description="Learn the weights' magnitudes apart (DoRA): slower, sometimes better.")
    dpo_beta: float = Field(0.1, gt=0, le=10, description="How closely a preference run keeps to where it started.")
    quantisation: Quantisation = Field(Quantisation.AUTO, description="How the base model's weights are kept.")
    optimiser: Optimiser = Field(Optimiser.AUTO, description="AdamW with 32-bit, 8-bit or paged 8-bit states.")
    gradient_checkpointing: Choice = Field(
        Choice.AUTO, description="Compute layers again in the backward pass: less memory, a third slower."
    )
    micro_batch_tokens: int | None = Field(
        None, ge=64, le=131072, description="Tokens in one pass through the model; default: what memory allows."
    )
    checkpoints_kept: int = Field(3, ge=1, le=20, description="Checkpoints that are kept while a run goes.")

    @classmethod
    def of(cls, preset: Preset, **given: object) -> Self:
        """The knobs of a preset, but for those that are given."""
        return cls.model_validate(PRESETS[preset] | given)


PRESETS: dict[Preset, dict[str, object]] = {
    Preset.DRAFT: {"epochs": 1, "lora_rank": 8, "lora_alpha": 16, "max_length": 512},
    Preset.BALANCED: {},
    Preset.QUALITY: {"epochs": 5, "lora_rank": 32, "lora_alpha": 64, "early_stopping": 3, "neftune_alpha": 5.0},
}
"""What each preset changes of the defaults."""


class TrainSpec(Noun):
    """One fine-tuning job as it was asked for."""

    job_name: JobName
    guild_id: GuildId
    task_type: TaskType = TaskType.PERSONA
    persona: Slug | None = None
    dataset: str | None = Field(None, max_length=400, description="A dataset's name, or a path the worker may read.")
    base_model: str | None = Field(None, max_length=400, description="None: the worker's own BASE_MODEL.")
    start_from: RunId | None = Field(None, description="The run whose adapter is learnt on; None: a fresh one.")
    hyperparameters: Hyperparameters = Hyperparameters()

    @model_validator(mode="after")
    def _names_its_data(self) -> Self:
        if self.task_type is not TaskType.DIALOGUE and not self.persona:
            raise ValueError(f"A {self.task_type} job needs a persona: name one with persona.")
        if self.task_type is not TaskType.PERSONA and not self.dataset:
            raise ValueError(f"A {self.task_type} job needs a dataset: name one with dataset.")
        return self


class ChatSpec(Noun):
    """One reply that a persona is asked for."""

    guild_id: GuildId
    persona: Slug
    version: int | None = Field(
        None, ge=0, description="None: the live version, or the base model if none is live; 0: the base model."
    )
    messages: tuple[Message, ...] = Field(min_length=1, max_length=200)
    max_new_tokens: int = Field(160, ge=1, le=4096)
    temperature: float = Field(0.7, ge=0, le=2)
    seed: int | None = None


class LanguageModel(Noun):
    """An OpenAI-compatible server that writes dialogues; prices are in US dollars a million tokens."""

    base_url: str
    model: str | None = Field(None, description="None: the first that the server lists.")
    api_key: SecretStr | None = None
    price_in: float = 0.0
    price_out: float = 0.0


class WeightsAndBiases(Noun):
    """Where runs are followed on Weights & Biases; offline, their files wait in the run folder to be synchronised."""

    project: str = Field(min_length=1, max_length=128)
    mode: Literal["online", "offline"] = "online"
    api_key: SecretStr | None = None


class Workspace(Noun):
    """Where a run may read and write, and with which base model; handed down, since training reads no environment."""

    artifact_root: Path
    dataset_warehouse: Path
    cache_dir: Path
    base_model: str = "auto"
    processes: int = Field(1, ge=1, le=64, description="How many processes train one run together, one a card.")
    allowed_base_models: tuple[str, ...] = ()
    hf_token: SecretStr | None = None
    language_model: LanguageModel | None = Field(None, description="Writes dialogues; None: none is set up.")
    wandb: WeightsAndBiases | None = Field(None, description="Where runs are followed; None: nowhere.")


class Machine(Noun):
    """What a run would run on; the train worker finds it out, and plans are made for it wherever they are made."""

    device: Literal["cpu", "cuda"]
    name: str = Field(description="The device as people know it.")
    free_gib: float = Field(description="Memory of the device that a run could take.")
    total_gib: float
    bf16: bool = Field(description="Whether the device computes in bfloat16.")
    main_free_gib: float | None = Field(None, description="Of a card: what main memory has free; None: not known.")
    operations_per_second: float | None = Field(
        None, description="Floating-point operations that training reaches in one layer; None: not timed."
    )


# --- what is reported ----------------------------------------------------------------------------------------------


class Alternative(Noun):
    """Something near to what was asked for that would fit."""

    change: Literal["quantisation", "gradient_checkpointing", "max_length", "lora_rank", "base_model"]
    value: str
    peak_gib: float


class Plan(Noun):
    """What a job would take, worked out from its real data before it starts."""

    base_model: str
    rehearsal: bool
    device: str
    fits: bool
    examples: int
    held_out: int
    tokens: int
    steps: int
    seconds: tuple[float, float]
    peak_gib: float
    free_gib: float
    disk_gib: float = Field(description="What the run writes, and what of the base model is to be downloaded.")
    parts_gib: dict[str, float] = Field({}, description="The peak by its parts.")
    quantised: bool = Field(False, description="Whether the base model's weights are kept in four bits.")
    gradient_checkpointing: bool = False
    micro_batch_tokens: int = Field(0, description="Tokens in one pass; the largest that fits.")
    spread_over: int = Field(1, description="Over how many cards the base model's weights are spread.")
    estimated: bool = Field(False, description="Whether tokens were counted with another model's tokenizer.")
    alternatives: tuple[Alternative, ...] = Field((), description="What would fit instead, the nearest first.")
    warnings: tuple[Warned, ...] = ()


class Phase(StrEnum):
    """Where a run is."""

    STANDIN = "standin"
    DATA = "data"
    LOADING = "loading"
    BASELINE = "baseline"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"


class Progress(Noun):
    """One look at a running job. Losses are nats per assistant token."""

    phase: Phase
    step: int = 0
    total_steps: int = 0
    epoch: float = 0.0
    epochs: int = 0
    train_loss: float | None = None
    first_train_loss: float | None = None
    eval_loss: float | None = None
    best_step: int | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None


class LossPoint(Noun):
    """One point of the loss chart."""

    step: int
    train_loss: float | None = None
    eval_loss: float | None = None


class Verdict(StrEnum):
    """What a scorecard says, of one line or of all."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    NOT_APPLICABLE = "not_applicable"


class ScoreLine(Noun):
    """One line of the scorecard: a value with its 95 % interval; `reference` is what the held-out human lines reach."""

    id: Literal["facts", "voice", "held_out_fit", "general", "breaks", "degeneracy", "copying", "version", "people"]
    value: float | None
    low: float | None = None
    high: float | None = None
    reference: float | None = None
    verdict: Verdict
    explanation: str = ""


class Sample(Noun):
    """One probe, answered with the adapter off and on."""

    question: str
    base: str
    adapter: str


class Report(Noun):
    """What a finished job found; `report.json` in its run folder."""

    job_id: str
    spec: TrainSpec
    base_model: str
    rehearsal: bool
    device: str
    examples: int
    held_out: int
    tokens: int
    steps: int
    best_step: int
    seconds: float
    peak_gib: float
    data_digest: str
    eval_loss_before: float
    eval_loss_after: float
    perplexity_before: float
    perplexity_after: float
    curve: tuple[LossPoint, ...]
    lines: tuple[ScoreLine, ...]
    verdict: Verdict
    samples: tuple[Sample, ...]
    personas: tuple[Slug, ...] = Field((), description="Whom the adapter gives a voice.")
    seed: int | None = Field(None, description="The seed of the run that was kept, where several were asked for.")
    preferred: float | None = Field(
        None,
        description="Share of the held-out pairs whose chosen answer gained more likelihood than the rejected one.",
    )
    temperature: float = Field(0.0, description="At which the answers to the probes were drawn, by the spec's seed.")
    warnings: tuple[Warned, ...] = ()


class ChatReply(Noun):
    """What a persona answered, and with which voice; version None is the base model without an adapter."""

    persona: Slug
    name: str
    version: int | None
    base_model: str
    rehearsal: bool
    text: str
    tokens: int
    seconds: float


# --- what went wrong -----------------------------------------------------------------------------------------------


class Problem(Noun):
    """An expected bad ending: a stable code, and one plain sentence that says what to do."""

    code: str
    sentence: str
