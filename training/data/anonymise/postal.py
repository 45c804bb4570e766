"""Postal addresses, in the order and with the words that a few dozen countries write them."""

from __future__ import annotations

import re

from training.data.anonymise.spans import Found, Span

# Case counts here even where the rest of a pattern is blind to it.
CAP = r"(?-i:[^\W\d_a-zß-ÿа-я][\w'’.-]*)"
NO = r"\d{1,5}(?:\s?[a-hA-H](?!\w))?(?:\s?[-/]\s?\d{1,4})?"
TAIL_CITY = rf"(?:,?\s+(?:in\s+)?{CAP}(?:[ -]{CAP}){{0,2}})?"
POSTCODES = (
    r"[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}|\d{5}-\d{4}|[A-Z]{2},?\s+\d{5}|[A-Z]\d[A-Z]\s?\d[A-Z]\d|[A-Z]{2,3}\s+\d{4}|"
    r"(?:[A-Z]{1,2}-)?\d{4}\s?[A-Z]{2}|(?:[A-Z]{1,2}-)?\d{3}\s\d{2}|\d{2}-\d{3}|\d{5}-\d{3}|(?:[A-Z]{1,2}-)?\d{4,6}"
)
UNIT = (
    r"(?i:,?\s*(?:(?:apt|apartment|unit|suite|ste|flat|floor|fl|room|rm|door|app|piso|apto|int|wohnung|top|"
    r"lgh|кв|stiege)\.?\s*#?\s*[\w-]{1,5}|#\s?\w{1,5}))"
)
REST = (
    rf"(?:{UNIT}|,?\s*\d{{1,2}}\s?[º°ª](?:\s?[A-Z]\b)?)?(?:(?:,?\s+|\s-\s)(?:{CAP}(?:[ -](?:{CAP}|am|an der|"
    rf"sur|de la|de|la|le|upon|on)){{0,3}},?\s+)?(?:{POSTCODES})(?!\w)"
    rf"(?:\s+{CAP}(?:[ -](?:{CAP}|am|sur|de|la)){{0,2}})?|(?:,\s*|\s-\s){CAP}(?:[ -]{CAP}){{0,2}})*"
)
EN_TYPE = (
    r"(?:street|avenue|ave|road|rd|lane|ln|drive|boulevard|blvd|court|place|terrace|crescent|close|square|"
    r"parkway|pkwy|highway|hwy|"
    r"mews|grove|gardens|circle|cir|trail|quay|alley|row|walk|way|hill|rise|view|path|loop|plaza|turnpike|pike|"
    r"st|dr|ct|pl|sq|cres|tce)"
)
SURE = r"(?:street|avenue|ave|road|rd|lane|ln|boulevard|blvd|parkway|pkwy|crescent|terrace|drive|court|st)"
ENGLISH = re.compile(
    rf"(?:(?<=\s)|(?<=^)|(?<=[(:,*|\"'`]))(?:(?i:flat|apt|apartment|unit|house|suite|"
    rf"no\.?)\s?#?\w{{1,4}},?\s+|(?i:unit|no\.?|house|blk)\s+)?(?:{CAP}\s(?:House|Court|Building|Tower|Towers|"
    rf"Lodge|Heights|Mansions),\s+)?{NO}\s+(?:[NSEW]{{1,2}}\.?\s+|North\s+|South\s+|East\s+|West\s+|Old\s+|"
    rf"Upper\s+|Lower\s+)?"
    rf"(?:(?:{CAP}|\d{{1,3}}(?:st|nd|rd|th)|of|"
    rf"the)\s+){{1,4}}?(?i:{EN_TYPE})\b\.?(?!\s(?i:{EN_TYPE})\b)(?:\s+[NSEW]{{1,2}}\b)?{REST}"
    rf"|(?:(?<=\s)|(?<=^)|(?<=[(:,*|\"'`]))\d{{1,5}}\s+(?:Broadway|Kingsway|Strand|Piccadilly|{CAP}gate|"
    rf"{CAP}way)\b\s?(?:{EN_TYPE.title()}\b)?{REST}",
    re.MULTILINE,
)
QUIET = re.compile(
    rf"(?:(?:i'?m|we'?re)\s+(?:on|at)|liv(?:e|es|ing)\s+(?:at|on|in)|address|addr|come\s+(?:over\s+)?to|"
    rf"moved\s+to|send\s+(?:it\s+)?to|"
    rf"ship\s+(?:it\s+)?to|deliver\w*\s+to|my (?:house|place|home)\s*(?:is)?(?:\s+at)?|pick\s+\w+\s+up\s+(?:at|from)|"
    rf"located\s+at|meet\s+(?:me\s+)?at|stay(?:ing)?\s+at|@|party\s+at|home\s+(?:is|at)|parcel\s+to|pizza\s+to|"
    rf"over\s+at)\s*(?:is|:)?\s*(?P<value>\d{{1,5}}[a-d]?\s+(?:[a-z'.]+\s+|\d+(?:st|nd|rd|"
    rf"th)\s+){{1,3}}?(?:{SURE})\b(?:,?\s*(?:apt|unit|flat|"
    rf"#)\.?\s*\w{{1,4}})?(?:,\s*[a-z]+(?:\s[a-z]+)?(?:\s+[a-z]{{2}})?(?:\s+\d{{5}})?)?)",
    re.I,
)
LOWER_FULL = re.compile(
    rf"(?<![\w.])\d{{1,5}}\s+(?:[a-z']+\s+){{1,3}}?{SURE}\.?,?\s+(?:(?:apt|"
    rf"unit)\s?\w+,?\s+)?(?:[a-z]+,?\s+){{0,3}}(?:[a-z]{{2}}\s+\d{{5}}|[a-z]{{1,2}}\d[a-z\d]?\s?\d[a-z]{{2}})(?!\w)",
    re.I,
)
POSTCODE = re.compile(
    r"(?<![\w-])(?:(?:GIR\s?0AA|(?:A[BL]|B[ABDHLNRST]?|C[ABFHMORTVW]|D[ADEGHLNTY]|E[CHNX]?|F[KY]|G[LUY]?|"
    r"H[ADGPRSUX]|I[GMPV]|JE|K[ATWY]|L[ADELNSU]?|M[EKL]?|N[EGNPRW]?|O[LX]|P[AEHLOR]|R[GHM]|"
    r"S[AEGKLMNOPRSTWY]?|T[ADFNQRSW]|UB|W[ACDFNRSV]?|YO|ZE)\d[A-Z\d]?\s\d[ABD-HJLNP-UW-Z]{2})|"
    r"〒\s?\d{3}-?\d{4})(?![\w-])"
)
CITY = re.compile(
    rf"(?<!\w){CAP}(?:\s{CAP}){{0,2}},\s+(?:A[LKZR]|C[AOT]|DE|FL|GA|HI|I[DLNA]|K[SY]|LA|M[EDAINSOT]|"
    rf"N[EVHJMYCD]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[TA]|W[AVIY])\s+\d{{5}}(?:-\d{{4}})?(?!\d)"
)
# Everyday words with the ending of a road.
NO_ROAD = r"(?:bring|spring|string|wring|\w*[aeiou]ring|brigade|renegade|decade|arcade|cascade|cutie|sweetie|bestie)\b"
GERMANIC = re.compile(
    rf"(?<!\w)(?:(?:{CAP}[ -]){{0,3}}(?:(?!{NO_ROAD})[^\W\d_]+(?:stra(?:ß|ss)e|str\.?|weg|platz|allee|gasse|"
    rf"ring|damm|ufer|"
    rf"chaussee|steig|markt|brücke|"
    rf"straat|laan|plein|gracht|kade|dijk|singel|dreef|steeg|gatan|vägen|gränd|gata|veien|vegen|gaten|gade|vej|"
    rf"allé|katu|tie|kuja|polku|stræde)"
    rf"|(?:Stra(?:ß|ss)e|Str\.|Weg|Platz|Allee|Gasse|Straat|Laan|Gata|Vej|stra(?:ß|ss)e|str\.)(?:\s+(?:des|der|"
    rf"vom)\s+[\w.]+(?:\s+{CAP})?)?)"
    rf"|(?:Am|An der|An den|Im(?!\s(?:level|lvl|lv|rank|room|top|tier|season|day)\b)|In der|Auf der|Auf dem|Zum|"
    rf"Zur|Unter den|Unter der|Hinter der|Vor dem|Bei der|"
    rf"Beim|Op de|Aan de)\s+{CAP}(?:\s{CAP})?)"
    rf"\s+(?:Nr\.?\s?)?\d{{1,4}}\s?(?:bis|[a-zA-Z])?(?!\w)(?:\s?[-/]\s?\d{{1,3}}|\s\d{{1,3}}(?!\w))?{REST}",
    re.I,
)
ROMANCE = re.compile(
    rf"(?<!\w)(?:\d{{1,4}}\s?(?:bis|ter|quater)?,?\s+(?:bis\s+)?(?:rue|avenue|av\.|boulevard|bd\.?|place|"
    rf"chemin|allée|impasse|quai|cours|passage|route|square|faubourg|sentier)\s+"
    rf"(?:(?:de\s+la|de\s+l'|du|des|de|d'|la|le|les|l')\s*)?[\w'’-]+(?:[ -](?:(?:de|du|des|la|le|"
    rf"et)\s+)*{CAP}){{0,3}}"
    rf"|(?:calle|c/|gran\s+vía|vía|avenida|avda?\.?|av\.|plaza|paseo|p(?:º|o)\.?|carrer|carrera|cra\.?|calzada|"
    rf"ronda|camino|"
    rf"rambla|rua|r\.|travessa|praça|alameda|estrada|largo|"
    rf"via|viale|v\.le|piazza|p\.za|corso|vicolo|strada|strada?\.?|bulevardul|bd\.|șoseaua|str\.|calea|"
    rf"aleea)\s+(?:(?:de\s+las|de\s+los|de\s+la|del|della|delle|dei|degli|de|da|do|dos|das|di|d'|la|el|los|las)\s+)*"
    rf"[\w'’.º]+(?:\s+(?:(?:de|del|da|do|dos|di|y|e|la|el)\s+)*{CAP}){{0,3}},?\s*(?:n[º°o.]*\s?|nr\.?\s?|#\s?|"
    rf"número\s|numero\s)?\d{{1,5}}[a-zA-Z]?(?!\w)(?:\s?[-/]\s?\d+)?(?:,?\s*\d+[º°ªoa]\s?\w?(?!\w))?){REST}",
    re.I,
)
SLAVIC = re.compile(
    rf"(?<!\w)(?:(?:ul|al|os|pl|ulica|aleja|osiedle|ulice|náměstí|nám|tř|třída|utca|ulitsa|"
    rf"bul)\.?\s+(?:{CAP}\s?){{1,3}}\d{{1,4}}[a-z]?(?:\s?/\s?\d+|\s*(?:m|lok)\.?\s?\d+)?|"
    rf"(?:{CAP}\s){{1,2}}(?:utca|út|tér|körút)\s+\d{{1,4}}\.?"
    rf"|(?:г\.?\s?[А-ЯЁ][\w-]+,\s*|[А-ЯЁ][\w-]+,\s+)?(?:ул\.?|улица|вул\.?|вулиця|просп\.?|проспект|пр-т|пр\.|"
    rf"пер\.|переулок|шоссе|бульвар|бул\.?|наб\.?|"
    rf"набережная|площадь|пл\.)\s*[А-ЯЁІЇЄ][\w.-]*(?:\s[А-ЯЁІЇЄ][\w.-]*){{0,2}},?\s*(?:д\.?|дом|буд\.?|"
    rf"№)?\s*\d{{1,4}}\w?(?:\s?(?:к|корп|стр)\.?\s?\d+)?(?:,?\s*(?:кв|квартира|оф)\.?\s*\d+)?"
    rf"|[А-ЯЁ][\w-]+(?:ая|ий|ый)?\s+(?:ул\.?|улица|проспект|переулок|шоссе|бульвар|набережная),?\s*(?:д\.?|"
    rf"дом)?\s*\d{{1,4}}\w?(?:,?\s*(?:кв|квартира)\.?\s*\d+)?"
    rf"|(?:{CAP}\s){{1,3}}(?:Mah(?:allesi|\.)?,?\s+(?:{CAP}\s){{1,3}})?(?:Sok(?:ak|ağı|\.)?|Cad(?:desi|\.)?|"
    rf"Bulvarı|Blv\.?)\s*,?\s*(?:No\s?:?\s?)?\d{{1,4}}(?:\s?/\s?\d+)?){REST}"
)
ASIAN = re.compile(
    r"(?:〒?\d{3}-\d{4}\s?)?(?:[一-龥]{2,3}[都道府県])?[一-龥ヶケぁ-んァ-ヶー]{1,8}[市区町村郡](?:[一-龥ヶケぁ-んァ-ヶー]{1,12})?"
    r"[\d一二三四五六七八九十]{1,4}(?:丁目|番地?|号|[-−ー]\d{1,4}|の\d+)(?:[\d]{1,4}(?:番地?|号)?|[-−ー]\d{1,4}|"
    r"の\d+)*(?:\s?[\w一-龥ァ-ヶー]{1,15}\d{1,4}(?:号室)?)?"
    r"|(?:[가-힣]{1,12}(?:시|도)\s+)?(?:[가-힣]{1,12}(?:시|군|구)\s+){1,2}[가-힣\d]+(?:로|길|"
    r"동)\s?(?:\d+번?길\s?)?\d{1,4}(?:-\d+)?(?:번지)?(?:,?\s?\d+동)?(?:,?\s?\d+호)?"
)
CHINESE = re.compile(
    r"[一-龥]{2,30}?(?:路|街|道|巷|弄|胡同|大道)(?:[东西南北]段?)?\s?\d{1,5}\s?[号號弄](?:院)?(?:[\d一-龥A-Z-]{0,12}?\d{1,5}\s?(?:室|"
    r"号楼|单元|栋|樓|楼|号|户))*"
)
# Where an address begins: behind the last of these.
LEAD_JAPANESE = re.compile("^[一-龥ぁ-んァ-ヶー]{0,6}(?:住所|実家|自宅|家|会社|私|僕|俺|場所)[はがも]")
LEAD = re.compile("住在|寄到|送到|地址|在|是|到|家")
INDIAN = re.compile(
    rf"(?<!\w)(?:(?:Flat|Apt\.?|Apartment|Unit|Office|Floor|Tower|Building|House|H\.?\s?No|Plot|Door|D\.?\s?No|"
    rf"Shop|Block|Villa|"
    rf"Room)\.?\s*(?:No\.?)?\s*[:#]?\s*[\w/-]{{1,8}},\s*){{1,3}}(?:{CAP}(?:\s(?:{CAP}|\d{{1,3}}|of|"
    rf"the))*,?\s*){{1,6}}(?:[-–]?\s?\d{{3}}\s?\d{{3}})?(?!\d)"
    rf"|(?<!\w)(?:{NO},?\s+)?(?:{CAP}\s){{1,3}}(?:Road|Rd|Marg|Nagar|Colony|Layout|"
    rf"Sector\s\d+),\s*(?:{CAP}[\s,]+){{1,4}}[-–]?\s?\d{{3}}\s?\d{{3}}(?!\d)"
)
BOX = re.compile(
    rf"(?<!\w)(?:p\.?\s?o\.?\s?box|r\.?r\.?\s?\d+,?\s+box|postfach|bo[iî]te postale|bp|apartado(?: de correos)?|"
    rf"caixa postal|"
    rf"casella postale|postbus|а/я|skrytka pocztowa)\s+#?\d{{1,6}}(?!\d)(?-i:{REST})",
    re.I,
)
CODE_CITY = re.compile(
    rf"(?<![\w.,-])(?:\d{{5}}|\d{{2}}-\d{{3}})\s+{CAP}(?:[ -]{CAP})?(?!\w)|(?<![\w.,-])\d{{5}}-\d{{3,4}}(?![\w-])"
)
HOME = re.compile(
    r"liv(?:e|ing) (?:at|in)|address|adresse?|direcci[oó]n|indirizzo|endereço|adres|wohn\w*|j'habite|habite|"
    r"vivo|abito|moro|mieszkam|адрес|живу|zip|plz|postcode|postal|地址|住所|住在|주소",
    re.I,
)


def find_addresses(text: str) -> Found:
    """Streets with a number, and the town behind them; postcodes that name a few houses; post boxes."""
    if not any(sign.isdigit() for sign in text) and not re.search("[一-龥]", text):
        return
    latin = [
        Span(found.start(), found.start() + len(found[0].rstrip(" ,.\n")), "ADDRESS")
        for pattern in (INDIAN, ENGLISH, ROMANCE, GERMANIC, SLAVIC, BOX, CITY, LOWER_FULL)
        for found in pattern.finditer(text)
    ]
    # Of readings that overlap, the longest is the whole address.
    yield from sorted(latin, key=lambda span: span.start - span.end)
    if not text.isascii():
        for found in ASIAN.finditer(text):
            led = LEAD_JAPANESE.match(found[0])
            yield Span(found.start() + (led.end() if led else 0), found.end(), "ADDRESS")
        for found in CHINESE.finditer(text):
            lead = max((mark.end() for mark in LEAD.finditer(found[0])), default=0)
            yield Span(found.start() + lead, found.end(), "ADDRESS")
    yield from (Span(*found.span("value"), "ADDRESS") for found in QUIET.finditer(text))
    yield from (Span(*found.span(), "ADDRESS") for found in POSTCODE.finditer(text))
    if HOME.search(text):
        yield from (Span(*found.span(), "ADDRESS") for found in CODE_CITY.finditer(text))
