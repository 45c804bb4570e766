"""People's names: known ones, given names as many peoples have them, and whatever a cue says is a name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from training.data.anonymise import cues
from training.data.anonymise.anyof import any_of
from training.data.anonymise.eastern import find_eastern
from training.data.anonymise.fold import fold
from training.data.anonymise.name_lists import known, lists, ordinary
from training.data.anonymise.ordinary import FAMILY_NEXT, WORD, heading, is_thing, on_ground, plain_word
from training.data.anonymise.spans import Found, Span
from training.data.anonymise.stays import find_renowned
from training.data.anonymise.words import words

PARTICLES = words(
    """van von de der den da di del della dos du la le bin ibn al el ben ter ten zu zur af av mac mc san st y e"""
)
# Endings that family names of many peoples share, in front of which stands a given name.
FAMILY_ENDING = re.compile(
    r"(?:[a-zà-ž]{2,}(?:sson|sen|sohn|dóttir|dottir|ová|ova|eva|ev|ov|enko|chuk|czyk|wicz|vić|vic|ić|ský|ská|"
    r"ski|ska|sky|skaya|skiy|escu|eanu|opoulos|oulos|akis|ides|idis|dze|shvili|yan|ian|oğlu|oglu|"
    r"ez|inho|eira|eiro|elli|etti|ini|ucci|mann|stein|berg|baum|feld|bauer|maier|meier|meyer|quist|qvist|ström|"
    r"lund|gren|nen|zadeh|pour|wala|swamy|murthy|uddin|rahman|singh|deep|moto|mura|yama|saki|shima|bayev)|"
    r"O'[A-Z]\w+|Mac[A-Z]\w+|Mc[A-Z]\w+|D'[A-Z]\w+|[A-Z]\w+-[A-Z]\w+)$",
)


class Names:
    """The names of one roster and one cast, beside those that are known anyway."""

    def __init__(self, roster: Sequence[str] = (), personas: Sequence[str] = ()) -> None:
        self._main: dict[str, str] = {}
        listed: list[str] = []
        for line in roster:
            names = [fold(name.strip()).text for name in line.split(",") if name.strip()]
            self._main |= {name.casefold(): names[0] for name in names[1:]}
            listed += names
        cast = [fold(name.strip()).text for name in personas if name.strip()]
        self.known = frozenset(part for name in (*listed, *cast) for part in (name, *name.split()))
        self._cast = any_of(_with_parts(cast))
        self._roster = any_of(name for name in _with_parts(listed) if not _is_word(name))
        # "will" is in every other sentence, so a participant called Will must be written with a capital.
        self._roster_words = any_of((name.title() for name in _with_parts(listed) if _is_word(name)), exact=True)

    def main(self, name: str) -> str:
        """The name that an alias of the roster stands for; any other name itself."""
        return self._main.get(name.casefold(), name)

    def kept(self, text: str) -> Iterator[tuple[int, int]]:
        """Where names of the cast stand, and of what only sounds like a person."""
        yield from (found.span() for found in cues.THINGS.finditer(text))
        yield from find_renowned(text)
        for found in self._cast.finditer(text) if self._cast else ():
            if _namesake(found, text) is None:
                yield found.span()

    def find(self, text: str) -> Found:
        """Names of people in folded text; the surest come first."""
        for found in self._cast.finditer(text) if self._cast else ():
            if span := _namesake(found, text):
                yield span
        for pattern in (self._roster, self._roster_words):
            if pattern:
                yield from (Span(*found.span(), "PERSON") for found in pattern.finditer(text))
        yield from _listed(text)
        if not text.isascii():
            yield from find_eastern(text)
        yield from _cued(text)


def _with_parts(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield name
        parts = name.split()
        if len(parts) > 1:
            yield from (part for part in parts if len(part) > 2 and part.casefold() not in cues.STOP | PARTICLES)


def _is_word(name: str) -> bool:
    return name.casefold() in lists()["also_words"] or name.casefold() in cues.STOP


def _namesake(cast: re.Match[str], text: str) -> Span | None:
    """The whole name of somebody who shares a name with the cast: a family name follows that is not of the cast."""
    words = list(WORD.finditer(text, cast.end(), cast.end() + 40))
    if not words or text[cast.end() : words[0].start()] != " ":
        return None
    word = _bare(words[0][0])
    capital = cast[0][0].isupper() and word[0].isupper() and not text.isupper() and _surname(word)
    low = word.islower() and word in lists()["family"] and not any(word in no for no in (cues.STOP, COMMON, known()))
    if not capital and not low:
        return None
    before = re.search(r"([^\W\d_]+) $", text[: cast.start()])
    led = before is not None and before[1][0].isupper() and before[1].lower() in known()
    return Span(before.start() if led and before else cast.start(), words[0].start() + len(word), "PERSON")


# --- given names -----------------------------------------------------------------------------------------------------


def _listed(text: str) -> Found:
    """Given names from the list, with the family name behind them."""
    words = list(WORD.finditer(text))
    at = 0
    while at < len(words):
        last = _whole_name(words, at, text)
        if last >= 0 and (is_thing(words, at, text) or on_ground(words[at], text)):
            last = -1
        if last >= 0:
            yield _span(words, at, last)
        at = max(last, at) + 1


def _whole_name(words: list[re.Match[str]], at: int, text: str) -> int:
    """The index of the last word of the name that begins with word `at`; -1 if none does."""
    word = words[at][0]
    low = _bare(word).lower()
    capital = word[0].isupper()
    alone = low in lists()["with_capital"] and (capital or ACTS.match(text, words[at].end()) is not None)
    parts = set(low.split("-"))
    twofold = capital and "-" in low and (parts <= known() or parts <= KOREAN)
    if low in lists()["sure"] or alone or twofold:
        return _family(words, at, text)
    if not capital or (low in cues.STOP and low not in lists()["also_words"]):
        return -1
    if low not in known() and _no_name(words, at, text):
        return -1
    last = _family(words, at, text)
    if _enumerated(words, at, text):
        return last
    acts = low in lists()["also_words"] and ACTS.match(text, words[last].end())
    if acts and (last > at or (low not in NOT_ALONE and word[1:].islower())):
        return last
    certain = low in known() or words[last][0].lower() not in COMMON
    if last > at and certain and _surname(words[last][0]):
        return last
    return -1 if low in lists()["also_words"] else _by_family(words, at, text)


def _no_name(words: list[re.Match[str]], at: int, text: str) -> bool:
    """Whether a capitalised word that is no known name is one of a heading, or an ordinary word."""
    low = words[at][0].lower()
    if plain_word(low) or heading(text) or (len(low) > 1 and words[at][0].isupper()):
        return True
    return at + 1 < len(words) and words[at + 1][0].lower() in ordinary()


def _enumerated(words: list[re.Match[str]], at: int, text: str) -> bool:
    """Whether a word that may be a name stands in one row with a sure one: "Ava, Liam and Rose"."""
    if words[at][0].lower() not in lists()["also_words"]:
        return False
    for first, second in ((at - 1, at), (at, at + 1)):
        if first >= 0 and second < len(words) and ROW.fullmatch(text, words[first].end(), words[second].start()):
            other = words[first if second == at else second][0]
            if other[0].isupper() and other.lower() in lists()["sure"] | lists()["with_capital"]:
                return True
    return False


KOREAN = words(
    """min ji hyun woo soo ah jin ho seo jun yeon hee young su mi kyung jae sung eun hye jung won joon chul ki tae dong
    sang bin ha na ra rin yoon ye kyu suk seok hwan hoon hun gyu il kwang myung nam sun sook ok in chan beom woong ju
    joo yu ri do yun hyeon jeong cheol gun geon heon hwa seung hyuk jong"""
)
ROW = re.compile(r"\s?[,/&+|]\s?")
ACTS = re.compile(rf"\s{{1,3}}(?:{cues.ACTS})(?![^\W_])")
# Things more often than people, even where they do what people do: "Pearl said".
THINGS_TOO = words("pearl basil ginger olive coral opal crystal clover fern gale")
# Names that are mostly said to people who have another.
NOT_ALONE = (
    words(
        """berlin london paris chelsea brooklyn milan florence dallas austin india asia kenya israel virginia georgia
    phoenix denver love honey king queen prince princess guy buddy bud god sir angel baby candy dick ping tiger sky van
    page chip chance genesis sage storm"""
    )
    | THINGS_TOO
)


def _bare(word: str) -> str:
    return word[:-2] if word.endswith(("'s", "'S")) else word


def _span(words: list[re.Match[str]], first: int, last: int) -> Span:
    start = _title(words[first].string, words[first].start())
    return Span(start, words[last].start() + len(_bare(words[last][0])), "PERSON")


def _family(words: list[re.Match[str]], first: int, text: str) -> int:
    """The index of the last word that belongs to the name which begins with word `first`."""
    last = at = first
    while at + 1 < len(words) and at - first < 4 and not words[at][0].endswith("'s"):
        gap, word = text[words[at].end() : words[at + 1].start()], words[at + 1][0]
        initial = gap == ". " and len(words[at][0]) == 1
        if gap != " " and not initial:
            break
        at += 1
        low = _bare(word).lower()
        if (word[0].isupper() and words[first][0][0].isupper() and (_surname(word) or _fits(low, text))) or (
            word.islower()
            and words[first][0].islower()
            and set(low.split("-")) <= lists()["family"]
            and low not in cues.STOP
            and low not in COMMON
        ):
            last = at
        elif low not in PARTICLES:
            break
    return last


def _by_family(words: list[re.Match[str]], at: int, text: str) -> int:
    """The index of the last word of a name that only its family name gives away, in front or behind; -1 if none."""
    if at + 1 >= len(words) or text[words[at].end() : words[at + 1].start()] != " ":
        return -1
    word, after = words[at][0], words[at + 1][0]
    if not after[0].isupper() or text.isupper() or word.isupper() or after.isupper():
        return -1
    low, behind = word.lower(), _bare(after).lower()
    if low in lists()["family"] and low not in COMMON and behind in known() | PARTICLES:
        named = [place for place in (at + 1, at + 2) if place < len(words) and words[place][0].lower() in known()]
        return _family(words, named[-1], text) if named else -1
    sure = (behind in lists()["family"] and behind not in COMMON | known()) or SURE_ENDING.search(after)
    return _family(words, at + 1, text) if sure and low not in GROUNDS else -1


# Endings of family names that no other words have.
SURE_ENDING = re.compile(
    r"[a-zà-ž]{3}(?:sson|dóttir|dottir|ová|enko|wicz|czyk|ović|ević|escu|opoulos|opoulou|shvili|adze|oğlu|doğan|"
    r"owski|"
    r"owska|"
    r"ewski|ewska|iński|ińska|quist|qvist|ström|swamy|murthy)$|^(?:Mc|Mac|O')[A-Z][a-z]{2,}$"
)
# In front of these family names are names of places.
GROUNDS = words("""port fort lake mount mt saint st new san santa los las north south east west lady lord team club""")
COMMON = words(
    """page rice little powers mills miles hunt hunter grant love ray rose rowe stone sutton graves may day moon sauer
    knight mason palmer parsons pierce porter wolfe woods webb weaver warner holland houston franklin marin mann
    newman gross graf horn busch kraus sommer winter stein engel vogel jäger lorenz haas otto beck roth keller
    simon thomas conde barry fall mora soto cruz reyes vega campos flores bravo prieto cano santana hidalgo leon
    leone parra rojas pardo rubio melo rocha pinto macedo xavier moura costa silva franco gentile vitale serra roy
    morin martin noel clement robin duval picard smits bos vos maas mas marek sikora farkas fekete simon papp stan
    radu matei arslan aslan kara kurt polat kaya doğan güneş lund dahl holm moe eide strand tamm saar sepp kask
    laine price carter cannon carpenter chapman curtis fuller gardner freeman goodman harper hart hale harvey
    henry hicks holmes howell lawrence lucas lynch marshall oliver case spencer stanley terry tucker wade wells
    wheeler warren walters willis gordon george gilbert douglas boyd bates barnes arnold bryant burke carr cole
    crawford elliott ellis graham greene griffin hudson rios robbins rodgers ryan shaw sims smith snyder moya mak
    ng lo lai fung tang su lam oh seo han shin song bae nam noh shim hong kang ahn yoo yoon hwang kwon heo baek
    ono mori ota ando goto hara kudo endo imai bah sow sy toure kone rai rana diop butt bose sani musa obi eze moyo
    dube zulu bean
    young long green white black brown price wood bell stone cook king hall hill wright may he sun ma park ward
    rivers cross perry reed bailey gray wolf klein lange koch costa santos islam das he gao lim tan kim"""
)


def _surname(word: str) -> bool:
    low = _bare(word).lower()
    return (
        word[0].isupper()
        and low not in cues.STOP
        and (low in lists()["family"] or FAMILY_ENDING.search(word) is not None)
    )


def _fits(low: str, text: str) -> bool:
    """Whether a capitalised word may be a family name; not where everything is capitalised."""
    return low not in cues.STOP and not plain_word(low) and len(low) > 1 and not text.isupper()


# --- cues ------------------------------------------------------------------------------------------------------------


ANY_CASE = (cues.INTRODUCED, cues.AGED)
CAPITAL = (
    cues.HERE,
    cues.SIGNED,
    cues.TITLED,
    cues.NAMED_SPEAKER,
    cues.ASKED,
    cues.RELATED,
    cues.VOCATIVE,
    cues.OWNS,
    cues.ADDRESSED,
)


def _cued(text: str) -> Found:
    for pattern in (*ANY_CASE, *CAPITAL):
        at = 0
        while found := pattern.search(text, at):
            names = list(_taken(found, text, any_case=pattern in ANY_CASE))
            yield from names
            # What was no name may itself be a cue: "hi im Theo".
            at = names[0].end if names else max(found.start("name"), found.start() + 1)


def _taken(found: re.Match[str], text: str, *, any_case: bool) -> Found:
    """The words of the group `name` that are a name, from the first on."""
    group = "name" if found["name"] else "dash"
    words = list(WORD.finditer(text, *found.span(group)))
    last = -1
    for at, word in enumerate(words):
        if at == 0 and not _begins(found, word, text, alone=len(words) == 1, any_case=any_case):
            break
        if not _belongs(found, word, text, first=at == 0, any_case=any_case):
            break
        last = at
    if last >= 0:
        yield _span(words, 0, last)


def _begins(found: re.Match[str], word: re.Match[str], text: str, *, alone: bool, any_case: bool) -> bool:
    """Whether a name may begin with this word, as far as what stands before it tells."""
    low = _bare(word[0]).lower()
    if low not in known() and (OBJECT.match(found[0]) or ARTICLE.search(text, 0, word.start())):
        return False
    if (
        low not in known()
        and found[0][0].isupper()
        and CAPITAL_BEFORE.search(text, max(0, found.start() - 20), found.start())
    ):
        return False
    if low in NOT_ALONE and OBJECT.match(found[0]) and not FAMILY_NEXT.match(text, word.end()):
        return False
    if low not in known() and (len(low) == 1 or _loosely_owned(found) or _termed(found)):
        return False
    if low in THINGS_TOO and found.start("name") == found.start() and alone:
        return False
    if on_ground(word, text):
        return False
    return any_case or not alone or low not in lists()["also_words"] or not LOOSE.match(found[0])


def _loosely_owned(found: re.Match[str]) -> bool:
    """Whether what looks like an owner may be a plain word with an s: "assess team needs"."""
    return found.re is cues.OWNS and found.string[found.end("name")] != "'"


def _termed(found: re.Match[str]) -> bool:
    """Whether a thing is given its term, which is no capitalised name: "is called inertia", "called 'Night Watch'"."""
    named = found["name"] if found.re is cues.INTRODUCED else ""
    return bool(named and TERMED.match(found[0])) and (named[0].islower() or found[0][: -len(named)][-1] in "'\"`")


def _belongs(found: re.Match[str], word: re.Match[str], text: str, *, first: bool, any_case: bool) -> bool:
    """Whether a word behind a cue is part of a name: by its capital, as a known name, or by a title."""
    low = _bare(word[0]).lower()
    capital = word[0][0].isupper() and not _shouted(word[0], text)
    known_one = first and low in known() and low not in NOT_ALONE
    # A German noun behind a greeting, "New York" behind "meet": an ordinary word ends the name.
    if (low in cues.STOP and not known_one) or plain_word(low) or (not first and low in VERBS):
        return False
    if capital or not first:
        return capital
    titled = low in lists()["family"] and TITLE.match(found[0]) is not None
    quiet = known_one and low not in ("love", "will", "may") and _ends(text, word.end()) and not LOOSE.match(found[0])
    return titled or quiet or (any_case and len(low) > 2)


TERMED = re.compile(r"(?:was|is|am|called|named)\s+called|known\s+as|name\s*=", re.I)
# A cue in the middle of a heading is no cue.
CAPITAL_BEFORE = re.compile(r"[A-ZÀ-Þ][^\W\d_]+ $")
HONORIFIC = re.compile(
    r"(?<![^\W_])(?:(?i:mr|mrs|ms|miss|mx|dr|prof|sir|mme|mlle|herr|frau|señora?|sra?|srta|signora?|monsieur|"
    r"madame)\.?|Lady|Lord|"
    r"Professor|Doctor|(?i:grandma|grandpa|granny|uncle|aunt|auntie|aunty)|Cousin|Nana|Tante|Onkel|Oma|Opa|Tía|"
    r"Tío|Oncle|Coach)\s+$"
)


def _title(text: str, start: int) -> int:
    """Where the name begins if its title counts: "Mr. Smith", "Grandma Ruth"."""
    found = HONORIFIC.search(text, max(0, start - 14), start)
    return found.start() if found else start


TITLE = re.compile(r"(?:mr|mrs|ms|miss|mx|dr|prof|herr|frau|señora?|madame|monsieur)\b", re.I)
ARTICLE = re.compile(
    r"(?<![^\W_])(?:the|a|an|der|die|das|den|dem|ein|eine|mein|dein|el|la|los|las|le|les|il|lo|un|una|os)\s$", re.I
)
# What one does to things as much as to people: a name behind these must be a known one.
OBJECT = re.compile(
    r"(?:it'?s|love|best|knows?|help|join|seen|saw|pay|visit|visiting|beat|rip|poor|call|sorry|ok|okay)\b(?!\s+me)",
    re.I,
)
# Cues that stand in front of anything: a name behind them must have its capital.
LOOSE = re.compile(
    r"(?:love|best|call|know|knows|help|join|meet|seen|saw|pay|visit|know|rip|poor|it'?s|i'?m|i am|beat|met|gg)\b", re.I
)
VERBS = words("""said says told asked is was has will can did does texted invited replied wrote and or""")


def _shouted(word: str, text: str) -> bool:
    return word.isupper() and len(word) > 1 and (text.isupper() or len(word) < 4)


def _ends(text: str, at: int) -> bool:
    """Whether a clause ends here, as behind "thx mark"."""
    return (
        re.match(
            r"\s*(?:[,.!?;:)\n*|❤]|$|<3|(?:said|told|about|for|por|per|pour|für|para|pls|please|lol|to|if|and)\b)",
            text[at:],
        )
        is not None
    )
