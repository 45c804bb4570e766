"""What leads to a person online: e-mail addresses, mentions and handles, invites and message links, IP addresses."""

from __future__ import annotations

import ipaddress
import re

from training.data.anonymise.cues import STOP
from training.data.anonymise.name_lists import known, ordinary
from training.data.anonymise.spans import Found, Span
from training.data.anonymise.words import words

# --- e-mail ----------------------------------------------------------------------------------------------------------

OPEN, CLOSE = r"\s*[(\[{<]\s*", r"\s*[)\]}>]\s*"
AT_WORD = r"(?:at[ -]sign|at|ät|aet|arroba|arobase|chiocciola|kukac|małpa|malpa|собака|собачка)"
DOT_WORD = r"(?:dot|d0t|punkt|punto|ponto|point|kropka|точка|nokta|tečka)"
AT = (
    rf"(?:{OPEN}(?:@|a|{AT_WORD}){CLOSE}|\s*[|*~=#/\\]+{AT_WORD}[|*~=#/\\]+\s*|\s*&\#64;\s*|\s*&commat;\s*|%40|"
    rf"\s*_+{AT_WORD}_+\s*|\s*-{AT_WORD}-\s*|"
    rf"\s+@\s+|@\s*)"
)
DOT = (
    rf"(?:{OPEN}(?:\.|d|{DOT_WORD}){CLOSE}|[|*~=#/\\]+{DOT_WORD}[|*~=#/\\]+|"
    rf"\s+{DOT_WORD}\s+|_+{DOT_WORD}_+|-{DOT_WORD}-|\s+\.\s*|\.|。)"
)
SAID_DOT = rf"(?:{OPEN}(?:\.|{DOT_WORD}){CLOSE}|\s+{DOT_WORD}\s+)"
# Scripts that write no spaces: there an address begins in the middle of a sentence.
UNSPACED = r"\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3"
SIGN = rf"[^\W{UNSPACED}]"
FIRST = rf"[^\W_{UNSPACED}]"
LOCAL = rf"{FIRST}(?:{SIGN}|[%+'-]){{0,40}}(?:(?:\.|{SAID_DOT})(?:{SIGN}|[%+-]){{1,40}}){{0,4}}"
TLD = rf"(?!\d)(?:[^\W\d_{UNSPACED}]){{2,24}}(?!{FIRST})"
PLAIN = re.compile(rf"{FIRST}(?:{SIGN}|[.%+'-]){{0,63}}@{{1,2}}(?:[\w-]{{1,63}}\.)+{TLD}")
HIDDEN = re.compile(rf"(?<![^\W_])({LOCAL}){AT}((?:[\w-]{{1,63}}{DOT}){{1,4}}){TLD}", re.I)
SAID = re.compile(
    rf"(?<![^\W_])({LOCAL})\s+{AT_WORD}\s+(?!(?:this|that|the|some|what|which|any|one|a)\s)(?:[\w-]{{1,63}}{SAID_DOT}){{1,4}}{TLD}",
    re.I,
)
# Where the dot is a real one, "look at example.com" must not count: only providers of mail do.
PROVIDER = (
    r"(?:gmail|googlemail|hotmail|outlook|live|yahoo|ymail|icloud|proton(?:mail)?|gmx|web|mail|aol|yandex|"
    r"posteo|tutanota|"
    r"zoho|fastmail|qq|163|126|t-online|orange|naver)"
)
PROVIDED = re.compile(rf"(?<![^\W_])({LOCAL})\s+{AT_WORD}\s+{PROVIDER}(?:\.{TLD}(?:\.{TLD})?)", re.I)
NO_DOT = re.compile(rf"mail[^\n]{{0,20}}?(?<![^\W_])({LOCAL})\s+{AT_WORD}\s+{PROVIDER}(?![\w-])", re.I)
# Shouted, the word is meant as the sign, whatever the provider.
SHOUTED = re.compile(rf"(?<![^\W_])({LOCAL})\s+AT\s+(?:[\w-]{{1,63}}\.){{1,3}}{TLD}")
CUT = re.compile(rf"(?<![^\W_])({LOCAL})\s?@\s?{PROVIDER}(?![\w-])", re.I)
BIG = r"(?:gmail|googlemail|hotmail|outlook|yahoo|icloud|proton(?:mail)?|gmx|aol|yandex|fastmail|tutanota)"
MARKED = rf"(?=[\w+-]*[\d._]){LOCAL}"
AT_BIG = re.compile(rf"(?<![^\W_])({MARKED})\s+{AT_WORD}\s+{BIG}(?![\w-])", re.I)
OWN = re.compile(rf"(?<!\w){BIG}\s*(?:\s(?:is|ist|es|est)\s|[:=])\s*({MARKED})(?![\w@])", re.I)
BESIDE = re.compile(
    rf"(?<!\w){PROVIDER}(?:\.{TLD})?\s*,?\s*(?:and\s+)?(?:(?:my|the|user)\s*)?(?:name|user|username|login|"
    rf"address|addy|"
    rf"before\s+the\s+at)\s*(?:part\s*)?(?:is|:|=)\s*([\w.+-]{{3,40}})(?<![.])(?!\w)",
    re.I,
)
SPACED = re.compile(
    r"(?<!\S)(?:[\w.] ){2,40}@ ?(?:[\w-]{2,40}|\w(?: \w){1,30}) ?(?:\. ?(?:\w{2,10}|\w(?: \w){1,9}) ?){1,3}(?!\w)|"
    r"(?<!\S)[\w-]{1,30} \. [\w-]{1,30} @ [\w-]{2,40} \. \w{2,10}(?!\w)"
)
AT_HINT = re.compile(rf"[@&%]|[(\[{{]a[)\]}}]|\b{AT_WORD}\b|_{AT_WORD}_", re.I)
FILES = words("png jpg jpeg gif svg webp bmp py js ts css html md txt json yml yaml zip exe")
NOT_LOCAL = words(
    """im i'm i he she we they you git look looking find see me us is are was it here there available
    hosted check live lives work works go going
    buy docs stay up meet arrive be read shop order down stuff that this out in download working playing"""
)


def find_emails(text: str) -> Found:
    """Addresses as they are written, and as people write them to hide them from robots."""
    if "@" in text:
        for found in PLAIN.finditer(text):
            if found[0].rpartition(".")[2].lower() not in FILES and not _remote(text, found):
                yield Span(*found.span(), "EMAIL")
    for pattern in (BESIDE, OWN):
        yield from (Span(*found.span(1), "EMAIL") for found in pattern.finditer(text))
    if not AT_HINT.search(text):
        return
    for found in SPACED.finditer(text):
        yield Span(found.start(), found.start() + len(found[0].rstrip()), "EMAIL")
    shouted = () if text.isupper() else (SHOUTED,)
    for pattern in (HIDDEN, SAID, PROVIDED, NO_DOT, CUT, AT_BIG, *shouted):
        for found in pattern.finditer(text):
            if found[1].lower() not in NOT_LOCAL and found[0].rpartition(".")[2].lower() not in FILES:
                yield Span(found.start(1), found.end(), "EMAIL")


def _remote(text: str, found: re.Match[str]) -> bool:
    """Whether this is the address of a git repository, not of a person."""
    return found[0].startswith("git@") and text[found.end() : found.end() + 1] in (":", "/")


# --- mentions --------------------------------------------------------------------------------------------------------

MENTION = re.compile(r"<\s?(?:@[!&]?|#)\s?\d{5,20}\s?>?|(?<!\w)@[!&]?\d{15,20}(?!\w)", re.ASCII)
HANDLE = re.compile(
    r"(?<![A-Za-z0-9_@./:=$\\)\]-])@(?=[\w.-]*[^\W\d_])[^\W_][\w.-]{1,31}(?![/(\w]|@\w)(?:#\d{4,5}(?!\w))?"
)
TAG = re.compile(
    r"(?<![\w#&/.])[^\W_][\w.]{1,31}#\d{4,5}(?!\w)|(?<![\w/])/?u/[\w-]{3,20}(?![\w/])|(?<!\w)SW-\d{4}-\d{4}-\d{4}(?!\w)"
)
PLACES = (
    r"discord|insta(?:gram)?|ig|snap(?:chat)?|tik\s?tok|twitter|telegram|tg|steam|psn|xbox|skype|wechat|weixin|kik|"
    r"battle\.?net|epic|github|reddit|vk|roblox|minecraft|mc|riot|switch|twitch|threads|bluesky|bsky|line|微信|推特"
)
ACCOUNT = re.compile(
    rf"(?<!\w)(?:(?P<own>(?:my\s+)?(?:user\s?name|handle|gamertag|nick(?:name)?|ign|login|ник|(?:{PLACES})\s+"
    rf"(?:id|tag|name|user(?:name)?|handle|acc(?:ount)?))|my\s+(?:{PLACES}))|(?:{PLACES}))"
    r"\s*(?:\s(?:is|ist|es|est|->)\s|[:=]|号是?|是|->)\s*[`\"']?@?(?P<value>[^\W_][\w.-]{2,31})",
    re.I,
)
AT_PLACE = re.compile(
    r"(?<!\w)(?:insta(?:gram)?|ig|snap(?:chat)?|tiktok|twitter|telegram)\s@\s?([^\W_][\w.]{2,30}\w)", re.I
)
PROFILE_WORD = re.compile(
    r"(?i:add|dm|pm|follow|message|hmu|friend)\s+(?:me|"
    r"us)?\s*(?:on\s+\w+\s*|at\b)?[:,]?\s+(?P<value>[a-z][a-z0-9]*(?:[._][a-z0-9]+|\d{2,})\w*)(?![\w@])"
)
CODE_WORDS = words(
    """everyone here property dataclass staticmethod classmethod abstractmethod override overload media import types
    app pytest functools cached cache lru_cache decorator param return returns throws deprecated test before after
    autowired bean component service entity table id inject injectable input output keyframes charset font-face
    supports layer include mixin extend use tailwind apply commands bot client event tasks router route get post put
    delete patch home work school night noon midnight least most all me you us him her them the a an my your channel
    online someone nobody anyone admin admins mod mods moderator moderators staff babel angular vue nestjs
    angular/core sveltejs param2 click task hydra njit jit contextmanager wraps fixture final latest next beta alpha
    rc master main dev"""
)


def find_mentions(text: str) -> Found:
    """Mentions, @handles, name#1234 tags and account names that are told as such."""
    if "<" in text or "@" in text:
        yield from (Span(*found.span(), "MENTION") for found in MENTION.finditer(text))
    if "@" in text:
        yield from _handles(text)
    if "#" in text or "u/" in text or "SW-" in text:
        for found in TAG.finditer(text):
            if found[0].partition("#")[0].lower() not in NUMBERED:
                yield Span(*found.span(), "MENTION")
    for found in AT_PLACE.finditer(text) if "@" in text else ():
        if found[1].lower() not in CODE_WORDS | NOT_ACCOUNT and not _clock(found[1]):
            yield Span(*found.span(1), "MENTION")
    for pattern in (ACCOUNT, PROFILE_WORD):
        for found in pattern.finditer(text):
            value = found["value"].rstrip(".-")
            if _account(value, own=bool(found.groupdict().get("own"))):
                yield Span(found.start("value"), found.start("value") + len(value), "MENTION")


NUMBERED = words(
    """issue pr bug ticket order room no number case task item episode ep chapter ch page c f step level"""
)
NOT_ACCOUNT = words(
    """down not the bad good dead slow broken wrong too just better worse free banned lagging back gone dumb great for
    fun what that this laggy and still also hacked offline online public private who here there taken invalid
    required null none string being now our your his her new old"""
)


def _handles(text: str) -> Found:
    for found in HANDLE.finditer(text):
        name = found[0][1:].rstrip(".-_")
        if len(name) < 2 or name.lower() in CODE_WORDS or _clock(name) or _decorates(text, found):
            continue
        family = FAMILY.match(text, found.end()) if name[0].isupper() and name.lower() in known() else None
        whole = family is not None and family[1].lower() not in STOP | ordinary()
        yield Span(found.start(), family.end() if family and whole else found.start() + 1 + len(name), "MENTION")


# "@Sara Lind": how a name with a space shows where the mention was copied as text.
FAMILY = re.compile(r" ([A-ZÀ-Þ][^\W\d_]+(?:-[A-ZÀ-Þ][^\W\d_]+)?)(?![^\W_])")


def _clock(name: str) -> bool:
    return re.fullmatch(r"\d+(?:am|pm|h|k|x|hz|fps|p|ms|gb|mb|v|usd|eur)?", name.lower()) is not None


def _decorates(text: str, found: re.Match[str]) -> bool:
    """Whether this is a decorator or an annotation in code: alone on its line, with code below."""
    if text[: found.start()].rpartition("\n")[2].strip():
        return False
    return (
        re.match(
            r"[^\n]*\n\s*(?:@|async |def |class |public |private |protected |function |export |const )",
            text[found.end() :],
        )
        is not None
    )


def _account(value: str, *, own: bool) -> bool:
    if (
        len(value) < 3
        or value.lower() in NOT_ACCOUNT
        or re.fullmatch(r"[\d.]+|.*\.(?:com|gg|net|org|io|me|tv)", value.lower())
    ):
        return False
    return own or re.search(r"[\d_]|\w[.-]\w", value) is not None


# --- links -----------------------------------------------------------------------------------------------------------

POINT = rf"(?:\s?[.,]\s?|{SAID_DOT})"
SLASH = r"(?:\s?/\s?|\s+slash\s+)"
LINK = re.compile(
    rf"""(?<![\w.@-])(?:h(?:tt|xx)ps?\s?:\s?/\s?/\s?)?(?:www\.|ptb\.|canary\.|m\.|[a-z]{{2}}\.)?(?:
      dis\s?cord{POINT}gg{SLASH}(?:invite{SLASH})?[\w-]{{2,}}(?:\?[\w=&%-]+)?
    | discord(?:app)?{POINT}com{SLASH}invite{SLASH}[\w-]{{2,}}
    | discord(?:app)?\.com/(?:channels/(?:@me|\d+)(?:/\d+)*|users/\d+)
    | (?:dsc\.gg|discord\.(?:me|io|link|li)|invite\.gg|guilded\.gg(?:/i)?|rvlt\.gg)/[\w-]{{2,}}
    | chat\.whatsapp\.com/(?:invite/)?[\w-]{{2,}}
    | disboard\.org/server/(?:join/)?\d+
    | (?:api\.whatsapp\.com/send\S*|wa\.me/\+?\d+|(?:t|telegram)\.me/(?:joinchat/|\+)?[\w-]{{3,}}|signal\.group/\#\S+)
    | join\.slack\.com/\S+ | (?:[\w-]+\.)?zoom\.us/(?:j|my)/\S+ | meet\.google\.com/[a-z]{{3}}-[a-z]{{4}}-[a-z]{{3}}
    | teams\.microsoft\.com/l/meetup-join/\S+ | teams\.live\.com/meet/\S+
    | linkedin\.com/in/[\w%-]+ | facebook\.com/(?:profile\.php\?id=\d+|[\w.]{{5,}}(?![\w./])) | fb\.me/[\w.]+
    | instagram\.com/(?!p/|reel/|explore)[\w.]{{2,}} | tiktok\.com/@[\w.]+ | snapchat\.com/add/[\w.-]+
    | (?:twitter|x)\.com/(?!i/|home|search|hashtag)\w{{2,15}}(?![\w/]) | steamcommunity\.com/(?:id|profiles)/[\w-]+
    | vk\.com/(?:id\d+|[\w.]{{3,}}) | reddit\.com/u(?:ser)?/[\w-]+ | ok\.ru/profile/\d+ | paypal\.me/[\w.-]+
    | twitch\.tv/(?!directory|videos|settings|p/)\w{{3,25}}(?![\w/]) | youtube\.com/@[\w.-]+ | threads\.net/@[\w.]+
    | github\.com/(?!features|topics|about|login|explore|pricing|trending|orgs)[\w-]{{2,39}}(?![\w/.-])
    | (?:ko-fi|patreon|soundcloud|deviantart|venmo|onlyfans|gitlab|buymeacoffee|pinterest)\.com/[\w.-]{{3,}}(?![\w/])
    | (?:linktr\.ee|cash\.app|last\.fm/user|open\.spotify\.com/user|medium\.com|mastodon\.social)/[$@]?[\w.-]{{3,}}
    | (?:lichess\.org/@|chess\.com/member|roblox\.com/users|myanimelist\.net/profile|osu\.ppy\.sh/users)/[\w-]+
    | s\.team/[pq]/\S+ | bsky\.app/profile/[\w.:-]+
    )
    | (?<![\w.])\.gg/[\w-]{{2,}}
    """,
    re.VERBOSE | re.I | re.ASCII,
)
WEB = re.compile(r"(?:https?|ftp|wss?|steam|magnet|file)://[^\s<>|`\"*]+|\bwww\.[^\s<>|`\"*]+", re.I)


def find_links(text: str) -> Found:
    """Invites, links to messages and users, and personal profiles; other links are no one's."""
    if "/" in text or "slash" in text:
        for found in LINK.finditer(text):
            yield Span(found.start(), found.start() + len(found[0].rstrip(".,!?;:)")), "URL")


# --- IP addresses ----------------------------------------------------------------------------------------------------

GAP = r"(?:\.|\s?[\[({]\s?(?:\.|dot)\s?[\])}]\s?|\s+dot\s+|\s\.\s|\s\.|\.\s)"
FOUR = re.compile(
    rf"(?<![\w.])(?<!\d,)(\d{{1,3}}){GAP}(\d{{1,3}}){GAP}(\d{{1,3}}){GAP}(\d{{1,3}})(?!\w|\.\d|%)", re.I | re.ASCII
)
DASHED = re.compile(r"(?<![\w.-])(\d{1,3})-(\d{1,3})-(\d{1,3})-(\d{1,3})(?![\w-]|\.\d)", re.ASCII)
DASHES_TOLD = re.compile(r"(?<![a-z])ip\b|with dots|dots instead|for dots", re.I)
SIX = re.compile(r"(?<![\w:.])[0-9a-f]{0,4}:(?:[0-9a-f]{0,4}:){1,8}(?::|[0-9a-f]{1,5})?(?![\w:])", re.I | re.ASCII)
VERSION = re.compile(
    r"(?<![a-z])(?:\bv|version|ver\.?|release|build|update|patch|firmware|driver|chrome|firefox|edge|python|==|"
    r">=|<=|~=|\^|java|"
    r"tool|section|chapter|§|mod|schema)\s*:?\s*$",
    re.I,
)
NETWORK = re.compile(
    r"\bip|addr|server|host|ping|ssh|connect|from|login|ban|ddos|dos\b|dox|trace|port|vpn|nslookup|curl|://", re.I
)
RESOLVERS = words("""1.1.1.1 1.0.0.1 8.8.8.8 8.8.4.4 9.9.9.9 149.112.112.112 208.67.222.222 208.67.220.220""")


def find_ips(text: str) -> Found:
    """Addresses of machines on the public net; private, loopback and broadcast ones tell nothing of anyone."""
    if "." in text or "dot" in text:
        for found in FOUR.finditer(text):
            if _public_four(".".join(found.groups()), text, found):
                yield Span(*found.span(), "IP")
    if "-" in text and DASHES_TOLD.search(text):
        for found in DASHED.finditer(text):
            if _public_four(".".join(found.groups()), text, found):
                yield Span(*found.span(), "IP")
    if ":" in text:
        for found in SIX.finditer(text):
            # Behind the last colon may stand a port.
            for written in (found[0], found[0].rpartition(":")[0]):
                if _public_six(written):
                    yield Span(found.start(), found.start() + len(written), "IP")


def _public_four(dotted: str, text: str, found: re.Match[str]) -> bool:
    parts = [int(part) for part in found.groups()]
    hidden = any(sign in "[({" for sign in found[0])
    if max(parts) > 255 or dotted in RESOLVERS or any(len(p) > 1 and p[0] == "0" for p in found.groups()):
        return False
    address = ipaddress.IPv4Address(dotted)
    if parts[0] in (0, 10, 127) or parts[0] >= 224 or address.is_link_local or _lan(address):
        return False
    before = text[max(0, found.start() - 16) : found.start()]
    return not VERSION.search(before) and (hidden or max(parts) >= 30 or NETWORK.search(text) is not None)


LANS = tuple(ipaddress.IPv4Network(net) for net in ("172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))


def _lan(address: ipaddress.IPv4Address) -> bool:
    return any(address in net for net in LANS)


def _public_six(written: str) -> bool:
    try:
        return int(ipaddress.IPv6Address(written)) >> 125 == 1
    except ValueError:
        return False
