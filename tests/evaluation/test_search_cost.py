import pytest

from mirl.evaluation.search_cost import search_costs

DENSE = {"steps": 100, "train_seconds": 8.0, "train_joules": 50.0}


def test_every_training_of_a_lineage_counts_once() -> None:
    found = search_costs(
        {
            "dense": ("init", DENSE),
            "r1": ("dense", {"steps": 40, "train_seconds": 3.0, "train_joules": 20.0}),
            "r2": ("r1", {"steps": 10, "train_seconds": 1.0, "train_joules": 5.0}),
            "other": ("dense", {"steps": 100, "train_seconds": 9.0, "train_joules": 55.0}),
        },
        "dense",
    )
    assert found["dense"] == {
        "search/steps": 100, "search/train_seconds": 8.0, "search/train_joules": 50.0, "search/dense_trainings": 1.0,
    }  # fmt: skip
    assert found["r2"] == {
        "search/steps": 150, "search/train_seconds": 12.0, "search/train_joules": 75.0, "search/dense_trainings": 1.5,
    }  # fmt: skip
    assert found["other"]["search/steps"] == 200


def test_what_one_ticket_of_a_lineage_does_not_know_nobody_after_it_knows() -> None:
    unknown = {"steps": 100, "train_seconds": 8.0}
    found = search_costs(
        {"dense": ("init", DENSE), "r1": ("dense", unknown), "r2": ("r1", DENSE)}, reference="dense"
    )
    assert "search/train_joules" in found["dense"]
    assert "search/train_joules" not in found["r1"] and "search/train_joules" not in found["r2"]
    assert found["r2"]["search/steps"] == 300


@pytest.mark.parametrize("metrics", [{}, {"steps": 0}])
def test_a_reference_without_steps_is_no_measure(metrics: dict[str, float]) -> None:
    assert "search/dense_trainings" not in search_costs({"dense": ("init", metrics)}, "dense")["dense"]
