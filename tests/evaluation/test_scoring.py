import json

import numpy as np
import pytest
import torch
from torch import Tensor

from mirl.config import UserError
from mirl.data.bicubic import enlarged, reduced
from mirl.data.tasks import DEFAULT
from mirl.data.tasks.super_resolve import SuperResolveSection
from mirl.evaluation.protocols import PROTOCOLS
from mirl.evaluation.scoring import METRICS, EvaluateSection, TestImage, pictures, score, summary


def picture(seed: int, height: int = 36, width: int = 41) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 100 * np.sin((x * (1 + c) + y * (seed + 1)) / 9) for c in range(3)]
    return np.stack(waves, axis=2).astype(np.uint8)


def items(count: int = 3) -> list[TestImage]:
    found = []
    for number in range(count):
        clean = picture(number)
        grey = (clean // 2 + 100).astype(np.uint8)
        found.append(
            TestImage(image=f"i{number}", task=DEFAULT["dehaze"], clean_HWC=clean, degraded_HWC=grey)
        )
        found.append(
            TestImage(image=f"i{number}", task=DEFAULT["denoise_25"], clean_HWC=clean, degraded_HWC=None)
        )
    return found


def identity(x: Tensor, task: str) -> Tensor:
    return x


def unhaze(x: Tensor, task: str) -> Tensor:
    return (x - 100 / 255) * 2


BOTH = EvaluateSection(protocols=["paper", "strict"])


def test_one_row_an_image_task_and_protocol() -> None:
    frame = score(identity, items(), BOTH)
    columns = ["image", "task", "protocol", *METRICS, "change", "seconds"]
    assert list(frame.columns) == columns
    assert len(frame) == 2 * 2 * 3
    assert not frame.duplicated(["image", "task", "protocol"]).any()
    assert np.isfinite(frame[list(METRICS)].to_numpy()).all()


def test_doing_nothing_gains_exactly_nothing() -> None:
    frame = score(identity, items(), BOTH)
    assert (frame["psnr_db"] == frame["input_psnr_db"]).all()
    assert (frame["ssim"] == frame["input_ssim"]).all()
    assert (frame["change"] == 0).all()


def small(scale: int) -> TestImage:
    task = SuperResolveSection(kind="super_resolve", scale=scale).task("small")
    clean = picture(1, 36 * scale, 41 * scale)
    return TestImage(image="i", task=task, clean_HWC=clean, degraded_HWC=reduced(clean, scale))


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_doing_nothing_where_a_task_enlarges_is_a_bicubic_enlargement(protocol: str, scale: int) -> None:
    def bicubic(x_BCHW: Tensor, task: str) -> Tensor:
        return torch.from_numpy(enlarged(x_BCHW[0].permute(1, 2, 0).numpy(), scale)).permute(2, 0, 1)[None]

    section, item = EvaluateSection(protocols=[protocol]), small(scale)
    frame = score(bicubic, [item], section)
    assert frame["input_psnr_db"][0] == frame["psnr_db"][0] > 20
    assert frame["change"][0] == 0
    black = score(lambda x, task: bicubic(x, task) * 0, [item], section)
    assert black["input_psnr_db"][0] == frame["input_psnr_db"][0] and black["change"][0] > 1
    (shown,) = pictures(bicubic, [item], section)
    assert shown.input_HWC.shape == shown.output_HWC.shape == shown.clean_HWC.shape
    with pytest.raises(ValueError, match="restorer made"):
        score(identity, [item], section)


def test_undoing_the_haze_gains() -> None:
    frame = score(unhaze, items(), EvaluateSection())
    hazy = frame[frame["task"] == "dehaze"]
    assert (hazy["psnr_db"] > hazy["input_psnr_db"] + 20).all()
    assert hazy["change"].to_numpy() == pytest.approx(1, abs=0.02)


def test_scores_do_not_hang_on_the_order_or_the_company() -> None:
    frame = score(unhaze, items(), BOTH).drop(columns="seconds")
    back = score(unhaze, reversed(items()), BOTH).drop(columns="seconds")
    assert frame.equals(back)
    alone = score(unhaze, items()[:2], BOTH).drop(columns="seconds")
    mine = frame[frame["image"] == "i0"].reset_index(drop=True)
    assert mine.equals(alone.reset_index(drop=True))


def test_the_limit_takes_the_first_names_of_each_task() -> None:
    frame = score(identity, reversed(items(4)), EvaluateSection(limit=2))
    assert {task: list(group["image"]) for task, group in frame.groupby("task")} == {
        "dehaze": ["i0", "i1"],
        "denoise_25": ["i0", "i1"],
    }


def test_progress_counts_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    score(identity, items(), BOTH, lambda done, total: seen.append((done, total)))
    assert seen == [(number, 12) for number in range(1, 13)]


def test_a_restorer_gets_whole_images_of_any_size_under_strict() -> None:
    shapes = []

    def restore(x: Tensor, task: str) -> Tensor:
        shapes.append(tuple(x.shape))
        return x

    score(restore, items(1), BOTH)
    assert shapes == [(1, 3, 32, 32)] * 2 + [(1, 3, 36, 41)] * 2


def test_values_that_are_not_finite_count_as_black() -> None:
    broken = score(lambda x, task: torch.full_like(x, float("nan")), items(1), EvaluateSection())
    black = score(lambda x, task: torch.zeros_like(x), items(1), EvaluateSection())
    assert broken["psnr_db"].tolist() == black["psnr_db"].tolist()


def test_a_restorer_that_changes_the_size_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="restorer made"):
        score(lambda x, task: x[..., 1:], items(1), EvaluateSection())


def test_the_mean_is_over_tasks_not_images() -> None:
    frame = score(unhaze, [*items(1), *items(4)[2::2]], BOTH)
    assert frame.groupby("task").size().to_dict() == {"dehaze": 8, "denoise_25": 2}
    for protocol in BOTH.protocols:
        found = summary(frame, protocol)
        for metric in METRICS:
            each = [found[f"{metric}/{task}"] for task in ("dehaze", "denoise_25")]
            assert found[f"{metric}/mean"] == pytest.approx(np.mean(each))
        rows = frame.query("protocol == @protocol and task == 'dehaze'")
        assert found["psnr_db/dehaze"] == pytest.approx(rows["psnr_db"].mean())
        json.dumps(found, allow_nan=False)


def test_pictures_are_8_bit_crops_of_one_place() -> None:
    section = EvaluateSection(pictures=1, picture_size=32, protocols=["strict"])
    found = pictures(unhaze, items(), section)
    assert [(entry.image, entry.task) for entry in found] == [("i0", "dehaze"), ("i0", "denoise_25")]
    for entry in found:
        for image in entry[2:]:
            assert image.shape == (32, 32, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(found[0].clean_HWC, picture(0)[2:34, 4:36])
    assert np.abs(found[0].output_HWC.astype(int) - found[0].clean_HWC).max() <= 1
    assert not pictures(unhaze, items(), EvaluateSection(pictures=0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"protocols": ["papper"]}, "papper is not a protocol; known ones: paper, strict"),
        ({"protocols": ["paper", "paper"]}, "named twice"),
        ({"protocols": []}, "protocols"),
        ({"limit": 0}, "limit"),
        ({"limt": 1}, "did you mean `limit`"),
    ],
)
def test_a_section_that_cannot_be_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EvaluateSection.read(values, "params.yaml")


def test_the_restorer_is_told_the_task_of_each_image() -> None:
    told: list[str] = []

    def restore(x: Tensor, task: str) -> Tensor:
        told.append(task)
        return x

    score(restore, items(2), EvaluateSection())
    pictures(restore, items(1), EvaluateSection(pictures=1))
    assert told == ["dehaze", "dehaze", "denoise_25", "denoise_25", "dehaze", "denoise_25"]
