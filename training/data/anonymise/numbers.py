"""Cards and bank accounts, and numbers that stand for a person: papers, dates of birth, plates, wallets, places."""

from __future__ import annotations

import re

from training.data.anonymise.spans import Found, Span

# --- cards -----------------------------------------------------------------------------------------------------------

CARD = re.compile(
    r"(?<![\w.,+/-])(?:(?<!\d\s)|(?<=\d/\d\d\s))"
    r"(?:\d{4}(?:([._/])\d{4})(?:\1\d{4}){2}|\d(?:[ -]{0,2}\d){12,18})(?![\w]|[-.,]\d)",
    re.ASCII,
)
CARD_TALK = re.compile(
    r"card|visa|master|amex|credit|debit|cc\b|karte|carte|tarjeta|cartão|carta|карт|卡|カード|카드", re.I
)
CARD_SIDE = re.compile(
    r"\b(?:cvv2?|cvc2?|cid|security code)\b\s*(?:is|:|=|#)?\s*(\d{3,4})\b|\b\d{4}\s+(?:0[1-9]|"
    r"1[0-2])/\d\d\s+(\d{3})\b|"
    r"\b(?:exp(?:iry|ires|iration)?|valid thru)\b"
    r"(?:\s+date)?\s*(?:is|:|=|\.)?\s*((?:0[1-9]|1[0-2])\s?[/-]\s?(?:20)?\d\d)\b",
    re.I,
)
IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}(?![^\W_])", re.I)
IBAN_LENGTHS = dict(
    re.findall(
        r"([A-Z]{2})(\d\d)",
        "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BR29BY28CH21CR22CY28CZ24DE22DK18DO28EE20EG29ES24FI18FO18FR27GB22GE"
        "22GI23GL18GR27"
        "GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21MC27MD24ME22MK19MR27MT31MU30NL18NO"
        "15PK24PL28PS29"
        "PT25QA29RO24RS22SA24SC31SE24SI19SK24SM27ST25SV28TL23TN24TR26UA29VA22VG24XK20",
    )
)
NETWORKS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[0-9]\d{14}|2[2-7]\d{14}|3[47]\d{13}|6(?:011|4[4-9]\d|5\d\d)\d{12}|35\d{14}|"
    r"62\d{14,17}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|6[0-9]\d{14,17}|8[12]\d{14}|9792\d{12}"
)


def find_cards(text: str) -> Found:
    """Payment cards by network and check digit, account numbers (IBAN) by checksum."""
    for found in CARD.finditer(text):
        if length := _card(found, text):
            yield Span(found.start(), found.start() + length, "CARD")
    for found in IBAN.finditer(text):
        if length := _iban(found[0]):
            yield Span(found.start(), found.start() + length, "CARD")
    if CARD_TALK.search(text) or "cv" in text.lower():
        for found in CARD_SIDE.finditer(text):
            yield Span(*found.span(found.lastindex or 0), "CARD")


def _card(found: re.Match[str], text: str) -> int:
    """How many characters of this are a card's number, 0 if none: its date may follow in the same breath."""
    written = found[0]
    ends = [len(written), *(gap.start() for gap in re.finditer(r"[ -]+", written))]
    for end in sorted(ends, reverse=True):
        digits = re.sub(r"\D", "", written[:end])
        if NETWORKS.fullmatch(digits) and (luhn(digits) or _told_card(text, found)):
            return end
    return 0


def _told_card(text: str, found: re.Match[str]) -> bool:
    """Whether the words before say that it is a card, be it a mistyped one."""
    return CARD_TALK.search(text, max(0, found.start() - 30), found.start()) is not None


def luhn(digits: str) -> bool:
    """Whether the check digit of a card is right (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _iban(written: str) -> int:
    """How many characters of this are an IBAN (ISO 13616), 0 if none: words may follow in the same breath."""
    length = int(IBAN_LENGTHS.get(written[:2].upper(), 0))
    kept = [place for place, sign in enumerate(written) if sign.isalnum()]
    if not length or len(kept) < length:
        return 0
    plain = "".join(written[place] for place in kept[:length])
    number = int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4]))
    return kept[length - 1] + 1 if number % 97 == 1 else 0


# --- papers and the rest ---------------------------------------------------------------------------------------------

SHAPES = re.compile(
    r"""(?<![\w/.=-])(?:
      (?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}                                # US social security
    | \d{3}\.\d{3}\.\d{3}-\d{2} | \d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}                     # Brazil
    | [A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]                                   # Italy
    | (?:19|20)?\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[-+]\d{4}                # Sweden
    | (?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d{2}[-+A]\d{3}[0-9A-Y]                 # Finland
    | (?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?:\s?\d\d){3}\s?[A-D]   # Britain
    | [A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]                                             # India
    | [XYZ]-?\d{7}-?[A-Z] | \d{3}-\d{3}-\d{3}\s\d{2}                                  # Spain; Russia
    | [12]\s?\d\d\s?(?:0[1-9]|1[0-2])\s?(?:\d\d|2[AB])\s?\d{3}\s?\d{3}\s?\d\d         # France
    | \d{6}-[1-4]\d{6}                                                                # Korea
    | (?:[0-9A-F]{2}[:-]){5}[0-9A-F]{2}                                               # network card
    | 0x[0-9a-fA-F]{40} | bc1[a-z0-9]{25,60} | (?:ltc|addr|cosmos)1[a-z0-9]{30,100}   # wallets
    | T[1-9A-HJ-NP-Za-km-z]{33} | 4[0-9AB][1-9A-HJ-NP-Za-km-z]{93} | r[1-9A-HJ-NP-Za-km-z]{32,34}
    )(?![\w-]|\.\d)""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
BASE58 = re.compile(r"(?<!\w)[13LDM][1-9A-HJ-NP-Za-km-z]{25,34}(?!\w)")
CHINA = re.compile(r"(?<!\w)\d{17}[\dXx](?!\w)", re.ASCII)
SPAIN = re.compile(r"(?<!\w)(\d{8})-?([A-Z])(?!\w)", re.I)
SNOWFLAKE = re.compile(r"(?<![\w.#/-])\d{17,20}(?![\w.]\d|\w)", re.ASCII)
GEO = re.compile(
    r"(?<![\w.])[-+]?(\d{1,2}\.\d{3,})\s?°?\s?[NS]?\s?[,;/ ]\s?[-+]?(1?\d{1,2}\.\d{3,})\s?°?\s?[EW]?(?![\w.]\d)", re.I
)
DEGREES = re.compile(
    r"\d{1,2}\s?°\s?\d{1,2}\s?['′]\s?(?:[\d.]+\s?(?:\"|″|"
    r"''))?\s?[NS][,\s]+\d{1,3}\s?°\s?\d{1,2}\s?['′]\s?(?:[\d.]+\s?(?:\"|″|''))?\s?[EW]",
    re.I,
)
COMPASS = re.compile(
    r"[NS]\s?\d{1,2}\s?°\s?[\d.]+\s?['′]?(?:\s?[\d.]+\s?[\"″])?[,\s]+[EW]\s?\d{1,3}\s?°\s?[\d.]+\s?['′]?"
    r"(?:\s?[\d.]+\s?[\"″])?"
)
PAPER = re.compile(
    r"(?<![A-Za-z0-9])(?:ssn|social security|sin|nino?|national insurance|ni number|passport|pass(?=\s?(?:no|"
    r"nr|#|num))|reisepass\w*|pasaporte|passeport|"
    r"passaporto|passaporte|paszport\w*|paspoort|паспорт\w*|护照|パスポート|여권|personal\s?ausweis\w*|ausweis\w*|"
    r"carnet|c[ée]dula|dni|nie|nif|cpf|cnpj|rg|"
    r"rut|curp|rfc|cuil|bsn|pesel|cnp|oib|jmbg|egn|amka|afm|cnp|снилс|инн|身份证|身分證|マイナンバー|주민등록번호|aadhaa?r|"
    r"pan(?=\s(?:card|no|num|is|:))|voter id|"
    r"identity (?:card|number)|id (?:card|number|no)|national id|citizen id|personnummer|fødselsnummer|cpr|"
    r"henkilötunnus|rodné číslo|"
    r"codice fiscale|tax ?(?:id|number)|steuer-?(?:id|nummer)|tin|ein|medicare|nhs(?: number)?|"
    r"tc(?:\s?kimlik|\s?no)|t\.c\.|kimlik|주민번호|driv\w+(?:'s)? licen[cs]e|dl(?=\s?(?:no|#|num))|licen[cs]e (?:no|"
    r"number)|"
    r"führerschein\w*|permis de conduire|sécu(?:rité sociale)?|sozialversicherungsnummer|imei|vin|"
    r"student (?:id|number)|"
    r"employee (?:id|number)|member(?:ship)? (?:id|number)|patient (?:id|number)|insurance (?:id|number|no)|"
    r"policy (?:number|no)|"
    r"account (?:number|no)|acct|routing(?: number)?|sort code|iban|konto(?:nummer)?|swift)(?![^\W_])"
    r"\s*(?:no|nr|num(?:ber|mer|éro|ero)?|#|номер|id|is|ist|es|est|è|é|号码?|番号|is:)?[\s.:#=№-]*(?:is\s+|ist\s+|"
    r"es\s+)?[(`\"'*|]*"
    r"(?P<value>[A-Z0-9](?:[ .\-/]?[A-Z0-9]){4,24}?)(?=[`\"'*,;:!?)|~]|\.(?:\s|$)|(?-i:\s[a-z])|"
    r"\s?$|\n|\s(?![A-Z0-9]))",
    re.I,
)
BORN = re.compile(
    r"(?<![A-Za-z0-9])(?:turn(?:s|ed|ing)?\s+\d{1,2}\s+on|born(?:\s+(?:on|in))?|d\.?o\.?b\.?|birth\s?-?da(?:y|"
    r"te)|date of birth|b-?day|"
    r"geburts(?:tag|datum)|geb(?:oren)?\.?(?:\s+am)?|"
    r"née?(?:\s+le)?|date de naissance|anniversaire|nacid[oa](?:\s+el)?|nací(?:\s+el)?|fecha de nacimiento|"
    r"cumpleaños|cumple|nat[oa](?:\s+il)?|compleanno|"
    r"nascid[oa](?:\s+em)?|nasci(?:\s+em)?|data de nascimento|urodzon\w+|ur\.|født|född|geboren(?:\s+op)?|"
    r"syntynyt|född(?:\s+den)?|"
    r"narozen\w*|doğum(?:\s+tarihi(?:m)?)?|родил\w+|д\.?\s?р\.?|день рождения|дата рождения|народи\w+|生日|"
    r"出生(?:日期|年月日)?|生年月日|誕生日|생일|생년월일)(?![A-Za-z])"
    r"(?:'s)?(?:\s+(?:is|was|ist|es|est|el|le|il|am|on|em|on the))?[\s:=,-]*(?:на\s+|是|は)?\s*[(\[`\"'*|]*",
    re.I,
)
MONTH = (
    r"(?:jan|feb|mar|apr|may|mai|maj|jun|jul|aug|sep|oct|okt|oct|nov|dec|dez|ene|abr|ago|dic|fév|fev|avr|"
    r"août|déc|gen|mag|giu|lug|set|ott|янв|фев|март|апр|ма[йя]|июн|июл|авг|сен|окт|ноя|дек|mär|marzo|styc|luty)\w*"
)
DATE = re.compile(
    rf"(?:\d{{1,2}}\s?[./-]\s?\d{{1,2}}\s?[./-]\s?(?:\d{{4}}|\d{{2}})|"
    rf"\d{{4}}\s?[./-]\s?\d{{1,2}}\s?[./-]\s?\d{{1,2}}|\d{{1,2}}(?:st|nd|rd|th|er|\.|º)?(?:\s+(?:of|de))?\s+{MONTH}"
    rf"(?:\s*,?\s*(?:de\s+|of\s+)?\d{{2,4}})?|{MONTH}\.?\s+\d{{1,2}}(?:st|nd|rd|th)?(?:\s*,?\s*\d{{4}})?|"
    rf"\d{{2,4}}年\s?\d{{1,2}}月\s?\d{{1,2}}日?|\d{{1,2}}月\d{{1,2}}[日号]|\d{{8}})",
    re.I,
)
LATITUDE = re.compile(
    r"\blat(?:itude)?\b\s*[:=]?\s*(?P<lat>[-+]?\d{1,2}\.\d{2,})[^\n]{0,6}\b(?:lon|lng|long|longitude)\b\s*[:=]?\s*"
    r"(?P<lon>[-+]?1?\d{1,2}\.\d{2,})",
    re.I,
)
PLATE = re.compile(
    r"(?:(?:licen[cs]e|number|car|vehicle|reg(?:istration)?)\s*plates?|\bplates?|"
    r"\breg(?:istration)?(?:\s?(?:no|number))?|tag number|"
    r"(?:kfz-?|auto)?kennzeichen|nummernschild|matr[ií]cula|placas?|plaque(?: d'immatriculation)?|"
    r"immatriculation|immat|targa|"
    r"kenteken|rejestrac\w+|госномер|номер машины|номера|车牌号?|車牌|ナンバー|plaka|registreringsnummer|rendszám|spz)"
    r"\s*(?:no|nr|number|is|was|ist|es|est|è|é|:|=|#|是|号)*[\s:.#]*[(`\"'*|]*"
    r"(?-i:(?P<value>(?=[^\n]{0,10}\d)[A-ZÄÖÜ0-9А-Я一-龥][A-ZÄÖÜ0-9А-Я]{0,3}(?:[ ·-]?[A-Z0-9А-Я]{1,5}){1,3}))(?![\w])",
    re.I,
)
USER_ID = re.compile(
    r"\b(?:user|discord|member|account|client|my|his|her|their|steam|profile)\s?-?(?:id|ids)\s*(?:is|:|=|"
    r"#)?\s*(\d{5,20})\b",
    re.I,
)


COUNTED = re.compile(r"(?:ticket|order|invoice|ref|case|build|batch|lot|log|job)\s*(?:no\.?|#|:)?\s*$", re.I)
OWN_PLATE = re.compile(
    r"(?<![\w-])((?=[A-Z -]*\d)[A-Z0-9]{1,4}(?:[ -][A-Z0-9]{2,5}){0,2})\s+(?:is|was)\s+(?:my|his|her|the|"
    r"our)\s+(?:\w+\s+)?"
    r"(?:plate|reg|license plate|kennzeichen)\b"
)


def find_ids(text: str) -> Found:
    """Numbers of papers, dates of birth, plates, wallets, account ids, network cards and exact places."""
    for pattern in (SHAPES, DEGREES, COMPASS):
        for found in pattern.finditer(text):
            if not COUNTED.search(text, max(0, found.start() - 12), found.start()):
                yield Span(*found.span(), "ID")
    yield from _checked(text)
    for found in PAPER.finditer(text):
        if sum(sign.isdigit() for sign in found["value"]) >= 4:
            yield Span(*found.span("value"), "ID")
    for found in BORN.finditer(text):
        if date := DATE.match(text, found.end()):
            yield Span(*date.span(), "ID")
    yield from (Span(*found.span(1), "ID") for found in OWN_PLATE.finditer(text))
    for found in LATITUDE.finditer(text):
        yield from (Span(*found.span(group), "ID") for group in ("lat", "lon"))
    yield from (Span(*found.span("value"), "ID") for found in PLATE.finditer(text))
    yield from (Span(*found.span(1), "ID") for found in USER_ID.finditer(text))


def _checked(text: str) -> Found:
    """Shapes that mean something only if what they carry adds up."""
    for found in BASE58.finditer(text):
        if (
            any(c.isdigit() for c in found[0][1:])
            and any(c.islower() for c in found[0])
            and any(c.isupper() for c in found[0][1:])
        ):
            yield Span(*found.span(), "ID")
    for found in CHINA.finditer(text):
        weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
        if "10X98765432"[sum(int(d) * w for d, w in zip(found[0], weights, strict=False)) % 11] == found[0][17].upper():
            yield Span(*found.span(), "ID")
    for found in SPAIN.finditer(text):
        if "TRWAGMYFPDXBNJZSQVHLCKE"[int(found[1]) % 23] == found[2].upper():
            yield Span(*found.span(), "ID")
    for found in SNOWFLAKE.finditer(text):
        # Milliseconds since 2015 in the upper bits: Discord began there, and no account is from the future.
        if 0 < int(found[0]) >> 22 < 20 * 365 * 86_400_000 and len(found[0]) < 20:
            yield Span(*found.span(), "ID")
    for found in GEO.finditer(text):
        if float(found[1]) <= 90 and float(found[2]) <= 180:
            yield Span(*found.span(), "ID")
