"""Rows of training records, as history.parquet holds them."""

from mirl.records import TrainRecord


def test_a_loss_of_one_term_has_four_columns() -> None:
    record = TrainRecord(step=50, loss=0.5, learning_rate=0.1, gradient_norm=2.0)
    assert record.row() == {"step": 50, "loss": 0.5, "learning_rate": 0.1, "gradient_norm": 2.0}
    assert TrainRecord.of_row(record.row()) == record


def test_the_terms_of_a_loss_have_columns_of_their_own() -> None:
    terms = {"l1": 0.25, "balance": -0.5}
    record = TrainRecord(step=50, loss=-0.25, learning_rate=0.1, gradient_norm=2.0, terms=terms)
    assert list(record.row())[4:] == ["loss/l1", "loss/balance"]
    assert TrainRecord.of_row(record.row()) == record
