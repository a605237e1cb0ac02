"""`push_to_hub` and `from_pretrained`: checkpoints and bundles on huggingface.co, or in a folder that others read."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from edgebehave import Predictor
from edgebehave_train.files import names_in, replaced_folder
from edgebehave_train.hub.card import CardText, card
from edgebehave_train.hub.contents import CARD, Contents, fetch, read_contents
from edgebehave_train.training.checkpoint import Checkpoint

_PART = r"[A-Za-z0-9][\w.-]{0,95}"
_REPO_ID = re.compile(rf"{_PART}(/{_PART})?")
DOWNLOADS = Path("~/.cache/edgebehave/hub")
"""Folder in which `from_pretrained` keeps its downloads."""


class Hub(Protocol):
    """A place for folders of files, by id."""

    def upload(self, repo_id: str, files: dict[str, Path | bytes], message: str, private: bool) -> str:
        """Add these files, or replace those of the same name; the address of the result."""

    def names(self, repo_id: str, revision: str | None) -> Sequence[str]:
        """Names of the files that are there. Raises ValueError if nothing is."""

    def copy(self, repo_id: str, revision: str | None, name: str, new: Path) -> None:
        """Bring one file into the folder `new`."""


class FolderHub:
    """A folder as a hub: `FOLDER/owner/name/` holds the files. It has no revisions and no private part."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def upload(self, repo_id: str, files: dict[str, Path | bytes], message: str, private: bool) -> str:
        place = self.folder / repo_id
        with replaced_folder(place, "a model of the hub", lambda path: names_in(path) - _known(path)) as new:
            for name, content in files.items():
                if isinstance(content, bytes):
                    (new / name).write_bytes(content)
                else:
                    shutil.copyfile(content, new / name)
        return str(place)

    def names(self, repo_id: str, revision: str | None) -> Sequence[str]:
        if revision is not None:
            raise ValueError(f"a folder has no revisions, got {revision!r}")
        place = self.folder / repo_id
        if not place.is_dir():
            raise ValueError(f"{self.folder} holds no {repo_id}; check the name, or push it there first")
        return sorted(names_in(place))

    def copy(self, repo_id: str, revision: str | None, name: str, new: Path) -> None:
        shutil.copyfile(self.folder / repo_id / name, new / name)


class HuggingFaceHub:
    """huggingface.co, by the package huggingface_hub, which also reads the token."""

    def __init__(self) -> None:
        import huggingface_hub.errors  # version 2 loads it only then

        self.library: Any = huggingface_hub
        self.api = huggingface_hub.HfApi(library_name="edgebehave")

    def upload(self, repo_id: str, files: dict[str, Path | bytes], message: str, private: bool) -> str:
        add = self.library.CommitOperationAdd
        operations = [add(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()]
        with _errors_in_one_line():
            self.api.create_repo(repo_id, private=private, exist_ok=True)
            return str(self.api.create_commit(repo_id, operations, commit_message=message).commit_url)

    def names(self, repo_id: str, revision: str | None) -> Sequence[str]:
        with _errors_in_one_line():
            try:
                return list(self.api.list_repo_files(repo_id, revision=revision))
            except self.library.errors.RepositoryNotFoundError:
                raise ValueError(
                    f"huggingface.co has no {repo_id} that this account may read; check the name, or log in "
                    "(hf auth login)"
                ) from None

    def copy(self, repo_id: str, revision: str | None, name: str, new: Path) -> None:
        # A link into the cache of the library: the runtime opens regular files alone.
        with _errors_in_one_line():
            downloaded = self.api.hf_hub_download(repo_id, name, revision=revision)
        shutil.copyfile(downloaded, new / name)


_LIBRARIES_OF_THE_HUB = ("huggingface_hub", "httpx", "httpx2", "requests")


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """Turns errors of huggingface.co, or of the way to it, into a ValueError of one line."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _LIBRARIES_OF_THE_HUB:
            raise
        says = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"huggingface.co: {says:.300}; check the network and `hf auth login`, or name a folder with --hub"
        ) from error


def push_to_hub(
    folder: Path | str,
    repo_id: str,
    *,
    hub: Path | str | None = None,
    private: bool = True,
    license: str = "other",
    log: str = "an event log",
    data: Sequence[str] = (),
) -> str:
    """Upload a checkpoint or a bundle with a card; the address of the result.

    Only the files of its format travel: no report, no event store, no half-done run. The vocabulary is one of them:
    everyone who may read the repository reads the names of the log.

    repo_id  "owner/name".
    hub      a folder in place of huggingface.co, which needs the extra `hub` and a token (`hf auth login`).
    private  of a new repository on huggingface.co.
    license  of the weights, as "apache-2.0".
    log      name of the training log, for the card.
    data     lines for the card about the log: where it comes from, its span, its license.
    Raises ValueError for damage, for an unfinished run, and for a wrong id.
    """
    contents = read_contents(Path(folder))
    text = CardText(title=check_repo_id(repo_id).rpartition("/")[2], license=license, log=log, data=data)
    written = card(contents, text).replace("REPO_ID", repo_id)
    files: dict[str, Path | bytes] = {name: contents.path / name for name in contents.files}
    message = f"A {contents.kind} of edgebehave, digest {contents.digest[:12]}"
    return _opened(hub).upload(repo_id, {**files, CARD: written.encode()}, message, private)


def pull(
    repo_id: str,
    out: Path | str,
    *,
    hub: Path | str | None = None,
    revision: str | None = None,
    digest: str | None = None,
    overwrite: bool = False,
) -> Contents:
    """Download a checkpoint or a bundle into a folder, verified.

    out        a folder that does not exist or is empty; with overwrite also an older download.
    hub        as in `push_to_hub`.
    revision   a branch, tag or commit; None: the latest.
    digest     the digest that it must have; None: any.
    Raises ValueError, and writes nothing, if it is damaged, incomplete, or not the one that was asked for.
    """
    source = _opened(hub)
    names = source.names(check_repo_id(repo_id), revision)
    instead = "" if overwrite else "use --overwrite"
    with replaced_folder(Path(out), "a download", lambda path: names_in(path) - _known(path), instead=instead) as new:
        contents = fetch(names, lambda name: source.copy(repo_id, revision, name, new), new)
        _check_digest(contents, repo_id, digest)
    return read_contents(Path(out))


def from_pretrained(
    repo_id: str | Path,
    *,
    hub: Path | str | None = None,
    revision: str | None = None,
    digest: str | None = None,
    out: Path | str | None = None,
) -> Checkpoint | Predictor:
    """A checkpoint, or the predictor of a bundle, from a hub or from a folder.

    repo_id  "owner/name", or a folder with a checkpoint or a bundle.
    out      where to keep the download; default: `~/.cache/edgebehave/hub`, replaced by each call.
    The other arguments and errors are as in `pull`.
    """
    if Path(repo_id).is_dir():
        contents = read_contents(Path(repo_id))
        _check_digest(contents, repo_id, digest)
    else:
        name = check_repo_id(str(repo_id))
        place = Path(out) if out is not None else DOWNLOADS.expanduser() / name.replace("/", "--")
        contents = pull(name, place, hub=hub, revision=revision, digest=digest, overwrite=True)
    if contents.kind == "checkpoint":
        return Checkpoint.open(contents.path)
    return Predictor.load(contents.path, digest=digest)


def check_repo_id(repo_id: str) -> str:
    """The id. Raises ValueError unless it is "name" or "owner/name"."""
    if not _REPO_ID.fullmatch(repo_id) or ".." in repo_id:
        raise ValueError(f"a repository is called owner/name, in letters, digits, - . and _, got {repo_id!r:.120}")
    return repo_id


def _opened(hub: Path | str | None) -> Hub:
    return HuggingFaceHub() if hub is None else FolderHub(Path(hub))


def _known(folder: Path) -> set[str]:
    """Names in a folder that an earlier push or pull wrote; none if it is neither a checkpoint nor a bundle."""
    with suppress(ValueError):
        return {*read_contents(folder).files, CARD}
    return set()


def _check_digest(contents: Contents, repo_id: str | Path, digest: str | None) -> None:
    """Raises ValueError if another digest was asked for."""
    if digest is not None and digest.lower() != contents.digest:
        raise ValueError(
            f"{repo_id} has the digest {contents.digest}, not {digest:.80}: it was changed, or the digest is that of "
            "another version"
        )
