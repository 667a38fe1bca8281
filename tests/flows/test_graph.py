"""DVC's graph as plain values, on a real DVC repository."""

import shutil
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import load_yaml

from flows.graph import Node, cache_folder, has_remote, read_graph
from flows.locks import lock_text, parse_lock
from mirl.config import UserError
from tests.flows.orchestration.pipelines import make_repository, run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_repository(tmp_path_factory.mktemp("graph") / "repository")
    run(root, "dvc", "repro", "--quiet")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """`made`, to be changed."""
    return shutil.copytree(made, tmp_path / "repository", symlinks=True)


def change(root: Path, **values: object) -> None:
    path = root / "params.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values, sort_keys=False))


def stale(root: Path) -> set[str]:
    return {node.name for node in read_graph(root).values() if not node.current}


def test_stages_come_with_what_they_read_from_in_an_order_that_works(made: Path) -> None:
    graph = read_graph(made)
    after = {name: set(node.after) for name, node in graph.items()}
    assert after == {
        "begin": set(), "link@dense": {"begin"}, "link@r1": {"link@dense"}, "link@r2": {"link@r1"},
        "judge@dense": {"link@dense"}, "judge@r1": {"link@r1"}, "judge@r2": {"link@r2"},
        "total": {"judge@dense", "judge@r1", "judge@r2"},
    }  # fmt: skip
    seen: set[str] = set()
    for name, node in graph.items():
        assert after[name] <= seen
        seen.add(name)
        assert node.gpu == name.startswith("link@")
    assert graph["judge@r1"].metrics == ("judged/r1/metrics.json",)
    assert graph["link@r1"].title == "link r1"


def test_targets_bring_what_they_need_alone(made: Path) -> None:
    assert read_graph(made, ["judge@r1"]).keys() == {"begin", "link@dense", "link@r1", "judge@r1"}
    with pytest.raises(UserError, match="no stage 'judge@r9'; it has begin, judge@dense"):
        read_graph(made, ["judge@r9"])


def test_after_a_run_everything_is_current_also_where_no_file_is_checked_out(root: Path) -> None:
    assert stale(root) == set()
    shutil.rmtree(root / "made")
    shutil.rmtree(root / "judged")
    assert stale(root) == set()


def test_what_is_out_of_date_is_what_dvc_would_run(root: Path) -> None:
    change(
        root,
        arms={
            "dense": {"method": "dense"},
            "global": {"method": "imp", "schedule": "authors", "fraction": 0.2},
        },
    )
    assert stale(root) == {"link@r1", "judge@r1", "link@r2", "judge@r2", "total"}
    change(root, train={"steps": 4})
    assert stale(root) == set(read_graph(root)) - {"begin"}
    (root / "source" / "word").write_text("another")
    assert stale(root) == set(read_graph(root))


def test_another_command_is_out_of_date(root: Path) -> None:
    text = (root / "dvc.yaml").read_text()
    (root / "dvc.yaml").write_text(text.replace("cat judged", "cat -u judged"))
    assert stale(root) == {"total"}


def test_a_result_that_was_made_from_another_than_the_lock_says_is_not_current(root: Path) -> None:
    lock = parse_lock((root / "dvc.lock").read_text())
    before = lock["link@dense"]["outs"]
    (root / "source" / "word").write_text("another")
    run(root, "dvc", "repro", "--quiet")
    newer = parse_lock((root / "dvc.lock").read_text())
    (root / "dvc.lock").write_text(lock_text(newer | {"link@dense": newer["link@dense"] | {"outs": before}}))
    assert stale(root) == {"link@r1", "judge@dense", "link@r2", "judge@r1", "judge@r2", "total"}


def test_a_result_that_is_nowhere_any_more_is_not_current(root: Path) -> None:
    shutil.rmtree(cache_folder(root))
    assert not has_remote(root)
    assert stale(root) == set(read_graph(root))


def test_keys_name_the_work(root: Path) -> None:
    def key(name: str) -> str:
        lock = parse_lock((root / "dvc.lock").read_text())
        node: Node = read_graph(root)[name]
        return node.key(lock)

    r1, r2 = key("link@r1"), key("link@r2")
    assert len(r1) == 64 and r1 != r2 and key("link@r1") == r1
    change(root, evaluate={"protocols": ["paper"]})
    assert key("link@r1") == r1  # it is not told of evaluation
    change(root, train={"steps": 4})
    assert key("link@r1") != r1


def test_what_a_stage_reads_must_be_in_git_or_dvc(root: Path) -> None:
    shutil.rmtree(root / "source")
    with pytest.raises(
        UserError, match="begin reads source, which is neither in git nor in DVC.*dvc add source"
    ):
        read_graph(root)


def test_what_was_added_to_dvc_need_not_be_checked_out(root: Path) -> None:
    run(root, "git", "rm", "--quiet", "--cached", "-r", "source")
    run(root, "dvc", "add", "--quiet", "source")
    assert stale(root) == set()
    shutil.rmtree(root / "source")
    assert stale(root) == set()


@pytest.mark.parametrize("text", ["schema: '3.0'", "stages: [", "7", "stages: []"])
def test_what_is_no_lock_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"no dvc\.lock of schema 2\.0"):
        parse_lock(text)


@pytest.mark.parametrize(
    ("stage", "digest"),
    [
        ("--force", "0" * 32),
        ("a/../b", "0" * 32),
        ("a\x1b", "0" * 32),
        ("a", "../../../etc/passwd"),
        ("a", "0" * 32 + "\n"),
    ],
)
def test_a_lock_that_leads_elsewhere_is_refused(stage: str, digest: str) -> None:
    for place in ("deps", "outs"):
        with pytest.raises(UserError, match="delete it") as caught:
            parse_lock(lock_text({stage: {"cmd": "true", place: [{"path": "x", "md5": digest}]}}))
        assert str(caught.value).isprintable()


def test_a_digest_that_looks_like_a_number_stays_one(tmp_path: Path) -> None:
    lock = {"a": {"cmd": "true", "outs": [{"path": "x", "md5": "12e45"}]}}
    (tmp_path / "dvc.lock").write_text(lock_text(lock))
    assert load_yaml(tmp_path / "dvc.lock")["stages"] == lock  # as DVC reads it


def test_a_lock_comes_back_as_it_was(made: Path) -> None:
    lock = parse_lock((made / "dvc.lock").read_text())
    assert parse_lock(lock_text(lock)) == lock and parse_lock("") == {}
