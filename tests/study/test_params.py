"""The ready-made studies are valid, and what is wrong with a params.yaml is said in one sentence."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from mirl.config import UserError
from mirl.study.params import Params, read_params

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
DEMO: dict[str, Any] = yaml.safe_load((ROOT / "studies" / "demo.yaml").read_text())


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_valid_and_named_after_its_file(path: Path) -> None:
    params = read_params(path)
    assert params.study == path.stem
    assert params.rounds


def test_the_committed_params_are_the_demo() -> None:
    same = (ROOT / "params.yaml").read_bytes() == (ROOT / "studies" / "demo.yaml").read_bytes()
    assert same, "params.yaml is another study: run `mirl study demo` before you test or commit"


def _changed(*place: Any, to: Any) -> dict[str, Any]:
    values = copy.deepcopy(DEMO)
    inner = values
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = to
    return values


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (_changed("trian", to={}), "`trian` is not a known key; did you mean `train`"),
        (_changed("train", "step", to=3), "`train.step` is not a known key; did you mean `steps`"),
        (
            _changed("train", "steps", to="many"),
            "`train.steps` is 'many', but input should be a valid integer",
        ),
        (
            _changed("train", "steps", to=-1),
            "`train.steps` is -1, but input should be greater than or equal to 0",
        ),
        (
            _changed("train", "batches", "pach", to=3),
            "`train.batches.pach` is not a known key; did you mean `patch`",
        ),
        (
            _changed("train", "batches", "balance", to={"derrain": 1}),
            "^params.yaml: `train.batches.balance`: 'derrain' is not a restoration task; known are denoise_15, ",
        ),
        (
            _changed("data", "tasks", to={"coded": {"kind": "jpeg"}}),
            "^params.yaml: `train.batches.balance`: 'denoise_15' is not a restoration task; known are coded$",
        ),
        (
            _changed("data", "tasks", to={"coded": {"kind": "jpg"}}),
            "`data.tasks.coded.kind` is 'jpg', but input should be .*'pairs'.*'jpeg'",
        ),
        (
            _changed("data", "tasks", to={"coded": {"kind": "jpeg", "qualty": [10, 60]}}),
            "`data.tasks.coded.qualty` is not a known key; did you mean `quality`",
        ),
        (
            _changed("arms", "global", "fractoin", to=0.2),
            "fractoin` is not a known key; did you mean `fraction`",
        ),
        (_changed("arms", "global", "method", to="magic"), "magic"),
        (
            _changed("arms", "global", "fraction", to={"frist": 0.6, "last": 0.2}),
            r"`arms.global.fraction.frist` is not a known key; did you mean `first`\?$",
        ),
        (
            _changed("arms", "global", "fraction", to={"first": 0.2, "last": 0.6}),
            "`arms.global.fraction`: `first` is 0.2 and `last` 0.6, but the first must not be less; swap them$",
        ),
        (_changed("arms", "global", "fraction", to=0), "`arms.global.fraction` is 0, but"),
        (
            _changed("arms", "random", "target", to=0.2),
            "`arms.random.target` is not a known key; the keys there are method, scope, seed$",
        ),
        (
            _changed("arms", "global", "settled", to=True),
            "`arms.global.settled` is True, but it is made of the keys every_steps, looks, distance$",
        ),
        (_changed("machine", to=None), "`machine` is None, but it is made of the keys device, processes"),
        (
            _changed("machine", to={"device": "gpu"}),
            "`machine.device` is 'gpu', but the devices are auto, cpu",
        ),
        (_changed("machine", to={"processes": 3}), "does not share train.batches.batch of 8 evenly"),
        (
            _changed("train", "warmup_steps", to=5000),
            "^params.yaml: `train`: warmup_steps 5000 must not be more than the 1400 steps",
        ),
        (
            _changed("train", "batches", "patch", to=50),
            "train.batches.patch is 50, but nafnet takes multiples of 4; use 48 or 52$",
        ),
        (
            _changed("train", "rates", to={"tial.": 0.1}),
            "^params.yaml: `train.rates` has 'tial.', with which no parameter of nafnet begins; did you mean 'tail.'",
        ),
        (_changed("train", "rates", to={"tail.": -1}), "`train.rates.tail.` is -1, but"),
        (
            _changed("network", to={"name": "fsrcnn"}),
            "data.tasks.denoise_15 enlarges by 1, but fsrcnn by 4; a study has tasks of its network's scale only$",
        ),
        (_changed("study", to="my study"), "`study` is 'my study', but string should match"),
        (_changed("train", "seed", to=-1), "`train.seed` is -1"),
        (_changed("network", "name", to="unet"), "edsr, fsrcnn, nafnet, promptir, restormer"),
        (
            _changed("rounds", "global-r2", "arm", to="globl"),
            "`rounds.global-r2.arm` is 'globl'.*did you mean 'global'",
        ),
        (
            _changed("rounds", "global-r2", "after", to="global-r3"),
            "`rounds.global-r2.after` is 'global-r3', which is no round before it",
        ),
        (
            _changed("arms", "a.b", to={"method": "dense"}),
            "^params.yaml: the arm 'a.b' has a dot in its name, which DVC takes .*; call it 'a-b'$",
        ),
        (
            _changed("rounds", "a.b", to={"arm": "global", "after": "dense"}),
            "round name 'a.b' must be a word",
        ),
        (
            _changed("arms", True, to={"method": "dense"}),
            "the key True in `arms` is no text; put it in quotes$",
        ),
        (_changed("rounds", "1", to={"arm": "global", "after": "dense"}), "must be a word"),
        (_changed("rounds", "dense", "arm", to="global"), "one round must have a dense arm"),
        (_changed("promote", to={"reference": "parent"}), "but the dense round is 'dense'"),
        (
            _changed("promote", to={"reference": {"derain": "dense", "dehaze": "dens"}}),
            "`promote.reference.dehaze` is 'dens', which is no round that has a dense arm; did you mean 'dense'",
        ),
        (
            _changed("promote", to={"reference": {"derain": "global-r1"}}),
            "`promote.reference.derain` is 'global-r1', which is no round that has a dense arm",
        ),
        (
            _changed("promote", to={"reference": {"derrain": "dense"}}),
            "`promote.reference` has 'derrain', which is no task of the study; did you mean 'derain'",
        ),
        (_changed("promote", to={"reference": {}}), "`promote.reference` is {}, but"),
        (_changed("promote", to={"reference": 3}), "`promote.reference` is 3, but"),
        (
            _changed("promote", to={"methods": ["imp"]}),
            "^params.yaml: `promote`: `methods` is no key any more: each method says whether .* leave the key out$",
        ),
        (_changed("evaluate", "protocols", to=["strict"]), "the first of evaluate.protocols"),
        (_changed("evaluate", "protocols", to=["papper"]), "not a protocol"),
        (
            _changed("rounds", "dense", "task", to="derrain"),
            "^params.yaml: round dense is for 'derrain', which is no task of the study; did you mean 'derain'",
        ),
        (
            _changed("rounds", "global-r1", "task", to="derain"),
            "^params.yaml: round global-r1: its method trains all tasks of the study, so leave out the requirement$",
        ),
        (
            _changed(
                "rounds", "dense", to={"arm": "dense", "after": "init", "task": "derain", "tasks": ["dehaze"]}
            ),
            "`rounds.dense`: `task` names one task and `tasks` several, so give one of the two keys$",
        ),
        (
            _changed("rounds", "dense", "tasks", to=["derain", "derain"]),
            "`rounds.dense`: `tasks` names derain twice; name it once$",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(values: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        Params.read(values, "params.yaml")
    assert "\n" not in str(caught.value)


def test_each_task_can_have_a_reference_of_its_own() -> None:
    values = _changed("promote", to={"reference": {"derain": "rainy", "dehaze": "dense"}})
    values["rounds"] = {"rainy": {"arm": "dense", "after": "init"}, **values["rounds"]}
    assert Params.read(values, "params.yaml").promote.references == ["rainy", "dense"]


def test_an_unknown_round_lists_those_that_there_are() -> None:
    with pytest.raises(UserError, match="there is no round 'x' in params.yaml; it has dense, global-r1"):
        Params.read(DEMO, "params.yaml").round("x")


@pytest.mark.parametrize("name", ["--force", "../x", "a b", "$(x)", "a\x1b[2J"])
def test_arms_rounds_and_the_study_have_names(name: str) -> None:
    values = copy.deepcopy(DEMO)
    values["arms"][name] = {"method": "dense"}
    with pytest.raises(UserError, match="an arm's name is ") as caught:
        Params.read(values, "params.yaml")
    assert str(caught.value).isprintable()
    values = copy.deepcopy(DEMO)
    values["rounds"][name] = {"arm": "global", "after": "dense"}
    with pytest.raises(UserError, match="round name"):
        Params.read(values, "params.yaml")
    with pytest.raises(UserError, match="`study` is"):
        Params.read(DEMO | {"study": name}, "params.yaml")
