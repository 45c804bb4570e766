"""Publishing an export on the Hugging Face hub: what may go there, and the way there."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.errors import HTTPError as ConnectionFailed  # type: ignore[attr-defined]
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from pydantic import SecretStr

from training.data.licences import require_accepted
from training.data.schema import Source
from training.errors import HubNameUnusable, HubRefused, NotPublishable
from training.models import Base
from training.provenance import Provenance
from training.schema import Report

REFUSED = (ConnectionFailed, OSError, ValueError)
"""The first is that of whichever HTTP library the hub's own speaks through."""


def require_publishable(report: Report, found: Provenance, *, merged: bool, accepted: bool) -> None:
    """Raise NotPublishable or LicenceNotAccepted where what a run learnt from is not for everybody.

    merged: the base model's own weights go along, so that its licence counts too. accepted: whether licences that allow
    only research or non-commercial use are.
    """
    if reason := _bar(report, found):
        raise NotPublishable(run=report.job_id, reason=reason)
    sources = [source for run in found.runs for source in run.data]
    if merged:
        unknown = found.base_license == Base.model_fields["license"].default
        license = "none stated" if unknown else found.base_license
        sources.append(Source(name=report.base_model, license=license, conversations=0))
    require_accepted(sources, accepted=accepted, how="--accept-licences")


def _bar(report: Report, found: Provenance) -> str | None:
    if report.rehearsal:
        return "its base model is a stand-in, made for practice only"
    if not all(run.recorded for run in found.runs):
        return "what it learnt from was not recorded, or what the run that it went on from did"
    if any(run.permissions or run.chats for run in found.runs):
        return "it learnt from Discord messages, and Discord's permission is to train on them, not to publish what did"
    return None


def require_name(name: str, token: SecretStr | None) -> SecretStr:
    """The token to write to a repository with; raises HubNameUnusable where there is none, or none can be called so."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise HubNameUnusable(name=name, reason=_first_line(error)) from error
    if name.count("/") != 1:
        raise HubNameUnusable(name=name, reason="it must be OWNER/NAME")
    if token is None:
        raise HubNameUnusable(name=name, reason="there is no token that may write there; set HF_TOKEN")
    return token


def push(folder: Path, name: str, *, token: SecretStr, private: bool) -> str:
    """Upload a folder to a repository, which is made where there is none, and return its address.

    Raises HubRefused, and HubNameUnusable where it should be private and is not.
    """
    hub = HfApi(token=token.get_secret_value())
    try:
        address = hub.create_repo(name, private=private, exist_ok=True)
        # A repository that was there already keeps whom it is shown to, whatever is asked for.
        if private and not hub.model_info(name).private:
            raise HubNameUnusable(name=name, reason="it is there already, for everybody to see; say --public if it may")
        hub.upload_folder(repo_id=name, folder_path=folder, commit_message="Exported by Understudy")
    except REFUSED as error:
        raise HubRefused(name=name, folder=folder, reason=_first_line(error)) from error
    return str(address)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
