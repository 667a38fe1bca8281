"""What every kind of task must keep to; a kind without an example here fails."""

import json
import pickle
from typing import Any, get_args

import numpy as np
import pytest

from mirl.config import UserError
from mirl.data.bicubic import cut_to_multiple
from mirl.data.tasks import (
    DEFAULT,
    DEFAULT_SECTIONS,
    KINDS,
    Task,
    TaskSection,
    from_plain,
    table,
    to_plain,
)
from tests.data.conftest import Draw

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "denoise": [{"sigma": 15}, {"sigma": 0.5}],
    "derain": [{}],
    "dehaze": [{}],
    "pairs": [{}, {"turn": False}],
    "jpeg": [{}, {"quality": [5, 5]}],
    "social": [{}, {"scale": [0.3, 0.3], "quality": [95, 95], "twice": 1}],
    "super_resolve": [{"scale": 2}, {"scale": 4}],
}
TASKS = {
    f"{kind} {json.dumps(options)}": KINDS[kind].read({"kind": kind, **options}, "params.yaml").task("own")
    for kind in KINDS
    for options in EXAMPLES.get(kind, [])  # one without fails by name below
}
FIXED = [
    'jpeg {"quality": [5, 5]}, test',
    'social {"scale": [0.3, 0.3], "quality": [95, 95], "twice": 1}, test',
    *(f'super_resolve {{"scale": {scale}}}, {use}' for scale in (2, 4) for use in ("training", "test")),
]
"""Names in MADE of what leaves nothing to chance."""
MADE = {
    f"{name}, {use}": (degradation, task.scale)
    for name, task in TASKS.items()
    for use, degradation in (("training", task.training), ("test", task.testing))
    if degradation
}


@pytest.fixture
def clean(draw: Draw) -> np.ndarray:
    return draw(1).astype(np.float32) / 255


def test_every_kind_has_an_example() -> None:
    assert set(EXAMPLES) == set(KINDS), "give each kind of KINDS options in EXAMPLES, above"


def test_every_kind_has_a_place_in_params() -> None:
    sections = get_args(get_args(TaskSection)[0])
    assert {get_args(section.model_fields["kind"].annotation): section for section in sections} == {
        (kind,): section for kind, section in KINDS.items()
    }, "TaskSection has to be the union of what is in KINDS"


def test_the_default_tasks_are_the_five() -> None:
    assert list(DEFAULT) == ["denoise_15", "denoise_25", "denoise_50", "derain", "dehaze"]
    assert [task.name for task in DEFAULT.values()] == list(DEFAULT)
    assert [task.noise_sigma_255 for task in DEFAULT.values()] == [15, 25, 50, 0, 0]
    assert [task.turned for task in DEFAULT.values()] == [True, True, True, False, True]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_whole(name: str, clean: np.ndarray) -> None:
    task = TASKS[name]
    assert task.name == "own"
    assert task.nothing(clean).shape == (80 * task.scale, 100 * task.scale, 3)
    assert task.scale > 1 or task.nothing(clean) is clean
    assert pickle.loads(pickle.dumps(task)).name == "own"
    # A task has pairs, or noise that is added to clean pictures: never both.
    assert task.paired == (task.noise_sigma_255 == 0)
    assert task.paired or (task.training and not task.testing)


@pytest.mark.parametrize("name", MADE)
def test_the_same_generator_gives_the_same_picture_and_another_one_another(
    name: str, clean: np.ndarray
) -> None:
    degrade, _ = MADE[name]
    one, same = (degrade(clean, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(one, same)
    others = [degrade(clean, np.random.default_rng(seed)) for seed in range(2, 12)]
    drawn = name not in FIXED
    assert drawn == any(not np.array_equal(one, other) for other in others), (
        "give an example options that leave something to chance, or name it in FIXED"
    )


@pytest.mark.parametrize("name", MADE)
def test_shape_and_type_stay_but_for_the_scale_and_the_clean_picture_is_not_touched(
    name: str, clean: np.ndarray
) -> None:
    degrade, scale = MADE[name]
    for given in (clean, np.rot90(clean[:8, ::-1]), cut_to_multiple(clean[3:, :17], scale)):
        before = given.copy()
        degraded = degrade(given, np.random.default_rng(1))
        assert degraded.shape == (given.shape[0] // scale, given.shape[1] // scale, 3)
        assert degraded.dtype == np.float32
        assert np.array_equal(given, before) and not np.shares_memory(degraded, given)


@pytest.mark.parametrize("name", MADE)
def test_only_noise_leaves_the_range(name: str, clean: np.ndarray) -> None:
    for seed in range(20):
        degraded = MADE[name][0](clean, np.random.default_rng(seed))
        assert np.isfinite(degraded).all()
        assert name.startswith("denoise") or (degraded.min() >= 0 and degraded.max() <= 1)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.testing])
def test_test_pictures_hang_on_the_names_of_image_and_task(name: str, draw: Any) -> None:
    task, pixels = TASKS[name], draw(1)
    one = task.test_input("a", pixels)
    assert one.shape == (80 // task.scale, 100 // task.scale, 3) and one.dtype == np.uint8
    assert not np.array_equal(one, pixels)
    assert np.array_equal(one, task.test_input("a", pixels))


def test_every_image_and_every_task_has_its_own_draw(draw: Any) -> None:
    one, two = (KINDS["derain"].read({"kind": "derain"}, "p").task(name) for name in ("one", "two"))
    pictures = [one.test_input("a", draw(1)), one.test_input("b", draw(1)), two.test_input("a", draw(1))]
    assert len({picture.tobytes() for picture in pictures}) == 3


SEVERITIES = {
    f"{name}: {severity.name}": (task, severity)
    for name, task in TASKS.items()
    for severity in task.severities
}


def _harm(task: Task, clean: np.ndarray) -> float:
    """Mean distance from the clean picture, over some draws."""
    degradation = task.testing or task.training
    assert degradation
    pictures = [degradation(clean, np.random.default_rng(seed)) for seed in range(5)]
    return float(np.mean([np.abs(picture - clean).mean() for picture in pictures]))


@pytest.mark.parametrize("name", SEVERITIES)
def test_severity_changes_how_strong_a_task_is_and_nothing_else(name: str, clean: np.ndarray) -> None:
    task, severity = SEVERITIES[name]
    assert severity.low < severity.high and severity.unit
    weak, strong = severity.at(severity.low), severity.at(severity.high)
    harms = sorted((_harm(weak, clean), _harm(strong, clean)))
    assert harms[1] > 1.05 * harms[0]
    for found in (weak, strong):
        assert (found.name, found.paired, found.turned) == (task.name, task.paired, task.turned)
        assert (found.noise_sigma_255 > 0) == (task.noise_sigma_255 > 0)
    assert pickle.loads(pickle.dumps(severity)).at(severity.low).name == "own"
    lowest, highest = severity.trained or (severity.low, severity.high)
    assert lowest <= highest and {lowest, highest} < set(severity.values(3))


def test_all_that_can_be_made_has_a_severity_but_for_a_scale_which_a_network_has_one_of() -> None:
    without = [task for task in TASKS.values() if task.training and not task.severities]
    assert {task.scale for task in without} == {2, 4}


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_comes_back_from_plain_data(kind: str) -> None:
    options = EXAMPLES.get(kind, [{}])[-1]
    sections = {"b": KINDS[kind].read({"kind": kind, **options}, "p"), "a": DEFAULT_SECTIONS["derain"]}
    plain = json.loads(json.dumps(to_plain(sections)))  # type: ignore[arg-type]
    assert list(plain) == ["b", "a"] and plain["b"]["kind"] == kind
    found = from_plain(plain, "x")
    expected = table(sections)
    for name, task in expected.items():
        assert vars(found[name]) | {"severities": ()} == vars(task) | {"severities": ()}


def test_the_default_table_is_not_written_and_a_strange_one_is_refused() -> None:
    assert to_plain(DEFAULT_SECTIONS) == {} and from_plain({}, "x") is DEFAULT
    assert to_plain(dict(list(DEFAULT_SECTIONS.items())[:4])) != {}
    with pytest.raises(
        UserError,
        match="^x: `tasks.a.kind` is 'teleport', but input should be ('[^']+', )+'[^']+' or '[^']+'$",
    ):
        from_plain({"a": {"kind": "teleport"}}, "x")
    with pytest.raises(UserError, match="^x: `tasks.a.kind` is missing$"):
        from_plain({"a": {"sigma": 15}}, "x")


@pytest.mark.parametrize("name", ["mean", "a--b", "", "../x", "a b", "-a", "a\x1b"])
def test_a_task_has_a_name_for_columns_and_files(name: str) -> None:
    with pytest.raises(UserError, match="a task's name is ") as caught:
        from_plain({name: {"kind": "derain"}}, "x")
    assert str(caught.value).isprintable()
