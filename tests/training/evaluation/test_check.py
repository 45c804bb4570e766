"""A check from its spec to its report: what is measured, what is asked, what it stands beside, and what is refused."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from tests.training.conftest import Finished
from tests.training.evaluation.checks_made import GLORDON, OLGA, House, house_at
from training.chat import ChatFormat
from training.errors import (
    AdapterUnreadable,
    BaseModelUnavailable,
    RunStopped,
    UncheckableRun,
    UnderstudyError,
    UnknownPersona,
)
from training.evaluation import general, shelved
from training.evaluation.schema import CheckReport, Gate
from training.evaluation.unseen import find_run, unseen
from training.persona.sheet import find_persona
from training.schema import Phase, Verdict

LINES = ["facts", "voice", "held_out_fit", "general", "breaks", "degeneracy", "copying", "people"]
TWICE = 2


@pytest.fixture(scope="module")
def house(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> House:
    return house_at(finished, tmp_path_factory.mktemp("checks"))


@pytest.fixture(scope="module")
def olga(house: House) -> CheckReport:
    return house.check(house.spec(OLGA, "olga"))


@pytest.fixture(scope="module")
def glordon(house: House, olga: CheckReport) -> CheckReport:
    """Checked after Olga was, with two replies to each question."""
    return house.check(house.spec(GLORDON, samples=TWICE, version=2), house.workspace.artifact_root / "checks" / "g")


# --- what is in a report -------------------------------------------------------------------------------------------


def test_every_question_reply_seed_and_score_is_in_the_report(house: House, glordon: CheckReport) -> None:
    assert [line.id for line in glordon.lines] == LINES
    kinds = [answer.kind for answer in glordon.answers if answer.sample == 0]
    assert (kinds.count("neutral"), kinds.count("boundary")) == (16, 8)
    assert len(glordon.answers) == TWICE * len(kinds)
    assert {(a.sample, a.seed) for a in glordon.answers} == {(0, 42), (1, 43)}
    replies = [[a.reply for a in glordon.answers if a.sample == sample] for sample in range(TWICE)]
    assert replies[0] != replies[1]
    for answer in glordon.answers:
        assert {"breaks", "degeneracy", "copying"} <= answer.scores.keys()
        assert ("facts" in answer.scores) == (answer.kind == "fact")
        assert ("voice" in answer.scores) == (answer.kind == "neutral")
        assert 0 <= answer.tokens <= glordon.max_new_tokens
    assert len(glordon.general_losses) == len(glordon.general_base_losses) == len(general.texts())
    assert glordon.system == find_persona(house.workspace, "1", "glordon").system_card()
    assert (glordon.name, glordon.adapter, glordon.rehearsal) == ("Glordon", "Glordon v2", True)
    assert glordon.seconds > 0


def test_samples_stand_side_by_side_the_most_telling_first(glordon: CheckReport) -> None:
    first = {answer.question: answer.reply for answer in glordon.answers if answer.sample == 0}
    assert {sample.question: sample.adapter for sample in glordon.samples} == first
    assert all(sample.base != sample.adapter for sample in glordon.samples[:3])
    assert all(sample.before is None for sample in glordon.samples)
    kinds = {answer.question: answer.kind for answer in glordon.answers}
    assert {kinds[sample.question] for sample in glordon.samples[:3]} == {"fact", "neutral", "boundary"}


def test_the_report_is_written_last_and_left_beside_the_adapter(house: House, glordon: CheckReport) -> None:
    folder = house.workspace.artifact_root / "checks" / "g"
    for path in (folder / "report.json", house.run(GLORDON) / "check.json"):
        assert CheckReport.model_validate_json(path.read_bytes()) == glordon
    assert [path.name for path in folder.iterdir()] == ["report.json"]


def test_a_finished_folder_tells_its_report_again(house: House, glordon: CheckReport) -> None:
    told = house.check(house.spec(GLORDON), house.workspace.artifact_root / "checks" / "g", should_stop=lambda: True)
    assert told == glordon
    assert not house.told


def test_the_same_check_finds_the_same_and_says_how_far_it_is(house: House, glordon: CheckReport) -> None:
    again = house.check(house.spec(GLORDON, samples=TWICE, version=2))
    assert again.model_copy(update={"seconds": glordon.seconds}) == glordon
    phases = [look.phase for look in house.told]
    assert list(dict.fromkeys(phases)) == [Phase.DATA, Phase.LOADING, Phase.EVALUATING]
    counted = [look.step for look in house.told if look.phase is Phase.EVALUATING]
    assert counted == sorted(counted)
    assert counted[-1] == house.told[-1].total_steps > 0


# --- what is measured ----------------------------------------------------------------------------------------------


def test_losses_are_those_that_transformers_and_peft_give(house: House, glordon: CheckReport) -> None:
    run = find_run(GLORDON, house.workspace, "1", {})
    persona = find_persona(house.workspace, "1", "glordon")
    rows = unseen(run, persona, "1", house.workspace, {}).measured()
    assert {slug: len(found) for slug, found in rows.items()} == {s: len(f) for s, f in glordon.losses.items()}
    source = json.loads((run.adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(source), run.adapter).eval()
    chat_format = ChatFormat(AutoTokenizer.from_pretrained(source))
    for place, row in enumerate(rows["olga"][:3]):
        window = chat_format.examples(row, 1024)[0]
        ids, mask = torch.tensor([window.ids]), torch.tensor(window.mask)
        with torch.no_grad():
            own = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
            with model.disable_adapter():
                base = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
        # The check computes in bf16 where the processor is fast at it.
        assert glordon.losses["olga"][place] == pytest.approx(float(own[mask[1:]].mean()), abs=0.05)
        assert glordon.base_losses["olga"][place] == pytest.approx(float(base[mask[1:]].mean()), abs=0.05)


def test_the_gain_is_that_over_the_base_on_lines_of_its_own(glordon: CheckReport) -> None:
    line = next(line for line in glordon.lines if line.id == "held_out_fit")
    gain = np.mean(glordon.base_losses["glordon"]) - np.mean(glordon.losses["glordon"])
    assert line.value == pytest.approx(float(gain))
    assert gain > 0
    assert glordon.figures["perplexity"] < glordon.figures["perplexity_base"]
    assert glordon.figures["perplexity"] == pytest.approx(float(np.exp(np.mean(glordon.losses["glordon"]))))


def test_both_matrices_hold_a_row_for_each_checked_persona(olga: CheckReport, glordon: CheckReport) -> None:
    assert olga.gains.rows == ("Olga (olga-test, bbbbbb)",)
    assert glordon.gains.rows == glordon.sounds_like.rows == ("Glordon v2", "Olga (olga-test, bbbbbb)")
    assert set(glordon.gains.columns) == set(glordon.losses)
    assert glordon.gains.values[1] == olga.gains.values[0]
    assert glordon.sounds_like.values[1] == olga.sounds_like.values[0]
    for shares in glordon.sounds_like.values:
        assert sum(share or 0 for share in shares) == pytest.approx(1)
    own = glordon.gains.values[0][glordon.gains.columns.index("glordon")]
    assert own == pytest.approx(np.mean(glordon.base_losses["glordon"]) - np.mean(glordon.losses["glordon"]))


def test_rivals_are_measured_on_the_very_same_lines(olga: CheckReport, glordon: CheckReport) -> None:
    assert shelved.rivals_of(glordon, [olga]) == {olga.adapter: olga.losses["glordon"]}
    assert np.mean(olga.losses["glordon"]) > np.mean(glordon.losses["glordon"])
    others = {"glordon": tuple(loss + 1 for loss in olga.base_losses["glordon"])}
    assert shelved.rivals_of(glordon, [olga.model_copy(update={"base_losses": others})]) == {}
    assert shelved.rivals_of(glordon, [olga.model_copy(update={"base_losses": {}})]) == {}


def test_only_checks_that_were_made_alike_count(house: House, olga: CheckReport, glordon: CheckReport) -> None:
    assert [one.persona for one in shelved.others_of(glordon, house.workspace)] == ["olga"]
    for change in ({"base_model": "another"}, {"temperature": 0.1}, {"max_new_tokens": 7}):
        assert not shelved.others_of(glordon.model_copy(update=change), house.workspace)
    elsewhere = glordon.model_copy(update={"spec": glordon.spec.model_copy(update={"guild_id": "2"})})
    assert not shelved.others_of(elsewhere, house.workspace)


# --- whose adapter it is -------------------------------------------------------------------------------------------


def test_a_swapped_adapter_is_seen_and_not_kept_as_the_persona(
    house: House, olga: CheckReport, glordon: CheckReport
) -> None:
    swapped = house.check(house.spec(OLGA))
    lines = {line.id: line for line in swapped.lines}
    right = {line.id: line for line in glordon.lines}
    assert (lines["held_out_fit"].value or 0) < (right["held_out_fit"].value or 0)
    assert lines["held_out_fit"].verdict is not Verdict.PASS
    run = find_run(OLGA, house.workspace, "1", {})
    assert shelved.last_of(run, "olga") == olga


def test_the_base_model_alone_can_be_checked(house: House, glordon: CheckReport) -> None:
    alone = house.check(house.spec(None))
    lines = {line.id: line for line in alone.lines}
    assert alone.adapter == "Glordon (base model)"
    assert alone.losses == alone.base_losses
    for name in ("held_out_fit", "general"):
        assert lines[name].verdict is Verdict.NOT_APPLICABLE
        assert "Without an adapter" in lines[name].explanation
    base = {sample.question: sample.base for sample in glordon.samples}
    assert {a.question: a.reply for a in alone.answers} == base == {s.question: s.adapter for s in alone.samples}


# --- against another -----------------------------------------------------------------------------------------------


def test_a_version_compared_with_is_checked_in_the_same_go_and_then_found_again(
    house: House, finished: Finished
) -> None:
    house.take(finished.folders["glordon"], "cccccccccccc")
    spec = house.spec(GLORDON, against="cccccccccccc", version=3, against_version=1, seed=7)
    first = house.check(spec)
    work = house.told[-1].total_steps
    kept = shelved.last_of(find_run("cccccccccccc", house.workspace, "1", {}), "glordon")
    assert kept is not None
    assert (kept.adapter, kept.spec.run_id) == ("Glordon v1", "cccccccccccc")
    # The same adapter draws the same replies, so nothing has changed.
    assert [a.reply for a in kept.answers] == [a.reply for a in first.answers]
    assert first.comparison is not None
    assert (first.comparison.of, first.comparison.against) == ("Glordon v3", "Glordon v1")
    assert first.comparison.gate is Gate.PASS
    assert {one.value for one in first.comparison.differences} == {0.0}
    assert [line.id for line in first.lines[-2:]] == ["version", "people"]
    assert all(sample.before == sample.adapter for sample in first.samples)

    again = house.check(spec)
    assert house.told[-1].total_steps < work
    assert again.comparison == first.comparison


def test_the_base_model_after_another_adapter_is_the_same_as_before(house: House, glordon: CheckReport) -> None:
    """The adapter of the first check is taken off without a trace before the second one is put on."""
    spec = house.spec(GLORDON, against=OLGA)
    found = house.check(spec)
    assert found.comparison is not None
    before = {sample.question: sample.before for sample in found.samples}
    swapped = house.check(house.spec(OLGA))
    assert before == {answer.question: answer.reply for answer in swapped.answers}


def test_of_two_base_models_only_one_is_in_memory_at_a_time(house: House, finished: Finished) -> None:
    """The version compared with was trained on another copy of the stand-in."""
    config = house.take(finished.folders["glordon"], "ffffffffffff") / "adapter" / "adapter_config.json"
    told = json.loads(config.read_text())
    copy = house.workspace.artifact_root / "another-base"
    shutil.copytree(told["base_model_name_or_path"], copy)
    config.write_text(json.dumps(told | {"base_model_name_or_path": str(copy)}))

    def models_held() -> int:
        return sum(type(thing) is LlamaForCausalLM for thing in gc.get_objects())

    gc.collect()
    before, most = models_held(), 0

    def look() -> bool:
        nonlocal most
        most = max(most, models_held() - before)
        return False

    found = house.check(house.spec(GLORDON, against="ffffffffffff"), should_stop=look)
    assert found.comparison is not None
    assert found.comparison.gate is Gate.PASS
    assert most == 1


# --- what is refused -----------------------------------------------------------------------------------------------


def broken_run(house: House, finished: Finished, run_id: str) -> Path:
    if house.run(run_id).exists():
        shutil.rmtree(house.run(run_id))
    return house.take(finished.folders["glordon"], run_id)


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"run_id": "eeeeeeeeeeee"}, UncheckableRun, "no such finished run"),
        ({"against": "eeeeeeeeeeee"}, UncheckableRun, "no such finished run"),
        ({"guild_id": "2"}, UncheckableRun, "no such finished run"),
        ({"persona": "nobody"}, UnknownPersona, "Choose one of"),
        ({"persona": "all"}, UnknownPersona, "Choose one of"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_loaded(
    house: House, asked: dict[str, str], error: type[UnderstudyError], said: str
) -> None:
    with pytest.raises(error, match=said):
        house.check(house.spec(GLORDON).model_copy(update=asked))
    assert [look.phase for look in house.told] == [Phase.DATA]


def test_an_adapter_that_is_gone_broken_or_another_models_is_one_sentence(house: House, finished: Finished) -> None:
    def refused(error: type[UnderstudyError], said: str) -> None:
        folder = house.folder()
        with pytest.raises(error, match=said):
            house.check(house.spec("dddddddddddd"), folder)
        assert not (folder / "report.json").exists()

    weights = broken_run(house, finished, "dddddddddddd") / "adapter" / "adapter_model.safetensors"
    whole = load_file(weights)
    save_file({name: tensor * float("nan") for name, tensor in whole.items()}, weights)
    refused(UncheckableRun, "its losses are no numbers")
    save_file({name: torch.zeros(3, 3) for name in whole}, weights)
    refused(AdapterUnreadable, "cannot be read")
    save_file({name: tensor for name, tensor in whole.items() if "layers.1." not in name}, weights)
    refused(UncheckableRun, "another base model")
    weights.write_bytes(weights.read_bytes()[:100])
    refused(AdapterUnreadable, "cannot be read")
    weights.unlink()
    refused(UncheckableRun, "its adapter is gone")


def test_a_base_model_that_is_gone_is_one_sentence(house: House, finished: Finished) -> None:
    config = broken_run(house, finished, "dddddddddddd") / "adapter" / "adapter_config.json"
    told = json.loads(config.read_text()) | {"base_model_name_or_path": "/nowhere/at/all"}
    config.write_text(json.dumps(told))
    with pytest.raises(BaseModelUnavailable, match="its folder is gone"):
        house.check(house.spec("dddddddddddd"))


def test_it_stops_between_batches_and_leaves_no_report(house: House) -> None:
    folder = house.folder()
    with pytest.raises(RunStopped):
        house.check(house.spec(GLORDON), folder, should_stop=lambda: any(look.step > 0 for look in house.told))
    assert house.told[-1].phase is Phase.EVALUATING
    assert not (folder / "report.json").exists()


def test_a_check_of_an_older_version_counts_as_none(house: House, olga: CheckReport, glordon: CheckReport) -> None:
    kept = house.run(OLGA) / "check.json"
    told = kept.read_bytes()
    try:
        kept.write_text(json.dumps({"persona": "olga", "unheard_of": 1}))
        assert shelved.last_of(find_run(OLGA, house.workspace, "1", {}), "olga") is None
        assert not shelved.others_of(glordon, house.workspace)
    finally:
        kept.write_bytes(told)
