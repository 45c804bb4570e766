"""What a plan or a report warns of, as people read it in a channel and in a terminal."""

from __future__ import annotations

from enum import StrEnum


class Warned(StrEnum):
    """Things a plan or a report warns of."""

    REHEARSAL_MODEL = "rehearsal_model"
    BASE_NOT_CHAT = "base_not_chat"
    STRATEGY_TWO_STAGE = "strategy_two_stage"
    STRATEGY_MIXED = "strategy_mixed"
    TEMPLATE_UNVERIFIED = "template_unverified"
    DEFAULT_TEMPLATE = "default_template"
    FEW_LINES = "few_lines"
    MANY_EPOCHS = "many_epochs"
    RESTRICTED_LICENCE = "restricted_licence"
    LITTLE_DISK = "little_disk"


WARNINGS: dict[Warned, str] = {
    Warned.REHEARSAL_MODEL: "This is the rehearsal model: it shows that everything works, not how good it could be.",
    Warned.BASE_NOT_CHAT: "This base model was never taught to talk; a chat model does better with persona data.",
    Warned.STRATEGY_TWO_STAGE: "Two stages take longest; the task type persona on a chat model usually does better.",
    Warned.STRATEGY_MIXED: "General data dilutes a voice; the task type persona on a chat model usually does better.",
    Warned.TEMPLATE_UNVERIFIED: "This base model's chat template was not tried here; look at the samples closely.",
    Warned.DEFAULT_TEMPLATE: "This base model has no chat template, so a plain one of User and Assistant is used.",
    Warned.FEW_LINES: "Few lines to learn from, so expect an uneven voice; 40 or more of a persona do better: "
    "write some more on its sheet, or build some from your logs.",
    Warned.MANY_EPOCHS: "Many epochs for this little data: it may learn lines by heart; 3 usually do better.",
    Warned.RESTRICTED_LICENCE: "Some of the data may be used for research or non-commercial purposes only.",
    Warned.LITTLE_DISK: "The disk has less room than this takes: make some before it starts.",
}
