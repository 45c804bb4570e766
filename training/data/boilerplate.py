"""What language models say of themselves and refuse with; no persona talks so, even one that talks about machines.

Each phrase names a language model, its maker or its service's set refusals. "As an AI" alone is not enough: characters
may be machines.
"""

from __future__ import annotations

import re

_MAKERS = (
    r"(?:open ?ai|anthropic|google(?: deepmind| ai)?|meta ai|deepseek|mistral ai|alibaba(?: cloud)?|阿里云|百度|智谱|"
    r"深度求索)"
)
_LACKS = (
    r"(?:(?:do not|don['’]t) (?:have|possess|experience|hold)\b.{0,30}\b(?:opinion|feeling|emotion|belief|preference|"
    r"experience|access|consciousness)|(?:can(?:not|['’]t| not)|am (?:not able|unable) to) (?:provide|assist|fulfil|"
    r"browse|access|engage|generate|express|physically))"
)
_PHRASES = (
    # English
    r"\b(?:as|i am|i['’]m|being|just|only) an? (?:\w+ )?(?:ai|artificial intelligence|large|machine learning)?[ -]?"
    r"(?:language|ai|text) model\b",
    rf"\bas an ai(?: assistant| chatbot)?,? i {_LACKS}",
    rf"\b(?:trained|developed|created|made|built) by {_MAKERS}",
    r"\bi(?: am|['’]m) (?:chatgpt|gpt-?[345]|claude|bard|gemini|llama ?\d?|qwen|deepseek|vicuna|open assistant)\b",
    r"\bmy (?:knowledge cut-?off|training data (?:only )?(?:goes|ends|was cut))",
    r"\b(?:i['’]m|i am) sorry,? (?:but )?i (?:can(?:not|['’]t)|am unable to|am not able to|won['’]t be able to) "
    r"(?:assist|help|comply|fulfil|continue|engage)\w*(?: you)? (?:with|in) (?:that|this|your)(?: (?:request|topic|"
    r"task|conversation))?",
    r"\bi (?:can(?:not|['’]t)|am unable to) fulfil+ (?:that|this|your) request",
    r"\bi (?:can(?:not|['’]t)|am unable to|do not have the ability to|don['’]t have the ability to) (?:view|see|open|"
    r"access|process) (?:images|pictures|the image|attachments|files|links|the internet|external)",
    # Chinese
    r"作为一?[个名款]?.{0,8}(?:ai|人工智能|语言)(?:语言|聊天|对话)?(?:模型|助手|助理|机器人|程序)",
    r"我(?:只)?是一?[个名款]?.{0,8}(?:语言模型|人工智能(?:语言|助手|模型|程序|助理)|ai ?(?:助手|语言|模型|程序))",
    rf"我是由? ?{_MAKERS}.{{0,6}}(?:训练|开发|创建|研发)",
    r"(?:很|非常)?抱歉[,，。 ]{0,2}(?:但)?(?:我|作为).{0,12}(?:无法|不能)(?:查看|访问|提供|回答|完成|浏览|打开|生成|"
    r"获取|看到|识别|处理|协助)",
    # Japanese, Korean
    r"(?:ai|人工知能)?(?:の)?言語モデル(?:として|である私|なので|ですので)",
    r"(?:ai|인공지능) ?(?:언어 ?모델|어시스턴트)(?:로서|이기 때문|이므로|입니다)",
    # German, French, Spanish, Portuguese, Italian, Dutch
    r"\bals (?:ein )?(?:ki|ai|großes|künstliche)[ -]?\w*[ -]?sprachmodell",
    r"\ben tant qu(?:e |['’])(?:grand )?(?:modèle|ia|intelligence artificielle|assistant ia)[^.]{0,20}"
    r"(?:langage|linguistique|je ne)",
    r"\bcomo (?:un |una |um |uma )?(?:gran )?(?:modelo|ia|inteligencia|inteligência)[^.]{0,20}(?:lenguaje|lengua|"
    r"linguagem|idioma)",
    r"\b(?:come|in quanto) (?:un )?(?:grande )?modello (?:linguistico|di linguaggio)",
    r"\bals (?:een )?(?:ai|groot|grote)?[ -]?taalmodel",
    # Russian, Ukrainian, Polish, Turkish
    r"\bкак (?:большая |ии[ -]|нейросетевая )?языковая модель",
    r"\bяк (?:велика )?мовна модель",
    r"\bjako (?:duży )?model językowy",
    r"\bbir (?:yapay zek[aâ] )?dil modeli olarak",
)
_BOILERPLATE = re.compile("|".join(f"(?:{phrase})" for phrase in _PHRASES))


def is_boilerplate(text: str) -> bool:
    """Whether an answer, normalised, is a language model's set phrase."""
    return _BOILERPLATE.search(text) is not None
