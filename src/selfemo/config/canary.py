"""Settings of the canary: a version that serves a share of the traffic before it becomes champion."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from selfemo import addresses
from selfemo.config.section import Section

FEWEST_ASKED = 20
"""Conversations; of fewer that both answered nothing is concluded."""


class Server(Section):
    """One of the two that serve side by side."""

    url: str
    """Where it is asked, past the gateway that shares out the traffic."""
    series: str
    """Its series in Prometheus: labels as PromQL writes them; `make compile` fills in an overlay's namespace."""

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        return addresses.web(url).rstrip("/")


class CanarySettings(Section):
    """A promoted version serves a share of the traffic first (docs/promotion.md)."""

    share: int = Field(10, ge=1, le=50)
    """Of the traffic, in percent; a champion that gets less than half is none."""
    hours: float = Field(24.0, gt=0)
    """For which it serves at least before it becomes champion."""
    most_hours: float = Field(168.0, gt=0)
    """From its start: a canary that has not ended by then is stopped."""
    judged_from: int = Field(50, ge=20)
    """Fewest requests of each of the two with which they are compared."""
    requests: int = Field(500, ge=20)
    """Fewest requests of the canary with which it becomes champion."""
    chance: float = Field(0.01, gt=0, lt=0.5)
    """Most chance, for each rule, that a canary as good as its bounds is rolled back, however often it is looked at."""
    errors: float = Field(0.01, ge=0, lt=1)
    """More of its answers than of the champion's may be errors: so much of all answers."""
    slower: float = Field(1.5, ge=1)
    """Its 95th percentile of seconds may be so many times the champion's."""
    ask: int = Field(200, ge=0)
    """Conversations whose last turn both are asked for, to see in how many they disagree; 0 asks none."""
    disagreement: float = Field(0.1, ge=0, lt=1)
    """They may disagree in so much more of these than they did on the held-out turns."""
    prometheus: str = "http://localhost:9090"
    """Prometheus, which has seen the requests of both."""
    champion: Server = Server(url="http://localhost:8000", series='job="serving"')
    canary: Server = Server(url="http://localhost:8001", series='job="serving-canary"')

    @field_validator("prometheus")
    @classmethod
    def _address(cls, url: str) -> str:
        return addresses.web(url).rstrip("/")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.most_hours <= self.hours:
            raise ValueError(f"most_hours: {self.most_hours:g} must be more than hours, {self.hours:g}")
        if self.requests < self.judged_from:
            raise ValueError(f"requests: {self.requests} must be no fewer than judged_from, {self.judged_from}")
        if 0 < self.ask < FEWEST_ASKED:
            raise ValueError(
                f"ask: {self.ask} conversations are too few to be judged: ask 0, or at least {FEWEST_ASKED}"
            )
        if self.champion.series == self.canary.series or self.champion.url == self.canary.url:
            raise ValueError("champion and canary are one server: give each its url and its series")
        return self
