"""The parts of a persona sheet, whatever its headings look like and whatever they are called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from training.persona.facts import tells_surely
from training.persona.frontmatter import front_matter
from training.persona.kin import named_by_role
from training.persona.tables import with_bullets

# Canonical heading, and what else people call it; what stands here is matched whole, without case.
PARTS = {
    "Aliases": r"alias(?:es)?|also (?:called|known as)|aka|nicknames?|other names|spitznamen?|auch genannt|别名|昵称",
    "Who": r"who|who (?:he|she|they|it|i) (?:is|are|am)|who is .+|who .+ is|about(?: .+)?|bio(?:graphy)?|background"
    r"|description|summary|overview|history|backstory|identity|wer|wer .+ ist|über .+|beschreibung|hintergrund"
    r"|steckbrief|简介|背景|描述|人物介绍|身份",
    "Traits": r"(?:(?:personality|character) )?traits?|personality|temperament|character|nature|eigenschaften"
    r"|charakter|persönlichkeit|wesen|性格|个性|特点",
    "Speech": r"speech|voice|tone|style|(?:speech|speaking|talking|writing|voice)[ -](?:style|patterns?|habits?)"
    r"|manner of speaking|how (?:.+ )?(?:speaks?|talks?|sounds?|to talk)|sprache|sprechweise|sprachstil|stimme"
    r"|wie .+ spricht|说话(?:方式|风格)|语气|口吻",
    "Facts": r"facts?|key facts|known facts|knows|what .+ knows|knowledge|lore|canon|trivia|details|fakten|wissen"
    r"|事实|设定|知识",
    "Relationships": r"relationships?|relations?|bonds?|friends(?: and family)?|family|people|connections|beziehungen"
    r"|freunde|familie|关系|人际关系",
    "Never says": r"never(?: says?| does)?|.+ never (?:says?|does)|taboos?|boundaries|limits|does not say"
    r"|would never(?: say)?|what .+ (?:never|would never) says?|don'?ts?|avoids?|(?:do|must|will|may) not(?: say| do)?"
    r"|never (?:mention|discusse?|talk)s?(?: about)?|refuses?(?: to)?|won'?t(?: say| do)?"
    r"|niemals|sagt nie|tabus?|grenzen|禁忌|从不说|底线",
    "Greeting": r"greetings?|first (?:message|line|words)|opening(?: line)?|hello|intro(?:duction)?|begrüßung|gruß"
    r"|erste nachricht|问候语?|开场白|第一句话",
    "Examples": r"(?:example|sample) (?:dialogues?|dialogs?|conversations?|messages?|chats?|lines?|exchanges?)"
    r"|(?:dialog(?:ue)?|chat|conversation) (?:samples?|examples?)|examples?|dialogues?|quotes?|lines"
    r"|beispiel(?:e|dialoge?|gespräche?)|示例(?:对话)?|对话示例|例句",
}
NAME = r"(?:full |character )?name|character|persona|名字|姓名|角色(?:名)?"
_GENERIC = r"(?:character|persona)?\s*(?:sheet|card|profile|file)|character|persona|profil|角色卡"
_KNOWN = {part: re.compile(names, re.I) for part, names in PARTS.items()}

_ATX = re.compile(r"\s{0,3}(?P<marks>#{1,6})\s+(?P<label>.+?)\s*#*\s*")
_UNDERLINE = re.compile(r"\s{0,3}(=+|-{3,})\s*")
_BOLD = re.compile(
    r"\s*(?:[-*+•]\s+)?(?:\*\*|__)(?P<label>[^*_]{1,60}?)\s*[:：]?\s*(?:\*\*|__)\s*[:：]?\s*(?P<rest>.*)"
)
_LABEL = re.compile(r"\s*(?:[-*+•]\s+|\d+[.)]\s*)?(?P<label>[^:：]{2,40}?)\s*[:：]\s*(?P<rest>.*)")
_ALONE = re.compile(r"\s*(?:\d+[.)]|[IVX]+[.)])?\s*(?P<label>[^.!?,;]{2,40})\s*")
_NUMBER = re.compile(r"^(?:\d+(?:\.\d+)*[.):]?|[IVX]+[.):])\s+")
_LABELLED = re.compile(r"\s*(?:\*\*|__)[^*_]{1,60}?(?:[:：]\s*(?:\*\*|__)|(?:\*\*|__)\s*[:：])\s*\S")
_BESIDE = re.compile(
    r"tags?|created|updated|date|layout|publish(?:ed)?|id|cssclass(?:es)?|version|author|license", re.I
)
"""Keys of a front matter that tell of the file."""
LISTS = ("Facts", "Relationships", "Greeting", "Examples")
"""Parts whose own lines often begin with a word and a colon."""
LONGEST_HEADING = 200
BOLD_LEVEL = 7
"""Headings without a level of their own stand below all that have one."""
ENDING_LEVEL = 0
"""A bold label with its text ends whatever part it stands in."""
OF_LABELS = ("Traits", "Speech", "Facts", "Relationships", "Never says")
"""Parts that may consist of bold labels with their texts."""


class Heading(NamedTuple):
    """A line that begins a part, and what follows on the same line."""

    label: str
    rest: str
    level: int


@dataclass
class Outline:
    """A sheet taken apart: lines by canonical heading, what stands first, and what stands under other headings."""

    name: str = ""
    parts: dict[str, list[str]] = field(default_factory=dict)
    preface: list[str] = field(default_factory=list)
    others: dict[str, list[str]] = field(default_factory=dict)


def outline(text: str) -> Outline:
    """Take a sheet apart.

    A sheet that marks two or more known headings with # (or underlines) means those, and `Label:` is plain text in it;
    in any other, bold, numbered, upper-case and `Label:` lines begin a part where the label is known.
    """
    given, text = front_matter(text)
    lines = with_bullets(_with_hashes(text.splitlines()), _is_name)
    marked = sum(bool(head and part_of(head.label)) for head in map(_marked, lines)) >= 2
    made = _given(given)
    target, part, level, before = made.preface, "", 0, ""
    for whole in lines:
        # Runs of blanks make the patterns below slow, and mean nothing to them.
        line = " ".join(whole.split())
        heading = _marked(line) or _bold(line, marked, part, target) or (None if marked else _loose(line, before, part))
        heading = heading or (None if part else _entry(line, target is made.preface))
        before = line
        known = part_of(heading.label) if heading else None
        if heading is None:
            # What follows a label and its text after a blank line tells of the persona again.
            target = made.preface if not line and level == ENDING_LEVEL and not part else target
            target.append(whole)
        elif name := _name_in(heading, known, made):
            made.name, target, part = name, made.preface, ""
        elif not heading.rest and re.fullmatch(_GENERIC, _plain(heading.label), re.I):
            target, part = made.preface, ""
        elif known:
            target, part, level = made.parts.setdefault(known, []), known, heading.level
            role = known == "Relationships" and named_by_role(heading.label, heading.rest)
            target += [f"- {heading.label}: {heading.rest}" if role else heading.rest] if heading.rest else []
        elif part == "Examples":
            target.append(whole)
        elif heading.level <= level or not part:
            target, part, level = made.others.setdefault(_plain(heading.label), []), "", heading.level
            target += [heading.rest] if heading.rest else []
        elif heading.rest:
            target.append(whole)
    made.name = made.name or _first_line(made)
    made.others = {label: lines for label, lines in made.others.items() if any(line.strip() for line in lines)}
    return made


def _given(values: dict[str, list[str]]) -> Outline:
    """What a front matter says."""
    made = Outline()
    for key, lines in values.items():
        if re.fullmatch(NAME, key, re.I):
            made.name = _cleaned(" ".join(lines))
        elif known := part_of(key):
            made.parts[known] = list(lines)
        elif key.casefold() == "title":
            titles = [line for line in lines if not re.fullmatch(_GENERIC, line, re.I)]
            made.name = made.name or _cleaned(" ".join(titles))
        elif not _BESIDE.fullmatch(key):
            made.others[key.capitalize()] = list(lines)
    return made


def part_of(label: str) -> str | None:
    """The canonical heading that a label stands for, or None."""
    plain = _plain(label).replace("’", "'")
    return next((part for part, names in _KNOWN.items() if names.fullmatch(plain)), None)


def _plain(label: str) -> str:
    """A label without numbering, decoration and emphasis."""
    bare = _NUMBER.sub("", label.strip().strip("*_ "))
    return re.sub(r"^[^\w]+|[^\w)]+$", "", bare)


def _with_hashes(lines: list[str]) -> list[str]:
    """The lines with underlined headings written the other way."""
    made: list[str] = []
    for line in lines:
        title = made[-1].strip() if made else ""
        if _UNDERLINE.fullmatch(line) and _may_be_title(title):
            made[-1] = f"{'#' if line.strip()[0] == '=' else '##'} {title}"
        else:
            made.append(line)
    return made


def _may_be_title(text: str) -> bool:
    return (
        0 < len(text) <= LONGEST_HEADING
        and len(text.split()) <= 8
        and not re.match(r"[-*+>#|<]", text)
        and text[-1] not in '.!?:,;"”'
    )


def _marked(line: str) -> Heading | None:
    found = _ATX.fullmatch(line) if len(line) <= LONGEST_HEADING else None
    return Heading(found["label"], "", len(found["marks"])) if found else None


def _bold(line: str, marked: bool, part: str, held: list[str]) -> Heading | None:
    """A bold line of its own, or, in a sheet without marked headings, a bold label with its text."""
    found = _BOLD.fullmatch(line)
    if not found:
        return None
    if _is_known(found["label"]):
        return Heading(found["label"], found["rest"], BOLD_LEVEL)
    if marked:
        return None
    if not found["rest"]:
        return Heading(found["label"], "", BOLD_LEVEL)
    return Heading(found["label"], found["rest"], ENDING_LEVEL) if _ends_part(line, part, held) else None


def _ends_part(line: str, part: str, held: list[str]) -> bool:
    """Whether an unknown bold label and its text stand beside the part before them, rather than in it."""
    if not part:
        return bool(_LABELLED.match(re.sub(r"^[-*+•]\s+", "", line)))
    entry = part in OF_LABELS and all(_LABELLED.match(told) for told in held if told.strip())
    return part != "Examples" and not entry and bool(_LABELLED.match(line))


def _loose(line: str, before: str, part: str) -> Heading | None:
    """`Label: text`, or a known label that stands alone after a blank line."""
    found = _LABEL.fullmatch(line)
    known = part_of(found["label"]) if found else None
    if known and known == part and re.match(r"\s*[-*+•]", line):
        return None  # such as the entry `- Friends: Bo` among the relationships
    if found and _is_known(found["label"]) and not (part == "Examples" and not known):
        return Heading(found["label"], found["rest"], BOLD_LEVEL)
    if found and part not in LISTS and re.match(r"\s*[A-ZÀ-Þ]", line) and len(found["label"].split()) <= 2:
        return Heading(found["label"], found["rest"], BOLD_LEVEL)
    alone = _ALONE.fullmatch(line)
    if alone and (not before.strip() or line.isupper()) and part_of(alone["label"]):
        return Heading(alone["label"], "", BOLD_LEVEL)
    return None


def _entry(line: str, first: bool) -> Heading | None:
    """A bullet `Label: value` of a profile, which stands in no part: any before all parts, else a sure one."""
    found = re.fullmatch(r"[-*+•]\s+(?P<label>[A-ZÀ-Þ\u3400-\u9fff][^:：.!?]{0,30}?)\s*[:：]\s+(?P<rest>\S.*)", line)
    if not found or not (first or _is_name(found["label"]) or tells_surely(found["label"])):
        return None
    return Heading(found["label"], found["rest"], ENDING_LEVEL)


def _is_known(label: str) -> bool:
    return bool(part_of(label) or _is_name(label))


def _is_name(label: str) -> bool:
    return bool(re.fullmatch(NAME, _plain(label), re.I))


def _name_in(heading: Heading, known: str | None, made: Outline) -> str:
    """The name that a heading gives: `Name: X`, `Character sheet: X`, or the first heading that is no known one."""
    if made.name:
        return made.name if _cleaned(heading.label).casefold() == made.name.casefold() else ""
    if heading.rest:
        return _cleaned(heading.rest) if re.fullmatch(NAME, _plain(heading.label), re.I) else ""
    label = _plain(heading.label)
    told = re.fullmatch(rf"(?:{NAME}|{_GENERIC})\s*[:：—–-]\s*(?P<name>.+)", label, re.I)
    if told:
        return _cleaned(told["name"])
    if known or made.parts or re.fullmatch(f"{_GENERIC}|{NAME}", label, re.I):
        return ""
    return _cleaned(heading.label)


def _first_line(made: Outline) -> str:
    """The name where no heading gives it: what stands under a heading `Name`, or a short first line."""
    for label in list(made.others):
        if re.fullmatch(NAME, label, re.I):
            return _cleaned(next((line for line in made.others.pop(label) if line.strip()), ""))
    for place, line in enumerate(made.preface):
        if line.strip():
            if not _may_be_title(line.strip()):
                return ""
            del made.preface[place]
            return _cleaned(line)
    return ""


def _cleaned(name: str) -> str:
    return " ".join(name.replace("*", "").replace("__", "").strip('"“”# ').split())


# --- what stands under a heading --------------------------------------------------------------------------------------


class Item(NamedTuple):
    """A bullet, or a paragraph between bullets."""

    indent: int
    text: str
    bullet: bool


def items(lines: list[str]) -> Iterator[Item]:
    """Each bullet with its indent, wrapped lines joined; text without a bullet is an item too."""
    indent, text, bullet = 0, "", False
    for line in lines:
        found = re.match(r"(\s*)(?:[-*+•]|\d{1,3}[.)])\s+(.*)", line)
        if found:
            if text:
                yield Item(indent, text, bullet)
            indent, text, bullet = len(found[1]), found[2].strip(), True
        elif line.strip():
            text = f"{text} {line.strip()}".strip()
        elif text and not bullet:
            yield Item(indent, text, bullet)
            text = ""
    if text:
        yield Item(indent, text, bullet)


def paragraph(lines: list[str]) -> str:
    """All of it as one line, without bullets."""
    bare = (re.sub(r"^\s*[-*+•]\s+", "", line) for line in lines if not re.fullmatch(r"\s*[-*_]{3,}\s*", line))
    return " ".join(" ".join(bare).replace("**", "").split())
