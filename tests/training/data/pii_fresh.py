"""Labelled chat messages, made anew for each seed; every second template is kept from whoever writes the rules."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tests.training.data.pii_values import GIVEN, Values

Half = Literal["seen", "held_out"]
LABELS = {
    **dict.fromkeys(("given", "lower", "family", "full", "cyrillic", "chinese", "japanese", "korean"), "PERSON"),
    **dict.fromkeys(("email", "hidden_email"), "EMAIL"),
    **dict.fromkeys(("phone", "local_phone"), "PHONE"),
    **dict.fromkeys(("ip", "hidden_ip"), "IP"),
    **dict.fromkeys(("invite", "link"), "URL"),
    **dict.fromkeys(("mention", "handle"), "MENTION"),
    **dict.fromkeys(("secret", "password", "key"), "SECRET"),
    **dict.fromkeys(("card", "iban"), "CARD"),
    **dict.fromkeys(("ssn", "passport", "birth", "plate", "wallet", "place", "snowflake"), "ID"),
    "address": "ADDRESS",
}  # fmt: skip

PRIVATE = """my name is {given} btw
hi i'm {given}, 19, from leeds
call me {lower} pls
ask {given} about the raid
thx {given}!!
{given} said he'd be late again
ngl {lower} won that round fair and square
this is {full} from the guild
Mr. {family} gave us homework again
Dr {family} will see you at 5
has anyone seen {given} today?
{given} and {given} are arguing in vc
happy birthday {given} 🎂
my brother {given} broke my keyboard
omg {given}'s mom called
I met {full} at the con last year
tell {lower} to bring snacks
with love, {given}
is {lower} coming tonight
Dear {given},\\nthanks for the invite
me llamo {given} y soy de Lima
ich heiße {given}, freut mich
je m'appelle {given}
mi chiamo {given}, piacere
меня зовут {cyrillic}
спасибо, {cyrillic}!
{cyrillic} сказал, что придёт позже
我叫{chinese},今年十九岁
{chinese}老师说明天考试
私は{japanese}です
{japanese}さんに聞いてください
제 이름은 {korean}입니다
{korean} 씨가 말했어요
danke {given}, bist der beste
gracias {lower} por la ayuda
cc {full} for approval
yo {given} u there?
{given}: did you eat yet
regards,\\n{full}
played ranked with {given} and lost
my gf {given} hates this game
meu nome é {given}
nazywam się {full}
{full} lives two doors down
u can reach me: {email}
mail {email} or {email} if lost
write to <{email}> asap
`{email}` is my alt
{hidden_email} no spam please
my mail: {hidden_email}
contact = "{email}"
Email:{email};
|| {email} ||
call me on {phone}
whatsapp {phone}
my number is {local_phone}
tel: {local_phone}
Handy: {local_phone}
text {local_phone} when ur here
mein handy ist {phone}
{phone} <- thats me
мой телефон {phone}
手机号 {phone}
phone {local_phone} ask for {given}
ring me, {phone}, after 6
my ip is {ip}
server at {ip}:25565
someone from {ip} keeps joining
got ddosed by {hidden_ip}
ping {ip} pls
banned {ip} for spam
i live at {address}
send it to {address}
address: {address}
Adresse: {address}
we moved to {address} last week
pizza to {address} thanks
join {invite}
new server!! {invite} hop in
look at {link} lol
context: {link}
hey {mention} wake up
{mention} {mention} raid now
add me {handle}
my discord is {handle}
{handle} you up?
dont share this {secret}
TOKEN={secret}
```\\n{secret}\\n```
key: {secret}
i leaked {secret} oops
password: {password}
my password is {password} dont tell
pw = {password}
API_KEY={key}
"client_secret": "{key}"
DB_PASSWORD='{password}'
Authorization: Bearer {key}
wifi pass: {password}
login {email} / {password}
my card is {card}
visa {card} exp 04/29
pay with {card}
IBAN: {iban}
überweis auf {iban} danke
send to {iban}
ssn {ssn}
my SSN is {ssn}
passport no {passport}
Reisepass {passport}
born {birth}
dob: {birth}
geboren am {birth}
license plate {plate}
Kennzeichen {plate}
send eth to {wallet}
wallet {wallet}
im at {place} rn
user id {snowflake}
gps: {place}
{full}, {address}, {phone}
> {given} wrote: {email}
**{full}** ({email})
~~{phone}~~ sorry wrong one
hola soy {given}, tengo 22 años
bonjour {given}, ça va ?
ciao {given}! tutto bene?
jag heter {given}
ik heet {given}
benim adım {given}
{given} just quit lmao
kicked {lower} for afk
gg {given}
sent from {full}'s phone
uncle {given} is visiting
our teacher Mrs {family} is strict
{lower}'s birthday is tomorrow
dm {given} or {given} for a key
{given}, can you mute
who invited {given}??
can u ask {lower} for me""".split("\n")

CLEAN = """rolled 3d6+2 and got 14
upgrade to v2.14.3 pls
python 3.13.0rc1 is out
Chrome 126.0.6478.127 broke it
color is #ff00aa or #0f0
that's $1,299.99 or €45
ISBN 978-3-16-148410-0
id 550e8400-e29b-41d4-a716-446655440000
commit 9fceb02d0ae598e95dc970b74767f19372d61af8
fixed in a1b2c3d
see you at 12:30:45 tomorrow
<t:1718900000:R> be there
<:pepe:112233445566778899> nice
<a:dance:998877665544332211> lets go
final score 102-98 wow
may I ask you something
i will mark this as done
Will you come? Mark my words
Rose petals everywhere in the Grace period
Hope you're well, may the odds be good
Gene therapy in the Roman empire
Don't bill me for this, Frank discussion only
the Art of War is a Classic
April showers, June weddings
127.0.0.1:8080 is my dev box
192.168.1.1 is the router page
ping 0.0.0.0 does nothing
255.255.255.0 netmask
10.0.0.5 on the lan
fe80::1 is link local
std::vector<int> v;
use a = b::c::d in rust
git clone git@github.com:octo/cat.git
npm i react@18.2.0
@everyone movie night
@here quick vote
@property\\ndef size(self): ...
@media (max-width: 600px)
lat lag 45ms
pip install numpy==1.26.4
SELECT id FROM t WHERE x = 12345
room 237 second floor
flight BA 2490 at gate 12
1,000,000 gold and 50k gems
order 66 executed
2024-06-30T12:00:00Z
on 12/05/2023 we launched
15.03.2021 was the patch
page 112-118 of the book
error 0x80070005 access denied
sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
https://example.com/docs/v2/page#section-3
https://www.youtube.com/watch?v=dQw4w9WgXcQ
https://github.com/python/cpython/issues/104
password reset is broken
forgot my password again
the token expired
token ring topology
what's the secret to good rice
public key cryptography is fun
key: C major
pass the salt
our ip got banned
phone died
call me maybe
my address book is empty
card games tonight
elio would never say that
Olga and Caleb fixed the radio
Ask Glordon about silk
*Lord Grigon roars* "silence!"
Ambassador Questa smiled at Bryce
I'm Elio and I love signals, copy?
my name is Glordon
thanks Caleb!!
I'm German, you?
I'm Done with this
Thanks Everyone!
Happy Birthday Everyone
Ask Google about it
tell him to stop
She said no
hey guys
Elden Ring is hard
Baldur's Gate 3 on sale
Rocket League tonight at 8
New York is cold in January
Street Fighter 6 rules
the 2 way street of trust
wall street bets again
10 downvotes in 5 min
St. Patrick's Day
The Last of Us
King of the Hill
road to 1000 followers
drive safe
3.14159265358979
1234567890
seed 8675309
0.1 + 0.2 = 0.30000000000000004
9223372036854775807 is max int64
ratio 16:9 at 144hz
A4 paper 210x297
gg wp 5-0
12-hour fast
100% legit
我今天很高兴
今天天气不错
明日は雨です
오늘 날씨 좋아요
сегодня хорошая погода
Мне нравится эта игра
das ist der Wahnsinn
Ich bin Student in Berlin
je suis fatigué
qué tal todo
😂😂😂
(╯°□°)╯︵ ┻━┻
look at github.com for docs
meet at the park dot dot dot
Mario Kart at mine?
Jack of all trades
Java and Ruby and Julia are languages
[link](https://docs.python.org/3/library/re.html)
Monday, Tuesday, Wednesday
def main() -> None:\\n    return
for i in range(10): print(i)
if x > 3 && y < 4
The Doctor is on the Tardis
max 10 people
chase the dragon
summer break!
Well That Was Fun
LOL OK BRB
WHAT THE HELL
I Love This Song
Big Brother is watching
Good Morning Everyone
my name is on the list
who is this
this is great
this is Sparta
call me later
ask me anything
it's me again
Nice one mate
version 1.2.3.4 of the tool
mac and cheese
level 85 paladin
PS5 vs Xbox Series X
5 stars
won 3-2 in OT""".split("\n")

ROUND = ["{}", "{}", "{}", "{}", "**{}**", "||{}||", "`{}`", '"{}"', "({})", "*{}*", "__{}__"]
CODE_POINTS_LIKE = str.maketrans("aeopcx", "аеорсх")
WIDE = str.maketrans("0123456789", "０１２３４５６７８９")
HIDEABLE = {"email", "phone", "card", "secret", "ip"}


@dataclass(frozen=True)
class Labelled:
    """A message and what is personal in it, as (start, end, label)."""

    text: str
    spans: tuple[tuple[int, int, str], ...]
    template: str


def private_messages(seed: int, half: Half, rounds: int = 6) -> list[Labelled]:
    """Messages with something to mask; the two halves share neither templates nor given names."""
    offset = half == "held_out"
    rng = random.Random(seed)
    values = Values(rng, GIVEN[offset::2])
    return [_fill(line, values, rng) for _ in range(rounds) for line in PRIVATE[offset::2]]


def clean_messages(half: Half) -> list[Labelled]:
    """Messages with nothing to mask, many of which look as if there were."""
    return [Labelled(line.replace("\\n", "\n"), (), line) for line in CLEAN[half == "held_out" :: 2]]


def _fill(template: str, values: Values, rng: random.Random) -> Labelled:
    text, spans = "", []
    for literal, kind in _parts(template.replace("\\n", "\n")):
        text += literal
        if kind:
            value = _hidden(kind, getattr(values, kind)(), rng)
            before, after = (rng.choice(ROUND) if literal.endswith(" ") and len(template) < 60 else "{}").split("{}")
            spans.append((len(text + before), len(text + before + value), LABELS[kind]))
            text += before + value + after
    return Labelled(text, tuple(spans), template)


def _parts(template: str) -> Iterator[tuple[str, str]]:
    pieces = re.split(r"\{(\w+)\}", template)
    yield from zip(pieces[::2], [*pieces[1::2], ""], strict=True)


def _hidden(kind: str, value: str, rng: random.Random) -> str:
    """Now and then, the value as someone writes it who wants to get past a filter."""
    draw = rng.random()
    if kind not in HIDEABLE or draw > 0.3:
        return value
    if draw < 0.1:
        at = rng.randrange(1, len(value))
        return value[:at] + rng.choice("\u200b\u200d\u2060\ufeff") + value[at:]
    if draw < 0.2 and kind != "secret":
        return value.translate(WIDE)
    return value.translate(CODE_POINTS_LIKE) if kind == "email" else value
