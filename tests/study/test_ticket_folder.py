"""What a ticket's folder holds, whatever became of the training in between."""

from mirl.records import TrainRecord
from mirl.study.ticket_folder import table


def test_the_columns_of_a_history_do_not_tell_whether_a_checkpoint_was_read() -> None:
    record = TrainRecord(
        step=10, loss=0.5, learning_rate=0.1, gradient_norm=2.0, terms={"l1": 0.3, "even": 0.2}
    )
    row = record.row()
    read_back = {name: row[name] for name in sorted(row)}
    expected = ["step", "loss", "learning_rate", "gradient_norm", "loss/even", "loss/l1"]
    assert list(table([row]).columns) == list(table([read_back]).columns) == expected


def test_without_records_there_are_columns_and_no_rows() -> None:
    assert list(table([]).columns) == ["step", "loss", "learning_rate", "gradient_norm"]
