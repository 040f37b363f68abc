"""One description of each call, which a client runs with or without `await`."""

from __future__ import annotations

import functools
import time
from types import MethodType
from typing import Any, Callable, Concatenate, Coroutine, Generic, ParamSpec, TypeVar, cast, overload

import anyio
import httpx

from ._core import Core, Steps

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """Runs steps on the calling thread."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def run(self, steps: Steps[T]) -> T:
        outcome: httpx.Response | httpx.RequestError | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                return cast(T, done.value)
            outcome = None
            if isinstance(step, httpx.Request):
                try:
                    outcome = self.http.send(step)
                except httpx.RequestError as why:
                    outcome = why
            else:
                time.sleep(step)


class Awaiting:
    """Runs steps on the event loop, of asyncio or of trio."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def run(self, steps: Steps[T]) -> T:
        outcome: httpx.Response | httpx.RequestError | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                return cast(T, done.value)
            outcome = None
            if isinstance(step, httpx.Request):
                try:
                    outcome = await self.http.send(step)
                except httpx.RequestError as why:
                    outcome = why
            else:
                await anyio.sleep(step)


Runner = TypeVar("Runner", bound="Blocking | Awaiting")


class Group(Generic[Runner]):
    """Operations that belong together."""

    def __init__(self, core: Core, runner: Runner) -> None:
        self._core = core
        self._runner = runner


class operation(Generic[P, T]):
    """Turns a method that describes a call into one that makes it: blocking or as a coroutine, like the group's runner."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self._describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, group: None, owner: object) -> operation[P, T]: ...
    @overload
    def __get__(self, group: Group[Blocking], owner: object) -> Callable[P, T]: ...
    @overload
    def __get__(self, group: Group[Awaiting], owner: object) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, group: Group[Any] | None, owner: object) -> Any:
        if group is None:
            return self

        describe = MethodType(self._describe, group)

        @functools.wraps(describe)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return group._runner.run(describe(*args, **kwargs))

        return method
