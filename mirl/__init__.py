"""mirl: winning tickets for image restoration."""

__version__ = "0.1.0"
