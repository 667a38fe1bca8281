from mirl.data.published import PAPER, beside_the_paper

WHOLE = {
    "train/denoise/BSD400": 400, "train/denoise/WED": 4744, "train/derain/Rain100L": 200, "train/dehaze/OTS": 72_135,
    "test/denoise/CBSD68": 68, "test/denoise/Urban100": 100, "test/derain/Rain100L": 100, "test/dehaze/SOTS": 500,
}  # fmt: skip


def test_the_whole_data_of_the_paper() -> None:
    lines = beside_the_paper(WHOLE)
    assert len(lines) == len(PAPER) == 8
    assert all(line.endswith("as in the paper") for line in lines)


def test_the_sets_make_the_samples_of_the_papers_epoch() -> None:
    """46,296 noisy, 24,000 rainy and 72,135 hazy ones (MIR-L): three of each level, 120 of each rainy pair."""
    count = {item.place: item.count for item in PAPER}
    assert 3 * 3 * (count["train/denoise/BSD400"] + count["train/denoise/WED"]) == 46_296
    assert 120 * count["train/derain/Rain100L"] == 24_000
    assert count["train/dehaze/OTS"] == 72_135


def test_what_is_missing_or_other_is_said_with_its_page() -> None:
    found = dict(WHOLE) | {"train/denoise/bsd400": 333, "train/dehaze/RESIDE": 288}
    del found["train/denoise/BSD400"], found["train/dehaze/OTS"]
    said = {line.split()[0]: " ".join(line.split()[1:]) for line in beside_the_paper(found)}
    assert said["train/denoise/BSD400"].startswith("333 the paper has 400; from https://")
    assert said["train/dehaze/OTS"].startswith("0 the paper has 72,135; get it from https://")
    assert said["train/dehaze/RESIDE"] == "288 not in the paper"


def test_every_set_has_a_page_and_a_folder_of_its_own() -> None:
    assert all(item.page.startswith("https://") for item in PAPER)
    assert all([other for other in PAPER if other.holds(item.place)] == [item] for item in PAPER)
