"""Conversations with nobody's particulars in them."""

from __future__ import annotations

from collections.abc import Sequence

from training.data.anonymise.find import Recogniser, spans_in
from training.data.anonymise.fold import fold
from training.data.anonymise.names import Names
from training.data.anonymise.pseudonyms import INVENTED, Pseudonyms
from training.data.anonymise.spans import Span
from training.schema import Conversation


class Anonymiser:
    """Replaces what is personal by keyed pseudonyms, which stay the same within a conversation and only there.

    `roster` holds the names of people who take part ("name" or "name,alias"), `personas` the names that stay.
    """

    def __init__(
        self,
        key: bytes,
        roster: Sequence[str] = (),
        personas: Sequence[str] = (),
        recogniser: Recogniser | None = None,
    ) -> None:
        self._names = Names(tuple(roster), tuple(personas))
        self._recogniser = recogniser
        self._pseudonyms = Pseudonyms(key, avoid=self._names.known)

    def spans(self, text: str) -> list[Span]:
        """What would be replaced; pseudonyms of an earlier masking stay."""
        found = spans_in(text, self._names, self._recogniser)
        return [span for span in found if span.label != "PERSON" or not self._invented(text[span.start : span.end])]

    def text(self, text: str, conversation_id: str) -> str:
        """The text with every span replaced; all else stays as it is, to the character."""
        parts: list[str] = []
        at = 0
        for span in self.spans(text):
            # Folded, so that a name hidden behind invisible characters gets the pseudonym of the plain one.
            found = self._names.main(fold(text[span.start : span.end]).text)
            parts += text[at : span.start], self._pseudonyms.instead(found, span.label, conversation_id)
            at = span.end
        return "".join([*parts, text[at:]])

    def conversation(self, conversation: Conversation) -> Conversation:
        """The conversation with every turn masked; its id, source and meta stay."""
        masked = tuple(
            message.model_copy(update={"content": self.text(message.content, conversation.id)})
            for message in conversation.messages
        )
        return conversation.model_copy(update={"messages": masked})

    def _invented(self, name: str) -> bool:
        return all(part.casefold() in INVENTED for part in name.split())
