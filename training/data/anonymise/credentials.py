"""Secrets: tokens that their shape gives away, and what stands behind `password:` or `API_KEY=`."""

from __future__ import annotations

import math
import re
from collections import Counter

from training.data.anonymise.spans import Found, Span
from training.data.anonymise.words import words

TOKENS = re.compile(
    r"""
    -----BEGIN\ [A-Z0-9 ]*PRIVATE\ KEY(?:\ BLOCK)?-----[\s\S]*?(?:-----END\ [A-Z0-9 ]*PRIVATE\ KEY(?:\ BLOCK)?-----|\Z)
    | https?://(?:\w+\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d+/[\w-]+
    | https?://hooks\.(?:slack\.com/(?:services|workflows)|zapier\.com/hooks)/[\w/-]+
    | https?://\w+\.webhook\.office\.com/[\w@/-]+
    | (?<![A-Za-z0-9])(?:
        gh[pousr]_[A-Za-z0-9]{20,} | github_pat_\w{20,} | gl(?:pat|dt|rt|cbt|ptt|soat)-[\w.-]{20,}
      | sk-[A-Za-z0-9][\w-]{18,} | (?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{10,} | whsec_[A-Za-z0-9+/=]{16,}
      | (?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{16}(?![A-Za-z0-9]) | hf_[A-Za-z0-9]{20,} | api_org_[A-Za-z]{30,}
      | xox[a-z]-[\w-]{10,} | xapp-[\w-]{10,} | xoxe\.xox[bp]-[\w-]{10,} | AIza[\w-]{30,} | ya29\.[\w-]{20,}
      | GOCSPX-[\w-]{20,} | npm_[A-Za-z0-9]{30,} | pypi-[\w-]{30,} | do[opr]_v1_[a-f0-9]{40,}
      | SG\.[\w-]{16,}\.[\w-]{16,}
      | key-[a-f0-9]{32} | (?:SK|AC)[a-f0-9]{32}(?![A-Za-z0-9]) | shp(?:at|ca|pa|ss)_[a-fA-F0-9]{20,}
      | sq0[a-z]{3}-[\w-]{20,}
      | EAAC[A-Za-z0-9]{30,} | EAAA[\w-]{50,} | lin_api_\w{20,} | ntn_\w{30,} | secret_[A-Za-z0-9]{30,} | r8_\w{30,}
      | gsk_\w{20,} | xai-\w{20,} | pplx-\w{20,} | nvapi-[\w-]{20,} | tskey-[\w-]{20,} | hvs\.[\w-]{20,}
      | dapi[a-f0-9]{32}
      | glsa_\w{30,} | sntrys_\w{30,} | phc_\w{30,} | figd_[\w-]{30,} | pat[A-Za-z0-9]{14}\.[a-f0-9]{64}
      | AGE-SECRET-KEY-1\w+
      | eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)? | mfa\.[\w-]{20,} | [MNO][A-Za-z0-9_-]{17,30}\.[\w-]{5,8}\.[\w-]{24,}
      | \d{8,10}:[\w-]{34,36}(?![\w-]) | AccountKey=[A-Za-z0-9+/=]{40,}
    )
    """,
    re.VERBOSE | re.ASCII,
)
USERINFO = re.compile(r"(?<=://)[^\s/:@]*:([^\s/@]{2,})@(?=[\w\[])")
QUERY = re.compile(
    r"[?&](?:[\w-]*(?:token|key|sig|signature|secret)|auth|password|passwd|pwd|pass)=([^\s&#\"'<>]{6,})", re.I
)
BEARER = re.compile(r"\b(?:bearer|basic|token)\s+[(\"'`*|<]*([A-Za-z0-9+/_.=~-]{16,})", re.I)
WORD = (
    r"pass(?:word|wd|phrase|code|wort)?|pwd?|pwrd|psw|kennwort|contrase(?:ñ|n)a|clave|senha|palavra-passe|"
    r"mot\ de\ passe"
    r"|mdp|wachtwoord|l(?:ö|o)senord|has(?:ł|l)o|heslo|parola|şifre|sifre|пароль|пасс?ворд|密码|密碼|口令|パスワード"
    r"|비밀번호|비번|salasana|jelsz(?:ó|o)|mật\ khẩu|kata\ sandi"
)
SAID = r"\s+(?:is|was|ist|war|es|era|est|é|è|är|er|jest|это)\s*:?\s+|\s*(?:是|は|는|은|为|為)\s*[::]?\s*"
PASSWORD = re.compile(
    rf"(?<![A-Za-z0-9])(?:{WORD}){{1}}(?:'s(?=\s))?(?:\s?\([^)\n]{{1,20}}\))?[\"'`]?(?:(\s*(?:[:=]|=>|->|→)+\s*)|"
    rf"({SAID}|(?<='s)\s+))[\"'`(\[*|]*"
    r"(?P<value>[^\s\"'`,;|]{3,64})",
    re.I | re.VERBOSE,
)  # fmt: skip
ASSIGNED = re.compile(
    r"(?<![A-Za-z0-9])[\"']?(?P<name>[\w.-]{0,40}?(?:token|secret|api[_-]?key|apikey|access[_-]?key|"
    r"private[_-]?key|auth[_-]?key|"
    r"client[_-]?secret|signing[_-]?key|encryption[_-]?key|password|passwd|passphrase|credentials?|"
    r"[A-Z0-9]_KEY|[a-z0-9]_key)"
    r"(?:[_-](?:id|base|prod|dev|live|test|v\d|\d))?)[\"'`]?\s*(?P<by>[:=]|=>|:=|\s+is\s+)\s*[\"'`]?"
    r"(?P<value>[^\s\"'`,;|<>]{6,})",
    re.I,
)
KEYED = re.compile(
    r"\b(?:key|token|secret|auth|session|cookie|sessid|sid|csrf|code|pin|otp|2fa|backup code|recovery code|"
    r"verification code)\b(?:\s+is)?\s*[:=]?\s*[\"'`]?"
    r"(?P<value>[^\s\"'`,;|<>]{4,})",
    re.I,
)
# The code of a fault: "error code 0x80070005".
FAULT = re.compile(r"0x[0-9a-f]{8}", re.I)
# An account as lists of them have it: the mail address, then what opens it.
PAIR = re.compile(r"(?<=[\w.+-])@[\w-]+(?:\.[\w-]+)+[_*\"'`|)]*\s*[/|:;]\s*[(\"'`*|]*(?P<value>[^\s\"'`|,;]{6,40})")
# As a program is given it: mysql -u root -pVALUE.
OPTION = re.compile(r"(?:-u\s?\S{1,40}\s+-p|--password[= ]|sshpass\s+-p\s?)[\"']?([^\s\"']{4,64})")
SEED = re.compile(
    r"(?:seed|recovery|secret|backup|mnemonic)\s*(?:phrase|words)?\s*(?:is|:|"
    r"=)\s*((?:[a-z]{3,8}\s+){11,23}[a-z]{3,8})"
)
# Without a colon, only what no word looks like.
BARE = re.compile(
    rf"(?<![A-Za-z0-9])(?:{WORD})\s+(?:to\s+)?[\"'`*|]*(?P<value>[^\s\"'`,;|]{{6,64}})", re.I | re.VERBOSE
)
SIGN_IN = re.compile(
    r"\b(?:login|log\s?in|account|acc|creds?|credentials|user(?:name)?)\b\s*(?:is|:|=)?\s*[^\s/|:]{2,40}\s*[/|:]\s*"
    r"(?P<value>[^\s\"'`,;|/]{5,64})|(?<![\w.@/])(?:admin|root|guest|pi|postgres|ubuntu):(?P<other>[^\s\"'`,;|"
    r"/]{6,64})",
    re.I,
)
GUARD = re.compile(
    r"\b(?i:steam\s?guard|guard|auth\w*|verification|verify|confirmation|login|sms|security|activation|2fa|otp|"
    r"backup|"
    r"recovery|redeem|gift|game)\s+(?i:code|key|pin)(?i:\s+is|\s*[:=])?\s*"
    r"(?P<value>(?=[A-Z-]*\d)[A-Z0-9]{4,8}(?:-[A-Z0-9]{4,6})*)(?![\w-])"
)
LOOSE = re.compile(r"(?<![\w/+.=-])[A-Za-z0-9+/_-]{36,}={0,2}(?![\w/+-])")
CODE = re.compile(
    r"\b(?:pin|otp|2fa|one[- ]time|verification|login|backup|recovery|security|auth)(?:\s+(?:code|pin|password|key))?"
    r"(?:\s+is|'s)?\s*[:=]?\s*(\d{4,8}|\d{3}[ -]\d{3}|[A-Z0-9]{4,6}-[A-Z0-9]{4,6})(?![\w-])",
    re.I,
)
# What stands behind "password is" in everyday talk.
TALK = words(
    """the not a an too so very wrong right correct incorrect invalid expired protected required needed weak strong
    safe lost gone broken changed reset saved hidden stored empty missing none null nil true false yes no same
    different secret easy hard short long now then there here still also just only always never what which that this
    it in on for and or but if when where because being been at your my our his her their to of with by from set
    sent shared public old new good bad string str int bool text optional any xxx xxxx todo tbd changeme example
    redacted masked nicht falsch richtig weg pas incorrecta mala errado fel protect reuse leaked up out off
    literally like actually probably basically undefined unknown getenv env"""
)
PLACEHOLDER = re.compile(
    r"^(?:[*x•.#_-]+|<.*|\$\{?\w+.*|\{+.*|%\w+%|\[.*|your[_-].*|os\.\w.*|process\.env.*|.*\(\)?.*)$", re.I
)


def find_secrets(text: str) -> Found:
    """Tokens, keys, passwords and one-time codes. Of `NAME=value` only the value is meant."""
    for found in TOKENS.finditer(text):
        yield Span(*found.span(), "SECRET")
    if "@" in text:
        for found in PAIR.finditer(text):
            value = _trimmed(found["value"])
            if _marked(value) and _mixed(value) and "@" not in value and "/" not in value:
                yield Span(found.start("value"), found.start("value") + len(value), "SECRET")
    if "://" in text:
        for pattern in (USERINFO, QUERY):
            yield from (Span(*found.span(1), "SECRET") for found in pattern.finditer(text))
    if HINT.search(text):
        yield from _told(text)
    if len(text) >= 32:
        for found in LOOSE.finditer(text):
            if _random(found[0]):
                yield Span(*found.span(), "SECRET")


HINT = re.compile(
    rf"\s-u\s|log\s?in|account|\bacc\b|user|creds|admin|root|guest|postgres|auth|session|cookie|key|token|secret|bearer|basic|credential|\b(?:code|pin|otp|2fa|seed|recovery|mnemonic)\b|{WORD}".replace(
        r"\ ", " "
    ),
    re.I,
)


def _told(text: str) -> Found:
    for found in PASSWORD.finditer(text):
        value = _trimmed(found["value"])
        if _password(value, assigned=bool(found[1])):
            yield Span(found.start("value"), found.start("value") + len(value), "SECRET")
    for found in ASSIGNED.finditer(text):
        value = _trimmed(found["value"])
        if _password(value, assigned=found["by"] != "is") and (
            _marked(value) or not (value.islower() or value.isupper())
        ):
            yield Span(found.start("value"), found.start("value") + len(value), "SECRET")
    for found in BEARER.finditer(text):
        if _marked(found[1]) or not (found[1].islower() or found[1].isupper()):
            yield Span(*found.span(1), "SECRET")
    for found in KEYED.finditer(text):
        value = _trimmed(found["value"])
        told = _mixed(value) and not PLACEHOLDER.match(value) and not FAULT.fullmatch(value)
        if len(value) >= 10 and told:
            yield Span(found.start("value"), found.start("value") + len(value), "SECRET")
    yield from _plain_told(text)
    for pattern in (CODE, OPTION, SEED):
        yield from (Span(*found.span(1), "SECRET") for found in pattern.finditer(text))


def _plain_told(text: str) -> Found:
    """Passwords and codes that no colon announces."""
    for pattern in (BARE, SIGN_IN):
        for found in pattern.finditer(text):
            group = found.lastgroup or "value"
            value = _trimmed(found[group])
            if _mixed(value) and not PLACEHOLDER.match(value):
                yield Span(found.start(group), found.start(group) + len(value), "SECRET")
    yield from (Span(*found.span("value"), "SECRET") for found in GUARD.finditer(text))


def _trimmed(value: str) -> str:
    """Without the full stop or bracket of the sentence around it."""
    value = value.rstrip(".)]}>*_~?:")
    return value[:-1] if value.endswith("!") and value[:-1].isalpha() else value


def _password(value: str, *, assigned: bool) -> bool:
    """Whether this can be a password: behind a colon nearly anything, behind "is" no word of everyday talk."""
    plain = value.casefold().strip("!?.*_")
    if len(plain) < 3 or plain in TALK or PLACEHOLDER.match(value):
        return False
    return assigned or _marked(value) or len(plain) >= 6


def _marked(value: str) -> bool:
    """Holds a digit or a sign, as words do not."""
    return any(sign.isdigit() or sign in "!$%&#@^+=?_" for sign in value)


def _mixed(value: str) -> bool:
    return any(sign.isdigit() for sign in value) and any(sign.isalpha() for sign in value) and "://" not in value


def _random(value: str) -> bool:
    """Whether a long run of characters looks drawn by lot: all kinds of them, at over 4.2 bits each; not a hash."""
    if not (
        any(c.isupper() for c in value) and any(c.islower() for c in value) and sum(c.isdigit() for c in value) > 2
    ):
        return False
    counts = Counter(value)
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return bits > 4.2 and value.count("/") < 3 and value.count("-") + value.count("_") < 6
