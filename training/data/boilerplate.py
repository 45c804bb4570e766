"""What language models say of themselves and refuse with; no persona talks so, even one that talks about machines.

Each phrase names a language model, its maker or its service's set refusals. "As an AI" alone is not enough: characters
may be machines. In front of a phrase stand words of which every text that has the phrase holds at least one: to look
for those first is nine times faster (27 against 3 MB a CPU-second), since most answers hold none.
"""

from __future__ import annotations

import re

_MAKERS = (
    r"(?:open ?ai|anthropic|google(?: deepmind| ai)?|meta ai|deepseek|mistral ai|alibaba(?: cloud)?|阿里云|百度|智谱|"
    r"深度求索)"
)
_MAKER_WORDS = "openai|open ai|anthropic|google|meta ai|deepseek|mistral ai|alibaba|阿里云|百度|智谱|深度求索"
_LACKS = (
    r"(?:(?:do not|don['’]t) (?:have|possess|experience|hold)\b.{0,30}\b(?:opinion|feeling|emotion|belief|preference|"
    r"experience|access|consciousness)|(?:can(?:not|['’]t| not)|am (?:not able|unable) to) (?:provide|assist|fulfil|"
    r"browse|access|engage|generate|express|physically))"
)
_PHRASES: tuple[tuple[str, str], ...] = (
    # English
    (
        "model",
        r"\b(?:as|i am|i['’]m|being|just|only) an? (?:\w+ )?(?:ai|artificial intelligence|large|machine learning)?[ -]?"
        r"(?:language|ai|text) model\b",
    ),
    ("just an ai|only an ai", r"\bi(?:['’]m| am) (?:just|only) an ai\b(?=[.,;!:]| and\b| so\b|$)"),
    ("as an ai", rf"\bas an ai(?: assistant| chatbot)?,? i {_LACKS}"),
    (_MAKER_WORDS, rf"\b(?:trained|developed|created|made|built) by {_MAKERS}"),
    (
        "gpt|claude|bard|gemini|llama|qwen|deepseek|vicuna|open assistant",
        r"\bi(?: am|['’]m) (?:chatgpt|gpt-?[345]|claude|bard|gemini|llama ?\d?|qwen|deepseek|vicuna|open assistant)\b",
    ),
    ("my knowledge|my training", r"\bmy (?:knowledge cut-?off|training data (?:only )?(?:goes|ends|was cut))"),
    (
        "sorry",
        r"\b(?:i['’]m|i am) sorry,? (?:but )?i (?:can(?:not|['’]t)|am unable to|am not able to|won['’]t be able to) "
        r"(?:assist|help|comply|fulfil|continue|engage)\w*(?: you)? (?:with|in) (?:that|this|your)(?: (?:request|topic|"
        r"task|conversation))?",
    ),
    ("fulfil", r"\bi (?:can(?:not|['’]t)|am unable to) fulfil+ (?:that|this|your) request"),
    (
        "images|pictures|the image|attachments|files|links|the internet|external",
        r"\bi (?:can(?:not|['’]t)|am unable to|do not have the ability to|don['’]t have the ability to) (?:view|see|"
        r"open|access|process) (?:images|pictures|the image|attachments|files|links|the internet|external)",
    ),
    # Chinese
    ("作为", r"作为一?[个名款]?.{0,8}(?:ai|人工智能|语言)(?:语言|聊天|对话)?(?:模型|助手|助理|机器人|程序)"),
    (
        "我是|我只是",
        r"我(?:只)?是一?[个名款]?.{0,8}(?:语言模型|人工智能(?:语言|助手|模型|程序|助理)|ai ?(?:助手|语言|模型|程序))",
    ),
    ("我是", rf"我是由? ?{_MAKERS}.{{0,6}}(?:训练|开发|创建|研发)"),
    (
        "抱歉",
        r"(?:很|非常)?抱歉[,，。 ]{0,2}(?:但)?(?:我|作为).{0,12}(?:无法|不能)(?:查看|访问|提供|回答|完成|浏览|打开|"
        r"生成|获取|看到|识别|处理|协助)",
    ),
    # Japanese, Korean
    ("言語モデル", r"(?:ai|人工知能)?(?:の)?言語モデル(?:として|である私|なので|ですので)"),
    ("모델|어시스턴트", r"(?:ai|인공지능) ?(?:언어 ?모델|어시스턴트)(?:로서|이기 때문|이므로|입니다)"),
    # German, French, Spanish, Portuguese, Italian, Dutch
    ("sprachmodell", r"\bals (?:ein )?(?:ki|ai|großes|künstliche)[ -]?\w*[ -]?sprachmodell"),
    (
        "en tant qu",
        r"\ben tant qu(?:e |['’])(?:grand )?(?:modèle|ia|intelligence artificielle|assistant ia)[^.]{0,20}"
        r"(?:langage|linguistique|je ne)",
    ),
    (
        "lengua|linguagem|idioma",
        r"\bcomo (?:un |una |um |uma )?(?:gran )?(?:modelo|ia|inteligencia|inteligência)[^.]{0,20}(?:lenguaje|lengua|"
        r"linguagem|idioma)",
    ),
    ("modello", r"\b(?:come|in quanto) (?:un )?(?:grande )?modello (?:linguistico|di linguaggio)"),
    ("taalmodel", r"\bals (?:een )?(?:ai|groot|grote)?[ -]?taalmodel"),
    # Russian, Ukrainian, Polish, Turkish
    ("языковая модель", r"\bкак (?:большая |ии[ -]|нейросетевая )?языковая модель"),
    ("мовна модель", r"\bяк (?:велика )?мовна модель"),
    ("model językowy", r"\bjako (?:duży )?model językowy"),
    ("dil modeli", r"\bbir (?:yapay zek[aâ] )?dil modeli olarak"),
)
_BOILERPLATE = tuple((tuple(words.split("|")), re.compile(phrase)) for words, phrase in _PHRASES)


_QUOTED = re.compile(r"\"[^\"]{1,80}\"|“[^”]{1,80}”|«[^»]{1,80}»|「[^」]{1,80}」|(?<!\w)['‘][^'‘’]{1,80}['’](?!\w)")
LEAST_AROUND = 20
"""Letters around a quotation, without which the quotation is the answer itself."""


def is_boilerplate(text: str) -> bool:
    """Whether an answer, normalised, is a language model's set phrase; one that only quotes such a phrase is not."""
    if not _has_phrase(text):
        return False
    around = _QUOTED.sub(" ", text)
    return sum(map(str.isalpha, around)) < LEAST_AROUND or _has_phrase(around)


def _has_phrase(text: str) -> bool:
    return any(any(word in text for word in words) and phrase.search(text) for words, phrase in _BOILERPLATE)
