"""State and steps of a running training. Dimensions in names: B images, C channels, H height, W width."""

import math
from collections.abc import Collection, Iterable

import torch
from torch import Tensor, nn

from mirl.config import UserError
from mirl.data.batches import Batch
from mirl.methods.plan import Plan, copied
from mirl.networks import scale_of
from mirl.records import TrainRecord
from mirl.sparsity.mask import State
from mirl.training import checkpoint
from mirl.training.checkpoint import Progress
from mirl.training.context import TrainingContext
from mirl.training.device import precision
from mirl.training.gradients import Gradients
from mirl.training.learning_rate import learning_rate
from mirl.training.loading import BatchSource
from mirl.training.meter import Meter
from mirl.training.optimiser import MaskedAdamW, composed
from mirl.training.section import TrainSection
from mirl.training.subnetworks import TrainedSubnetworks

READ_EVERY = {"cpu": 1, "cuda": 10}
"""Steps between two readings of the losses: to read one, a GPU has to finish all queued work."""


class TrainingRun:
    """Running training: the network, the optimiser and the progress; it resumes from the checkpoint if there is one."""

    def __init__(
        self,
        network: nn.Module,
        plan: Plan,
        source: BatchSource,
        section: TrainSection,
        context: TrainingContext,
    ) -> None:
        self.network, self.plan, self.source, self.section = network, plan, source, section
        self._context, self._group = context, context.group
        parameters = dict(network.named_parameters())
        self._parameters = list(parameters.values())
        self.device = self._parameters[0].device
        self.step = self.first_step = section.step_after(plan.start_step, plan.length)
        self.optimiser = MaskedAdamW(
            parameters,
            plan.mask,
            plan.frozen,
            section.weight_decay,
            composed(plan.rates, section.rates),
            dict(network.named_buffers()),
        )
        self._heads = [parameters[name] for name in _taking_turns(plan, parameters)]
        if plan.hold_moments < 1:
            steps = section.steps - self.first_step
            self.optimiser.hold_moments(after=max(1, round(plan.hold_moments * steps)))
        autocast, self.made_with = precision(self.device, section.precision)
        self._subnetworks = TrainedSubnetworks(
            network, plan.masks, autocast, context.machine.compile, plan.remask, plan.heads
        )
        self._gradients = Gradients(self._subnetworks, plan.objective, source, context)
        self._unread: list[Tensor] = []
        self._rate = self._norm = 0.0
        self.origin: State = dict(plan.origin or {})
        self.stopping_state: State = {}
        self.stopped_early = False
        self.history: list[dict[str, float]] = []
        self.loss_sum = 0.0
        self.term_sums: dict[str, float] = {}
        progress = checkpoint.load(context.checkpoint)
        self.meter = Meter.of(self.device, progress, self._group.is_main)
        if progress:
            self._go_on(progress)

    def _go_on(self, progress: Progress) -> None:
        if progress.made_with != self.made_with:
            raise UserError(
                f"this training began on {progress.made_with}, but here it would go on in {self.made_with}; "
                "go on where it began, or delete its folder in .mirl/resume to start it anew"
            )
        self.network.load_state_dict(progress.weights)
        self.optimiser.restore(progress.moments, progress.step - self.first_step)
        self.stopping_state, self.stopped_early = progress.stopping_state, progress.stopped_early
        self.step, self.history, self.loss_sum = progress.step, list(progress.history), progress.loss_sum
        self.term_sums = dict(progress.term_sums)
        self.origin = self.origin or progress.origin

    @property
    def done(self) -> bool:
        return self.stopped_early or self.step == self.section.steps

    def check_stopping_rule(self) -> None:
        """Show the weights to the plan's stopping rule when it is time, and stop early if it says so."""
        rule = self.plan.stopping_rule
        if not self.done and (self.step - self.first_step) % rule.every_steps == 0:
            weights = copied(self.network.state_dict(), "cpu")
            self.stopping_state, self.stopped_early = rule.check(weights, self.stopping_state)

    def note_origin(self) -> None:
        if not self.origin and self.step >= self.section.rewind_step:
            self.origin = copied(self.network.state_dict(), "cpu")

    def take_step(self, batch: Batch) -> None:
        """Take one optimiser step on this process's part of its batch; on a GPU the step is only queued.

        Raises UserError as `read` does, and OutOfMemoryError if not even one image fits into the memory.
        """
        moved = batch.map(lambda x: x.to(self.device, memory_format=torch.channels_last, non_blocking=True))
        self._subnetworks.remake_masks()
        losses = self._gradients.add(moved, self.step)
        for parameter in self._heads:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)  # so that Adam counts the same steps for all
        section = self.section
        self._rate = learning_rate(self.step, section.steps, section.warmup_steps, section.learning_rate)
        norm = self.optimiser.step(losses[0], self._rate, section.clip_norm)
        self._unread.append(torch.cat([norm[None], losses]))
        self.step += 1
        if len(self._unread) >= READ_EVERY[self.device.type]:
            self.read()

    def read(self) -> None:
        """Wait for the steps taken, and read their losses and gradient norms.

        Raises UserError if the loss or gradient of a step is not finite; neither that step nor later ones changed
        anything.
        """
        numbers = torch.stack(self._unread).tolist() if self._unread else []
        for step, (norm, loss, *terms) in enumerate(numbers, self.step - len(numbers)):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise UserError(self._explosion(step, loss, norm))
            self.loss_sum += loss
            self._norm = norm
            for name, term in zip(self._gradients.terms, terms, strict=True):
                self.term_sums[name] = self.term_sums.get(name, 0.0) + term
        self._unread.clear()

    def _explosion(self, step: int, loss: float, norm: float) -> str:
        saved = self._context.checkpoint
        kept = f"; the last good checkpoint is {saved}" if saved.exists() else ""
        return (
            f"{self._context.title}: step {step}: the loss is {loss} and the gradient norm {norm}, expected finite "
            f"numbers; the batch was {', '.join(self.source.images(step))}; a lower train.learning_rate "
            f"(now {self.section.learning_rate}) or longer train.warmup_steps usually helps{kept}"
        )

    def record(self) -> TrainRecord:
        """Make and keep the record of the steps since the last record."""
        self.read()
        since = self.history[-1]["step"] if self.history else self.first_step
        steps = self.step - since
        several = self.term_sums if len(self.term_sums) > 1 else {}
        record = TrainRecord(
            step=self.step,
            loss=self.loss_sum / steps,
            learning_rate=self._rate,
            gradient_norm=self._norm,
            terms={name: total / steps for name, total in several.items()},
        )
        self.history.append(record.row())
        self.loss_sum, self.term_sums = 0.0, {}
        return record

    def save(self) -> None:
        """Check the invariants and write the checkpoint, from which any number of processes can resume."""
        self.read()
        self.optimiser.check()
        self._group.check_same(self._parameters)
        self.meter.tick()  # now that the queued steps are done
        self.meter.read_energy()
        joules = self._group.total(self.meter.joules)
        if self._group.is_main:
            checkpoint.save(self._progress(joules), self._context.checkpoint)
        self._group.any_true(False)  # nobody goes on, or ends, before it is written

    def _progress(self, joules: float | None) -> Progress:
        return Progress(
            step=self.step,
            made_with=self.made_with,
            weights=self.network.state_dict(),
            moments=self.optimiser.moments(),
            origin={} if self.plan.origin else self.origin,
            stopping_state=self.stopping_state,
            stopped_early=self.stopped_early,
            history=self.history,
            loss_sum=self.loss_sum,
            term_sums=self.term_sums,
            train_seconds=self.meter.seconds,
            train_joules=joules,
        )


def _taking_turns(plan: Plan, parameters: Iterable[str]) -> Collection[str]:
    """Return the parameters that are trained in some of the steps: those of heads, if there are steps of several."""
    scales = {plan.heads[mask] for mask in plan.objective.passes(list(plan.masks)) if mask in plan.heads}
    return [name for name in parameters if len(scales) > 1 and scale_of(name) in scales]
