"""Private clones, on real git repositories."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows.orchestration.checkout import CloneFolder, Revision, git, refuse_changes, resolve
from mirl.config import UserError
from tests.flows.orchestration.pipelines import make_repository, run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(tmp_path_factory.mktemp("origin") / "repository")


@pytest.fixture
def clones(tmp_path: Path) -> CloneFolder:
    return CloneFolder.of(str(tmp_path / "home"))


def revision(root: Path, name: str = "HEAD", params: str | None = None) -> Revision:
    return Revision(repository=str(root), commit=resolve(str(root), name), params=params)


def test_a_clone_is_at_the_revision_with_the_given_parameters(root: Path, clones: CloneFolder) -> None:
    first = revision(root)
    (root / "link.sh").write_text("echo later\n")
    run(root, "git", "commit", "--quiet", "--all", "--message", "later")
    with clones.clone(revision(root, params="study: other\n")) as clone:
        assert (clone / "link.sh").read_text() == "echo later\n"
        assert (clone / "params.yaml").read_text() == "study: other\n"
        assert str(clones.cache) in (clone / ".dvc" / "config.local").read_text()
    with clones.clone(first) as clone:  # the same folder again
        assert (clone / "link.sh").read_text() != "echo later\n"
        assert (clone / "params.yaml").read_text() == (root / "params.yaml").read_text()
        assert clone.name == "0"


def test_a_clone_that_is_used_again_is_clean_but_for_its_checkpoints(root: Path, clones: CloneFolder) -> None:
    with clones.clone(revision(root)) as clone:
        (clone / "made").mkdir()
        (clone / "left.txt").write_text("left by a kill")
        (clone / "link.sh").write_text("changed")
        (clone / ".git" / "index.lock").write_text("")
        checkpoint = clone / ".mirl" / "resume" / "abc"
        checkpoint.mkdir()
    with clones.clone(revision(root)) as again, clones.clone(revision(root)) as beside:
        assert again == clone and beside != clone
        assert not (again / "made").exists() and not (again / "left.txt").exists()
        assert (again / "link.sh").read_text() != "changed"
        assert checkpoint.is_dir() and (beside / ".mirl" / "resume" / "abc").is_dir()  # shared by all


def test_a_clone_that_was_half_made_is_made_anew(root: Path, clones: CloneFolder) -> None:
    (clones.folder / "clones" / "0").mkdir(parents=True)
    (clones.folder / "clones" / "0" / "half").write_text("")
    (clones.folder / "clones" / "0.making").mkdir()
    with clones.clone(revision(root)) as clone:
        assert (clone / "dvc.yaml").exists() and not (clone / "half").exists()


def test_what_cannot_be_reached_is_said(root: Path, clones: CloneFolder, tmp_path: Path) -> None:
    def check_out(repository: Path) -> None:
        with clones.clone(Revision(repository=str(repository), commit="0" * 40)):
            raise AssertionError("there is no such revision")

    with pytest.raises(UserError, match=r"is not in .*repository; `git push` it"):
        check_out(root)
    (clones.folder / "clones" / "0").rename(tmp_path / "away")
    with pytest.raises(UserError, match="git clone failed"):
        check_out(tmp_path / "nowhere")
    with pytest.raises(UserError, match="has no 'nothing'"):
        resolve(f"file://{root}", "nothing")
    with pytest.raises(UserError, match="has no 'nothing'"):
        resolve(str(root), "nothing")


def test_a_branch_is_not_taken_for_another_that_ends_like_it(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repository")
    head = run(root, "git", "rev-parse", "main")
    run(root, "git", "checkout", "--quiet", "-b", "feature/main")
    run(root, "git", "commit", "--quiet", "--allow-empty", "--message", "feature")
    assert resolve(str(root), "main") == head != resolve(str(root), "feature/main")
    with pytest.raises(UserError, match="holds a password"):
        resolve("https://somebody:secret@example.org/x.git", "main")
    with pytest.raises(UserError, match="or a token"):
        resolve("https://ghp_token@example.org/x.git", "main")


def test_names_are_resolved_near_and_far(root: Path) -> None:
    head = run(root, "git", "rev-parse", "HEAD")
    assert {
        resolve(place, name) for place in (str(root), f"file://{root}") for name in ("HEAD", "main", head)
    } == {head}


def test_changes_that_workers_would_not_get_are_refused(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repository")
    (root / "params.yaml").write_text("study: other\n")
    (root / "untracked.txt").write_text("")
    refuse_changes(root, ["source"])  # its text travels with the work
    (root / "source" / "new").write_text("")
    with pytest.raises(UserError, match="source/new is new or changed"):
        refuse_changes(root, ["source"])
    (root / "source" / "new").unlink()
    (root / "link.sh").write_text("changed\n")
    with pytest.raises(UserError, match=r"link\.sh is new or changed and not committed.*git stash"):
        refuse_changes(root, ["source"])
    (root / "dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(UserError, match="dvc.yaml and 1 others are new or changed"):
        refuse_changes(root, ["source"])


def test_the_same_work_is_not_done_twice_at_once(clones: CloneFolder) -> None:
    program = (
        "import sys, time; from flows.orchestration.checkout import CloneFolder\n"
        "with CloneFolder.of(sys.argv[1]).exclusive('key'):\n"
        "    print('in', flush=True); time.sleep(60)\n"
    )
    first = subprocess.Popen([sys.executable, "-c", program, str(clones.folder)], stdout=subprocess.PIPE)
    assert first.stdout is not None and first.stdout.readline() == b"in\n"
    second = subprocess.Popen([sys.executable, "-c", program, str(clones.folder)], stdout=subprocess.PIPE)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(timeout=3)
        first.kill()
        assert second.stdout is not None and second.stdout.readline() == b"in\n"
    finally:
        first.kill()
        second.kill()
        first.communicate()
        second.communicate()


@pytest.mark.parametrize(
    "repository",
    [
        "--upload-pack=touch trace",
        "-x",
        "ext::sh -c touch% trace",
        "fd::17",
        ":x",
        "",
        " x",
        "a\nb",
        "https://a/\x1b",
        "http://[x",
    ],
)
def test_an_address_is_no_option_and_no_command(tmp_path: Path, repository: str) -> None:
    with pytest.raises(UserError, match="the repository's address is") as caught:
        resolve(repository, "HEAD")
    assert str(caught.value).isprintable()
    with pytest.raises(UserError, match="the repository's address is"):
        Revision(repository=repository, commit="0" * 40)


@pytest.mark.parametrize("commit", ["HEAD", "--detach", "0" * 39, "0" * 40 + "\n", "../x"])
def test_a_commit_is_one(commit: str) -> None:
    with pytest.raises(UserError, match="expected 40 hex digits"):
        Revision(repository="/x", commit=commit)


@pytest.mark.parametrize(
    "address", ["https://a.example/x.git", "git@host:x/y.git", "ssh://host/x", "/a b", "../x", "C:/x"]
)
def test_usual_addresses_are_taken(address: str) -> None:
    assert Revision(repository=address, commit="0" * 40).repository == address


def test_git_runs_no_command_that_an_address_or_a_redirect_names(root: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    rule = [
        "-c",
        "protocol.ext.allow=always",
        "-c",
        f"url.ext::sh -c touch% {trace} #.insteadOf=https://innocent.example/",
    ]
    with pytest.raises(UserError, match="git"):
        git(root, *rule, "ls-remote", "https://innocent.example/x")
    assert not trace.exists()
