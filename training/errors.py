"""Expected bad endings of the learning part; the docstring of each is the sentence that people read."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from training.schema import Alternative, Problem

MOST_SHOWN = 200
_OF_THE_DISK = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE}


class UnderstudyError(Exception):
    """Something went wrong that no one foresaw; the log has the details."""

    def __init__(self, **details: object) -> None:
        self.details = details
        super().__init__((self.__doc__ or "").split("\n\n")[0].replace("\n    ", " ").format(**details))

    @property
    def problem(self) -> Problem:
        """This error as it crosses Redis: the class name as code, its docstring, filled in, as sentence."""
        return Problem(code=type(self).__name__, sentence=str(self))


class UnknownPersona(UnderstudyError):
    """There is no persona called {name} here. Choose one of: {choices}."""


class UnreadableSheet(UnderstudyError):
    """The persona sheet {name} cannot be read: {reason}. Correct the sheet and try again."""


class UnknownDataset(UnderstudyError):
    """There is no dataset called {name} here. Choose one of: {choices}."""


class UnreadableData(UnderstudyError):
    """{name} could not be read: {reason}. Correct that, or choose other data."""


class EmptyDataset(UnderstudyError):
    """{name} holds {count} usable conversations, and {needed} is the least. Add some, or choose another dataset."""


class BaseModelNotAllowed(UnderstudyError):
    """The base model {name} is not allowed here. Choose one of: {choices},
    or ask the operator to add it to ALLOWED_BASE_MODELS."""


class BaseModelUnavailable(UnderstudyError):
    """The base model {name} could not be loaded: {reason}.
    Check its name, HF_TOKEN and the network, or give a local path."""


class PackageMissing(UnderstudyError):
    """The base model {name} needs a package that is not installed with the worker: {reason}.
    Install the gpu extra there, as README.md shows, or choose another base model."""


class NotAdaptable(UnderstudyError):
    """The base model {name} cannot be fine-tuned here: {reason}. Choose another base model."""


class NotInFourBits(UnderstudyError):
    """The base model {name} cannot be kept in 4 bits: layers of it read {widths} features, no multiple of {block}.
    Choose quantisation none, or another base model."""


class PathNotAllowed(UnderstudyError):
    """{path} is outside the folders this server may use. Put the file under ARTIFACT_ROOT or DATASET_WAREHOUSE."""


class DoesNotFit(UnderstudyError):
    """This job needs about {needed_gib:.1f} GiB, and {free_gib:.1f} GiB are free. {instead}"""

    def __init__(self, *, needed_gib: float, free_gib: float, alternatives: Sequence[Alternative] = ()) -> None:
        near = " or ".join(f"{other.change} {other.value} ({other.peak_gib:.1f} GiB)" for other in alternatives)
        instead = f"Choose {near or 'a smaller base model, or a shorter max_length'}."
        super().__init__(needed_gib=needed_gib, free_gib=free_gib, instead=instead)


class MemoryRanOut(UnderstudyError):
    """Memory ran out, though {needed_gib:.1f} GiB should do and {free_gib:.1f} GiB are free again: something else took
    it meanwhile. End that and try again, or choose a smaller base model."""


class Diverged(UnderstudyError):
    """The loss became infinite at step {step}: the updates were too large to learn from.
    Choose a smaller learning_rate."""


class AdapterUnreadable(UnderstudyError):
    """The adapter of run {path} cannot be read. Train it again."""


class AdapterMissing(UnderstudyError):
    """The adapter of run {run} cannot be learnt on: {reason}. Name another run with start_from, or leave it out."""


class AdapterDiffers(UnderstudyError):
    """The adapter of run {run} was made with {made}, which stays so for all who learn on it.
    Ask for that or leave it out, or leave out start_from to begin with a fresh adapter."""


class TooFewCards(UnderstudyError):
    """TRAIN_PROCESSES asks for {processes} processes with a card each, and this machine has {cards}.
    Set it to {cards} or less."""


class ProcessesFailed(UnderstudyError):
    """One of the {count} processes of this run ended with code {code}; the log has the reason.
    Set TRAIN_PROCESSES to 1 to train on one card."""


class RunStopped(UnderstudyError):
    """It was stopped at step {step}. What was kept by then stays."""


class UnknownFormat(UnderstudyError):
    """{name} is in no format that is known here. Its first row is {first_row}. Expected was one of: {expected}."""


class UnknownUpload(UnderstudyError):
    """{name} is in no format that is known here. Ask /dataset validate about it, which tells you alone what it found
    and what it expected."""


class DatasetUnavailable(UnderstudyError):
    """The dataset {name} is not on this machine: {reason}.
    Put it into DATASET_WAREHOUSE, or give the path of a file."""


class LicenceNotAccepted(UnderstudyError):
    """{sources}: licensed for research or non-commercial use only, or without a stated licence.
    Say that you accept that ({how}), or leave it out."""


class NothingLeft(UnderstudyError):
    """Nothing of {name} is left after {step}: {dropped}. Loosen that step, or choose other data."""


class UploadRefused(UnderstudyError):
    """{name} was not taken: {reason}. Choose another file, or upload it in another way."""


class PermissionMissing(UnderstudyError):
    """{name} holds messages from Discord, which may not be trained on without Discord's express permission.
    Record that permission first: {how}."""


class LanguageModelMissing(UnderstudyError):
    """No language model is set up to write dialogues. Set LLM_BASE_URL to an OpenAI-compatible server."""


class LanguageModelFailed(UnderstudyError):
    """The language model at {base_url} does not answer as it should: {reason}. What was written so far is kept;
    the same command goes on from there."""


class UnreadableCard(UnderstudyError):
    """The character card {name} cannot be read: {reason}. Export it again as Character Card V2 or V3."""


class FolderTaken(UnderstudyError):
    """The folder {folder} holds something else already. Choose another name, or remove it first."""


class RunUnreadable(UnderstudyError):
    """{name} of this run is damaged. Put that file back, or make the run anew in another folder."""


class DatasetTaken(UnderstudyError):
    """There is a dataset called {name} here already. Choose another name."""


class DatasetNotYours(UnderstudyError):
    """The dataset {name} was not made here, so it cannot be deleted. Choose one of: {choices}."""


class TooManyDatasets(UnderstudyError):
    """{count} datasets were made here, and that is the most. Delete one with /dataset delete first."""


class PersonaUploaded(UnderstudyError):
    """{name} is a character card, which makes a persona and not a dataset.
    Ask the operator to read it in with `understudy persona build`."""


class UnknownFact(UnderstudyError):
    """{persona} has no fact called {name}. Choose one of: {choices}."""


class FactRefused(UnderstudyError):
    """The fact {name} of {persona} was left as it is: {reason}. Correct that and try again."""


class VotesUndecided(UnderstudyError):
    """Nobody called an answer to these {count} questions the better one, or bad, so there is nothing to learn from.
    Gather votes first."""


class UnusablePermission(UnderstudyError):
    """Discord's recorded permission does not serve here: {reason}. Correct it with `understudy data permission record`,
    or leave those messages out."""


class UnusableLedger(UnderstudyError):
    """{name} cannot be used to tell whose messages may be used: {reason}. Correct that file, or give another one."""


class NotThatPersonas(UnderstudyError):
    """{name} is no dataset of {persona}'s own dialogues. Choose one of: {choices};
    or leave the dataset out, to learn from what was written."""


class BadCatalog(UnderstudyError):
    """The list of datasets {name} cannot be used: {reason}. Correct that row and try again."""


class ExportNotForgotten(UnderstudyError):
    """{folder} was exported for another trainer, and nothing can be taken out of it.
    Forget without it first; then make it anew with `understudy data export`, or delete it."""


class ServerUnknown(UnderstudyError):
    """No server is known here, so nobody can be kept out of what is made later. Name the server with --guild."""


class DiskRefused(UnderstudyError):
    """{what} could not be read or written: {reason}. Make room or correct the path, then try again."""


class NoFinishedRun(UnderstudyError):
    """There is no finished run {run} here to export. Name one by its id, as `understudy train` printed it, or by its
    folder."""


class RunToRetrain(UnderstudyError):
    """Run {run} learnt from messages of somebody who has asked to be forgotten, so it is not given away.
    Train it again first."""


class NotMergeable(UnderstudyError):
    """Nothing can be merged into the base model {name}: its files hold quantised weights.
    Export the adapter without --merge."""


class MergeDiffers(UnderstudyError):
    """The merged model does not answer as the adapter does: its logits are off by {difference:.2%} of their spread,
    and {limit:.2%} is the most. Nothing was kept of it; export the adapter without --merge."""


class ConverterMissing(UnderstudyError):
    """llama.cpp's convert_hf_to_gguf.py is not {where}. Name llama.cpp's folder with --llama-cpp,
    or leave --gguf out."""


class ConverterFailed(UnderstudyError):
    """llama.cpp's converter made no GGUF file: {reason}. Nothing was exported; try without --gguf."""


class NotPublishable(UnderstudyError):
    """Run {run} is not published: {reason}. Export it without --publish."""


class HubRefused(UnderstudyError):
    """{name} could not be pushed to the hub: {reason}. Check the name, HF_TOKEN and the network. The export in {folder}
    is whole; `hf upload {name} {folder}` tries again."""


class HubNameUnusable(UnderstudyError):
    """{name} cannot be published to: {reason}."""


class TrackerMissing(UnderstudyError):
    """The run is to be followed on Weights & Biases, and the package wandb is not installed with the worker.
    Install the wandb extra there, or leave WANDB_PROJECT unset."""


class NotComparable(UnderstudyError):
    """These two checks cannot be compared: {reason}. Check both versions of one persona with the same settings."""


class UncheckableRun(UnderstudyError):
    """Run {run} cannot be checked: {reason}. Name another finished run, or none to check the base model alone."""


class CheckDoesNotFit(UnderstudyError):
    """This check ran out of memory on {device}. End what else uses that memory, or check a version of a smaller
    base model."""


class GeneralAlone(UnderstudyError):
    """General questions go without drift, judge and against. Leave those out, or ask the persona's own questions."""


class JudgeMissing(UnderstudyError):
    """No language model is set up to judge. Set LLM_BASE_URL to an OpenAI-compatible server, or leave the judge out."""


class JudgeIsBase(UnderstudyError):
    """The judge {model} is the base model of what it would judge, and no one judges themselves fairly.
    Name another one with LLM_MODEL, or leave the judge out."""


def disk_refused(error: OSError, what: str = "") -> DiskRefused | None:
    """What the file system refused, as an error for people; None if that came from elsewhere, such as a connection.

    what: what to call the file, where its path is nobody's business.
    """
    if error.filename is None and error.errno not in _OF_THE_DISK:
        return None
    named = what or str(error.filename or "A file")
    shown = named if len(named) <= MOST_SHOWN else named[: MOST_SHOWN - 1] + "…"
    return DiskRefused(what=shown, reason=error.strerror or "the file system refused")
