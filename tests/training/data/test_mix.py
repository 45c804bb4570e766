"""Mixing by weight, holding out by group, and licences that must be accepted."""

from pathlib import Path

import pytest

from training import standin
from training.chat import ChatFormat
from training.data.blend import Part, blend
from training.data.holdout import hold_out
from training.data.licences import is_restricted, require_accepted
from training.data.mix import split
from training.data.schema import Source
from training.data.spill import Spill
from training.errors import EmptyDataset, LicenceNotAccepted
from training.lessons import Lessons, warnings
from training.models import catalog
from training.schema import Conversation, Message, TrainSpec
from training.warned import Warned


def rows(source: str, count: int, group_of: int = 0, words: int = 1) -> list[Conversation]:
    """`group_of` consecutive rows share a group."""
    made = []
    for number in range(count):
        said = (Message(role="user", content=f"{number}?"), Message(role="assistant", content="word " * words))
        meta = {"group": f"g{number // group_of}"} if group_of else {}
        made.append(Conversation(id=f"{source}-{number}", source=source, messages=said, meta=meta))
    return made


def words(row: Conversation) -> int:
    return len(row.messages[1].content.split())


def by_source(made: tuple[Conversation, ...]) -> dict[str, int]:
    return {name: sum(row.source == name for row in made) for name in {row.source for row in made}}


def test_a_group_stays_on_one_side() -> None:
    given = rows("tree", 60, group_of=4) + rows("single", 40)
    train, held_out = split(given, 20, 7)
    assert sorted(train + held_out, key=given.index) == given
    assert len(held_out) == 20
    groups = [{row.meta["group"] for row in side if row.meta} for side in (train, held_out)]
    assert groups[0]
    assert groups[1]
    assert not groups[0] & groups[1]


def test_groups_too_large_to_hold_out_are_told() -> None:
    assert hold_out(rows("tree", 60, group_of=10), "trees")[1]
    with pytest.raises(EmptyDataset, match="trees holds 1 usable"):
        hold_out(rows("tree", 60, group_of=60), "trees")


def test_parts_shrink_to_the_one_that_is_small_for_its_weight() -> None:
    made = blend([Part("own", 80, rows("own", 80)), Part("general", 20, rows("general", 500))])
    assert by_source(made.train) == {"own": 80, "general": 20}
    made = blend([Part("own", 80, rows("own", 800)), Part("general", 20, rows("general", 100))])
    assert by_source(made.train) == {"own": 400, "general": 100}
    assert len({row.id for row in made.train}) == 500
    assert made.notes[0] == "own makes up 80.0% of the examples, with 400 conversations; none is repeated."
    assert made.steps[0].removed == {"more than its weight": 400}


def test_a_mix_by_size_goes_by_size() -> None:
    parts = [Part("long", 50, rows("long", 100, words=10)), Part("short", 50, rows("short", 300, words=2))]
    made = blend(parts, size=words, unit="tokens")
    assert by_source(made.train) == {"long": 60, "short": 300}


def test_oversampling_repeats_up_to_its_factor_and_says_so() -> None:
    parts = [Part("own", 80, rows("own", 100)), Part("general", 20, rows("general", 100))]
    made = blend(parts, oversample=2.5)
    assert by_source(made.train) == {"own": 250, "general": 63}
    assert len({row.id for row in made.train}) == len(made.train)
    assert "2.50 times" in made.notes[0]
    assert "none is repeated" in made.notes[1]
    assert by_source(blend(parts, oversample=100).train) == {"own": 400, "general": 100}
    train, held_out = split(made.train, 40, 1)
    sides = [{row.meta.get("group", row.id) for row in side} for side in (train, held_out)]
    assert not sides[0] & sides[1]


def test_what_is_held_out_is_neither_learnt_nor_repeated() -> None:
    parts = [Part("own", 50, rows("own", 100, group_of=5)), Part("general", 50, rows("general", 400))]
    made = blend(parts, oversample=4, held_out=0.1)
    assert by_source(made.held_out) == {"own": 10, "general": 40}
    learnt = {row.meta.get("group", row.id) for row in made.train}
    assert not learnt & {row.meta.get("group", row.id) for row in made.held_out}
    assert made.notes[-1].startswith("50 conversations are held out")


def test_a_mix_is_fixed_by_its_seed() -> None:
    parts = [Part("own", 2, rows("own", 40)), Part("general", 1, rows("general", 90))]
    turned = [Part(part.name, part.weight, part.conversations[::-1]) for part in parts]
    assert blend(parts, seed=1) == blend(turned, seed=1)
    assert blend(parts, seed=1).train != blend(parts, seed=2).train


def test_a_mix_of_what_waits_on_disk_is_the_same(tmp_path: Path) -> None:
    given = {"own": rows("own", 40, group_of=4), "general": rows("general", 90)}
    with Spill(tmp_path / "spilled") as spill:
        parts = [Part(name, 1, [spill.add(row, 1) for row in some]) for name, some in given.items()]
        made = blend(parts, oversample=1.5, held_out=0.1)
        there = [list(spill.rows(side)) for side in (made.train, made.held_out)]
    whole = blend([Part(name, 1, some) for name, some in given.items()], oversample=1.5, held_out=0.1)
    assert there == [list(whole.train), list(whole.held_out)]
    assert any("~2" in row.id for row in there[0])


@pytest.mark.parametrize(
    ("oversample", "held_out", "weight"), [(0.5, 0, 1), (1, 1, 1), (1, -0.1, 1), (1, 0, 0), (1, 0, -1)]
)
def test_impossible_mixes_are_refused(oversample: float, held_out: float, weight: float) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        blend([Part("own", weight, rows("own", 5))], oversample=oversample, held_out=held_out)
    with pytest.raises(EmptyDataset, match="nothing holds 0"):
        blend([Part("nothing", 1, [])])


@pytest.mark.parametrize(
    ("license", "restricted"),
    [
        ("CC BY-NC 4.0", True),
        ("cc-by-nc-sa-4.0", True),
        ("GPL-3.0, research only", True),
        ("Non-Commercial", True),
        ("none stated", True),
        ("MIT", False),
        ("Apache-2.0", False),
        ("ODC-By 1.0", False),
        ("CC0", False),
        ("", False),
    ],
)
def test_licences_that_restrict(license: str, restricted: bool) -> None:
    assert is_restricted(license) is restricted


def test_a_restricted_source_must_be_accepted() -> None:
    sources = [Source(name="alpaca", license="CC BY-NC 4.0", conversations=1), Source(name="own", conversations=1)]
    require_accepted(sources, accepted=True, how="")
    with pytest.raises(LicenceNotAccepted) as caught:
        require_accepted(sources, accepted=False, how="--accept-licence")
    assert str(caught.value).startswith("alpaca (CC BY-NC 4.0): licensed for research")
    assert "--accept-licence" in str(caught.value)


@pytest.mark.parametrize(("license", "warned"), [("CC BY-NC 4.0", True), ("MIT", False)])
def test_a_run_on_restricted_data_is_warned_of(license: str, warned: bool) -> None:
    learnt = tuple(row.model_copy(update={"license": license}) for row in rows("own", 50))
    spec = TrainSpec(job_name="a", guild_id="1", persona="glordon")
    found = warnings(spec, Lessons((), learnt, ()), catalog()[standin.ID], ChatFormat(standin.standin_tokenizer()))
    assert (Warned.RESTRICTED_LICENCE in found) is warned


def test_what_is_told_of_a_fact_is_learnt_while_other_rows_can_be_held_out() -> None:
    facts = [
        row.model_copy(update={"id": f"fact-{row.id}", "meta": row.meta | {"fact": row.meta["group"]}})
        for row in rows("own", 40, group_of=4)
    ]
    talk = rows("talk", 30)
    _, held_out = split([*facts, *talk], 20, 3)
    assert {row.source for row in held_out} == {"talk"}
    _, held_out = split([*facts, *talk], 34, 3)
    assert len([row for row in held_out if row.source == "own"]) == 4


def test_a_group_over_two_sources_stays_together() -> None:
    given = rows("by-hand", 40, group_of=2) + rows("composed", 40, group_of=2)
    _, held_out = split(given, 20, 5)
    sources = [{row.id.rpartition("-")[0] for row in held_out if row.meta["group"] == f"g{n}"} for n in range(20)]
    assert all(len(found) in (0, 2) for found in sources)
