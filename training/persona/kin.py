"""What somebody is to a persona, where an entry says it in a word: `Brother: Tamas, a baker`."""

from __future__ import annotations

import re

_KIND = (
    r"brother|sister|mother|father|mum|mom|dad|parent|son|daughter|child|wife|husband|spouse|partner|uncle|aunt|cousin"
    r"|nephew|niece|grand(?:mother|father|ma|pa|son|daughter)|twin|friend|buddy|enemy|rival|nemesis|mentor|master"
    r"|teacher|student|pupil|apprentice|boss|employer|colleague|neighbou?r|ally|lover|girlfriend|boyfriend"
    r"|fianc[eé]e?|ex|pet|dog|cat|horse|servant|guardian|captain|sidekick|companion|crush|roommate|landlord|landlady"
)
_ROLE = re.compile(
    r"(?P<role>(?:(?:older|younger|elder|little|big|best|old|late|former|adopted|foster|childhood|sworn|arch|twin|half"
    rf"|step|first|only|closest|oldest)[ -]?){{0,2}}(?:{_KIND}))(?P<many>(?:e?s)?)",
    re.I,
)
_CHINESE = re.compile(
    r"师父|师傅|师兄|师姐|师弟|师妹|徒弟|哥哥|弟弟|姐姐|妹妹|父亲|母亲|爸爸|妈妈|爷爷|奶奶|儿子|女儿|妻子|丈夫|叔叔|阿姨"
    r"|(?:好|老)?朋友|敌人|对手|老师|学生|同事|邻居|老板|搭档|恋人"
)
_NAME = re.compile(r"(?P<name>[A-ZÀ-Þ][^\s,;:.()—–]*(?: [^\s,;:.()—–]+){0,3})(?P<rest>(?:\s*[,;(—–].*)?)\.?")
_CHINESE_NAME = re.compile(r"(?P<name>[\u3400-\u9fff·]{1,8})(?P<rest>(?:[，。；（].*)?)")


def role_of(sentence: str) -> tuple[str, str]:
    """The role that a sentence begins with, in small letters, and what follows it; two empty texts without one."""
    for pattern in (_ROLE, _CHINESE):
        if (found := pattern.match(sentence)) and re.match(r"\s*(?:[,;.，；。]|$)", sentence[found.end() :]):
            role = found["role"].casefold() if pattern is _ROLE else found[0]
            return role, sentence[found.end() :].strip().rstrip(".。")
    return "", ""


def named_by_role(role: str, text: str) -> dict[str, str]:
    """Who has that role, and what is said of them; nothing where the first is no role or the second names nobody."""
    role = role.strip()
    if _CHINESE.fullmatch(role):
        told = _CHINESE_NAME.fullmatch(text)
        return {told["name"]: role + told["rest"]} if told else {}
    known = _ROLE.fullmatch(role)
    if not known:
        return {}
    one = known["role"].capitalize()
    if known["many"] and role.casefold() != "ex":
        names = [name for name in re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+", text.rstrip(".")) if name]
        sure = all(_NAME.fullmatch(name) for name in names) and all("(" not in name for name in names)
        return dict.fromkeys(names, f"{one}.") if sure else {}
    told = _NAME.fullmatch(text)
    if not told:
        return {}
    rest = told["rest"].strip(" ,;—–().")
    return {told["name"]: f"{one}, {rest}." if rest else f"{one}."}
