"""Made-up people, numbers and secrets of many places, all from a seed; nothing here belongs to anyone."""

from __future__ import annotations

import base64
import random
import re
import string
from collections.abc import Callable

ALNUM = string.ascii_letters + string.digits
UPPER = string.ascii_uppercase + string.digits
HEX = "0123456789abcdef"

GIVEN = re.findall(
    r"\S+",
    """Priya Mateusz Siobhan Keisha Thorsten Anouk Dimitrios Farid Yuki Kwame Ingrid Rafael Noor Beatriz Lukas Amara
    Hamza Chloe Giulia Oleksandr Svetlana Aoife Jamal Mei Takumi Zainab Pavel Eszter Nikhil Fatima Gareth Leila
    Sofie Bogdan Marisol Desmond Katarzyna Arjun Ayesha Henrik Tamara Callum Lucía Björn Zoë Élodie Jürgen Ivana
    Thandiwe Emre Rohan Bianca Stefan Olivia Hiroshi Nadia Connor Valentina Tobias Esperanza Rashid Maeve Viktor
    Shanice Paolo Greta Alejandro Linh Tomasz Jessica Dave Sarah Mike Emily Kevin Laura Brian Hannah Steve""",
)
FAMILY = re.findall(
    r"\S+",
    """Okafor Nowak Byrne Washington Schneider Lefevre Papadopoulos Haddad Tanaka Mensah Lindqvist Moreira Rahman
    Costa Weber Diallo Qureshi Martin Rossi Shevchenko Petrova Murphy Robinson Chen Suzuki Bello Horvath Kowalska
    Patel Ahmed Evans Karimi Jensen Ionescu Vargas Campbell Wójcik Mehta Malik Nilsen Volkova MacDonald Fernández
    Eriksson Kaya Gupta Romano Müller O'Connor Novotná Dlamini Yıldız Hernández Papp Nguyen Ferreira""",
)
CYRILLIC = ["Дмитрий", "Анастасия", "Сергей", "Екатерина", "Олексій", "Наталья", "Игорь", "Ольга"]
CHINESE = ["王小明", "李娜", "张伟", "陈思雨", "刘洋", "赵子轩", "周杰", "黄雅婷"]
JAPANESE = ["田中太郎", "佐藤花子", "鈴木健一", "高橋美咲", "山本翔", "渡辺結衣"]
KOREAN = ["김민준", "이서연", "박지훈", "최유진", "정하늘"]
DOMAINS = ["gmail.com", "proton.me", "web.de", "mail.ru", "example.co.uk", "uni-mail.edu", "corp.example", "qq.com"]
WORDS = ("storm", "fox", "luna", "pixel", "nova", "ghost", "toast", "ember", "cobalt", "quartz")


class Values:
    """Draws one value of each kind; the name of a method is the name of the kind."""

    def __init__(self, rng: random.Random, given: list[str] | None = None) -> None:
        self.rng = rng
        self.names = given or GIVEN

    def _run(self, alphabet: str, length: int) -> str:
        return "".join(self.rng.choice(alphabet) for _ in range(length))

    def _shape(self, shape: str) -> str:
        """`#` is a digit, `%` one from 1, `A` a capital letter."""
        draws: dict[str, Callable[[], str]] = {
            "#": lambda: self._run(string.digits, 1),
            "%": lambda: self._run("123456789", 1),
            "A": lambda: self._run("BCDFGHJKLMNPRSTVWXYZ", 1),
        }
        return "".join(draws[sign]() if sign in draws else sign for sign in shape)

    def _of(self, *shapes: str) -> str:
        return self._shape(self.rng.choice(shapes))

    def given(self) -> str:
        return self.rng.choice(self.names)

    def lower(self) -> str:
        return self.given().lower()

    def family(self) -> str:
        return self.rng.choice(FAMILY)

    def full(self) -> str:
        return f"{self.given()} {self.family()}"

    def cyrillic(self) -> str:
        return self.rng.choice(CYRILLIC)

    def chinese(self) -> str:
        return self.rng.choice(CHINESE)

    def japanese(self) -> str:
        return self.rng.choice(JAPANESE)

    def korean(self) -> str:
        return self.rng.choice(KOREAN)

    def _local(self) -> str:
        name = self.given().lower().encode("ascii", "ignore").decode()
        return self.rng.choice([name + self._run(string.digits, 2), f"{name}.{self.rng.choice(WORDS)}", f"{name}_x"])

    def email(self) -> str:
        return f"{self._local()}@{self.rng.choice(DOMAINS)}"

    def hidden_email(self) -> str:
        local, (host, _, rest) = self._local(), self.rng.choice(DOMAINS).partition(".")
        at, dot = self.rng.choice(
            [("(at)", "(dot)"), (" at ", " dot "), ("[at]", "[dot]"), (" [at] ", "."), (" @ ", "."), (" (at) ", ".")]
        )
        return f"{local}{at}{host}{dot}{rest.replace('.', dot)}"

    def phone(self) -> str:
        """International form, as people write it."""
        return self._of(
            "+44 7%## ######",
            "+49 151 %#######",
            "+49 (0)30 %######",
            "+33 6 %# ## ## ##",
            "+81 90-%###-####",
            "+86 138 %### ####",
            "+91 98%## #####",
            "+7 912 %##-##-##",
            "+1 (212) %##-####",
            "+1-415-%##-####",
            "+34 6%# ### ###",
            "+39 347 %## ####",
            "+55 11 9%###-####",
            "+61 4%# ### ###",
            "+48 50% ### ###",
            "+90 532 %## ## ##",
            "+82 10-%###-####",
            "+31 6 %#######",
            "0044 7%## ######",
            "+447%########",
        )

    def local_phone(self) -> str:
        """National form; the words around it tell what it is."""
        return self._of(
            "07%## ######",
            "020 7%## ####",
            "0151 %#######",
            "030 %######",
            "06 %# ## ## ##",
            "090-%###-####",
            "138%#######",
            "98%## #####",
            "8 912 %##-##-##",
            "(212) %##-####",
            "415-%##-####",
            "6%# ### ###",
            "(11) 9%###-####",
            "04%# ### ###",
            "555-%###",
            "512.%##.####",
            "010-%###-####",
        )

    def address(self) -> str:
        n = str(self.rng.randint(1, 240))
        return self.rng.choice(
            [
                f"{n} Maple Street",
                f"{n} Old Mill Road, Leeds LS{self._shape('% %')}AB",
                f"{n} N. Harbor Blvd, Apt 4B",
                f"{n}b Kingsway Terrace",
                f"Lindenstraße {n}, 10{self._shape('###')} Berlin",
                f"Am Kirchweg {n}",
                f"{n} rue de la Paix, 75002 Paris",
                f"{n} avenue Victor Hugo",
                f"Calle de Alcalá {n}, 28009 Madrid",
                f"Via Garibaldi {n}, 20121 Milano",
                f"Rua Augusta, {n}",
                f"Prinsengracht {n}, 1016 HX Amsterdam",
                f"ul. Marszałkowska {n}/5",
                f"ул. Ленина, д. {n}, кв. 7",
                f"北京市朝阳区建国路{n}号",
                f"東京都渋谷区神南1-{n}",
                f"{n} Birch Ln, Springfield, IL 627{self._shape('##')}",
                f"P.O. Box {n}",
                f"Storgatan {n}",
            ]
        )

    def ip(self) -> str:
        r = self.rng.randint
        four = f"{self.rng.choice([203, 81, 95, 145, 212, 73])}.{r(1, 250)}.{r(30, 250)}.{r(1, 250)}"
        six = f"2001:db8:{self._run(HEX, 4)}::{self._run(HEX, 3)}:{self._run(HEX, 4)}"
        return self.rng.choice(
            [four, four, six, ":".join(["2a02"] + [self._run("123456789abcdef", 4) for _ in range(7)])]
        )

    def hidden_ip(self) -> str:
        return self.ip_four().replace(".", self.rng.choice(["[.]", "(dot)", " . "]))

    def ip_four(self) -> str:
        return f"81.{self.rng.randint(1, 250)}.{self.rng.randint(30, 250)}.{self.rng.randint(1, 250)}"

    def invite(self) -> str:
        code = self._run(ALNUM, 8)
        host = self.rng.choice(
            ["discord.gg/", "https://discord.gg/", "https://discord.com/invite/", "discordapp.com/invite/"]
        )
        return host + code

    def link(self) -> str:
        ids = "/".join(self.snowflake() for _ in range(3))
        return self.rng.choice([f"https://discord.com/channels/{ids}", "https://t.me/joinchat/" + self._run(ALNUM, 16)])

    def snowflake(self) -> str:
        return str(self.rng.randint(10**17, 13 * 10**17))

    def mention(self) -> str:
        return self.rng.choice([f"<@{self.snowflake()}>", f"<@!{self.snowflake()}>"])

    def handle(self) -> str:
        return self.rng.choice(
            [f"@{self._local()}", f"{self.rng.choice(WORDS)}{self.rng.choice(WORDS)}#{self._shape('%###')}"]
        )

    def secret(self) -> str:
        made = [
            "gh" + "p_" + self._run(ALNUM, 36),
            "github" + "_pat_" + self._run(ALNUM, 22) + "_" + self._run(ALNUM, 59),
            "s" + "k-" + self._run(ALNUM, 48),
            "s" + "k-ant-api03-" + self._run(ALNUM + "-_", 80),
            "AK" + "IA" + self._run(UPPER, 16),
            "h" + "f_" + self._run(string.ascii_letters, 34),
            "xo" + "xb-" + self._shape("%###########-%###########-") + self._run(ALNUM, 24),
            "s" + "k_live_" + self._run(ALNUM, 24),
            "AI" + "za" + self._run(ALNUM + "-_", 35),
            self._jwt(),
            self._bot(),
            "https://discord.com/api/web" + f"hooks/{self.snowflake()}/" + self._run(ALNUM + "-_", 68),
            "https://hooks.slack.com/ser"
            + "vices/T"
            + self._run(UPPER, 8)
            + "/B"
            + self._run(UPPER, 8)
            + "/"
            + self._run(ALNUM, 24),
            "gl" + "pat-" + self._run(ALNUM, 20),
            "np" + "m_" + self._run(ALNUM, 36),
            self._shape("%#########:AA") + self._run(ALNUM, 33),
            "-----BEGIN OPENSSH PRIVATE KEY-----\n" + self._run(ALNUM, 60) + "\n-----END OPENSSH PRIVATE KEY-----",
        ]
        return self.rng.choice(made)

    def _jwt(self) -> str:
        return (
            "ey" + "J" + self._run(ALNUM, 17) + ".ey" + "J" + self._run(ALNUM, 40) + "." + self._run(ALNUM + "-_", 43)
        )

    def _bot(self) -> str:
        head = base64.b64encode(self.snowflake().encode()).decode().rstrip("=")
        return head + "." + self._run(ALNUM, 6) + "." + self._run(ALNUM + "-_", 38)

    def password(self) -> str:
        return self.rng.choice(WORDS) + self.rng.choice("!$#%&") + self._run(ALNUM, 5) + self._run(string.digits, 2)

    def key(self) -> str:
        return self._run(ALNUM, 32)

    def card(self) -> str:
        digits = luhn(self.rng, self.rng.choice(["4", "51", "2223", "6011"]), 16)
        groups = [digits[i : i + 4] for i in range(0, 16, 4)]
        return self.rng.choice([digits, " ".join(groups), "-".join(groups), luhn(self.rng, "37", 15)])

    def iban(self) -> str:
        country, body = self.rng.choice(
            [
                ("DE", self._shape("##################")),
                ("GB", "NWBK" + self._shape("##############")),
                ("FR", self._shape("#######################")),
                ("NL", "ABNA" + self._shape("##########")),
            ]
        )
        number = int("".join(str(int(sign, 36)) for sign in body + country + "00"))
        whole = f"{country}{98 - number % 97:02}{body}"
        return self.rng.choice([whole, " ".join(whole[i : i + 4] for i in range(0, len(whole), 4))])

    def ssn(self) -> str:
        return self._shape("5%#-4#-#%##")

    def passport(self) -> str:
        return self._of("A%#######", "AA%######", "%########")

    def birth(self) -> str:
        y, m, d = self.rng.randint(1960, 2008), self.rng.randint(1, 12), self.rng.randint(1, 28)
        return self.rng.choice(
            [f"{d:02}.{m:02}.{y}", f"{m}/{d}/{y}", f"{y}-{m:02}-{d:02}", f"{d} March {y}", f"Aug {d}, {y}"]
        )

    def plate(self) -> str:
        return self._of("B-AA %###", "A%# AAA", "%AAA###", "AA-%##-AA")

    def wallet(self) -> str:
        return self.rng.choice(["0x" + self._run(HEX, 40), "bc1q" + self._run("023456789acdefghjklmnpqrstuvwxyz", 38)])

    def place(self) -> str:
        return f"{self.rng.uniform(-60, 60):.5f}, {self.rng.uniform(-170, 170):.5f}"


def luhn(rng: random.Random, prefix: str, length: int) -> str:
    """A number of this length whose last digit checks out."""
    body = prefix + "".join(rng.choice(string.digits) for _ in range(length - len(prefix) - 1))
    doubled = [int(d) * (2 - i % 2) for i, d in enumerate(reversed(body))]
    total = sum(d - 9 if d > 9 else d for d in doubled)
    return body + str(-total % 10)
