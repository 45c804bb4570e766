"""Telephone numbers: candidates by a rule, the verdict by the numbering plans of `phonenumbers`."""

from __future__ import annotations

import re
from functools import lru_cache

from training.data.anonymise.spans import Found, Span

SIGNS = r"[ \t.\-/()\u00a0]"
CANDIDATE = re.compile(
    rf"(?<![A-Za-z0-9_.,$€£#%@-])(?<!\d[ :/])(?:\+\s?|\(\+?|"
    rf"00)?\(?\d(?:{SIGNS}{{0,3}}\d){{6,16}}(?![A-Za-z0-9_%€$£°]|[.,:/-]\d)"
)
PREFIX = re.compile(r"(?:\+|00)\s?[1-9]")
CONTEXT = re.compile(
    r"(?<![^\W_])(?:phones?|cell(?:phone|ular)?|mobile|mob|tel|telephone|landline|hotline|mobil|telefon\w*|fon|"
    r"handy(?:nummer)?|call|ring|text|txt|sms|fax|whats\s?app|wa|signal|"
    r"telegram|viber|line|number|num|nr|no|digits|reach|dial|contact|hit me|numéro|numero|número|teléfono|"
    r"telefono|telefone|"
    r"móvil|celular|cellulare|portable|appelle\w*|llám\w+|llama\w*|chiama\w*|liga\w*|ruf\w*|nummer|bel|ring|"
    r"numer|komórk\w*|zadzwoń|dzwoń|puhelin|"
    r"telefoonnummer|gsm|tlf|mobil\w*|cep|cel|natel|zalo|festnetz|sim|imessage|numaram?|ara|telpon|hp|"
    r"điện thoại|sđt)(?![^\W_])|телефон|тел\.|номер|"
    r"звони|позвони|моб|"
    r"电话|電話|手机|手機|号码|號碼|联系|微信|携帯|番号|전화|번호|연락|फ़?ोन|(?<![A-Za-z])ph(?![A-Za-z])|my\s#|नंबर|هاتف|رقم|טלפון|โทร|τηλ",
    re.I,
)
# What the numbers of a few countries look like when nothing else tells what they are.
SHAPES = re.compile(
    r"""(?:
      \(\d{3}\)\s?\d{3}[ .-]\d{4} | (?:1[ .-])?[2-9]\d{2}([.-])\d{3}\1\d{4} | [2-9]\d{2}\s\d{3}\s\d{4}  # North America
    | 555-\d{4}
      # Britain
    | 0\d{4}\s\d{6} | 0\d{4}\s\d{3}\s\d{3} | 01\d{2}\s\d{3}\s\d{4} | 02\d\s\d{4}\s\d{4} | 07\d{9}
      | 07\d{3}\s\d{3}\s\d{3}
      # France, Germany
    | 0[1-9](?:[ .-]?\d\d){4} | 01[567]\d[ /-]?\d{7,8} | 01[567]\d(?:\s\d{2,4}){2,4} | 0\d{2,4}\s?[/-]\s?\d{5,8}
    | 0[5-9]0-\d{4}-\d{4} | 0\d{1,3}-\d{2,4}-\d{4} | 1[3-9]\d(?:[ -]?\d{4}){2}  # Japan, Korea, China
    | [6-9]\d{4}[ -]\d{5} | 8[ -]?\(?9\d{2}\)?[ -]?\d{3}[ -]?\d\d[ -]?\d\d  # India, Russia
      # Brazil, Australia, Italy
    | \(\d{2}\)\s?9?\d{4}-\d{4} | 04\d{2}\s\d{3}\s\d{3} | 3[2-9]\d\s\d{3}\s?\d{4} | 06[ -]\d{8}
    | 05\d{2}\s\d{3}\s\d{2}\s?\d{2} | 0[67]\d{8} | [67]\d{2}(?:\s\d{3}){2} | [67]\d{2}(?:\s\d\d){3} | 0\d(?:\s\d){8,9}
    )""",
    re.VERBOSE,
)
# A code other than a call's: what people count, order, date and name with digits.
OTHER = re.compile(
    r"(?<![a-z])(?:isbn|issn|order|invoice|ticket|seed|version|id|build|port|score|ref|serial|sku|part|model|"
    r"case|page|line|row|commit|"
    r"pid|uid|timestamp|epoch|int|id:|nr\.? of|number of|population|views|xp|elo|hash|sum|total|damage|"
    r"tracking|flight|room)\s*(?:no|number|is|was|#)?\s*[:#=]?\s*$",
    re.I,
)
DATE = re.compile(
    r"(?:19|20)\d\d([-./])\d{1,2}\1\d{1,2}(?:[ T]\d.*)?|\d{1,2}([-./])\d{1,2}\2(?:19|20)?\d\d(?: \d.*)?|"
    r"\d{1,2} \d{1,2} (?:19|20)\d\d|(?:19|20)\d\d\s?[-/]\s?(?:19|20)\d\d"
)
# Of so many points so many: "hp 3400/5200".
FRACTION = re.compile(r"[1-9]\d{2,4}/[1-9]\d{2,4}")
DECIMAL = re.compile(r"\d+\.\d+")
GROUPS = re.compile(r"[1-9]\d{0,2}(?:[ .]\d{3}){2,}")
# A trunk zero in front, then two to five groups.
NATIONAL = re.compile(r"0\d{1,4}(?:[ /.-]\d{2,8}){1,4}")
SINGLE = re.compile(r"[0-9](?:[ .-]{1,3}[0-9]){8,11}")
UNIT = re.compile(r"\s?(?:gold|gp|coins?|gems?|xp|hp|views?|subs?|followers|users|people|members|dmg|damage|"
                  r"points?|pts|usd|eur|dollars?|euros?|bucks|"
                  r"bytes|kb|mb|gb|ms|seconds|years?|credits|subscribers|downloads|likes|km|m\b|won\b|yen\b|"
                  r"rub)", re.I)  # fmt: skip
NUMBER = r"(?:zero|oh|o|one|two|three|four|five|six|seven|eight|nine|double|triple|\d)"
SPOKEN = re.compile(rf"(?<!\w){NUMBER}(?:[\s,.-]+{NUMBER}){{6,15}}(?!\w)", re.I)


def find_phones(text: str) -> Found:
    """Numbers that someone could be called at."""
    context: bool | None = None
    for found in CANDIDATE.finditer(text):
        if context is None:
            context = CONTEXT.search(text) is not None
        if _phone(found[0], text, found, context):
            yield Span(*found.span(), "PHONE")
    for found in SPOKEN.finditer(text):
        if sum(word.isalpha() for word in re.split(r"[\s,.-]+", found[0])) < 3:
            continue
        yield Span(*found.span(), "PHONE")


def _phone(written: str, text: str, found: re.Match[str], context: bool) -> bool:
    digits = re.sub(r"\D", "", written)
    plain = written.strip("() ")
    if DATE.fullmatch(plain) or len(set(digits)) < 3 or OTHER.search(text[max(0, found.start() - 24) : found.start()]):
        return False
    if FRACTION.fullmatch(plain):
        return False
    if PREFIX.match(written.lstrip("(")) and len(digits) >= 8:
        return context or _possible("+" + digits.removeprefix("00"))
    if UNIT.match(text, found.end()) or DECIMAL.fullmatch(plain):
        return False
    if context:
        return 7 <= len(digits) <= 15 and (not GROUPS.fullmatch(plain) or SHAPES.fullmatch(plain) is not None)
    return _by_shape(written, plain, digits)


def _by_shape(written: str, plain: str, digits: str) -> bool:
    """Whether the way it is written alone makes this a number to call."""
    if 9 <= len(digits) <= 12 and NATIONAL.fullmatch(plain) and not digits.startswith("00"):
        return True
    if SINGLE.fullmatch(plain) and not digits.startswith("123"):
        return True
    return SHAPES.fullmatch(written) is not None


@lru_cache(maxsize=4096)
def _possible(number: str) -> bool:
    """Whether a number in international form could be one by its country's numbering plan."""
    import phonenumbers

    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return False
