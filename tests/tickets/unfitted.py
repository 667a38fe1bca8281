"""Reads tickets whose weights are not those of the network that they name: small ones, written by hand."""

from functools import partial

from mirl.tickets import reading

read = partial(reading.read, check=lambda *_: None)
