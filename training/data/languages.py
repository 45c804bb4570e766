"""Which language a conversation is in, by py3langid."""

from __future__ import annotations

from training.schema import Conversation

LETTERS_NEEDED = 20
"""Below these many letters a guess is not worth much."""
CHARACTERS_READ = 1000
UNKNOWN = "und"


def guess(text: str) -> str:
    """A language's two letters, or `und` where there is too little to tell."""
    sample = text[:CHARACTERS_READ]
    # A Han or kana character says about as much as three letters.
    weight = sum(3 if char >= "\u2e80" else 1 for char in sample if char.isalpha())
    return _classify(sample) if weight >= LETTERS_NEEDED else UNKNOWN


def language_of(conversation: Conversation) -> str:
    """The language of what is said; where there is too little to tell, the one the conversation claims."""
    said = "\n".join(message.content for message in conversation.messages if message.role != "system")
    found = guess(said)
    return found if found != UNKNOWN else base(conversation.lang)


def with_language(conversation: Conversation) -> Conversation:
    """The conversation with its language found out, where it claims none."""
    if conversation.lang not in ("", UNKNOWN):
        return conversation
    return conversation.model_copy(update={"lang": language_of(conversation)})


def base(lang: str) -> str:
    """The language alone, such as `pt` of `pt-BR`."""
    return lang.lower().replace("_", "-").split("-")[0] or UNKNOWN


def _classify(text: str) -> str:
    import py3langid

    return str(py3langid.classify(text)[0])
