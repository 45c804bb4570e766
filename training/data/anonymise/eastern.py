"""Names in other scripts than the Latin: Cyrillic, Greek, Arabic, Hebrew, Devanagari, Chinese, Japanese, Korean."""

from __future__ import annotations

import re
from functools import lru_cache

from training.data.anonymise.name_lists import lists
from training.data.anonymise.spans import Found, Span
from training.data.anonymise.words import words

CYRILLIC_WORD = re.compile(r"[А-ЯЁІЇЄҐа-яёіїєґ]{3,}")
CYRILLIC_FAMILY = re.compile(
    r" ?[А-ЯЁІЇЄ][а-яёіїє]+(?:ов|ев|ёв|ин|ын|ова|ева|ина|ский|ская|ской|ому|енко|чук|юк|ук|ич|вич|вна|ова|овой|"
    r"овым|евой|овна|ский|цький|ко|ян|дзе|швили)(?:а|у|ым|ой)?(?![а-яё])"
)
CASE_ENDINGS = (
    "",
    "а",
    "у",
    "ом",
    "ем",
    "е",
    "и",
    "ы",
    "ой",
    "ей",
    "ю",
    "я",
    "ю",
    "ією",
    "ою",
    "ові",
    "ію",
    "ия",
    "ию",
    "ием",
    "ии",
    "ии",
)
VOWELS = "аяйьоіиу"
CHINESE_CUE = (
    r"(?:我叫|名叫|叫做|名字(?:是|叫)|姓名[::]?|我是|他叫|她叫|这是|这位是|联系人?[::]?|收件人[::]?|收货人[::]?|问(?:问|一下)?|告訴|告诉|谢谢|感谢|找|"
    r"我(?:朋友|同学|同事|哥哥|弟弟|姐姐|妹妹|老公|老婆|男友|女友|爸爸|妈妈)|你好[,,]?|生日快乐[,,]?|本人|经理|@|叫)"
)
CHINESE_TITLE = r"(?:老师|先生|女士|小姐|同学|医生|经理|教授|师傅|老板|阿姨|叔叔|总|哥|姐)"
JAPANESE_TITLE = r"(?:さん|くん|君|様|さま|ちゃん|氏|先生|先輩|部長|課長)"
KOREAN_TITLE = r"(?:\s?(?:씨|님|선생님|선배|후배|오빠|언니|누나|형|과장님|부장님|대리님|교수님|쌤))"
# Syllables that given names are made of; without them every other word would begin with a surname.
KOREAN_GIVEN = "민서지현준영수진우호성은혜연하윤재경희선동철훈태원승빈유나예주아솔건온율채린규찬혁환석범정미숙옥순"
KOREAN_CUE = r"(?:제\s?이름은|내\s?이름은|저는|나는|전|이름\s?[::은]?|친구|동생)\s?[(|*\"'`]*"


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], ...]:
    chinese = f"(?:欧阳|司马|上官|诸葛|[{next(iter(lists()['chinese_surnames']))}])"
    korean = f"(?:남궁|황보|[{next(iter(lists()['korean_surnames']))}])"
    japanese = "|".join(sorted(lists()["japanese_surnames"], key=len, reverse=True))
    return (
        re.compile(
            rf"{CHINESE_CUE}\s?(?P<name>{chinese}[一-龥]{{1,2}}?)(?={CHINESE_TITLE}|[^一-龥]|"
            rf"[今的是说住在来去和跟有会很,,。!!吧吗啊哦呢了的]|$)"
        ),
        re.compile(rf"(?P<name>{chinese}[一-龥]{{0,2}}?){CHINESE_TITLE}"),
        re.compile(
            rf"(?:^|(?<=[\s,,。!!::和跟]))(?P<name>{chinese}[一-龥]{{1,2}})(?=(?:说|问|告诉|昨天|今天|刚才|刚刚|来了|走了|也|又|在|"
            rf"的(?:电话|手机|邮箱|地址|生日|家)|呢|,|,|:|:|\s|$))"
        ),
        re.compile(
            rf"(?P<name>(?:{japanese})\s?(?:(?!さん|くん|です|様|君|氏|先生|先輩|部長|課長)[一-龥々]{{1,3}}|(?!さん|くん|です|ちゃん|さま|から|"
            rf"まで|より|にも|には|では)[ぁ-ん]{{2,4}}(?=さん|です|と申))?)(?={JAPANESE_TITLE}|です|と申|といい|と言|が|は|に|と|も|の|を|から|より|"
            rf"へ|[\s、。,.!!]|$)"
        ),
        re.compile(r"(?P<name>[一-龥々ァ-ヶー]{2,5}|[ぁ-ん]{2,4})(?:と申します|といいます|と言います)"),
        re.compile(r"(?:私は|僕は|俺は|名前は)(?P<name>[一-龥々]{2,5}|[ァ-ヶー]{2,8})(?=です|だ|と)"),
        re.compile(
            r"(?P<name>(?<![一-龥々ァ-ヶーぁ-んA-Za-z])(?!お[客兄姉母父]|皆|[兄姉母父神])[一-龥々]{1,3}|"
            r"(?<![ァ-ヶー])[ァ-ヶー]{2,6})(?=さん|くん|ちゃん)"
        ),
        re.compile(rf"(?<![가-힣])(?P<name>{korean}[가-힣]{{1,2}})(?={KOREAN_TITLE})"),
        re.compile(
            rf"(?<![가-힣])(?P<name>[김이박최정강조윤장임한오서신권황안송류홍][{KOREAN_GIVEN}]{{2}})(?=(?:입니다|이에요|예요|이야|이라고|라고)|(?:이|"
            rf"가|은|는|한테|에게|랑|이랑|의|도|을|를|아|야)?(?:[\s,.!?]|$))"
        ),
        re.compile(rf"{KOREAN_CUE}(?P<name>[가-힣]{{2,4}}?)(?=[)|*\"'`]*(?:입니다|이에요|예요|이야|이라고|라고|이고))"),
    )


def find_eastern(text: str) -> Found:
    """Names in scripts without capitals by surname and cue, in Cyrillic and others by a list of given names."""
    if re.search("[Ѐ-ӿ]", text):
        yield from _cyrillic(text)
    if re.search("[぀-ヿ一-龥가-힣]", text):
        for pattern in _patterns():
            for found in pattern.finditer(text):
                if found["name"] not in NOT_NAMES and found["name"][-1] not in NO_NAME_ENDS:
                    yield Span(*found.span("name"), "PERSON")
    if re.search("[Ͱ-Ͽ֐-ۿऀ-ॿ]", text):
        for found in re.finditer(r"[^\W\d_][\w\u0900-\u097f]+", text):
            if found[0].lower() in lists()["greek_arabic_indic"]:
                yield Span(*found.span(), "PERSON")


NO_NAME_ENDS = "的里了们吧呢吗着过色是上下"
NOT_NAMES = words(
    """我们 你们 他们 我是 今天 今年 高兴 明天 时候 时间 皆 お 方便 方法 王者 石头
    钱包 金币 白天 雷电 马上 万一 江湖 陈年 黄金 周末 周日 周一 周二 周三 周四 周五
    周六 孔子 安全 오늘 이번 우리 이미지 이름은 이름 정말 안녕 한국 이거 지금 조금 정도
    주말 우리는 이것 하지만 고마워 진짜로 여기서 전화 번호 나중에"""
)


def _cyrillic(text: str) -> Found:
    for found in CYRILLIC_WORD.finditer(text):
        if found[0][0].isupper() and found[0].lower() in _declined():
            family = CYRILLIC_FAMILY.match(text, found.end()) if text[found.end() : found.end() + 1] == " " else None
            end = family.end() if family else found.end()
            yield Span(found.start(), end, "PERSON")
        elif found[0].lower() in _declined() and len(found[0]) > 4 and found[0].lower() not in CYRILLIC_WORDS:
            yield Span(*found.span(), "PERSON")


CYRILLIC_WORDS = words(
    """роман романа любовь любви надежда надежды надежде вера веры лев льва мира света свете свету светом дима лена
    марина мариной"""
)


@lru_cache(maxsize=1)
def _declined() -> frozenset[str]:
    """Every listed name in its cases, by stem and ending."""
    forms: set[str] = set()
    for name in lists()["cyrillic"]:
        stem = name.rstrip(VOWELS) if name[-1] in VOWELS else name
        forms |= {name} | {stem + ending for ending in CASE_ENDINGS if len(stem) > 2 and ending}
    return frozenset(forms - {"мари", "дани"})
