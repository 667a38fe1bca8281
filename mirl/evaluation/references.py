"""References of a study, the tickets that others are compared with: one for every task that is scored."""

from collections.abc import Mapping

import pandas as pd

from mirl.config import UserError
from mirl.evaluation.winning import RuleSection


def scored_tasks(scores: pd.DataFrame, protocol: str) -> list[str]:
    """Return the restoration tasks that a ticket was scored on, and so serves, in the order of their names."""
    return sorted(map(str, scores.loc[scores["protocol"] == protocol, "task"].unique()))


def references(tables: Mapping[str, pd.DataFrame], rule: RuleSection) -> dict[str, str]:
    """Return the name of the reference of each task that one of the tickets was scored on.

    `tables`: name of each ticket -> its scores. Raises UserError if a reference was not scored, or a task has none.
    """
    for name in rule.references:
        if name not in tables:
            scored = ", ".join(tables) or "none"
            raise UserError(
                f"the reference ticket `{name}` was not scored (scored: {scored}); evaluate it first"
            )
    found: dict[str, str] = {}
    for ticket, scores in tables.items():
        for task in scored_tasks(scores, rule.protocol):
            reference = rule.reference_of(task)
            if reference is None or task not in scored_tasks(tables[reference], rule.protocol):
                raise UserError(
                    f"ticket `{ticket}` was scored on {task}, which has no reference that was; let "
                    "`promote.reference` name one for each task"
                )
            found[task] = reference
    return found


def reference_scores(tables: Mapping[str, pd.DataFrame], of_task: Mapping[str, str]) -> pd.DataFrame:
    """Return the scores that the other tickets are compared with: for each task those of its reference."""
    parts = [tables[name].loc[tables[name]["task"] == task] for task, name in of_task.items()]
    return pd.concat(parts, ignore_index=True)
