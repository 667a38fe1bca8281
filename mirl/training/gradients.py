"""Gradients of a batch, computed in as many pieces as the memory requires, by all processes of the group."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mirl.data.batches import Batch
from mirl.objectives import Objective, Subnetworks
from mirl.training.context import TrainingContext
from mirl.training.loading import BatchSource


class Gradients:
    """Computation of the loss of a batch, and of its gradients, which are added to the parameters' `grad`."""

    def __init__(
        self, subnetworks: Subnetworks, objective: Objective, source: BatchSource, context: TrainingContext
    ) -> None:
        self._subnetworks, self._objective, self._source = subnetworks, objective, source
        self._context, self._group = context, context.group
        self._parameters = list(subnetworks.network.parameters())
        self._micro_batch = min(context.machine.micro_batch or source.share, source.share)
        self.terms: list[str] = []
        """Names of the terms whose sum is the loss, in order; known after the first batch."""

    def add(self, batch: Batch, step: int) -> Tensor:
        """Compute the loss of the whole batch, of which `batch` is this process's part; return loss and terms, flat.

        Every process gets the same losses and gradients. Does not wait for a GPU. Raises OutOfMemoryError if not even
        one image fits into the memory.
        """
        losses, with_gradient = self._attempt(batch)
        while losses is None:
            self._halve(step)
            losses, with_gradient = self._attempt(batch)
        for parameter in with_gradient:
            if parameter.grad is None:  # another process has one, and all add up the same list
                parameter.grad = torch.zeros_like(parameter)
        self._group.all_reduce_([*(p.grad for p in with_gradient if p.grad is not None), losses])
        return losses

    def _attempt(self, batch: Batch) -> tuple[Tensor | None, list[nn.Parameter]]:
        """Return (losses, parameters with a gradient in some process); losses is None if a process is out of memory."""
        losses = self._backward(batch)
        flags = [losses is None, *(parameter.grad is not None for parameter in self._parameters)]
        failed, *used = self._group.any_of(flags)
        with_gradient = [parameter for parameter, is_used in zip(self._parameters, used) if is_used]
        return None if failed else losses, with_gradient

    def _backward(self, batch: Batch) -> Tensor | None:
        """Add the gradients of this process's part; return its share of loss and terms, or None if memory is full."""
        pieces = list(batch.split(self._micro_batch))
        try:
            sums = self._sums(pieces)
            losses = self._backward_piece(pieces[0], sums)
            for piece in pieces[1:]:
                losses = losses + self._backward_piece(piece, sums)
        except torch.OutOfMemoryError:
            return None  # and let go of what the failed attempt holds
        return losses

    def _sums(self, pieces: list[Batch]) -> Mapping[str, Tensor]:
        """Compute the objective's sums over the whole batch, that is, all pieces and processes.

        Raises OutOfMemoryError if the memory of a process is full.
        """
        if not self._objective.needs_sums:
            return {}
        sums: dict[str, Tensor] = {}
        failed = False
        try:
            with torch.no_grad():
                for piece in pieces:
                    for name, value in self._objective.sums(self._subnetworks, piece).items():
                        sums[name] = sums[name] + value if name in sums else value
        except torch.OutOfMemoryError:
            failed = True
        if self._group.any_true(failed):  # nobody adds up what one process does not have
            raise torch.OutOfMemoryError("the memory of a process is full")
        self._group.all_reduce_(list(sums.values()))
        return sums

    def _backward_piece(self, piece: Batch, sums: Mapping[str, Tensor]) -> Tensor:
        share = (
            len(piece.clean_BCHW) / self._source.batch
        )  # the mean over the whole batch is the sum of these
        terms = {
            name: term * share for name, term in self._objective.terms(self._subnetworks, piece, sums).items()
        }
        self.terms = list(terms)
        loss, *others = terms.values()
        for term in others:
            loss = loss + term
        loss.backward()
        return torch.stack([loss.detach(), *(term.detach() for term in terms.values())])

    def _halve(self, step: int) -> None:
        """Halve the micro-batch after a step that did not fit into the memory, here or in another process.

        Raises OutOfMemoryError if the micro-batch is one image.
        """
        if self._micro_batch == 1:
            raise torch.OutOfMemoryError("not even one image of a batch fits beside the network")
        self._micro_batch = (self._micro_batch + 1) // 2
        self._subnetworks.network.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        if self._group.is_main:
            tqdm.write(
                f"{self._context.title}: out of memory at step {step}; it goes on with {self._micro_batch} "
                f"images at a time (machine.micro_batch: {self._micro_batch} begins with it)"
            )
