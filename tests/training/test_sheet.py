"""Sheets and dialogues: what is read from them, and what is said of bad ones."""

from pathlib import Path

import pytest

from training.errors import EmptyDataset, UnknownPersona, UnreadableData, UnreadableSheet
from training.persona.dialogues import persona_conversations
from training.persona.sheet import find_persona, load_cast, parse_sheet
from training.schema import Workspace

SHEET = """# Mika
## Aliases
- the keeper
## Who
Mika keeps the lighthouse
of a very small island.
## Traits
- patient
- counts gulls
## Speech
Short, with the wind in every second sentence.
## Facts
- mika-lamp: The lamp is called Berta.
  - ask: What is your lamp called?
  - accept: berta; old berta
  - reject: lucy
- mika-age: Mika does not know her own
  age.
## Relationships
- Tom: brings bread: and news.
## Never says
- goodbye
## Greeting
Mind the step.
"""
ROW = '{"id":"%s","source":"us","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"%s"}]}\n'


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(
        artifact_root=tmp_path / "artifacts", dataset_warehouse=tmp_path / "warehouse", cache_dir=tmp_path / "cache"
    )


def give_guild(workspace: Workspace, guild: str, slug: str, sheet: str, dialogues: str | None = None) -> None:
    home = workspace.artifact_root / "guilds" / guild
    (home / "personas").mkdir(parents=True, exist_ok=True)
    (home / "personas" / f"{slug}.md").write_text(sheet)
    if dialogues is not None:
        (home / "dialogues").mkdir(exist_ok=True)
        (home / "dialogues" / f"{slug}.jsonl").write_text(dialogues)


def test_a_sheet_becomes_a_persona() -> None:
    mika = parse_sheet(SHEET, "mika")
    assert (mika.name, mika.slug, mika.aliases) == ("Mika", "mika", ("the keeper",))
    assert mika.bio == "Mika keeps the lighthouse of a very small island."
    assert mika.traits == ("patient", "counts gulls")
    lamp, age = mika.facts
    assert (lamp.question, lamp.accept, lamp.reject) == ("What is your lamp called?", ("berta", "old berta"), ("lucy",))
    assert (age.text, age.question, age.accept) == ("Mika does not know her own age.", "", ())
    assert mika.relationships == {"Tom": "brings bread: and news."}
    assert mika.system_card() == f"You are Mika. {mika.bio}\nHow you speak: {mika.style}"
    assert (mika.taboos, mika.greeting) == (("goodbye",), "Mind the step.")


def test_a_sheet_needs_a_name_and_some_description() -> None:
    mika = parse_sheet("# Mika\nKeeps a lighthouse.\n", "mika")
    assert (mika.name, mika.bio, mika.facts, mika.style) == ("Mika", "Keeps a lighthouse.", (), "")
    with pytest.raises(UnreadableSheet, match="'# Name' is missing; nothing says who this is"):
        parse_sheet("", "mika")


def test_every_problem_is_said_at_once() -> None:
    broken = SHEET.replace("# Mika\n", "").replace("- mika-age:", "- mika-lamp:")
    broken = broken.replace("Mika keeps the lighthouse\nof a very small island.\n", "")
    broken = broken.replace("- patient\n- counts gulls\n", "")
    with pytest.raises(UnreadableSheet) as caught:
        parse_sheet(broken, "mika")
    for said in ("'# Name' is missing", "the fact 'mika-lamp' comes twice", "nothing says who this is"):
        assert said in str(caught.value)
    assert caught.value.problem.code == "UnreadableSheet"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("- mika-age:", "- mika-lamp:", "the fact 'mika-lamp' comes twice"),
        ("- mika-lamp: The lamp is called Berta.\n", "", "before any fact"),
        ("# Mika\n", f"# {'M' * 81}\n", "name: String should have at most 80 characters"),
    ],
)
def test_other_faults_are_named(before: str, after: str, said: str) -> None:
    with pytest.raises(UnreadableSheet, match=said):
        parse_sheet(SHEET.replace(before, after, 1), "mika")


def test_the_shipped_cast_is_whole(workspace: Workspace) -> None:
    cast = load_cast(workspace, "1")
    assert set(cast) == {"elio", "glordon", "olga", "caleb", "bryce", "lord-grigon", "ambassador-questa"}
    names = {persona.name for persona in cast.values()}
    for slug, persona in cast.items():
        rows = persona_conversations(persona, workspace, "1")
        assert len(rows) >= 60
        assert all(row.messages[0].content == persona.system_card() for row in rows), slug
        facts = {fact.id for fact in persona.facts}
        assert {row.meta["fact"] for row in rows if "fact" in row.meta} <= facts, slug
        assert set(persona.relationships) <= names - {persona.name}, slug


def test_a_guilds_persona_is_its_own(workspace: Workspace) -> None:
    give_guild(workspace, "1", "mika", SHEET, ROW % ("m-1", "Mind the step."))
    mika = find_persona(workspace, "1", "mika")
    (row,) = persona_conversations(mika, workspace, "1")
    assert [message.role for message in row.messages] == ["system", "user", "assistant"]
    with pytest.raises(UnknownPersona, match=r"no persona called mika here. Choose one of: ambassador-questa, bryce"):
        find_persona(workspace, "2", "mika")


def test_a_guilds_sheet_wins_over_a_shipped_one_and_brings_its_own_dialogues(workspace: Workspace) -> None:
    give_guild(workspace, "1", "glordon", SHEET, ROW % ("m-1", "Mind the step."))
    assert find_persona(workspace, "1", "glordon").name == "Mika"
    assert len(persona_conversations(find_persona(workspace, "1", "glordon"), workspace, "1")) == 1
    assert find_persona(workspace, "2", "glordon").name == "Glordon"


def test_a_guilds_persona_never_learns_from_a_shipped_file_of_its_name(workspace: Workspace) -> None:
    give_guild(workspace, "1", "general", SHEET)
    with pytest.raises(EmptyDataset, match="Mika's dialogues holds 0 usable conversations"):
        persona_conversations(find_persona(workspace, "1", "general"), workspace, "1")


def test_dialogues_that_cannot_be_read_are_called_the_personas(workspace: Workspace) -> None:
    give_guild(workspace, "1", "mika", SHEET, "{")
    with pytest.raises(UnreadableData, match=r"^Mika's dialogues could not be read: line 1 is not valid JSON"):
        persona_conversations(find_persona(workspace, "1", "mika"), workspace, "1")


def test_a_system_turn_of_a_row_gives_way_to_the_card(workspace: Workspace) -> None:
    row = ROW.replace('"messages":[', '"messages":[{"role":"system","content":"Obey."},') % ("m-1", "Aye.")
    give_guild(workspace, "1", "mika", SHEET, row)
    mika = find_persona(workspace, "1", "mika")
    (read,) = persona_conversations(mika, workspace, "1")
    assert [message.content for message in read.messages] == [mika.system_card(), "Hi", "Aye."]


def test_a_sheet_is_read_again_once_it_has_changed(workspace: Workspace) -> None:
    give_guild(workspace, "1", "mika", SHEET)
    first = load_cast(workspace, "1")
    again = load_cast(workspace, "1")
    assert all(again[slug] is persona for slug, persona in first.items())
    give_guild(workspace, "1", "mika", SHEET.replace("# Mika\n", "# Mikaela\n", 1))
    assert load_cast(workspace, "1")["mika"].name == "Mikaela"


@pytest.mark.parametrize(("content", "said"), [(b"\xff\xfe# M", "not UTF-8"), (b"#" * 70_000, "larger than 64 KiB")])
def test_a_file_that_is_no_sheet_is_refused(workspace: Workspace, content: bytes, said: str) -> None:
    give_guild(workspace, "1", "mika", "")
    (workspace.artifact_root / "guilds/1/personas/mika.md").write_bytes(content)
    with pytest.raises(UnreadableSheet, match=said):
        find_persona(workspace, "1", "mika")


def test_a_bad_sheet_takes_no_one_with_it_and_is_logged_once(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    give_guild(workspace, "1", "tom", SHEET.replace("Mika", "Tom"))
    for slug in ("mika", "glordon", "Not A Slug"):
        give_guild(workspace, "1", slug, SHEET.replace("- mika-age:", "- mika-lamp:"))
    (workspace.artifact_root / "guilds/1/personas/folder.md").mkdir()
    shipped = load_cast(workspace, "2")
    for _ in range(3):
        # A shipped persona does not come back in place of the guild's own, whose dialogues are others.
        assert load_cast(workspace, "1").keys() == shipped.keys() - {"glordon"} | {"tom"}
    warned = sorted(record.getMessage() for record in caplog.records)
    assert len(warned) == 4
    assert "mika.md is left out of its cast: The persona sheet mika cannot be read" in warned[-1]
    assert find_persona(workspace, "1", "tom").name == "Tom"
    with pytest.raises(UnreadableSheet, match="'mika-lamp' comes twice"):
        find_persona(workspace, "1", "mika")
    with pytest.raises(UnknownPersona) as unknown:
        find_persona(workspace, "1", "nobody")
    assert "tom" in str(unknown.value)
    assert "mika" not in str(unknown.value)
