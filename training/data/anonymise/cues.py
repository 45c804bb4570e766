"""Words around a name that tell that it is one, in the languages that people chat in."""

from __future__ import annotations

import re

from training.data.anonymise.words import words

START = r"(?<![^\W_])"
LETTERS = r"[^\W\d_]{1,30}(?:['-][^\W\d_]{1,30}){0,3}\.?"
NAME = rf"(?P<name>{LETTERS}(?:\s{LETTERS}){{0,2}})"

# Behind these stands a name, in whatever case.
INTRODUCED = re.compile(
    rf"{START}(?:(?:my|his|her|their|real|full|first|last|given|legal)\s+(?:\w+\s+)?name\s+is|(?:my|the|his|"
    rf"her)?\s?name'?s|irl\s+name\s*:?|(?:full |first |last |real )?name\s*[:=]|"
    rf"(?:was|is|am|i'm|named|called)\s+(?:named|called)|goes by|go by|"
    rf"call(?:s|ed)?\s+me|known\s+as|nick(?:name)?(?:\s+is|'s)|spitzname\s+ist|apodo\s+es|surnom\s+est|nennt\s+mich|"
    rf"nennen\s+mich|m'appellent|signed,|me\s+llamo|mi\s+nombre\s+es|se\s+llama|nombre\s*:|(?:ich|er|"
    rf"sie)\s+hei(?:ß|ss)(?:e|"
    rf"t)|heisse|hei(?:ß|ss)e|mein\s+name\s+ist|je\s+m'appelle|il\s+s'appelle|elle\s+s'appelle|"
    rf"m'appelle|mon\s+nom\s+est|mon\s+pr[ée]nom\s+(?:est|c'est)|moi\s+c'est|mi\s+chiamo|si\s+chiama|"
    rf"il\s+mio\s+nome\s+[èe]|(?:o\s+)?meu\s+nome\s+[ée]|me\s+chamo|chamo-me|se\s+chama|"
    rf"ik\s+heet|mijn\s+naam\s+is|(?:jag|hon|han)\s+heter|mitt\s+namn\s+är|(?:jeg|hun|han)\s+(?:heter|hedder)|"
    rf"mitt\s+navn\s+er|mit\s+navn\s+er|nimeni\s+on|(?:nazywam|nazywa)\s+się|"
    rf"mam\s+na\s+imi[ęe]|na\s+imi[ęe]\s+mi|jmenuji\s+se|jmenuju\s+se|volám\s+sa|zovem\s+se|zovem\s+se|"
    rf"ime\s+mi\s+je|moje\s+ime\s+je|m[ăa]\s+numesc|m[ăa]\s+cheam[ăa]|numele\s+meu\s+e(?:ste)?|a\s+nevem|"
    rf"(?:benim\s+)?ad[ıi]m|nama\s+(?:saya|aku|gue)|tên\s+(?:tôi|mình|em|anh)\s+là|(?:mình|tôi)\s+tên\s+là|"
    rf"jina\s+langu\s+ni|ako\s+si|ang\s+pangalan\s+ko\s+ay|"
    rf"меня\s+зовут|зовут\s+меня|(?:его|её|ее)\s+зовут|мо[её]\s+имя|мене\s+звати|мене\s+звуть|казвам\s+се|με\s+λένε|"
    rf"ονομάζομαι|मेरा\s+नाम|اسمي|שמי|קוראים\s+לי)\s*:?\s+[\"'`*_]*{NAME}",
    re.I,
)
# Behind these stands somebody, if it is capitalised or a name that is known.
ADDRESSED = re.compile(
    rf"{START}(?:ask|tell|asked|told|thanks|thank(?:\s+you)?|thx|thnx|tysm|ty|thanx|hey|hi|hello|hiya|heya|yo|oi|"
    rf"sup|sorry|ok|okay|dear|bye|cya|gn|gm|good\s+(?:morning|night|evening)|morning|welcome(?:\s+back)?|"
    rf"congrats|congratulations|"
    rf"grats|gg|cc|love\s+(?:you|u|ya)|miss\s+(?:you|u)|happy\s+(?:birthday|bday|b-day|anniversary)|hbd|rip|"
    rf"poor|cheers|regards|best|sincerely|yours|xoxo|love|signed|ping|dm|pm|message|msg|"
    rf"text|call|phone|met|meet|meeting|saw|seen|kicked|banned|muted|invited|invite|dating|married|marry|blame|"
    rf"hug|kiss|visit|visiting|join|joined|beat|carried|paid|pay|owe|remind|wake|help|helped|know|knows|"
    rf"this\s+is|here\s+is|it's|its|i'm|i\s+am|im|iam|lieber|liebe|hallo|hola|danke(?:\s+dir)?|gracias|merci|"
    rf"grazie|obrigad[oa]|oi|olá|ola|salut|bonjour|bonsoir|coucou|ciao|buongiorno|servus|moin|"
    rf"tack|hej|hei|takk|tak|kiitos|moi|cześć|czesc|dzięki|ahoj|díky|merhaba|selam|teşekkürler|sağol|bedankt|"
    rf"dank\s+je|hoi|szia|köszi|mersi|salutare|halo|terima\s+kasih|makasih|querid[oa]|cher|chère|"
    rf"car[oa]|kochana?|drog[ai]|soy|sono|je\s+suis|ich\s+bin|eu\s+sou\s+[oa]|jestem|jag\s+är|jeg\s+er|"
    rf"ik\s+ben|ben|frag|frage?\s+mal|sag|pregúntale\s+a|dile\s+a|demande\s+à|dis\s+à|chiedi\s+a|"
    rf"pergunta\s+(?:a|pro|pra)|"
    rf"saludos\s+a|feliz\s+cumple(?:años)?|alles\s+gute|joyeux\s+anniversaire|zapytaj|привет|спасибо|"
    rf"здравствуй(?:те)?|дорог(?:ой|ая)|пока|спроси(?:те)?(?:\s+у)?|скажи(?:те)?|это|я|с\s+дн[её]м\s+рождения|"
    rf"привіт|дякую|добрый\s+день|hugs\s+from|kisses\s+from|greetings\s+from|do\s+you\s+know|anyone\s+know|"
    rf"kennst\s+du|kennt\s+ihr|conoces\s+a|tu\s+connais|znasz|imo|klingeln?\s+bei|wohnt\s+bei|c/o|attn\.?|"
    rf"z\.\s?hd\.|chez|sent\s+by|written\s+by|made\s+by|posted\s+by|love\s+from|letter\s+from|message\s+from)"
    rf"[,:!]?\s+[\"'`*_]*{NAME}",
    re.I,
)
# Titles and kin: what follows is a name if it is capitalised.
TITLED = re.compile(
    rf"{START}(?:(?:mr|mrs|ms|miss|mx|dr|prof|professor|sir|madam|mister|doctor|officer|coach|sgt|capt|rev|"
    rf"herr|frau|fräulein|hr|fr|señora?|señorita|sra?|srta|dona?|doña|monsieur|madame|mademoiselle|mme|mlle|"
    rf"signora?|signorina|sig|sig\.ra|senhora?|dott|pan|pani|panem|meneer|mevrouw|dhr|mevr|herra|rouva|bay|"
    rf"bayan|kyrie|г-н|г-жа|господин|госпожа|uncle|aunt|auntie|aunty|grandma|grandpa|cousin|brother|bro|"
    rf"sister|sis|mother|father|son|daughter|wife|husband|gf|girlfriend|bf|boyfriend|fianc[ée]e?|boss|roommate|"
    rf"flatmate|neighbou?r|teacher|classmate|colleague|coworker|co-worker|friend|bestie|mate|buddy|nephew|"
    rf"niece|ex|therapist|landlord|manager|bruder|schwester|freund(?:in)?|mutter|vater|sohn|tochter|tante|"
    rf"onkel|mann|chef(?:in)?|kollege|kollegin|hermano|hermana|amig[oa]|novi[oa]|ti[oa]|prim[oa]|hij[oa]|"
    rf"fr[èe]re|s[oœ]ur|ami|amie|copain|copine|tante|oncle|fratello|sorella|amico|amica|zi[oa]|irmã|irmão|"
    rf"namorad[oa]|mãe|брат|сестра|друг|подруга|мама|дядя|тётя|жена|муж)\.?\s+)+[\"'`*_|(]*{NAME}",
    re.I,
)  # fmt: skip
# What only people do.
ACTS = (
    r"said|told|asked|texted|thinks|wants|joined|quit|invited|forgot|lives|loves|hates|laughed|replied|knows|"
    r"came|went|left|won|lost|fell|"
    r"made|took|found|broke|ran|drew|posted|pulled|carried|streamed|missed|keeps|kept|started|wanted|needs|hit|"
    r"stole|ghosted|cooked|drove|rage ?quit|is typing|is hosting|is streaming|is late|is afk|is asleep|is driving|"
    r"is coming|is here|is gone|isn't|hasn't|doesn't|didn't|won't|can't|"
    r"died|gave|bought|ate|moved|works|plays|likes|paid|called|got|beat|sent|wrote|says|just|has|had"
)
NAMED_SPEAKER = re.compile(
    rf"{START}(?P<name>[^\W\d_]{{1,30}}(?:['-][^\W\d_]{{1,30}}){{0,3}}(?:\s[^\W\d_]{{1,30}})?)\s+(?:said|says|"
    rf"told\s+(?:me|us|him|her|them|you)|texted|invited|replied|messaged|dm'?d|sagte|meinte|dijo|a\s+dit|"
    rf"ha\s+detto|disse|сказала?|говорит|"
    rf"написала?|спросила?|делает|играет|стримит|опоздала?|купила?|сделала?|хочет|забыла?|приехала?|пришла?|"
    rf"уш[её]л|ушла|звонила?|думает|dedi|powiedziała?|"
    rf"messaged me|is typing|is hosting|is streaming|is driving|is asleep|rage ?quit|got banned|left\s+the|"
    rf"joined\s+the|carried\s+(?:us|me)|drew\s+(?:this|that|me)|"
    rf"ghosted|forgot\s+(?:his|her|to|the)|broke\s+(?:his|her|up)|lives\s+in|works\s+(?:at|for|in)|was\s+born|"
    rf"hat\s+gesagt|kommt\s+(?:heute|später|nicht|morgen)|m'a\s+dit|me\s+dijo|mi\s+ha\s+detto|disse\s+que|säger|sier|"
    rf"siger|zei|powiedział)(?![^\W_])"
)
VOCATIVE = re.compile(
    r"(?:^|[\n.!?][ ]?)(?P<name>[^\W\d_]{2,30})(?:,\s+(?:stop|please|pls|plz|come|wake|hurry|shut|listen|look|u|"
    r"you|ur|"
    r"can|could|why|when|where|did|get|send|join|answer)|\s+(?:can|could|would|will|did|do|are|r|have|"
    r"were)\s+(?:you|u|ya)|"
    r"\s+(?:pls|plz|please)\s+\w+|\s+stop\s+\w+ing|\s+u\s+(?:there|up|ok|coming|on))(?![^\W_])"
)
OWNS = re.compile(
    rf"{START}(?P<name>[^\W\d_]{{2,}})'?s\s+(?:mom|mum|dad|mother|father|brother|sister|parents|birthday|bday|"
    rf"phone|house|place|wife|husband|gf|bf|girlfriend|boyfriend|kid|kids|cat|dog|room|email|number|address|"
    rf"account|voice|mic|turn|stream|desk|wedding|party|funeral|boss|car|idea|fault|plan|laptop|pc|name|job|"
    rf"team|server|roommate|friend|friends|family)\b"
)
ASKED = re.compile(
    rf"{START}(?:did|does|do|can|could|has|have|is|was|will|should|where'?s|when's|"
    rf"who's)\s+(?P<name>[^\W\d_]+(?:\s[^\W\d_]+)?)\s+"
    r"(?:join|come|coming|send|sent|get|leave|leaving|say|tell|told|call|text|quit|win|lose|die|eat|sleep|know|"
    r"like|reply|replied|answer|finish|bring|play|playing|ask|want|need|online|here|awake|asleep|home|ok|okay|"
    r"alright|mad|sick)(?![^\W_])",
    re.I,
)
RELATED = re.compile(
    rf"{START}(?P<name>[^\W\d_]{{2,30}}(?:\s[^\W\d_]{{2,30}})?)\s+(?:is|was)\s+(?:my|his|her|our|their)\s+"
    r"(?:\w+\s)?(?:(?:room|flat|class|team)mate|friend|bestie|bro|brother|sis|sister|cousin|boss|teacher|"
    r"gf|bf|wife|husband|"
    r"mom|mum|dad|uncle|aunt|girlfriend|boyfriend|son|daughter|neighbou?r|colleague|landlord|ex)(?![^\W_])"
)
# What bears a person's name and is none.
THINGS = re.compile(
    r"(?<![^\W_])(?:Taco Bell|Burger King|Wendy'?s|Ben (?:&|and) Jerry'?s|Domino'?s|Papa John'?s|McDonald'?s|"
    r"Denny'?s|Arby'?s|Jimmy John'?s|Trader Joe'?s|Carl'?s Jr|Harley[- ]Davidson|Tommy Hilfiger|Calvin Klein|"
    r"Ralph Lauren|Louis Vuitton|"
    r"Dr\.? Pepper|Captain (?:America|Morgan)|Johnnie Walker|Aunt Jemima|Ronald McDonald|Betty Crocker|Levi'?s|"
    r"Applebee'?s|Reese's|Macy's|Lowe's|Kellogg's|"
    r"Chuck E\.? Cheese|Lee Sin|Miss Fortune|Tom Clancy'?s?|Sid Meier'?s|Assassin'?s Creed|Luigi'?s|"
    r"Princess Peach|Donkey Kong|Duke Nukem|Sherlock Holmes|Jon Snow|Darth Vader|Luke Skywalker|Stranger Things|"
    r"Victoria'?s Secret|Virgin Mary|Jolly Roger|John Wick|Forrest Gump|Billie Jean|Rick ?roll\w*|Jane Doe|John Doe|"
    r"Big Ben|Uncle Sam|Uncle Ben'?s|Hello Kitty|Dear Diary|Super Mario|Jack Daniel'?s|"
    r"John Deere|Bloody Mary|"
    r"Peter Pan|Robin Hood|Harry Potter|Santa Claus|Mona Lisa|Tony Hawk|James Bond|Indiana Jones|Lara Croft|"
    r"Mary Jane|"
    r"Max Payne|Saint \w+|St\.? (?:Patrick|Valentine|Petersburg|Louis|Paul|John)|Mario Kart|Luigi's Mansion|"
    r"Ben 10|Tom and Jerry|Rick and Morty|Phineas and Ferb|Romeo and Juliet|Alice in Wonderland|"
    r"Murphy's law|Moore's law|"
    r"Adam and Eve|Spider-Man|Doctor Who|Leeroy Jenkins)(?![^\W_])",
    re.I,
)
HERE = re.compile(
    r"(?:^|[\n.!>][ ]?)(?P<name>[^\W\d_]{2,30})\s{1,3}(?:here|speaking|reporting)(?=[ ]?[,.!:;)]|[ ]?$|\s+from)",
    re.I,
)
AGED = re.compile(
    rf"{START}(?:i'?m|i\s+am|ich\s+bin|soy|je\s+suis|sono|"
    rf"jestem)\s+(?P<name>[^\W\d_]+(?:\s[^\W\d_]+)?)\s*,\s*(?:\d\d|from|aus|de|da|z|tengo|and\s+i)(?![^\W_])",
    re.I,
)
SIGNED = re.compile(
    rf"(?:regards|sincerely|cheers|love|best|yours|thanks|greetings|grüße|gruß|saludos|cordialement|xoxo|lg|"
    rf"mfg),?[ ]?\n{{1,3}}[ ]?[-–—]?[ ]?{NAME}|(?:^|\n)[ ]?[-–—~][ ]?(?P<dash>[A-ZÀ-Þ][^\W\d_]{{1,30}})[ ]?$",
    re.I,
)

STOP = words(
    """a about absolutely actually after again all almost already also always am amazing an and angry any anybody
    anyone anything anyway are around as at away awesome awful babe baby back bad be because been before best better
    big bit boss both boy boys bro bros brother but by bye can cant chat chef cool cold come coming confused crazy
    cute dad damn daddy dead dear decent did different do doctor does doing don done dont down drunk dude dudes
    early either else england english even ever every everybody everyone everything everywhere excited exactly
    excellent family far fam fast feeling few final fine finally first folks for forever free french friend friends
    from fun funny gamer gamers gang german germany getting girl girls give glad go god going gone gonna good google
    got gotta grandma grandpa great guess guild guys had half happy hard has have having he hell hello help her here
    hey hi high him himself his home honestly hot how however human hungry i if ill im in indeed insane inside
    instead into irish is isnt it italian its itself jk just kid kidding kids kind king know ladies lads last late
    later legend leaving less let lets like literally little live living lol long look lord lot lots loud love low
    luck lucky mad madam made make man many mate mates may maybe me mean men mine mister mod mods mom moment monday
    more morning most mother much mum my myself name near neither never new next nice night no nobody none nope
    normal not nothing now nowhere of off ok okay old on once one only or other our out outside over own papa part
    people perfect please pls polish poor français française italienne anglais anglaise espagnol espagnole allemand
    allemande belge suisse canadien canadienne deutsch deutsche österreicher schweizer español española mexicano
    mexicana argentino argentina colombiano brasileira português portuguesa polka polak svenskare русская украинец
    pretty probably proud queen quick quiet quite ready real really right russian sad said same sarcasm saturday she
    sick sir sis sister sleepy slow smart so some somebody someone something sometimes soon sorry spanish stop
    strange stuck stupid sunday super sure swedish talking team thanks that thats the their them then there these
    they thing things this those though thursday till tired to today together tomorrow tonight too totally trash
    true trying tuesday turkish two u ugly under unless until up ur us user usually very wait wake was watching we
    wednesday week weird well wont were what whatever when where which while who whoever whole whom whose why will
    wild wish with within without wonder wonderful wont wow wrong ya yeah year yes yesterday yet you young your
    yours yourself yourselves everyone's british american canadian australian indian chinese japanese korean mexican
    brazilian dutch danish norwegian finnish greek european asian african christian muslim jewish catholic batman
    superman spiderman sparta groot legend siri alexa cortana chatgpt gpt claude discord steam twitch youtube
    twitter reddit google microsoft apple amazon facebook meta instagram netflix spotify nintendo sony xbox
    playstation windows linux mac android python java rust javascript minecraft fortnite valorant roblox obama trump
    biden santa jesus god satan christ pepper robot beast bean freeze potato bot bots admin admins staff support
    server channel dev devs world internet everypony sweetheart honey darling love babes captain chief master sensei
    senpai january february march april may june july august september october november december mon tue wed thu fri
    sat sun christmas easter halloween xmas year years eve day days gm gn team squad clan guild server discord
    chatters peeps y'all yall lmao omg wtf idk btw fr ngl tbh imo irl afk brb gg wp rn asap lfg nicht kein keine
    müde hier da so auch nur noch schon der die das ein eine mein dein sehr gut krank fertig zuhause jetzt wieder
    neu student studentin lehrer deutscher aus in mit dir euch alle allen leute zusammen nochmal schön froh no muy
    de un una el la los las mi tu su que estudiante feliz cansado cansada aquí nuevo nueva yo amigo amiga todos
    todas por mucho tal chicos gente para si pas un une le les fatigué fatiguée désolé désolée content contente ici
    très en à au dans malade prêt prête tout tous toi beaucoup je il elle mais le monde la du des et un uno stanco
    stanca qui molto di felice italiano italiana tutti tutto ragazzi mille a per che aqui muito cansado cansada
    brasileiro todos gente meu minha um uma o e é do da är inte trött här så och en ett bra glad hemma alla nu mig
    dig svensk не я это ты вы он она мы они тут здесь там дома устал устала готов рад рада все всем за что как так
    очень русский из и в на у с кто где когда почему хорошо спасибо привет нет да cała cały tu tutaj nie tak
    zmęczony gotowy polakiem studentem wszystkim wszystkich za to burada değil çok yok var bir ve bu şu o ben sen
    something everyone somebody anyone nobody anybody nothing everything none guys folks gamer legend queen king
    google alexa siri sparta war life love madness what happiness history mine theirs ours hers therapy bullshit
    shit fuck fucking hell crap trash garbage great fire lit sus based cringe goated important true false peak
    insane hilarious art fine error warning note edit update version test demo example list string int null none
    todo readme info debug line file code data app api url link page site web net email mail phone number address
    password user username street road house city town school class room game games raid dungeon boss level quest
    party stream video music song movie book show series season episode chapter round match rank ranked solo duo
    duos queue lobby map maps patch hotfix elden rocket baldur mario zelda pokemon sonic halo doom skyrim witcher
    dota league overwatch apex genshin new york london paris berlin tokyo rome madrid moscow texas florida
    california europe asia africa america uk usa us eu canada france spain italy japan china russia brazil india
    australia mexico mr mrs ms miss mx dr prof sir herr frau mme mlle st street doctor doom monday's friday friday's
    kratos bowser geralt pikachu link ganon yoshi peach sephiroth tifa cloud aloy kirby nvidia intel amd tesla openai
    anthropic valve ubisoft ea riot blizzard rockstar walmart costco ikea starbucks nike adidas disney hbo hulu uber
    lyft tinder ebay paypal visa arsenal liverpool barca juventus bayern vienna chicago boston seattle toronto sydney
    melbourne dublin lisbon athens cairo delhi mumbai beijing seoul osaka kyiv warsaw prague budapest stockholm oslo
    helsinki copenhagen amsterdam brussels zurich geneva barcelona munich hamburg frankfurt cologne lyon marseille
    naples venice istanbul ankara dubai lagos nairobi johannesburg miami houston denver detroit atlanta philly vegas
    singapore jakarta manila bangkok hanoi saigon goku vegeta naruto sasuke luffy zoro ichigo saitama deku gojo sukuna
    gandalf frodo aragorn legolas sauron voldemort dumbledore yoda vader spock teammate teammates
    mage paladin warlock healer tank rogue druid shaman priest monk knight barbarian bard ranger sorcerer wizard cleric
    fighter necromancer warrior assassin archer thief villager guard goblin dragon zombie dps jungler goalie
    aries taurus
    gemini cancer virgo libra scorpio sagittarius capricorn aquarius pisces boomer zoomer goodness heavens doktor
    wick teacher manager coach officer police president mayor judge nurse lawyer roommate wife husband girlfriend
    boyfriend parents parent chat management customer driver student students teachers irrelevant unknown hidden
    secret private taken classified confidential mum mommy mama granny sister uncle aunt cousin waiter cashier
    professor principal neighbor neighbour landlord players player hosts host streamer viewers moderator moderators
    owner owners which whats hows whos wheres whens"""
)
