"""Requirements of a study's tickets: what each costs and is worth, beside a model of its own."""

from collections.abc import Sequence

from mirl.evaluation.comparison import Assessment, Candidate

SIZES = {"params": "params/kept", "mb": "ticket_mb"}
"""Measure of a ticket's size -> its name among the metrics."""


def single_models(candidate: Candidate, others: Sequence[Candidate]) -> list[Candidate]:
    """Return the models that take the ticket's place if each requirement has one of its own; empty if one has none.

    A model of a requirement is a reference that was trained for its tasks alone, or one such for each of its tasks.
    """
    found: dict[str, Candidate] = {}
    for tasks in candidate.requirements.values():
        own = _trained_for(tasks, candidate, others)
        models = [own] if own else [_trained_for([task], candidate, others) for task in tasks]
        for model in models:
            if model is None:
                return []
            found[model.name] = model
    return list(found.values())


def of_singles(candidate: Candidate, others: Sequence[Candidate]) -> dict[str, float]:
    """Return the ticket's size as a share of that of its single models together: `of_singles/params`, `of_singles/mb`.

    The result is empty for a ticket of one task, or of which a requirement has no model of its own.
    """
    models = single_models(candidate, others)
    if len(models) < 2:
        return {}
    return {
        f"of_singles/{measure}": candidate.metrics[key] / sum(model.metrics[key] for model in models)
        for measure, key in SIZES.items()
        if all(key in each.metrics for each in (candidate, *models))
    }


def chains(assessments: Sequence[Assessment]) -> list[Assessment]:
    """Return the ticket of each arm that serves the most requirements, at least two; of several the last."""
    found: dict[str, Assessment] = {}
    for entry in assessments:
        count = len(entry.candidate.requirements)
        best = found.get(entry.candidate.arm)
        if count > 1 and (best is None or count >= len(best.candidate.requirements)):
            found[entry.candidate.arm] = entry
    return list(found.values())


def rows(entry: Assessment, assessments: Sequence[Assessment]) -> list[dict[str, object]]:
    """Return a row for each task of a ticket: quality, work and weights of its requirement, beside its single model's."""
    candidate, named = entry.candidate, {each.candidate.name: each for each in assessments}
    found: list[dict[str, object]] = []
    total = candidate.sharing.total if candidate.sharing else 1
    for requirement, tasks in candidate.requirements.items():
        used = candidate.sharing and candidate.sharing.used(requirement)
        for task in tasks:
            if f"psnr_db/{task}" not in entry.quality:
                continue
            others = [each.candidate for each in assessments]
            model = _trained_for(tasks, candidate, others) or _trained_for([task], candidate, others)
            found.append(
                {
                    "task": task,
                    "psnr_db": entry.quality[f"psnr_db/{task}"],
                    "macs_g": candidate.metrics.get(f"macs_g/{task}"),
                    "model": model and model.name,
                    "model_psnr_db": model and named[model.name].quality.get(f"psnr_db/{task}"),
                    "model_macs_g": model and model.metrics.get(f"macs_g/{task}"),
                    "used": used and sum(used.values()) / total,
                    "own": used and used[requirement] / total,
                }
            )
    return found


def _trained_for(tasks: Sequence[str], beside: Candidate, others: Sequence[Candidate]) -> Candidate | None:
    return next(
        (
            other
            for other in others
            if other.role == "reference"
            and other.name != beside.name
            and [set(own) for own in other.requirements.values()] == [set(tasks)]
        ),
        None,
    )
